"""Arithmetic of amounts that no thread's decimal context changes. Pure.

Sums, differences and products are exact. Ratios have 28 digits, which is enough for shares and
bars, and are never added up.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal

from usage_async._sums.totals import add

ROUNDING = Context(prec=6600, Emax=10**6, Emin=-(10**6), rounding=ROUND_HALF_EVEN, traps=[])
"""Context for products and for rounding to decimals; its precision holds any product of figures."""
_RATIOS = Context(prec=28, Emax=10**6, Emin=-(10**6), rounding=ROUND_HALF_EVEN, traps=[])


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts up."""
    result = Decimal(0)
    for amount in amounts:
        result = add(result, amount)
    return result


def change(amount: Decimal, before: Decimal) -> Decimal:
    """Subtract the amount before from an amount."""
    return add(amount, before.copy_negate())


def times(value: Decimal, factor: Decimal | int) -> Decimal:
    """Multiply a value."""
    return ROUNDING.multiply(value, Decimal(factor))


def ratio(part: Decimal | int, whole: Decimal | int) -> Decimal:
    """Divide, to 28 digits."""
    return _RATIOS.divide(Decimal(part), Decimal(whole))
