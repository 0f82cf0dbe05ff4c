"""Budgets: the projection of a month, its range, and the day on which the budget is used up."""

from datetime import date, timedelta
from decimal import Context, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async.report.budgets import budget

FIRST = date(2026, 11, 1)
TODAY = date(2026, 11, 11)


def days(*amounts, first=FIRST):
    return [
        (first + timedelta(days=n), None if each is None else Decimal(each))
        for n, each in enumerate(amounts)
    ]


def made(*amounts, amount=None, today=TODAY, first=FIRST, month=FIRST):
    given_ = None if amount is None else Decimal(amount)
    return budget(days(*amounts, first=first), today, month=month, amount=given_)


def test_a_running_month_is_projected_at_the_mean_of_seven_days():
    found = made(*[30] * 3, *[10] * 7, 4, amount=500)
    assert found.spent == 164
    assert found.projection.rate == 10
    assert found.projection.projected == 160 + 20 * 10
    assert found.left == 336
    assert found.days_left == 34
    assert (found.used_up_on, found.verdict) == (None, "within")
    assert found.projection.method == (
        "20 days at the mean of the last 7 days that are over; no range, because only one whole"
        " week is known"
    )


@given(st.decimals("0.01", 10**6, places=2), st.integers(0, 80), st.integers(1, 30))
def test_the_projection_of_a_constant_month_is_the_month(daily, before, today):
    first = FIRST - timedelta(days=before)
    day = FIRST + timedelta(days=today - 1)
    amounts = [daily] * (before + today - 1) + [daily / 4]
    found = made(*amounts, first=first, today=day, amount=daily * 30)
    if found.projection is not None:
        projection = found.projection
        assert projection.projected == projection.low == projection.high == daily * 30
        assert found.verdict == "within"
        assert found.used_up_on == date(2026, 11, 30)


@given(st.lists(st.decimals(0, 999, places=2), min_size=1, max_size=90))
def test_a_projection_lies_in_its_range_and_is_at_least_what_is_spent(amounts):
    first = TODAY - timedelta(days=len(amounts) - 1)
    found = made(*amounts, first=first)
    if found.projection is not None:
        projection = found.projection
        assert found.spent <= projection.low <= projection.projected <= projection.high


@given(st.decimals(0, 999, places=2), st.decimals("0.01", 9, places=2))
def test_a_budget_of_exactly_the_spend_is_not_over(spent, more):
    amounts = [spent] * 30
    over = {"first": FIRST, "today": date(2026, 12, 5)}
    assert made(*amounts, amount=spent * 30, **over).verdict == "within"
    assert made(*amounts, amount=spent * 30 - more, **over).verdict == "over"
    assert made(*amounts, amount=spent * 30, **over).projection is None


def test_the_range_is_that_of_whole_weeks():
    first = TODAY - timedelta(days=22)
    found = made(50, *[3] * 7, *[1] * 7, *[2] * 7, 0, first=first, amount=40)
    projection = found.projection
    assert projection.weeks == 3
    over = 3 * 1 + 7 * 2
    assert (projection.low, projection.projected, projection.high) == (
        over + 20 * 1,
        over + 20 * 2,
        over + 20 * 3,
    )
    assert projection.method.endswith("; the range is that of the last 3 whole weeks")
    assert found.verdict == "projected over"
    assert (found.days_left, found.used_up_on) == (Decimal("11.5"), date(2026, 11, 22))


def test_days_before_the_first_amount_are_no_weeks():
    first = TODAY - timedelta(days=28)
    assert made(*[0] * 14, *[5] * 15, first=first).projection.weeks == 2
    assert made(*[0] * 29, first=first).projection.weeks == 0


def test_a_week_with_an_unknown_day_ends_the_range_and_the_day_is_projected():
    first = TODAY - timedelta(days=14)
    found = made(*[5] * 7, *[5] * 3, None, *[5] * 3, 1, first=first)
    assert (found.missing_days, found.projection.weeks) == (1, 0)
    assert found.projection.left_days == 21
    assert found.projection.projected == 9 * 5 + 21 * 5
    assert found.projection.method.endswith("no range, because no whole week is known")


def test_on_the_first_day_of_a_month_the_days_before_it_are_the_pace():
    found = made(*[5] * 10, 2, first=FIRST - timedelta(days=10), today=FIRST)
    assert (found.spent, found.projection.projected, found.projection.left_days) == (2, 150, 30)


