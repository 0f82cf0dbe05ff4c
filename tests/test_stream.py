"""The stream: every way to stop reading it."""

import asyncio
import gc
from collections import Counter
from itertools import product

import pytest
from service import DAY, HOUR, NOW, START, Clock, SlowService, days, numbers, over, read_into, turns

from usage_async import (
    UsageClient,
    UsageError,
)

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_a_concurrent_anext_is_refused_and_the_first_one_goes_on():
    async with over(SlowService()) as client:
        stream = days(client, 3, limit=1).stream()
        first = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="another task is waiting"):
            await anext(stream)
        assert numbers([await first]) == [0]
        assert numbers([bucket async for bucket in stream]) == [1, 2]
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(stream)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


@pytest.mark.parametrize("close", ["the client", "the stream"])
async def test_closing_while_an_item_is_waited_for_ends_the_wait(close):
    async def hang(path, params, headers):
        await asyncio.Event().wait()

    async with over(hang) as client:
        stream = days(client, 3, limit=1).stream()
        waiting = asyncio.create_task(anext(stream))
        await turns(3)
        await (client.close() if close == "the client" else stream.aclose())
        with pytest.raises(UsageError, match="was closed while this was being read"):
            await waiting
        with pytest.raises(UsageError, match="this stream broke off"):
            await anext(stream)


async def test_a_hook_that_fails_breaks_the_stream_off():
    def broken(notice):
        raise LookupError(notice.code)

    async with over(SlowService(), on_notice=broken) as client:
        query = client.completions(start_time=START, end_time=START + 2 * DAY)
        assert await query.collect()
        with pytest.raises(LookupError, match="start-aligned"):
            await client.completions(start_time=START + 1, end_time=START + DAY).collect()


async def test_a_caller_that_never_waits_leaves_the_event_loop_its_turns(monkeypatch):
    monkeypatch.setattr("usage_async._engine.stream._TURN_S", 0)
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async with over(SlowService()) as client:
        ticking = asyncio.create_task(tick())
        async with days(client, 20).stream() as stream:
            await anext(stream)
            before = ticks
            rest = [bucket async for bucket in stream]
        ticking.cancel()
    assert len(rest) == 19
    assert ticks - before >= 19


def by_hand(coroutine):
    """Drive a coroutine: gives, one by one, the futures that it waits for."""
    while True:
        try:
            future = coroutine.send(None)
        except StopIteration:
            return
        if future is not None:
            future._asyncio_future_blocking = False
        yield future


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("blow", [asyncio.CancelledError, TimeoutError, GeneratorExit])
async def test_an_exception_at_any_await_of_a_stream_kills_it_and_its_requests(concurrency, blow):
    hit = 0
    while True:
        async with over(SlowService(), concurrency=concurrency) as client:
            stream = days(client, 6, limit=1).stream()
            read = []
            consuming = read_into(read, stream)
            for awaits, future in enumerate(by_hand(consuming)):
                if awaits == hit:
                    break
                while future is not None and not future.done():  # noqa: ASYNC110 - it is driven by hand
                    await asyncio.sleep(0)
            else:
                assert numbers(read) == list(range(6))
                assert hit > 2
                return
            if blow is GeneratorExit:
                consuming.close()
            else:
                with pytest.raises(blow):
                    consuming.throw(blow())
            for _ in range(2):
                with pytest.raises(UsageError, match=f"broke off: {blow.__name__}"):
                    await anext(stream)
            await turns(2)
            assert not client._engine._tasks
            assert client.limiter.in_flight == client.limiter.waiting == 0
            assert numbers(read) == list(range(len(read)))
        hit += 1


async def rows_of(query):
    return [row async for row in query.rows()]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    "use",
    [
        lambda query: query.collect(),
        lambda query: query.total(),
        lambda query: query.totals(),
        lambda query: query.summary(),
        lambda query: query.verify(),
        lambda query: query.first(),
        rows_of,
    ],
    ids=["collect", "total", "totals", "summary", "verify", "first", "rows"],
)
async def test_cancellation_at_any_turn_of_any_use_leaves_nothing(concurrency, use):
    for count in range(1000):
        async with over(SlowService(size=lambda _: 1), concurrency=concurrency) as client:
            using = asyncio.create_task(use(days(client, 4, limit=2)))
            await turns(count)
            if using.done():
                break
            using.cancel()
            await asyncio.wait([using])
            assert using.cancelled()
            await turns(2)
            assert not client._engine._tasks
            assert client.limiter.in_flight == client.limiter.waiting == 0
    assert count > 3


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_caught_timeout_at_any_turn_never_skips_a_bucket_nor_looks_like_the_end(
    concurrency,
):
    outcomes = Counter()
    for seed, count in product(range(10), range(20)):
        async with (
            over(SlowService(seed), concurrency=concurrency) as client,
            days(client, 4, limit=1).stream() as stream,
        ):
            read = [await anext(stream)]
            one = asyncio.create_task(anext(stream))
            await turns(count)
            one.cancel()
            try:
                read.append(await one)
            except asyncio.CancelledError:
                if count == 0:  # it had not begun
                    assert numbers([bucket async for bucket in stream]) == [1, 2, 3]
                    continue
                with pytest.raises(UsageError, match="broke off: CancelledError"):
                    await anext(stream)
                outcomes["dead"] += 1
            else:
                read += [bucket async for bucket in stream]
                assert numbers(read) == [0, 1, 2, 3]
                outcomes["whole"] += 1
    assert outcomes["whole"]
    assert outcomes["dead"] > 1


async def test_a_dropped_stream_that_never_began_has_nothing_to_end():
    service = SlowService()
    async with over(service) as client:
        days(client, 3).stream()
    assert not service.sent


def test_a_stream_that_outlives_its_loop_is_dropped_in_silence():
    loop = asyncio.new_event_loop()
    client = over(SlowService())
    stream = days(client, 3, limit=1).stream()
    loop.run_until_complete(stream.__anext__())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    stream = None
    with pytest.warns(ResourceWarning, match="unclosed"):
        client = None
    assert stream is client is None
    gc.collect()


async def test_relative_times_are_frozen_when_a_run_begins():
    clock = Clock()
    service = SlowService()
    async with UsageClient(transport=service, runtime=clock.runtime, concurrency=1) as client:
        query = client.completions(start_time="3h", bucket_width="1h", limit=1)
        async with query.stream() as stream:
            await anext(stream)
            clock.now += HOUR
            assert len([bucket async for bucket in stream]) == 2
    assert (stream.start_time, stream.end_time) == (NOW - 3 * HOUR, NOW)
    assert {start for start, _ in service.sent} == {NOW - 3 * HOUR}
