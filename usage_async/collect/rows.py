"""Rows of snapshots: one row a group, with all digits of each rounded figure. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import reduce
from itertools import islice
from typing import TYPE_CHECKING, Any

from usage_async._api.exact import plain
from usage_async._api.fields import fields_of
from usage_async._codec.schemas import fits_decimal, pyarrow, rounded
from usage_async._sums.totals import add
from usage_async.collect.feed import Feed
from usage_async.errors import UsageError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

_EXACT = "_exact"
_MORE_PLACES = r"\.[0-9]{19}"
"""A figure with more decimal places than a column of money has, which are 18."""


def summed_rows(table: Table, kind: Any) -> tuple[Table, int]:
    """Add the rows of a bucket that have equal dimensions, and keep the digits of rounded figures.

    Args:
        table: Rows of some buckets, with all digits of money as texts.
        kind: Class of the rows.

    Returns:
        The table, and the number of figures that were rounded.

    Raises:
        UsageError: A sum does not fit into its column.
    """
    return _with_digits_of_rounded(_added(_lowered(table), kind))


def dimensions_of(kind: Any) -> tuple[str, ...]:
    """Give the columns that tell the rows of a bucket apart, without its times.

    Beside the dimensions these are the currency, the unit of the quantity, and `extra`, which may
    hold a dimension that this release does not know.
    """
    found = [a.name for a in fields_of(kind, "dimension")]
    if fields_of(kind, "money"):
        found += ["currency", "quantity_unit"]
    return (*found, "extra")


def identity_of(feed: Feed) -> tuple[str, ...]:
    """Give the columns by which a row of a bucket is found again in a later reading.

    A field that the service adds, or that a release turns from `extra` into a column, makes no
    other row of it. So neither `extra` counts nor a dimension that was not asked for.
    """
    kind: Any = feed.described.result_class
    return (*feed.group_by, *(("currency", "quantity_unit") if fields_of(kind, "money") else ()))


def figures_of(kind: Any) -> tuple[str, ...]:
    """Give the columns of figures."""
    return tuple(a.name for a in fields_of(kind, "flow", "level", "money", "quantity"))


def _lowered(table: Table) -> Table:
    """Write currencies in lowercase, as sums do: `USD` and `usd` are the same."""
    if "currency" not in table.column_names or not table.num_rows:
        return table
    column: Any = table["currency"]
    texts = column.chunk(0).dictionary.to_pylist()
    if all(text == text.lower() for text in texts):
        return table
    pa = pyarrow()
    lowered = pa.array([text.lower() for text in texts], pa.string())
    chunks = [
        pa.DictionaryArray.from_arrays(chunk.indices, lowered, safe=False).cast(pa.string())
        for chunk in column.chunks
    ]
    made = pa.chunked_array(chunks).dictionary_encode()
    number, field = table.column_names.index("currency"), table.schema.field("currency")
    return table.set_column(number, field, made)


def _added(table: Table, kind: Any) -> Table:
    """Add the rows of a bucket whose dimensions are equal, which are rare."""
    pa = pyarrow()
    keys = ["start_time", *dimensions_of(kind)]
    numbered = pa.table({"row": pa.array(range(table.num_rows), pa.int64())})
    for name in keys:
        column: Any = table[name]
        if pa.types.is_dictionary(column.type):
            column = pa.chunked_array([chunk.indices for chunk in column.chunks], pa.int32())
        numbered = numbered.append_column(name, column)
    grouped = numbered.group_by(keys, use_threads=False)
    # Only a table with equal rows pays for the lists of their numbers.
    if grouped.aggregate([]).num_rows == table.num_rows:
        return table
    groups = grouped.aggregate([("row", "list")])
    several = [rows for rows in groups["row_list"].to_pylist() if len(rows) > 1]
    taken = [number for rows in several for number in rows]
    values = iter(table.take(taken).to_pylist())
    sums = [_sum(list(islice(values, len(rows))), kind) for rows in several]
    kept = sorted({*range(table.num_rows)}.difference(taken))
    places = [*kept, *(rows[0] for rows in several)]
    both = pa.concat_tables(
        [table.take(pa.array(kept, pa.int64())), pa.Table.from_pylist(sums, table.schema)]
    )
    order = sorted(range(both.num_rows), key=places.__getitem__)
    made: Table = both.unify_dictionaries().take(order)
    return made


def _sum(rows: Sequence[Mapping[str, Any]], kind: Any) -> dict[str, Any]:
    """Add rows of one group, and keep the first note of each column."""
    place = f"the bucket that starts at {rows[0]['start_time']:%Y-%m-%dT%H:%M:%SZ}"
    made: dict[str, Any] = {
        name: next((row[name] for row in rows if row[name] is not None), None) for name in rows[0]
    }
    for attribute in fields_of(kind, "flow", "level"):
        name = attribute.name
        found = [row[name] for row in rows if row[name] is not None]
        made[name] = sum(found) if found else None
        if found and not -(2**63) <= made[name] < 2**63:
            raise UsageError(f"{name} of {place} is {made[name]}, which an int64 cannot hold")
    for attribute in fields_of(kind, "money", "quantity"):
        name, digits = attribute.name, attribute.name + _EXACT
        values = [Decimal(row[digits]) for row in rows if row[digits] is not None]
        if not values:
            continue
        total = reduce(add, values)
        made[digits], made[name] = plain(total), rounded(total)
        if not fits_decimal(made[name]):
            raise UsageError(f"{name} of {place} is {plain(total)}, which no column can hold")
        units = (made.get("quantity_unit"), made.get("line_item"))
        if name == "quantity" and len(values) > 1 and units == (None, None):
            # Quantities of unknown units have no sum, as in the sums of a query.
            made[digits] = made[name] = None
    return made


def _with_digits_of_rounded(table: Table) -> tuple[Table, int]:
    """Drop the digits of figures that were not rounded, and count the others."""
    pa, count = pyarrow(), 0
    for number, name in enumerate(table.column_names):
        if name.endswith(_EXACT):
            is_rounded = pa.compute.match_substring_regex(table[name], _MORE_PLACES)
            nothing = pa.scalar(None, pa.string())
            digits = pa.compute.if_else(is_rounded, table[name], nothing)
            count += len(digits) - digits.null_count
            table = table.set_column(number, table.schema.field(number), digits)
    return table, count


def instants(times: Sequence[int]) -> Any:
    """Make an Arrow array of instants from Unix seconds."""
    pa = pyarrow()
    return pa.array([1_000_000 * time for time in times], pa.timestamp("us", tz="UTC"))
