"""Every reading is the one that plain cursor following gives, whatever the pages and the clocks."""

import asyncio
import logging
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from service import DAY, HOUR, WIDTHS, Clock

from usage_async import UsageClient, dumps, loads
from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.pages import UsageResponse
from usage_async.emulator import Organization, Quirks
from usage_async.emulator.service.page import make_page
from usage_async.emulator.service.query import parse

NOON = 1_790_812_800 + 15 * HOUR
"""2026-10-01, 15:00 UTC, by the clock of the service."""
ORGANIZATION = Organization()
SHAPES = st.builds(
    Quirks, short_pages=st.booleans(), hollow_pages=st.booleans(), extra_empty_page=st.booleans()
)


class EmulatedTransport:
    """The emulated service as a transport.

    Attributes:
        sent: The parameters of every request.
    """

    def __init__(self, quirks, now=NOON, endpoint="completions"):
        self.quirks = quirks
        self.now = now
        self.endpoint = ENDPOINTS[endpoint]
        self.sent = []

    def page(self, params):
        self.sent.append(dict(params))
        query = parse(self.endpoint, params, self.now, self.quirks)
        return dumps(make_page(ORGANIZATION, query, self.now, self.quirks))

    async def __call__(self, path, params, headers):
        await asyncio.sleep(0)
        return 200, {}, self.page(params)

    def follow(self, **params):
        """Read a range by following cursors until there is no more."""
        read, cursor = [], []
        while True:
            pairs = [(name, str(value)) for name, value in params.items()]
            body = self.page([*pairs, *cursor])
            page = loads(body, UsageResponse[self.endpoint.result_class])
            read += page.data
            if not page.has_more:
                return read
            cursor = [("page", page.next_page)]


def client_over(service, *, now=NOON, **options):
    return UsageClient(transport=service, runtime=Clock(now).runtime, **options)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    logging.getLogger("usage_async").setLevel(logging.ERROR)
    yield
    logging.getLogger("usage_async").setLevel(logging.NOTSET)


@pytest.mark.parametrize("concurrency", [1, 2, 8])
@pytest.mark.parametrize("endpoint", ["completions", "costs"])
async def test_the_running_bucket_is_read_behind_empty_pages(concurrency, endpoint):
    service = EmulatedTransport(Quirks(hollow_pages=True), endpoint=endpoint)
    async with client_over(service, concurrency=concurrency) as client:
        buckets = await client.query(endpoint, period="7d", limit=7).collect()
    assert len(buckets) == 8
    assert buckets[-1].start_time == NOON - 15 * HOUR


@st.composite
def readings(draw):
    """A range, a page size, a concurrency, the shape of pages, and a clock up to an hour off."""
    width = draw(st.sampled_from(sorted(WIDTHS)))
    seconds = WIDTHS[width]
    start = NOON - draw(st.integers(1, 40)) * seconds - draw(st.integers(0, seconds - 1))
    # A range may end in the future; an open one ends at the client's now.
    length = draw(st.none() | st.integers(1, 60 * seconds))
    asked = {
        "start_time": start,
        "end_time": length and start + length,
        "bucket_width": width,
        "limit": draw(st.integers(1, 31)),
    }
    return asked, draw(st.integers(1, 50)), draw(st.integers(-HOUR, HOUR)), draw(SHAPES)


@given(readings())
def test_every_reading_equals_plain_cursor_following(case):
    asked, concurrency, skew, shape = case
    now = NOON + skew
    assume(asked["start_time"] < now)
    service = EmulatedTransport(shape)
    expected = service.follow(**{**asked, "end_time": asked["end_time"] or now})

    async def read():
        async with client_over(service, now=now, concurrency=concurrency) as client:
            return await client.completions(**asked).collect()

    assert asyncio.run(read()) == expected


async def test_a_slow_clock_loses_no_window_of_an_absolute_range():
    service = EmulatedTransport(Quirks())
    start, end = NOON - 15 * HOUR, NOON
    async with client_over(service, now=NOON - 1800) as client:
        query = client.completions(start_time=start, end_time=end, bucket_width="1m", limit=10)
        assert len(await query.collect()) == 15 * 60


async def test_an_end_years_ahead_costs_one_request_more():
    service = EmulatedTransport(Quirks())
    async with client_over(service) as client:
        month = client.completions(start_time=NOON - 31 * DAY, end_time=NOON)
        ahead = client.completions(start_time=NOON - 31 * DAY, end_time="2030-01-01")
        total = await month.total()
        until_now = len(service.sent)
        assert await ahead.total() == total
        assert len(service.sent) - until_now == until_now + 1


async def test_a_year_of_pages_of_one_minute_begins_with_few_windows():
    service = EmulatedTransport(Quirks())
    async with client_over(service, concurrency=4) as client:
        query = client.completions(
            start_time=NOON - 364 * DAY, end_time=NOON, bucket_width="1m", limit=1
        )
        async with query.stream() as stream:
            assert not stream._merge._windows
            await anext(stream)
            assert len(stream._merge._windows) <= 5


