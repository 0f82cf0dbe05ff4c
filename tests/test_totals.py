"""Sums: exact, complete, and the parts are always the whole."""

import decimal
from decimal import Decimal
from itertools import combinations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values import DAY, HOSTILE, NAMES, START, amounts, paid, rows, tokens

from usage_async import (
    ENDPOINTS,
    CostsResult,
    CostsResultAmount,
    Extra,
    IncompleteError,
    MixedCurrencyError,
    QueryError,
    UnknownResult,
    UsageCompletionsResult,
    UsageError,
    UsageTimeBucket,
    UsageVectorStoresResult,
    UsageWebSearchCallsResult,
)
from usage_async._api.fields import fields_of
from usage_async._sums.totals import Totals, add


def bucket(day, *results, **more):
    start = START + day * DAY
    return UsageTimeBucket(start_time=start, end_time=start + DAY, results=results, **more)


def stored(count, project=None):
    return UsageVectorStoresResult(usage_bytes=count, project_id=project)


LATER = START + 365 * DAY
"""An instant at which every bucket of these tests has ended."""


def summed(kind, *buckets, by=(), as_of=LATER):
    measure = next(e.measure for e in ENDPOINTS.values() if e.result_class is kind)
    totals = Totals(kind, measure, by, as_of=as_of)
    for one in buckets:
        totals.add(one)
    return totals


def total(kind, *buckets, as_of=LATER):
    return summed(kind, *buckets, as_of=as_of).total()


few = st.sampled_from([None, "a", "b"])


def metrics(kind):
    return [a.name for a in fields_of(kind) if a.metadata["kind"] in ("flow", "level")]


def coarse(kind):
    """Rows with few different dimensions, in one currency and unit."""
    dimensions = [a.name for a in fields_of(kind) if a.metadata["kind"] == "dimension"]
    fixed = {
        name: st.sampled_from([None, False, True]) if name == "batch" else few
        for name in dimensions
    }
    if kind is CostsResult:
        dollars = st.builds(CostsResultAmount, value=amounts, currency=st.just("usd"))
        fixed |= {"amount": st.none() | dollars, "quantity_unit": st.just("tokens")}
    return rows(kind, extra=st.just(Extra()), **fixed)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_the_sums_of_any_grouping_add_up_to_the_total(name, data):
    endpoint = ENDPOINTS[name]
    kind = endpoint.result_class
    days = data.draw(st.lists(st.lists(coarse(kind), max_size=4), max_size=3))
    buckets = [bucket(day, *results) for day, results in enumerate(days)]
    whole = total(kind, *buckets)
    by = data.draw(st.lists(st.sampled_from(endpoint.group_by), unique=True))
    groups = summed(kind, *buckets, by=by).groups()
    keys = [tuple(getattr(row, dimension) for dimension in by) for row in groups]
    assert len(set(keys)) == len(keys)
    for metric in metrics(kind):
        values = [getattr(row, metric) for row in groups if getattr(row, metric) is not None]
        want = getattr(whole, metric)
        assert sum(values) == (want or 0)
        assert (want is None) == (not values and metric not in required(kind))
    if kind is CostsResult:
        assert plain(row.amount and row.amount.value for row in groups) == plain(
            [whole.amount and whole.amount.value]
        )
        assert plain(row.quantity for row in groups) == plain([whole.quantity])


def required(kind):
    return {a.name for a in fields_of(kind) if a.default is attrs.NOTHING}


def plain(values):
    """The sum of what is there, in a context of the test's own."""
    with decimal.localcontext(prec=10_000, Emin=-(10**6), Emax=10**6):
        return sum((value for value in values if value is not None), Decimal(0))


