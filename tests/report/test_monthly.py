"""The budget of a month beside its costs, as pure functions."""

from decimal import Decimal
from io import StringIO

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import Names, Project, QueryError
from usage_async._api.limits import SpendLimit
from usage_async.report.effects import sum_exactly
from usage_async.report.limits import SpendLimits
from usage_async.report.monthly import (
    BudgetCosts,
    BudgetQuestion,
    budget_report,
    month_spec,
)
from usage_async.report.terminal.page import make_text_console
from usage_async.report.terminal.reasons import draw_budget
from usage_async.report.values import Section, View

from .conftest import DAY, cost, section

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z


@pytest.mark.parametrize("amount", [None, "0", "5"])
def test_a_budget_is_whole_where_nothing_is_billed_or_its_own_currency_is(amount):
    spec = month_spec(NOW)
    costs = section([cost(amount)], start=spec.period.start_time)
    made = budget_report(BudgetQuestion(spec=spec, monthly=Decimal(9)), BudgetCosts(whole=costs))
    assert made.not_billed is None


MONTH = month_spec(NOW).period.start_time


def days_of(amounts, *, without=(), **fields):
    """Costs of the days of the month, without some of them; a day is an amount or its rows."""
    rows = [each if isinstance(each, list) else [cost(str(each), **fields)] for each in amounts]
    buckets = section(*rows, start=MONTH).buckets
    missing = tuple(MONTH + n * DAY for n in without)
    return Section(
        tuple(each for each in buckets if each.start_time not in missing), missing=missing
    )


def by_project(whole, groups):
    question = BudgetQuestion(spec=month_spec(NOW), monthly=Decimal(6000), by="project_id")
    return budget_report(question, BudgetCosts(whole=whole, groups=groups))


TODAY = 21
"""Place of the running day in the month."""


def test_spend_of_a_running_day_that_groups_lack_is_not_attributed_and_told():
    amounts = [*[10] * TODAY, 300]
    made = by_project(days_of(amounts), days_of(amounts, without=[TODAY], project_id="proj_1"))
    assert [(each.id, each.spent) for each in made.groups] == [("proj_1", 210), (None, 300)]
    assert (made.whole[0].spent, made.is_whole) == (510, False)
    told = "by group: 1 day was not sent, the first is 2026-11-22"
    assert f"{told}; the spend of these days is not attributed" in made.remarks
    text = StringIO()
    draw_budget(make_text_console(text, 100), made, View())
    rows = [line.split() for line in text.getvalue().partition("By group")[2].splitlines()[2:4]]
    assert rows == [
        ["proj_1", "$210.00", "3.5%", "$300.00"],
        ["(not", "attributed)", "$300.00", "5.0%"],
    ]


def test_spend_of_a_day_that_ended_and_groups_lack_is_not_attributed_and_told():
    amounts = [*[10] * TODAY, 4]
    made = by_project(days_of(amounts), days_of(amounts, without=[2, 4], project_id="proj_1"))
    assert [(each.id, each.spent) for each in made.groups] == [("proj_1", 194), (None, 20)]
    assert (made.gaps, made.is_whole) == ((), False)
    told = "by group: 2 days were not sent, the first is 2026-11-03"
    assert f"{told}; the spend of these days is not attributed" in made.remarks
    # The days belong to the project, which is projected as if it had spent as usual on them.
    assert [each.projection and each.projection.projected for each in made.groups] == [300, None]


def test_rows_that_groups_lack_are_a_group_with_a_projection():
    whole = days_of([*[10] * TODAY, 0])
    made = by_project(whole, days_of([*[6] * TODAY, 0], project_id="proj_1"))
    groups = [(each.id, each.spent, each.projection.projected) for each in made.groups]
    assert groups == [("proj_1", 126, 180), (None, 84, 120)]
    assert not any("by group" in remark for remark in made.remarks)


def test_rows_without_a_project_are_in_the_group_that_is_not_attributed():
    rows = [[cost("6", project_id="proj_1"), cost("3")]] * TODAY
    made = by_project(days_of([*[10] * TODAY, 0]), days_of([*rows, 0]))
    assert [(each.id, each.spent) for each in made.groups] == [("proj_1", 126), (None, 84)]
    made = by_project(days_of([*[9] * TODAY, 0]), days_of([*rows, 0]))
    assert [(each.id, each.spent) for each in made.groups] == [("proj_1", 126), (None, 63)]


