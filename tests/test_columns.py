"""Columns: pages and values at hand into Arrow tables; equal ones, however a page is read."""

import itertools
import json
import sys
from decimal import Decimal, getcontext, localcontext

import attrs
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import (
    DAY,
    HOSTILE,
    KINDS,
    NAMES,
    PAGES,
    START,
    one_bucket,
    one_page,
    one_row,
    pages,
    rows,
    sample,
)

from usage_async import (
    ENDPOINTS,
    ConfigurationError,
    CostsResult,
    CostsResultAmount,
    PaginationError,
    ResponseError,
    UnknownResult,
    UsageCompletionsResult,
    UsageError,
    UsageImagesResult,
    UsageRow,
    UsageTimeBucket,
    UsageVectorStoresResult,
    arrow_schema,
    dumps,
    to_arrow,
)
from usage_async._api.exact import Extra
from usage_async._api.fields import FIELDS
from usage_async._codec import pages as pages_codec
from usage_async._codec.columns import Chunks, ColumnDecoder, Columns
from usage_async._codec.converter import make_converter
from usage_async._codec.pages import decode
from usage_async._codec.redactor import NO_KEY, Redactor
from usage_async._codec.schemas import MisfitError, pyarrow

TOLERANT = make_converter(fast=False)


@pytest.fixture(params=[1, 300, 1 << 20], ids=["a row a batch", "small batches", "one batch"])
def batch_bytes(request, monkeypatch):
    """Batches and whole pages of so many bytes."""
    for name in ("BATCH_BYTES", "WHOLE_BYTES", "TOLERANT_BYTES"):
        monkeypatch.setattr(pages_codec, name, request.param)
    return request.param


def finished(steps):
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def page_of(body, columns, *, fast=True):
    """Read a page into columns, by the fast path where it may."""
    if fast:
        return finished(ColumnDecoder(columns).decode(body, NO_KEY)).page
    return finished(decode(body, columns.kind, TOLERANT, NO_KEY, columns)).page


def table_of(columns, *read):
    chunks = Chunks()
    for page in read:
        for batch in columns.stored(page):
            chunks.add(batch)
    table = columns.table(chunks.all(), {})
    table.validate(full=True)
    return table


def read(body, kind, *, fast=True, exact=True):
    columns = Columns(kind, exact=exact)
    return table_of(columns, page_of(body, columns, fast=fast))


def objects(body, kind):
    """The buckets of a page as objects, without rows of other kinds."""
    page = finished(decode(body, kind, TOLERANT)).page
    return [attrs.evolve(bucket, other_results=()) for bucket in page.data]


def outcome(make, *args, **options):
    """Give the outcome: plain rows, or an error."""
    try:
        return make(*args, **options).to_pylist()
    except UsageError as error:
        return type(error), str(error)


def cost(value, **more):
    amount = {"value": value, "currency": "usd"}
    return one_row("costs", amount=amount, line_item="tokens", **more)


def costs_page(*values):
    return one_page(one_bucket(*map(cost, values)))


def completion(**fields):
    return one_row("completions", **fields)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_page_gives_the_same_table_by_either_path_and_by_its_objects(kind, data):
    body = dumps(data.draw(pages(kind)))
    fast = outcome(read, body, kind)
    assert fast == outcome(read, body, kind, fast=False)
    buckets = objects(body, kind)
    assert fast == outcome(to_arrow, buckets, UsageTimeBucket[kind], exact=True)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_as_it_came_gives_the_rows_of_its_objects(name, batch_bytes):
    body, kind = sample(name), ENDPOINTS[PAGES[name]].result_class
    assert read(body, kind).equals(to_arrow(objects(body, kind), UsageTimeBucket[kind], exact=True))


