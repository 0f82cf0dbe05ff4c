"""Files of FOCUS: a query of costs, read as it comes, into CSV or Parquet."""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import attrs

from usage_async._api.exact import plain
from usage_async._api.pages import Notice, UsageTimeBucket
from usage_async._client.files import facts, joint_facts, write_file
from usage_async._client.query import UsageQuery
from usage_async._query.times import iso
from usage_async.errors import QueryError, UsageError
from usage_async.report.answers import Answer
from usage_async.report.csv import line
from usage_async.report.focus import COLUMNS, Charges, check_query
from usage_async.report.formats import FOCUS_FORMATS

if TYPE_CHECKING:
    from usage_async._codec.plain_columns import Kind
    from usage_async._engine.stream import Stream

_log = logging.getLogger("usage_async")

_ROWS = 1 << 14
"""Rows that are written at a time: each write takes a thread."""

_ROUNDED = ("BilledCost", "ConsumedQuantity", "PricingQuantity")
"""Columns whose digits `exact` keeps; the other costs equal the first."""

Buckets = Sequence[UsageTimeBucket[Any]]
Write = Callable[..., Awaitable[None]]
"""`write_file` or `write_batches` with its file."""


async def write_focus(
    query: UsageQuery[Any], path: str | PathLike[str], *, exact: bool = False
) -> tuple[Notice, ...]:
    """Write costs as FOCUS 1.2, as pages come; `usage_async.report.focus` describes the columns.

    The file appears when it is whole; an old one is replaced only then.

    Args:
        query: Costs by project and line item:
            `client.costs(period="2026-10", group_by=["project_id", "line_item"])`.
        path: The file, which ends with `.csv` or `.parquet`.
        exact: In Parquet, round what has more than 18 decimal places, half to even, and add all
            digits as texts. CSV always has all digits.

    Returns:
        The notices of the run and those of the file: `left-out` for rows without an amount,
        `no-account` for rows whose organization is not known.

    Raises:
        ConfigurationError: Parquet is asked for, and pyarrow is not installed.
        QueryError: The query is another one, or the ending is.
        UsageError: A figure does not fit into its column, or there are rows of an unknown kind.
        OSError: The file cannot be written.
    """
    ending = Path(path).suffix.lower()
    form = next((form for form in FOCUS_FORMATS.values() if ending in form.endings), None)
    if form is None:
        raise QueryError(f"{path}: files of FOCUS end with .csv or .parquet")
    return await write_charges(partial(write_file, path), query, form.load(), exact=exact)


async def write_charges(
    write: Write, query: UsageQuery[Any], writer: Callable[..., object], *, exact: bool = False
) -> tuple[Notice, ...]:
    """Write costs as FOCUS 1.2 into a file that somebody else has opened, or will.

    Args:
        write: Takes batches, schema, metadata and writer, as `write_batches` does after its file.
        query: As for `write_focus`.
        writer: Class of the writer, as `FOCUS_FORMATS` gives it.
        exact: As for `write_focus`.

    Returns:
        As `write_focus`.

    Raises:
        UsageError: As for `write_focus`.
    """
    check_query(query.endpoint.name, query.group_by)
    async with query.stream() as stream:
        charges = Charges(query.group_by, as_of=stream.as_of, settled_before=stream.settled_before)

        def about() -> Mapping[str, str]:
            return facts(query, stream, *charges.notices())

        open_writer = partial(writer, charges=charges, exact=exact)
        async with aclosing(_parts(stream)) as parts:
            await write(parts, None, about, open_writer)
    own = tuple(charges.notices())
    _tell(own)
    return (*stream.notices, *own)


def _tell(notices: Iterable[Notice]) -> None:
    for notice in notices:
        _log.warning("%s: %s", notice.endpoint, notice.message)


@attrs.frozen
class Charged:
    """Costs of one organization, for a file of several.

    Attributes:
        query: The query.
        stream: Its run, which has ended.
        charges: Makes the rows.
        buckets: All buckets.
    """

    query: UsageQuery[Any]
    stream: Stream[Any]
    charges: Charges
    buckets: Buckets


async def read_charged(query: UsageQuery[Any]) -> Charged:
    """Read all costs of an organization, so that none stands in a file if a later page fails.

    Raises:
        UsageError: As for `write_focus`.
    """
    check_query(query.endpoint.name, query.group_by)
    async with query.stream() as stream:
        charges = Charges(query.group_by, as_of=stream.as_of, settled_before=stream.settled_before)
        buckets = [bucket async for bucket in stream]
    return Charged(query, stream, charges, buckets)


