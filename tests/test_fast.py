"""The fast path gives the values of the tolerant reader, or refuses."""

import gc
import json
from decimal import Decimal

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import FAST, TOLERANT, cost, exact_json, numbers, refused_at, tried, wild
from values import (
    NAMES,
    amounts,
    decoded,
    every_kind,
    every_page,
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
    UnknownResult,
    UsageCompletionsResult,
    UsageResponse,
    UsageTimeBucket,
    converter,
    dumps,
    loads,
)
from usage_async._codec.converter import make_converter
from usage_async._codec.fast import (
    MOST_LEARNED,
    NOTHING_LEARNED,
    exact,
    exact_or_none,
    learn,
    struct_decoder,
)


@every_kind
@given(data=st.data())
def test_both_readers_give_equal_values(kind, data):
    body = dumps(data.draw(pages(kind)))
    assert FAST.loads(body, UsageResponse[kind]) == TOLERANT.loads(body, UsageResponse[kind])


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


@given(
    st.from_regex(r"-?[0-9]{0,4}\.?[0-9]{0,9}0{0,30}([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.booleans(),
)
def test_both_readers_read_the_same_amount_or_refuse_it(text, quoted):
    body = json.dumps(cost("?")).replace('"?"', f'"{text}"' if quoted else text).encode()
    fast, tolerant = tried(FAST, body, CostsResult), tried(TOLERANT, body, CostsResult)
    assert repr(fast) == repr(tolerant)
    if fast is not None:
        assert fast.amount.value == Decimal(text)
        assert str(fast.amount.value) == str(tolerant.amount.value)


drift = st.dictionaries(
    st.sampled_from(["new", "newer", "extra", "other_results", "é x", 'a"b', "\n", "", "y" * 201]),
    json_values | amounts | st.lists(amounts, max_size=2),
    max_size=3,
)
"""Unknown fields; some of the names cannot be learned."""


def drifted_page(kind, data):
    """A page with unknown fields anywhere, as its text."""
    page = exact_json(dumps(data.draw(pages(kind))))
    rows = [row for bucket in page["data"] for row in bucket["results"]]
    paid = [row["amount"] for row in rows if row.get("amount")]
    for value in (page, *page["data"], *rows, *paid):
        value.update(data.draw(drift))
    return numbers.encode(page)


@every_kind
@given(data=st.data())
def test_learned_fields_are_read_as_the_tolerant_reader_reads_them(kind, data):
    using = make_converter()
    for _ in range(3):
        body = drifted_page(kind, data)
        fast, tolerant = decoded(body, kind, using), decoded(body, kind, TOLERANT)
        assert fast.page == tolerant.page
        assert repr(fast.page) == repr(tolerant.page)
        assert dumps(fast.page) == dumps(tolerant.page)
        assert fast.notices == tolerant.notices
        assert repr(using.loads(body, UsageResponse[kind])) == repr(tolerant.page)


@pytest.fixture
def taught(monkeypatch):
    """A converter that knows `new` everywhere, and cannot read tolerantly any more."""
    using = make_converter()
    for name in ("completions", "costs"):
        decoded(novel_page(name, new=1), ENDPOINTS[name].result_class, using)
    monkeypatch.setattr(using, "loads_tolerant", None)
    return using


def novel_page(name, **new):
    row = one_row(name, **new)
    if name == "costs":
        row["amount"] = {"value": "1.50", "currency": "usd", **new}
    return one_page(one_bucket(row, one_row(name), **new), **new)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param({"new": 7}, id="int"),
        pytest.param({"new": "text"}, id="text"),
        pytest.param({"new": None}, id="null"),
        pytest.param({"new": {"a": [1.5, {"b": None}]}}, id="nested"),
        pytest.param({}, id="none"),
    ],
)
@pytest.mark.parametrize("name", ["completions", "costs"])
def test_a_page_with_learned_fields_takes_the_fast_path(taught, name, new):
    kind, body = ENDPOINTS[name].result_class, novel_page(name, **new)
    read = decoded(body, kind, taught)
    assert read.page == decoded(body, kind, TOLERANT).page
    places = {notice.message.partition(" has ")[0] for notice in read.notices}
    amount = {"'amount'"} if name == "costs" else set()
    expected = {"'page'", "'bucket'", f"'{ENDPOINTS[name].object}'", *amount}
    assert places == (expected if new else set())


