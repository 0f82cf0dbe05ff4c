"""Drawings and JSON of explanations, reconciliations and budgets, over plain values."""

import json
import re
from datetime import date
from decimal import Decimal
from io import StringIO

import attrs
import pytest

from usage_async._api.limits import SpendLimit
from usage_async.report.budgets import budget
from usage_async.report.explanation import PeriodCosts, explain
from usage_async.report.invoice import invoice_gap
from usage_async.report.monthly import BudgetReport, month_spec
from usage_async.report.reasons_json import (
    budget_as_json,
    explanation_as_json,
    reconciliation_as_json,
)
from usage_async.report.reconciliation import Pair, Reconciliation
from usage_async.report.spec import ReportSpec
from usage_async.report.terminal.page import make_text_console
from usage_async.report.terminal.reasons import (
    draw_budget,
    draw_explanation,
    draw_reconciliation,
)
from usage_async.report.values import Blank, Section, View

from .conftest import BEFORE, DAY, NOW, PERIOD, START, cost, section

SPEC = ReportSpec("line_item", PERIOD, NOW, BEFORE)
BAD = "gpt\x1b[31m\u202e, input"


def drawn(draw, *values, width=100):
    text = StringIO()
    draw(make_text_console(text, width), *values)
    assert "\x1b" not in text.getvalue()
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def line(amount, item, project="proj_1", **more):
    return cost(amount, line_item=item, project_id=project, quantity=Decimal(amount), **more)


def costs(*rows, start=START):
    whole = [attrs.evolve(row, line_item=None, project_id=None, quantity=None) for row in rows]
    return PeriodCosts(
        whole=section(whole, start=start),
        lines=section([row for row in rows if row.line_item], start=start),
    )


def explained(old, new, spec=SPEC):
    return explain(spec, costs(*old, start=BEFORE.start_time), costs(*new))


def test_an_explanation_is_sentences_then_tables_then_notices():
    made = explained([line("10", "a, input")], [line("30", "a, input"), line("5", BAD), cost("2")])
    text = drawn(draw_explanation, made, None, View(notices=("careful",), footer="bye"))
    lines = text.splitlines()
    assert lines[:9] == [
        "Organization",
        "2026-10-01 to 2026-10-04 UTC",
        "against 2026-09-28 to 2026-10-01",
        "",
        (
            "- The bill rose by $27.00 (270.0%), from $10.00 to $37.00: volume +$20.00, new lines"
            " +$5.00,"
        ),
        "  unexplained +$2.00.",
        "- gpt\\x1b[31m\\u202e is new with $5.00.",
        (
            "- More use of a adds $20.00; the largest volume effect of a project is that of proj_1"
            " (+$20.00)."
        ),
        "",
    ]
    assert [row.split() for row in lines[9:]] == [
        ["By", "model"],
        ["model", "spend", "change", "volume", "new", "unexplained"],
        ["a", "$30.00", "+$20.00", "+$20.00"],
        ["gpt\\x1b[31m\\u202e", "$5.00", "+$5.00", "+$5.00"],
        ["(not", "attributed)", "$2.00", "+$2.00", "+$2.00"],
        [],
        ["By", "project"],
        ["project", "spend", "change", "volume", "new", "unexplained"],
        ["proj_1", "$35.00", "+$25.00", "+$20.00", "+$5.00"],
        ["(not", "attributed)", "$2.00", "+$2.00", "+$2.00"],
        [],
        ["By", "line", "item", "and", "project"],
        ["line", "item", "spend", "change", "volume", "new", "unexplained"],
        ["a,", "input", "proj_1", "$30.00", "+$20.00", "+$20.00"],
        ["gpt\\x1b[31m\\u202e,", "input", "proj_1", "$5.00", "+$5.00", "+$5.00"],
        ["(not", "attributed)", "$2.00", "+$2.00", "+$2.00"],
        [],
        ["Notices"],
        ["-", "careful"],
        [],
        ["bye"],
    ]


def test_rows_beyond_the_top_are_added_up():
    made = explained([], [line("1", f"{name}, input") for name in "abcd"])
    text = drawn(draw_explanation, made, None, View(top=2))
    assert "(2 others)  $2.00  +$2.00  +$2.00" in text
    assert "others" not in drawn(draw_explanation, made, None, View(top=3))


def test_what_did_not_change_is_one_row_of_each_table():
    same = [line("7", "a, input"), line("2", "b, input")]
    made = explained([*same, line("1", "c, input")], [*same, line("4", "c, input")])
    text = drawn(draw_explanation, made, None, View())
    assert len(re.findall(r"^\(2 unchanged\) +\$9\.00$", text, re.MULTILINE)) == 2
    amounts = re.findall(r"^\S.*?  +\$([0-9.]+)", text, re.MULTILINE)
    assert sum(map(Decimal, amounts)) == 3 * made.bills[0].amount


