"""The budget of a month beside its costs, as pure functions."""

from decimal import Decimal

import attrs
import pytest

from usage_async import Names, Project, QueryError
from usage_async._api.limits import SpendLimit
from usage_async.report.limits import SpendLimits
from usage_async.report.monthly import (
    BudgetCosts,
    BudgetQuestion,
    budget_report,
    month_spec,
)

from .conftest import cost, section

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z


@pytest.mark.parametrize("amount", [None, "0", "5"])
def test_a_budget_is_whole_where_nothing_is_billed_or_its_own_currency_is(amount):
    spec = month_spec(NOW)
    costs = section([cost(amount)], start=spec.period.start_time)
    made = budget_report(BudgetQuestion(spec=spec, monthly=Decimal(9)), BudgetCosts(whole=costs))
    assert made.not_billed is None


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
