from datetime import date, timedelta
from decimal import Decimal

from usage_async.report.insight import unusual_days


def _days(first: date, amounts: list[str]) -> list[tuple[date, Decimal]]:
    return [(first + timedelta(days=n), Decimal(amount)) for n, amount in enumerate(amounts)]


def test_a_day_is_judged_by_its_kind_and_today_is_not():
    # Two weeks from a Monday on: 10 on working days, 2 on weekends.
    amounts = ["10", "11", "9", "10", "30", "2", "2", "10", "0", "11", "9", "10", "2", "1.5", "0"]
    days = _days(date(2026, 11, 2), amounts)
    found = unusual_days(days, date(2026, 11, 16))
    assert [(each.day.day, each.amount, each.usual) for each in found] == [(6, 30, 10), (10, 0, 10)]


def test_few_days_of_a_kind_are_not_judged():
    assert unusual_days(_days(date(2026, 11, 2), ["1", "1", "90"]), date(2026, 12, 1)) == ()


def test_what_is_concluded_never_depends_on_the_context_of_the_thread(hostile):
    big = Decimal("12345678901234567890123456789.0123456789")
    amounts = [str(big), *["10.123456789"] * 9, "99.123456789", "1"]
    days = _days(date(2026, 11, 2), amounts)
    assert [each.day.day for each in unusual_days(days, date(2026, 11, 20))] == [2, 12, 13]
    assert unusual_days(days, date(2026, 11, 20))[1].usual == Decimal("10.123456789")


def test_the_median_of_an_even_number_of_days_is_the_mean_of_two(hostile):
    amounts = ["10.000001", "10.000002", "10.000003", "90"]
    (found,) = unusual_days(_days(date(2026, 11, 2), amounts), date(2026, 11, 20))
    assert found.usual == Decimal("10.0000025")