def test_a_page_of_many_batches_gives_one_table(batch_bytes):
    buckets = [
        one_bucket(
            *(completion(input_tokens=at * 10 + row, model=f"m{row % 3}") for row in range(at % 4)),
            start=START + at * DAY,
        )
        for at in range(40)
    ]
    buckets[7]["results"][1]["new_field"] = 1
    body = one_page(*buckets)
    table = read(body, UsageCompletionsResult)
    assert table.equals(to_arrow(objects(body, UsageCompletionsResult), exact=True))
    assert sum(table["input_tokens"].to_pylist()) == sum(
        row["input_tokens"] for bucket in buckets for row in bucket["results"]
    )


@pytest.mark.parametrize(
    "spaces",
    [
        pytest.param({"separators": (",", ":")}, id="none"),
        pytest.param({"indent": 2}, id="indented"),
        pytest.param({}, id="one"),
    ],
)
def test_a_large_page_is_cut_between_its_buckets(spaces, monkeypatch):
    monkeypatch.setattr(pages_codec, "WHOLE_BYTES", 1)
    monkeypatch.setattr(pages_codec, "BATCH_BYTES", 1000)
    days = [one_bucket(completion(model="a]},{"), start=START + day * DAY) for day in range(50)]
    body = json.dumps(json.loads(one_page(*days)), **spaces).encode()
    shell, spans = pages_codec._parted(body, 1000)
    assert json.loads(shell)["data"] == []
    parts = [json.loads(b"[%b]" % body[begin:end]) for begin, end in spans]
    assert [bucket for part in parts for bucket in part] == days
    assert len(parts) > 5
    assert read(body, UsageCompletionsResult).num_rows == 50


# `{}` is a bucket.
LOOKALIKES = {
    "in a text": '{"data":[],"has_more":false,"next_page":"[{}]"}',
    "in another array": '{"data":[],"has_more":false,"next":[{}]}',
    "no array": '{"object":"page","data":{},"has_more":false,"x":[]}',
    "no page": '{"object":"page","rows":[{}],"has_more":false}',
    "nothing behind": '{"object":"page","data":[{}]',
    "nothing": "",
    "two in one": '{"object":"page","data":[[{}],[{}]],"has_more":false}',
}


@pytest.mark.parametrize("text", LOOKALIKES.values(), ids=LOOKALIKES)
def test_a_large_page_that_only_looks_like_one_is_read_or_refused_as_a_small_one_is(
    text, monkeypatch
):
    bucket = json.dumps(one_bucket(completion()))
    body = text.replace("{}", bucket).encode()
    small = outcome(read, body, UsageCompletionsResult)
    monkeypatch.setattr(pages_codec, "WHOLE_BYTES", 1)
    large = outcome(read, body, UsageCompletionsResult)
    assert type(small) is type(large)
    assert small[0] == large[0] if isinstance(small, tuple) else small == large


def test_a_cursor_that_holds_the_key_is_refused_in_a_large_page_too(monkeypatch):
    monkeypatch.setattr(pages_codec, "WHOLE_BYTES", 1)
    key = "sk-admin-0123456789abcdef"
    body = one_page(one_bucket(completion()), has_more=True, next_page=f"page_{key}")
    decoder = ColumnDecoder(Columns(UsageCompletionsResult))
    with pytest.raises(PaginationError, match="holds the key"):
        finished(decoder.decode(body, Redactor((key,))))


def test_what_is_no_page_is_refused_as_for_objects():
    decoder = ColumnDecoder(Columns(UsageCompletionsResult))
    for body in (
        b"<html>",
        b'{"data": 1, "has_more": false}',
        one_page(one_bucket(completion(input_tokens="x"))),
    ):
        with pytest.raises(ResponseError) as of_objects:
            finished(decode(body, UsageCompletionsResult))
        with pytest.raises(ResponseError) as of_columns:
            finished(decoder.decode(body, NO_KEY))
        assert str(of_columns.value) == str(of_objects.value)
    assert decoder.probe(b"<html>", NO_KEY) is not None
    assert decoder.probe(one_page(), NO_KEY) is None


def test_an_amount_that_is_no_number_is_refused_with_its_path():
    with pytest.raises(ResponseError) as error:
        read(costs_page("1", "one"), CostsResult)
    assert error.value.path == "$.data[0].results[1].amount.value"


