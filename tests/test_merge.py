"""The merge of windows: order, bounds, errors, and where the history begins."""

import asyncio
import json
import logging
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import (
    DAY,
    HOUR,
    START,
    WIDTHS,
    SlowService,
    days,
    numbers,
    over,
    read_into,
    serve,
    turns,
)

from usage_async import (
    NotFoundError,
    PermissionDeniedError,
    RangeUnavailableError,
    UsageError,
    loads,
)
from usage_async._api.pages import UsageResponse
from usage_async._api.results import UsageCompletionsResult

pytestmark = pytest.mark.usefixtures("nothing_left")


def refusal(status, message="No.", **error):
    return status, {}, json.dumps({"error": {"message": message, **error}}).encode()


def begins(day):
    message = f"Grouping is only available for start_time >= {START + day * DAY}."
    return refusal(400, message, param="start_time")


def follow(params, size):
    """The buckets that plain cursor following reads."""
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
        service = SlowService(seed, size)
        async with over(service, concurrency=concurrency) as client:
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
    service = SlowService()
    async with over(service, concurrency=1) as client:
        await days(client, 30, limit=10).collect()
    assert service.sent == [
        (START, None),
        *((START, f"page_{START + i * DAY}+/") for i in (10, 20)),
    ]


async def test_all_queries_of_a_client_share_its_concurrency_and_each_gets_its_turn():
    service = SlowService()
    async with over(service, concurrency=3) as client:
        queries = [days(client, 10, limit=limit) for limit in (1, 2, 5, 10)]
        read = await client.gather(*queries)
    assert [numbers(buckets) for buckets in read] == [list(range(10))] * 4
    assert service.most == 3
    assert len(service.sent) == 10 + 5 + 2 + 1


async def test_what_failed_first_ends_a_gathering_and_the_others():
    service = SlowService(fail={5: refusal(404)})
    async with over(service) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.gather(days(client, 10, limit=1), days(client, 200, limit=1))
        assert not client._engine._tasks
    assert caught.value.__context__ is None
    assert len(service.sent) < 100


async def test_pages_and_rows_come_by_time():
    async with over(SlowService(size=lambda _: 2)) as client:
        query = days(client, 7, limit=4)
        pages = [page async for page in query.pages()]
        assert [numbers(page.data) for page in pages] == [[0, 1], [2, 3], [4, 5], [6]]
        assert [page.has_more for page in pages] == [True, True, True, False]
        assert [row.start_time async for row in query.rows()] == [START + i * DAY for i in range(7)]
        assert [b.results[0] is r async for b, r in query.results()] == [True] * 7


async def test_errors_come_in_order_whichever_was_first():
    service = SlowService(fail={4: refusal(404), 6: refusal(400)})
    async with over(service) as client:
        stream = days(client, 30, limit=1).stream()
        read = []
        with pytest.raises(NotFoundError):
            await read_into(read, stream)
        assert numbers(read) == [0, 1, 2, 3]
        with pytest.raises(UsageError, match="this stream broke off: 404: No"):
            await anext(stream)


async def test_after_a_failure_no_window_further_on_is_begun():
    service = SlowService(fail={2: refusal(404)})
    async with over(service, concurrency=4) as client:
        stream = days(client, 30, limit=1).stream()
        read = [await anext(stream)]
        await turns(30)
        with pytest.raises(NotFoundError):
            await read_into(read, stream)
    assert numbers(read) == [0, 1]
    assert len(service.sent) == 4


async def test_a_refused_key_does_not_wait_for_its_turn():
    service = SlowService(fail={4: refusal(403), 5: refusal(401)})
    async with over(service) as client:
        await turns(1)
        with pytest.raises(PermissionDeniedError):
            await days(client, 30, limit=1).collect()
        assert service.in_flight == 0


@pytest.mark.parametrize("limit", [1, 5, 31])
async def test_a_clamp_begins_where_the_history_does(limit):
    fail = {day: begins(12) for day in range(12)}
    notices = []
    service = SlowService(fail=fail)
    async with over(service, on_notice=notices.append) as client:
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
    service = SlowService(fail={day: begins(50) for day in range(20)})
    async with (
        over(service) as client,
        days(client, 20, limit=5, clamp=True).stream() as stream,
    ):
        assert [bucket async for bucket in stream] == []
    assert stream.start_time == stream.end_time == START + 20 * DAY
    assert [notice.code for notice in stream.notices] == ["clamped"]


async def test_a_floor_that_does_not_help_is_an_error():
    async with over(SlowService(fail={0: begins(0)})) as client:
        with pytest.raises(RangeUnavailableError):
            await days(client, 3, clamp=True).collect()


async def test_a_saved_cursor_of_a_clamped_range_works_with_the_same_arguments():
    service = SlowService(fail={0: begins(2)})
    async with over(service) as client:
        asked = {"limit": 3, "clamp": True}
        pages = [page async for page in days(client, 9, **asked).pages()]
        assert [numbers(page.data) for page in pages] == [[2, 3, 4], [5, 6, 7], [8]]
        rest = days(client, 9, **asked, page=pages[0].next_page)
        assert numbers(await rest.collect()) == [5, 6, 7, 8]


async def test_a_floor_within_a_bucket_says_what_was_read():
    message = f"Only available for start_time >= {START + 2 * DAY + HOUR}."
    service = SlowService(fail=dict.fromkeys(range(3), refusal(400, message, param="start_time")))
    async with over(service) as client, days(client, 9, clamp=True).stream() as stream:
        assert numbers([bucket async for bucket in stream]) == [3, 4, 5, 6, 7, 8]
    (notice,) = stream.notices
    assert notice.message.endswith("nothing before 2025-12-04T00:00:00Z was read")


async def test_what_was_missing_before_the_history_moved_on_is_told():
    class Lossy(SlowService):
        async def __call__(self, path, params, headers):
            status, named, body = await super().__call__(path, params, headers)
            page = json.loads(body)
            if "data" in page:
                page["data"] = [each for each in page["data"] if each["start_time"] != START + DAY]
            return status, named, json.dumps(page).encode()

    service = Lossy()
    async with (
        over(service, concurrency=1) as client,
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
    service = SlowService()
    async with (
        over(service, concurrency=1) as client,
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
    service = SlowService()
    async with over(service) as client:
        page = await anext(days(client, 9, limit=2).pages())
        assert numbers(page.data) == [0, 1]
        rest = days(client, 9, limit=2, page=page.next_page)
        assert numbers(await rest.collect()) == [2, 3, 4, 5, 6, 7, 8]
        assert numbers([await rest.first()]) == [2]
