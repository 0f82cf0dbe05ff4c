"""Conclusions from daily amounts: unusual days. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

import attrs

from usage_async._sums.totals import add
from usage_async.report.amounts import change
from usage_async.report.arithmetic import times
from usage_async.report.effects import Cause

Days = Sequence[tuple[date, Decimal | None]]
"""Amounts by day; None where a day is unknown, so that nothing is concluded from it."""

_SATURDAY = 5
_ENOUGH_DAYS = 4
_FAR = 4
_HALF = Decimal("0.5")

UNUSUAL_RULE = (
    "off the median of its kind (weekday or weekend day) by more than half, and by more than"
    f" {_FAR} times the median deviation"
)
"""The rule for unusual days, as reports state it."""


@attrs.frozen
class UnusualDay:
    """A day that is far from the usual.

    Attributes:
        day: The day.
        amount: Its amount.
        usual: The median of its kind of day.
        cause: The line item that makes the largest difference to a usual day, where it is known.
    """

    day: date
    amount: Decimal
    usual: Decimal
    cause: Cause | None = None


def unusual_days(days: Days, today: date) -> tuple[UnusualDay, ...]:
    """Find the days that `UNUSUAL_RULE` describes, except today, which is still running."""
    found: list[UnusualDay] = []
    for weekend in (False, True):
        kind = [
            (day, amount)
            for day, amount in _known(days)
            if day < today and is_weekend(day) is weekend
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


def is_weekend(day: date) -> bool:
    """Tell if a day is a Saturday or a Sunday."""
    return day.weekday() >= _SATURDAY


def _known(days: Days) -> Iterator[tuple[date, Decimal]]:
    return ((day, amount) for day, amount in days if amount is not None)


def _median(amounts: Iterable[Decimal]) -> Decimal:
    """Give the middle amount, or the mean of the two in the middle."""
    order = sorted(amounts)
    half = len(order) // 2
    return order[half] if len(order) % 2 else times(add(order[half - 1], order[half]), _HALF)
