"""The values: what they hold, what they refuse, and that they stay as they are."""

import datetime as dt
import decimal
import json
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values import (
    DAY,
    HOSTILE,
    KINDS,
    PUBLIC,
    SPEC,
    START,
    amounts,
    any_of,
    buckets,
    extras,
    json_values,
    name_of,
    pages,
    rows,
)

import usage_async
from usage_async import (
    ENDPOINTS,
    CostsResult,
    CostsResultAmount,
    DerivedLineItem,
    Extra,
    Notice,
    UnknownResult,
    UsageCompletionsResult,
    UsageResult,
    UsageRow,
    UsageTimeBucket,
    UsageVectorStoresResult,
)
from usage_async._api.fields import FIELDS, fields_of
from usage_async._api.values import NO_EXTRA, exact_decimal, plain

TOKENS = UsageCompletionsResult(input_tokens=1, output_tokens=2, num_model_requests=3)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


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


@every_kind
def test_every_field_is_documented_with_its_unit_and_how_it_adds_up(kind):
    for field in fields_of(kind):
        info = FIELDS[field.name]
        line = f"    {field.name}: {info.doc}"
        if info.unit:
            line += f" Unit: {info.unit}."
        if info.kind in ("flow", "level"):
            line += f" A {info.kind}."
        assert line in kind.__doc__.splitlines()
        assert field.metadata["kind"] == info.kind
        assert bool(info.unit) == (info.kind in ("flow", "level", "money", "quantity"))


def test_only_stored_bytes_are_a_level():
    assert [name for name, info in FIELDS.items() if info.kind == "level"] == ["usage_bytes"]


def test_every_dimension_can_be_grouped_by_somewhere():
    grouped = {name for endpoint in ENDPOINTS.values() for name in endpoint.group_by}
    assert {name for name, info in FIELDS.items() if info.kind == "dimension"} == grouped


def test_the_flat_row_has_every_field_of_every_result():
    fields = {a.name for kind in KINDS for a in fields_of(kind)}
    extra = {"start_time", "end_time", "currency"}
    assert {a.name for a in fields_of(UsageRow)} == fields | extra


@pytest.mark.parametrize("name", SPEC["results"])
def test_every_field_of_the_specification_is_there_and_no_metric_besides(name):
    (kind,) = [endpoint.result_class for endpoint in ENDPOINTS.values() if endpoint.object == name]
    seen = {"organization_id", "organization_name", "project_name", "user_email"}
    ours = {a.name for a in fields_of(kind)} - seen - {"object", "extra"}
    assert ours == set(SPEC["results"][name]) - {"object"}


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


# Buckets


def test_a_bucket_tells_its_times_as_aware_datetimes():
    bucket = UsageTimeBucket(start_time=START, end_time=START + DAY)
    assert bucket.start == datetime(2024, 11, 1, tzinfo=UTC)
    assert bucket.end == datetime(2024, 11, 2, tzinfo=UTC)
    assert bucket.results == bucket.other_results == ()


@pytest.mark.parametrize(
    ("now", "after", "settled"),
    [
        pytest.param(timedelta(days=4), None, True, id="three days after its end"),
        pytest.param(timedelta(days=4, seconds=-1), None, False, id="a second before that"),
        pytest.param(timedelta(days=1), timedelta(), True, id="at its end, if that will do"),
        pytest.param(timedelta(days=8), timedelta(days=9), False, id="later, if told to wait"),
    ],
)
def test_a_bucket_is_settled_some_time_after_its_end(now, after, settled):
    bucket = UsageTimeBucket(start_time=START, end_time=START + DAY)
    more = {} if after is None else {"after": after}
    assert bucket.is_settled(bucket.start + now, **more) is settled


def test_undocumented_times_do_not_make_buckets_different():
    plain = UsageTimeBucket(start_time=START, end_time=START + DAY)
    said = attrs.evolve(plain, start_time_iso="2024-11-01", end_time_iso="nonsense")
    assert said == plain
    assert hash(said) == hash(plain)
    assert "nonsense" not in repr(said)


@every_kind
@given(data=st.data())
def test_rows_carry_everything_of_every_result(kind, data):
    bucket = data.draw(buckets(kind))
    results = (*bucket.results, *bucket.other_results)
    for row, result in zip(bucket.rows(), results, strict=True):
        assert (row.start_time, row.end_time) == (bucket.start_time, bucket.end_time)
        fields = {a.name: getattr(result, a.name) for a in fields_of(type(result))}
        amount = fields.pop("amount", None)
        if amount is not None and amount.extra:
            fields["extra"] = {**result.extra, "amount": amount.extra}
        told = {name: getattr(row, name) for name in fields}
        assert told == fields
        assert row.amount == (amount and amount.value)
        assert row.currency == (amount and amount.currency)
        others = {a.name for a in fields_of(UsageRow)} - fields.keys()
        others -= {"start_time", "end_time", "amount", "currency"}
        assert {getattr(row, name) for name in others} <= {None}


# Money


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


# Extra


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


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Notice(code="clamped", message="text", starts=(1,)), id="notice"),
        pytest.param(DerivedLineItem("gpt-5", "input"), id="line item"),
        pytest.param(TOKENS, id="result"),
        pytest.param(UsageVectorStoresResult(usage_bytes=1), id="level"),
    ],
)
def test_small_values_are_hashable_and_pickle(value):
    assert pickle.loads(pickle.dumps(value)) == value
    assert hash(value) == hash(attrs.evolve(value))


def test_every_result_is_a_usage_result():
    assert all(issubclass(kind, UsageResult) for kind in KINDS)


@given(rows(CostsResult))
def test_a_repr_evaluates_to_the_value_again(row):
    names = {"CostsResult": CostsResult, "CostsResultAmount": CostsResultAmount}
    again = eval(repr(row), {**names, "Decimal": Decimal, "Extra": Extra})  # noqa: S307 - our own repr
    assert again == row