@given(st.lists(st.lists(coarse(UsageCompletionsResult), max_size=4), max_size=3))
def test_flows_are_what_the_rows_say(days):
    whole = total(UsageCompletionsResult, *(bucket(day, *rows) for day, rows in enumerate(days)))
    rows = [row for day in days for row in day]
    for metric in metrics(UsageCompletionsResult):
        values = [getattr(row, metric) for row in rows if getattr(row, metric) is not None]
        unsaid = None if not values and metric not in required(UsageCompletionsResult) else 0
        assert getattr(whole, metric) == (sum(values) or unsaid if not values else sum(values))


@given(st.lists(coarse(CostsResult), max_size=6), st.randoms())
def test_neither_the_order_of_rows_nor_how_days_are_cut_changes_a_sum(results, random):
    shuffled = list(results)
    random.shuffle(shuffled)
    one = total(CostsResult, bucket(0, *results))
    other = total(CostsResult, *(bucket(day, row) for day, row in enumerate(shuffled)))
    assert one == other


def test_rows_with_equal_dimensions_are_added():
    (group,) = summed(
        UsageCompletionsResult,
        bucket(0, tokens(1, model="a"), tokens(2, model="a")),
        bucket(1, tokens(4, model="a", input_cached_tokens=3)),
        by=["model"],
    ).groups()
    assert group == UsageCompletionsResult(
        input_tokens=7, output_tokens=0, num_model_requests=3, input_cached_tokens=3, model="a"
    )


def test_an_optional_metric_is_none_only_if_it_is_absent_everywhere():
    whole = total(UsageCompletionsResult, bucket(0, tokens(1), tokens(2, input_audio_tokens=0)))
    assert whole.input_audio_tokens == 0
    assert whole.input_text_tokens is None


@pytest.mark.parametrize("name", NAMES)
def test_without_rows_counts_are_zero_and_money_is_none(name):
    kind = ENDPOINTS[name].result_class
    for buckets in ([], [bucket(0), bucket(1)]):
        made = summed(kind, *buckets)
        assert made.groups() == []
        assert made.total() == kind(**dict.fromkeys(required(kind), 0))


def test_groups_come_largest_first_and_equal_ones_by_name():
    results = [tokens(1, model="c"), tokens(5, model="b"), tokens(5, model="a"), tokens(9)]
    groups = summed(UsageCompletionsResult, bucket(0, *results), by=["model"]).groups()
    assert [row.model for row in groups] == [None, "a", "b", "c"]
    costs = [paid("-1", line_item="credit"), CostsResult(line_item="free"), paid("0.1")]
    groups = summed(CostsResult, bucket(0, *costs), by=["line_item"]).groups()
    assert [row.line_item for row in groups] == [None, "free", "credit"]


def test_an_endpoint_ranks_by_its_own_measure():
    few_calls = UsageWebSearchCallsResult(num_model_requests=9, num_requests=1, model="a")
    many_calls = UsageWebSearchCallsResult(num_model_requests=1, num_requests=9, model="b")
    made = summed(UsageWebSearchCallsResult, bucket(0, few_calls, many_calls), by=["model"])
    assert [row.model for row in made.groups()] == ["b", "a"]


@pytest.mark.parametrize(
    ("days", "whole", "groups"),
    [
        pytest.param([[(5, "a"), (7, "b")]], 12, {"b": 7, "a": 5}, id="adds over groups"),
        pytest.param([[(5, "a")], [(6, "a")]], 6, {"a": 6}, id="never over time"),
        pytest.param([[(5, "a")], [(3, "a"), (4, "a")]], 7, {"a": 7}, id="equal dimensions"),
        pytest.param([[(5, "a")], []], 0, {"a": 0}, id="the last bucket, though it is empty"),
        pytest.param(
            [[(5, "a"), (7, "b")], [(6, "b")]], 6, {"b": 6, "a": 0}, id="absent there is nothing"
        ),
        pytest.param([[(5, "a")], [(0, "b")]], 0, {"a": 0, "b": 0}, id="deleted"),
        pytest.param([[], []], 0, {}, id="quiet"),
    ],
)
def test_stored_bytes_add_over_groups_but_never_over_time(days, whole, groups):
    buckets = [
        bucket(day, *(stored(count, project) for count, project in results))
        for day, results in enumerate(days)
    ]
    assert total(UsageVectorStoresResult, *buckets).usage_bytes == whole
    made = summed(UsageVectorStoresResult, *buckets, by=["project_id"])
    assert {row.project_id: row.usage_bytes for row in made.groups()} == groups


