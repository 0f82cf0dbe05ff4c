"""The reasons on a page: why the bill changed, what moved most, and the budget."""

from datetime import date
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import HOSTILE_NAMES

from usage_async._api.limits import SpendLimit
from usage_async.report.budgets import Budget, budget
from usage_async.report.effects import Cause, sum_exactly
from usage_async.report.explanation import PeriodCosts, explain
from usage_async.report.html.charts import Drawings
from usage_async.report.html.page import report_page
from usage_async.report.html.tables import moves, reasons_tables
from usage_async.report.spec import ReportSpec
from usage_async.report.telling import sentences
from usage_async.report.values import Blank, Group, Section, Spend, View

from .conftest import BEFORE, NOW, PERIOD, cost, report_of, section
from .test_html import Page, page_of

COSTS = ("costs", "costs_by", "costs_by_item")


def line(amount, item="gpt-5.2, input", project="proj_1", quantity=1):
    return cost(amount, line_item=item, project_id=project, quantity=Decimal(quantity))


def keyed(amount, key="key_1"):
    return section([cost(amount, api_key_id=key, project_id="proj_1")], [], [])


def before(*rows):
    return section(list(rows), [], [], start=BEFORE.start_time)


def explained(old, new, **more):
    """A report of one day before, and one day of the period."""
    sections = {
        "before": before(*old),
        "costs_by_before": before(*old),
        "costs_by_item_before": before(*old),
        "costs_by_key_before": attrs.evolve(keyed("1"), buckets=before(cost("1")).buckets),
        **{name: section(list(new), [], []) for name in COSTS},
        "costs_by_key": keyed("2"),
        **more,
    }
    return report_of(detailed=True, **sections)


def test_sentences_and_tables_are_those_of_the_explanation():
    old, new = [line("10"), line("5", "old, input")], [line("30"), line("4", "new, input")]
    report = explained(old, new)
    made = explain(
        report.spec,
        PeriodCosts(whole=before(*old), lines=before(*old), keys=before(cost("1"))),
        PeriodCosts(whole=section(new, [], []), lines=section(new, [], []), keys=keyed("2")),
    )
    assert report.explanation == made
    page = page_of(report)
    assert "Why it changed against 2026-09-28 to 2026-10-01" in page.text
    for sentence in sentences(made):
        assert sentence in page.text
    (bill,) = made.bills
    assert "By model model spend change price new gone gpt-5.2 $30.00 +$20.00 +$20.00" in page.text
    models, projects = reasons_tables(bill, 0)
    assert {row.name for row in models.rows} == {"gpt-5.2", "old", "new"}
    for table in (models, projects):
        assert [cell.value for cell in table.foot.cells] == ["34", "19", "20", "4", "-5"]
        for place in range(5):
            cells = (row.cells[place] for row in table.rows)
            total = sum(Decimal(cell.value or 0) for cell in cells)
            assert total == Decimal(table.foot.cells[place].value)
    assert report.is_whole


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_in_reasons_are_text(name):
    def page(name):
        old = [line("10", f"{name}, input", name), line("2", f"{name}-old", name, 2)]
        new = [line("30", f"{name}, input", name, 2), line("3", f"{name}-new", name)]
        report = explained(
            old, new, costs_by_key=keyed("9", name), costs_by_item=section(new, [], [])
        )
        (spend,) = report.spends
        cause = Cause(line_item=name, effect="price", amount=Decimal(3))
        groups = tuple(attrs.evolve(each, cause=cause, name=name) for each in spend.groups)
        spends = (attrs.evolve(spend, groups=groups),)
        return page_of(attrs.evolve(report, spends=spends), name)

    hostile, plain = page(name), page("x")
    assert (hostile.tags, hostile.attributes) == (plain.tags, plain.attributes)
    assert hostile.text.count("What moved most") == 1


