"""Reading and writing values: two lanes that agree, nothing lost, nothing coerced."""

import gc
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_origin

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from values import (
    NAMES,
    PAGES,
    PUBLIC,
    any_of,
    buckets,
    json_values,
    name_of,
    one_bucket,
    one_page,
    one_row,
    pages,
    rows,
    sample,
)

import usage_async
from usage_async import (
    ENDPOINTS,
    CostsResult,
    CostsResultAmount,
    Extra,
    Notice,
    RequestEvent,
    ResponseError,
    Summary,
    TimeRange,
    UnknownResult,
    UsageCodeInterpreterSessionsResult,
    UsageCompletionsResult,
    UsageEmbeddingsResult,
    UsageImagesResult,
    UsageResponse,
    UsageResult,
    UsageRow,
    UsageTimeBucket,
    converter,
    dumps,
    from_dict,
    loads,
    to_dict,
)
from usage_async._codec.converter import READING_ERRORS, make_converter
from usage_async._codec.shapes import bucket_kind

FAST, TOLERANT = make_converter(fast=True), make_converter(fast=False)
KINDS = [ENDPOINTS[name].result_class for name in NAMES] + [UnknownResult]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
every_page = pytest.mark.parametrize(("name", "endpoint"), PAGES.items(), ids=PAGES)


def tried(using, body, cls):
    """What a reader makes of a body, or None where it refuses."""
    try:
        return using.loads(body, cls)
    except READING_ERRORS:
        return None


def completion(**fields):
    return one_row("completions", **fields)


def cost(value, **fields):
    return one_row("costs", amount={"value": value, "currency": "usd"}, **fields)


def refused_at(body, cls):
    with pytest.raises(ResponseError) as error:
        loads(body, cls)
    assert error.value.path in str(error.value)
    assert error.value.__context__ is None or error.value.__suppress_context__
    return error.value.path, str(error.value)


numbers = msgspec.json.Encoder(decimal_format="number")


def exact_json(text):
    return json.loads(text, parse_float=Decimal)


# Round trips


@every_kind
@given(data=st.data())
def test_what_is_written_is_read_again_the_same(kind, data):
    page = data.draw(pages(kind))
    cls = UsageResponse[kind]
    assert loads(dumps(page), cls) == page
    assert TOLERANT.loads(dumps(page), cls) == page
    assert from_dict(to_dict(page), cls) == page
    assert from_dict(exact_json(dumps(page)), cls) == page


@every_kind
@given(data=st.data())
def test_the_parts_of_a_page_can_be_written_and_read_too(kind, data):
    bucket = data.draw(buckets(kind))
    assert loads(dumps(bucket), UsageTimeBucket[kind]) == bucket
    for row in bucket.results:
        assert loads(dumps(row), kind) == row
        assert loads(dumps(row), UsageResult) == row
    for row in bucket.rows():
        assert loads(dumps(row), UsageRow) == row
        assert from_dict(to_dict(row), UsageRow) == row


@pytest.mark.parametrize("cls", PUBLIC, ids=name_of)
@settings(max_examples=25)
@given(data=st.data())
def test_every_public_value_is_read_as_it_was_written(cls, data):
    value = data.draw(any_of(cls))
    written = dumps(value)
    for copy in (
        loads(written, cls),
        TOLERANT.loads(written, cls),
        from_dict(to_dict(value), cls),
        from_dict(exact_json(written), cls),
    ):
        assert copy == value
        assert hash(copy) == hash(value)


def test_no_public_value_is_left_out_of_that():
    public = {name: getattr(usage_async, name) for name in usage_async.__all__}
    classes = {name for name, of in public.items() if isinstance(of, type) and attrs.has(of)}
    no_values = {
        "AdaptiveLimiter",
        "Endpoint",
        "Limiter",
        "RetryPolicy",
        "Runtime",
        "Timeout",
        "UsageQuery",
    }
    base = {"UsageResult"}
    written = {(get_origin(cls) or cls).__name__ for cls in PUBLIC}
    assert classes - no_values - base == written - {"Extra"}


def test_a_bare_generic_class_is_read_by_the_kinds_of_its_rows():
    summary = Summary(
        total=CostsResult(),
        groups=[CostsResult(project_id="p")],
        requested=TimeRange(0, 1),
        covered=None,
        settled_through=None,
        as_of=datetime.fromtimestamp(0, UTC),
        notices=(),
    )
    for using in (FAST, TOLERANT):
        assert using.loads(dumps(summary), Summary) == summary


