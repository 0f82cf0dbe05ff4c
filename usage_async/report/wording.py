"""Words and rows that the renderings for people share. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, overload

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.interval import DAY_S
from usage_async._query.times import TimeRange
from usage_async.report import amounts
from usage_async.report.amounts import total
from usage_async.report.arithmetic import ratio, times
from usage_async.report.budgets import Budget, Projection
from usage_async.report.effects import Cause
from usage_async.report.formatting import clean, count, money, percent, size
from usage_async.report.insight import UnusualDay, is_weekend
from usage_async.report.spec import GROUPINGS, day_of
from usage_async.report.values import Group, Report, Tokens

NOT_ATTRIBUTED = "(not attributed)"
_NOTICE_OF_GAP = " not sent, the first starts at "
"""Words of every notice of a query about buckets that did not come."""


def period_text(period: TimeRange) -> str:
    """Write a range of whole days, with the time of its end where that lies inside a day."""
    end = period.end
    clock = "" if period.end_time % DAY_S == 0 else f" {end:%H:%M}"
    if clock == " 00:00":
        # Without seconds, 00:00 would look as if the day that has just begun were left out.
        clock = f" {end:%H:%M:%S}"
    until = f"{end:%Y-%m-%d}{clock}"
    return f"{period.start:%Y-%m-%d} to {until}"


def change_text(amount: Decimal, before: Decimal, currency: str) -> str:
    """Write the change of an amount, such as `+$2.00 (+25.0%)`."""
    change = amounts.change(amount, before)
    # The amount before is negative if it was a credit; the share has the sign of the change.
    share = percent(change, before.copy_abs())
    return f"{money(change, currency, sign=True)}" + (
        f" ({'+' if change > 0 else ''}{share})" if share else ""
    )


def unusual_text(each: UnusualDay, currency: str) -> str:
    """Tell of an unusual day in one sentence."""
    note = unusual_note(each, currency)
    return f"{each.day:%a %Y-%m-%d}  {money(each.amount, currency)}: {note}"


def unusual_note(each: UnusualDay, currency: str) -> str:
    """Tell why a day is unusual, beside its amount."""
    of = "weekend day" if is_weekend(each.day) else "weekday"
    cause = "" if each.cause is None else f"; mostly {cause_text(each.cause, currency)}"
    return f"unusual, the median {of} is {money(each.usual, currency)}{cause}"


def cause_text(cause: Cause, currency: str) -> str:
    """Tell of a cause: the line item, its largest effect, and the amount of that."""
    item = clean(cause.line_item or NOT_ATTRIBUTED)
    return f"{item}: {cause.effect} {money(cause.amount, currency, sign=True)}"


def range_text(projection: Projection, currency: str) -> str:
    """Write the range of a projection; empty where it has none."""
    low, high = projection.low, projection.high
    return "" if low == high else f"from {money(low, currency)} to {money(high, currency)}"


def rate_text(projection: Projection, currency: str) -> str:
    """Tell how a month was projected."""
    return f"{money(projection.rate, currency)} a day: {projection.method}"


def groups_note(report: Report) -> str:
    """Tell how the groups of spend came about; empty where there is nothing to tell."""
    notes = []
    if any(grouping.derived for grouping in report.spec.groupings):
        notes.append("derived from line items; one without a model is shown as it is")
    if report.groups_from is not None:
        notes.append(f"known from {day_of(report.groups_from)}")
    return "; ".join(notes)


def tokens_nouns(report: Report) -> tuple[str, ...]:
    """Name one group of tokens, and one of its parts."""
    nouns = {grouping.usage: grouping.noun for grouping in GROUPINGS.values()}
    return tuple(nouns[dimension] for dimension in report.spec.usage_dimensions)


def tokens_noun(report: Report) -> str:
    """Name one group of tokens."""
    return " and ".join(tokens_nouns(report))


@overload
def leaves(groups: Iterable[Group]) -> Iterator[tuple[Group, ...]]: ...
@overload
def leaves(groups: Iterable[Tokens]) -> Iterator[tuple[Tokens, ...]]: ...
def leaves(groups: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Give each part behind its group, or a group that has no parts alone."""
    for group in groups:
        for part in group.parts:
            yield group, part
        if not group.parts:
            yield (group,)


def split(groups: Sequence[Group], top: int) -> tuple[list[Group], list[Group]]:
    """Split the groups into those to draw and the others; spend without an id is always drawn."""
    named = [group for group in groups if group.id is not None]
    nobody = [group for group in groups if group.id is None]
    if not top or len(named) <= top + 1:
        return list(groups), []
    return [*named[:top], *nobody], named[top:]


def rest_of(others: Sequence[Group]) -> Group:
    """Add the groups that are not drawn up to one."""
    compared = any(group.before is not None for group in others)
    return Group(
        id="others",
        amount=total(group.amount for group in others),
        before=total(group.before or Decimal(0) for group in others) if compared else None,
    )


def per_thousand(group: Group) -> Decimal | None:
    """Give the amount of a group for a thousand requests; None where that is not known."""
    return ratio(times(group.amount, 1000), group.requests) if group.requests else None


def untold(report: Report, notices: Iterable[str]) -> tuple[str, ...]:
    """Leave out notices of queries about gaps that the remarks of the report tell of."""
    told = {name if name in ENDPOINTS else "costs" for name, _ in report.gaps}
    return tuple(
        notice
        for notice in notices
        if _NOTICE_OF_GAP not in notice or re.split("[ :]", notice)[0] not in told
    )


def sum_of(rows: Sequence[Tokens]) -> Tokens:
    """Add requests and tokens of groups up."""
    return Tokens(
        id=None,
        requests=sum(row.requests for row in rows),
        input=sum(row.input for row in rows),
        cached=sum(row.cached for row in rows),
        output=sum(row.output for row in rows),
    )


def figure_text(metric: str, value: int, unit: str) -> str:
    """Write a figure of an endpoint with its unit."""
    if unit == "bytes":
        return f"{size(value)} stored"
    return f"{count(value)} {unit if metric.startswith('num_') else metric.replace('_', ' ')}"


def used_up_text(each: Budget) -> str:
    """Tell when a budget is used up."""
    left = each.left or Decimal(0)
    if left < 0:
        return f"over by {money(left.copy_abs(), each.currency)}"
    text = f"{money(left, each.currency)} left"
    if each.projection is None or not left:
        return text
    if each.days_left is None:
        return f"{text}; not at this pace"
    # They are counted from the start of today, and what is left is less what today has spent.
    until = "beyond the month" if each.used_up_on is None else f"until {each.used_up_on}"
    return f"{text}, which lasts {until} ({each.days_left:.1f} days with today)"


def budget_text(each: Budget) -> str:
    """Tell how a budget stands, in one sentence."""
    amount = money(each.budget or Decimal(0), each.currency)
    return f"budget {amount}: {each.verdict}; {used_up_text(each)}"
