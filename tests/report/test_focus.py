"""Charges of FOCUS: every row of costs in its columns, as the specification wants them."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import sample

from usage_async import IncompleteError, QueryError, UnknownResult, UsageTimeBucket
from usage_async._sums.totals import Totals
from usage_async.report import focus
from usage_async.report.focus import COLUMNS, GROUPING, Charges, check_query

from .conftest import DAY, START, cost

FACTS = json.loads(sample("focus"))
SPEC = FACTS["1.2"]
KINDS = {"String": "text", "JSON": "text", "Decimal": "decimal", "Date/Time": "time"}
WEEK = 7 * DAY
OF = {"organization_id": "org-1", "organization_name": "Example", "project_id": "proj_1"}


def day(*rows, start=START, others=()):
    return UsageTimeBucket(
        start_time=start, end_time=start + DAY, results=rows, other_results=others
    )


def charges(*buckets, by=GROUPING, as_of=START + WEEK):
    return Charges(by, as_of=as_of, settled_before=as_of - 3 * DAY).rows(buckets)


def charge(amount="1", **fields):
    (row,) = charges(day(cost(amount, **{**OF, **fields})))
    return row


# The table of columns


def test_every_column_is_one_of_the_specification_or_says_that_it_is_ours():
    assert {name: kind for name, kind in COLUMNS.items() if not name.startswith("x_")} == {
        name: KINDS[SPEC[name]["data_type"]] for name in COLUMNS if not name.startswith("x_")
    }
    assert [name for name in COLUMNS if name.startswith("x_")] == FACTS["x_"]
    assert list(COLUMNS)[-len(FACTS["x_"]) :] == FACTS["x_"]


def test_every_mandatory_column_is_there():
    mandatory = {name for name, rule in SPEC.items() if rule["feature_level"] == "Mandatory"}
    assert mandatory <= set(COLUMNS)


def test_the_guide_has_every_column_of_the_specification_and_those_that_are_left_out_apart():
    has, out = focus.__doc__.split("Columns that are left out")
    left_out, ours = out.split("Columns of our own")
    named = [set(re.findall(r"`(\w+)`", text)) for text in (has, left_out, ours)]
    assert named[0] & set(SPEC) == set(COLUMNS) - set(FACTS["x_"])
    assert named[1] == set(SPEC) - set(COLUMNS)
    assert set(FACTS["x_"]) <= named[2]


# Rows

_texts = st.none() | st.sampled_from(["", " ", "a", "gpt-5, input", "chat-latest , input", "=1+1"])
_costs = st.builds(
    cost,
    st.none() | st.decimals(allow_nan=False, allow_infinity=False).map(lambda d: f"{d:.25E}"),
    st.sampled_from(["usd", "EUR"]),
    quantity=st.none() | st.decimals(-9, 10**9, allow_nan=False),
    quantity_unit=_texts | st.sampled_from(["tokens", "1000_tokens", "images"]),
    line_item=_texts,
    project_id=_texts,
    project_name=_texts,
    organization_id=_texts,
)


@given(st.lists(st.lists(_costs, max_size=4), max_size=3))
def test_whatever_is_billed_keeps_the_rules_and_the_sum(days):
    first = day(cost("1", **OF))
    buckets = [day(*rows, start=START + n * DAY) for n, rows in enumerate(days, 1)]
    rows = list(charges(first, *buckets))
    sums = Totals(type(first.results[0]), "amount", (), as_of=START)
    for bucket in (first, *buckets):
        sums.add(bucket)
    for total in sums.groups():
        if total.amount is not None:
            of = [row for row in rows if row["BillingCurrency"] == total.amount.currency.upper()]
            for name in focus.COSTS_COLUMNS:
                found = Totals(type(total), "amount", (), as_of=START)
                found.add(day(*(cost(str(row[name]), total.amount.currency) for row in of)))
                assert found.total().amount == total.amount
    for row in rows:
        assert set(row) == set(COLUMNS)
        assert not [name for name in COLUMNS if row[name] == ""]
        named = [name for name in SPEC if name in COLUMNS and not SPEC[name]["allows_nulls"]]
        assert not [name for name in named if row[name] is None]
        for quantity, unit in (
            ("ConsumedQuantity", "ConsumedUnit"),
            ("PricingQuantity", "PricingUnit"),
        ):
            assert (row[quantity] is None) == (row[unit] is None)
            assert row[quantity] is None or row["SkuPriceId"] is not None
        assert (row["SubAccountId"] is None) == (row["SubAccountType"] is None)
        assert (row["SkuId"] is None) == (row["SkuMeter"] is None)
        assert row["SkuPriceDetails"] is None or set(json.loads(row["SkuPriceDetails"])) <= {
            "x_ModelId",
            "x_TokenType",
        }


def test_what_is_the_same_in_every_row_is_as_the_specification_names_it():
    assert FACTS["always"].items() <= charge().items()
    assert (charge()["ChargeClass"], charge()["InvoiceId"]) == (None, None)


def test_a_row_tells_its_day_and_the_month_of_its_bill():
    december = int(datetime(2026, 12, 31, tzinfo=UTC).timestamp())
    (row,) = charges(day(cost("1"), start=december))
    assert row["ChargePeriodStart"] == december
    assert row["ChargePeriodEnd"] == december + DAY
    assert row["BillingPeriodStart"] == int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert row["BillingPeriodEnd"] == int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def test_a_day_tells_from_when_on_it_is_settled_once_it_is():
    days = [day(cost("1"), start=START + n * DAY) for n in range(3)]
    settled = [row["x_SettledAt"] for row in charges(*days, as_of=START + 5 * DAY)]
    assert settled == [START + 4 * DAY, START + 5 * DAY, None]


def test_rows_of_one_line_item_are_added_and_a_credit_is_negative_usage():
    rows = [cost(amount, **OF, line_item="a") for amount in ("0.1", "-0.300000000000000000001")]
    (row,) = charges(day(*rows))
    assert {row[name] for name in focus.COSTS_COLUMNS} == {Decimal("-0.200000000000000000001")}
    assert row["ChargeCategory"] == "Usage"


def test_currencies_stay_apart_and_are_in_capitals():
    rows = charges(day(cost("1", "eur", **OF), cost("2", "usd", **OF)))
    assert [(row["BillingCurrency"], row["BilledCost"]) for row in rows] == [("EUR", 1), ("USD", 2)]


@pytest.mark.parametrize(
    ("line_item", "unit", "meter", "token"),
    [
        ("gpt-5.2, input", "tokens", "Input Tokens", "Input"),
        ("gpt-5.2 , output", "tokens", "Output Tokens", "Output"),
        ("gpt-5.2, cached input", "1000_tokens", "Cache Read Input Tokens", "CacheRead"),
        ("gpt-5.2, cache write", "tokens", "Cache Write Input Tokens", "CacheWrite"),
        ("gpt-5.2, cache write 12h", "tokens", "Cache Write Input Tokens", "CacheWrite"),
        ("gpt-5.2, input_tokens", "tokens", "Input Tokens", "Input"),
        ("gpt-5.2, cached_input_tokens", None, "Cache Read Input Tokens", "CacheRead"),
        ("gpt-audio, audio input", "tokens", "audio input", None),
        ("gpt-image, input", "images", "input", None),
        ("dall-e-3, images", "images", "images", None),
    ],
)
def test_a_meter_is_derived_from_the_line_item(line_item, unit, meter, token):
    row = charge(line_item=line_item, quantity_unit=unit, quantity=Decimal(1))
    details = json.loads(row["SkuPriceDetails"])
    assert row["SkuMeter"] == meter
    assert details.pop("x_ModelId") == line_item.partition(",")[0].strip()
    assert details == ({"x_TokenType": token} if token else {})
    if token:
        assert meter in FACTS["draft_1.5_ai"]["SkuMeter"]
        assert token in FACTS["draft_1.5_ai"]["TokenType"]


def test_a_line_item_without_a_model_is_its_own_meter():
    row = charge(line_item=" web search tool calls")
    assert row["ChargeDescription"] == row["x_LineItem"] == " web search tool calls"
    assert row["SkuMeter"] == row["SkuId"] == "web search tool calls"
    assert row["SkuPriceDetails"] is None


def test_spellings_of_a_line_item_have_one_sku_and_different_ones_have_two():
    spellings = ("gpt-6, input", "gpt-6 , input", "gpt-6, input_tokens")
    skus = {charge(line_item=each, **more)["SkuPriceId"] for each in spellings for more in ({}, OF)}
    assert len(skus) == 1
    others = ("gpt-6, output", "gpt-6, cache write", "gpt-6, cache write 12h", "gpt-6")
    assert len({charge(line_item=each)["SkuId"] for each in others} | skus) == 5


_QUANTITY = "1234567.000000000000000000000001"


@pytest.mark.parametrize(
    ("unit", "consumed", "priced", "quantity"),
    [
        ("tokens", "Tokens", "1000000 Tokens", "1.234567000000000000000000000001"),
        ("1000_tokens", "1000 Tokens", "1000000 Tokens", "1234.567000000000000000000000001"),
        ("gibibyte_hours", "GiB-Hours", "GiB-Hours", _QUANTITY),
        ("duration_minutes", "Minutes", "Minutes", _QUANTITY),
        ("calls", "calls", "calls", _QUANTITY),
    ],
)
def test_a_quantity_is_consumed_and_priced_in_its_unit(hostile, unit, consumed, priced, quantity):
    row = charge(line_item="a, b", quantity=Decimal(_QUANTITY), quantity_unit=unit)
    assert (str(row["ConsumedQuantity"]), row["ConsumedUnit"]) == (_QUANTITY, consumed)
    assert (str(row["PricingQuantity"]), row["PricingUnit"]) == (quantity, priced)
    if "okens" in unit:
        assert priced == FACTS["draft_1.5_ai"]["PricingUnit"]
        assert consumed.endswith(FACTS["draft_1.5_ai"]["ConsumedUnit"])


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": Decimal(30), "line_item": "gpt-5, input"},
        {"quantity": Decimal(30), "quantity_unit": "tokens"},
        {"quantity_unit": "tokens", "line_item": "gpt-5, input"},
    ],
)
def test_a_quantity_without_unit_or_line_item_is_left_out(fields):
    row = charge(**fields)
    names = ("ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit")
    assert {row[name] for name in names} == {None}


def test_what_one_row_lacks_comes_from_those_beside_and_before():
    rows = charges(
        day(cost("1", project_id="p", line_item="a")),
        day(cost("1", organization_name="Example"), start=START + DAY),
        day(cost("1", organization_id="org-1", project_id="p", project_name="Web"), start=START),
    )
    found = [
        (row["BillingAccountId"], row["BillingAccountName"], row["SubAccountName"]) for row in rows
    ]
    assert found == [
        ("org-1", "Example", "Web"),
        ("org-1", "Example", None),
        ("org-1", "Example", "Web"),
    ]


def test_organizations_are_not_mixed_up():
    one, two = {"organization_id": "org-1"}, {"organization_id": "org-2"}
    rows = charges(
        day(
            cost("1", **one, organization_name="One", line_item="a"),
            cost("1", **two, line_item="b"),
            cost("1", **one, line_item="c"),
        )
    )
    assert [(row["BillingAccountId"], row["BillingAccountName"]) for row in rows] == [
        ("org-1", "One"),
        ("org-2", None),
        ("org-1", "One"),
    ]


def test_rows_without_an_amount_or_an_organization_are_told():
    made = Charges(GROUPING, as_of=START + WEEK, settled_before=START)
    assert list(made.notices()) == []
    first = day(cost(None, line_item="a", quantity=Decimal(3)), cost("1", line_item="b"))
    assert len(list(made.rows([first, day(cost("1"), start=START + DAY)]))) == 2
    left_out, no_account = made.notices()
    assert (left_out.code, left_out.starts) == ("left-out", (START,))
    assert left_out.message.startswith("1 row without an amount left out")
    assert (no_account.code, no_account.starts) == ("no-account", (START, START + DAY))
    assert no_account.message.startswith("2 rows without an organization id")


def test_further_dimensions_have_columns_of_their_own():
    by = (*GROUPING, "user_id", "api_key_id", "api_source")
    fields = {"user_id": "user-1", "api_key_id": "key_1", "api_source": "agents_api"}
    rows = list(charges(day(cost("1", **OF, **fields), cost("2", **OF)), by=by))
    assert [row["BilledCost"] for row in rows] == [2, 1]
    assert [rows[1][name] for name in ("x_UserId", "x_ApiKeyId", "x_ApiSource")] == list(
        fields.values()
    )


def test_the_order_of_rows_does_not_depend_on_the_reply():
    rows = [cost(str(n), project_id=f"p{n % 3}", line_item=f"l{n}") for n in range(1, 7)]
    assert list(charges(day(*rows))) == list(charges(day(*rows[::-1])))


def test_rows_of_another_kind_are_an_error():
    other = UnknownResult(object="new")
    with pytest.raises(IncompleteError):
        list(charges(day(others=(other,))))


@pytest.mark.parametrize(
    ("endpoint", "by", "says"),
    [
        (
            "completions",
            GROUPING,
            r"write client.costs\(..., group_by=\['project_id', 'line_item'\]",
        ),
        ("costs", (), "by project and line item"),
        ("costs", ("project_id",), "by project and line item"),
        ("costs", (*GROUPING, "team"), "has no column for team"),
    ],
)
def test_another_query_is_refused_with_what_to_write(endpoint, by, says):
    with pytest.raises(QueryError, match=says) as error:
        check_query(endpoint, by)
    assert "\n" not in str(error.value)
    check_query("costs", (*GROUPING, "user_id"))
