from decimal import Decimal

from usage_async.report.arithmetic import ratio, times


def test_no_product_or_ratio_depends_on_the_context_of_the_thread(hostile):
    big = Decimal("123456789.123456789")
    assert times(big, big) == Decimal("15241578780673678.515622620750190521")
    assert ratio(1, 3) == Decimal("0.3333333333333333333333333333")
