"""Amounts of money on the command line."""

from decimal import Decimal

import pytest

from usage_async import QueryError
from usage_async._cli.money import read_amount


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("6000", "6000", None),
        ("5597.60", "5597.60", None),
        (" 6000 eur", "6000", "eur"),
        ("80EUR", "80", "eur"),
        ("$6000", "6000", "usd"),
        ("$0.5 USD", "0.5", "usd"),
        ("7 usd", "7", "usd"),
    ],
)
def test_a_dollar_sign_is_a_currency_as_its_code_is(text, amount, currency):
    assert read_amount("--budget", text) == (Decimal(amount), currency)


@pytest.mark.parametrize("text", ["$6000 eur", "$1GBP"])
def test_an_amount_in_two_currencies_is_refused(text):
    with pytest.raises(QueryError) as raised:
        read_amount("--invoice", text)
    assert raised.value.message == f"--invoice takes an amount in one currency; not {text!r}"


@pytest.mark.parametrize("text", ["", "much", "6,000.00", "-5", "$", "1e3", "$$5", "5 $", "5 euro"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(QueryError, match="--monthly takes an amount such as 6000"):
        read_amount("--monthly", text)