@pytest.mark.parametrize(("day", "date_"), [(TODAY, "2026-11-22"), (3, "2026-11-04")])
def test_a_day_that_only_the_whole_lacks_is_left_out_of_the_groups_and_told(day, date_):
    amounts = [*[10] * TODAY, 30]
    groups = days_of(amounts, project_id="proj_1")
    made = by_project(days_of(amounts, without=[day]), groups)
    spent = 240 - amounts[day]
    assert made.whole[0].spent == spent
    assert [(each.id, each.spent) for each in made.groups] == [("proj_1", spent)]
    assert len(made.gaps) == 1
    lacking = [each for each in made.remarks if "was not sent" in each]
    assert lacking == [f"1 day was not sent, the first is {date_}; the spend lacks them"]


def test_days_that_whole_and_groups_lack_are_told_once():
    amounts = [*[10] * TODAY, 0]
    whole, groups = days_of(amounts, without=[3]), days_of(amounts, without=[3, 5], project_id="p")
    made = by_project(whole, groups)
    first, second = (each for each in made.remarks if "not sent" in each)
    assert first == "1 day was not sent, the first is 2026-11-04; the spend lacks them"
    told = "by group: 1 day was not sent, the first is 2026-11-06"
    assert second == f"{told}; the spend of these days is not attributed"


def test_a_group_in_a_currency_that_the_whole_lacks_adds_up_to_nothing():
    euros = cost("5", "eur", project_id="proj_1")
    made = by_project(days_of([7]), days_of([[cost("7", project_id="proj_1"), euros]]))
    assert [(each.currency, each.id, each.spent) for each in made.groups] == [
        ("usd", "proj_1", 7),
        ("eur", "proj_1", 5),
        ("eur", None, -5),
    ]


AMOUNTS = st.lists(
    st.lists(
        st.builds(
            cost,
            st.decimals(-9, 99, places=3).map(str),
            st.sampled_from(["usd", "USD", "eur"]),
            project_id=st.sampled_from(["a", "b", None]),
        ),
        max_size=3,
    ),
    min_size=22,
    max_size=22,
)
LACKING = st.sets(st.integers(0, TODAY), max_size=4)


@given(AMOUNTS, AMOUNTS, LACKING, LACKING)
def test_groups_add_up_to_what_is_spent(whole, groups, without, lacking):
    made = by_project(days_of(whole, without=without), days_of(groups, without=lacking))
    spent = {each.currency: each.spent for each in made.whole}
    for currency in {each.currency for each in made.groups} | {*spent}:
        parts = sum_exactly(each.spent for each in made.groups if each.currency == currency)
        assert parts == spent.get(currency, 0)


def test_limits_in_another_currency_than_the_costs_are_told():
    spec = month_spec(NOW)
    question = BudgetQuestion(spec=spec, monthly=Decimal(9), by="project_id")
    rows = [cost("5", project_id=f"proj_{n}") for n in range(3)]
    costs = section(rows, start=spec.period.start_time)
    eur, usd = (SpendLimit(threshold_amount=500, currency=each) for each in ("eur", "usd"))
    projects = {"proj_0": eur, "proj_1": usd, "proj_2": eur, "proj_gone": eur}
    limits = SpendLimits(organization=eur, projects=projects)
    made = budget_report(question, BudgetCosts(whole=costs, groups=costs, limits=limits))
    assert made.unlike_limits == ("the organization", "proj_0", "proj_2")
    told = "the spend limit of the organization and of 2 more is in a currency that is not billed"
    assert told in made.remarks
    made = attrs.evolve(made, unlike_limits=("proj_0",))
    assert "the spend limit of proj_0 is in a currency that is not billed" in made.remarks


def test_groups_of_a_budget_have_the_names_that_are_given():
    spec = month_spec(NOW)
    question = BudgetQuestion(spec=spec, monthly=Decimal(9), by="project_id")
    rows = [cost("5", project_id="proj_1"), cost(None, project_id="proj_2")]
    costs = section(rows, start=spec.period.start_time)
    names = Names(projects=[Project(id="proj_1", name="Search")])
    made = budget_report(question, BudgetCosts(whole=costs, groups=costs), names)
    assert [(each.id, each.name, each.spent) for each in made.groups] == [("proj_1", "Search", 5)]


@pytest.mark.parametrize("period", ["7d", "2026-Q3", "last-week", "2026-10-05", "today", "2026"])
def test_a_budget_is_for_a_month(period):
    with pytest.raises(QueryError, match="period takes a month beside a budget"):
        month_spec(NOW, period)


@pytest.mark.parametrize("period", ["this-month", "last-month", "2026-10", "2025-12", "2026-11"])
def test_a_month_is_said_in_every_way(period):
    assert month_spec(NOW, period).period.start.day == 1