def test_rows_of_another_kind_are_not_in_the_table_and_a_notice_says_so():
    bucket = one_bucket(completion(input_tokens=5), one_row("images", images=7))
    columns = Columns(UsageCompletionsResult)
    decoded = finished(ColumnDecoder(columns).decode(one_page(bucket), NO_KEY))
    assert table_of(columns, decoded.page)["input_tokens"].to_pylist() == [5]
    assert [notice.code for notice in decoded.notices] == ["other-results"]
    (other,) = decoded.page.data[0].other_results
    assert other.images == 7


def kept(columns, *buckets):
    return page_of(one_page(*buckets), columns).data


def test_buckets_are_equal_if_their_objects_are(monkeypatch):
    columns = Columns(CostsResult)
    one, same, tolerant, other, later, wider = kept(
        columns,
        one_bucket(cost("1.50"), start_time_iso="a"),
        one_bucket(cost(1.5), start_time_iso="b"),
        one_bucket(cost("1.5", organization_id=None)),
        one_bucket(cost("1.51")),
        one_bucket(cost("1.5"), start=START + DAY),
        one_bucket(cost("1.5"), cost("1.5")),
    )
    assert one == same == tolerant
    assert other not in (one, later, wider)
    assert later not in (one, wider)
    assert one != "a bucket"


def test_buckets_are_equal_in_any_order_and_spelling_of_unknown_fields():
    one, same, other = kept(
        Columns(CostsResult),
        one_bucket(cost("1", new_a=1, new_b=0.10)),
        one_bucket(cost("1", new_b=0.1, new_a=1)),
        one_bucket(cost("1", new_a=1, new_b=0.2)),
    )
    assert one == same != other


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_has_every_field_of_the_endpoint_by_its_kind(name):
    schema, kind = arrow_schema(name), ENDPOINTS[name].result_class
    expected = {a.name for a in attrs.fields(kind)} - {"object"} | {"start_time", "end_time"}
    assert set(schema.names) - {"currency"} == expected
    assert ("currency" in schema.names) == (name == "costs")
    assert arrow_schema(ENDPOINTS[name]) == schema
    types = {
        "flow": pa.int64(),
        "level": pa.int64(),
        "money": pa.decimal128(38, 18),
        "quantity": pa.decimal128(38, 18),
        "dimension": pa.dictionary(pa.int32(), pa.string()),
        "note": pa.dictionary(pa.int32(), pa.string()),
    }
    special = {"batch": pa.bool_(), "extra": pa.string()}
    special |= dict.fromkeys(["start_time", "end_time"], pa.timestamp("us", tz="UTC"))
    for field in schema:
        assert field.type == special.get(field.name, types[FIELDS[field.name].kind])


def test_columns_are_times_dimensions_figures_and_notes():
    assert arrow_schema("costs", exact=True).names == [
        *("start_time", "end_time"),
        *("project_id", "user_id", "api_key_id", "api_source", "line_item"),
        *("amount", "amount_exact", "currency", "quantity", "quantity_exact", "quantity_unit"),
        *("organization_id", "organization_name", "project_name", "user_email", "extra"),
    ]


def test_an_unknown_endpoint_has_a_schema_of_what_every_row_has():
    names = ["start_time", "end_time", "object", "extra"]
    assert arrow_schema("/organization/usage/brand_new").names == names
    row = {"object": "brand_new", "tokens": 1}
    (found,) = read(one_page(one_bucket(row)), UnknownResult).to_pylist()
    assert found["object"] == "brand_new"
    assert json.loads(found["extra"]) == {"tokens": 1}


