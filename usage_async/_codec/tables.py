"""Tables: Arrow tables of values at hand, and what tables and files say about their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_origin

import attrs
import msgspec

from usage_async._api.pages import Notice, UsageTimeBucket
from usage_async._api.results import UsageResult, UsageRow
from usage_async._api.version import __version__
from usage_async._codec.columns import Columns
from usage_async._codec.schemas import Table, pyarrow
from usage_async._codec.shapes import bucket_kind
from usage_async.errors import UsageError

_ROWS = (UsageResult, UsageRow)


@attrs.frozen
class Loose:
    """Rows without a bucket."""

    results: Sequence[Any]


def about(
    notices: Iterable[Notice], *, start_time: str, end_time: str, as_of: str, query: str = ""
) -> dict[str, str]:
    """Describe the rows of a table or a file, for its metadata.

    Args:
        notices: What a careful reader should know, written as JSON: codes and messages.
        start_time: Start of the range that was asked for, ISO 8601.
        end_time: Its end, exclusive.
        as_of: Instant at which the run began.
        query: The query.
    """
    told = [{"code": notice.code, "message": notice.message} for notice in notices]
    facts = {
        "query": query,
        "start_time": start_time,
        "end_time": end_time,
        "as_of": as_of,
        "notices": msgspec.json.encode(told).decode(),
        "version": __version__,
    }
    return {f"usage_async.{name}": fact for name, fact in facts.items() if fact}


def to_arrow(
    values: Iterable[UsageTimeBucket[Any] | UsageResult | UsageRow],
    kind: Any = None,
    *,
    exact: bool = False,
) -> Table:
    """Make an Arrow table of values at hand: buckets, results of one kind, or flat rows.

    Results alone have no times. Rows of several kinds go into one table as flat rows, which
    `bucket.rows()` gives.

    Args:
        values: The values.
        kind: Their class, such as `CostsResult`, `UsageTimeBucket[CostsResult]` or `UsageRow`; by
            default that of the first row.
        exact: As in `UsageQuery.to_arrow`.

    Raises:
        ConfigurationError: pyarrow is not installed.
        TypeError: There is neither a row nor a `kind`; or a value is neither a row nor a bucket, or
            is one among the other.
        UsageError: The rows are of several kinds, or a figure does not fit into its column.
    """
    found: list[Any] = list(values)
    in_buckets = get_origin(kind) is UsageTimeBucket or isinstance(
        next(iter(found), None), UsageTimeBucket
    )
    _check_types(found, (UsageTimeBucket,) if in_buckets else _ROWS)
    buckets = found if in_buckets else [Loose(found)]
    rows = [row for bucket in buckets for row in bucket.results]
    if get_origin(kind) is UsageTimeBucket:
        kind = bucket_kind(kind)
    elif kind is None and rows:
        kind = type(rows[0])
    if not isinstance(kind, type) or not issubclass(kind, _ROWS):
        msg = "nothing tells which columns there are: pass a class of rows, such as CostsResult"
        raise TypeError(msg)
    _check_types(rows, _ROWS)
    others = [row for bucket in buckets for row in getattr(bucket, "other_results", ())]
    if kinds := {type(row) for row in (*rows, *others)} - {kind}:
        names = ", ".join(sorted(other.__name__ for other in kinds))
        msg = f"a table of {kind.__name__} does not hold {names}; bucket.rows() fit into one"
        raise UsageError(msg)
    columns = Columns(kind, exact=exact, loose=not in_buckets)
    return columns.table([columns.store(buckets)], {})


def _check_types(values: Sequence[Any], expected: tuple[type, ...]) -> None:
    wrong = next((t for t in dict.fromkeys(map(type, values)) if not issubclass(t, expected)), None)
    if wrong is not None:
        names = " or ".join(cls.__name__ for cls in expected)
        raise TypeError(f"expected {names} only, got {wrong.__name__}")


def table_of_texts(columns: Mapping[str, Sequence[str | None]]) -> Table:
    """Make an Arrow table of texts.

    Args:
        columns: Values by name of the column.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    pa = pyarrow()
    arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    table: Table = pa.table(arrays)
    return table
