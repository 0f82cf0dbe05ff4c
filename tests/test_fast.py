"""The fast path gives the values of the tolerant reader, or refuses."""

import gc
import json
from decimal import Decimal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import FAST, TOLERANT, cost, refused_at, tried, wild
from values import (
    NAMES,
    every_kind,
    every_page,
    one_bucket,
    one_page,
    one_row,
    pages,
    sample,
)

from usage_async import (
    ENDPOINTS,
    CostsResult,
    UsageCompletionsResult,
    UsageResponse,
    converter,
    dumps,
    loads,
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
