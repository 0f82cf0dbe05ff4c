"""Late data: an emulated service revises, empties, fills and leaves out buckets that have ended.

Of every hourly run the store must equal what the service sends, but for buckets that it leaves out.
`PYTHONPATH=tests python tests/collect/test_late_data.py` simulates thirty days in each store.
"""

import asyncio
import random
from contextlib import nullcontext
from typing import Any

import attrs
import msgspec
import pytest
from collecting import DAY, HOUR, ORGANIZATION, ToyShelf, ordered
from service import KEY, Clock

from usage_async import ENDPOINTS, UsageClient
from usage_async.collect import Feed, snapshots
from usage_async.collect.rows import dimensions_of, figures_of
from usage_async.emulator import Organization, Quirks
from usage_async.emulator.service.page import make_page
from usage_async.emulator.service.query import parse

FEED = Feed.parse("embeddings:1h:project")
BEGUN = 1_795_219_200
"""2026-11-21, midnight UTC."""
LATE_HOURS = 60
"""Age of the oldest bucket that still changes. The client expects no change after 72 hours."""
DIMENSIONS, FIGURES = (each(FEED.described.result_class) for each in (dimensions_of, figures_of))
_encode = msgspec.json.Encoder(decimal_format="number").encode


@attrs.define
class Service:
    """The emulator's answers, without its sockets.

    Attributes:
        clock: Its clock, and the client's.
        quirks: Buckets that are empty or left out now.
    """

    clock: Clock
    organization: Organization = attrs.Factory(Organization)
    quirks: Quirks = attrs.Factory(lambda: Quirks(settling_days=2))

    async def __call__(self, path, params, headers):
        return 200, {}, _encode(self._page(params))

    def _page(self, params):
        now = int(self.clock.now)
        endpoint = ENDPOINTS[FEED.endpoint]
        return make_page(
            self.organization, parse(endpoint, params, now, self.quirks), now, self.quirks
        )

    def sent(self, start: int) -> dict[int, dict[Any, Any]]:
        """Figures of each group of each bucket that is sent, from a start on."""
        given = {
            "start_time": start,
            "end_time": int(self.clock.now),
            "bucket_width": FEED.bucket_width,
            "limit": 168,
        }
        group_by = [("group_by", name) for name in FEED.group_by]
        page = self._page([(name, str(value)) for name, value in given.items()] + group_by)
        assert not page["has_more"]
        return {each["start_time"]: _groups(each["results"]) for each in page["data"]}


def _groups(rows):
    return {
        frozenset((name, row[name]) for name in DIMENSIONS if row.get(name) is not None): {
            name: row[name] for name in FIGURES if row.get(name) is not None
        }
        for row in rows
    }


def change(quirks, now, draw):
    """Empty some buckets that have ended, fill others, leave out some, and send others."""
    last = now // HOUR * HOUR

    def drawn(starts, often, *, until):
        # What has been empty until then stays so, since nobody reads it again.
        kept = [each for each in starts if each < until or draw.random() > 0.1]
        more = [last - draw.randrange(LATE_HOURS) * HOUR for _ in range(draw.random() < often)]
        return tuple(sorted({*kept, *more}))

    return attrs.evolve(
        quirks,
        empty_starts=drawn(quirks.empty_starts, 0.4, until=last - LATE_HOURS * HOUR),
        missing_starts=drawn(quirks.missing_starts, 0.3, until=0),
    )


def held(shelf, start):
    """Read a store in the form of `Service.sent`; a bucket without rows is not in it."""
    found: dict[int, dict[Any, Any]] = {}
    for row in shelf.rows(FEED):
        if row["start_time"] >= start:
            found.setdefault(row["start_time"], {}).update(_groups([row]))
    return found


async def simulate(shelf, days):
    """Run every hour, and compare after each run.

    Returns:
        The number of revisions, of buckets that were ever empty, and of those left out.
    """
    clock, draw = Clock(BEGUN + 5 * 60), random.Random(7)  # noqa: S311 - repeatable
    service = Service(clock)
    truth: dict[int, dict[Any, Any]] = {}
    read: set[int] = set()
    expected, emptied, left_out = [], set(), set()
    backend = shelf.open()
    async with UsageClient(KEY, transport=service, runtime=clock.runtime) as client:
        for hour in range(days * 24):
            now = int(clock.now)
            since = min([now // HOUR * HOUR - 4 * DAY, *service.quirks.missing_starts])
            since = max(BEGUN, since)
            service.quirks = change(service.quirks, now, draw)
            emptied |= {*service.quirks.empty_starts}
            left_out |= {*service.quirks.missing_starts}
            place = backend.place(ORGANIZATION, FEED)
            async for each in snapshots(client, ORGANIZATION, FEED, place, BEGUN, max_rows=60):
                backend.apply(each, each.as_of)
            for start, groups in service.sent(since).items():
                if start in read:
                    expected += revisions(start, truth[start], groups, now)
                truth[start] = groups
                if start + HOUR <= now:
                    read.add(start)
            start = since if hour % 24 else BEGUN
            assert held(shelf, start) == {s: g for s, g in truth.items() if g and s >= start}
            clock.now += HOUR
    backend.close()
    if "revisions" in shelf.keeps:
        assert ordered(shelf.revisions()) == ordered(expected)
    return len(expected), len(emptied), len(left_out)


def revisions(start, before, after, now):
    """The revisions that a store should note."""
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            made = {
                "organization": ORGANIZATION,
                "table_name": FEED.table,
                "start_time": start,
                "dimensions": dict(key),
                "seen_at": now,
            }
            if key in before:
                made["old_figures"] = before[key]
            if key in after:
                made["new_figures"] = after[key]
            yield made


@pytest.mark.slow
async def test_after_each_run_of_many_days_a_store_equals_the_service(new_memory_shelf):
    revised, emptied, left_out = await simulate(new_memory_shelf(), 6)
    assert revised > 300
    assert emptied > 20
    assert left_out > 20


@pytest.mark.slow
@pytest.mark.parametrize("new_shelf", ["duckdb", "postgresql", "delta"], indirect=True)
async def test_a_database_equals_the_service_after_each_run(shelf):
    revised, *_ = await simulate(shelf, 1)
    assert revised > 3


if __name__ == "__main__":
    import logging

    from killing import KINDS

    logging.getLogger("usage_async").setLevel(logging.ERROR)  # it would tell what is left out

    makers = {"memory": lambda: nullcontext(ToyShelf)}
    makers |= {name: kind.shelves for name, kind in KINDS.items()}
    for name, shelves in makers.items():
        with shelves() as new:
            found = asyncio.run(simulate(new(), 30))
            print(f"{name}: {found[0]} revisions, {found[1]} emptied, {found[2]} left out")