def test_a_float_in_extra_is_its_shortest_text():
    row = CostsResult(extra=Extra({"rate": 0.1, "rates": [{"a": 2.5e-9}]}))
    assert row.extra["rate"] == Decimal("0.1")
    assert b'"rate":0.1,' in dumps(row)
    assert loads(dumps(row), CostsResult) == row
    amount = CostsResultAmount(value=row.extra["rate"], currency="usd")
    assert type(amount.value) is Decimal


def test_what_extra_names_as_a_field_is_refused_rather_than_written_over_it():
    with pytest.raises(ValueError, match="'model', a field of UsageCompletionsResult"):
        dumps(
            from_dict(completion(), UsageCompletionsResult).__class__(
                input_tokens=1, output_tokens=1, num_model_requests=1, extra=Extra({"model": "x"})
            )
        )


def test_a_row_keeps_what_its_kind_does_not_know_apart_from_what_other_kinds_have():
    row = one_row("embeddings", output_tokens=5, novel=1)
    (flat,) = from_dict(one_bucket(row), UsageTimeBucket[UsageEmbeddingsResult]).rows()
    assert flat.output_tokens is None
    assert flat.extra == {"output_tokens": 5, "novel": 1}
    assert loads(dumps(flat), UsageRow) == flat


def test_a_row_keeps_what_is_unknown_of_its_amount():
    row = cost("1", novel=1)
    row["amount"]["tax"] = "0.2"
    (flat,) = from_dict(one_bucket(row), UsageTimeBucket[CostsResult]).rows()
    assert flat.extra == {"novel": 1, "amount": Extra({"tax": "0.2"})}
    assert loads(dumps(flat), UsageRow) == flat


def test_a_column_that_this_release_does_not_know_is_kept():
    written = {"start_time": 0, "end_time": 1, "object": "a", "new": 1, "extra": {"newer": 2}}
    assert loads(json.dumps(written), UsageRow).extra == {"new": 1, "newer": 2}


@pytest.mark.parametrize(
    ("cls", "sent", "says"),
    [
        pytest.param(Extra, [], "an object", id="extra"),
        pytest.param(UsageRow, [], "", id="row"),
        pytest.param(TimeRange, {"start_time": 0.5, "end_time": 1}, "a whole number", id="int"),
        pytest.param(
            RequestEvent,
            {"path": "/", "attempt": 1, "seconds": "1", "ended_at": 0},
            "a number",
            id="float",
        ),
    ],
)
def test_what_is_no_such_value_is_refused(cls, sent, says):
    _, message = refused_at(json.dumps(sent), cls)
    assert says in message


def test_what_json_does_not_have_cannot_be_written():
    with pytest.raises(TypeError, match="object is not a JSON value"):
        dumps({"a": object()})


@given(rows(CostsResult))
def test_decimals_are_objects_in_dicts_and_exact_texts_in_json(row):
    plain, written = to_dict(row), json.loads(dumps(row))
    for values in (
        (plain["quantity"], written["quantity"], row.quantity),
        *amounts(plain, written, row),
    ):
        as_object, as_text, value = values
        assert as_object == value
        assert as_text == (None if value is None else str(value))
        assert type(as_object) is type(value)


def amounts(plain, written, row):
    if row.amount is not None:
        yield plain["amount"]["value"], written["amount"]["value"], row.amount.value


@every_page
def test_every_page_from_the_wire_is_read_and_nothing_of_it_is_lost(name, endpoint):
    kind = ENDPOINTS[endpoint].result_class
    body = sample(name)
    page = loads(body, UsageResponse[kind])
    assert page == TOLERANT.loads(body, UsageResponse[kind])
    assert page == loads(body, UsageResponse[UsageResult])
    assert page == from_dict(json.loads(body, parse_float=Decimal), UsageResponse[kind])
    sent = json.loads(
        body.replace(b'"result"', b'"results"').replace(b'"sessions"', b'"num_sessions"')
    )
    written = json.loads(dumps(page))
    assert holds(written, sent)
    for bucket in page.data:
        assert bucket.other_results == ()
        assert all(type(row) is kind for row in bucket.results)


def holds(written, sent):
    """Whether all that was sent is in what was written; numbers may be written as texts."""
    if isinstance(sent, dict):
        return all(holds(written.get(key), value) for key, value in sent.items())
    if isinstance(sent, list):
        return len(written) == len(sent) and all(map(holds, written, sent))
    if isinstance(sent, float) or (isinstance(written, str) and written != sent):
        return Decimal(written) == Decimal(str(sent))
    return written == sent


def test_amounts_are_exact_whether_they_come_as_numbers_or_as_texts():
    (first, _) = loads(sample("live_costs_string_amounts"), UsageResponse[CostsResult]).data
    assert [str(row.amount.value) for row in first.results] == [
        "0",
        "0.0000045",
        "0.0000342",
    ]
    assert [row.quantity for row in first.results] == [0, 30, 57]
    (bucket,) = loads(sample("documented_costs"), UsageResponse[CostsResult]).data
    assert bucket.results[0].amount == CostsResultAmount(value=Decimal("0.06"), currency="usd")


