"""CSV renderings of reports and breakdowns.

Cells follow RFC 4180, and a line feed ends each line. Decimals are written in full and without
padding, booleans as `true` and `false`. No value is an empty cell and an
empty text is `""`, so that reading gives back what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from usage_async._api.exact import plain
from usage_async.report.answers import Answer, given
from usage_async.report.breakdown import Breakdown, added_names, value_of
from usage_async.report.values import Group, Report, Tokens, View
from usage_async.report.wording import leaves

_QUOTED = frozenset('",\r\n')
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


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


_NAMES = ("group", "name")
_PART_NAMES = ("part", "part_name")
_FIGURES = (
    "currency",
    "amount",
    "amount_before",
    "requests",
    "input_tokens",
    "input_cached_tokens",
    "output_tokens",
)
REPORT_COLUMNS = (*_NAMES, *_FIGURES)
PAIR_COLUMNS = (*_NAMES, *_PART_NAMES, *_FIGURES)
"""Columns of a report by two dimensions."""


def report_as_csv(report: Report, _view: View) -> bytes:
    """Write a report, one line for each group or pair, guarded for spreadsheets.

    Money and tokens of a group stand in one line if they are about the same thing and the same
    days, else in lines of their own.
    """
    return b"".join([line(_columns(report)), *map(guarded, _report_rows(report))])


def reports_as_csv(answers: Sequence[Answer[Report]], _view: View) -> bytes:
    """Write reports of organizations, of which one or more answered; names are the first column."""
    rows = [
        guarded([answer.name, *row])
        for answer, report in given(answers)
        for row in _report_rows(report)
    ]
    _, first = next(given(answers))
    return b"".join([line(("organization", *_columns(first))), *rows])


def _columns(report: Report) -> tuple[str, ...]:
    return REPORT_COLUMNS if report.spec.then_by is None else PAIR_COLUMNS


def _report_rows(report: Report) -> Iterator[list[Any]]:
    tokens = {_ids(path): path for path in leaves(report.tokens)}
    for spend in report.spends:
        for path in leaves(spend.groups):
            used = tokens.pop(_ids(path), None) if report.joined else None
            money = (spend.currency, path[-1].amount, path[-1].before)
            yield [*_labels(report, path), *money, *_used(used[-1] if used else None)]
    for unbilled in tokens.values():
        yield [*_labels(report, unbilled), None, None, None, *_used(unbilled[-1])]


def _ids(path: Sequence[Group | Tokens]) -> tuple[str | None, ...]:
    return tuple(each.id for each in path)


def _labels(report: Report, path: Sequence[Group | Tokens]) -> list[str | None]:
    """Give the cells for the ids and names of a group, or of a group and its part."""
    cells = [cell for each in path for cell in (each.id, each.name)]
    return cells + [None] * (2 * len(report.spec.groupings) - len(cells))


def _used(row: Tokens | None) -> list[int | None]:
    return [None] * 4 if row is None else [row.requests, row.input, row.cached, row.output]


def breakdown_as_csv(breakdown: Breakdown) -> bytes:
    """Write the groups of a breakdown, or its totals where there are no groups."""
    return b"".join(map(line, [_breakdown_header(breakdown), *_breakdown_rows(breakdown)]))


def breakdowns_as_csv(answers: Sequence[Answer[Breakdown]]) -> bytes:
    """Write breakdowns of organizations, of which one or more answered; names come first."""
    _, first = next(given(answers))
    rows = [
        [answer.name, *row]
        for answer, breakdown in given(answers)
        for row in _breakdown_rows(breakdown)
    ]
    return b"".join(map(line, [["organization", *_breakdown_header(first)], *rows]))


def _breakdown_header(breakdown: Breakdown) -> list[str]:
    added = added_names(type(breakdown.totals[0]))
    money = ["currency"] if "amount" in added else []
    return [*breakdown.by, *breakdown.name_fields, *added, *money]


def _breakdown_rows(breakdown: Breakdown) -> Iterator[list[Any]]:
    added = added_names(type(breakdown.totals[0]))
    for row in breakdown.groups if breakdown.by else breakdown.totals:
        names = breakdown.names_beside(row)
        values = [value_of(row, name) for name in added]
        if "amount" in added:
            amount = row.amount
            values[added.index("amount")] = amount and amount.value
            values.append(amount and amount.currency)
        dimensions = [value_of(row, name) for name in breakdown.by]
        yield [*dimensions, *names.values(), *values]