@pytest.mark.parametrize(
    "lacking",
    [
        {"costs_by_item": Section(blank=Blank("refused", "no <b>"))},
        {"costs_by_item_before": Section(blank=Blank("failed", "no <b>"))},
        {"costs_by_item": attrs.evolve(section([line("3")]), missing=(BEFORE.end_time + 86400,))},
    ],
    ids=["refused", "failed", "a gap"],
)
def test_without_all_lines_nothing_is_explained_and_that_is_said(lacking):
    report = explained([line("1")], [line("3")], **lacking)
    text = page_of(report).text
    assert "The figures that tell it are not all known." in text
    assert "The bill rose" not in text
    assert "By project" not in text
    assert "by line item: " in text
    assert report.is_whole is (report.explanation.blanks[:1] == (_REFUSED,))


_REFUSED = ("spend by line item", Blank("refused", "no <b>"))


def test_keys_that_are_refused_are_told_beside_the_rest():
    refused = Section(blank=Blank("refused", "API keys are outside of the scope"))
    report = explained([line("1")], [line("3")], costs_by_key=refused)
    text = page_of(report).text
    assert "The bill rose by $2.00" in text
    assert "spend by API key: refused: API keys are outside of the scope" in text
    assert report.is_whole


def test_lines_that_are_known_only_from_a_later_day_explain_nothing():
    late = attrs.evolve(section([line("3")], [], []), known_from=BEFORE.end_time + 86400)
    report = explained([line("1")], [line("3")], costs_by_item=late)
    assert report.explanation.blanks == (
        ("spend by line item", Blank("refused", "known from 2026-10-02")),
    )


def test_a_bill_that_is_what_it_was_has_no_tables_and_a_plain_report_no_section():
    text = page_of(explained([line("3")], [line("3")])).text
    assert "The bill is what it was: $3.00." in text
    assert "By model" not in text
    assert "Why it changed" not in page_of(report_of(costs=section([cost("1")]))).text


def test_every_bill_is_explained_in_its_own_currency():
    new = [line("3"), cost("9", "eur", line_item="a", project_id="p", quantity=Decimal(1))]
    text = page_of(explained([line("1")], new)).text
    assert "Why it changed, USD" in text
    assert "Why it changed, EUR" in text
    assert text.count("The bill rose by") == 2


def test_lines_beyond_the_most_are_one_row_that_keeps_the_sum():
    new = [line(str(n + 1), f"model-{n}", f"proj_{n}") for n in range(20)]
    report = explained([], new)
    (bill,) = report.explanation.bills
    for table in reasons_tables(bill, 50):
        assert len(table.rows) == 11
        assert table.rows[-1].name == "(10 others)"
        assert sum(Decimal(row.cells[0].value) for row in table.rows) == bill.amount
    assert all(len(table.rows) == 20 for table in reasons_tables(bill, 0))


LINES = st.lists(
    st.builds(
        line,
        st.decimals(-9, 9, places=2).map(str),
        st.sampled_from(["a, input", "a, output", "b, input", "c", "d", None]),
        st.sampled_from(["proj_1", "proj_2", "proj_3", None]),
        st.integers(0, 2),
    ),
    max_size=9,
)


@given(LINES, LINES, LINES, st.sampled_from([0, 1, 2, 50]))
def test_every_column_of_the_reasons_adds_up_to_its_foot(same, old, new, top):
    sides = [
        PeriodCosts(whole=made, lines=made)
        for made in (before(*same, *old), section([*same, *new], [], []))
    ]
    for bill in explain(ReportSpec("line_item", PERIOD, NOW, BEFORE), *sides).bills:
        for table in reasons_tables(bill, top):
            for column, foot in enumerate(table.foot.cells):
                cells = [row.cells[column].value for row in table.rows]
                found = sum_exactly(Decimal(each or 0) for each in cells)
                assert found == Decimal(foot.value or 0)


