from decimal import Decimal

from usage_async import CostsResultAmount
from usage_async.report.terminal import breakdown as drawing


def test_a_group_without_an_amount_has_an_empty_cell():
    assert drawing._short(None, "amount") == ""


def test_exact_is_exact(hostile):
    amount = CostsResultAmount(
        value=Decimal("1234567890123456789.012345678901234567890100"), currency="usd"
    )
    said = "exactly 1234567890123456789.0123456789012345678901"
    assert drawing._unit(amount, "") == said


def test_a_zero_amount_has_no_exact_figure():
    assert drawing._unit(CostsResultAmount(value=Decimal(0), currency="usd"), "") == ""
