"""Explanations: the whole bill beside its lines, days of price changes, API keys, sentences."""

from datetime import date
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import ApiKey, Names, Project, QueryError, TimeRange
from usage_async.report.effects import Effects, sum_exactly
from usage_async.report.explanation import PeriodCosts, explain
from usage_async.report.invoice import invoice_gap
from usage_async.report.spec import ReportSpec
from usage_async.report.telling import MOST, price_text, sentences
from usage_async.report.values import Blank, Explanation, Section

from .conftest import BEFORE, DAY, NOW, PERIOD, START, cost, section

SPEC = ReportSpec("line_item", PERIOD, NOW, BEFORE)


def line(amount, item="gpt-5.2, input", project="proj_1", *, quantity=None, **more):
    quantity = Decimal(amount) if quantity is None else Decimal(quantity)
    unit = {"quantity_unit": "tokens", **more}
    return cost(amount, line_item=item, project_id=project, quantity=quantity, **unit)


def period(*days, whole=None, keys=None, start=START):
    """Days of lines; the whole has what the lines have, unless it is given."""
    if whole is None:
        whole = [[attrs.evolve(row, line_item=None, project_id=None) for row in d] for d in days]
    return PeriodCosts(
        whole=section(*whole, start=start),
        lines=section(*days, start=start),
        keys=None if keys is None else section(*keys, start=start),
    )


def before(*days, **more):
    return period(*days, start=BEFORE.start_time, **more)


def explained(old, new, spec=SPEC, names=None) -> Explanation:
    return explain(spec, old, new, names)


def test_groups_are_the_same_change_by_model_and_by_project():
    made = explained(
        before([line("10"), line("5", project="proj_2")]),
        period([line("30"), line("4", "gpt-5.2, output", "proj_2")]),
    )
    (bill,) = made.bills
    assert (bill.before, bill.amount, bill.effects.total) == (15, 34, 19)
    assert [(each.id, each.effects.total) for each in bill.models] == [("gpt-5.2", 19)]
    assert [(each.id, each.effects.total) for each in bill.projects] == [
        ("proj_1", 20),
        ("proj_2", -1),
    ]
    assert made.is_whole
    assert made.remarks == ()


def test_what_no_line_accounts_for_is_a_line_of_its_own_and_unexplained():
    made = explained(before([line("10")]), period([line("10")], whole=[[cost("7")]]))
    (bill,) = made.bills
    assert (bill.amount, bill.effects.unexplained, bill.effects.total) == (7, -3, -3)
    assert [each.line_item for each in bill.lines] == [None, "gpt-5.2, input"]
    assert bill.models[0].id is None


def test_a_bill_of_one_side_only():
    new = explained(before(), period([line("10")])).bills[0]
    gone = explained(before([line("10")]), period()).bills[0]
    assert (new.effects.new, gone.effects.gone) == (10, -10)
    assert explained(before(), period()).bills == ()


def test_every_currency_has_a_bill_and_the_largest_is_first():
    made = explained(
        before([line("10")]),
        period([line("10"), cost("30", "EUR", line_item="a", quantity=Decimal(1))]),
    )
    assert [(bill.currency, bill.effects.total) for bill in made.bills] == [("eur", 30), ("usd", 0)]


AMOUNT = st.decimals("0.01", 99, places=4).map(str)
DAYS = st.lists(st.lists(st.builds(line, AMOUNT, st.sampled_from("ab"), st.sampled_from("pq"))))


@given(DAYS, DAYS)
def test_bill_lines_and_groups_add_up(old, new):
    for bill in explained(before(*old), period(*new)).bills:
        change = sum_exactly((bill.amount, -bill.before))
        for groups in (bill.lines, bill.models, bill.projects):
            assert sum_exactly(each.effects.total for each in groups) == change


def without_first_day(whole):
    return attrs.evolve(whole, buckets=whole.buckets[1:], missing=(START,))