# Both readers


@every_kind
@given(data=st.data())
def test_both_readers_give_equal_values(kind, data):
    body = dumps(data.draw(pages(kind)))
    assert FAST.loads(body, UsageResponse[kind]) == TOLERANT.loads(body, UsageResponse[kind])


wild = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["40", "0E-6176", "NaN", " 1 ", "1_000", "true", "false", "1e999", "", "-0"])
    | st.sampled_from([40.0, 1.9, 1e300, -0.0, 2**63, 2**64, 10**40]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)


def field_names(kind):
    return [a.name for a in attrs.fields(kind)] + ["other_results", "result", "sessions", "new"]


@every_kind
@given(data=st.data())
def test_whatever_a_field_holds_both_readers_agree(kind, data):
    name = next((name for name in NAMES if ENDPOINTS[name].result_class is kind), "completions")
    row = one_row(name) | data.draw(
        st.dictionaries(st.sampled_from(field_names(kind)), wild, min_size=1, max_size=2)
    )
    where = data.draw(st.sampled_from(["row", "bucket", "page"]))
    bucket, more = one_bucket(row), {}
    keys = ["extra", "other_results", "result", "start_time", "start_time_iso", "results", "new"]
    if where == "bucket":
        bucket |= data.draw(st.dictionaries(st.sampled_from(keys), wild, max_size=2))
    if where == "page":
        keys = ["extra", "has_more", "next_page", "object", "new"]
        more = data.draw(st.dictionaries(st.sampled_from(keys), wild, max_size=2))
    body = one_page(bucket, **more)
    cls = UsageResponse[kind]
    fast, tolerant = tried(FAST, body, cls), tried(TOLERANT, body, cls)
    assert fast == tolerant
    assert repr(fast) == repr(tolerant)


@every_page
def test_the_usual_page_takes_the_fast_path(name, endpoint):
    kind = ENDPOINTS[endpoint].result_class
    made = converter.loads_fast(sample(name), UsageResponse[kind])
    assert (made is None) is name.startswith("legacy_")
    assert TOLERANT.loads_fast(sample(name), UsageResponse[kind]) is None


@pytest.mark.parametrize("collecting", [True, False])
def test_reading_leaves_the_garbage_collector_as_it_was(collecting):
    was = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        loads(sample("documented_completions"), UsageResponse[UsageCompletionsResult])
        refused_at(b"{}", UsageResponse[UsageCompletionsResult])
        assert gc.isenabled() is collecting
    finally:
        (gc.enable if was else gc.disable)()


# Coercions


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        pytest.param("40", 40, id="int"),
        pytest.param('"40"', 40, id="digits"),
        pytest.param('"-3"', -3, id="negative digits"),
        pytest.param("40.0", 40, id="a float that is whole"),
        pytest.param("4e1", 40, id="an exponent"),
        pytest.param("9223372036854775808", 2**63, id="beyond 63 bits"),
        pytest.param("123456789012345678901234567890", 123456789012345678901234567890, id="huge"),
        pytest.param("1e30", 10**30, id="a huge exponent"),
    ],
)
def test_a_count_may_come_in_several_spellings(sent, count):
    body = json.dumps(completion(input_tokens="?")).replace('"?"', sent).encode()
    for using in (FAST, TOLERANT):
        made = using.loads(body, UsageCompletionsResult)
        assert (type(made.input_tokens), made.input_tokens) == (int, count)


@pytest.mark.parametrize(
    "sent",
    [
        *("1.9", '"1.9"', "true", "false", "null", '""', '" 40 "', '"4_0"', '"+4"', '"\u0664"'),
        *('"4e1"', "[]", "[1]", "{}", "1e40", "1e999", '"nan"', '"' + "9" * 41 + '"'),
    ],
)
def test_what_is_no_count_is_refused_with_its_path(sent):
    body = one_page(
        one_bucket(completion()), one_bucket(completion(), completion(input_tokens="?"))
    )
    body = body.replace(b'"?"', sent.encode())
    path, message = refused_at(body, UsageResponse[UsageCompletionsResult])
    assert path == "$.data[1].results[1].input_tokens"
    assert "expected a whole number" in message


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        pytest.param("0.06", "0.06", id="number"),
        pytest.param("6", "6", id="int"),
        pytest.param("-1.50", "-1.5", id="a credit"),
        pytest.param("1E-7", "1E-7", id="exponent"),
        pytest.param("0.1000000000000000055511151231257827", None, id="more than a double"),
        pytest.param("123456789012345678901234567890.123456789", None, id="39 digits"),
        pytest.param('"0E-6176"', "0", id="zero of a decimal128"),
        pytest.param('"-0.00"', "0", id="negative zero"),
        pytest.param('"0.000004500000000000000000000000000000000"', "0.0000045", id="40 digits"),
        pytest.param('"1E-6176"', "1E-6176", id="the smallest decimal128"),
        pytest.param('"1e308"', "1" + 308 * "0", id="large"),
    ],
)
def test_an_amount_is_the_number_of_the_literal_text(sent, value):
    body = one_page(one_bucket(cost("?", quantity="?"))).replace(b'"?"', sent.encode())
    for using in (FAST, TOLERANT):
        (bucket,) = using.loads(body, UsageResponse[CostsResult]).data
        (row,) = bucket.results
        assert str(row.amount.value) == str(row.quantity) == (value or sent.strip('"'))


