"""Drawing of one budget or projection, in lines: of `budget`, and at the head of a report."""

from __future__ import annotations

from usage_async.report.budgets import Budget, Projection
from usage_async.report.formatting import clean, money, percent
from usage_async.report.terminal.page import Page
from usage_async.report.wording import range_text, rate_text, used_up_text

_STYLES = {"within": "green", "projected over": "yellow", "over": "bold red"}


_label = "{:<13}".format


def draw_budget_lines(page: Page, each: Budget) -> None:
    """Draw the lines of one budget."""
    of = each.currency
    if each.budget is not None:
        page.line(
            _label("Budget"),
            (money(each.budget, of), "bold"),
            "  ",
            (each.verdict, _STYLES[each.verdict]),
        )
    share = percent(each.spent, each.budget) if each.budget else ""
    page.line(_label("Spent"), money(each.spent, of), (f"  {share}", "dim"))
    if each.projection is not None:
        draw_projection(page, each.projection, of)
    if each.budget is not None:
        page.hanging(_label("Used up"), used_up_text(each), "")
    if each.limit is not None:
        status = each.limit.enforcement
        note = f"  a {each.limit.interval}" + (f", {status}" if status else "")
        page.line(_label("Spend limit"), money(each.limit.amount, of), (clean(note), "dim"))


def draw_projection(page: Page, projection: Projection, currency: str) -> None:
    """Draw the lines of a projected month."""
    about = f"about {money(projection.projected, currency)}"
    text = ", ".join(filter(None, (about, range_text(projection, currency))))
    page.line(_label("Month's end"), (text, "bold"))
    page.hanging(_label(""), rate_text(projection, currency))