@pytest.mark.parametrize(
    ("days", "ended", "whole", "groups"),
    [
        pytest.param([[(5, "a")], []], 1, 5, {"a": 5}, id="the running one is empty"),
        pytest.param([[(5, "a")], [(6, "a")]], 1, 5, {"a": 5}, id="the running one has figures"),
        pytest.param([[(5, "a")], []], 1.5, 5, {"a": 5}, id="in the middle of the running one"),
        pytest.param([[(5, "a")], []], 2, 0, {"a": 0}, id="the empty one has just ended"),
        pytest.param([[(5, "a")]], 0.5, 5, {"a": 5}, id="only the running one came"),
        pytest.param([[]], 0.5, 0, {}, id="only the running one, and empty"),
        pytest.param([[(5, "a")], [(6, "b")]], 0, 5, {"a": 5, "b": 0}, id="none has ended"),
        pytest.param(
            [[(5, "a")], [(7, "b")], [(6, "a")]], 2, 7, {"b": 7, "a": 0}, id="groups, too"
        ),
    ],
)
def test_a_level_is_that_of_the_last_bucket_that_has_ended(days, ended, whole, groups):
    buckets = [
        bucket(day, *(stored(count, project) for count, project in results))
        for day, results in enumerate(days)
    ]
    as_of = START + int(ended * DAY)
    assert total(UsageVectorStoresResult, *buckets, as_of=as_of).usage_bytes == whole
    made = summed(UsageVectorStoresResult, *buckets, by=["project_id"], as_of=as_of)
    assert {row.project_id: row.usage_bytes for row in made.groups()} == groups


def test_money_is_added_exactly_whatever_the_context_of_the_thread():
    parts = ["0.000004500000000000000000000000000000000", "1E+30", "-0.1", "1E-50"]
    with decimal.localcontext(HOSTILE):
        whole = total(CostsResult, bucket(0, *map(paid, parts)))
    assert whole.amount.value == plain(map(Decimal, parts))


@given(st.lists(rows(CostsResult), max_size=6))
def test_no_decimal_context_of_a_caller_changes_a_figure_or_is_an_error(results):
    by = ["project_id", "line_item"]
    expected = summed(CostsResult, bucket(0, *results), by=by).groups()
    with decimal.localcontext(HOSTILE):
        assert summed(CostsResult, bucket(0, *results), by=by).groups() == expected


def test_groups_rank_by_every_digit():
    nearly = [("a", "2." + 40 * "0" + "1"), ("b", "2." + 40 * "0" + "3"), ("c", "2")]
    results = [paid(value, line_item=item) for item, value in nearly]
    groups = summed(CostsResult, bucket(0, *results), by=["line_item"]).groups()
    assert [row.line_item for row in groups] == ["b", "a", "c"]


def test_a_sum_has_no_zeros_at_its_end():
    whole = total(CostsResult, bucket(0, paid("0.150000000000"), paid("2075.7501485925")))
    assert str(whole.amount.value) == "2075.9001485925"
    whole = total(CostsResult, bucket(0, paid("0.5"), paid("99.5")))
    assert str(whole.amount.value) == "100"


def test_the_largest_and_the_smallest_amount_have_an_exact_sum():
    whole = total(CostsResult, bucket(0, paid("9E+307"), paid("1E-6176")))
    assert plain([whole.amount.value, Decimal("-9E+307")]) == Decimal("1E-6176")


def test_a_sum_that_is_too_large_is_an_error():
    with pytest.raises(UsageError, match="no exact sum"):
        add(Decimal("1E+6000"), Decimal("1E-6000"))
    with pytest.raises(UsageError, match="no exact sum"):
        total(CostsResult, bucket(0, paid("9E+308"), paid("9E+308")))


