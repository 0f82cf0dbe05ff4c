"""Drawing the sums of one query."""

from __future__ import annotations

from typing import Any

import attrs
from rich.console import Console
from rich.text import Text

from usage_async._api.exact import plain
from usage_async._api.fields import fields_of
from usage_async._api.results import CostsResultAmount
from usage_async.report.sums import MEANT, NAMED_BY, Sums, value_of
from usage_async.report.terminal.page import Page
from usage_async.report.text import clean, count, money, size


def draw_sums(console: Console, sums: Sums) -> None:
    """Draw the sums of one query."""
    page = Page(console)
    page.line((clean(sums.endpoint), "bold"))
    page.line(*_covered(sums))
    page.console.print()
    for row in sums.totals:
        _figures(page, row)
    if sums.by:
        page.title(f"By {', '.join(sums.by)}")
        _groups(page, sums)


def _covered(sums: Sums) -> tuple[str | tuple[str, str], ...]:
    """Tell the range of the figures, which may be more than was asked for."""
    times = sums.covered or sums.requested
    told = f"{times.start:%Y-%m-%d %H:%M} to {times.end:%Y-%m-%d %H:%M} UTC"
    if sums.covered is None:
        return told, ("  no bucket came", "yellow")
    return told, ("  still running" if times.end_time > sums.as_of else "", "yellow")


def _figures(page: Page, row: Any) -> None:
    rows: list[tuple[str, str, Text]] = []
    for a in fields_of(type(row), *MEANT):
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


def _groups(page: Page, sums: Sums) -> None:
    kind = type(sums.totals[0])
    money_fields = fields_of(kind, "money")
    names = [a.name for a in fields_of(kind) if a.default is attrs.NOTHING or a in money_fields]
    rows: list[list[str | Text]] = [
        [
            *(_label(row, name) for name in sums.by),
            *(_short(getattr(row, name), name) for name in names),
        ]
        for row in sums.groups
    ]
    page.table((*sums.by, *names), rows, names=len(sums.by))


def _label(row: Any, dimension: str) -> Text:
    value = value_of(row, dimension)
    text = Text("(none)" if value is None else clean(str(value)))
    note = getattr(row, NAMED_BY.get(dimension, ""), None)
    if note:
        text.append(f"  {clean(note)}", style="dim")
    return text


def _short(value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, CostsResultAmount):
        return money(value.value, value.currency)
    return size(value) if name == "usage_bytes" else count(value)
