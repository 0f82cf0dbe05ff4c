"""Results: what they hold, what they refuse, and that they stay as they are."""

import decimal
import pickle
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import (
    HOSTILE,
    KINDS,
    SPEC,
    SPEC_FILE,
    every_kind,
    pages,
)

from usage_async import (
    ENDPOINTS,
    CostsResult,
    CostsResultAmount,
    DerivedLineItem,
    Notice,
    UsageEmbeddingsResult,
    UsageImagesResult,
    UsageModerationsResult,
    UsageResult,
    UsageRow,
    UsageVectorStoresResult,
)
from usage_async._api.exact import exact_decimal
from usage_async._api.fields import fields_of


@every_kind
@given(data=st.data())
def test_values_hash_as_they_compare_and_survive_a_pickle(kind, data):
    page = data.draw(pages(kind))
    copy = pickle.loads(pickle.dumps(page))
    assert copy == page
    assert hash(copy) == hash(page)
    assert len({copy, page}) == 1


@every_kind
def test_values_are_frozen_and_have_no_room_for_more(kind):
    fields = {
        "object": "some",
        **{a.name: 1 for a in fields_of(kind) if a.default is attrs.NOTHING},
    }
    value = kind(**fields)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.object = "another"
    assert not hasattr(value, "__dict__")
    with pytest.raises(TypeError):
        kind(*fields.values())


def test_the_flat_row_has_every_field_of_every_result():
    fields = {a.name for kind in KINDS for a in fields_of(kind)}
    extra = {"start_time", "end_time", "currency"}
    assert {a.name for a in fields_of(UsageRow)} == fields | extra


@pytest.mark.parametrize("name", SPEC["results"])
def test_every_field_of_the_specification_is_there_and_no_metric_besides(name):
    (kind,) = [endpoint.result_class for endpoint in ENDPOINTS.values() if endpoint.object == name]
    seen = {"organization_id", "organization_name", "project_name", "user_email"}
    ours = {a.name for a in fields_of(kind)} - seen - {"object", "extra"}
    assert ours == set(SPEC["results"][name]) - {"object"}, SPEC_FILE


def test_the_amounts_value_is_zero_where_nothing_was_billed():
    amount = CostsResultAmount(value=Decimal("1.5"), currency="usd")
    assert CostsResult(amount=amount).amount_value == Decimal("1.5")
    assert CostsResult().amount_value == Decimal(0)
    assert "`amount_value`" in CostsResult.__doc__


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param("0.06", "0.06", id="plain"),
        pytest.param("0.000004500000000000000000000000000000000", "0.0000045", id="40 digits"),
        pytest.param("0E-6176", "0", id="zero of a decimal128"),
        pytest.param("-0", "0", id="negative zero"),
        pytest.param("-1.50", "-1.5", id="a credit"),
        pytest.param("1E+2", "100", id="a whole number with an exponent"),
        pytest.param("100.00", "100", id="a whole number with a fraction"),
        pytest.param("1E+308", "1" + 308 * "0", id="the largest double"),
        pytest.param("1E-6176", "1E-6176", id="the smallest decimal128"),
        pytest.param("9" * 9000 + "E-9000", "0." + 9000 * "9", id="more digits than anyone sends"),
    ],
)
def test_an_amount_is_kept_exactly_and_unpadded(value, kept):
    with decimal.localcontext(HOSTILE):
        made = CostsResultAmount(value=Decimal(value), currency="usd")
        quantity = CostsResult(quantity=Decimal(value)).quantity
    assert made.value == Decimal(value)
    assert str(made.value) == str(quantity) == kept


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        pytest.param(Decimal("NaN"), ValueError, "plain finite decimal, got NaN", id="nan"),
        pytest.param(Decimal("sNaN"), ValueError, "got sNaN", id="signalling nan"),
        pytest.param(Decimal("Infinity"), ValueError, "got Infinity", id="infinity"),
        pytest.param(Decimal("-Infinity"), ValueError, "got -Infinity", id="minus infinity"),
        pytest.param(Decimal("1E+309"), ValueError, r"got 1E\+309", id="beyond a double"),
        pytest.param(Decimal("1E-6177"), ValueError, "got 1E-6177", id="below a decimal128"),
        pytest.param(0.1, TypeError, "expected a Decimal, got float", id="float"),
        pytest.param("0.1", TypeError, "expected a Decimal, got str", id="text"),
        pytest.param(True, TypeError, "expected a Decimal, got bool", id="bool"),
    ],
)
def test_what_is_no_exact_amount_is_refused(value, error, match):
    for make in (
        lambda: exact_decimal(value),
        lambda: CostsResultAmount(value=value, currency="usd"),
        lambda: CostsResult(quantity=value),
    ):
        with pytest.raises(error, match=match):
            make()


@pytest.mark.parametrize(
    ("line_item", "model", "direction"),
    [
        pytest.param("gpt-4o-mini, input", "gpt-4o-mini", "input", id="model and direction"),
        pytest.param("gpt-5, cached input", "gpt-5", "cached input", id="two words"),
        pytest.param("chat-latest , input", "chat-latest", "input", id="a blank too many"),
        pytest.param("a, b, output", "a, b", "output", id="a comma in the model"),
        pytest.param("web search tool calls", None, None, id="a plain name"),
        pytest.param(", input", None, None, id="no model"),
        pytest.param("", None, None, id="empty"),
        pytest.param(None, None, None, id="none"),
    ],
)
def test_a_line_item_is_read_leniently_and_kept_as_sent(line_item, model, direction):
    row = CostsResult(line_item=line_item)
    assert row.derived_line_item == DerivedLineItem(model, direction)
    assert row.line_item == line_item


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Notice(code="clamped", message="text", starts=(1,)), id="notice"),
        pytest.param(DerivedLineItem("gpt-5", "input"), id="line item"),
        pytest.param(UsageImagesResult(images=1, num_model_requests=1), id="result"),
        pytest.param(UsageVectorStoresResult(usage_bytes=1), id="level"),
    ],
)
def test_small_values_are_hashable_and_pickle(value):
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(value) == hash(attrs.evolve(value))


def test_a_row_equals_no_row_of_another_kind_and_nothing_else():
    one = UsageEmbeddingsResult(input_tokens=1, num_model_requests=1)
    other = UsageModerationsResult(input_tokens=1, num_model_requests=1)
    assert one != other
    assert one != (1, 1)
    assert one == UsageEmbeddingsResult(input_tokens=1, num_model_requests=1)


def test_every_result_is_a_usage_result():
    assert all(issubclass(kind, UsageResult) for kind in KINDS)