@given(
    st.from_regex(r"-?[0-9]{0,4}\.?[0-9]{0,9}0{0,9}([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.booleans(),
)
def test_both_readers_read_the_same_amount_or_refuse_it(text, quoted):
    body = json.dumps(cost("?")).replace('"?"', f'"{text}"' if quoted else text).encode()
    fast, tolerant = tried(FAST, body, CostsResult), tried(TOLERANT, body, CostsResult)
    assert repr(fast) == repr(tolerant)
    if fast is not None:
        assert fast.amount.value == Decimal(text)
        assert str(fast.amount.value) == str(tolerant.amount.value)


@pytest.mark.parametrize(
    "sent",
    [
        *('"NaN"', '"nan"', '"sNaN"', '"Infinity"', '"-inf"', '""', '"abc"', "true", "false"),
        *('"1_000"', '" 1 "', '"1 "', '"+1"', '".5"', '"5."', '"01"', '"0x1"', '"\u0661"', '"1,5"'),
        *("1e999", '"1e999"', '"1E-6177"', "1e309", "[]", "{}", '["1"]', '{"value":"1"}', '"1\\n"'),
    ],
)
@pytest.mark.parametrize("field", ["amount.value", "quantity"])
def test_what_is_no_amount_is_refused_with_its_path(sent, field):
    row = cost("?") if field == "amount.value" else cost(1, quantity="?")
    body = one_page(one_bucket(cost(1), row)).replace(b'"?"', sent.encode())
    for using in (FAST, TOLERANT):
        assert tried(using, body, UsageResponse[CostsResult]) is None
    path, message = refused_at(body, UsageResponse[CostsResult])
    assert path == f"$.data[0].results[1].{field}"
    assert "decimal" in message


def test_an_amount_is_never_taken_for_zero():
    for sent in (
        {"value": None, "currency": "usd"},
        {"currency": "usd"},
        {"value": "1"},
        "1",
        1,
        [],
    ):
        body = json.dumps(one_row("costs", amount=sent)).encode()
        path, _ = refused_at(body, CostsResult)
        assert path.startswith("$.amount") or "missing" in str(path), path
    assert loads(json.dumps(one_row("costs", amount=None)).encode(), CostsResult).amount is None


def test_nan_and_infinity_are_no_json():
    for literal in (b"NaN", b"Infinity", b"-Infinity"):
        body = json.dumps(cost("?")).encode().replace(b'"?"', literal)
        refused_at(body, CostsResult)


@pytest.mark.parametrize(
    ("value", "exact"),
    [(0.1, "0.1"), (1e22, "1" + 22 * "0"), (5e-324, "5E-324"), (3.0, "3"), (7, "7"), (-0.0, "0")],
)
def test_a_float_handed_in_goes_through_its_shortest_text(value, exact):
    row = from_dict(cost(value, quantity=value), CostsResult)
    assert str(row.amount.value) == str(row.quantity) == exact


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity")])
def test_what_is_not_finite_cannot_be_handed_in_either(value):
    for given_row, path in (
        (cost(value), "$.amount.value"),
        (cost(1, quantity=value), "$.quantity"),
    ):
        with pytest.raises(ResponseError, match="decimal") as error:
            from_dict(given_row, CostsResult)
        assert error.value.path == path
    with pytest.raises(ResponseError, match="whole number"):
        from_dict(completion(input_tokens=value), UsageCompletionsResult)


@pytest.mark.parametrize(
    ("sent", "batch"),
    [(True, True), (False, False), ("true", True), ("false", False), (None, None)],
)
def test_batch_may_come_as_a_text(sent, batch):
    for using in (FAST, TOLERANT):
        body = json.dumps(completion(batch=sent)).encode()
        assert using.loads(body, UsageCompletionsResult).batch is batch


@pytest.mark.parametrize("sent", ["True", "", "yes", 1, 0, 1.0, [], {}, [True]])
def test_what_is_no_batch_is_refused(sent):
    path, message = refused_at(json.dumps(completion(batch=sent)), UsageCompletionsResult)
    assert path == "$.batch"
    assert "expected true or false" in message


@pytest.mark.parametrize(
    ("where", "sent", "path", "says"),
    [
        pytest.param("row", {"model": 5}, "$.data[0].results[0].model", "a string", id="str"),
        pytest.param("row", 5, "$.data[0].results[0]", "an object", id="row"),
        pytest.param("bucket", 5, "$.data[0]", "an object", id="bucket"),
        pytest.param("bucket", {"results": {}}, "$.data[0].results", "an array", id="dict"),
        pytest.param("bucket", {"results": None}, "$.data[0].results", "an array", id="null"),
        pytest.param("bucket", {"results": ""}, "$.data[0].results", "an array", id="text"),
        pytest.param("bucket", {"start_time": None}, "$.data[0].start_time", "a whole", id="time"),
        pytest.param("bucket", {"object": "page"}, "$.data[0].object", "bucket", id="object"),
        pytest.param("page", {"data": {}}, "$.data", "an array", id="data"),
        pytest.param("page", {"has_more": "false"}, "$.has_more", "true or false", id="has_more"),
        pytest.param("page", {"has_more": None}, "$.has_more", "true or false", id="no has_more"),
        pytest.param("page", {"next_page": 7}, "$.next_page", "a string", id="next_page"),
        pytest.param("page", {"object": "list"}, "$.object", "page", id="kind of page"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(where, sent, path, says):
    row, bucket, page = completion(), one_bucket(completion()), {}
    if where == "row":
        bucket = one_bucket(row | sent if isinstance(sent, dict) else sent)
    elif where == "bucket":
        bucket = bucket | sent if isinstance(sent, dict) else sent
    else:
        page = sent
    body = one_page(bucket, **page)
    told, message = refused_at(body, UsageResponse[UsageCompletionsResult])
    assert told == path
    assert says in message
    with pytest.raises(ResponseError) as error:
        from_dict(json.loads(body), UsageResponse[UsageCompletionsResult])
    assert error.value.path == path


@pytest.mark.parametrize("key", ["data", "has_more"])
def test_a_page_without_its_parts_is_refused(key):
    page = json.loads(one_page(one_bucket(completion())))
    del page[key]
    _, message = refused_at(json.dumps(page), UsageResponse[UsageCompletionsResult])
    assert key in message


@pytest.mark.parametrize("key", ["start_time", "end_time", "results"])
def test_a_bucket_without_its_parts_is_refused(key):
    bucket = one_bucket(completion())
    del bucket[key]
    path, message = refused_at(one_page(bucket), UsageResponse[UsageCompletionsResult])
    assert path.startswith("$.data[0]")
    assert key in message


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_its_kind_or_a_figure_is_refused(name):
    for key in one_row(name):
        row = one_row(name)
        del row[key]
        for cls in {ENDPOINTS[name].result_class, UsageResult}:
            _, message = refused_at(json.dumps(row), cls)
            assert key in message


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"[]", b'"text"', b"5", b"{", b"{}{}", b"\xff", b'{"data":"\xff"}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"<html></html>"),
    ],
    ids=lambda body: body[:8].decode("latin-1").encode("unicode_escape").decode(),
)
def test_what_is_no_page_is_refused(body):
    for cls in (UsageResponse[UsageCompletionsResult], UsageResponse[UnknownResult], UsageResult):
        with pytest.raises(ResponseError):
            loads(body, cls)


def test_a_text_can_be_read_as_well_as_bytes():
    body = sample("documented_costs")
    assert loads(body.decode(), UsageResponse[CostsResult]) == loads(
        body, UsageResponse[CostsResult]
    )


# Legacy spellings


@given(data=st.data())
def test_the_old_spellings_are_read_and_the_new_ones_written(data):
    kind = UsageCodeInterpreterSessionsResult
    page = data.draw(pages(kind))
    new = dumps(page)
    old = exact_json(new)
    for bucket in old["data"]:
        bucket["result"] = bucket.pop("results")
        for row in bucket["result"]:
            if row["object"] == ENDPOINTS["code_interpreter_sessions"].object:
                row["sessions"] = row.pop("num_sessions")
    made = loads(numbers.encode(old), UsageResponse[kind])
    assert made == page
    assert dumps(made) == new


def test_where_both_spellings_come_the_new_one_counts_and_the_old_one_is_kept():
    row = one_row("code_interpreter_sessions", num_sessions=2, sessions=1)
    made = loads(one_page(one_bucket(row, result="old")), UsageResponse[UsageResult])
    (bucket,) = made.data
    assert bucket.extra == {"result": "old"}
    assert bucket.results[0].num_sessions == 2
    assert bucket.results[0].extra == {"sessions": 1}


# What this release does not know


@every_kind
@given(data=st.data())
def test_unknown_fields_are_kept_wherever_they_are(kind, data):
    page = data.draw(pages(kind))
    new = data.draw(st.dictionaries(st.just("extra") | st.text().map("new".__add__), json_values))
    written = exact_json(dumps(page))
    for value in (written, *written["data"], *(r for b in written["data"] for r in b["results"])):
        value.update(new)
    body = numbers.encode(written)
    for using in (FAST, TOLERANT):
        made = using.loads(body, UsageResponse[kind])
        assert exact_json(using.dumps(made)) == exact_json(body)
        assert made.extra == {**page.extra, **Extra(new)}
        for one, other in zip(made.data, page.data, strict=True):
            assert one.extra == {**other.extra, **Extra(new)}
            for row in one.results:
                assert all(row.extra[key] == value for key, value in Extra(new).items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"extra": {"input_tokens": 5}}, id="extra"),
        pytest.param({"other_results": []}, id="no other results"),
        pytest.param({"other_results": [{"object": "organization.costs.result"}]}, id="some"),
        pytest.param({"extra": None, "other_results": [{"object": "new"}]}, id="both"),
    ],
)
def test_a_field_of_the_librarys_own_is_never_filled_by_the_wire(name, sent):
    kind = ENDPOINTS[name].result_class
    for using in (FAST, TOLERANT):
        body = one_page(one_bucket(one_row(name, **sent), **sent), **sent)
        page = using.loads(body, UsageResponse[kind])
        (bucket,) = page.data
        assert bucket.other_results == ()
        assert page.extra == bucket.extra == bucket.results[0].extra == Extra(sent)


