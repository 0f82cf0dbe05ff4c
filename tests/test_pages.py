"""The merge of windows, and the stream: order, bounds, and every way to stop reading."""

import asyncio
import gc
import json
import logging
from collections import Counter
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import DAY, HOUR, NOW, START, WIDTHS, Clock, days, read_into, serve, turns

from usage_async import (
    NotFoundError,
    PermissionDeniedError,
    RangeUnavailableError,
    UsageClient,
    UsageError,
    loads,
)
from usage_async._api.pages import UsageResponse
from usage_async._api.results import UsageCompletionsResult

pytestmark = pytest.mark.usefixtures("nothing_left")


class Service:
    """A transport that answers after some turns of the loop, which depend on the request.

    Attributes:
        sent: The start of every request, and its cursor.
        in_flight: How many requests are being answered.
        most: The most that ever were.
    """

    def __init__(self, seed=0, size=None, fail=None):
        self.seed = seed
        self.size = size
        self.fail = fail or {}
        self.sent = []
        self.in_flight = self.most = 0

    async def __call__(self, path, params, headers):
        given = dict(params)
        start = int(given["start_time"])
        self.sent.append((start, given.get("page")))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await turns(crc32(f"{self.seed} {params}".encode()) % 7)
            failure = self.fail.get((start - START) // DAY)
            if failure is not None:
                return failure
            return 200, {}, serve(params, self.size)
        finally:
            self.in_flight -= 1


def client_of(transport, **options):
    return UsageClient(transport=transport, runtime=Clock().runtime, **options)


def numbers(buckets):
    return [(bucket.start_time - START) // DAY for bucket in buckets]


def refusal(status, message="No.", **error):
    return status, {}, json.dumps({"error": {"message": message, **error}}).encode()


def begins(day):
    message = f"Grouping is only available for start_time >= {START + day * DAY}."
    return refusal(400, message, param="start_time")


def follow(params, size):
    """What plain cursor following reads."""
    read, cursor = [], []
    while True:
        page = loads(serve([*params, *cursor], size), UsageResponse[UsageCompletionsResult])
        read += page.data
        if not page.has_more:
            return read
        cursor = [("page", page.next_page)]


@given(
    st.sampled_from(sorted(WIDTHS)),
    st.integers(0, DAY),
    st.integers(1, 60),
    st.integers(1, 31),
    st.integers(0, 2**32),
)
def test_windows_read_just_what_plain_cursor_following_reads(width, offset, count, limit, seed):
    """Also where a start is floored, pages are short or empty, and answers out of order."""

    def size(start):
        return crc32(f"{seed} {start}".encode()) % (limit + 1)

    start = START + offset
    end = start + count * WIDTHS[width] - offset % 60
    params = [("start_time", start), ("end_time", end), ("bucket_width", width), ("limit", limit)]
    expected = follow(params, size)

    async def read(concurrency):
        service = Service(seed, size)
        async with client_of(service, concurrency=concurrency) as client:
            query = client.completions(
                start_time=start, end_time=end, bucket_width=width, limit=limit
            )
            buckets = await query.collect()
        assert service.most <= concurrency
        return buckets

    logging.getLogger("usage_async").setLevel(logging.ERROR)
    try:
        for concurrency in (1, 2, 8):
            assert asyncio.run(read(concurrency)) == expected
    finally:
        logging.getLogger("usage_async").setLevel(logging.NOTSET)


async def test_one_request_at_a_time_is_plain_cursor_following():
    service = Service()
    async with client_of(service, concurrency=1) as client:
        await days(client, 30, limit=10).collect()
    assert service.sent == [
        (START, None),
        *((START, f"page_{START + i * DAY}+/") for i in (10, 20)),
    ]


async def test_all_queries_of_a_client_share_its_concurrency_and_each_gets_its_turn():
    service = Service()
    async with client_of(service, concurrency=3) as client:
        queries = [days(client, 10, limit=limit) for limit in (1, 2, 5, 10)]
        read = await client.gather(*queries)
    assert [numbers(buckets) for buckets in read] == [list(range(10))] * 4
    assert service.most == 3
    assert len(service.sent) == 10 + 5 + 2 + 1


async def test_what_failed_first_ends_a_gathering_and_the_others():
    service = Service(fail={5: refusal(404)})
    async with client_of(service) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.gather(days(client, 10, limit=1), days(client, 200, limit=1))
        assert not client._engine._tasks
    assert caught.value.__context__ is None
    assert len(service.sent) < 100


async def test_pages_and_rows_come_by_time():
    async with client_of(Service(size=lambda _: 2)) as client:
        query = days(client, 7, limit=4)
        pages = [page async for page in query.pages()]
        assert [numbers(page.data) for page in pages] == [[0, 1], [2, 3], [4, 5], [6]]
        assert [page.has_more for page in pages] == [True, True, True, False]
        assert [row.start_time async for row in query.rows()] == [START + i * DAY for i in range(7)]
        assert [b.results[0] is r async for b, r in query.results()] == [True] * 7


async def test_errors_come_in_order_whichever_was_first():
    service = Service(fail={4: refusal(404), 6: refusal(400)})
    async with client_of(service) as client:
        stream = days(client, 30, limit=1).stream()
        read = []
        with pytest.raises(NotFoundError):
            await read_into(read, stream)
        assert numbers(read) == [0, 1, 2, 3]
        with pytest.raises(UsageError, match="this stream broke off: 404: No"):
            await anext(stream)


async def test_after_a_failure_no_window_further_on_is_begun():
    service = Service(fail={2: refusal(404)})
    async with client_of(service, concurrency=4) as client:
        stream = days(client, 30, limit=1).stream()
        read = [await anext(stream)]
        await turns(30)
        with pytest.raises(NotFoundError):
            await read_into(read, stream)
    assert numbers(read) == [0, 1]
    assert len(service.sent) == 4


async def test_a_refused_key_does_not_wait_for_its_turn():
    service = Service(fail={4: refusal(403), 5: refusal(401)})
    async with client_of(service) as client:
        await turns(1)
        with pytest.raises(PermissionDeniedError):
            await days(client, 30, limit=1).collect()
        assert service.in_flight == 0


@pytest.mark.parametrize("limit", [1, 5, 31])
async def test_a_clamp_begins_where_the_history_does(limit):
    fail = {day: begins(12) for day in range(12)}
    notices = []
    service = Service(fail=fail)
    async with client_of(service, on_notice=notices.append) as client:
        async with days(client, 20, limit=limit, clamp=True).stream() as stream:
            assert numbers([bucket async for bucket in stream]) == list(range(12, 20))
        assert (stream.start_time, stream.end_time) == (START + 12 * DAY, START + 20 * DAY)
    (notice,) = stream.notices
    assert notices == [notice]
    assert notice.message == (
        "the service's data begin at 2025-12-13T00:00:00Z;"
        " nothing before 2025-12-13T00:00:00Z was read"
    )


async def test_a_clamp_past_the_end_leaves_nothing():
    service = Service(fail={day: begins(50) for day in range(20)})
    async with (
        client_of(service) as client,
        days(client, 20, limit=5, clamp=True).stream() as stream,
    ):
        assert [bucket async for bucket in stream] == []
    assert stream.start_time == stream.end_time == START + 20 * DAY
    assert [notice.code for notice in stream.notices] == ["clamped"]


async def test_a_floor_that_does_not_help_is_an_error():
    async with client_of(Service(fail={0: begins(0)})) as client:
        with pytest.raises(RangeUnavailableError):
            await days(client, 3, clamp=True).collect()


async def test_a_saved_cursor_of_a_clamped_range_works_with_the_same_arguments():
    service = Service(fail={0: begins(2)})
    async with client_of(service) as client:
        asked = {"limit": 3, "clamp": True}
        pages = [page async for page in days(client, 9, **asked).pages()]
        assert [numbers(page.data) for page in pages] == [[2, 3, 4], [5, 6, 7], [8]]
        rest = days(client, 9, **asked, page=pages[0].next_page)
        assert numbers(await rest.collect()) == [5, 6, 7, 8]


async def test_a_floor_within_a_bucket_says_what_was_read():
    message = f"Only available for start_time >= {START + 2 * DAY + HOUR}."
    service = Service(fail=dict.fromkeys(range(3), refusal(400, message, param="start_time")))
    async with client_of(service) as client, days(client, 9, clamp=True).stream() as stream:
        assert numbers([bucket async for bucket in stream]) == [3, 4, 5, 6, 7, 8]
    (notice,) = stream.notices
    assert notice.message.endswith("nothing before 2025-12-04T00:00:00Z was read")


async def test_what_was_missing_before_the_history_moved_on_is_told():
    class Lossy(Service):
        async def __call__(self, path, params, headers):
            status, named, body = await super().__call__(path, params, headers)
            page = json.loads(body)
            if "data" in page:
                page["data"] = [each for each in page["data"] if each["start_time"] != START + DAY]
            return status, named, json.dumps(page).encode()

    service = Lossy()
    async with (
        client_of(service, concurrency=1) as client,
        days(client, 6, limit=3, clamp=True).stream() as stream,
    ):
        read = [await anext(stream) for _ in range(2)]
        service.fail[0] = begins(2)
        read += [bucket async for bucket in stream]
    assert numbers(read) == [0, 2, 3, 4, 5]
    assert [(notice.code, notice.starts) for notice in stream.notices] == [
        ("missing-bucket", (START + DAY,))
    ]


@pytest.mark.parametrize("floor", [1, 3, 5, 7, 9])
async def test_a_history_that_moves_on_while_it_is_read_doubles_nothing(floor):
    """At midnight the floor passes the start that the first pages were read from."""
    service = Service()
    async with (
        client_of(service, concurrency=1) as client,
        days(client, 9, limit=2, clamp=True).stream() as stream,
    ):
        read = [await anext(stream) for _ in range(5)]
        service.fail[0] = begins(floor)
        read += [bucket async for bucket in stream]
    left = range(max(floor, 6), 9)
    assert numbers(read) == [*range(6), *left]
    assert stream.start_time == START
    codes = [notice.code for notice in stream.notices]
    assert codes == (["clamped"] if floor > 6 else [])


async def test_a_saved_cursor_reads_on_from_where_it_was_saved():
    service = Service()
    async with client_of(service) as client:
        page = await anext(days(client, 9, limit=2).pages())
        assert numbers(page.data) == [0, 1]
        rest = days(client, 9, limit=2, page=page.next_page)
        assert numbers(await rest.collect()) == [2, 3, 4, 5, 6, 7, 8]
        assert numbers([await rest.first()]) == [2]


async def test_a_concurrent_anext_is_refused_and_the_first_one_goes_on():
    async with client_of(Service()) as client:
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

    async with client_of(hang) as client:
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

    async with client_of(Service(), on_notice=broken) as client:
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

    async with client_of(Service()) as client:
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
        async with client_of(Service(), concurrency=concurrency) as client:
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
        async with client_of(Service(size=lambda _: 1), concurrency=concurrency) as client:
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
    for count in range(100):
        async with (
            client_of(Service(), concurrency=concurrency) as client,
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
                break
    assert outcomes["whole"]
    assert outcomes["dead"] > 1


async def test_a_dropped_stream_that_never_began_has_nothing_to_end():
    service = Service()
    async with client_of(service) as client:
        days(client, 3).stream()
    assert not service.sent


def test_a_stream_that_outlives_its_loop_is_dropped_in_silence():
    loop = asyncio.new_event_loop()
    client = client_of(Service())
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
    service = Service()
    async with UsageClient(transport=service, runtime=clock.runtime, concurrency=1) as client:
        query = client.completions(start_time="3h", bucket_width="1h", limit=1)
        async with query.stream() as stream:
            await anext(stream)
            clock.now += HOUR
            assert len([bucket async for bucket in stream]) == 2
    assert (stream.start_time, stream.end_time) == (NOW - 3 * HOUR, NOW)
    assert {start for start, _ in service.sent} == {NOW - 3 * HOUR}
