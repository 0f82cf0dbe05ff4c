"""Reading of feeds: ranges that tile, places that lose nothing, at any time and after any kill."""

import json
from datetime import timedelta
from itertools import pairwise
from operator import neg

import attrs
import pytest
from collecting import (
    DAY,
    HOUR,
    ORGANIZATION,
    START,
    Toy,
    ToyShelf,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from service import KEY, Clock, read_into

from usage_async import UsageClient
from usage_async._query.times import iso
from usage_async.collect import Feed, Place, snapshots
from usage_async.errors import PermissionDeniedError

WIDTHS = {"1m": 60, "1h": HOUR, "1d": DAY}
HOURLY = Feed.parse("completions:1h")


@attrs.define
class Ledger:
    """A service whose figures the test changes, as a transport.

    Attributes:
        clock: Its clock, which may differ from the client's.
        figures: Requests of a bucket by its start; None for one that is not sent.
        other: Starts of buckets that carry a row of an unknown kind as well.
        begins: Start of the history.
        page_size: Most buckets of a page.
        sent: Starts of the requests.
        fails_after: Requests after which every one fails.
    """

    clock: Clock
    figures: dict[int, int | None] = attrs.Factory(dict)
    other: set[int] = attrs.Factory(set)
    begins: int = 0
    page_size: int = 1000
    sent: list[int] = attrs.Factory(list)
    fails_after: int | None = None

    async def __call__(self, path, params, headers):
        given = dict(params)
        width = WIDTHS[given["bucket_width"]]
        begin, end = int(given["start_time"]), min(int(given["end_time"]), int(self.clock.now))
        self.sent.append(begin)
        if self.fails_after is not None and len(self.sent) > self.fails_after:
            return 403, {}, b'{"error": {"message": "no"}}'
        if begin < self.begins:
            error = {
                "message": f"Earliest supported start date: {iso(self.begins)[:10]} (UTC).",
                "code": "reporting_lookback_exceeded",
                "param": "start_time",
            }
            return 400, {}, json.dumps({"error": error}).encode()
        begin = int(given.get("page", begin - begin % width))
        starts = range(begin, end, width)[: min(int(given["limit"]), self.page_size)]
        rest = starts[-1] + width if starts else end
        data = [
            {"object": "bucket", "start_time": each, "end_time": each + width, "results": rows}
            for each in starts
            if (rows := self._rows(each)) is not None
        ]
        page = {"object": "page", "data": data, "has_more": rest < end}
        page["next_page"] = str(rest) if rest < end else None
        return 200, {}, json.dumps(page).encode()

    def _rows(self, start):
        figure = self.figures.get(start, 0)
        if figure is None:
            return None
        row = {
            "object": "organization.usage.completions.result",
            "input_tokens": figure,
            "output_tokens": 0,
            "num_model_requests": figure,
        }
        rows = [row] if figure else []
        if start in self.other:
            rows.append({"object": "organization.usage.teleports.result", "n": figure})
        return rows

    def client(self, clock=None, **options):
        return UsageClient(KEY, transport=self, runtime=(clock or self.clock).runtime, **options)


async def read(client, place=None, since=START, feed=HOURLY, **options):
    place = Place() if place is None else place
    return [each async for each in snapshots(client, ORGANIZATION, feed, place, since, **options)]


def hours(*numbers):
    return tuple(START + number * HOUR for number in numbers)


def rows(snapshot):
    return {
        (row["start_time"].timestamp() - START) / HOUR: row["input_tokens"]
        for row in snapshot.table.to_pylist()
    }


async def test_a_snapshot_holds_every_bucket_that_was_sent():
    clock = Clock(START + 5 * HOUR + 60)
    ledger = Ledger(clock, {START: 7, START + 2 * HOUR: None, START + 5 * HOUR: 3}, {START})
    async with ledger.client() as client:
        (found,) = await read(client)
    assert (found.start_time, found.end_time) == hours(0, 6)
    assert found.sent == hours(0, 1, 3, 4, 5)
    assert found.missing == hours(2)
    assert rows(found) == {0: 7, 5: 3}
    assert (found.organization, found.feed) == (ORGANIZATION, HOURLY)
    assert (found.as_of, found.begun, found.rounded) == (START + 5 * HOUR + 60, START, 0)
    assert found.ended_through == START + 5 * HOUR
    assert found.settled_through == found.ended_through - 3 * DAY
    (other,) = found.other
    assert (other.start_time, other.end_time) == hours(0, 1)
    assert json.loads(other.row) == {"object": "organization.usage.teleports.result", "n": 7}


async def test_a_bucket_that_runs_is_not_missing():
    clock = Clock(START + 2 * HOUR + 60)
    ledger = Ledger(clock, {START + 2 * HOUR: None})
    async with ledger.client() as client:
        (found,) = await read(client)
    assert (found.sent, found.missing) == (hours(0, 1), ())
    assert found.end_time == START + 2 * HOUR


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("max_rows", [1, 2, 5, 100])
async def test_snapshots_tile_the_range(size, max_rows):
    clock = Clock(START + 9 * HOUR + 1)
    figures = {START + n * HOUR: (n * 7) % 4 or None for n in range(9)}
    ledger = Ledger(clock, figures, page_size=size)
    async with ledger.client() as client:
        found = await read(client, max_rows=max_rows)
    edges = [(each.start_time, each.end_time) for each in found]
    assert edges[0][0] == START
    assert edges[-1][1] == START + 10 * HOUR
    assert [end for _, end in edges[:-1]] == [start for start, _ in edges[1:]]
    assert all(start < end for start, end in edges)
    sent = [start for each in found for start in each.sent]
    missing = [start for each in found for start in each.missing]
    assert sent == [
        s for s in range(START, START + 10 * HOUR, HOUR) if figures.get(s, 0) is not None
    ]
    assert sorted(sent + missing) == [*range(START, START + 10 * HOUR, HOUR)]
    assert all(each.table.num_rows <= max_rows for each in found)
    for one, other in pairwise(found):
        assert other.place == one.next_place()


async def test_many_empty_buckets_are_several_snapshots(monkeypatch):
    monkeypatch.setattr("usage_async.collect.reading.MAX_BUCKETS", 4)
    clock = Clock(START + 10 * HOUR)
    async with Ledger(clock).client() as client:
        found = await read(client)
    assert [len(each.sent) for each in found] == [4, 4, 2]


async def test_after_the_last_bucket_that_was_sent_nothing_is_covered_or_missing():
    clock = Clock(START + 5 * HOUR + 60)
    ledger = Ledger(clock, dict.fromkeys(hours(1, 3, 4, 5)))
    async with ledger.client() as client:
        (found,) = await read(client)
        assert (found.sent, found.missing, found.end_time) == (
            hours(0, 2),
            hours(1),
            START + 3 * HOUR,
        )
        assert found.next_place().covered_to == START + 3 * HOUR
        assert found.next_place().ended_through == START + 2 * HOUR
        ledger.figures = dict.fromkeys(hours(*range(6)))
        assert await read(client) == []


async def test_the_place_stays_before_buckets_that_the_service_does_not_send_for_months():
    clock = Clock(START + 5 * DAY + 60)
    ledger = Ledger(clock)
    async with ledger.client() as client:
        place = (await read(client))[-1].next_place()
        late = range(START + 5 * DAY + HOUR, START + 95 * DAY, HOUR)
        ledger.figures = dict.fromkeys(late)
        clock.now = START + 95 * DAY - 60
        for each in await read(client, place):
            place = each.next_place()
        assert (place.start_time, place.covered_to) == (START + 2 * DAY, START + 5 * DAY + HOUR)
        ledger.figures = dict.fromkeys(late, 1)
        found = await read(client, place)
    assert {*late} <= {start for each in found for start in each.sent}


async def test_the_first_minute_of_a_feed_gives_the_bucket_that_runs():
    clock = Clock(START + 60)
    async with Ledger(clock, {START: 1}).client() as client:
        (found,) = await read(client)
    assert (found.sent, found.missing, found.end_time) == ((START,), (), START + HOUR)
    clock = Clock(START + 60)
    async with Ledger(clock, {START: None}).client() as client:
        assert await read(client) == []


async def test_reading_goes_on_from_the_place():
    clock = Clock(START + 10 * DAY + 60)
    ledger = Ledger(clock)
    async with ledger.client() as client:
        found = await read(client)
        place = found[-1].next_place()
        assert place.start_time == START + 7 * DAY
        clock.now += HOUR
        ledger.sent.clear()
        (again,) = await read(client, place)
    assert ledger.sent[0] == START + 7 * DAY
    assert (again.start_time, again.end_time) == (START + 7 * DAY, START + 10 * DAY + 2 * HOUR)


async def test_an_earlier_start_reads_everything_from_there_and_a_later_one_changes_nothing():
    clock = Clock(START + 10 * DAY)
    async with Ledger(clock).client() as client:
        place = (await read(client))[-1].next_place()
        (later,) = await read(client, place, since=START + 9 * DAY)
        assert later.start_time == place.start_time
        earlier = await read(client, place, since=START - DAY + 5)
    assert earlier[0].start_time == START - DAY
    assert earlier[-1].next_place().first_start == START - DAY


async def test_an_earlier_start_that_was_cut_off_is_read_by_a_run_that_does_not_ask_for_it():
    clock = Clock(START + 10 * DAY + 60)
    ledger, store = Ledger(clock, {START + n * HOUR: 1 for n in range(300)}), Toy()
    await collected(ledger, store, START + 8 * DAY, 10_000)
    await collected(ledger, store, START, 50, 1)
    assert store.place(ORGANIZATION, HOURLY).wanted_start == START
    clock.now += HOUR
    await collected(ledger, store, START + 8 * DAY, 10_000)
    place = store.place(ORGANIZATION, HOURLY)
    assert (place.first_start, place.wanted_start) == (START, None)
    held = {row["start_time"] for row in ToyShelf(store.memory).rows(HOURLY)}
    assert held == {*range(START, START + 10 * DAY + 2 * HOUR, HOUR)}


async def test_a_clock_that_was_behind_is_not_taken_for_an_earlier_start():
    clock = Clock(START + 410 * DAY + 60)
    ledger, store = Ledger(clock), Toy()
    await collected(ledger, store, START + 408 * DAY, 10_000)
    await collected(ledger, store, START + 408 * DAY, 10_000, clock=Clock(START + 10 * DAY))
    place = store.place(ORGANIZATION, HOURLY)
    assert (place.first_start, place.wanted_start) == (START + 408 * DAY, None)


async def test_a_start_within_a_bucket_is_that_of_the_bucket():
    clock = Clock(START + DAY)
    async with Ledger(clock).client() as client:
        (found,) = await read(client, since=START + 90 * 60)
    assert (found.start_time, found.begun) == hours(1, 1)


async def test_before_its_history_the_service_misses_nothing():
    clock = Clock(START + 2 * DAY)
    ledger = Ledger(clock, {START: None}, begins=START - DAY)
    async with ledger.client() as client:
        (found,) = await read(client, since=START - 30 * DAY)
    assert (found.start_time, found.begun) == (START - DAY, START - 30 * DAY)
    assert found.missing == (START,)


async def test_settle_after_says_what_is_read_again():
    clock = Clock(START + 10 * DAY + 60)
    for after, expected in [
        (timedelta(0), START + 10 * DAY),
        (timedelta(hours=2), START + 10 * DAY - 2 * HOUR),
        (timedelta(days=20), START),
        (timedelta(days=400), START),
    ]:
        async with Ledger(clock).client(settle_after=after) as client:
            found = await read(client)
        assert found[-1].next_place().start_time == expected


async def test_a_clock_that_was_set_back_an_hour_is_no_error_and_loses_nothing():
    clock = Clock(START + 10 * DAY + 600)
    ledger = Ledger(clock, {START + 10 * DAY: 5})
    mine = Clock(clock.now)
    async with ledger.client(mine, settle_after=timedelta(0)) as client:
        place = (await read(client))[-1].next_place()
        assert place.start_time == START + 10 * DAY
        mine.now -= HOUR
        (found,) = await read(client, place)
        assert found.end_time >= START + 10 * DAY
        following = found.next_place()
        assert following.start_time == place.start_time
        mine.now += 2 * HOUR
        clock.now += HOUR
        ledger.figures[START + 10 * DAY] = 6
        (found,) = await read(client, following)
    assert rows(found)[240] == 6


@pytest.mark.parametrize("ahead", [HOUR, 5 * DAY, 20 * DAY, 31 * DAY, 400 * DAY])
async def test_a_clock_that_was_ahead_settles_nothing_that_may_still_change(ahead):
    clock = Clock(START + 10 * DAY + 600)
    ledger = Ledger(clock)
    mine = Clock(clock.now + ahead)
    async with ledger.client(mine) as client:
        place = (await read(client))[-1].next_place()
        assert place.start_time <= START + 7 * DAY + HOUR
        mine.now = clock.now = clock.now + 5 * HOUR
        found = await read(client, place)
    read_again = [start for each in found for start in each.sent]
    assert read_again[0] <= START + 7 * DAY + HOUR
    assert read_again[-1] == START + 10 * DAY + 5 * HOUR


async def test_a_start_in_the_future_reads_the_bucket_that_runs():
    clock = Clock(START + 60)
    async with Ledger(clock).client() as client:
        (found,) = await read(client, since=START + 5 * DAY)
    assert (found.start_time, found.begun) == (START, START)


async def test_what_was_read_before_a_failure_stays_true():
    clock = Clock(START + 30 * DAY)
    figures = {START + n * HOUR: 1 for n in range(30 * 24)}
    ledger = Ledger(clock, figures, page_size=24, fails_after=3)
    found = []
    async with ledger.client(concurrency=1) as client:
        reading = snapshots(client, ORGANIZATION, HOURLY, Place(), START, max_rows=10)
        with pytest.raises(PermissionDeniedError):
            await read_into(found, reading)
    assert found[-1].end_time <= START + 3 * DAY
    place = found[-1].next_place()
    assert place.covered_to == found[-1].end_time
    assert START <= place.start_time <= place.covered_to


async def test_a_reader_that_stops_leaves_no_request(nothing_left):
    clock = Clock(START + 300 * DAY)
    figures = {START + n * HOUR: 1 for n in range(300 * 24)}
    async with Ledger(clock, figures, page_size=24).client() as client:
        reading = snapshots(client, ORGANIZATION, HOURLY, Place(), START, max_rows=10)
        assert len((await anext(reading)).sent) == 10
        await reading.aclose()


async def collected(ledger, backend, since, max_rows, applied_most=None, *, clock=None):
    """Collect once, as the command does; a run that is killed has applied some snapshots only."""
    place = backend.place(ORGANIZATION, HOURLY)
    applied = 0
    async with ledger.client(clock) as client:
        async for each in snapshots(client, ORGANIZATION, HOURLY, place, since, max_rows=max_rows):
            if applied == applied_most:
                return
            backend.apply(each, each.as_of)
            applied += 1


CHANGES = st.lists(st.tuples(st.integers(0, 5 * 24), st.none() | st.integers(0, 3)), max_size=6)
"""Changes of buckets, by the age of the bucket in hours: not sent, emptied, or other figures."""
RUNS = st.lists(
    st.tuples(
        st.integers(1, 30),  # hours that pass
        CHANGES,
        st.sampled_from([0, 0, 24, 24 * 9, 24 * 20]),  # how much earlier than before it begins
        st.sampled_from([2, 7, 10_000]),  # rows of a snapshot
        st.sampled_from([None, None, None, 0, 1, 2]),  # snapshots until it is killed
    ),
    min_size=1,
    max_size=8,
)


@given(runs=RUNS, seed=st.integers(0, 10))
async def test_after_any_runs_a_store_holds_what_the_service_sends(runs, seed):
    clock = Clock(START + 40 * DAY + seed * 700)
    ledger = Ledger(clock, {START + n * HOUR: (n * seed) % 3 for n in range(60 * 24)})
    store = Toy()
    since = START + 35 * DAY
    for passed, changes, earlier, max_rows, killed_after in runs:
        now = int(clock.now) // HOUR * HOUR
        since -= earlier * HOUR
        for age, figure in changes:
            # Within three days figures are revised; a bucket may be late for longer.
            bucket = now - age * HOUR
            was_late = ledger.figures.get(bucket, 0) is None
            if age < 3 * 24 or was_late:
                ledger.figures[bucket] = figure
        await collected(ledger, store, since, max_rows, killed_after)
        clock.now += passed * HOUR
    await collected(ledger, store, since, 10_000)
    held = {row["start_time"]: row["input_tokens"] for row in ToyShelf(store.memory).rows(HOURLY)}
    first, end = since // HOUR * HOUR, int(clock.now)
    expected = {
        start: figure
        for start in range(first, end, HOUR)
        if (figure := ledger.figures.get(start, 0)) is not None
    }
    assert {start: held.get(start, 0) for start in expected} == expected


@attrs.define(kw_only=True)
class Watched(Toy):
    """A store that checks each revision.

    Attributes:
        clock: The clock of the service.
        read: Figures of the buckets that were read after their end.
    """

    clock: Clock
    read: dict[int, int] = attrs.Factory(dict)

    def apply(self, snapshot, seen_at):
        """See `Backend`."""
        before = len(self.memory.revisions)
        applied = super().apply(snapshot, seen_at)
        for row in self.memory.revisions[before:]:
            old = row["old_figures"] or {"input_tokens": 0}
            assert self.read.get(row["start_time"]) == old["input_tokens"]
        given = {START + n * HOUR: figure for n, figure in rows(snapshot).items()}
        for start in snapshot.sent:
            if start + HOUR <= self.clock.now:
                self.read[start] = given.get(start, 0)
        return applied


AHEAD = st.sampled_from([0, 0, 60, 1.5 * HOUR, 5 * DAY, 20 * DAY, 31 * DAY, 400 * DAY])
WRONG_CLOCKS = st.lists(
    st.tuples(
        AHEAD | AHEAD.map(neg),  # by how many seconds the clock is ahead
        st.sampled_from([0.2, 1, 1, 7, 30, 24 * 35, 24 * 405]),  # hours that pass
        CHANGES,
        st.sampled_from([2, 7, 10_000]),  # rows of a snapshot
        st.sampled_from([None, None, 0, 1, 2]),  # snapshots until it is killed
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(runs=WRONG_CLOCKS)
async def test_wrong_clocks_lose_no_figure_and_invent_no_revision(runs):
    clock, since = Clock(START + 40 * DAY + 600), START + 38 * DAY
    ledger, store = Ledger(clock), Watched(clock=clock)
    for ahead, passed, changes, max_rows, killed_after in [*runs, (0, 0, [], 10_000, None)]:
        now = int(clock.now) // HOUR * HOUR
        for age, figure in changes:
            bucket = now - age * HOUR
            if age < 3 * 24 or ledger.figures.get(bucket, 0) is None:
                ledger.figures[bucket] = figure
        # A bucket that runs has a part of its figure.
        ledger.figures[now] = 1
        mine = Clock(clock.now + ahead)
        await collected(ledger, store, since, max_rows, killed_after, clock=mine)
        clock.now += passed * HOUR
        if clock.now >= now + HOUR:
            ledger.figures[now] = 9
    held = {row["start_time"]: row["input_tokens"] for row in ToyShelf(store.memory).rows(HOURLY)}
    expected = {
        start: figure
        for start in range(since, int(clock.now), HOUR)
        if (figure := ledger.figures.get(start, 0)) is not None
    }
    assert {start: held.get(start, 0) for start in expected} == expected
