"""The converter: whatever is written is read again the same, and broken text is refused."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_origin

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import FAST, TOLERANT, completion, cost, exact_json, refused_at, wild
from values import (
    PUBLIC,
    any_of,
    buckets,
    every_kind,
    every_page,
    name_of,
    one_bucket,
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
    RequestEvent,
    ResponseError,
    Summary,
    TimeRange,
    UsageCodeInterpreterSessionsResult,
    UsageCompletionsResult,
    UsageEmbeddingsResult,
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
from usage_async._codec.json_text import READING_ERRORS
from usage_async._codec.shapes import bucket_kind


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
        "NamesBook",
        "RetryPolicy",
        "Runtime",
        "Timeout",
        "UsageCache",
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
    """Tell if a written value holds all that was sent; numbers may be written as texts."""
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


def decoded(body, cls):
    """Read a body; None if it is refused."""
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


def says(written, sent):
    """Tell if no figure changed, appeared or vanished between a sent and a written value."""
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
