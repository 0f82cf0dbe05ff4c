from decimal import Decimal

from usage_async.report.amounts import change, total


def test_a_change_is_exact():
    assert change(Decimal("1e30"), Decimal("1e-30")) == Decimal(
        "999999999999999999999999999999.999999999999999999999999999999"
    )


def test_no_sum_depends_on_the_context_of_the_thread(hostile):
    big = Decimal("123456789.123456789")
    assert total([big, big]) == Decimal("246913578.246913578")
    assert total([]) == 0
