"""Products and ratios of figures, whatever the thread's decimal context says. Pure.

Products are exact. Ratios have 28 digits, which is enough for shares and bars; they are never added
up. Sums are in `amounts`: every start of the terminal imports this module, and it has to be light.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

ROUNDING = Context(prec=6600, Emax=10**6, Emin=-(10**6), rounding=ROUND_HALF_EVEN, traps=[])
"""Context for products and for rounding to decimals; its precision holds any product of figures."""
_RATIOS = Context(prec=28, Emax=10**6, Emin=-(10**6), rounding=ROUND_HALF_EVEN, traps=[])


def times(value: Decimal, factor: Decimal | int) -> Decimal:
    """Multiply a value."""
    return ROUNDING.multiply(value, Decimal(factor))


def ratio(part: Decimal | int, whole: Decimal | int) -> Decimal:
    """Divide, to 28 digits."""
    return _RATIOS.divide(Decimal(part), Decimal(whole))