def test_a_field_of_one_class_is_unknown_to_another(taught):
    kind = ENDPOINTS["embeddings"].result_class
    body = novel_page("embeddings", new=1)
    assert taught.loads_learned(body, UsageResponse[kind]) is None
    names = dict(learn(taught.learned, TOLERANT.loads(body, UsageResponse[kind])))
    assert names[kind] == names[UsageTimeBucket] == ("new",)


def test_a_bounded_number_of_names_is_learned():
    using = make_converter()
    for first in (0, 30, 60):
        fields = {f"new {number:02}": number for number in range(first, first + 30)}
        body = one_page(one_bucket(one_row("completions", **fields)))
        read = decoded(body, UsageCompletionsResult, using)
        assert read.page.data[0].results[0].extra == fields
    ((cls, names),) = using.learned
    assert (cls, len(names)) == (UsageCompletionsResult, MOST_LEARNED)


@pytest.mark.parametrize("at_once", [1, 8, 40])
def test_invented_names_keep_no_ordinary_field_from_being_learned(at_once):
    using, kind = make_converter(), UsageCompletionsResult
    for first in range(0, 40, at_once):
        names = [f"invented {number:02}" for number in range(first, first + at_once)]
        using.loads(json.dumps(one_row("completions", **dict.fromkeys(names, 1))).encode(), kind)
    body = json.dumps(one_row("completions", ordinary=7)).encode()
    assert using.loads_learned(body, kind) is None
    assert using.loads(body, kind) == using.loads_learned(body, kind)
    assert using.loads_learned(body, kind).extra == {"ordinary": 7}


def test_a_value_with_too_many_names_drives_out_none():
    using, kind = make_converter(), UsageCompletionsResult
    for names in (["ordinary"], map(str, range(MOST_LEARNED + 1))):
        using.loads(json.dumps(one_row("completions", **dict.fromkeys(names, 1))).encode(), kind)
    assert using.learned == {(kind, ("ordinary",))}


def test_names_that_are_known_make_no_other_types():
    using, kind = make_converter(), UsageCompletionsResult
    for names in ("ab", "cd"):
        using.loads(json.dumps(one_row("completions", **dict.fromkeys(names, 1))).encode(), kind)
    before = using.learned
    assert (
        learn(before, TOLERANT.loads(json.dumps(one_row("completions", b=1)).encode(), kind))
        == before
    )


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "x" * 201])
def test_a_name_that_cannot_be_learned_is_read_all_the_same(name):
    using = make_converter()
    for _ in range(2):
        body = json.dumps(one_row("completions", **{name: 1})).encode()
        assert using.loads(body, UsageCompletionsResult).extra == {name: 1}
    assert using.learned == NOTHING_LEARNED


def test_a_copy_of_a_converter_learns_for_itself():
    copy = FAST.copy()
    copy.loads(json.dumps(one_row("completions", new=1)).encode(), UsageCompletionsResult)
    assert copy.learned
    assert FAST.learned == NOTHING_LEARNED


@pytest.mark.parametrize("sent", ['"0.10"', "0.10", '"30"', "30", '"0E-6176"', "-1e2", '"1.0"'])
def test_a_decimal_of_a_struct_has_one_form_however_it_is_written(sent):
    body = f'[{{"value":{sent},"currency":"usd"}}]'.encode()
    (struct,) = struct_decoder(tuple[CostsResultAmount, ...])(body)
    (amount,) = TOLERANT.loads(body, tuple[CostsResultAmount, ...])
    assert str(exact(struct.value)) == str(exact_or_none(struct.value)) == str(amount.value)


@pytest.mark.parametrize("value", ["1_000", " 1 ", "NaN", "1e999", "", True, [], {}, 10**400, None])
def test_what_is_no_decimal_of_json_is_refused(value):
    with pytest.raises(msgspec.ValidationError):
        exact(value)
    if value is None:
        assert exact_or_none(value) is None


def test_a_class_without_a_fast_path_has_no_structs():
    assert struct_decoder(UnknownResult) is None
