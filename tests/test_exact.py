"""Exact decimals, unknown fields, and the text that values are shown as."""

import datetime as dt
import decimal
import json
import pickle
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values import (
    HOSTILE,
    PUBLIC,
    amounts,
    any_of,
    extras,
    json_values,
    name_of,
    rows,
)

import usage_async
from usage_async import (
    CostsResult,
    CostsResultAmount,
    Extra,
    UnknownResult,
    UsageCompletionsResult,
    UsageRow,
    UsageTimeBucket,
)
from usage_async._api.exact import NO_EXTRA, exact_decimal, plain

TOKENS = UsageCompletionsResult(input_tokens=1, output_tokens=2, num_model_requests=3)


@pytest.mark.parametrize("cls", PUBLIC, ids=name_of)
@settings(max_examples=25)
@given(data=st.data())
def test_a_value_is_shown_as_python_would_make_it(cls, data):
    value = data.draw(any_of(cls))
    names = {name: getattr(usage_async, name) for name in usage_async.__all__}
    text = repr(value)
    assert eval(text, {**names, "Decimal": Decimal, "datetime": dt}) == value  # noqa: S307 - our own text


def test_what_equals_its_default_is_not_shown():
    assert repr(TOKENS) == (
        "UsageCompletionsResult(input_tokens=1, output_tokens=2, num_model_requests=3)"
    )
    amount = CostsResultAmount(value=Decimal("3.40E-7"), currency="usd")
    assert repr(CostsResult(amount=amount, project_id="p")) == (
        "CostsResult(amount=CostsResultAmount(value=Decimal('0.00000034'), currency='usd'),"
        " project_id='p')"
    )
    assert repr(UsageTimeBucket(start_time=0, end_time=1)) == (
        "UsageTimeBucket(start_time=0, end_time=1)"
    )
    assert repr(UnknownResult(object="new")) == "UnknownResult(object='new')"
    assert repr(UsageRow(start_time=0, end_time=1, object="new", amount=Decimal("1E+2"))) == (
        "UsageRow(start_time=0, end_time=1, object='new', amount=Decimal('100'))"
    )


@given(amounts)
def test_equal_amounts_are_written_alike(value):
    with decimal.localcontext(HOSTILE):
        kept = exact_decimal(value)
        padded = exact_decimal(Decimal(f"{value:f}" + ("" if "." in f"{value:f}" else ".") + "00"))
    assert kept == padded == value
    assert str(kept) == str(padded)


@given(amounts)
def test_a_decimal_is_written_plainly_and_exactly(value):
    with decimal.localcontext(HOSTILE):
        text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert "." not in text or not text.endswith(("0", "."))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2075.9001485925000000000000000000", "2075.9001485925"),
        ("-0.00", "0"),
        ("0E+999999", "0"),
        ("1E+308", "1" + 308 * "0"),
        ("1E+999999", "1E+999999"),
        ("1E-999999", "1E-999999"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_no_decimal_is_written_as_a_text_that_fills_the_memory(value, text):
    assert plain(Decimal(value)) == text


@given(st.dictionaries(st.text(), json_values))
def test_extra_is_an_immutable_hashable_mapping_of_what_was_sent(values):
    extra = Extra(values)
    before = repr(extra)
    assert list(extra) == list(values)
    assert len(extra) == len(values)
    assert extra == Extra(json.loads(json.dumps(values)))
    assert hash(extra) == hash(Extra(dict(reversed(values.items()))))
    copy = pickle.loads(pickle.dumps(extra))
    assert (copy, hash(copy), repr(copy)) == (extra, hash(extra), before)
    values["one_more"] = 1
    assert repr(extra) == before
    with pytest.raises(TypeError):
        extra["one_more"] = 1


def test_extra_freezes_what_is_inside():
    inside = {"a": 1}
    extra = Extra({"list": [1, [inside]], "object": inside})
    inside["a"] = 2
    assert extra["list"] == (1, (Extra({"a": 1}),))
    assert extra["object"] == {"a": 1}
    assert repr(extra) == "Extra({'list': (1, (Extra({'a': 1}),)), 'object': Extra({'a': 1})})"
    assert repr(NO_EXTRA) == "Extra()"
    assert TOKENS.extra is NO_EXTRA


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        pytest.param({"a": {1, 2}}, TypeError, "a JSON value, got set", id="set"),
        pytest.param({"a": [b""]}, TypeError, "a JSON value, got bytes", id="bytes"),
        pytest.param({1: 2}, TypeError, "a string as key, got int", id="key"),
        pytest.param({"a": {None: 2}}, TypeError, "a string as key, got None", id="key inside"),
        pytest.param({"a": float("nan")}, ValueError, "a number that JSON has, got nan", id="nan"),
        pytest.param({"a": Decimal("Infinity")}, ValueError, "got Infinity", id="infinity"),
        pytest.param({"a": ["\ud800"]}, ValueError, "surrogates not allowed", id="surrogate"),
        pytest.param({"\udfff": 1}, ValueError, "surrogates not allowed", id="surrogate as key"),
    ],
)
def test_extra_holds_only_what_json_has(values, error, match):
    with pytest.raises(error, match=match):
        Extra(values)


@given(extras)
def test_extra_cannot_be_changed_through_its_attributes(extra):
    with pytest.raises(AttributeError):
        extra.more = 1


@given(rows(CostsResult))
def test_a_repr_evaluates_to_the_value_again(row):
    names = {"CostsResult": CostsResult, "CostsResultAmount": CostsResultAmount}
    again = eval(repr(row), {**names, "Decimal": Decimal, "Extra": Extra})  # noqa: S307 - our own repr
    assert again == row
