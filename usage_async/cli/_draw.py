"""Drawing a report on a terminal, or as text in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from itertools import groupby

from rich.console import Console
from rich.text import Text

from usage_async.cli._page import Page
from usage_async.cli._report import GROUPINGS, Group, Report, Spend, Tokens
from usage_async.cli._text import clean, count, money, percent, ratio, size

_SATURDAY = 5


def report(console: Console, shown: Report, *, notices: Sequence[str], footer: str) -> None:
    """Draw a report."""
    page = Page(console)
    _head(page, shown)
    for spend in shown.spends:
        _days(page, spend)
        _spend(page, shown, spend)
    _tokens(page, shown)
    _endpoints(page, shown)
    _notes(page, shown, notices)
    page.console.print()
    page.line((footer, "dim"))


def _head(page: Page, shown: Report) -> None:
    plan = shown.plan
    page.line((clean(shown.organization or "Organization"), "bold"))
    first, end = plan.period.start, plan.period.end
    running = plan.period.end_time >= plan.now
    until = f"{end:%Y-%m-%d %H:%M}" if end.hour or end.minute else f"{end:%Y-%m-%d}"
    page.line(f"{first:%Y-%m-%d} to {until} UTC", (" (still running)" if running else "", "yellow"))
    page.console.print()
    total = " + ".join(money(spend.total, spend.currency) for spend in shown.spends)
    page.line("Total spend  ", (total or "nothing was billed", "bold green"))


def _days(page: Page, spend: Spend) -> None:
    page.title("Day by day", f"highest {money(max(a for _, a in spend.days), spend.currency)}")
    peak = max(amount for _, amount in spend.days)
    months = [list(days) for _, days in groupby(spend.days, lambda pair: pair[0].replace(day=1))]
    label = len("2026-10  ")
    longest = max(map(len, months))
    cell = max(1, min(3, (page.width - label - 14) // longest))
    for days in months:
        month = days[0][0]
        text = Text(f"{month:%Y-%m}  ", no_wrap=True)
        text.append(" " * (cell * (month.day - 1) if len(months) > 1 else 0))
        for day, amount in days:
            style = "cyan" if day.weekday() < _SATURDAY else "blue"
            text.append(_column(page, amount, peak) * max(1, cell - 1), style=style)
            text.append(" " * (cell - max(1, cell - 1)))
        amount = sum((a for _, a in days), Decimal(0))
        text.append(f"  {money(amount, spend.currency)}", style="dim")
        page.console.print(text, width=page.width, crop=True)
    _ruler(page, months, label, cell)


def _column(page: Page, amount: Decimal, peak: Decimal) -> str:
    if amount <= 0 or peak <= 0:
        return " "
    steps = len(page.bars) - 1
    return page.bars[max(1, min(steps, round(ratio(amount, peak) * steps)))]


def _ruler(page: Page, months: list[list[tuple[date, Decimal]]], label: int, cell: int) -> None:
    first = months[0][0][0].day if len(months) == 1 else 1
    marks = [" "] * (label + 31 * cell + 2)
    for place in range(max(map(len, months))):
        number = first + place
        if number == first or number % 5 == 0:
            at = label + place * cell
            marks[at : at + 2] = f"{number:<2}"
    page.line(("".join(marks).rstrip(), "dim"))


def _label(group: Group | Tokens, *, derived: bool = False) -> Text:
    if group.id is None:
        return Text("(no model in the line item)" if derived else "(not attributed)", style="dim")
    text = Text(clean(group.name or group.id), overflow="ellipsis", no_wrap=True)
    if group.name and group.name != group.id:
        text.append(f"  {clean(group.id)}", style="dim")
    return text


def _spend(page: Page, shown: Report, spend: Spend) -> None:
    grouping = GROUPINGS[shown.plan.by]
    note = "derived from line items" if grouping.derived else ""
    page.title(f"Spend by {grouping.noun}", note)
    if not spend.groups:
        reason = next((r for s, r in shown.refusals if s == f"spend by {grouping.noun}"), "")
        page.wrapped(clean(reason) or "nothing was billed", "yellow")
        return
    rows = [
        (
            _label(group, derived=grouping.derived),
            money(group.amount, spend.currency),
            percent(group.amount, spend.total),
        )
        for group in spend.groups
    ]
    shares = [ratio(group.amount, spend.total or 1) for group in spend.groups]
    page.table((grouping.noun, "spend", "share"), rows, shares=shares)


def _tokens(page: Page, shown: Report) -> None:
    noun = "model" if shown.plan.by == "line-item" else GROUPINGS[shown.plan.by].noun
    if not shown.tokens:
        return
    page.title(f"Tokens and requests by {noun}")
    rows = [
        (
            _label(row),
            count(row.requests),
            count(row.input),
            percent(row.cached, row.input),
            count(row.output),
        )
        for row in shown.tokens
    ]
    page.table((noun, "requests", "input", "cached", "output"), rows)


def _endpoints(page: Page, shown: Report) -> None:
    page.title("Everything that was used")
    rows = []
    words = []
    for use in shown.endpoints:
        rows.append((use.name, "" if use.requests is None else count(use.requests)))
        figures = ", ".join(_figure(*figure) for figure in use.figures)
        words.append(Text(clean(use.refusal), style="yellow") if use.refusal else Text(figures))
    page.table(("endpoint", "requests"), rows, words=words)


def _figure(metric: str, value: int, unit: str) -> str:
    if unit == "bytes":
        return f"{size(value)} stored"
    return f"{count(value)} {unit if metric.startswith('num_') else metric.replace('_', ' ')}"


def _notes(page: Page, shown: Report, notices: Sequence[str]) -> None:
    notes = [f"{section}: refused: {reason}" for section, reason in shown.refusals]
    notes += notices
    if notes:
        page.title("Notices")
    for note in notes:
        page.wrapped(f"- {clean(note)}", "yellow")