def test_a_bill_that_did_not_change_has_no_tables():
    made = explained([line("1", "a")], [line("1", "a")])
    text = drawn(draw_explanation, made, None, View())
    assert "The bill is what it was: $1.00." in text
    assert "By model" not in text
    nothing = explained([], [])
    assert "nothing was billed" in drawn(draw_explanation, nothing, None, View())
    alone = attrs.evolve(made, spec=attrs.evolve(SPEC, before=None))
    assert "against" not in drawn(draw_explanation, alone, None, View())
    assert json.loads(explanation_as_json(alone, None, View()))["compared_with"] is None


def test_an_invoice_is_shown_with_both_sums():
    made = explained([], [line("1.005", "a"), line("2", "b")])
    text = drawn(draw_explanation, made, invoice_gap(made, Decimal("3.01")), View())
    assert "the invoice              $3.01" in text
    assert "- rounding: each line item rounded to cents, the bill is $3.01;" in text


def pair(day, item, billed, reported, unit="tokens"):
    return Pair(
        day=date(2026, 10, day),
        line_item=item,
        unit=unit,
        billed=None if billed is None else Decimal(billed),
        reported=None if reported is None else Decimal(reported),
        amounts=(("usd", Decimal(1)),) if billed is not None else (),
    )


def reconciled(*pairs, **more):
    return Reconciliation(spec=SPEC, pairs=pairs, **more)


def test_a_reconciliation_shows_differences_then_what_stands_alone():
    found = reconciled(
        pair(1, "a, input", "1000", "900.12345"),
        pair(2, "a, input", "5", "5"),
        pair(1, "b, input", "5", "6"),
        pair(1, "c, input", "5", "5"),
        pair(1, "storage", "7.5", None, "gibibyte_hours"),
        pair(2, "storage", "7.5", None, "gibibyte_hours"),
        pair(1, "lost", None, None),
        pair(1, BAD, None, "12", None),
        blanks=(("moderations", Blank("refused", "403")),),
    )
    text = drawn(draw_reconciliation, found, View(top=0))
    for wanted in (
        "1 line item agrees on every day; 2 line items differ",
        "a, input    1,005   905.123     +99.876  1 of 2",
        "2026-10-01  b, input        5         6          -1",
        "15 gibibyte_hours   $2.00     2",
        "not known",
        "gpt\\x1b[31m\\u202e, input",
        "- moderations: refused: 403; what it counts has no partner",
    ):
        assert wanted in text
    value = json.loads(reconciliation_as_json(found, View(notices=("careful",))))
    assert value["line_items"][0]["difference"] == "99.87655"
    assert [len(value[name]) for name in ("pairs", "only_billed", "only_reported")] == [4, 3, 1]
    assert value["refused"] == [{"section": "moderations", "reason": "403"}]
    assert value["notices"][0] == "careful"


def test_a_reconciliation_shows_the_first_rows_only():
    found = reconciled(*(pair(day, f"{item}, input", 5, day) for day in (1, 2) for item in "abc"))
    assert "c, input" not in drawn(draw_reconciliation, found, View(top=2))


LIMIT = SpendLimit(threshold_amount=5_000, enforcement="enforcing")
TODAY = date(2026, 10, 11)


def budgeted(*amounts, amount="100", today=TODAY, **more):
    days = [(date(2026, 10, n), Decimal(each)) for n, each in enumerate(amounts, 1)]
    made = budget(days, today, month=TODAY, amount=amount and Decimal(amount))
    return attrs.evolve(made, **more)


def report(*whole, **more):
    spec = month_spec(START + 10 * DAY + DAY // 2, "2026-10")
    return BudgetReport(spec=spec, whole=whole, **more)


def test_a_budget_shows_spend_projection_and_limit():
    text = drawn(draw_budget, report(budgeted(*[1] * 11, limit=LIMIT)), View(footer="bye"))
    assert (
        text
        == """\
Budget of October 2026 (still running)

Budget       $100.00  within
Spent        $11.00  11.0%
Month's end  about $31.00
             $1.00 a day: 21 days at the mean of the last 7 days that are over; no range, because
             only one whole week is known
Used up      $89.00 left, which lasts beyond the month (90.0 days with today)
Spend limit  $50.00  a month, enforcing

Notices
- figures from 2026-10-08 on may still be revised

bye"""
    )


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (budgeted(*[1] * 11, amount="5"), "Used up      over by $6.00"),
        (budgeted(*[1] * 11, amount="11"), "Used up      $0.00 left"),
        (budgeted(9, *[0] * 9, 0), "Used up      $91.00 left; not at this pace"),
        (
            budgeted(*[9] * 11),
            "Used up      $1.00 left, which lasts until 2026-10-12 (1.1 days with today)",
        ),
        (
            budgeted(*[10] * 10, 50, amount="210"),
            "Used up      $60.00 left, which lasts until 2026-10-17 (7.0 days with today)",
        ),
        (budgeted(*[1] * 31, today=date(2026, 11, 2)), "Used up      $69.00 left"),
        (budgeted(*[1, 3] * 8, today=date(2026, 10, 16)), ", from $"),
        (budgeted(1, amount=None), "Spent        $1.00"),
        (budgeted(1, limit=attrs.evolve(LIMIT, enforcement=None)), "Spend limit  $50.00  a month"),
        (budgeted(1, amount="0"), "over by $1.00"),
    ],
)
def test_a_budget_tells_how_long_it_lasts(made, wanted):
    text = drawn(draw_budget, report(made), View())
    assert wanted in text
    assert ("Budget  " in text) is (made.budget is not None)


