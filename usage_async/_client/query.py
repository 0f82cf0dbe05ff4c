"""UsageQuery: streaming, summing and verifying one query."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from usage_async._api.endpoints import Endpoint
from usage_async._api.pages import (
    UsageResponse,
    UsageTimeBucket,
)
from usage_async._api.results import (
    UsageResult,
    UsageRow,
)
from usage_async._codec.pages import PageDecoder
from usage_async._engine.engine import Engine
from usage_async._engine.stream import Stream, start
from usage_async._http.fetch import in_turns
from usage_async._query.request import CheckedQuery
from usage_async._query.scope import DIMENSION
from usage_async._query.times import TimeRange
from usage_async._query.windows import Window, round_up
from usage_async.errors import QueryError

if TYPE_CHECKING:
    from usage_async._codec.columns import Columns
    from usage_async._codec.decoded import Decoded
    from usage_async._codec.schemas import RecordBatch, Table
    from usage_async._engine.answers import Answer, Method
    from usage_async._engine.cache import CacheAccess
    from usage_async._http.fetch import Decoder
    from usage_async._sums.totals import Summary, Totals
    from usage_async._sums.verification import RangeFigures, Verification

R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")


@attrs.frozen
class UsageQuery(Generic[R]):
    """Query of one endpoint. It sends nothing until it is used, and can be used several times.

    `async for` over a query gives its buckets in order of time. Queries of one client with equal
    parameters are equal.
    """

    _engine: Engine
    _query: CheckedQuery
    _kind: type[R]
    _cache: CacheAccess | None = None

    def __repr__(self) -> str:
        return f"client.{self._query}"

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint of the query."""
        return self._query.endpoint

    @property
    def bucket_width(self) -> str | None:
        """Width of a bucket, such as `1d`; None for an endpoint that this release does not know."""
        return self._query.bucket_width

    @property
    def group_by(self) -> tuple[str, ...]:
        """Dimensions that the query groups by."""
        return self._query.group_by

    @property
    def filters(self) -> Mapping[str, tuple[str, ...]]:
        """Values of the filters, as they are sent, by parameter."""
        return MappingProxyType(dict(self._query.filters))

    def __aiter__(self) -> Stream[UsageTimeBucket[R]]:
        return self.stream()

    def stream(self) -> Stream[UsageTimeBucket[R]]:
        """Begin a run that gives buckets."""
        return self._stream(None)

    def pages(self) -> Stream[UsageResponse[R]]:
        """Begin a run that gives pages, which are requested one after another.

        The `next_page` of a page can be saved. A query with the same arguments and `page=` reads on
        from there, if its times are absolute.
        """
        # A cursor works with the range that it was made with only, so the range is not cut.
        return self._begin(self._pages, _page, concurrency=1)

    def results(self) -> Stream[tuple[UsageTimeBucket[R], R]]:
        """Begin a run that gives every result together with its bucket."""
        return self._begin(self._pages, _results)

    def rows(self) -> Stream[UsageRow]:
        """Begin a run that gives every result, including those of other kinds, as a flat row."""
        return self._begin(self._pages, _rows)

    def arrow_batches(self, *, exact: bool = False) -> Stream[RecordBatch]:
        """Begin a run that gives the results as Arrow record batches, as pages come.

        Rows of other kinds than the endpoint's own are not among them; a notice says so
        (`other-results`). The first call of a process imports pyarrow, for which the event loop
        waits; `await asyncio.to_thread(usage_async.arrow_schema, "costs")` before it spares that.

        Args:
            exact: Round money and quantities that have more than 18 decimal places, half to even,
                and add all digits as texts: `amount_exact`, `quantity_exact`.

        Raises:
            ConfigurationError: pyarrow is not installed.
        """
        from usage_async._codec.columns import Columns

        columns = Columns(self._kind, exact=exact)
        return self._into(columns, columns.batches)

    async def to_arrow(self, *, exact: bool = False) -> Table:
        """Read every result into an Arrow table, whose metadata name the query and the notices.

        Rows of other kinds than the endpoint's own are not in it; a notice says so
        (`other-results`). `extra` holds unknown fields as JSON: those of a row, those of its amount
        under `amount`, and those of its bucket under `bucket`. A `_` follows such a name where the
        row has an unknown field of this name itself.

        Args:
            exact: Round money and quantities that have more than 18 decimal places, half to even,
                and add all digits as texts: `amount_exact`, `quantity_exact`.

        Raises:
            ConfigurationError: pyarrow is not installed.
            UsageError: A figure does not fit into its column.
        """
        from usage_async._codec.columns import Chunks

        columns, chunks = await self._columns(exact=exact), Chunks()
        async with self._into(columns, columns.stored) as stream:
            async for batch in stream:
                chunks.add(batch)
        return columns.table(chunks.all(), self._about(stream))

    async def write_parquet(self, path: str | PathLike[str], *, exact: bool = False) -> None:
        """Write every result into a Parquet file, as pages come.

        The file appears when it is whole; an old one is replaced only then. Its metadata name the
        query and the notices.

        Args:
            path: The file.
            exact: As in `to_arrow`.

        Raises:
            ConfigurationError: pyarrow is not installed.
            UsageError: A figure does not fit into its column.
            OSError: The file cannot be written.
        """
        from usage_async._client.files import write_file
        from usage_async._codec.formats import WRITERS

        columns = await self._columns(exact=exact)
        async with self._into(columns, columns.batches) as stream:
            about = partial(self._about, stream)
            await write_file(path, stream, columns.schema, about, WRITERS["parquet"])

    async def _columns(self, *, exact: bool) -> Columns:
        from usage_async._codec.columns import Columns
        from usage_async._codec.schemas import pyarrow

        if not pyarrow.cache_info().currsize:
            # The first import takes 0.2 s, with pandas more, which would stall the event loop.
            await asyncio.to_thread(pyarrow)
        return Columns(self._kind, exact=exact)

    def _into(
        self, columns: Columns, flatten: Callable[[UsageResponse[R]], Iterable[RecordBatch]]
    ) -> Stream[RecordBatch]:
        from usage_async._codec.columns import ColumnDecoder

        return self._begin(ColumnDecoder(columns), flatten)

    def _about(self, stream: Stream[Any]) -> dict[str, str]:
        from usage_async._client.files import facts

        return facts(self, stream)

    async def collect(self) -> list[UsageTimeBucket[R]]:
        """Read every bucket."""
        async with self.stream() as stream:
            return [bucket async for bucket in stream]

    async def first(self) -> UsageTimeBucket[R] | None:
        """Read the first bucket by one request; None if there is none."""
        return await self._answer("first", (), self._first)

    async def total(self) -> R:
        """Add up everything, exactly. Missing buckets are notices, which `summary` returns.

        Raises:
            IncompleteError: There are rows of a kind that this release cannot add up.
            MixedCurrencyError: There are amounts in several currencies.
        """
        return await self._answer("total", (), self._total)

    async def totals(self, *dimensions: str) -> list[R]:
        """Add up everything by the dimensions that the query groups by.

        Args:
            dimensions: Dimensions to keep; by default all that the query groups by.

        Returns:
            One row for each group and currency, the largest first by the endpoint's measure.

        Raises:
            QueryError: The query does not group by the dimension.
            IncompleteError: There are rows of a kind that this release cannot add up.
        """
        self._check(dimensions)
        dimensions = dimensions or self._query.group_by
        return await self._answer("totals", dimensions, partial(self._groups, dimensions))

    async def summary(self, *dimensions: str) -> Summary[R]:
        """Add up everything, in total and by dimension, with the facts that limit its meaning.

        Args:
            dimensions: Dimensions to keep; by default all that the query groups by.

        Raises:
            QueryError: The query does not group by the dimension.
            IncompleteError: There are rows of a kind that this release cannot add up.
            MixedCurrencyError: There are amounts in several currencies.
        """
        self._check(dimensions)
        dimensions = dimensions or self._query.group_by
        return await self._answer("summary", dimensions, partial(self._summary, dimensions))

    async def verify(self, *, strict: bool = False) -> Verification:
        """Prove that the figures of this query are complete.

        Every expected bucket must come exactly once. In settled buckets, the groups must add up to
        the figures of a second query without groups. Buckets that differ are read once more by both
        queries, since they may have been revised in between. For a query without groups, only the
        presence of its buckets is checked. A saved cursor is ignored: the whole range is verified.

        Args:
            strict: True to raise unless the proof succeeds.

        Raises:
            IncompleteError: There are rows of a kind that this release cannot add up. With
                `strict`: buckets are missing or differ, or none was checked.
        """
        from usage_async._sums.verification import Verification

        self._totals((), 0)  # raises if figures of this kind cannot be added up
        query = attrs.evolve(self._query, page=None)
        grouped, window = await self._read(query)
        differing: tuple[int, ...] = ()
        # In a scope the ungrouped figure is that of each project, too.
        scoped = () if query.scope is None else (DIMENSION,)
        compared = tuple(each for each in query.group_by if each not in scoped)
        if compared:
            whole = await self._read_whole(window)
            differing = await in_turns(grouped.differing(whole))
        if differing:
            end = differing[-1] + window.width_s if window.width_s else window.end
            again = attrs.evolve(query, start=differing[0], end=end)
            grouped_again, window_again = await self._read(again)
            whole_again = await self._read_whole(window_again)
            differing = tuple(
                start for start in differing if not grouped_again.agrees(whole_again, start)
            )
        verification = Verification(
            checked=tuple(start for start in grouped.figures if start not in differing),
            unsettled=tuple(grouped.unsettled),
            missing=grouped.missing(window),
            differing=differing,
            compared=compared,
        )
        if strict:
            verification.raise_if_incomplete()
        return verification

    async def _read_whole(self, window: Window) -> RangeFigures:
        """Read the figures without groups of a range that was read with groups."""
        from usage_async._sums.verification import RangeFigures

        if window.start >= window.end:
            return RangeFigures(window.start)
        # Exactly the same range: without groups, the history may begin earlier.
        end = round_up(window.end, window.width_s)
        same = attrs.evolve(self._query, page=None, group_by=(), start=window.start, end=end)
        figures, _ = await self._read(same)
        return figures

    async def _read(self, query: CheckedQuery) -> tuple[RangeFigures, Window]:
        from usage_async._sums.verification import RangeFigures

        async with self._split(None, query) as stream:
            figures = RangeFigures(stream.as_of, self._engine.settle_after)
            async for bucket in stream:
                figures.add(bucket)
        return figures, Window(stream.start_time, stream.end_time, query.width_s)

    async def _answer(
        self,
        method: Method,
        arguments: tuple[str, ...],
        read: Callable[[int | None], Coroutine[Any, Any, Answer[T]]],
        *,
        is_rendered: bool = False,
    ) -> T:
        """Read, or ask the cache of the client, which reads as of an instant."""
        if self._cache is None:
            return (await read(None))[0]
        from usage_async._engine.answers import Question

        question = Question(self._query, method, arguments, is_rendered)
        answer: T = await self._cache.answer(question, read)
        return answer

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait no longer than the `wait_s` of a cached client; others wait without end."""
        if self._cache is None:
            return await work
        return await self._cache.in_time(work, self.endpoint.name)

    async def _first(self, now: int | None) -> Answer[UsageTimeBucket[R] | None]:
        # A cursor works with the limit that it was made with only.
        one = self._query if self._query.page else attrs.evolve(self._query, limit=1)
        stream = self._begin(self._pages, _buckets, query=one, concurrency=1, now=now)
        async with stream:
            bucket = await anext(stream, None)
        as_of, after = datetime.fromtimestamp(stream.as_of, UTC), self._engine.settle_after
        return bucket, bucket is not None and bucket.is_settled(as_of, after=after)

    async def _total(self, now: int | None) -> Answer[R]:
        totals, stream = await self._add_up((), now)
        return self._made(totals.total(), stream)

    async def _groups(self, dimensions: tuple[str, ...], now: int | None) -> Answer[list[R]]:
        totals, stream = await self._add_up(dimensions, now)
        return self._made(await in_turns(totals.groups_in_steps()), stream)

    async def _summary(self, dimensions: tuple[str, ...], now: int | None) -> Answer[Summary[R]]:
        from usage_async._sums.totals import Summary

        covered, settled = None, None
        async with self._split(now) as stream:
            total = self._totals((), stream.as_of)
            groups = self._totals(dimensions, stream.as_of)
            as_of = datetime.fromtimestamp(stream.as_of, UTC)
            async for bucket in stream:
                await _add(total, bucket)
                await _add(groups, bucket)
                begin = covered.start_time if covered else bucket.start_time
                covered = TimeRange(begin, bucket.end_time)
                if bucket.is_settled(as_of, after=self._engine.settle_after):
                    settled = bucket.end
        result = Summary(
            total=total.total(),
            groups=await in_turns(groups.groups_in_steps()),
            requested=stream.requested,
            covered=covered,
            settled_through=settled,
            as_of=as_of,
            notices=stream.notices,
        )
        return self._made(result, stream)

    def _made(self, value: T, stream: Stream[Any]) -> Answer[T]:
        """Make the answer of a finished run; only what is complete can be settled."""
        end = round_up(stream.requested.end_time, self._query.width_s)
        is_old = end <= stream.as_of - self._engine.settle_after // timedelta(seconds=1)
        is_complete = all(notice.code != "missing-bucket" for notice in stream.notices)
        return value, is_old and is_complete

    async def _add_up(
        self, dimensions: tuple[str, ...], now: int | None
    ) -> tuple[Totals[R], Stream[UsageTimeBucket[R]]]:
        async with self._split(now) as stream:
            totals = self._totals(dimensions, stream.as_of)
            async for bucket in stream:
                await _add(totals, bucket)
        return totals, stream

    def _stream(self, now: int | None) -> Stream[UsageTimeBucket[R]]:
        return self._begin(self._pages, _buckets, now=now)

    def _split(
        self, now: int | None, query: CheckedQuery | None = None
    ) -> Stream[UsageTimeBucket[R]]:
        """Begin a run for sums, which gives the rows of a scope's projects one by one."""
        return self._begin(self._pages, _buckets, query=query, now=now, is_split=True)

    def _begin(
        self,
        decoder: Decoder[Decoded[R]],
        flatten: Callable[[UsageResponse[R]], Iterable[T]],
        *,
        query: CheckedQuery | None = None,
        concurrency: int | None = None,
        now: int | None = None,
        is_split: bool = False,
    ) -> Stream[T]:
        """Begin a run; rows of a scope pass its gate.

        Args:
            decoder: Reader of the pages.
            flatten: Function that makes the items of the stream from a page.
            query: The query to read; by default this one.
            concurrency: The most pages at a time; by default the client's.
            now: Unix seconds; by default those of the clock.
            is_split: True to leave the rows of a scope's projects apart.
        """
        query = query or self._query
        if query.scope is not None:
            from usage_async._engine.gate import gated

            is_added = not is_split and DIMENSION not in query.group_by
            decoder = gated(decoder, query, self._totals(query.group_by, 0) if is_added else None)
        return start(self._engine, query, decoder, flatten, concurrency, now=now)

    @property
    def _pages(self) -> PageDecoder[R]:
        return PageDecoder(self._kind)

    def _check(self, dimensions: tuple[str, ...]) -> None:
        for dimension in dimensions:
            if dimension not in self._query.group_by:
                raise QueryError(f"{self!r} does not group by {dimension!r}: add it to group_by")

    def _totals(self, dimensions: tuple[str, ...], as_of: int) -> Totals[R]:
        from usage_async._sums.totals import Totals

        return Totals(self._kind, self._query.endpoint.measure, dimensions, as_of=as_of)


async def _add(totals: Totals[R], bucket: UsageTimeBucket[R]) -> None:
    """Add a bucket to sums; give the event loop turns if the bucket is large."""
    for _ in totals.add_in_steps(bucket):
        await asyncio.sleep(0)


def _buckets(page: UsageResponse[R]) -> Iterable[UsageTimeBucket[R]]:
    # A page is freed bucket by bucket: freeing a large one in one go would block the event loop.
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
