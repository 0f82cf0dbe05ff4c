"""Rows of snapshots: one of each group, with exact figures."""

from decimal import Decimal
from typing import Any

import pytest
from collecting import START, cost, usage
from hypothesis import given
from hypothesis import strategies as st

from usage_async import ENDPOINTS, UsageTimeBucket, arrow_schema
from usage_async._codec.columns import Columns
from usage_async._sums.totals import Totals, add
from usage_async.collect.rows import dimensions_of, figures_of, summed_rows
from usage_async.errors import UsageError

HOUR = 3600
MOST = 2**63 - 1
COSTS: Any = ENDPOINTS["costs"].result_class
COMPLETIONS: Any = ENDPOINTS["completions"].result_class


def bucket(*rows, number=0):
    start = START + number * HOUR
    return UsageTimeBucket(start_time=start, end_time=start + HOUR, results=rows)


def table_of(kind, *buckets):
    """A table as the pages of a run make it, each bucket in a chunk of its own."""
    columns = Columns(kind, exact=True)
    return columns.table([columns.store([each]) for each in buckets], {})


def summed(kind, *rows):
    table, rounded = summed_rows(table_of(kind, bucket(*rows)), kind)
    assert table.schema == arrow_schema(_name(kind), exact=True)
    return table.to_pylist(), rounded


def _name(kind):
    return next(name for name, each in ENDPOINTS.items() if each.result_class is kind)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_dimensions_and_figures_are_columns_and_none_is_both(name):
    kind: Any = ENDPOINTS[name].result_class
    columns = {*arrow_schema(name).names}
    dimensions, figures = dimensions_of(kind), figures_of(kind)
    assert {*dimensions, *figures} <= columns
    assert not {*dimensions} & {*figures}
    assert {*ENDPOINTS[name].group_by} <= {*dimensions}
    assert "extra" in dimensions
    assert ("currency" in dimensions) == (name == "costs")


def test_rows_that_differ_are_kept_as_they_are():
    table = table_of(COMPLETIONS, bucket(usage(1, model="a"), usage(2)), bucket(usage(3), number=1))
    made, rounded = summed_rows(table, COMPLETIONS)
    assert made.equals(table)
    assert rounded == 0


def test_a_table_without_rows_stays_one():
    for kind in (COMPLETIONS, COSTS):
        for table in (table_of(kind), table_of(kind, bucket())):
            made, rounded = summed_rows(table, kind)
            assert (made.num_rows, made.schema, rounded) == (0, table.schema, 0)


def test_rows_with_equal_dimensions_are_added():
    rows, _ = summed(
        COMPLETIONS,
        usage(1, 10, model="a", input_cached_tokens=5),
        usage(2, 20),
        usage(3, 30, model="a"),
        usage(4, 40, model="", batch=True),
        usage(5, 50, model="a"),
    )
    found = [
        (row["model"], row["num_model_requests"], row["input_tokens"], row["input_cached_tokens"])
        for row in rows
    ]
    assert found == [("a", 9, 90, 5), (None, 2, 20, None), ("", 4, 40, None)]


def test_rows_of_different_buckets_are_not_added():
    made, _ = summed_rows(
        table_of(COMPLETIONS, bucket(usage(1), usage(2)), bucket(usage(3), number=1)), COMPLETIONS
    )
    assert made["num_model_requests"].to_pylist() == [3, 3]


def test_rows_of_several_pages_are_added():
    page, more = bucket(usage(1, model="a"), usage(2, model="b")), bucket(usage(3, model="b"))
    made, _ = summed_rows(table_of(COMPLETIONS, page, more), COMPLETIONS)
    found = zip(made["model"].to_pylist(), made["num_model_requests"].to_pylist(), strict=True)
    assert [*found] == [("a", 1), ("b", 5)]


def test_a_sum_that_no_column_holds_is_an_error_that_names_its_bucket():
    with pytest.raises(UsageError, match=f"input_tokens of the bucket .*2026-06-01.* {MOST + 1}"):
        summed(COMPLETIONS, usage(1, MOST), usage(1, 1))
    rows, _ = summed(COMPLETIONS, usage(1, MOST), usage(1, -1))
    assert rows[0]["input_tokens"] == MOST - 1
    with pytest.raises(UsageError, match="amount of the bucket"):
        summed(COSTS, cost("99999999999999999999"), cost("1"))


def test_currencies_are_lowercase_and_are_kept_apart():
    rows, _ = summed(COSTS, cost("1", "USD"), cost("2", "usd"), cost("3", "eur"), cost(None))
    found = [(row["currency"], row["amount"]) for row in rows]
    assert found == [("usd", Decimal(3)), ("eur", Decimal(3)), (None, None)]


def test_currencies_of_several_pages_are_lowercase():
    pages = [
        bucket(cost("1", "USD", project_id="a"), cost("1", "EUR")),
        bucket(cost("1", "Eur"), cost("5", "usd", project_id="a"), cost(None, project_id="b")),
    ]
    made, _ = summed_rows(table_of(COSTS, *pages), COSTS)
    found = {(row["project_id"], row["currency"]): row["amount"] for row in made.to_pylist()}
    assert found == {("a", "usd"): 6, (None, "eur"): 2, ("b", None): None}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"quantity_unit": "tokens"}, [Decimal(3)]),
        ({"line_item": "x"}, [Decimal(3)]),
        ({"line_item": ""}, [Decimal(3)]),
        ({}, [None]),
    ],
    ids=str,
)
def test_quantities_are_added_within_one_unit(fields, expected):
    rows, _ = summed(COSTS, cost("1", quantity="1", **fields), cost("1", quantity="2", **fields))
    assert [row["quantity"] for row in rows] == expected
    assert [row["amount"] for row in rows] == [Decimal(2)]


