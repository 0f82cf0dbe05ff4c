"""Drawing of a report: spend, days, groups, movers, tokens, endpoints, notices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby

import attrs
from rich.console import Console
from rich.text import Text

from usage_async._api.exact import plain
from usage_async.report import amounts
from usage_async.report.amounts import total
from usage_async.report.answers import Answer, bills, blanks, given
from usage_async.report.arithmetic import ratio
from usage_async.report.formatting import clean, count, money, percent
from usage_async.report.insight import UNUSUAL_RULE, is_weekend
from usage_async.report.terminal.budget import draw_budget_lines, draw_projection
from usage_async.report.terminal.page import Page, heading
from usage_async.report.values import (
    SPEND,
    Group,
    Report,
    Spend,
    Tokens,
    View,
    days_not_sent,
)
from usage_async.report.wording import (
    NOT_ATTRIBUTED,
    cause_text,
    change_text,
    figure_text,
    groups_note,
    leaves,
    per_thousand,
    period_text,
    rest_of,
    split,
    sum_of,
    tokens_noun,
    unusual_text,
)

_MOVERS = 3
_WIDE = 90
_INDENT = "  "


def draw_report(console: Console, report: Report, view: View) -> None:
    """Draw a report."""
    page = Page(console)
    _report(page, report, view)
    _foot(page, view)


def draw_reports(console: Console, answers: Sequence[Answer[Report]], view: View) -> None:
    """Draw the reports of several organizations: what all of them spent, then each."""
    page = Page(console)
    _, first = next(given(answers))
    page.line((f"{len(answers)} organizations", "bold"))
    _period(page, first)
    _bills(page, answers)
    for answer in answers:
        page.title(heading(answer.name))
        page.console.print()
        if answer.value is not None:
            _report(page, answer.value, attrs.evolve(view, notices=answer.notices))
        if answer.blank is not None:
            page.wrapped(clean(str(answer.blank)), "yellow")
    _foot(page, view)


def _bills(page: Page, answers: Sequence[Answer[Report]]) -> None:
    """Draw what each organization spent, and all of them."""
    for bill in bills(answers):
        page.console.print()
        page.line(
            "Total spend  ",
            (money(bill.total, bill.currency), "bold green"),
            f"  exactly {plain(bill.total)}",
        )
        if bill.without:
            page.wrapped(f"incomplete: without {clean(', '.join(bill.without))}", "yellow")
        spends = [
            (answer.name, spend)
            for answer, report in given(answers)
            for spend in report.spends
            if spend.currency == bill.currency
        ]
        compared = any(spend.before is not None for _, spend in spends)
        rows: list[list[str | Text]] = [
            [
                Text(clean(name)),
                money(spend.total, spend.currency),
                percent(spend.total, bill.total),
                *[_change(spend.total, spend.before, spend.currency)] * compared,
            ]
            for name, spend in spends
        ]
        if len(rows) > 1:
            total_cells = [money(bill.total, bill.currency), percent(bill.total, bill.total)]
            change = [_change(bill.total, bill.before, bill.currency)] * compared
            rows.append([Text("all", style="dim"), *total_cells, *change])
        page.table(("organization", "spend", "share", *["change"] * compared), rows)
    for name, blank in blanks(answers):
        page.console.print()
        page.wrapped(f"{clean(name)}  {clean(str(blank))}", "yellow")


def _change(amount: Decimal, before: Decimal | None, currency: str) -> str:
    return "" if before is None else change_text(amount, before, currency)


def _report(page: Page, report: Report, view: View) -> None:
    _head(page, report, view)
    if view.budget is not None:
        page.console.print()
        draw_budget_lines(page, view.budget)
    for spend in report.spends:
        _days(page, spend)
        _spend(page, report, spend, view)
        _movers(page, spend)
    _blanks(page, report)
    _tokens(page, report, view)
    _endpoints(page, report)
    _notes(page, report, view)


def _foot(page: Page, view: View) -> None:
    page.console.print()
    page.line((view.footer, "dim"))


def _head(page: Page, report: Report, view: View) -> None:
    spec = report.spec
    page.line((clean(str(report.organization)), "bold"))
    _period(page, report)
    page.console.print()
    if report.spend_blank is not None:
        page.wrapped(f"Total spend unknown: {clean(str(report.spend_blank))}", "bold yellow")
    elif not report.spends:
        page.line("Total spend  ", ("nothing was billed", "bold"))
    for spend in report.spends:
        parts: list[str | tuple[str, str]] = ["Total spend  "]
        parts.append((money(spend.total, spend.currency), "bold green"))
        if missing := report.missing_days:
            parts.append((f"  incomplete: {days_not_sent(missing)}", "yellow"))
        if spend.before is not None and spec.before is not None:
            parts.append(f"  {change_text(spend.total, spend.before, spend.currency)}")
            parts.append((f"  against {period_text(spec.before)}", "dim"))
        page.line(*parts)
        if spend.projection is not None and not view.has_projection(spend.currency):
            draw_projection(page, spend.projection, spend.currency)


def _period(page: Page, report: Report) -> None:
    spec = report.spec
    still = " (still running)" if spec.last_day_runs else ""
    page.line(f"{period_text(spec.period)} UTC", (still, "yellow"))


def _days(page: Page, spend: Spend) -> None:
    known = [amount for _, amount in spend.days if amount is not None]
    if not known:
        return
    peak = max(known)
    page.title("Day by day", f"highest {money(peak, spend.currency)}")
    months = [list(days) for _, days in groupby(spend.days, lambda pair: pair[0].replace(day=1))]
    label = len("2026-10  ")
    totals = [
        money(total(amount for _, amount in days if amount is not None), spend.currency)
        for days in months
    ]
    places = 31 if len(months) > 1 else len(months[0])
    cell = max(1, min(3, (page.width - label - 2 - max(map(len, totals))) // places))
    column = max(1, cell - 1)
    for days, billed in zip(months, totals, strict=True):
        first = days[0][0]
        text = Text(f"{first:%Y-%m}  ", no_wrap=True)
        text.append(" " * (cell * (first.day - 1) if len(months) > 1 else 0))
        for day, amount in days:
            style = "blue" if is_weekend(day) else "cyan"
            text.append(_bar(page, amount, peak) * column + " " * (cell - column), style=style)
        text.append(" " * (label + cell * places + 2 - len(text)) + billed, style="dim")
        page.drawing(text)
    _ruler(page, 1 if len(months) > 1 else months[0][0][0].day, places, cell)
    for each in spend.unusual:
        page.wrapped(unusual_text(each, spend.currency), "yellow")
    if spend.unusual:
        page.wrapped(f"(unusual: {UNUSUAL_RULE})", "dim")


def _bar(page: Page, amount: Decimal | None, peak: Decimal) -> str:
    if amount is None:
        return " " if page.unicode else "?"
    if amount <= 0:
        return "·" if page.unicode else "_"
    steps = len(page.bars) - 1
    return page.bars[max(1, min(steps, round(float(ratio(amount, peak)) * steps)))]


def _ruler(page: Page, first: int, places: int, cell: int) -> None:
    label = len("2026-10  ")
    marks = [" "] * (label + places * cell + 2)
    for place in range(places):
        number = first + place
        if place == 0 or (number % 5 == 0 and place > 1):
            at = label + place * cell
            marks[at : at + 2] = f"{number:<2}"
    page.drawing(Text("".join(marks).rstrip(), style="dim"))


def _label(group: Group | Tokens) -> Text:
    if group.id is None:
        return Text(NOT_ATTRIBUTED, style="dim")
    text = Text(clean(group.name or group.id))
    if group.name and group.name != group.id:
        text.append(f"  {clean(group.id)}", style="dim")
    return text


def _lines(groups: Sequence[Group], view: View) -> Iterator[tuple[Text, Group]]:
    """Give what to draw: groups with their parts below them; of each the largest, and the rest."""
    for label, group in _largest(groups, view.top):
        label.stylize("bold" if group.parts else "")
        yield label, group
        parts = group.parts
        if [part.id for part in parts] != [None] or group.id is not None:
            for part_label, part in _largest(parts, view.top_parts):
                yield Text.assemble(_INDENT, part_label), part


def _largest(groups: Sequence[Group], top: int) -> list[tuple[Text, Group]]:
    drawn, others = split(groups, top)
    lines = [(_label(group), group) for group in drawn]
    if others:
        place = len(lines) - (1 if drawn[-1].id is None else 0)
        lines.insert(place, (_others(others), rest_of(others)))
    return lines


def _others(others: Sequence[Group | Tokens]) -> Text:
    return Text(f"({len(others)} others)", style="dim")


def _spend(page: Page, report: Report, spend: Spend, view: View) -> None:
    noun = report.spec.noun
    if not spend.groups:
        return
    page.title(f"Spend by {noun}", groups_note(report))
    headers = [noun, "spend", "share"]
    compared = any(group.before is not None for group in spend.groups)
    is_wide = page.width >= _WIDE
    rated = any(group.requests for group in spend.groups) and (is_wide or not compared)
    headers += ["change"] * compared + ["per 1k requests" if is_wide else "per 1k"] * rated
    lines = list(_lines(spend.groups, view))
    rows = [
        [label, *_money(group, spend, compared=compared, rated=rated)] for label, group in lines
    ]
    shares = [ratio(group.amount, spend.total or 1) for _, group in lines]
    page.table(headers, rows, shares=shares)


def _money(group: Group, spend: Spend, *, compared: bool, rated: bool) -> list[str | Text]:
    cells: list[str | Text] = [
        money(group.amount, spend.currency),
        percent(group.amount, spend.total),
    ]
    if compared:
        before = group.before or Decimal(0)
        cells.append(change_text(group.amount, before, spend.currency))
    if rated:
        rate = per_thousand(group)
        cells.append(money(rate, spend.currency) if rate else "")
    return cells


def _movers(page: Page, spend: Spend) -> None:
    moves = [
        (amounts.change(group.amount, group.before), path)
        for path in leaves(spend.groups)
        if (group := path[-1]).before is not None and group.amount != group.before
    ]
    moves.sort(key=lambda move: move[0].copy_abs(), reverse=True)
    if moves:
        page.title("Top movers")
    for change, path in moves[:_MOVERS]:
        verb = "more" if change > 0 else "less"
        page.line(
            (
                f"{money(change.copy_abs(), spend.currency)} {verb}  ",
                "red" if change > 0 else "green",
            ),
            Text(" / ").join(map(_label, path)),
            _cause(path[-1], spend),
        )


def _cause(group: Group, spend: Spend) -> tuple[str, str]:
    if group.cause is None:
        return "", ""
    return f"  mostly {cause_text(group.cause, spend.currency)}", "dim"


def _blanks(page: Page, report: Report) -> None:
    elsewhere = {SPEND, *(use.name for use in report.endpoints)}
    for section, blank in report.blanks:
        if section not in elsewhere:
            page.title(section[0].upper() + section[1:])
            page.wrapped(clean(str(blank)), "yellow")


def _tokens(page: Page, report: Report, view: View) -> None:
    noun = tokens_noun(report)
    if not report.tokens:
        return
    without = f"without {', '.join(report.uncounted)}" if report.uncounted else ""
    page.title(f"Tokens and requests by {noun}", without)
    rows = []
    for label, row in _most_used(report.tokens, view.top):
        label.stylize("bold" if row.parts else "")
        rows.append(_token_cells(label, row))
        for part_label, part in _most_used(row.parts, view.top_parts):
            rows.append(_token_cells(Text.assemble(_INDENT, part_label), part))
    if len(report.tokens) > 1:
        rows.append(_token_cells(Text("all", style="dim"), sum_of(report.tokens)))
    page.table((noun, "requests", "input", "cached", "output"), rows)


def _most_used(rows: Sequence[Tokens], top: int) -> list[tuple[Text, Tokens]]:
    lines = [(_label(row), row) for row in rows]
    if top and len(rows) > top + 1:
        lines[top:] = [(_others(rows[top:]), sum_of(rows[top:]))]
    return lines


def _token_cells(label: Text, row: Tokens) -> list[str | Text]:
    cached = percent(row.cached, row.input)
    return [label, count(row.requests), count(row.input), cached, count(row.output)]


def _endpoints(page: Page, report: Report) -> None:
    page.title("Everything that was used")
    rows = []
    words = []
    for use in report.endpoints:
        rows.append((use.name, "" if use.requests is None else count(use.requests)))
        figures = ", ".join(figure_text(*figure) for figure in use.figures)
        blank = use.blank and Text(clean(str(use.blank)), style="yellow")
        words.append(blank or Text(figures))
    page.table(("endpoint", "requests"), rows, words=words)


def _notes(page: Page, report: Report, view: View) -> None:
    notes = (*view.notices, *report.remarks)
    if notes:
        page.title("Notices")
    for note in notes:
        page.wrapped(f"- {clean(note)}", "yellow")
