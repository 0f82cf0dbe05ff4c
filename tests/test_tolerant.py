"""The tolerant reader: nothing lost, nothing coerced, unknown fields kept."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import FAST, TOLERANT, completion, cost, exact_json, numbers, refused_at, tried
from values import (
    NAMES,
    every_kind,
    json_values,
    one_bucket,
    one_page,
    one_row,
    pages,
    sample,
)

from usage_async import (
    ENDPOINTS,
    CostsResult,
    CostsResultAmount,
    Extra,
    Notice,
    ResponseError,
    UnknownResult,
    UsageCodeInterpreterSessionsResult,
    UsageCompletionsResult,
    UsageImagesResult,
    UsageResponse,
    UsageResult,
    dumps,
    from_dict,
    loads,
)


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
    assert exact_json(dumps(made)) == exact_json(new)


def test_where_both_spellings_come_the_new_one_counts_and_the_old_one_is_kept():
    row = one_row("code_interpreter_sessions", num_sessions=2, sessions=1)
    made = loads(one_page(one_bucket(row, result="old")), UsageResponse[UsageResult])
    (bucket,) = made.data
    assert bucket.extra == {"result": "old"}
    assert bucket.results[0].num_sessions == 2
    assert bucket.results[0].extra == {"sessions": 1}


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