def test_groups_have_limits_and_shares_and_notices_tell_the_rest():
    whole = budgeted(*[10] * 11, amount="300")
    groups = (
        budgeted(*[6] * 11, amount=None, id="proj_1", name=BAD, limit=LIMIT),
        budgeted(*[2] * 11, amount=None, id="proj_2", limit=LIMIT),
        budgeted(*[1] * 11, amount=None, id="proj_3"),
        budgeted(*[1] * 11, amount=None, today=date(2026, 11, 1)),
    )
    gaps = (START,)
    euros = attrs.evolve(budgeted(7, amount=None), currency="eur")
    found = report(whole, euros, groups=groups, gaps=gaps, notices=("no limits",))
    text = drawn(draw_budget, found, View())
    rows = [row.split() for row in text.partition("By group")[2].splitlines()[2:6]]
    assert rows == [
        ["gpt\\x1b[31m\\u202e,", "input", "$66.00", "22.0%", "$186.00", "$50.00"],
        ["proj_2", "$22.00", "7.3%", "$62.00", "$50.00"],
        ["proj_3", "$11.00", "3.7%", "$31.00"],
        ["(not", "attributed)", "$11.00", "3.7%"],
    ]
    for wanted in (
        "- 1 day was not sent, the first is 2026-10-01; the spend lacks them",
        "- the budget is in one currency; spend in others is shown beside it",
        "- no limits",
    ):
        assert wanted in text
    bare = drawn(draw_budget, report(whole, groups=groups[2:3]), View())
    assert "spend limit" not in bare
    value = json.loads(budget_as_json(found, View()))
    assert [each["currency"] for each in value["budgets"]] == ["usd", "eur"]
    assert value["groups"][0]["spend_limit"]["amount"] == "50"
    assert value["groups"][3]["projected"] is None
    assert value["missing"] == ["2026-10-01"]
    assert value["budgets"][0]["used_up_on"] == "2026-10-30"
    elsewhere = attrs.evolve(groups[0], currency="chf")
    assert drawn(draw_budget, report(whole, groups=(elsewhere,)), View())


@pytest.mark.parametrize("amount", ["300", "0"])
def test_a_group_has_a_share_only_of_a_budget_in_its_currency(amount):
    euros = {"amount": None, "currency": "eur"}
    groups = (budgeted(*[6] * 11, amount=None, id="proj_1"), budgeted(7, **euros, id="proj_2"))
    found = report(budgeted(*[10] * 11, amount=amount), budgeted(7, **euros), groups=groups)
    text = drawn(draw_budget, found, View())
    rows = [row.split() for row in text.partition("By group")[2].splitlines()[2:4]]
    share = ["22.0%"] if amount == "300" else []
    assert rows == [
        ["proj_1", "$66.00", *share, "$186.00"],
        ["proj_2", "7.00", "EUR", "154.00", "EUR"],
    ]


def test_figures_that_have_settled_are_no_remark():
    settled = attrs.evolve(month_spec(NOW + 90 * DAY, "2026-10"))
    assert BudgetReport(spec=settled, whole=(budgeted(1),)).remarks == ()


def test_keys_and_steps_are_in_the_json():
    lines = [[line(str(each), "a, input")] for each in (1, 1, 1, 2, 2, 2)]
    keys = [[cost("1", api_key_id="key_1", project_id="proj_1")]] * 4
    steady = [[attrs.evolve(row, quantity=Decimal(1)) for row in rows] for rows in lines]

    def period(days, start, keyed):
        whole = [[attrs.evolve(row, line_item=None, project_id=None) for row in d] for d in days]
        return PeriodCosts(
            whole=section(*whole, start=start),
            lines=section(*days, start=start),
            keys=section(*keyed, start=start),
        )

    made = explain(
        SPEC,
        period(steady[:3], BEFORE.start_time, keys[:3]),
        period(steady[3:], START, [*keys[:2], [cost("9", api_key_id="key_1")]]),
    )
    (bill,) = json.loads(explanation_as_json(made, None, View()))["bills"]
    assert bill["price_changes"][0]["date"] == "2026-10-01"
    assert bill["price_changes"][0]["price"] == "2"
    assert len(bill["api_keys"]) == 2
    assert isinstance(made.bills[0].keys[0].days, tuple)
    assert not Section().buckets


def test_sides_that_agree_are_one_line():
    text = drawn(draw_reconciliation, reconciled(pair(1, "a, input", 5, 5)), View())
    assert text.splitlines()[-1] == "1 line item agrees on every day"