@pytest.mark.parametrize("over", [1, 2, 3, 6, 7, 20])
def test_days_before_the_first_amount_are_no_pace(over):
    first = FIRST - timedelta(days=56)
    today = FIRST + timedelta(days=over)
    found = made(*[0] * 56, *[10] * over, 0, first=first, today=today, amount=200)
    assert (found.projection.projected, found.verdict) == (300, "projected over")
    assert found.projection.over_days == min(over, 7)
    nothing = made(*[0] * 56, *[0] * over, first=first, today=today, amount=200).projection
    assert (nothing.rate, nothing.over_days) == (0, 7)


def test_a_running_day_that_spent_more_than_the_rate_leaves_less_to_the_others():
    found = made(*[10] * 10, 190, amount=300)
    assert (found.left, found.days_left, found.used_up_on) == (10, 2, TODAY + timedelta(days=1))
    assert (found.projection.projected, found.verdict) == (100 + 190 + 19 * 10, "projected over")


@given(st.lists(st.decimals(0, 999, places=2), min_size=7, max_size=7).filter(any))
def test_a_budget_of_exactly_the_projection_is_within(week):
    today = FIRST + timedelta(days=23)
    amounts = [*[1] * 16, *week, 0]
    projected = made(*amounts, today=today).projection.projected
    assert projected == 16 + 2 * sum(week)
    found = made(*amounts, today=today, amount=projected)
    assert (found.verdict, found.days_left) == ("within", 7)


def test_a_constant_month_of_many_digits_is_the_month():
    daily = Decimal("1.234567890123456789012345678901234")
    with localcontext(Context(prec=80)):
        month = daily * 30
    assert made(*[daily] * 10, 0, amount=month).verdict == "within"
    assert made(*[daily] * 10, 0).projection.projected == month


def test_unknown_days_are_projected_before_the_days_left_are_counted():
    today = FIRST + timedelta(days=20)
    amounts = [10, 10, *[None] * 5, *[10] * 13, 0]
    found = made(*amounts, amount=270, today=today)
    assert (found.projection.projected, found.verdict) == (300, "projected over")
    assert (found.days_left, found.used_up_on) == (7, date(2026, 11, 27))
    assert made(*amounts, amount=290, today=today).used_up_on == date(2026, 11, 29)
    used_up = made(*amounts, amount=160, today=today)
    assert (used_up.days_left, used_up.used_up_on) == (0, today)


def test_nothing_is_projected_of_a_month_that_is_over_or_of_which_no_day_is():
    assert made(*[5] * 30, today=date(2026, 12, 1)).projection is None
    assert made(5, today=FIRST).projection is None


def test_a_day_that_ran_away_is_not_projected_below_itself():
    found = made(*[1] * 10, 500, amount=400)
    assert (found.projection.projected, found.verdict, found.left) == (529, "over", -110)
    assert found.days_left is None


@pytest.mark.parametrize(("amount", "wanted"), [(None, "within"), (99, "within"), (5, "over")])
def test_a_budget_without_spend_ahead_is_never_used_up(amount, wanted):
    found = made(9, *[0] * 9, 0, amount=amount)
    assert (found.verdict, found.days_left, found.used_up_on) == (wanted, None, None)
    assert (found.left is None) is (amount is None)


def test_a_budget_that_is_used_up_today():
    assert made(*[10] * 10, 1, amount="105").used_up_on == TODAY
    assert made(*[10] * 10, 1, amount="110").used_up_on == TODAY
    assert made(*[10] * 10, 1, amount="110.01").used_up_on == TODAY + timedelta(days=1)
    one = made(10, 1, amount=1000, today=date(2026, 11, 2))
    assert one.projection.method.startswith("29 days at the mean of the last day that is over;")
    last = made(*[10] * 29, 1, amount=1000, today=date(2026, 11, 30))
    assert last.projection.method.startswith("1 day at")


def test_a_projection_never_depends_on_the_context_of_the_thread(hostile):
    big = "12345678901234567890123456789.0123456789"
    found = made(big, 1, today=date(2026, 11, 2), amount=10**40)
    assert str(found.projection.projected) == "370370367037037036703703703670.370370367"
    assert (found.projection.rate, found.projection.over_days) == (Decimal(big), 1)