@pytest.mark.parametrize("now", [NOW, START + DAY // 2], ids=["ended", "running"])
def test_spend_of_a_day_without_lines_is_unexplained_and_told(now):
    lines = without_first_day(section([line("10")], [line("5")]))
    made = explained(
        before([line("5")]),
        PeriodCosts(whole=section([cost("10")], [cost("5")]), lines=lines),
        attrs.evolve(SPEC, now=now),
    )
    (bill,) = made.bills
    assert (bill.before, bill.amount, bill.effects) == (5, 15, Effects(unexplained=Decimal(10)))
    assert not made.is_whole
    assert not bill.is_explained
    assert sentences(made) == ["The bill rose by $10.00 (200.0%), from $5.00 to $15.00."]
    told_of_credits = dict(invoice_gap(made, Decimal(5)).possibilities)["credits"]
    assert told_of_credits == "line items are not all known, and credits may be among them"
    told = (
        "spend by line item: 1 day was not sent, the first is 2026-10-01",
        "what was spent without line items is unexplained, and volumes lack it",
    )
    assert made.remarks[-2:] == told


@pytest.mark.parametrize("now", [NOW, START + DAY // 2], ids=["ended", "running"])
def test_lines_of_a_day_whose_bill_is_missing_are_left_out_and_that_is_told(now):
    made = explained(
        before([line("5")]),
        PeriodCosts(
            whole=without_first_day(section([cost("10")], [cost("7")])),
            lines=section([line("10")], [line("7", quantity=7)]),
        ),
        attrs.evolve(SPEC, now=now),
    )
    (bill,) = made.bills
    assert (bill.amount, bill.effects.unexplained, bill.effects.total) == (7, 0, 2)
    assert not made.is_whole
    assert made.remarks[-2:] == (
        "spend: 1 day was not sent, the first is 2026-10-01",
        "days are missing, so that the change is that of other days",
    )
    assert sentences(made) == ["The bill rose by $2.00 (40.0%), from $5.00 to $7.00."]
    assert "missing days" in dict(invoice_gap(made, Decimal(5)).possibilities)


def test_a_day_that_only_the_keys_lack_leaves_the_change_whole_and_is_told():
    costs = section([line("10")], [line("5")])
    keys = without_first_day(section([], [cost("5", api_key_id="key_1")]))
    made = explained(
        attrs.evolve(before([line("5")]), keys=section([cost("5", api_key_id="key_1")])),
        PeriodCosts(whole=costs, lines=costs, keys=keys),
    )
    (bill,) = made.bills
    assert (bill.amount, bill.keys, made.is_whole) == (15, (), False)
    assert made.remarks == ("spend by API key: 1 day was not sent, the first is 2026-10-01",)


def test_periods_of_other_lengths_and_running_days_are_told():
    period_ = TimeRange(START, START + DAY // 2)
    spec = ReportSpec("line_item", period_, START + DAY // 2, TimeRange(START - 2 * DAY, START))
    made = explained(before(), period(), spec)
    assert made.remarks == (
        "1 day is compared with 2 days",
        "the last day is still running, and is compared with a whole day",
        "figures from 2026-10-01 on may still be revised",
        "figures to compare with from 2026-09-29 on may still be revised",
    )


def test_a_period_to_compare_with_that_still_runs_is_told():
    running = TimeRange(START + 3 * DAY, START + 3 * DAY + 60)
    made = explained(before(), period(), ReportSpec("line_item", PERIOD, running.end_time, running))
    assert made.remarks[1:] == (
        "the last day of the period to compare with is still running",
        "figures from 2026-10-01 on may still be revised",
        "figures to compare with from 2026-10-04 on may still be revised",
    )


# Price changes


def month(*prices):
    """Days of 100 units at these prices."""
    return [[line(str(price), quantity=100)] for price in prices]


def spec_of(days):
    return ReportSpec("line_item", TimeRange(START, START + days * DAY), NOW + DAY, BEFORE)


def steps(old, new):
    was = period(*month(*old), start=START - len(old) * DAY)
    made = explain(spec_of(len(new)), was, period(*month(*new)))
    return [(step.day, step.before, step.price) for step in made.bills[0].steps]


@pytest.mark.parametrize("at", range(3, 8))
def test_the_day_of_a_price_change_is_found(at):
    new = [10] * at + [12] * (10 - at)
    assert steps([10, 10, 10], new) == [
        (date(2026, 10, 1 + at), Decimal("0.1"), Decimal("0.12")),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param([10, 10, 10], [10, 10, 10], id="one price"),
        pytest.param([10, 10, 10], [10] * 9 + [12], id="a single day"),
        pytest.param([10, 14, 8], [12, 10, 15, 9, 13, 16, 9], id="noise"),
        pytest.param([10, 10, 10], ["10.05"] * 6, id="next to nothing"),
        pytest.param([10], [12], id="too few days"),
        pytest.param([20] * 20 + [10] * 10, [10] * 12 + [20] * 9, id="back and forth"),
        pytest.param([10] * 9, [30] * 5 + [5] * 9, id="up, and down"),
        pytest.param([10] * 9, [30] * 4 + [15] * 20, id="up, and down in part"),
        pytest.param([10] * 9, [30] * 7 + [10] * 3 + [30] * 7, id="a pause"),
        pytest.param([10] * 9 + [30] * 3 + [10] * 9, [30] * 7, id="up once before"),
    ],
)
def test_no_day_is_made_up(old, new):
    assert steps(old, new) == []


PRICES = st.lists(st.sampled_from([8, 10, 12]), min_size=1, max_size=12)


@given(PRICES, PRICES)
def test_on_no_three_days_in_a_row_the_price_is_another_than_is_told(old, new):
    for day, *told in steps(old, new):
        at = len(old) + (day - PERIOD.start.date()).days
        for part, price in zip(((old + new)[:at], (old + new)[at:]), told, strict=True):
            others = "".join("=" if Decimal(each) / 100 == price else "x" for each in part)
            assert "xxx" not in others


def test_prices_of_days_in_other_units_are_no_step():
    old = before(*month(10, 10, 10))
    calls = [[line("20", quantity=100, quantity_unit="calls")]] * 5
    mixed = [[line("20", quantity=100)], *calls]
    assert explain(spec_of(6), old, period(*mixed)).bills[0].steps == ()
    free = [[attrs.evolve(line("9"), amount=None)]]
    (step,) = explain(spec_of(4), old, period(*free, *month(12, 12, 12))).bills[0].steps
    assert step.day == date(2026, 10, 2)


def test_prices_and_keys_of_another_currency_are_its_own():
    both = [[line("10", quantity=100), line("99", quantity=100, currency="eur")]]
    keys = [[*by_key(1)[0], cost("7", "eur", api_key_id="key_1", project_id="proj_1")]]
    made = explain(
        spec_of(4),
        before(*both * 4, keys=keys * 4),
        period(*[[*month(12)[0], line("99", quantity=100, currency="eur")]] * 4, keys=keys * 4),
    )
    bills = {bill.currency: bill for bill in made.bills}
    assert [step.price for step in bills["usd"].steps] == [Decimal("0.12")]
    assert bills["eur"].steps == ()
    assert (bills["usd"].keys[0].amount, bills["eur"].keys[0].amount) == (4, 28)


def test_periods_that_are_not_in_order_have_no_step():
    spec = ReportSpec("line_item", BEFORE, NOW, TimeRange(START, START + 6 * DAY))
    made = explain(spec, period(*month(*[12] * 6)), before(*month(10, 10, 10)))
    assert made.bills[0].effects.price < 0
    assert made.bills[0].steps == ()
    assert "A lower price a unit of gpt-5.2" in sentences(made)[1]


def by_project(*prices):
    """Days with each project's price and quantity."""
    return [
        [
            line(str(Decimal(str(price)) * count), project=name, quantity=count)
            for name, (price, count) in day.items()
        ]
        for day in prices
    ]


def test_a_moving_mix_of_projects_is_no_price_change():
    old = by_project(*[{"a": (1, 100), "b": (10, 1)}] * 3)
    for price in ("1.01", "0.99"):
        new = by_project(*[{"a": (price, 1), "b": (10, 100)}] * 5)
        made = explain(spec_of(5), before(*old), period(*new))
        assert made.bills[0].effects.price
        assert made.bills[0].steps == ()
    later = by_project(*[{"a": ("1.2", 90), "b": ("1.2", 1)}] * 5)
    both = by_project(*[{"a": (1, 100), "b": (1, 1)}] * 3)
    (step,) = explain(spec_of(5), before(*both), period(*later)).bills[0].steps
    assert (step.before, step.price) == (1, Decimal("1.2"))
    single = by_project(*[{"a": ("1.2", 90), "b": (1, 1)}] * 5)
    assert explain(spec_of(5), before(*both), period(*single)).bills[0].steps == ()


def test_a_price_that_was_zero_rises_without_a_share_and_a_negative_one_is_no_price():
    (told,) = [
        each
        for each in sentences(
            explain(spec_of(5), before(*month(*[0] * 3)), period(*month(*[9] * 5)))
        )
        if "costs" in each
    ]
    assert told.startswith("gpt-5.2, input costs more from 2026-10-01 on ($0.00 per million tokens")
    assert steps([-10] * 3, [-20] * 5) == []


# API keys


def by_key(*amounts, key="key_1"):
    return [[cost(str(each), api_key_id=key, project_id="proj_1")] for each in amounts]


def test_a_key_that_runs_away_is_found_with_its_days():
    lines = [[line("1")]] * 12
    usual = [1] * 12
    runaway = [1, 1, 1, 1, 1, 9, 9, 1, 1, 1, 1, 1]
    made = explain(
        spec_of(12),
        before(*lines[:3], keys=by_key(*usual[:3])),
        period(*lines, keys=by_key(*runaway)),
        Names(
            projects=[Project(id="proj_1", name="Search")],
            api_keys=[ApiKey(id="key_1", name="indexer")],
        ),
    )
    (key,) = made.bills[0].keys
    assert (key.name, key.project_name, key.before, key.amount) == ("indexer", "Search", 3, 28)
    assert [day.day for day in key.days] == [date(2026, 10, 6), date(2026, 10, 7)]
    told = sentences(made)[1]
    assert told == (
        "The API key indexer of Search spent $25.00 more, $16.00 of it above the usual on"
        " 2026-10-06 to 2026-10-07."
    )


def test_what_no_key_accounts_for_takes_no_place_of_a_key():
    def rows(*amounts):
        others = [cost("900", project_id=f"proj_{n}") for n in range(9)]
        return [[*others, cost(each, api_key_id="key_1", project_id="p")] for each in amounts]

    old = [cost("1", project_id=f"proj_{n}") for n in range(9)]
    days = ["1", "1", "1", "1", "99", "1", "1", "1"]
    made = explain(
        spec_of(len(days)),
        before([line("5")], keys=[old]),
        period(*[[line("5")]] * len(days), keys=rows(*days)),
    )
    assert [day.amount for day in made.bills[0].keys[-1].days] == [99]
    assert "The API key key_1 of p spent $106.00 more" in sentences(made)[1]


def test_keys_that_one_period_does_not_tell_are_not_compared():
    refused = Section(blank=Blank("refused", "data begin at 2026-10-01"))
    old = attrs.evolve(before([line("1")]), keys=refused)
    made = explained(old, period([line("1")], keys=by_key(1)))
    assert made.bills[0].keys == ()
    assert made.is_whole
    assert made.remarks == ("spend by API key: refused: data begin at 2026-10-01",)
    failed = attrs.evolve(old, keys=Section(blank=Blank("failed", "500")))
    assert not explained(failed, period([line("1")], keys=by_key(1))).is_whole


# Sentences


def test_five_sentences_at_most_each_with_its_figure():
    old = [line("10"), line("20", "old, input"), line("6", "tool", "proj_2", quantity=3)]
    new = [line("30"), line("25", "new, input"), line("9", "tool", "proj_2", quantity=3)]
    made = explained(before(old, keys=by_key(5)), period(new, keys=by_key(25)), names=Names())
    told = sentences(made)
    assert told == [
        (
            "The bill rose by $28.00 (77.8%), from $36.00 to $64.00: volume +$20.00, price +$3.00,"
            " new lines +$25.00, gone lines -$20.00."
        ),
        "A higher price a unit of tool adds $3.00.",
        "new is new with $25.00, and old is gone with $20.00.",
        "The API key key_1 of proj_1 spent $20.00 more.",
        (
            "More use of gpt-5.2 adds $20.00; the largest volume effect of a project is that of"
            " proj_1 (+$20.00)."
        ),
    ]
    assert len(told) == MOST


def test_names_in_sentences_cannot_steer_a_terminal():
    evil = "\x1b[2J\x07\r\n"
    own = f"proj{evil}"
    old = [
        line("10", project=own),
        line("20", f"old{evil}, input"),
        line("6", f"tool{evil}", quantity=3),
    ]
    new = [
        line("30", project=own),
        line("25", f"new{evil}, input"),
        line("9", f"tool{evil}", quantity=3),
    ]
    keys = [by_key(amount, key=f"key{evil}") for amount in (5, 25)]
    told = sentences(explained(before(old, keys=keys[0]), period(new, keys=keys[1]), names=Names()))
    assert len(told) == MOST
    assert all(each.isprintable() for each in told)
    assert sum("\\x1b[2J" in each for each in told) == 4


def test_a_price_change_is_told_with_its_day_and_both_prices():
    made = explain(spec_of(10), before(*month(10, 10, 10)), period(*month(*[10] * 5, *[8] * 5)))
    assert sentences(made)[1] == (
        "gpt-5.2, input costs 20.0% less from 2026-10-06 on ($100,000.00 per million tokens to"
        " $80,000.00 per million tokens), which takes $10.00 off."
    )


def test_a_price_change_that_is_not_most_of_the_effect_is_not_told_for_it():
    def days(input_, *outputs):
        lines = ((input_, "gpt-5.2, input"), *((each, "gpt-5.2, output") for each in outputs))
        first, *others = [line(str(price), item, quantity=10) for price, item in lines]
        return [[first, each] for each in others]

    made = explain(
        spec_of(6), before(*days(10, 100, 60, 100)), period(*days(20, 30, 80, 30, 70, 20, 60))
    )
    (bill,) = made.bills
    assert [(step.line_item, step.effect) for step in bill.steps] == [("gpt-5.2, input", 60)]
    assert bill.models[0].effects.price < 0
    assert sentences(made)[1].startswith("Another price a unit of gpt-5.2 takes $")
    made = explain(spec_of(6), before(*days(10, *[100] * 3)), period(*days(20, *[101] * 6)))
    assert sentences(made)[1].startswith("gpt-5.2, input costs 100.0% more from 2026-10-01 on")


def test_an_effect_below_half_a_cent_is_no_sentence():
    old = [line("9", "a", quantity=3), line("1", "b", quantity=3)]
    new = [line("9.004", "a", quantity=3), line("2", "b", quantity=6)]
    assert sentences(explained(before(old), period(new)))[1:] == ["More use of b adds $1.00."]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param((100, 100), (200, 50), "Other use of m takes $40.00 off.", id="more of cheap"),
        pytest.param((100, 100), (100, 50), "Less use of m takes $50.00 off.", id="less"),
        pytest.param((100, 100), (10, 200), "More use of m adds $91.00.", id="more of dear"),
        pytest.param((100, 0), (50, 100), "Other use of m takes $5.00 off.", id="and new"),
    ],
)
def test_more_or_less_use_is_that_of_quantities(old, new, told):
    def rows(cheap, dear):
        cached = line(str(Decimal(cheap) / 10), "m, cached input", quantity=cheap)
        return [cached, *([line(str(dear), "m, output", quantity=dear)] if dear else [])]

    assert told in sentences(explained(before(rows(*old)), period(rows(*new))))


def test_a_running_day_that_no_section_has_is_not_missing():
    whole, lines = without_first_day(section([], [cost("5")])), section([], [line("5")])
    costs = PeriodCosts(whole=whole, lines=without_first_day(lines))
    made = explained(before([line("5")]), costs, attrs.evolve(SPEC, now=START + DAY // 2))
    assert (made.is_whole, made.bills[0].is_explained) == (True, True)


def test_what_is_unexplained_says_nothing_about_use():
    old = [line("9", "m, input", quantity=9), line("1", "m, images", quantity=1)]
    new = [line("5", "m, input", quantity=5), line("2", "m, images", quantity_unit="calls")]
    told = sentences(explained(before(old), period(new)))
    assert told[1] == "Less use of m takes $4.00 off."


def test_more_of_a_discount_is_no_less_use():
    old, new = [line("-1", "promo", quantity=1)], [line("-3", "promo", quantity=3)]
    told = sentences(explained(before(old), period(new)))
    assert told[1] == "Other use of promo takes $2.00 off."
    new = [line("-3", "promo", quantity=1)]
    told = sentences(explained(before(old), period(new)))
    assert told[1] == "Another price a unit of promo takes $2.00 off."


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        pytest.param(
            [],
            [line("5")],
            [
                "The bill rose by $5.00, from $0.00 to $5.00: new lines +$5.00.",
                "gpt-5.2 is new with $5.00.",
            ],
            id="no bill before",
        ),
        pytest.param([line("5")], [line("5")], ["The bill is what it was: $5.00."], id="no change"),
        pytest.param(
            [line("5")],
            [line("5", "b")],
            [
                "The bill is what it was: $5.00, with new lines +$5.00, gone lines -$5.00.",
                "b is new with $5.00, and gpt-5.2 is gone with $5.00.",
            ],
            id="no change in sum",
        ),
        pytest.param(
            [line("5")],
            [line("2")],
            [
                "The bill fell by $3.00 (60.0%), from $5.00 to $2.00: volume -$3.00.",
                "Less use of gpt-5.2 takes $3.00 off.",
            ],
            id="less",
        ),
        pytest.param(
            [],
            [line("5", "a"), line("4", "b")],
            [
                "The bill rose by $9.00, from $0.00 to $9.00: new lines +$9.00.",
                "a is new with $5.00; 1 more came or went.",
            ],
            id="several",
        ),
        pytest.param(
            [cost("5")],
            [cost("6")],
            ["The bill rose by $1.00 (20.0%), from $5.00 to $6.00: unexplained +$1.00."],
            id="no lines",
        ),
    ],
)
def test_a_change_is_told(old, new, wanted):
    assert sentences(explained(before(old), period(new))) == wanted


def test_a_key_that_spent_less_on_its_other_days_has_more_above_the_usual_than_it_rose():
    lines = [[line("1")]] * 12
    made = explain(
        spec_of(12),
        before(*lines[:3], keys=by_key(4, 4, 4)),
        period(*lines, keys=by_key(*[1] * 6, 9, *[1] * 5)),
    )
    assert sentences(made)[1] == (
        "The API key key_1 of proj_1 spent $8.00 more, $8.00 of it above the usual on 2026-10-07."
    )
    fewer = explain(
        spec_of(12),
        before(*lines[:3], keys=by_key(4, 4, 5)),
        period(*lines, keys=by_key(*[1] * 6, 9, *[1] * 5)),
    )
    assert sentences(fewer)[1] == (
        "The API key key_1 of proj_1 spent $7.00 more, with $8.00 above the usual on 2026-10-07."
    )


def test_a_key_that_spent_on_days_apart_or_on_one():
    lines = [[line("1")]] * 12
    for days, told in (([3], "2026-10-02."), ([3, 8], "2 days, the first of them 2026-10-02.")):
        amounts = [9 if n + 2 in days else 1 for n in range(12)]
        made = explain(
            spec_of(12),
            before(*lines[:3], keys=by_key(1, 1, 1)),
            period(*lines, keys=by_key(*amounts)),
        )
        assert sentences(made)[1].endswith(f"above the usual on {told}")
    for keys in (by_key(1, 1, 1), by_key(1, 1, key=None)):
        made = explained(before(*lines[:3], keys=keys), period(*lines[:3], keys=keys))
        assert not any("API key" in each for each in sentences(made))


@pytest.mark.parametrize(
    ("price", "unit", "currency", "wanted"),
    [
        ("0.00000175", "tokens", "usd", "$1.75 per million tokens"),
        ("0.0025", "calls", "usd", "$0.0025 per call"),
        ("0.5", None, "eur", "0.50 EUR per unit"),
        ("0.000000020001", "tokens", "usd", "$0.02 per million tokens"),
        ("0", "calls", "usd", "$0.00 per call"),
        ("0.00175", "1000_tokens", "usd", "$1.75 per million tokens"),
        ("0.006", "duration_minutes", "usd", "$0.006 per minute"),
        ("0.01", "gibibyte_hours", "usd", "$0.01 per gibibyte hour"),
    ],
)
def test_a_price_a_unit_is_written_with_four_digits(price, unit, currency, wanted):
    assert price_text(Decimal(price), unit, currency) == wanted


# The invoice


def gap(invoice, *rows, old=(), currency=None, spec=SPEC):
    return invoice_gap(
        explained(before(list(old)), period(list(rows)), spec), Decimal(invoice), currency
    )


def test_both_sums_are_shown_and_what_can_make_a_gap():
    made = gap("12.02", line("1.005", "a"), line("2.005", "b"), line("7.09", "c"))
    assert (made.amount, made.gap) == (Decimal("10.1"), Decimal("1.92"))
    assert (made.rounded, made.gap_rounded) == (Decimal("10.11"), Decimal("1.91"))
    assert made.possibilities == (
        (
            "rounding",
            "each line item rounded to cents, the bill is $10.11; the gap would be $1.91",
        ),
        ("credits", "no amount is below zero; credits may be taken off on the invoice only"),
        ("taxes", "costs are without taxes; a tax of 19.0% would be this gap"),
        ("currency", "costs are in USD; an invoice in another currency is converted"),
        ("organization", "these are the costs of Organization; the invoice may be of another one"),
    )


def test_a_line_item_is_rounded_once_over_all_projects():
    made = gap("1.01", line("0.505", project="proj_1"), line("0.505", project="proj_2"))
    assert (made.rounded, made.gap) == (Decimal("1.01"), 0)


def test_credits_missing_days_other_currencies_and_figures_that_may_change_are_possible_too():
    spec = attrs.evolve(SPEC, now=PERIOD.end_time)
    lines = section([line("10"), line("-2", "credit"), line("3", currency="eur")])
    known = attrs.evolve(lines, missing=(START + DAY,))
    made = explain(spec, before(), PeriodCosts(whole=known, lines=known))
    with pytest.raises(QueryError, match="the bill is in eur, usd: write the currency"):
        invoice_gap(made, Decimal(5))
    with pytest.raises(QueryError, match="nothing is billed in chf, but in eur, usd"):
        invoice_gap(made, Decimal(5), "CHF")
    found = dict(invoice_gap(made, Decimal(5), "USD").possibilities)
    assert (
        found["credits"]
        == "amounts below zero add up to -$2.00; the invoice may count them otherwise"
    )
    assert found["taxes"] == "costs are without taxes, which would make the invoice higher"
    assert found["unsettled days"] == "figures from 2026-10-01 on may still be revised"
    assert found["missing days"] == "1 day was not sent"
    assert found["currency"] == "3.00 EUR is billed beside, and may be on the invoice, converted"


def test_credits_are_those_of_every_day_and_project():
    days = [line("5", "a"), line("-1", "a"), line("3", "a", "proj_2"), line("-0.5", "a", "proj_2")]
    made = invoice_gap(explained(before(), period(days, [line("-2", "a")])), Decimal(5))
    told = "amounts below zero add up to -$3.50; the invoice may count them otherwise"
    assert dict(made.possibilities)["credits"] == told


def test_an_invoice_for_nothing():
    made = gap("5")
    assert (made.currency, made.amount, made.rounded, made.gap) == ("usd", 0, 0, 5)
