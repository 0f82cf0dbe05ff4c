"""What a query of a client can do: streams, sums, proofs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Generic, TypeVar

import attrs

from usage_async._engine import Engine
from usage_async._pages import Stream
from usage_async._plan import Window
from usage_async._proof import Reading, Verification
from usage_async.errors import QueryError
from usage_async.models import UsageResponse, UsageResult, UsageRow, UsageTimeBucket
from usage_async.query import Query, TimeRange
from usage_async.totals import Summary, Totals

R = TypeVar("R", bound=UsageResult)


@attrs.frozen
class UsageQuery(Generic[R]):
    """What is asked of an endpoint; it sends nothing until it is used, and can be used again.

    Equal queries of one client are equal. `async for` over it gives its buckets, by time.
    """

    _engine: Engine
    _query: Query
    _kind: type[R]

    def __repr__(self) -> str:
        return f"client.{self._query}"

    def __aiter__(self) -> Stream[UsageTimeBucket[R]]:
        return self.stream()

    def stream(self) -> Stream[UsageTimeBucket[R]]:
        """Begin a run that gives buckets."""
        return self._engine.start(self._query, self._kind, _buckets)

    def pages(self) -> Stream[UsageResponse[R]]:
        """Begin a run that gives pages; `has_more` and `next_page` are those of their window."""
        return self._engine.start(self._query, self._kind, _page)

    def results(self) -> Stream[tuple[UsageTimeBucket[R], R]]:
        """Begin a run that gives every result, with its bucket."""
        return self._engine.start(self._query, self._kind, _results)

    def rows(self) -> Stream[UsageRow]:
        """Begin a run that gives every result as a flat row, those of other kinds too."""
        return self._engine.start(self._query, self._kind, _rows)

    async def collect(self) -> list[UsageTimeBucket[R]]:
        """Read every bucket."""
        async with self.stream() as stream:
            return [bucket async for bucket in stream]

    async def first(self) -> UsageTimeBucket[R] | None:
        """Read the first bucket, by one request; None where there is none."""
        # A cursor is bound to the limit that it was made with.
        one = self._query if self._query.page else attrs.evolve(self._query, limit=1)
        async with self._engine.start(one, self._kind, _buckets, concurrency=1) as stream:
            return await anext(stream, None)

    async def total(self) -> R:
        """Add everything up, exactly. Missing buckets are notices: `summary` carries them.

        Raises:
            IncompleteError: There are rows of a kind that has no known sum.
            MixedCurrencyError: There are amounts in several currencies.
        """
        return (await self._add_up(())).total()

    async def totals(self, *dimensions: str) -> list[R]:
        """Add everything up by some of the dimensions that the query groups by.

        Returns:
            One row a group, the largest first by the endpoint's measure; several currencies are
            several rows.

        Raises:
            QueryError: The query does not group by the dimension.
            IncompleteError: There are rows of a kind that has no known sum.
        """
        return (await self._add_up(dimensions)).groups()

    async def summary(self, *dimensions: str) -> Summary[R]:
        """Add everything up, in total and by some dimensions, and say how far to trust it.

        Raises:
            QueryError: The query does not group by the dimension.
            IncompleteError: There are rows of a kind that has no known sum.
            MixedCurrencyError: There are amounts in several currencies.
        """
        total, groups = self._totals(()), self._totals(dimensions)
        covered, settled = None, None
        async with self.stream() as stream:
            requested = TimeRange(stream.start_time, stream.end_time)
            as_of = datetime.fromtimestamp(stream.as_of, UTC)
            async for bucket in stream:
                total.add(bucket)
                groups.add(bucket)
                begin = covered.start_time if covered else bucket.start_time
                covered = TimeRange(begin, bucket.end_time)
                if bucket.is_settled(as_of):
                    settled = bucket.end
        return Summary(
            total=total.total(),
            groups=groups.groups(),
            requested=requested,
            covered=covered,
            settled_through=settled,
            as_of=as_of,
            notices=stream.notices,
        )

    async def verify(self, *, strict: bool = False) -> Verification:
        """Prove that what this query reads is whole.

        Every expected bucket must come exactly once, and over settled buckets the groups must add
        up to the ungrouped figure of a second, cheaper query. Where they do not, both are read
        again once, since figures may have been revised in between.

        Args:
            strict: Raise unless everything is proven.

        Raises:
            IncompleteError: There are rows of a kind that has no known sum; or, with `strict`,
                buckets are missing or differ.
        """
        self._totals(())  # refuses a kind whose figures nobody can compare
        query = attrs.evolve(self._query, page=None)
        grouped, window = await self._read(query)
        differing = await self._differing(grouped, window)
        if differing:
            again = attrs.evolve(query, start=differing[0], end=differing[-1] + 1)
            still = await self._differing(*await self._read(again))
            differing = tuple(start for start in differing if start in still)
        verification = Verification(
            checked=tuple(start for start in grouped.figures if start not in differing),
            unsettled=tuple(grouped.unsettled),
            missing=grouped.missing(window),
            differing=differing,
        )
        if strict:
            verification.raise_if_incomplete()
        return verification

    async def _differing(self, grouped: Reading, window: Window) -> tuple[int, ...]:
        if not self._query.group_by or window.start >= window.end:
            return ()
        # The very range that was read: without groups the history may begin earlier.
        same = attrs.evolve(self._query, page=None, group_by=(), start=window.start, end=window.end)
        whole, _ = await self._read(same)
        return grouped.differing(whole)

    async def _read(self, query: Query) -> tuple[Reading, Window]:
        async with self._engine.start(query, self._kind, _buckets) as stream:
            reading = Reading(stream.as_of)
            async for bucket in stream:
                reading.add(bucket)
        return reading, Window(stream.start_time, stream.end_time, query.width_s)

    async def _add_up(self, dimensions: tuple[str, ...]) -> Totals[R]:
        totals = self._totals(dimensions)
        async with self.stream() as stream:
            async for bucket in stream:
                totals.add(bucket)
        return totals

    def _totals(self, dimensions: tuple[str, ...]) -> Totals[R]:
        for dimension in dimensions:
            if dimension not in self._query.group_by:
                raise QueryError(f"{self!r} does not group by {dimension!r}: add it to group_by")
        return Totals(self._kind, self._query.endpoint.measure, dimensions)


def _buckets(page: UsageResponse[R]) -> Iterable[UsageTimeBucket[R]]:
    # A large page is freed bucket by bucket: in one piece it would hold the event loop.
    left = deque(page.data)
    del page
    while left:
        yield left.popleft()


def _page(page: UsageResponse[R]) -> Iterable[UsageResponse[R]]:
    return (page,)


def _results(page: UsageResponse[R]) -> Iterable[tuple[UsageTimeBucket[R], R]]:
    return ((bucket, result) for bucket in _buckets(page) for result in bucket.results)


def _rows(page: UsageResponse[R]) -> Iterable[UsageRow]:
    return (row for bucket in _buckets(page) for row in bucket.rows())