def test_null_and_zero_stay_apart():
    body = one_page(
        one_bucket(
            completion(input_tokens=0, input_cached_tokens=0, batch=False, model=""),
            completion(input_tokens=0, batch=None, model=None),
        )
    )
    table = read(body, UsageCompletionsResult)
    assert table["input_cached_tokens"].to_pylist() == [0, None]
    assert table["batch"].to_pylist() == [False, None]
    assert table["model"].to_pylist() == ["", None]
    body = one_page(one_bucket(cost("0E-6176"), one_row("costs", amount=None, quantity=0)))
    table = read(body, CostsResult)
    assert table["amount"].to_pylist() == [0, None]
    assert table["amount_exact"].to_pylist() == ["0", None]
    assert table["quantity"].to_pylist() == [None, 0]
    assert table["currency"].to_pylist() == ["usd", None]


def test_one_table_has_one_dictionary_a_column():
    columns = Columns(UsageCompletionsResult)
    read_ahead = [
        page_of(one_page(one_bucket(*(completion(model=name) for name in names))), columns)
        for names in (["b"] * 2000, ["a", "b"] * 1000, [None, "c"] * 1000)
    ]
    column = table_of(columns, *read_ahead)["model"]
    assert column.num_chunks == 3
    assert [chunk.dictionary.to_pylist() for chunk in column.chunks] == [["b", "a", "c"]] * 3
    assert column.to_pylist()[-2:] == [None, "c"]


def test_a_dictionary_only_grows_from_batch_to_batch():
    columns = Columns(UsageCompletionsResult)
    found = []
    for name in ("b", "a", "b"):
        page = page_of(one_page(one_bucket(completion(model=name))), columns)
        found += columns.batches(page)
    growing = [["b"], ["b", "a"], ["b", "a"]]
    assert [batch["model"].dictionary.to_pylist() for batch in found] == growing
    assert [batch["model"].to_pylist() for batch in found] == [["b"], ["a"], ["b"]]


def test_short_batches_are_joined_and_long_ones_are_not_copied():
    chunks = Chunks()
    schema = pa.schema([("at", pa.int64())])
    sizes = [1, 2, 1500, 3, 700, 700, 1024]
    numbers = itertools.count()
    for size in sizes:
        values = pa.array(list(itertools.islice(numbers, size)), pa.int64())
        chunks.add(pa.record_batch([values], schema))
    joined = chunks.all()
    assert [batch.num_rows for batch in joined] == [3, 1500, 1403, 1024]
    assert pa.Table.from_batches(joined)["at"].to_pylist() == list(range(sum(sizes)))


def test_unknown_fields_of_row_amount_and_bucket_are_in_extra():
    row = cost("1", novel=1.25)
    row["amount"]["tax"] = "0.1"
    plain = cost("2")
    table = read(one_page(one_bucket(row, shard="eu"), one_bucket(plain)), CostsResult)
    first, second = table["extra"].to_pylist()
    assert first == '{"novel":1.25,"amount":{"tax":"0.1"},"bucket":{"shard":"eu"}}'
    assert second is None


def test_an_unknown_field_named_like_a_part_is_not_lost():
    body = one_page(one_bucket(completion(bucket="b", bucket_=1, amount=2), shard="eu"))
    for fast in (True, False):
        (text,) = read(body, UsageCompletionsResult, fast=fast)["extra"].to_pylist()
        assert json.loads(text) == {
            "bucket": "b",
            "bucket_": 1,
            "amount": 2,
            "bucket__": {"shard": "eu"},
        }
    value = CostsResultAmount(value=Decimal(1), currency="usd", extra=Extra({"tax": 1}))
    row = CostsResult(amount=value, extra=Extra({"amount": 5}))
    bucket = UsageTimeBucket(start_time=0, end_time=1, results=(row,))
    for table in (to_arrow([row]), to_arrow(bucket.rows())):
        assert json.loads(table["extra"][0].as_py()) == {"amount": 5, "amount_": {"tax": 1}}


def test_a_figure_beyond_int64_is_an_error_with_its_name_and_bucket():
    most = 2**63 - 1
    fits = one_bucket(completion(input_tokens=most, input_cached_tokens=-most - 1))
    assert read(one_page(fits), UsageCompletionsResult)["input_tokens"].to_pylist() == [most]
    broken = one_bucket(completion(), completion(input_tokens=most + 1), start=START + DAY)
    message = (
        "input_tokens of the bucket that starts at 2024-11-02T00:00:00Z is 9223372036854775808,"
        " which the int64 of a table cannot hold"
    )
    for fast in (True, False):
        assert outcome(read, one_page(fits, broken), UsageCompletionsResult, fast=fast) == (
            MisfitError,
            message,
        )