def test_a_number_in_extra_is_exact():
    body = json.dumps(completion(price="?")).replace('"?"', "0.10000000000000000000000001").encode()
    made = loads(body, UsageCompletionsResult)
    assert made.extra["price"] == Decimal("0.10000000000000000000000001")
    assert b'"price":0.10000000000000000000000001' in dumps(made)


def test_small_values_are_read_too():
    for using in (FAST, TOLERANT):
        amount = using.loads(b'{"value": "0.10", "currency": "usd", "rate": 2}', CostsResultAmount)
        assert amount.extra == {"rate": 2}
        assert using.loads(using.dumps(amount), CostsResultAmount) == amount
        notice = Notice(code="clamped", message="text")
        assert using.loads(using.dumps(notice), Notice) == notice
        assert using.loads(b'{"code": "clamped", "message": "text", "new": 1}', Notice) == notice


def test_unknown_fields_of_an_amount_are_kept():
    row = cost("1")
    row["amount"]["rate"] = "0.9"
    for using in (FAST, TOLERANT):
        made = using.loads(json.dumps(row).encode(), CostsResult)
        assert made.amount.extra == {"rate": "0.9"}
        assert json.loads(using.dumps(made))["amount"] == row["amount"]


@given(st.dictionaries(st.text().map("new".__add__) | st.just("extra"), json_values))
def test_a_kind_that_nobody_knows_is_an_unknown_result(fields):
    row = {"object": "organization.usage.brand_new.result", **fields}
    for cls in (UsageResult, UnknownResult):
        made = loads(json.dumps(row), cls)
        assert made == UnknownResult(object=row["object"], extra=Extra(fields))
        assert json.loads(dumps(made)) == row