def test_groups_that_did_not_change_are_one_row():
    same = [line("100", "a"), line("2", "b"), line("0", "free", "proj_3")]
    report = explained([*same, line("3", "c", "proj_2")], [*same, line("4", "c", "proj_2")])
    (bill,) = report.explanation.bills
    models, projects = (
        [[row.name, *(cell.text for cell in row.cells)] for row in table.rows]
        for table in reasons_tables(bill, 50)
    )
    assert models == [["c", "$4.00", "+$1.00", "+$1.00"], ["(2 unchanged)", "$102.00", "", ""]]
    assert projects[1] == ["(1 unchanged)", "$102.00", "", ""]


def test_groups_that_moved_most_have_their_line_item_below_the_table():
    report = explained([line("1")], [line("3"), line("8", project="proj_2")])
    (spend,) = report.spends
    assert moves(spend) == []
    cause = Cause(line_item="gpt-5.2, input", effect="new", amount=Decimal(8))
    groups = (attrs.evolve(spend.groups[0], cause=cause), *spend.groups[1:])
    text = page_of(attrs.evolve(report, spends=(attrs.evolve(spend, groups=groups),))).text
    told = "What moved most: proj_2 +$8.00, mostly gpt-5.2, input: new +$8.00"
    assert told in text


def test_what_moved_most_comes_first_and_not_what_costs_most():
    moved = {"big": ("100", "99"), "less": ("1", "7"), "small": ("9", "5")}
    groups = tuple(
        Group(
            id=name,
            amount=Decimal(amount),
            before=Decimal(of),
            cause=Cause(line_item="a", effect="volume", amount=Decimal(1)),
        )
        for name, (amount, of) in moved.items()
    )
    spend = Spend(currency="usd", total=Decimal(110), days=(), groups=groups)
    assert [name for name, _ in moves(spend)] == ["less", "small", "big"]


FIRST = date(2026, 10, 1)
DAYS = [(date(2026, 10, n), Decimal(10 if n < 8 else 20)) for n in range(1, 16)]


def shown(each: Budget) -> str:
    view = View(budget=each)
    return Page(report_page(report_of(costs=section([cost("1")])), view, Drawings())).text


def test_a_budget_stands_on_the_page_with_its_projection():
    made = budget(DAYS, date(2026, 10, 15), month=FIRST, amount=Decimal(540))
    text = shown(made)
    assert "Budget of the month $540.00 projected over Spent $230.00 42.6% of the budget" in text
    assert "Month's end, projected $550.00 from $" in text
    assert f"from ${made.projection.low:.2f} to ${made.projection.high:.2f}" in text
    assert f"$20.00 a day: {made.projection.method}" in text
    assert "$310.00 left, which lasts" in text


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("9000", "$9,000.00 within Spent $230.00 2.6% of the budget"),
        ("99", "$99.00 over Spent $230.00 232.3% of the budget over by $131.00"),
        ("0", "$0.00 over Spent $230.00 over by $230.00"),
    ],
)
def test_a_month_that_is_over_has_a_verdict_and_no_projection(amount, told):
    made = budget(DAYS, date(2026, 12, 1), month=FIRST, amount=Decimal(amount))
    text = shown(made)
    assert told in text
    assert "projected" not in text.partition("Spend by day")[0]


def test_the_spend_limit_stands_beside_the_budget():
    made = budget(DAYS, date(2026, 12, 1), month=FIRST, amount=Decimal(540))
    limit = SpendLimit(threshold_amount=70000, currency="usd", interval="month")
    text = shown(attrs.evolve(made, limit=attrs.evolve(limit, enforcement="<b>enforcing")))
    assert "Spend limit $700.00 a month, <b>enforcing" in text
    assert "Spend limit $700.00 a month Spend by day" in shown(attrs.evolve(made, limit=limit))


def test_a_budget_beside_missing_days_says_so_and_one_week_has_no_range():
    days = [*DAYS[:8], (date(2026, 10, 9), None)]
    text = shown(budget(days, date(2026, 10, 10), month=FIRST, amount=Decimal(600)))
    assert "incomplete: 1 day was not sent" in text
    assert "from $" not in text