@pytest.mark.parametrize("as_number", [False, True], ids=["texts", "numbers"])
def test_a_nineteenth_decimal_place_is_an_error_that_names_the_way_out(as_number):
    text = "1.2345678901234567895"
    body = costs_page(text) if not as_number else costs_page("X").replace(b'"X"', text.encode())
    message = (
        "amount of the bucket that starts at 2024-11-01T00:00:00Z has 19 decimal places, and a"
        " table has 18: exact=True rounds it, and keeps all digits as text in amount_exact"
    )
    assert outcome(read, body, CostsResult, exact=False) == (MisfitError, message)
    (row,) = read(body, CostsResult).to_pylist()
    assert row["amount"] == Decimal("1.234567890123456790")
    assert row["amount_exact"] == text


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("0.0000000000000000005", "0"),
        ("0.0000000000000000015", "0.000000000000000002"),
        ("0.0000000000000000025", "0.000000000000000002"),
        ("-0.0000000000000000015", "-0.000000000000000002"),
        ("12345678901234567890.1234567890123456785", "12345678901234567890.123456789012345678"),
        ("1E-6176", "0"),
    ],
)
def test_with_exact_money_is_rounded_half_to_even_and_kept_whole(text, rounded):
    with localcontext(HOSTILE):
        (row,) = read(costs_page(text), CostsResult).to_pylist()
    assert row["amount"] == Decimal(rounded)
    assert Decimal(row["amount_exact"]) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("1e20", "1e30", "1e300", "-123456789012345678901.5", "9" * 39, "9" * 30 + ".5"),
        "99999999999999999999.9999999999999999999",
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_an_amount_too_large_for_a_column_is_an_error(text, exact):
    with localcontext(HOSTILE):
        kind, message = outcome(read, costs_page("1", text), CostsResult, exact=exact)
    assert kind is MisfitError
    shown = f"{Decimal(text):f}"
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    assert message == (
        f"amount of the bucket that starts at 2024-11-01T00:00:00Z is {shown},"
        " which the decimal128(38, 18) of a table cannot hold"
    )


def test_zeros_behind_the_last_digit_are_no_decimal_places():
    text = "0.123456789012345678" + "0" * 30
    row = UsageRow(start_time=0, end_time=1, object="x", amount=Decimal(text))
    assert to_arrow([row])["amount"].to_pylist() == [Decimal("0.123456789012345678")]
    assert getcontext().prec == 28


@given(
    st.lists(
        st.decimals(-(10**20) + 1, 10**20 - 1, places=18).filter(lambda value: abs(value) < 10**20),
        max_size=5,
    )
)
def test_money_of_a_column_is_what_was_sent(values):
    table = read(costs_page(*map(str, values)), CostsResult, exact=False)
    assert table["amount"].to_pylist() == values


def test_a_bucket_of_no_instant_does_not_stop_its_page():
    far = 10**30
    odd = one_bucket(completion(), start=-far)
    odd["end_time"] = far
    body = one_page(one_bucket(completion(input_tokens=3)), odd)
    for fast in (True, False):
        page = page_of(body, Columns(UsageCompletionsResult), fast=fast)
        assert [bucket.start_time for bucket in page.data] == [START, -far]
    with pytest.raises(UsageError, match=f"start_time of the bucket that starts at -{far} is"):
        to_arrow([UsageTimeBucket(start_time=-far, end_time=1, results=(CostsResult(),))])