def test_an_unknown_endpoint_gives_unknown_results_even_of_known_kinds():
    body = one_page(one_bucket(completion(), {"object": "new"}))
    (bucket,) = loads(body, UsageResponse[UnknownResult]).data
    assert [type(row) for row in bucket.results] == [UnknownResult, UnknownResult]
    assert bucket.results[0].extra["input_tokens"] == 1


def test_rows_of_another_kind_are_kept_apart():
    images = one_row("images", size="1024x1024")
    body = one_page(one_bucket(completion(), images, {"object": "new"}, completion()))
    for using in (FAST, TOLERANT):
        (bucket,) = using.loads(body, UsageResponse[UsageCompletionsResult]).data
        assert [type(row) for row in bucket.results] == [UsageCompletionsResult] * 2
        assert [type(row) for row in bucket.other_results] == [UsageImagesResult, UnknownResult]
    written = json.loads(dumps(bucket))["results"]
    assert [row["object"] for row in written] == [
        completion()["object"],
        completion()["object"],
        images["object"],
        "new",
    ]


def test_a_single_row_of_another_kind_is_refused():
    path, _ = refused_at(json.dumps(one_row("images")), UsageCompletionsResult)
    assert path == "$.object"


@pytest.mark.parametrize("kind", [None, 5, [], {}])
def test_a_kind_that_is_no_text_is_refused(kind):
    body = one_page(one_bucket(completion(object=kind)))
    for cls in (UsageResult, UsageCompletionsResult, UnknownResult):
        path, _ = refused_at(body, UsageResponse[cls])
        assert path == "$.data[0].results[0].object"


