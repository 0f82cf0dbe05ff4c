"""Causes: which line item stands behind an unusual day or a group that moved."""

from datetime import date
from decimal import Decimal

import pytest

from usage_async.report.causes import (
    cause_of,
    causes_of,
    explained_days,
    movers,
    standing_out,
    told_keys,
)
from usage_async.report.effects import Cause, changes_of
from usage_async.report.insight import UnusualDay
from usage_async.report.spec import ReportSpec
from usage_async.report.values import Sections
from usage_async.report.wording import cause_text, unusual_note

from .conftest import BEFORE, NOW, PERIOD, START, cost, section


def line(amount, item="a, input", quantity=None, **more):
    counted = Decimal(amount if quantity is None else quantity)
    return cost(amount, line_item=item, quantity=counted, **more)


OLD = [line("5"), line("9", "b", quantity=9)]
NEW = [line("7"), line("4", "b", quantity=9), line("1", "c")]


@pytest.mark.parametrize(
    ("old", "new", "moved", "wanted"),
    [
        pytest.param(OLD, NEW, "-2", ("b", "price", "-5"), id="less"),
        pytest.param(NEW, OLD, "2", ("b", "price", "5"), id="more"),
        pytest.param(
            [line("5")],
            [line("3", "b"), line("3.1", "c")],
            "1.1",
            ("c", "new", "3.1"),
            id="more, although the largest change is a line item that is gone",
        ),
        pytest.param(
            [line("3", "b"), line("3.1", "c")],
            [line("5")],
            "-1.1",
            ("c", "gone", "-3.1"),
            id="less, although the largest change is a line item that is new",
        ),
        pytest.param(
            [line("10", quantity=10)],
            [line("6", quantity=2)],
            "-4",
            ("a, input", "volume", "-8"),
            id="less use at a higher price",
        ),
        pytest.param(
            [line("10", quantity=10)],
            [line("12", quantity=2)],
            "2",
            ("a, input", "price", "10"),
            id="a higher price for less use",
        ),
        pytest.param([line("5")], [line("5", "b")], "0", None, id="no change"),
        pytest.param([line("5")], [line("6")], "-1", None, id="lines that went the other way"),
        pytest.param(OLD, OLD, "1", None, id="lines that did not change"),
        pytest.param([], [], "1", None, id="no lines"),
    ],
)
def test_the_cause_is_the_line_item_that_changed_most_in_the_direction_of_the_whole(
    old, new, moved, wanted
):
    lines = [each for of in changes_of(old, new).values() for each in of]
    found = cause_of(lines, Decimal(moved))
    assert (found and (found.line_item, found.effect, str(found.amount))) == wanted


DAYS = [(date(2026, 10, n), Decimal(amount)) for n, amount in enumerate((3, 9, 2, 2, 2, 0), 1)]
TODAY = date(2026, 10, 7)


def unusual(day, amount):
    return UnusualDay(date(2026, 10, day), Decimal(amount), Decimal(2))


@pytest.mark.parametrize(
    ("day", "amount", "currency", "wanted"),
    [
        pytest.param(2, 9, "usd", Cause(line_item="b", effect="new", amount=Decimal(7)), id="more"),
        pytest.param(1, "1.5", "usd", None, id="what rose on a day that fell is no cause"),
        pytest.param(6, 0, "usd", None, id="a quiet day"),
        pytest.param(3, 2, "usd", None, id="another weekend day is not like it"),
        pytest.param(2, 9, "eur", None, id="another currency"),
        pytest.param(7, 9, "usd", None, id="no lines"),
    ],
)
def test_an_unusual_day_is_compared_with_the_usual_day_next_to_the_median(
    day, amount, currency, wanted
):
    rows = [[line("3")], [line("2"), line("7", "b")], [line("2")], [], [line("2")], []]
    buckets = section(*rows).buckets
    days = DAYS if day != 3 else DAYS[2:3]
    (found,) = explained_days([unusual(day, amount)], days, TODAY, buckets, currency)
    assert found.cause == wanted


def test_groups_that_moved_most_are_found_and_explained_by_their_own_lines():
    before = {("p",): Decimal(5), ("q",): Decimal(5), (None,): Decimal(99), ("r",): Decimal(1)}
    after = {("p",): Decimal(6), ("q",): Decimal(1), ("r",): Decimal(1), ("s",): Decimal(2)}
    assert movers(before, after) == [("q",), ("s",), ("p",)]
    assert movers(before, after, 1) == [("q",)]
    old = section([line("5", project_id="q"), line("1", project_id="p")]).buckets
    new = section([line("1", project_id="q"), line("9", project_id="p")]).buckets
    moved = {("q",): Decimal(-4), ("x",): Decimal(1)}
    found = causes_of(moved, old, new, lambda row: (row.project_id,), "usd")
    assert found == {("q",): Cause(line_item="a, input", effect="volume", amount=Decimal(-4))}


def sections(*days, **more):
    costs = section(*days)
    return Sections(costs=costs, costs_by=more.pop("costs_by", costs), usage={}, **more)


MONTH = [[cost("2", project_id="p")]] * 12


def spec_of(by="project_id", before=None):
    return ReportSpec(by, PERIOD, NOW, before)


def test_only_what_stands_out_needs_further_lines():
    odd = [*MONTH, [cost("9", project_id="p")]]
    assert standing_out(spec_of(), sections(*MONTH)) == (False, [])
    assert standing_out(spec_of(), sections(*odd)) == (True, [])
    assert standing_out(spec_of("model"), sections(*odd)) == (False, [])
    assert standing_out(spec_of(), sections(*odd, costs_by_model=section())) == (False, [])
    quiet = [*MONTH, []]
    assert standing_out(spec_of(), sections(*quiet)) == (False, [])


def test_groups_without_a_filter_need_no_further_lines():
    rows = [cost("9", project_id="p"), cost("3", project_id=None), cost(None, project_id="q")]
    before = section([cost("2", project_id="p")], start=BEFORE.start_time)
    of = {"costs_by": section(rows), "costs_by_before": before}
    assert standing_out(spec_of(before=BEFORE), sections([], **of)) == (False, ["p"])
    assert standing_out(spec_of("user_id", BEFORE), sections([], **of)) == (False, [])
    assert standing_out(spec_of("model", BEFORE), sections([], **of)) == (False, [])


def test_a_cause_is_told_beside_the_amount():
    cause = Cause(line_item=None, effect="unexplained", amount=Decimal(-2))
    assert cause_text(cause, "usd") == "(not attributed): unexplained -$2.00"
    hostile = Cause(line_item="a\x1b[2J", effect="new", amount=Decimal(2))
    assert cause_text(hostile, "usd") == "a\\x1b[2J: new +$2.00"
    day = UnusualDay(date(2026, 10, 2), Decimal(9), Decimal(2), cause)
    assert unusual_note(day, "usd").endswith("$2.00; mostly (not attributed): unexplained -$2.00")


def test_only_keys_that_may_be_told_are_named():
    def of_keys(*amounts, start=START):
        nobody = [cost("99", project_id=f"p{n}") for n in range(9 if start == START else 0)]
        keys = [cost(str(each), api_key_id=f"key_{n}") for n, each in enumerate(amounts)]
        return section([*nobody, *keys], start=start)

    old, new = of_keys(*range(9), start=BEFORE.start_time), of_keys(*range(0, 18, 2))
    found = told_keys(sections([], costs_by_key=new, costs_by_key_before=old))
    assert [row.api_key_id for row in found] == [f"key_{n}" for n in range(4, 9)]
    assert told_keys(sections([], costs_by_key=new)) == []
