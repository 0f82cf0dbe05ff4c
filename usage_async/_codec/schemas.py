"""Schemas of tables: the columns of a class of rows, and the import of pyarrow.

pyarrow is imported by this package only, and by nothing before a table is asked for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_type_hints

from usage_async._api.endpoints import ENDPOINTS, Endpoint, unknown_endpoint
from usage_async._api.fields import FIELDS, fields_of
from usage_async._api.results import CostsResultAmount, UsageRow
from usage_async._codec.packing import Column, Role
from usage_async.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    RecordBatch: TypeAlias = pa.RecordBatch
    Schema: TypeAlias = pa.Schema
    Table: TypeAlias = pa.Table
else:
    RecordBatch = Schema = Table = Any

SCALE = 18
"""Decimal places of a column of money."""
MOST_WHOLE_DIGITS = 20
"""Digits before the point. With those behind it, the 38 that a decimal128 has."""


class MisfitError(UsageError):
    """A figure does not fit into its column.

    Attributes:
        is_long: True if it has too many decimal places, so that it fits with `exact`.
    """

    def __init__(self, message: str, *, is_long: bool = False) -> None:
        super().__init__(message)
        self.is_long = is_long


@cache
def pyarrow() -> Any:
    """Import pyarrow and what its casts and arrays need.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.compute
    except ImportError:
        msg = "tables need pyarrow: pip install 'usage-async[arrow]'"
        raise ConfigurationError(msg) from None
    pa.array([None])  # the first one imports pandas, where it is installed
    return pa


def arrow_schema(endpoint: Endpoint | str, *, exact: bool = False) -> Schema:
    """Give the schema of an endpoint's tables.

    Args:
        endpoint: An endpoint, its name, or a path that this release does not know.
        exact: As in `UsageQuery.to_arrow`.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    if isinstance(endpoint, str):
        endpoint = ENDPOINTS.get(endpoint) or unknown_endpoint(endpoint)
    kind: Any = endpoint.result_class
    return schema_of(columns_of(kind, exact=exact))


@cache
def columns_of(kind: Hashable, *, exact: bool = False, loose: bool = False) -> tuple[Column, ...]:
    """Derive the columns of a table from a class of rows.

    Args:
        kind: The class.
        exact: Add the digits of money as texts.
        loose: The rows have no bucket, and so no times.
    """
    hints = get_type_hints(kind)
    found: list[tuple[int, Column]] = []
    if not loose and kind is not UsageRow:
        found += [
            (0, Column("start_time", "time", "start")),
            (0, Column("end_time", "time", "end")),
        ]
    for attribute in fields_of(kind):
        name, info = attribute.name, attribute.metadata
        if name == "object" and isinstance(attribute.default, str):
            continue  # the same in every row
        for column in _columns_of_field(name, get_args(hints[name]) or (hints[name],), exact=exact):
            found.append((_rank(name, info["kind"], info["describes"]), column))
    return tuple(column for _, column in sorted(found, key=lambda ranked: ranked[0]))


def _columns_of_field(name: str, types: Sequence[Any], *, exact: bool) -> Iterator[Column]:
    value = f"row.{name}"
    if name == "extra":
        yield Column(name, "extra", value)
    elif name in ("start_time", "end_time"):
        yield Column(name, "time", f"{value} * 1000000")
    elif Decimal in types or CostsResultAmount in types:
        whole = CostsResultAmount in types
        part = f"None if {value} is None else {value}"
        yield Column(name, "decimal", f"{part}.value" if whole else value)
        if exact:
            yield Column(f"{name}_exact", "exact", "")
        if whole:
            yield Column("currency", "text", f"({part}.currency)")
    elif bool in types:
        yield Column(name, "flag", value)
    else:
        yield Column(name, "figure" if int in types else "text", value)


def _rank(name: str, kind: str, describes: str) -> int:
    """Give the place of a field: times, dimensions, figures with their notes, notes, `extra`."""
    special = {"start_time": 0, "end_time": 0, "object": 1, "extra": 5}
    if name in special:
        return special[name]
    if kind == "note":
        return 3 if describes and FIELDS[describes].kind != "dimension" else 4
    return 2 if kind == "dimension" else 3


@cache
def column_types() -> Mapping[Role, Any]:
    pa = pyarrow()
    return {
        "time": pa.timestamp("us", tz="UTC"),
        "figure": pa.int64(),
        "text": pa.dictionary(pa.int32(), pa.string()),
        "flag": pa.bool_(),
        "decimal": pa.decimal128(MOST_WHOLE_DIGITS + SCALE, SCALE),
        "exact": pa.string(),
        "extra": pa.string(),
    }


@cache
def schema_of(columns: tuple[Column, ...], *, stored: bool = False) -> Schema:
    """Give the schema of a table, or of the batches that hold texts as codes."""
    schema: Schema = pyarrow().schema([(c.name, column_type(c, stored=stored)) for c in columns])
    return schema


def column_type(column: Column, *, stored: bool) -> Any:
    return pyarrow().int32() if stored and column.role == "text" else column_types()[column.role]


_ROUNDING = Context(prec=400, rounding=ROUND_HALF_EVEN, traps=[])
_PLACE = Decimal(f"1e-{SCALE}")


def fits_decimal(value: Any) -> bool:
    """Tell if a column of money holds a number as it is."""
    fits: bool = value.adjusted() < MOST_WHOLE_DIGITS and value.as_tuple().exponent >= -SCALE
    return fits


def rounded(value: Decimal) -> Decimal:
    """Round to the decimal places of a column, half to even."""
    return value if fits_decimal(value) else value.quantize(_PLACE, context=_ROUNDING)
