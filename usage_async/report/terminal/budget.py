"""Drawing of one budget, in lines: of the command `budget`, and at the head of a report."""

from __future__ import annotations

from usage_async.report.budgets import Budget
from usage_async.report.formatting import clean, money, percent
from usage_async.report.terminal.page import Page
from usage_async.report.wording import used_up_text

_STYLES = {"within": "green", "projected over": "yellow", "over": "bold red"}


def draw_budget_lines(page: Page, each: Budget) -> None:
    """Draw the lines of one budget."""
    of = each.currency
    label = "{:<13}".format
    if each.budget is not None:
        page.line(
            label("Budget"),
            (money(each.budget, of), "bold"),
            "  ",
            (each.verdict, _STYLES[each.verdict]),
        )
    share = percent(each.spent, each.budget) if each.budget else ""
    page.line(label("Spent"), money(each.spent, of), (f"  {share}", "dim"))
    if (projection := each.projection) is not None:
        text = f"about {money(projection.projected, of)}"
        if projection.low != projection.high:
            text += f", from {money(projection.low, of)} to {money(projection.high, of)}"
        page.line(label("Month's end"), (text, "bold"))
        page.hanging(label(""), f"{money(projection.rate, of)} a day: {projection.method}")
    if each.budget is not None:
        page.line(label("Used up"), used_up_text(each))
    if each.limit is not None:
        status = each.limit.enforcement
        note = f"  a {each.limit.interval}" + (f", {status}" if status else "")
        page.line(label("Spend limit"), money(each.limit.amount, of), (clean(note), "dim"))
