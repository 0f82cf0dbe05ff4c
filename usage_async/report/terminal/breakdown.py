"""Drawing of a breakdown: its totals, then a table of its groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from rich.console import Console
from rich.text import Text

from usage_async._api.exact import plain
from usage_async._api.fields import fields_of
from usage_async._api.results import CostsResultAmount
from usage_async.report.answers import Answer, blanks, given
from usage_async.report.breakdown import Breakdown, metrics_of, sum_of_all, value_of
from usage_async.report.dimensions import NAME_FIELDS, note_of
from usage_async.report.formatting import clean, count, money, size
from usage_async.report.terminal.page import Page, heading


def draw_breakdown(console: Console, breakdown: Breakdown) -> None:
    """Draw a breakdown."""
    page = Page(console)
    _head(page, breakdown)
    _body(page, breakdown)


def draw_breakdowns(console: Console, answers: Sequence[Answer[Breakdown]]) -> None:
    """Draw the breakdowns of several organizations: the sums over all of them, then each."""
    page = Page(console)
    values = [value for _, value in given(answers)]
    sums = sum_of_all(values)
    _head(page, values[0])
    for row in sums:
        _figures(page, row)
    page.title("By organization")
    rows: list[list[str | Text]] = [
        [Text(clean(answer.name)), *_cells(row)]
        for answer, breakdown in given(answers)
        for row in breakdown.totals
    ]
    rows += [[Text("all", style="dim"), *_cells(row)] for row in sums]
    page.table(("organization", *_columns(type(sums[0]))), rows)
    for name, blank in blanks(answers):
        page.console.print()
        page.wrapped(f"{clean(name)}  {clean(str(blank))}", "yellow")
    for answer, breakdown in given(answers):
        page.title(heading(answer.name))
        page.line(*_covered(breakdown))
        page.console.print()
        _body(page, breakdown)


def _head(page: Page, breakdown: Breakdown) -> None:
    page.line((clean(breakdown.endpoint), "bold"))
    page.line(*_covered(breakdown))
    page.console.print()


def _body(page: Page, breakdown: Breakdown) -> None:
    for row in breakdown.totals:
        _figures(page, row)
    if breakdown.by:
        page.title(f"By {', '.join(breakdown.by)}")
        _groups(page, breakdown)


def _covered(breakdown: Breakdown) -> tuple[str | tuple[str, str], ...]:
    """Give the parts of the line with the range of the figures."""
    times = breakdown.covered or breakdown.requested
    range_ = f"{times.start:%Y-%m-%d %H:%M} to {times.end:%Y-%m-%d %H:%M} UTC"
    if breakdown.covered is None:
        return range_, ("  nothing was sent", "yellow")
    return range_, ("  (still running)" if times.end_time > breakdown.as_of else "", "yellow")


def _figures(page: Page, row: Any) -> None:
    rows: list[tuple[str, str, Text]] = []
    for a in metrics_of(type(row)):
        value = getattr(row, a.name)
        if value is not None:
            rows.append((a.name, _exact(value), Text(_unit(value, a.metadata["unit"]))))
    page.table(("", ""), [row[:2] for row in rows], words=[row[2] for row in rows])


def _exact(value: Any) -> str:
    if isinstance(value, CostsResultAmount):
        return money(value.value, value.currency)
    return f"{value:,}"


def _unit(value: Any, unit: str) -> str:
    if isinstance(value, CostsResultAmount):
        return f"exactly {plain(value.value)}" if value.value else ""
    return f"{unit}, {size(value)}" if unit == "bytes" else unit


def _columns(kind: type) -> list[str]:
    """Name the figures that tables show."""
    money_fields = fields_of(kind, "money")
    return [a.name for a in fields_of(kind) if a.default is attrs.NOTHING or a in money_fields]


def _cells(row: Any) -> list[str]:
    return [_short(getattr(row, name), name) for name in _columns(type(row))]


def _groups(page: Page, breakdown: Breakdown) -> None:
    rows: list[list[str | Text]] = [
        [*(_label(breakdown, row, name) for name in breakdown.by), *_cells(row)]
        for row in breakdown.groups
    ]
    names = _columns(type(breakdown.totals[0]))
    page.table((*breakdown.by, *names), rows, names=len(breakdown.by))


def _label(breakdown: Breakdown, row: Any, dimension: str) -> Text:
    value = value_of(row, dimension)
    text = Text("(none)" if value is None else clean(str(value)))
    name = breakdown.names_beside(row).get(NAME_FIELDS.get(dimension, ""))
    name = name or getattr(row, note_of(dimension), None)
    if name:
        text.append(f"  {clean(name)}", style="dim")
    return text


def _short(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, CostsResultAmount):
        return money(value.value, value.currency)
    return size(value) if name == "usage_bytes" else count(value)