# Broken and hostile bodies


def decoded(body, cls):
    """What a body is read as, None where it is refused."""
    try:
        return loads(body, cls)
    except ResponseError as error:
        message = str(error)
    assert len(message) < 500
    return None


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(body):
    assert decoded(body, UsageResponse[UsageCompletionsResult]) is None


@every_page
def test_a_body_that_was_cut_off_anywhere_is_refused(name, endpoint):
    body = sample(name).rstrip()
    cls = UsageResponse[ENDPOINTS[endpoint].result_class]
    for length in range(len(body)):
        assert decoded(body[:length], cls) is None


def mutated(value, data):
    """Replace, drop or add something anywhere in a JSON value."""
    if isinstance(value, dict) and value and data.draw(st.booleans() | st.just(value=True)):
        key = data.draw(st.sampled_from(sorted(value)))
        what = data.draw(st.sampled_from(["deeper"] * 4 + ["drop", "rename"]))
        rest = {name: item for name, item in value.items() if name != key}
        if what == "drop":
            return rest
        if what == "rename":
            return {
                **rest,
                data.draw(st.sampled_from(["extra", "new", "result", "object"])): value[key],
            }
        return {**value, key: mutated(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans() | st.just(value=True)):
        index = data.draw(st.integers(0, len(value) - 1))
        return [*value[:index], mutated(value[index], data), *value[index + 1 :]]
    return data.draw(wild)


@every_page
@given(data=st.data())
def test_a_mutated_page_is_what_its_json_says_or_refused(name, endpoint, data):
    sent = mutated(json.loads(sample(name)), data)
    page = decoded(json.dumps(sent), UsageResponse[ENDPOINTS[endpoint].result_class])
    if page is None:
        return
    written = json.loads(dumps(page), parse_float=Decimal)
    assert says(written, modern(sent))


def modern(page):
    """The same page in the new spelling."""
    buckets = [respelt(bucket, "result", "results") for bucket in page["data"]]
    for bucket in buckets:
        bucket["results"] = [
            respelt(row, "sessions", "num_sessions") if "sessions" in row["object"] else row
            for row in bucket["results"]
        ]
    return {**page, "data": buckets}


def respelt(value, old, new):
    return {new if key == old and new not in value else key: item for key, item in value.items()}


def says(written, sent):
    """Whether a written value means what was sent: no figure changed, appeared or vanished."""
    if isinstance(sent, dict) and isinstance(written, dict):
        return all(says(written.get(key), item) for key, item in sent.items()) and all(
            key in sent or item in (None, "bucket", "page") or key == "object"
            for key, item in written.items()
        )
    if isinstance(sent, list) and isinstance(written, list):
        # Rows of another kind are written last.
        return len(written) == len(sent) and all(any(says(w, s) for w in written) for s in sent)
    if written == sent and type(written) is type(sent):
        return True
    numbers = [str(value).lower() for value in (written, sent)]
    if isinstance(written, bool) or isinstance(sent, bool):
        return numbers[0] == numbers[1]
    try:
        return Decimal(numbers[0]) == Decimal(numbers[1])
    except ArithmeticError:
        return False


# The converter


def test_the_converter_can_be_extended_by_a_copy():
    copy = converter.copy()
    copy.register_unstructure_hook(Decimal, str)
    row = CostsResult(quantity=Decimal("1.50"))
    assert copy.unstructure(row)["quantity"] == "1.5"
    assert to_dict(row)["quantity"] == Decimal("1.50")
    assert copy.loads(dumps(row), CostsResult) == row


def test_values_compose_with_a_callers_own():
    @attrs.frozen
    class Report:
        rows: list[CostsResult]

    report = Report([CostsResult(quantity=Decimal("0.1"))])
    assert converter.structure(converter.unstructure(report), Report) == report
    assert converter.loads(converter.dumps(report), Report) == report


@pytest.mark.parametrize("novel", [{}, {"novel_tokens": 1}], ids=["declared", "novel"])
@pytest.mark.parametrize(
    ("hint", "wrap"),
    [
        pytest.param(UsageCompletionsResult, lambda row: row, id="one"),
        pytest.param(UsageCompletionsResult | None, lambda row: row, id="optional"),
        pytest.param(tuple[UsageCompletionsResult, ...], lambda row: (row,), id="array"),
        pytest.param(list[UsageCompletionsResult], lambda row: [row], id="list"),
        pytest.param(dict[str, UsageCompletionsResult], lambda row: {"a": row}, id="object"),
        pytest.param(tuple[tuple[UsageCompletionsResult, ...], ...], lambda r: ((r,),), id="deep"),
    ],
)
def test_wherever_a_row_stands_in_a_class_of_a_callers_own_nothing_of_it_is_lost(hint, wrap, novel):
    report = attrs.make_class("Report", {"rows": attrs.field(type=hint)})
    sent = completion(**novel)
    row = from_dict(sent, UsageCompletionsResult)
    for cls, value in ((report, report(wrap(row))), (hint, wrap(row))):
        body = json.dumps({"rows": wrap(sent)} if cls is report else wrap(sent))
        for using in (FAST, TOLERANT):
            assert using.loads(body, cls) == value
            assert using.loads(using.dumps(value), cls) == value


@pytest.mark.parametrize("base", [object, UsageResult])
@pytest.mark.parametrize("using", [FAST, TOLERANT], ids=["fast", "tolerant"])
def test_what_the_class_of_a_caller_does_when_it_is_made_is_done(using, base):
    @attrs.frozen(kw_only=True)
    class Checked(base):
        count: int = attrs.field(validator=attrs.validators.ge(0))

    @attrs.frozen(kw_only=True)
    class Converted(base):
        name: str = attrs.field(converter=str.lower)

    @attrs.define(kw_only=True)
    class Prepared:
        object: str
        count: int
        names: tuple[str, ...] = ()
        extra: Extra = attrs.field(factory=Extra)

        def __attrs_post_init__(self):
            self.count *= 2

    assert using.loads(b'{"object": "mine", "count": 1, "names": ["a"]}', Prepared).count == 2
    assert using.loads(b'{"object": "mine", "name": "A"}', Converted).name == "a"
    with pytest.raises(READING_ERRORS):
        using.loads(b'{"object": "mine", "count": -1}', Checked)


def test_a_row_of_a_callers_own_may_hold_anything():
    @attrs.frozen(kw_only=True)
    class Mine(UsageResult):
        names: tuple[str, ...] = ()
        figures: tuple[Decimal, ...] = ()
        rows: tuple[UsageCodeInterpreterSessionsResult, ...] = ()
        of: UsageCodeInterpreterSessionsResult | None = None

    row = UsageCodeInterpreterSessionsResult(num_sessions=1, extra=Extra({"novel": 1}))
    mine = Mine(
        object="mine",
        names=("a",),
        figures=(Decimal("0.1"),),
        rows=(row, row),
        of=row,
        extra=Extra({"novel": 2}),
    )
    for using in (FAST, TOLERANT):
        assert using.loads(using.dumps(mine), Mine) == mine


def test_a_row_of_a_callers_own_is_made_as_its_class_makes_it():
    @attrs.frozen(kw_only=True, cache_hash=True)
    class Mine(UsageResult):
        note: str = attrs.field(factory=lambda: "none")
        made_here: int = attrs.field(default=1, init=False)

    for using in (FAST, TOLERANT):
        mine = using.loads(b'{"object": "mine"}', Mine)
        assert (mine.note, mine.made_here) == ("none", 1)
        assert hash(mine) == hash(Mine(object="mine"))


def test_a_refusal_shows_no_key():
    body = json.dumps(completion(input_tokens="sk-admin-canary"))
    path, message = refused_at(body, UsageCompletionsResult)
    assert path == "$.input_tokens"
    assert "canary" not in message


def test_the_kind_of_rows_is_read_off_a_class():
    assert bucket_kind(UsageTimeBucket[CostsResult]) is CostsResult
    assert bucket_kind(UsageTimeBucket) is UsageResult
    (bucket,) = loads(sample("documented_costs"), UsageResponse).data
    assert type(bucket.results[0]) is CostsResult
    assert isinstance(loads(dumps(bucket), UsageTimeBucket), UsageTimeBucket)


@pytest.mark.parametrize("written", ["1e99999999999999999999", '"1e99999999999999999999"'])
@pytest.mark.parametrize("place", ["amount", "extra"])
def test_an_exponent_beyond_decimal_is_refused_like_any_other_text(written, place):
    fields = {
        "amount": f'"amount":{{"value":{written},"currency":"usd"}}',
        "extra": f'"newer":{written}',
    }
    row = f'{{"object":"organization.costs.result",{fields[place]}}}'
    if place == "extra" and written.startswith('"'):
        assert loads(row, CostsResult).extra["newer"] == written.strip('"')
    else:
        with pytest.raises(ResponseError):
            loads(row, CostsResult)
