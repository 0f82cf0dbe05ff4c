"""Drawings of explanations, reconciliations and budgets."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from usage_async._api.exact import plain
from usage_async.report.amounts import change, total
from usage_async.report.changes import BillChange, GroupChange
from usage_async.report.effects import PARTS, Effects, LineChange, summed
from usage_async.report.formatting import clean, money, percent
from usage_async.report.invoice import InvoiceGap
from usage_async.report.monthly import BudgetReport
from usage_async.report.reconciliation import Pair, Reconciliation
from usage_async.report.telling import sentences_on
from usage_async.report.terminal.budget import draw_budget_lines
from usage_async.report.terminal.page import Page
from usage_async.report.values import Explanation, View
from usage_async.report.wording import NOT_ATTRIBUTED, period_text

_NOTHING = Effects()
_ZERO = Decimal(0)


def draw_explanation(
    console: Console, explanation: Explanation, gap: InvoiceGap | None, view: View
) -> None:
    """Draw an explanation, and the gap to an invoice."""
    page, spec = Page(console), explanation.spec
    page.line((clean(str(explanation.organization)), "bold"))
    still = " (still running)" if spec.last_day_runs else ""
    page.line(f"{period_text(spec.period)} UTC", (still, "yellow"))
    if spec.before is not None:
        page.line((f"against {period_text(spec.before)}", "dim"))
    if not explanation.bills:
        page.console.print()
        page.line("nothing was billed")
    for bill in explanation.bills:
        page.console.print()
        for sentence in sentences_on(bill):
            page.hanging("- ", clean(sentence), "")
        _changes(page, bill, view.top)
    if gap is not None:
        _invoice(page, gap)
    _notes(page, (*view.notices, *explanation.remarks), view)


def _changes(page: Page, bill: BillChange, top: int) -> None:
    if not any(change(line.amount, line.before) for line in bill.lines):
        return
    names = {each.id: each.name for each in bill.projects}

    def label(line: LineChange) -> Text:
        text = Text(clean(line.line_item or NOT_ATTRIBUTED))
        if line.project_id:
            text.append(f"  {clean(names.get(line.project_id) or line.project_id)}", style="dim")
        return text

    for noun, groups in (("model", bill.models), ("project", bill.projects)):
        page.title(f"By {noun}")
        _parts(page, noun, [(_group_label(each), each) for each in groups], bill.currency, top)
    page.title("By line item and project")
    _parts(page, "line item", [(label(line), line) for line in bill.lines], bill.currency, top)


def _parts(
    page: Page,
    noun: str,
    groups: Sequence[tuple[Text, GroupChange | LineChange]],
    currency: str,
    top: int,
) -> None:
    """Draw a table of changes, without the parts that are zero everywhere; it adds up."""
    parts = [name for name in PARTS if any(getattr(each.effects, name) for _, each in groups)]
    moved = [(label, each) for label, each in groups if each.effects != _NOTHING]
    shown, others = (moved[:top], moved[top:]) if top and len(moved) > top + 1 else (moved, [])
    rows: list[list[str | Text]] = [
        [label, *_cells(each.before, each.amount, each.effects, parts, currency)]
        for label, each in shown
    ]
    if others:
        name = Text(f"({len(others)} others)", style="dim")
        rows.append([name, *_cells(*summed(each for _, each in others), parts, currency)])
    if same := [each for _, each in groups if each.effects == _NOTHING and each.amount]:
        name = Text(f"({len(same)} unchanged)", style="dim")
        rows.append([name, *_cells(*summed(same), parts, currency)])
    page.table((noun, "spend", "change", *parts), rows)


def _cells(
    before: Decimal, amount: Decimal, effects: Effects, parts: Sequence[str], currency: str
) -> list[str | Text]:
    figures = [change(amount, before), *(getattr(effects, name) for name in parts)]
    return [
        money(amount, currency),
        *(money(figure, currency, sign=True) if figure else "" for figure in figures),
    ]


def _group_label(group: GroupChange) -> Text:
    if group.id is None:
        return Text(NOT_ATTRIBUTED, style="dim")
    return Text(clean(group.name or group.id))


def _invoice(page: Page, gap: InvoiceGap) -> None:
    page.title("Invoice")
    page.table(
        ("", "amount", "the invoice differs by"),
        [
            ("the invoice", _money(gap.invoice, gap), ""),
            ("the bill, exactly", _money(gap.amount, gap), _money(gap.gap, gap)),
            ("each line item rounded", _money(gap.rounded, gap), _money(gap.gap_rounded, gap)),
        ],
    )
    page.line(("What can make a gap; none of it is a finding:", "dim"))
    for cause, says in gap.possibilities:
        page.hanging(f"- {cause}: ", clean(says), "")


def _money(amount: Decimal, gap: InvoiceGap) -> str:
    return money(amount, gap.currency)


def draw_reconciliation(console: Console, found: Reconciliation, view: View) -> None:
    """Draw a reconciliation: the differences, then what has no partner."""
    page = Page(console)
    page.line(("Billed quantities beside reported usage", "bold"))
    page.line(f"{period_text(found.period)} UTC")
    page.console.print()
    differing = [each for each in found.sums if each.differing]
    agreeing = len(found.sums) - len(differing)
    verb = "agrees" if agreeing == 1 else "agree"
    page.line(f"{_count(agreeing, 'line item')} {verb} on every day", (_of(differing), "yellow"))
    if differing:
        page.title("Differences", "billed less reported, over all days that both sides know")
        rows: list[list[str | Text]] = [
            [
                Text(clean(each.line_item)),
                _quantity(each.billed),
                _quantity(each.reported),
                _quantity(each.difference, sign=True),
                f"{each.differing} of {each.days}",
            ]
            for each in _first(differing, view.top)
        ]
        page.table(("line item", "billed", "reported", "difference", "days"), rows)
        page.title("Days that differ", "the first ones")
        page.table(
            ("day", "line item", "billed", "reported", "difference"),
            [
                [
                    str(pair.day),
                    Text(clean(pair.line_item)),
                    _quantity(pair.billed or _ZERO),
                    _quantity(pair.reported or _ZERO),
                    _quantity(pair.difference or _ZERO, sign=True),
                ]
                for pair in _first(found.differing, view.top)
            ],
            names=2,
        )
    _alone(page, "Billed, without reported usage to compare", found.only_billed, view.top)
    _alone(
        page,
        "Reported by usage, without a billed quantity to compare",
        found.only_reported,
        view.top,
    )
    _notes(page, (*view.notices, *found.remarks), view)


def _of(differing: Sequence[object]) -> str:
    return f"; {_count(len(differing), 'line item')} differ" if differing else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _first(items: Sequence[Any], top: int) -> Sequence[Any]:
    return items[:top] if top else items


def _quantity(value: Decimal, *, sign: bool = False) -> str:
    whole, dot, rest = plain(value.copy_abs()).partition(".")
    minus = "-" if value < 0 else "+" if sign and value else ""
    return f"{minus}{int(whole):,}{dot}{rest[:3]}"


def _alone(page: Page, title: str, pairs: Sequence[Pair], top: int) -> None:
    if not pairs:
        return
    found: dict[tuple[str, str | None], list[Pair]] = {}
    for pair in pairs:
        found.setdefault((pair.line_item, pair.unit), []).append(pair)
    rows: list[list[str | Text]] = []
    for (name, unit), of in list(found.items())[: top or None]:
        values = [pair.billed if pair.reported is None else pair.reported for pair in of]
        known = [value for value in values if value is not None]
        of_unit = "" if unit is None else f" {clean(unit)}"
        quantity = f"{_quantity(total(known))}{of_unit}" if known else "not known"
        amounts: dict[str, Decimal] = {}
        for currency, amount in (each for pair in of for each in pair.amounts):
            amounts[currency] = total((amounts.get(currency, _ZERO), amount))
        billed = ", ".join(money(amount, currency) for currency, amount in amounts.items())
        rows.append([Text(clean(name)), quantity, billed, str(len(of))])
    page.title(title)
    page.table(("line item", "quantity", "billed", "days"), rows)


def draw_budget(console: Console, found: BudgetReport, view: View) -> None:
    """Draw a budget, its groups, and the spend limits beside it."""
    page = Page(console)
    month = found.spec.period.start
    running = " (still running)" if found.whole[0].projection is not None else ""
    page.line((f"Budget of {month:%B %Y}", "bold"), (running, "yellow"))
    for each in found.whole:
        page.console.print()
        draw_budget_lines(page, each)
    if found.groups:
        _budget_groups(page, found)
    _notes(page, (*view.notices, *found.remarks), view)


def _budget_groups(page: Page, found: BudgetReport) -> None:
    whole = {each.currency: each for each in found.whole}
    limited = any(each.limit for each in found.groups)
    rows: list[list[str | Text]] = []
    for each in found.groups:
        of, projection = each.currency, each.projection
        planned = whole[of].budget if of in whole else None
        limit: str | Text = ""
        if each.limit is not None:
            ahead = each.spent if projection is None else projection.projected
            style = "bold red" if each.spent > each.limit.amount else ""
            style = style or ("yellow" if ahead > each.limit.amount else "")
            limit = Text(money(each.limit.amount, of), style=style)
        rows.append(
            [
                Text(NOT_ATTRIBUTED if each.id is None else clean(each.name or each.id)),
                money(each.spent, of),
                percent(each.spent, planned) if planned else "",
                "" if projection is None else money(projection.projected, of),
                *([limit] if limited else []),
            ]
        )
    page.title("By group", "share of the budget; month's end at the pace of each")
    headers = ["group", "spent", "share", "month's end", *["spend limit"] * limited]
    page.table(headers, rows)


def _notes(page: Page, notes: Sequence[str], view: View) -> None:
    if notes:
        page.title("Notices")
    for note in notes:
        page.wrapped(f"- {clean(note)}", "yellow")
    if view.footer:
        page.console.print()
        page.line((view.footer, "dim"))
