"""CSV renderings of reports, breakdowns and buckets.

Cells follow RFC 4180, and a line feed ends each line. Decimals are written in full and without
padding, booleans as `true` and `false`, unknown fields as JSON. No value is an empty cell and an
empty text is `""`, so that reading gives back what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from usage_async._api.exact import Extra, plain
from usage_async._api.fields import fields_of
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import UsageRow
from usage_async._client.names import Names
from usage_async._codec.converter import dumps
from usage_async.report.breakdown import Breakdown, added_names, value_of
from usage_async.report.dimensions import NAME_FIELDS, names_of
from usage_async.report.formats import BucketEncoder
from usage_async.report.values import Report, Tokens, View

_QUOTED = frozenset('",\r\n')
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

ROW_COLUMNS = tuple(a.name for a in fields_of(UsageRow))
"""The columns of flat rows: the fields of `UsageRow`, the same for every endpoint."""


def line(values: Iterable[Any]) -> bytes:
    """Write one line of exact cells."""
    return (",".join(map(_cell, values)) + "\n").encode()


def guarded(values: Iterable[Any]) -> bytes:
    """Write one line for a spreadsheet: a text that would be a formula gets a leading `'`."""
    return line(
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for value in values
    )


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return plain(value)
        case int():
            return str(value)
        case Extra():
            return _text(dumps(value).decode()) if value else ""
    return _text(str(value))


def _text(text: str) -> str:
    if text and _QUOTED.isdisjoint(text) and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'


REPORT_COLUMNS = (
    "group",
    "name",
    "currency",
    "amount",
    "amount_before",
    "requests",
    "input_tokens",
    "input_cached_tokens",
    "output_tokens",
)


def report_as_csv(report: Report, _view: View) -> bytes:
    """Write a report, one line for each group, guarded for spreadsheets.

    Money and tokens of a group stand in one line if they are about the same thing and the same
    days, else in lines of their own.
    """
    tokens = {row.id: row for row in report.tokens}
    lines = [line(REPORT_COLUMNS)]
    for spend in report.spends:
        for group in spend.groups:
            used = tokens.pop(group.id, None) if report.joined else None
            money = (spend.currency, group.amount, group.before)
            lines.append(guarded([group.id, group.name, *money, *_used(used)]))
    lines += [guarded([row.id, row.name, None, None, None, *_used(row)]) for row in tokens.values()]
    return b"".join(lines)


def _used(row: Tokens | None) -> list[int | None]:
    return [None] * 4 if row is None else [row.requests, row.input, row.cached, row.output]


def breakdown_as_csv(breakdown: Breakdown) -> bytes:
    """Write the groups of a breakdown, or its totals where there are no groups."""
    rows = breakdown.groups if breakdown.by else breakdown.totals
    added = added_names(type(breakdown.totals[0]))
    money = ["currency"] if "amount" in added else []
    lines = [line([*breakdown.by, *breakdown.name_fields, *added, *money])]
    for row in rows:
        names = breakdown.names_beside(row)
        values = [value_of(row, name) for name in added]
        if money:
            amount = row.amount
            values[added.index("amount")] = amount and amount.value
            values.append(amount and amount.currency)
        dimensions = [value_of(row, name) for name in breakdown.by]
        lines.append(line([*dimensions, *names.values(), *values]))
    return b"".join(lines)


def bucket_encoder(names: Callable[[], Names] | None = None) -> BucketEncoder:
    """Make an encoder that writes each result of a bucket as one line of `ROW_COLUMNS`.

    Args:
        names: Gives names, for further columns.
    """
    if names is None:
        return BucketEncoder(line(ROW_COLUMNS), partial(_rows, ROW_COLUMNS))
    columns = tuple(dict.fromkeys((*ROW_COLUMNS, *NAME_FIELDS.values())))
    known = names

    def encode(bucket: UsageTimeBucket[Any]) -> bytes:
        return _rows(columns, bucket, known())

    return BucketEncoder(line(columns), encode)


def _rows(
    columns: Sequence[str], bucket: UsageTimeBucket[Any], names: Names | None = None
) -> bytes:
    lines = []
    for row in bucket.rows():
        beside = {} if names is None else names_of(row, names)
        lines.append(line(beside.get(name) or getattr(row, name, None) for name in columns))
    return b"".join(lines)