@pytest.mark.parametrize("offset", [0, 1, HOUR])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_saved_cursor_works_with_the_arguments_of_the_query_that_gave_it(
    offset, concurrency
):
    service = EmulatedTransport(Quirks(short_pages=True))
    asked = {"start_time": NOON - 20 * DAY + offset, "end_time": NOON - offset, "limit": 3}
    async with client_over(service, concurrency=concurrency) as client:
        query = client.costs(**asked)
        pages = [page async for page in query.pages()]
        assert len(pages) > 3
        for number, page in enumerate(pages[:-1]):
            rest = await client.costs(**asked, page=page.next_page).collect()
            assert rest == [bucket for page in pages[number + 1 :] for bucket in page.data]


@pytest.mark.parametrize(
    ("start", "end", "codes"),
    [
        pytest.param(-5 * DAY, -DAY, [], id="whole days"),
        pytest.param(-5 * DAY + 1, -DAY, ["start-aligned"], id="start inside"),
        pytest.param(-5 * DAY, -5 * DAY + 1, ["end-aligned"], id="one second"),
        pytest.param(-5 * DAY + 5, -5 * DAY + 6, ["start-aligned", "end-aligned"], id="both"),
        pytest.param(-15 * HOUR, 0, ["end-aligned", "unsettled"], id="until now"),
        pytest.param(-15 * HOUR, -2 * HOUR, ["end-aligned", "unsettled"], id="in today"),
        pytest.param(-15 * HOUR, 5 * DAY + 1, ["unsettled"], id="inside a bucket to come"),
    ],
)
async def test_a_range_that_cuts_a_bucket_is_told(start, end, codes):
    midnight = NOON - 15 * HOUR
    base = midnight if start != -15 * HOUR else NOON
    begin, until = base + start, base + end
    notices = []
    service = EmulatedTransport(Quirks())
    async with client_over(
        service, settle_after=timedelta(hours=1), on_notice=notices.append
    ) as client:
        query = client.completions(start_time=begin, end_time=until)
        summary = await query.summary()
    assert [notice.code for notice in summary.notices] == codes
    assert tuple(notices) == summary.notices
    assert all(notice.endpoint == "completions" and notice.starts for notice in notices)
    assert (summary.requested.start_time, summary.requested.end_time) == (begin, until)
    assert summary.covered.start_time == begin - begin % DAY
    assert summary.covered.end_time >= min(until, NOON)
    whole = service.follow(
        start_time=begin - begin % DAY, end_time=until + -until % DAY, limit=31, bucket_width="1d"
    )
    assert summary.total.input_tokens == sum(
        row.input_tokens for bucket in whole for row in bucket.results
    )


async def test_an_endpoint_newer_than_this_release_keeps_the_bucket_that_its_range_begins_in():
    service = EmulatedTransport(Quirks())
    notices = []
    async with client_over(service, on_notice=notices.append) as client:
        query = client.query("/organization/usage/brand_new", period="7d")
        buckets = await query.collect()
    assert [bucket.start_time for bucket in buckets] == [
        NOON - 15 * HOUR - day * DAY for day in range(7, -1, -1)
    ]
    assert [notice.code for notice in notices] == ["start-aligned", "unsettled"]


async def test_an_end_inside_a_bucket_is_told_whatever_the_clock_says():
    service = EmulatedTransport(Quirks(), now=NOON)
    async with client_over(service, now=NOON - HOUR) as client:
        midnight = NOON - 15 * HOUR
        summary = await client.completions(start_time=midnight, end_time=NOON - 1800).summary()
    assert [notice.code for notice in summary.notices] == ["end-aligned", "unsettled"]


async def test_a_relative_start_is_as_it_was_asked_for(caplog):
    logging.getLogger("usage_async").setLevel(logging.INFO)
    service = EmulatedTransport(Quirks())
    async with client_over(service) as client:
        summary = await client.completions(period="24h").summary()
    assert summary.requested.start_time == NOON - DAY
    assert summary.covered.start_time == NOON - DAY - 15 * HOUR
    assert [notice.code for notice in summary.notices] == ["start-aligned", "unsettled"]
    # Hardly any relative start is that of a bucket: no cause for a warning.
    assert {record.levelno for record in caplog.records} == {logging.INFO}


async def test_figures_from_a_saved_cursor_are_told_to_be_a_part():
    service = EmulatedTransport(Quirks())
    asked = {"start_time": NOON - 15 * HOUR - 20 * DAY, "end_time": NOON - 15 * HOUR, "limit": 5}
    async with client_over(service) as client:
        page = await anext(client.completions(**asked).pages())
        query = client.completions(**asked, page=page.next_page)
        summary = await query.summary()
        (notice,) = [each for each in summary.notices if each.code == "resumed"]
        verified = await query.verify()
    assert notice.message.endswith("the figures begin at 2026-09-16T00:00:00Z")
    assert summary.covered.start_time == asked["start_time"] + 5 * DAY
    assert len(verified.checked) + len(verified.unsettled) == 20