def test_several_currencies_stay_apart_and_have_no_single_sum():
    results = [paid("1", "usd"), paid("2", "eur"), paid("3", "usd", project_id="p"), CostsResult()]
    made = summed(CostsResult, bucket(0, *results))
    assert [(row.amount.currency, row.amount.value) for row in made.groups()] == [
        ("usd", 4),
        ("eur", 2),
    ]
    with pytest.raises(MixedCurrencyError, match=r"eur, usd .*totals\(\)") as error:
        made.total()
    assert error.value.currencies == ("eur", "usd")
    by_project = summed(CostsResult, bucket(0, *results), by=["project_id"])
    assert [(row.project_id, row.amount.value) for row in by_project.groups()] == [
        ("p", 3),
        (None, 2),
        (None, 1),
    ]
    with pytest.raises(MixedCurrencyError):
        by_project.total()


@pytest.mark.parametrize(
    ("results", "quantity", "unit"),
    [
        pytest.param([(1, "tokens"), (2, "tokens")], 3, "tokens", id="one unit"),
        pytest.param([(1, "tokens"), (2, "images")], None, None, id="two units"),
        pytest.param([(1, "tokens"), (2, None)], None, None, id="a unit and none"),
        pytest.param([(1, None), (2, None)], None, None, id="neither unit nor line item"),
        pytest.param([(1, None)], 1, None, id="one row alone, without a unit"),
        pytest.param([(None, None)], None, None, id="no quantity"),
        pytest.param([(1, "tokens"), (None, None)], 1, "tokens", id="one row has none"),
    ],
)
def test_quantities_add_only_within_one_unit(results, quantity, unit):
    made = [
        paid("1", quantity=None if count is None else Decimal(count), quantity_unit=unit)
        for count, unit in results
    ]
    whole = total(CostsResult, bucket(0, *made))
    assert (whole.quantity, whole.quantity_unit) == (quantity, unit)


def test_rows_without_a_unit_and_a_line_item_do_not_add_in_whatever_currency_they_are():
    made = [paid("1", quantity=Decimal(1)), paid("0", "eur", quantity=Decimal(2))]
    assert total(CostsResult, bucket(0, *made)).quantity is None
    free = [paid("1", quantity=Decimal(1)), CostsResult(quantity=Decimal(2))]
    assert total(CostsResult, bucket(0, *free)).quantity is None
    twice = [CostsResult(quantity=Decimal(2)), CostsResult(quantity=Decimal(2))]
    assert total(CostsResult, bucket(0, *twice, *made)).quantity is None
    item = [paid("1", quantity=Decimal(n), line_item="a") for n in (1, 2)]
    assert total(CostsResult, bucket(0, *item)).quantity == 3


def test_without_a_unit_quantities_of_different_line_items_do_not_add():
    made = [paid("1", quantity=Decimal(1), line_item=name) for name in ("a", "b")]
    assert total(CostsResult, bucket(0, *made)).quantity is None
    by_item = summed(CostsResult, bucket(0, *made), by=["line_item"]).groups()
    assert [(row.line_item, row.quantity) for row in by_item] == [("a", 1), ("b", 1)]


def test_a_currency_has_no_case():
    made = [paid("1", "USD", quantity=Decimal(1), quantity_unit="a"), paid("2", "usd")]
    whole = total(CostsResult, bucket(0, *made))
    assert (whole.amount, whole.quantity) == (paid("3", "usd").amount, 1)


