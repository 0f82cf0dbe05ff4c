"""Exact sums and differences of amounts, whatever the thread's decimal context says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from usage_async._sums.totals import add


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts up."""
    result = Decimal(0)
    for amount in amounts:
        result = add(result, amount)
    return result


def change(amount: Decimal, before: Decimal) -> Decimal:
    """Subtract the amount before from an amount."""
    return add(amount, before.copy_negate())
