"""CSV: exact values for programs, guarded cells for spreadsheets.

Values are written as they are (RFC 4180, lines ended by a line feed): Decimals in full and without
padding, `true` and `false`, unknown fields as JSON, nothing where there is no value and `""` for an
empty text, so that reading gives back what was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from usage_async._api.exact import Extra, plain
from usage_async._api.fields import fields_of
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import UsageRow
from usage_async._codec.converter import dumps
from usage_async.report.plan import Report, Tokens
from usage_async.report.sums import Sums, metrics, value_of

_QUOTED = frozenset('",\r\n')
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

ROW_COLUMNS = tuple(a.name for a in fields_of(UsageRow))
"""The columns of flat rows: the fields of `UsageRow`, for every endpoint the same."""


def line(values: Iterable[Any]) -> bytes:
    """Write one line of raw, exact cells."""
    return (",".join(map(_cell, values)) + "\n").encode()


def guarded(values: Iterable[Any]) -> bytes:
    """Write one line for a spreadsheet: a text that would be a formula begins with `'`."""
    return line(
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for value in values
    )


def rows(bucket: UsageTimeBucket[Any]) -> bytes:
    """Write the results of a bucket as lines of `ROW_COLUMNS`."""
    return b"".join(line(getattr(row, name) for name in ROW_COLUMNS) for row in bucket.rows())


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


COLUMNS = (
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


def as_csv(shown: Report) -> bytes:
    """Write a report as a line a group; amounts are exact, names cannot become formulas.

    Where money and tokens are split by different things, or cover different days, they stand in
    different lines.
    """
    tokens = {row.id: row for row in shown.tokens}
    lines = [line(COLUMNS)]
    for spend in shown.spends:
        for group in spend.groups:
            used = tokens.pop(group.id, None) if shown.joined else None
            money = (spend.currency, group.amount, group.before)
            lines.append(guarded([group.id, group.name, *money, *_used(used)]))
    lines += [guarded([row.id, row.name, None, None, None, *_used(row)]) for row in tokens.values()]
    return b"".join(lines)


def _used(row: Tokens | None) -> list[int | None]:
    return [None] * 4 if row is None else [row.requests, row.input, row.cached, row.output]


def sums_as_csv(sums: Sums) -> bytes:
    """Write the groups, or the totals where there are none, as raw and exact lines."""
    rows = sums.groups if sums.by else sums.totals
    names = [*sums.by, *metrics(sums.totals[0])]
    lines = [line([*names, "currency"] if "amount" in names else names)]
    for row in rows:
        values = [value_of(row, name) for name in names]
        if "amount" in names:
            amount = row.amount
            values[names.index("amount")] = amount and amount.value
            values.append(amount and amount.currency)
        lines.append(line(values))
    return b"".join(lines)
