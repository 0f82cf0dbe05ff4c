"""Conclusions of a report: pace, unusual days, movers. Pure; each rule is written out."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

import attrs

from usage_async._sums.totals import add
from usage_async.report.text import ratio, times

Days = Sequence[tuple[date, Decimal | None]]
"""Amounts by day; None where a day is unknown, and nothing is concluded from it."""

_WEEK = 7
_SATURDAY = 5
_ENOUGH_DAYS = 4
_FAR = 4
_HALF = Decimal("0.5")

UNUSUAL_RULE = (
    "more than half away from the median of its kind of day (Monday to Friday, or weekend), and"
    f" further than {_FAR} times the usual distance from it"
)


@attrs.frozen
class Pace:
    """Projection of a running month.

    Attributes:
        whole_days: Days of the month that are over, and known.
        rate: What one of the last `over_days` of them cost on average.
        over_days: Seven, a whole week, or as many as there are.
        projected: The whole days as billed, and every other day of the month at the rate.
    """

    whole_days: int
    rate: Decimal
    over_days: int
    projected: Decimal


@attrs.frozen
class UnusualDay:
    """A day that is far from the usual.

    Attributes:
        day: Which.
        amount: What it cost.
        usual: The median of its kind of day.
    """

    day: date
    amount: Decimal
    usual: Decimal


def pace(days: Days, today: date) -> Pace | None:
    """Project a running month; None before its first day is over.

    Args:
        days: Of the month, today the last.
        today: It is still running, so it is projected as well.
    """
    whole = [amount for day, amount in _known(days) if day < today]
    if not whole:
        return None
    recent = whole[-_WEEK:]
    rate = ratio(total(recent), len(recent))
    left = monthrange(today.year, today.month)[1] - len(whole)
    return Pace(len(whole), rate, len(recent), add(total(whole), times(rate, left)))


def unusual_days(days: Days, today: date) -> tuple[UnusualDay, ...]:
    """Find the days that `UNUSUAL_RULE` describes; today is not judged, since it still runs."""
    found: list[UnusualDay] = []
    for weekend in (False, True):
        kind = [
            (day, amount)
            for day, amount in _known(days)
            if day < today and (day.weekday() >= _SATURDAY) is weekend
        ]
        if len(kind) < _ENOUGH_DAYS:
            continue
        usual = _median(amount for _, amount in kind)
        away = [change(amount, usual).copy_abs() for _, amount in kind]
        far = max(times(usual, _HALF), times(_median(away), _FAR))
        found += [
            UnusualDay(day, amount, usual)
            for (day, amount), distance in zip(kind, away, strict=True)
            if distance > far
        ]
    return tuple(sorted(found, key=lambda each: each.day))


def _known(days: Days) -> Iterator[tuple[date, Decimal]]:
    return ((day, amount) for day, amount in days if amount is not None)


def _median(amounts: Iterable[Decimal]) -> Decimal:
    """Give the middle amount, or the mean of the two in the middle."""
    order = sorted(amounts)
    half = len(order) // 2
    return order[half] if len(order) % 2 else times(add(order[half - 1], order[half]), _HALF)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts up, exactly."""
    result = Decimal(0)
    for amount in amounts:
        result = add(result, amount)
    return result


def change(amount: Decimal, before: Decimal) -> Decimal:
    """Give the exact difference of two amounts."""
    return add(amount, before.copy_negate())