@pytest.mark.parametrize(
    ("amounts", "whole"),
    [
        pytest.param([("1", "usd"), ("0", "eur")], paid("1", "usd"), id="zero"),
        pytest.param([("0", "eur"), ("1", "usd")], paid("1", "usd"), id="zero first"),
        pytest.param(
            [("5", "eur"), ("1", "usd"), ("-5", "eur")], paid("1", "usd"), id="a sum of zero"
        ),
        pytest.param([("0", "usd"), ("0", "eur")], paid("0", "eur"), id="only zeros"),
        pytest.param([("0", "usd")], paid("0", "usd"), id="nothing but a zero"),
    ],
)
def test_an_amount_of_zero_adds_nothing_to_another_currency(amounts, whole):
    made = [
        paid(value, currency, quantity=Decimal(2), quantity_unit="tokens")
        for value, currency in amounts
    ]
    sums = summed(CostsResult, bucket(0, *made))
    assert sums.total() == attrs.evolve(
        whole, quantity=Decimal(2 * len(made)), quantity_unit="tokens"
    )
    assert {row.amount.currency for row in sums.groups()} == {name for _, name in amounts}


def test_an_amount_of_zero_does_not_hide_that_two_others_have_no_sum():
    made = [paid("0", "chf"), paid("1", "usd"), paid("1", "eur")]
    with pytest.raises(MixedCurrencyError) as error:
        total(CostsResult, bucket(0, *made))
    assert error.value.currencies == ("eur", "usd")


def test_free_and_paid_groups_rank_together():
    made = [CostsResult(line_item="a"), paid("0", line_item="b"), paid("-1", line_item="c")]
    groups = summed(CostsResult, bucket(0, *made), by=["line_item"]).groups()
    assert [row.line_item for row in groups] == ["a", "b", "c"]


def test_quantities_follow_their_currency_and_free_ones_are_kept():
    made = [
        paid("1", "usd", quantity=Decimal(1), quantity_unit="tokens"),
        paid("2", "eur", quantity=Decimal(2), quantity_unit="images"),
    ]
    groups = summed(CostsResult, bucket(0, *made)).groups()
    assert [(row.quantity, row.quantity_unit) for row in groups] == [(2, "images"), (1, "tokens")]
    # A free row belongs to no currency: it must not be added to each of them.
    unpaid = CostsResult(quantity=Decimal(4), quantity_unit="tokens")
    groups = summed(CostsResult, bucket(0, *made, unpaid)).groups()
    assert [(row.quantity, row.quantity_unit) for row in groups] == [
        (2, "images"),
        (1, "tokens"),
        (4, "tokens"),
    ]
    assert groups[-1].amount is None
    free = CostsResult(quantity=Decimal(4), quantity_unit="tokens")
    whole = total(CostsResult, bucket(0, made[0], free))
    assert (whole.quantity, whole.quantity_unit) == (5, "tokens")
    whole = total(CostsResult, bucket(0, free))
    assert (whole.amount, whole.quantity) == (None, 4)


# Notes, unknown dimensions, unknown kinds


def test_a_note_is_kept_where_all_rows_agree():
    made = [
        paid("1", project_id="p", project_name="One", organization_name="Org"),
        paid("2", project_id="p", project_name="Renamed", organization_name="Org"),
        paid("3", project_id="p", project_name="One"),
    ]
    (row,) = summed(CostsResult, bucket(0, *made), by=["project_id"]).groups()
    assert (row.project_name, row.organization_name) == (None, "Org")


