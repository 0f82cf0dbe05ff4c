"""Budget of a month: spent, pace, projected end with its range, and when it is used up. Pure.

Every day that is over counts as billed. Each other day of the month, the running one included, is
projected at a rate: the mean of the last seven days that are over, or of as many as there are since
the first amount. The running day counts as billed once that is more than the rate. The range is
that of whole weeks: the lowest and the highest mean of the last eight times seven days, as far as
they are known. The weeks may lie before the month, which is why they are read.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Literal

import attrs

from usage_async._api.limits import SpendLimit
from usage_async.report.amounts import change, total
from usage_async.report.arithmetic import ROUNDING, ratio, times
from usage_async.report.insight import Days
from usage_async.report.spec import WEEK, WEEKS

_ZERO = Decimal(0)

Verdict = Literal["within", "projected over", "over"]


@attrs.frozen(kw_only=True)
class Projection:
    """The projected amount of a month.

    Attributes:
        rate: Mean amount of the last `over_days` days that are over.
        over_days: Seven, or as many as are known.
        projected: Amount of the whole month at the rate; never less than what is spent.
        low: The same at the rate of the lowest week.
        high: The same at the rate of the highest week.
        weeks: The number of whole weeks; 0 if none is known, so that there is no range.
        left_days: Days of the month that are projected, the running one included.
    """

    rate: Decimal
    over_days: int
    projected: Decimal
    low: Decimal
    high: Decimal
    weeks: int
    left_days: int

    @property
    def method(self) -> str:
        """The method, in a sentence."""
        days = f"{self.over_days} days that are over" if self.over_days > 1 else "day that is over"
        text = f"{_days(self.left_days)} at the mean of the last {days}"
        if not self.weeks:
            return f"{text}; no range, because no whole week is known"
        if self.weeks == 1:
            return f"{text}; no range, because only one whole week is known"
        return f"{text}; the range is that of the last {self.weeks} whole weeks"


@attrs.frozen(kw_only=True)
class Budget:
    """A budget of one month, or what a group of its costs makes of it.

    Attributes:
        currency: Lowercase ISO 4217 code.
        month: First day of the month.
        budget: Amount of the budget; None for a group, and for amounts in another currency.
        spent: What is spent, the running day included.
        projection: The projected month; None if the month is over, or no day is known.
        days_left: Days until the budget is used up as projected, the running day and unknown ones
            counted first, from the start of the running day; None if it is used up, or never will
            be.
        used_up_on: The day on which that is, if it lies in the month.
        limit: The spend limit of the service for the organization, or for the project.
        missing_days: Days of the month that are over and unknown.
        id: The group; None for the whole, and for what is not attributed.
        name: Name of the group.
    """

    currency: str
    month: date
    budget: Decimal | None
    spent: Decimal
    projection: Projection | None = None
    days_left: Decimal | None = None
    used_up_on: date | None = None
    limit: SpendLimit | None = None
    missing_days: int = 0
    id: str | None = None
    name: str | None = None

    @property
    def verdict(self) -> Verdict:
        """Verdict. A budget of exactly the spend is not over."""
        if self.budget is None:
            return "within"
        if self.spent > self.budget:
            return "over"
        projected = self.projection is not None and self.projection.projected > self.budget
        return "projected over" if projected else "within"

    @property
    def left(self) -> Decimal | None:
        """Amount left of the budget; negative if it is over."""
        return None if self.budget is None else change(self.budget, self.spent)


def budget(
    days: Days, today: date, *, month: date, amount: Decimal | None = None, currency: str = "usd"
) -> Budget:
    """Set the spend of a month beside its budget.

    Args:
        days: Amounts of the days up to today, in their order, those before the month as well; None
            for a day that is not known.
        today: The running day.
        month: Any day of the month.
        amount: The budget.
        currency: Its currency.
    """
    first = month.replace(day=1)
    last = first.replace(day=monthrange(first.year, first.month)[1])
    inside = [(day, spent) for day, spent in days if first <= day <= last]
    spent = total(value for _, value in inside if value is not None)
    over = total(value for day, value in inside if value is not None and day < today)
    made = Budget(
        currency=currency,
        month=first,
        budget=amount,
        spent=spent,
        missing_days=sum(value is None and day < today for day, value in inside),
    )
    # Without any amount, nothing was spent on the days that are known.
    begun = _begun(days) or date.min
    known = [value for day, value in days if begun <= day < today and value is not None]
    if today > last or not known:
        return made
    unknown_days = made.missing_days
    left_days = (last - max(today, first)).days + 1 + unknown_days
    projection = _projection(days, today, known, spent=(over, spent), left_days=left_days)
    made = attrs.evolve(made, projection=projection)
    if amount is None or spent >= amount or projection.rate <= 0:
        return made
    # What is left of the budget at the start of today, at the rate; a day that has spent more than
    # the rate leaves less to the days after it, and so do the days that are unknown. The rate may
    # be periodic, so that all is counted in its parts.
    week, parts = total(known[-WEEK:]), min(len(known), WEEK)
    less = total((_excess(change(spent, over), week, parts), times(week, unknown_days)))
    left = change(times(change(amount, over), parts), less)
    days_left = max(ratio(left, week), _ZERO)
    whole_days = int(days_left.to_integral_value(ROUND_CEILING, ROUNDING))
    day = max(today, first) + timedelta(days=max(min(whole_days, 366) - 1, 0))
    return attrs.evolve(made, days_left=days_left, used_up_on=day if day <= last else None)


def _begun(days: Days) -> date | None:
    """Give the day of the first amount, before which there was no organization, or no group."""
    return next((day for day, amount in days if amount), None)


def _projection(
    days: Days,
    today: date,
    known: Sequence[Decimal],
    *,
    spent: tuple[Decimal, Decimal],
    left_days: int,
) -> Projection:
    """Project a month.

    Args:
        days: As for `budget`.
        today: The running day.
        known: The amounts of the days that are over.
        spent: What was spent in the month on days that are over, and with the running one.
        left_days: Days of the month to project.
    """
    over, least = spent
    recent = known[-WEEK:]
    weeks = list(_weeks(days, today))

    def at(week: Sequence[Decimal]) -> Decimal:
        whole, parts = total(week), len(week)
        ahead = total((times(whole, left_days), _excess(change(least, over), whole, parts)))
        return max(total((over, _divided(ahead, parts))), least)

    all_projected = [at(week) for week in (recent, *weeks)]
    return Projection(
        rate=_divided(total(recent), len(recent)),
        over_days=len(recent),
        projected=all_projected[0],
        low=min(all_projected),
        high=max(all_projected),
        weeks=len(weeks),
        left_days=left_days,
    )


def _excess(today: Decimal, week: Decimal, parts: int) -> Decimal:
    """Give the excess of today over the mean of a week, times the days of the week."""
    return max(change(times(today, parts), week), _ZERO)


def _divided(amount: Decimal, parts: int) -> Decimal:
    """Divide by up to seven: exactly if the result is a finite decimal, else to 28 digits or more.

    With fewer digits, rounding up could put a projection above a budget that it exactly meets.
    """
    precision = max(28, len(amount.as_tuple().digits) + 3)
    return _precise(precision).divide(amount, parts)


@lru_cache(64)
def _precise(digits: int) -> Context:
    return Context(digits, ROUND_HALF_EVEN, Emin=-(10**6), Emax=10**6, traps=[])


def _weeks(days: Days, today: date) -> Iterator[list[Decimal]]:
    """Yield the last whole weeks before today, as far as each day of them is known.

    Days before the first amount are left out: the organization, or the group, had not begun.
    """
    amounts = dict(days)
    begun = _begun(days) or today
    for number in range(1, WEEKS + 1):
        first = today - timedelta(days=WEEK * number)
        week = [amounts.get(first + timedelta(days=n)) for n in range(WEEK)]
        whole = [amount for amount in week if amount is not None]
        if len(whole) < WEEK or first < begun:
            break
        yield whole


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"