def test_results_alone_have_no_times():
    made = CostsResult(amount=CostsResultAmount(value=Decimal("1.5"), currency="eur"))
    table = to_arrow([made, CostsResult()])
    assert table.schema.names == arrow_schema("costs").names[2:]
    assert table["amount"].to_pylist() == [Decimal("1.5"), None]
    assert table["currency"].to_pylist() == ["eur", None]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_flat_rows_of_any_kind_make_one_table(kind, data):
    found = data.draw(st.lists(rows(kind), max_size=3))
    bucket = UsageTimeBucket(start_time=0, end_time=60, results=tuple(found))
    of_rows = outcome(to_arrow, bucket.rows(), UsageRow, exact=True)
    of_bucket = outcome(to_arrow, [bucket], UsageTimeBucket[kind], exact=True)
    if isinstance(of_rows, tuple):
        assert of_rows == of_bucket
        return
    for row, same, result in zip(of_rows, of_bucket, found, strict=True):
        assert row.items() >= same.items()
        assert row["object"] == result.object


def test_rows_of_several_kinds_have_no_table_but_that_of_flat_rows():
    image = UsageImagesResult(num_model_requests=1, images=1)
    store = UsageVectorStoresResult(usage_bytes=1)
    bucket = UsageTimeBucket(start_time=0, end_time=1, results=(image,), other_results=(store,))
    for values in ([image, store], [bucket]):
        with pytest.raises(UsageError, match="does not hold UsageVectorStoresResult"):
            to_arrow(values)
    assert to_arrow(bucket.rows())["usage_bytes"].to_pylist() == [None, 1]


def test_without_a_row_the_class_tells_the_columns():
    assert to_arrow([], CostsResult).schema.names == arrow_schema("costs").names[2:]
    assert to_arrow([], UsageTimeBucket[CostsResult]).schema == arrow_schema("costs")
    empty = UsageTimeBucket(start_time=0, end_time=1)
    assert to_arrow([empty], UsageTimeBucket[CostsResult]).num_rows == 0
    assert to_arrow([], UsageRow).num_rows == 0
    for values in ([], [empty]):
        with pytest.raises(TypeError, match="pass a class of rows"):
            to_arrow(values)


ROW = CostsResult()
BUCKET = UsageTimeBucket(start_time=0, end_time=1, results=(ROW,))
BUCKET_OF_OBJECTS = UsageTimeBucket(start_time=0, end_time=1, results=({"a": 1},))


@pytest.mark.parametrize(
    ("values", "kind", "expected", "got"),
    [
        ([BUCKET, ROW], None, "UsageTimeBucket", "CostsResult"),
        ([ROW, BUCKET], None, "UsageResult or UsageRow", "UsageTimeBucket"),
        ([ROW], UsageTimeBucket[CostsResult], "UsageTimeBucket", "CostsResult"),
        ([{"a": 1}], CostsResult, "UsageResult or UsageRow", "dict"),
        ([{"a": 1}], None, "UsageResult or UsageRow", "dict"),
        ([ROW, "text"], None, "UsageResult or UsageRow", "str"),
        ([5], UsageTimeBucket[CostsResult], "UsageTimeBucket", "int"),
        ([BUCKET_OF_OBJECTS], UsageTimeBucket[CostsResult], "UsageResult or UsageRow", "dict"),
    ],
)
def test_a_value_that_is_no_row_or_no_bucket_is_a_type_error(values, kind, expected, got):
    with pytest.raises(TypeError, match=f"^expected {expected} only, got {got}$"):
        to_arrow(values, kind)


def test_a_row_without_a_bucket_is_named_by_its_number():
    images = [UsageImagesResult(num_model_requests=1, images=n) for n in (1, 2**63)]
    with pytest.raises(UsageError, match=r"images of row 1 is 9223372036854775808"):
        to_arrow(images)
    row = UsageRow(start_time=60, end_time=120, object="x", images=2**63)
    with pytest.raises(
        UsageError, match="images of the bucket that starts at 1970-01-01T00:01:00Z"
    ):
        to_arrow([row])


def test_a_missing_pyarrow_is_one_line_with_the_command(monkeypatch):
    pyarrow.cache_clear()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError) as error:
        Columns(CostsResult)
    assert str(error.value) == "tables need pyarrow: pip install 'usage-async[arrow]'"