async def write_charged(
    write: Write,
    answers: AsyncIterable[Answer[Charged]],
    writer: Callable[..., object],
    *,
    exact: bool = False,
) -> tuple[Notice, ...]:
    """Write the costs of several organizations into one file, one after the other.

    Args:
        write: As for `write_charges`.
        answers: The costs; organizations without any are passed over.
        writer: As for `write_charges`.
        exact: As for `write_focus`.

    Returns:
        As `write_focus`; each message begins with the name of the organization.

    Raises:
        UsageError: As for `write_focus`.
    """
    notices: list[Notice] = []
    about: dict[str, str] = {}
    written = ""

    async def batches() -> AsyncGenerator[Charged, None]:
        nonlocal written
        async for answer in answers:
            if (part := answer.value) is None:
                continue
            written = answer.name
            yield part
            own = [_of(answer.name, notice) for notice in part.charges.notices()]
            notices.extend(_of(answer.name, notice) for notice in part.stream.notices)
            notices.extend(own)
            _tell(own)
            about.update(joint_facts(part.query, part.stream, notices))

    open_writer = partial(writer, charges=_OfAll(), exact=exact)
    async with aclosing(batches()) as read:
        try:
            await write(read, None, lambda: about, open_writer)
        except UsageError as error:
            if not written:
                raise
            failure = UsageError(f"{written}: {error.message}")
        else:
            return tuple(notices)
    raise failure


def _of(name: str, notice: Notice) -> Notice:
    return attrs.evolve(notice, message=f"{name}: {notice.message}")


class _OfAll:
    """Rows of several organizations, as writers ask for them."""

    @staticmethod
    def rows(part: Charged) -> Iterator[dict[str, Any]]:
        return part.charges.rows(part.buckets)


async def _parts(stream: Stream[UsageTimeBucket[Any]]) -> AsyncGenerator[Buckets, None]:
    """Give the buckets of a run, as many at a time as are worth a write."""
    waiting: list[UsageTimeBucket[Any]] = []
    rows = 0
    async for bucket in stream:
        waiting.append(bucket)
        rows += len(bucket.results)
        if rows >= _ROWS:
            yield waiting
            waiting, rows = [], 0
    if waiting:
        yield waiting


class CsvWriter:
    """Writer of CSV, with all digits. No value is an empty cell."""

    def __init__(self, file: IO[bytes], _: object, *, charges: Charges, exact: bool) -> None:
        del exact  # its cells are exact in any case
        self._file, self._charges = file, charges
        file.write(line(COLUMNS))

    def write(self, buckets: Buckets) -> None:
        """Take buckets."""
        rows = self._charges.rows(buckets)
        self._file.write(b"".join(line(_cells(row)) for row in rows))

    def close(self, _: Mapping[str, str]) -> None:
        """Everything is written."""


def _cells(row: Mapping[str, Any]) -> Iterator[Any]:
    for name, kind in COLUMNS.items():
        value = row[name]
        yield iso(value) if kind == "time" and value is not None else value


class ParquetWriter:
    """Writer of Parquet."""

    def __init__(self, file: IO[bytes], _: object, *, charges: Charges, exact: bool) -> None:
        from usage_async._codec.formats import WRITERS
        from usage_async._codec.plain_columns import plain_schema

        self._charges = charges
        self._texts = {name: f"x_{name}Exact" for name in _ROUNDED} if exact else {}
        self._columns: Mapping[str, Kind] = {
            **COLUMNS,
            **dict.fromkeys(self._texts.values(), "text"),
        }
        self._schema = plain_schema(self._columns)
        self._writer = WRITERS["parquet"](file, self._schema)

    def write(self, buckets: Buckets) -> None:
        """Take buckets."""
        from usage_async._codec.plain_columns import plain_batch

        rows = list(map(self._fitted, self._charges.rows(buckets)))
        self._writer.write(plain_batch(self._columns, rows, self._schema))

    def close(self, metadata: Mapping[str, str]) -> None:
        """Write what is left, and facts about the rows."""
        self._writer.close(metadata)

    def _fitted(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the decimals of a row fit, and keep the digits of those that may be rounded."""
        from usage_async._codec.schemas import fits_decimal, rounded

        fitted = dict(row)
        for name, kind in COLUMNS.items():
            value = row[name]
            if kind != "decimal" or value is None or fits_decimal(value):
                continue
            fitted[name] = rounded(value)
            if not (self._texts and fits_decimal(fitted[name])):
                raise _misfit(name, row, can_round=fits_decimal(fitted[name]))
        for name, text in self._texts.items():
            fitted[text] = None if row[name] is None else plain(row[name])
        return fitted


def _misfit(name: str, row: Mapping[str, Any], *, can_round: bool) -> UsageError:
    """Describe a figure that does not fit into its column."""
    from usage_async._codec.schemas import MOST_WHOLE_DIGITS, SCALE

    what = f"{name} of the day that starts at {iso(row['ChargePeriodStart'])}"
    if not can_round:
        return UsageError(f"{what} has more than {MOST_WHOLE_DIGITS} digits before the point")
    return UsageError(
        f"{what} has {-row[name].as_tuple().exponent} decimal places, and a column of Parquet has"
        f" {SCALE}: exact=True rounds it, and keeps all digits as text; CSV has all digits"
    )
