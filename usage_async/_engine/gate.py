"""Gate: the only way by which rows reach a query with a scope.

Theory of operation. Every page of such a query is read by a `GatedDecoder`, within the request,
before the merge, the stream or a sum sees it. It checks each row, adds the rows of each bucket up
to the grouping that was asked for, and removes what the scope does not show. Sums over several
buckets add the rows of single projects instead: the sum of a bucket may have no quantity,
because its units differ or are unknown, and the sum of such sums would look as if it had one. The
invariants:

- *All or nothing*: one row that is not provably of a requested project, and no row of the page is
  shown. The reply is an error, which is the same for every such row.
- *No words of the service*: rows of others may be quoted in errors and notices. So errors are
  replaced by ones in words of our own, and notices about the text of a page are not made.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

import attrs

from usage_async._api.codegen import maker, reader
from usage_async._api.exact import NO_EXTRA
from usage_async._api.fields import fields_of
from usage_async._api.pages import UsageResponse, UsageTimeBucket
from usage_async._api.results import UsageResult
from usage_async._codec.decoded import Decoded
from usage_async._codec.pages import Keeper, PageDecoder
from usage_async._codec.redactor import Redactor
from usage_async._engine.wordless import OUTSIDE, unreadable
from usage_async._http.fetch import Decoder
from usage_async._query.request import CheckedQuery
from usage_async._query.scope import DIMENSION, FILTER, PEOPLE
from usage_async.errors import ResponseError

R = TypeVar("R", bound=UsageResult)

_STEP_ROWS = 1000
"""Rows that are looked at in one turn of the event loop: some 3 ms."""
_BUCKET_ROWS = 10
"""Rows that a bucket takes as long as."""

_HIDDEN = frozenset({"extra", "organization_id", "organization_name"})
"""Fields that tell of more than the scope's projects."""


class BucketSums(Protocol):
    """Sums of the rows of a bucket, such as `Totals`."""

    def emptied(self) -> Any:
        """Give sums of the same kind to which nothing was added."""
        ...


def gated(
    decoder: Decoder[Decoded[Any]], query: CheckedQuery, sums: BucketSums | None
) -> GatedDecoder[Any]:
    """Put the gate around the decoder of a query with a scope.

    Args:
        decoder: The decoder: of objects, or of columns, which are then made of the objects.
        query: The query.
        sums: Adds the rows of a bucket up to the grouping that was asked for; None to leave them.

    Raises:
        TypeError: The gate cannot look into what the decoder reads.
    """
    if isinstance(decoder, PageDecoder):
        return GatedDecoder(decoder, query, sums)
    columns = getattr(decoder, "columns", None)
    if columns is None:
        raise TypeError(f"a scope cannot look into what {type(decoder).__name__} reads")
    return GatedDecoder(PageDecoder(columns.kind), query, sums, columns)


