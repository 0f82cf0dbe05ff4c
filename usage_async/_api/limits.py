"""Spend limits, as the service keeps them for an organization and its projects."""

from __future__ import annotations

from decimal import Decimal

import attrs

from usage_async._api.exact import EXACT, exact_decimal


@attrs.frozen(kw_only=True)
class SpendLimit:
    """A spend limit.

    Attributes:
        threshold_amount: The limit in cents.
        currency: Lowercase ISO 4217 code.
        interval: The time that it is for, such as `month`.
        enforcement: `enforcing`, or `inactive`; None where the service does not tell.
    """

    threshold_amount: int
    currency: str = "usd"
    interval: str = "month"
    enforcement: str | None = None

    @property
    def amount(self) -> Decimal:
        """The limit in whole units of the currency."""
        return exact_decimal(EXACT.scaleb(Decimal(self.threshold_amount), -2))