def test_quantities_of_two_units_are_kept_apart():
    rows, _ = summed(
        COSTS,
        cost("1", quantity="1", quantity_unit="tokens"),
        cost("1", quantity="2", quantity_unit="images"),
        cost("1", quantity="4"),
    )
    assert [row["quantity"] for row in rows] == [1, 2, 4]


def test_rows_with_other_unknown_fields_are_kept_apart():
    rows, _ = summed(COSTS, cost("1", extra={"region": "a"}), cost("2", extra={"region": "b"}))
    assert [row["amount"] for row in rows] == [1, 2]
    rows, _ = summed(COSTS, cost("1", extra={"region": "a"}), cost("2", extra={"region": "a"}))
    assert [row["amount"] for row in rows] == [3]


def test_of_notes_the_first_is_kept():
    rows, _ = summed(
        COSTS,
        cost("1", project_id="p"),
        cost("1", project_id="p", project_name="A"),
        cost("1", project_id="p", project_name="B"),
    )
    assert [row["project_name"] for row in rows] == ["A"]


def test_digits_are_kept_of_what_is_rounded_alone():
    rows, rounded = summed(
        COSTS,
        cost("0.1234567890123456785", project_id="a", quantity="1"),
        cost("0.123456789012345678", project_id="b", quantity="0.0000000000000000001"),
        cost("1", project_id="c"),
    )
    found = [(row["amount_exact"], row["quantity_exact"]) for row in rows]
    assert found == [
        ("0.1234567890123456785", None),
        (None, "0.0000000000000000001"),
        (None, None),
    ]
    assert rounded == 2
    assert rows[0]["amount"] == Decimal("0.123456789012345678")  # half to even


def test_a_sum_of_rounded_figures_is_exact():
    tiny = "0.00000000000000000005"
    rows, rounded = summed(COSTS, *[cost(tiny) for _ in range(20)])
    assert [(row["amount"], row["amount_exact"]) for row in rows] == [
        (Decimal("0.000000000000000001"), None)
    ]
    assert rounded == 0
    rows, rounded = summed(COSTS, cost(tiny), cost("1"))
    assert [(row["amount"], row["amount_exact"]) for row in rows] == [(1, f"1{tiny[1:]}")]
    assert rounded == 1


AMOUNTS = st.decimals(
    min_value=-(10**9), max_value=10**9, allow_nan=False, allow_infinity=False
).map(lambda value: format(value, "f"))
COST_ROWS = st.builds(
    cost,
    st.none() | AMOUNTS,
    st.sampled_from(["usd", "USD", "eur"]),
    project_id=st.sampled_from([None, "", "p"]),
    line_item=st.sampled_from([None, "x"]),
)
USAGE_ROWS = st.builds(
    usage,
    st.integers(0, MOST // 10),
    st.integers(0, MOST // 10),
    model=st.sampled_from([None, "", "m"]),
    batch=st.sampled_from([None, True, False]),
    input_cached_tokens=st.none() | st.integers(0, 100),
)


@given(pages=st.lists(st.lists(COST_ROWS | st.nothing(), max_size=6), min_size=1, max_size=3))
def test_rows_of_costs_add_up_to_the_sums_of_a_query(pages):
    table, _ = summed_rows(table_of(COSTS, *(bucket(*rows) for rows in pages)), COSTS)
    dimensions = ("project_id", "line_item")
    sums: Any = Totals(COSTS, "amount", dimensions, as_of=START + 10 * HOUR)
    sums.add(bucket(*(row for rows in pages for row in rows)))
    expected = {
        (row.project_id, row.line_item, row.amount.currency): row.amount.value
        for row in sums.groups()
        if row.amount is not None and row.amount.value
    }
    found: dict[Any, Decimal] = {}
    keys = []
    for row in table.to_pylist():
        keys.append(tuple(row[name] for name in dimensions_of(COSTS)))
        if row["amount"] is not None:
            key = (row["project_id"], row["line_item"], row["currency"])
            found[key] = add(
                found.get(key, Decimal(0)), Decimal(row["amount_exact"] or row["amount"])
            )
    assert {key: value for key, value in found.items() if value} == expected
    assert len({*keys}) == len(keys)


@given(pages=st.lists(st.lists(USAGE_ROWS, max_size=6), min_size=1, max_size=3))
def test_rows_of_usage_add_up_to_the_sums_of_a_query(pages):
    rows = [row for page in pages for row in page]
    table, _ = summed_rows(table_of(COMPLETIONS, *(bucket(*page) for page in pages)), COMPLETIONS)
    sums: Any = Totals(COMPLETIONS, "input_tokens", ("model", "batch"), as_of=START + 10 * HOUR)
    sums.add(bucket(*rows))
    names = ("model", "batch", *figures_of(COMPLETIONS))

    def ordered(found):
        return sorted(found, key=str)

    assert ordered(tuple(row[name] for name in names) for row in table.to_pylist()) == ordered(
        tuple(getattr(row, name) for name in names) for row in sums.groups()
    )


def test_the_rows_of_a_level_are_added_within_a_bucket():
    kind: Any = ENDPOINTS["vector_stores"].result_class
    rows = [kind(usage_bytes=5), kind(usage_bytes=7), kind(usage_bytes=1, project_id="p")]
    made, _ = summed(kind, *rows)
    assert [row["usage_bytes"] for row in made] == [12, 1]


def test_texts_stay_texts_of_a_dictionary():
    pages = [bucket(usage(1, model=name), usage(2, model=name)) for name in "abc"]
    made, _ = summed_rows(table_of(COMPLETIONS, *pages), COMPLETIONS)
    assert made["model"].to_pylist() == ["a", "b", "c"]
    assert made.schema == arrow_schema("completions", exact=True)
