"""Amounts of money as people write them on the command line."""

from __future__ import annotations

import re
from decimal import Decimal

from usage_async.errors import QueryError

_AMOUNT = re.compile(
    r"(?P<dollars>\$)?(?P<amount>[0-9]{1,15}(?:\.[0-9]{1,12})?) ?(?P<currency>[A-Za-z]{3})?"
)


def read_amount(flag: str, text: str) -> tuple[Decimal, str | None]:
    """Read an amount, and its currency where one is written: `6000`, `$5597.60`, `"80 eur"`.

    Args:
        flag: Name of the option, for messages.
        text: Its value.

    Raises:
        QueryError: The value is no amount, or in two currencies.
    """
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise QueryError(f'{flag} takes an amount such as 6000, 5597.60 or "80 eur"; not {text!r}')
    currency = None if match["currency"] is None else match["currency"].lower()
    if match["dollars"]:
        if currency not in {None, "usd"}:
            raise QueryError(f"{flag} takes an amount in one currency; not {text!r}")
        currency = "usd"
    return Decimal(match["amount"]), currency