class GatedDecoder(Generic[R]):
    """Reader of the pages of a query with a scope, for `fetch`.

    Args:
        pages: Reader of the pages.
        query: The query.
        sums: See `gated`.
        keeper: Maker of what is held in place of buckets; None to hold them as they are.

    Attributes:
        scope: Scope of the query.
    """

    def __init__(
        self,
        pages: PageDecoder[R],
        query: CheckedQuery,
        sums: BucketSums | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        kind: Any = pages.kind
        self.scope = query.scope
        self._pages, self._sums, self._keeper = pages, sums, keeper
        self._allowed = frozenset(dict(query.filters)[FILTER])
        hidden = [a for a in fields_of(kind) if _is_hidden(a, query)]
        shown = tuple(a.name for a in fields_of(kind) if a not in hidden)
        self._read, self._make = reader(shown), maker(kind, shown)
        self._read_hidden = reader([a.name for a in hidden])
        self._nothing = tuple(a.default for a in hidden)
        self._project_of = attrgetter(DIMENSION)

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:
        """See `pages.probe`."""
        error = self._pages.probe(body, redactor)
        return error and unreadable(error)

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, Decoded[R]]:
        """Read a page, and check every row.

        Raises:
            ResponseError: It is no page, or a row is not provably of the scope.
        """
        try:
            decoded = yield from self._pages.decode(body, redactor)
        except ResponseError as error:
            failure = unreadable(error)
        else:
            data = yield from self._checked(decoded.page)
            if self._keeper is not None:
                data = yield from _kept(data, self._keeper)
            page = attrs.evolve(decoded.page, data=tuple(data), extra=NO_EXTRA)
            return Decoded(page, (), partial(self.decode, body, redactor))
        raise failure

    def _checked(self, page: UsageResponse[R]) -> Generator[None, None, list[UsageTimeBucket[R]]]:
        found, rows = [], 0
        for bucket in page.data:
            rows += len(bucket.results) + _BUCKET_ROWS
            if rows > _STEP_ROWS:
                rows = 0
                yield
            shown = yield from self._shown(bucket)
            found.append(shown)
        return found

    def _shown(self, bucket: UsageTimeBucket[R]) -> Generator[None, None, UsageTimeBucket[R]]:
        rows: Sequence[R] = bucket.results
        if bucket.other_results or not self._allowed.issuperset(map(self._project_of, rows)):
            raise ResponseError(OUTSIDE, retryable=False)
        if self._sums is not None and rows:
            sums = self._sums.emptied()
            yield from sums.add_in_steps(bucket)
            rows = yield from sums.groups_in_steps()
        results: list[R] = []
        for start in range(0, len(rows), _STEP_ROWS):
            if start:
                yield
            results += map(self._row, rows[start : start + _STEP_ROWS])
        return UsageTimeBucket[R](
            start_time=bucket.start_time, end_time=bucket.end_time, results=tuple(results)
        )

    def _row(self, row: R) -> R:
        """Leave out what the scope does not show; most rows hold nothing of it."""
        shown: Any = row
        if self._read_hidden(row) != self._nothing:
            shown = self._make(*self._read(row))
        amount: Any = getattr(shown, "amount", None)
        if amount is not None and amount.extra:
            shown = attrs.evolve(shown, amount=attrs.evolve(amount, extra=NO_EXTRA))
        return shown  # type: ignore[no-any-return] # it is of the kind of the row


def _kept(
    buckets: Sequence[UsageTimeBucket[R]], keeper: Keeper
) -> Generator[None, None, list[Any]]:
    """Make what is held in place of buckets, some rows a step."""
    held: list[Any] = []
    for parts in _parted(buckets):
        made = keeper.keep(tuple(part for _, part in parts))
        for (number, _), bucket in zip(parts, made, strict=True):
            if number == len(held):
                held.append(bucket)
            else:
                held[number] = keeper.join(held[number], bucket)
        yield
    return held


def _parted(
    buckets: Sequence[UsageTimeBucket[R]],
) -> Iterator[list[tuple[int, UsageTimeBucket[R]]]]:
    """Group buckets and parts of large ones, with their numbers, into steps."""
    parts: list[tuple[int, UsageTimeBucket[R]]] = []
    rows = 0
    for number, bucket in enumerate(buckets):
        for start in range(0, len(bucket.results) or 1, _STEP_ROWS):
            part = attrs.evolve(bucket, results=bucket.results[start : start + _STEP_ROWS])
            rows += len(part.results)
            if rows > _STEP_ROWS:
                yield parts
                parts, rows = [], len(part.results)
            parts.append((number, part))
    yield parts


def _is_hidden(attribute: attrs.Attribute[Any], query: CheckedQuery) -> bool:
    if attribute.name in _HIDDEN:
        return True
    is_personal = attribute.name in PEOPLE or attribute.metadata["describes"] in PEOPLE
    return is_personal and query.scope is not None and not query.scope.people
