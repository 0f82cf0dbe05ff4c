"""One projection of a running month: a report and a budget never tell two."""

import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import ENDPOINTS, TimeRange
from usage_async.report.budgets import budget
from usage_async.report.compute import compute_report
from usage_async.report.html.charts import Drawings
from usage_async.report.html.page import report_page
from usage_async.report.json import report_as_json
from usage_async.report.limits import SpendLimits
from usage_async.report.monthly import BudgetQuestion, budget_of_report
from usage_async.report.spec import ReportSpec
from usage_async.report.terminal.page import make_text_console
from usage_async.report.terminal.report import draw_report
from usage_async.report.values import Section, Sections, View
from usage_async.report.xlsx import report_as_xlsx

from .conftest import DAY, cost, section
from .test_html import Page

FIRST = date(2026, 11, 1)
START = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
HOUR = 3600


def running(*days, hour=12, weeks=()):
    """A report of November, whose last day runs; a day is an amount, or amounts by currency."""
    rows, before = (
        [
            [cost(str(amount), of) for of, amount in each.items()]
            if isinstance(each, dict)
            else [cost(str(each))]
            for each in some
        ]
        for some in (days, weeks)
    )
    now = START + (len(days) - 1) * DAY + hour * HOUR
    costs = section(*rows, start=START)
    usage = {name: Section() for name in ENDPOINTS if name != "costs"}
    spec = ReportSpec("project_id", TimeRange(START, now), now, running=True)
    weeks_before = section(*before, start=START - len(before) * DAY)
    return compute_report(
        spec, Sections(costs=costs, costs_by=costs, costs_weeks=weeks_before, usage=usage)
    )


def planned(report, amount=6000, currency="usd"):
    """The budget beside a report."""
    question = BudgetQuestion(spec=report.spec, monthly=Decimal(amount), currency=currency)
    return budget_of_report(report, question, SpendLimits()).whole[0]


@pytest.mark.parametrize(
    ("days", "spent", "wanted"),
    [
        ([*[10] * 21, 50], 260, 340),
        ([*[0] * 20, 10, 30], 40, 120),
        ([*[0] * 4, 10, 10, 10, 0], 30, 260),
        ([100, *[10] * 6, 17, 1], 178, 100 + 60 + 17 + 22 * 11),
    ],
    ids=["a day above the rate", "the first days", "days before the first amount", "a usual month"],
)
def test_a_report_projects_what_a_budget_of_the_same_days_projects(days, spent, wanted):
    report = running(*days)
    (spend,) = report.spends
    assert (spend.total, spend.projection.projected) == (spent, wanted)
    assert planned(report).projection == spend.projection


@given(st.lists(st.decimals(0, 999, places=2), min_size=1, max_size=30))
def test_a_report_never_projects_less_than_is_spent(days):
    (spend,) = running(*days).spends
    if spend.projection is not None:
        assert spend.total <= spend.projection.low <= spend.projection.projected


def test_a_month_on_its_first_day_is_not_projected_from_itself():
    assert running(3).spends[0].projection is None


def drawn(report, view):
    text = StringIO()
    draw_report(make_text_console(text, 100), report, view)
    return text.getvalue()


def of_page(report, view):
    return Page(report_page(report, view, Drawings())).text


def test_a_report_knows_the_weeks_before_its_month_as_a_budget_does():
    report = running(10, 10, 10, 10, weeks=[80] * 28)
    projection = report.spends[0].projection
    assert (projection.projected, projection.weeks) == (1380, 4)
    assert planned(report).projection == projection
    made = planned(running(2, 2, weeks=[{"eur": 7}] * 28), currency="eur")
    assert (made.spent, made.projection.rate, made.projection.projected) == (0, 6, 29 * 6)


def test_a_report_beside_a_budget_shows_one_projection_and_it_is_the_budget_s():
    report = running(10, 10, 10, 10)
    made = planned(running(10, 10, 10, 10, weeks=[80] * 28))
    assert (report.spends[0].projection.projected, made.projection.projected) == (300, 1380)
    alone, beside = View(), View(budget=made)
    assert drawn(report, alone).count("Month's end  about $300.00\n") == 1
    assert drawn(report, beside).count("Month's end") == 1
    assert "Month's end  about $1,380.00, from $1,380.00 to $2,190.00\n" in drawn(report, beside)
    assert "Projected for the month $300.00 $10.00 a day: 27 days at" in of_page(report, alone)
    assert "Projected for the month" not in of_page(report, beside)
    assert "Month's end, projected $1,380.00 from $1,380.00 to" in of_page(report, beside)
    for view, wanted in ((alone, "300"), (beside, "1380")):
        value = json.loads(report_as_json(report, view))
        assert value["spend"][0]["projected"] == wanted
        assert value.get("budget", value["spend"][0])["projected"] == wanted
        book = openpyxl.load_workbook(io.BytesIO(report_as_xlsx(report, view)))
        (row,) = (row for row in book["Summary"].values if row[0] == "Month's end")
        assert row[2] == int(wanted)
    assert row[4].startswith("a projection; from $1,380.00 to $2,190.00; $50.00 a day: 27 days")


def test_bills_in_other_currencies_keep_their_own_projection():
    report = running(*[{"usd": 10, "eur": 5}] * 4)
    view = View(budget=planned(report))
    text = drawn(report, view)
    assert text.count("Month's end  about 150.00 EUR\n") == 1
    assert text.count("Month's end  about $300.00\n") == 1
    page = of_page(report, view)
    assert page.count("Projected for the month") == 1
    assert "Projected for the month 150.00 EUR" in page


def test_a_budget_without_a_projection_takes_none_away():
    report = running(10, 10, 10, 10)
    days = [(FIRST + timedelta(days=n), None) for n in range(4)]
    view = View(budget=budget(days, date(2026, 11, 4), month=FIRST, amount=Decimal(9)))
    assert drawn(report, view).count("Month's end  about $300.00\n") == 1
    assert "Projected for the month $300.00" in of_page(report, view)
    assert json.loads(report_as_json(report, view))["spend"][0]["projected"] == "300"
