"""CSV renderings of reports and breakdowns.

Cells follow RFC 4180, and a line feed ends each line. Decimals are written in full and without
padding, booleans as `true` and `false`. No value is an empty cell and an
empty text is `""`, so that reading gives back what was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from usage_async._api.exact import plain
from usage_async.report.breakdown import Breakdown, added_names, value_of
from usage_async.report.values import Report, Tokens, View

_QUOTED = frozenset('",\r\n')
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
