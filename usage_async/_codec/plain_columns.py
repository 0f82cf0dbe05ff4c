"""Batches of plain values: texts, instants and decimals, for files with columns of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from usage_async._codec.schemas import column_types, pyarrow

if TYPE_CHECKING:
    from usage_async._codec.schemas import RecordBatch, Schema

Kind = Literal["text", "time", "decimal"]
"""Kind of a column. A `time` is given in Unix seconds; a `decimal` has that of a table's money."""


def plain_schema(columns: Mapping[str, Kind]) -> Schema:
    """Give the schema of columns.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    pa, types = pyarrow(), column_types()
    made: dict[Kind, Any] = {
        "text": pa.string(),
        "time": types["time"],
        "decimal": types["decimal"],
    }
    schema: Schema = pa.schema([(name, made[kind]) for name, kind in columns.items()])
    return schema


def plain_batch(
    columns: Mapping[str, Kind], rows: Sequence[Mapping[str, Any]], schema: Schema
) -> RecordBatch:
    """Make a batch of rows, whose decimals fit (`schemas.fits_decimal`).

    Args:
        columns: The kind of each column.
        rows: Values by column.
        schema: Schema of the columns.
    """
    pa = pyarrow()
    arrays = []
    for (name, kind), field in zip(columns.items(), schema, strict=True):
        values = [row[name] for row in rows]
        if kind == "time":
            values = [None if value is None else value * 10**6 for value in values]
        arrays.append(pa.array(values, field.type))
    batch: RecordBatch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return batch
