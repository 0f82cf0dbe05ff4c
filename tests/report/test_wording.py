from decimal import Decimal

import pytest

from usage_async.report.wording import change_text


@pytest.mark.parametrize(
    ("amount", "before", "shown"),
    [
        ("10", "8", "+$2.00 (+25.0%)"),
        ("8", "10", "-$2.00 (-20.0%)"),
        ("-50", "-52", "+$2.00 (+3.8%)"),
        ("-54", "-52", "-$2.00 (-3.8%)"),
        ("2", "-2", "+$4.00 (+200.0%)"),
        ("10", "10", "$0.00 (0.0%)"),
        ("10", "0", "+$10.00"),
        ("10.001", "10", "<+$0.01 (+0.0%)"),
    ],
)
def test_a_change_and_its_share_have_one_sign(amount, before, shown):
    assert change_text(Decimal(amount), Decimal(before), "usd") == shown
