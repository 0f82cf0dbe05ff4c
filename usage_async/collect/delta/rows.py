"""Rows of snapshots as Delta tables hold them, by organization and month. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from usage_async._codec.schemas import arrow_schema, pyarrow
from usage_async._query.times import iso
from usage_async.collect.feed import Feed
from usage_async.collect.values import Snapshot

if TYPE_CHECKING:
    from usage_async._codec.schemas import Schema, Table

PARTITIONS = ("organization", "month")
"""Columns by whose values the files of a feed's table are kept apart."""


def schema_of(feed: Feed) -> Schema:
    """Give the columns of the table of a feed: those of Arrow, with the two of the partitions."""
    pa = pyarrow()
    fields = [
        field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in arrow_schema(feed.described, exact=True)
    ]
    name, month = pa.field("organization", pa.string()), pa.field("month", pa.string())
    schema: Schema = pa.schema([name, *fields, month])
    return schema


def rows_of(snapshot: Snapshot) -> Table:
    """Give the rows of a snapshot with the columns of its table."""
    pa, rows = pyarrow(), snapshot.table
    name = pa.repeat(pa.scalar(snapshot.organization, pa.string()), rows.num_rows)
    month = pa.compute.strftime(rows["start_time"], "%Y-%m")
    rows = rows.append_column("organization", name).append_column("month", month)
    schema = schema_of(snapshot.feed)
    made: Table = rows.select(schema.names).cast(schema)
    return made


def other_schema() -> Schema:
    """Give the columns of the table of rows of other kinds."""
    pa = pyarrow()
    instant = pa.timestamp("us", tz="UTC")
    schema: Schema = pa.schema(
        [
            ("organization", pa.string()),
            ("table_name", pa.string()),
            ("start_time", instant),
            ("end_time", instant),
            ("content", pa.string()),
        ]
    )
    return schema


def other_rows_of(snapshot: Snapshot) -> Table:
    """Give the rows of other kinds of a snapshot."""
    rows = [
        {
            "organization": snapshot.organization,
            "table_name": snapshot.feed.table,
            "start_time": row.start_time * 1_000_000,
            "end_time": row.end_time * 1_000_000,
            "content": row.row,
        }
        for row in snapshot.other
    ]
    made: Table = pyarrow().Table.from_pylist(rows, other_schema())
    return made


def equals(column: str, text: str) -> str:
    """Give the condition that a column holds a text."""
    return f"{column} = '" + text.replace("'", "''") + "'"


def within_months(sent: Sequence[int]) -> list[str]:
    """Give the conditions that keep a commit to the files of the months of some buckets."""
    if not sent:
        return []
    return [f"month >= '{iso(sent[0])[:7]}'", f"month <= '{iso(sent[-1])[:7]}'"]


def start_of(month: str) -> int:
    """Give the start of a month, such as `2026-10`, in Unix seconds."""
    return int(datetime.fromisoformat(f"{month}-01T00:00:00+00:00").timestamp())