def test_a_name_is_kept_only_in_the_sum_of_what_it_names():
    made = [
        paid("1", project_id="p", project_name="A", organization_name="Org"),
        paid("2", project_id="p"),
        paid("4", project_id=None, project_name="B", user_email="a@b"),
        paid("8", project_id="q", organization_name=None),
    ]
    whole = total(CostsResult, bucket(0, *made))
    assert whole == paid("15", organization_name="Org")
    groups = summed(CostsResult, bucket(0, *made), by=["project_id"]).groups()
    assert [(row.project_id, row.project_name, row.user_email) for row in groups] == [
        ("q", None, None),
        (None, None, None),
        ("p", "A", None),
    ]
    assert total(CostsResult, bucket(0, paid("1", project_name="A"), paid("2"))) == paid("3")


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("user_email", "a@b", "c@d"),
        ("project_name", "A", None),
        ("organization_id", "o", "p"),
        ("organization_name", "O", None),
        ("quantity_unit", "tokens", "images"),
        ("quantity_unit", "tokens", None),
    ],
)
def test_a_note_that_is_asked_for_as_a_group_keeps_rows_apart(name, first, second):
    made = [
        paid(value, quantity=Decimal(value), line_item="x", **{name: note})
        for value, note in (("1", first), ("5", second), ("2", first))
    ]
    groups = summed(CostsResult, bucket(0, *made), by=[name, "new"]).groups()
    assert [(getattr(row, name), row.amount.value) for row in groups] == [(second, 5), (first, 3)]
    assert [row.extra for row in groups] == [Extra({"new": None})] * 2
    assert [row.quantity for row in groups] == [5, 3]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (UsageCompletionsResult, "input_tokens"),
        (UsageVectorStoresResult, "usage_bytes"),
        (CostsResult, "amount"),
        (CostsResult, "quantity"),
    ],
)
def test_a_figure_is_no_group(kind, name):
    with pytest.raises(QueryError, match=f"'{name}' is a metric"):
        summed(kind, by=[name])


@pytest.mark.parametrize("kind", [UsageCompletionsResult, CostsResult])
def test_sums_of_a_large_bucket_are_made_in_steps(kind):
    if kind is CostsResult:
        made = [paid(n, line_item=str(n)) for n in range(3500)]
    else:
        made = [tokens(n, model=str(n)) for n in range(3500)]
    (dimension,) = {"model", "line_item"} & {a.name for a in fields_of(kind)}
    (measure,) = {e.measure for e in ENDPOINTS.values() if e.result_class is kind}
    totals = Totals(kind, measure, [dimension], as_of=LATER)
    assert len(list(totals.add_in_steps(bucket(0, *made)))) == 3
    assert len(list(totals.groups_in_steps())) == 4
    groups = totals.groups()
    assert groups == summed(kind, bucket(0, *made), by=[dimension]).groups()
    assert [getattr(row, dimension) for row in groups[:2]] == ["3499", "3498"]


def test_a_dimension_that_this_release_does_not_know_is_kept_in_extra():
    made = [
        tokens(count, extra=Extra({"team": team})) for count, team in ((1, "x"), (2, "y"), (4, "x"))
    ]
    groups = summed(UsageCompletionsResult, bucket(0, *made), by=["model", "team"]).groups()
    assert [(row.extra, row.input_tokens) for row in groups] == [
        (Extra({"team": "x"}), 5),
        (Extra({"team": "y"}), 2),
    ]


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(
            bucket(3, tokens(1), other_results=(UnknownResult(object="new"),)),
            id="unknown among others",
        ),
        pytest.param(
            bucket(3, other_results=(stored(1), UnknownResult(object="new"))),
            id="of another endpoint",
        ),
    ],
)
def test_rows_of_another_kind_have_no_sum(one):
    totals = Totals(UsageCompletionsResult, "input_tokens", as_of=LATER)
    totals.add(bucket(0))
    with pytest.raises(IncompleteError, match=r"starts at .* holds rows of another kind") as error:
        totals.add(one)
    assert error.value.differing == (START + 3 * DAY,)
    assert "completions" not in str(error.value)


def test_of_an_unknown_endpoint_nothing_can_be_added():
    with pytest.raises(IncompleteError, match="how to add up results of an unknown kind"):
        Totals(UnknownResult, "", as_of=LATER)


@settings(max_examples=10)
@given(st.lists(coarse(UsageCompletionsResult), min_size=1, max_size=6))
def test_every_pair_of_dimensions_splits_the_same_whole(results):
    whole = total(UsageCompletionsResult, bucket(0, *results))
    for pair in combinations(ENDPOINTS["completions"].group_by, 2):
        groups = summed(UsageCompletionsResult, bucket(0, *results), by=pair).groups()
        again = total(UsageCompletionsResult, bucket(0, *groups))
        assert again == whole
