"""Queries: what is taken, what is refused, and with which words."""

import re
import sys
from datetime import UTC, date, datetime, timedelta

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from values import DAY, NAMES, START

from usage_async import ENDPOINTS, QueryError, TimeRange, UnknownResult
from usage_async._query.paths import is_allowed
from usage_async._query.request import build

NOW = int(datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC).timestamp())
OCTOBER, NOVEMBER = 1_790_812_800, 1_793_491_200


def completions(**params):
    return build("completions", {"start_time": START, **params})


def refused(match, *args, **kwargs):
    with pytest.raises(QueryError, match=match) as error:
        build(*args, **kwargs)
    return str(error.value)


def test_a_period_goes_with_no_other_end():
    for more in ({"start_time": START}, {"end_time": START}):
        refused("period gives both ends", "costs", {"period": "today", **more})


def test_a_day_is_relative_to_the_run_and_not_to_the_query():
    query = build("completions", {"start_time": "7d", "end_time": "24h", "bucket_width": "1h"})
    hour = NOW - NOW % 3600
    assert query.resolve(NOW) == TimeRange(NOW - 7 * DAY, hour - DAY)
    assert query.resolve(NOW + DAY) == TimeRange(NOW - 6 * DAY, hour)
    same = {"start_time": timedelta(days=7), "end_time": "1d", "bucket_width": "1h"}
    assert query == build("completions", same)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        pytest.param({}, "start_time or period is required", id="no start"),
        pytest.param({"start_time": None}, "start_time or period is required", id="none"),
        pytest.param(
            {"start_time": START, "end_time": START},
            "start_time 2024-11-01T00:00:00Z is not before end_time 2024-11-01T00:00:00Z",
            id="empty",
        ),
        pytest.param({"start_time": 2, "end_time": 1}, "is not before end_time", id="backwards"),
        pytest.param({"start_time": 1, "end_time": 0}, "is not before end_time", id="ends at 0"),
        pytest.param(
            {"start_time": START, "end_time": False}, "end_time takes", id="end is a bool"
        ),
        pytest.param({"start_time": START, "end_time": ""}, "end_time takes", id="end is empty"),
    ],
)
def test_a_range_that_cannot_be_is_refused_at_once(params, says):
    refused(says, "completions", params)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        pytest.param({"start_time": NOW}, "nothing of the range has passed", id="starts now"),
        pytest.param({"start_time": NOW + 9}, "is in the future", id="starts later"),
        pytest.param({"start_time": "1d", "end_time": "7d"}, "is not before", id="backwards"),
        pytest.param({"start_time": "90m", "end_time": "1h"}, "is not before", id="one bucket"),
        pytest.param({"start_time": "999999d"}, "before 1970", id="starts too long ago"),
        pytest.param({"start_time": 9, "end_time": "999999d"}, "before 1970", id="ends then"),
        pytest.param({"start_time": date(1969, 12, 31)}, "before 1970", id="before the epoch"),
        pytest.param({"period": "1969-12-31"}, "before 1970", id="a day before the epoch"),
    ],
)
def test_a_range_that_turns_out_empty_is_refused_when_a_run_begins(params, says):
    query = build("completions", params)
    with pytest.raises(QueryError, match=says):
        query.resolve(NOW)


def test_an_end_in_the_future_is_kept():
    assert completions(end_time=NOW + DAY).resolve(NOW) == TimeRange(START, NOW + DAY)


@pytest.mark.parametrize("name", NAMES)
def test_every_endpoint_takes_what_it_lists(name):
    endpoint = ENDPOINTS[name]
    filters = {
        parameter: True if what.type is bool else list(what.choices) or ["a", "b"]
        for parameter, what in endpoint.filters.items()
    }
    for width, cap in endpoint.limits.items():
        params = {"start_time": START, "bucket_width": width, "limit": cap, **filters}
        query = build(name, {**params, "group_by": endpoint.group_by})
        sent = query.params(START, START + DAY, limit=query.page_limit, page=None)
        expected = [("start_time", str(START)), ("end_time", str(START + DAY))]
        expected += [("bucket_width", width)]
        expected += [("group_by", dimension) for dimension in endpoint.group_by]
        for parameter, values in sorted(filters.items()):
            expected += [(parameter, value) for value in (["true"] if values is True else values)]
        assert sent == [*expected, ("limit", str(cap))]
        refused(
            f"takes an int from 1 to {cap} at {width}, not {cap + 1}",
            name,
            {**params, "limit": cap + 1},
        )


KINDS = {
    "list": list,
    "tuple": tuple,
    "keys": lambda texts: dict.fromkeys(texts).keys(),
    "iterator": iter,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("name", "more"),
    [("completions", {}), ("completions", {"unchecked": True}), ("/organization/usage/new", {})],
)
def test_an_empty_list_is_refused_everywhere(name, more, make):
    with pytest.raises(QueryError, match="project_ids is empty, which would read everything"):
        build(name, {"start_time": START, "project_ids": make(())}, **more)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", ["completions", "/organization/usage/new"])
def test_any_iterable_of_strings_is_a_list(name, make):
    query = build(name, {"start_time": START, "project_ids": make(["a", "b"])})
    pairs = query.params(1, 2, limit=None, page=None)
    assert [value for key, value in pairs if key == "project_ids"] == ["a", "b"]
    assert "project_ids=['a', 'b']" in str(query)


class Ascending(set):
    def __iter__(self):
        return iter(sorted(super().__iter__()))


class Descending(set):
    def __iter__(self):
        return iter(sorted(super().__iter__(), reverse=True))


@pytest.mark.parametrize("name", ["project_ids", "group_by", "regions"])
def test_equal_sets_make_equal_queries_in_whatever_order_they_give_their_values(name):
    values = ["model", "project_id", "user_id"]
    params = {"start_time": START}
    one, other = (
        build("completions", {**params, name: kind(values)}, unchecked=True)
        for kind in (Ascending, Descending)
    )
    assert one == other
    assert hash(one) == hash(other)
    assert str(one) == str(other)
    assert one.params(START, NOW, limit=1, page=None) == other.params(
        START, NOW, limit=1, page=None
    )


@pytest.mark.parametrize("value", [{"a": 1}, b"a", [None], [["a"]], 1j, "", [""]], ids=repr)
def test_what_is_no_value_is_not_sent_by_its_repr(value):
    with pytest.raises(QueryError, match="teams takes a string, a number or a list of them"):
        build("completions", {"start_time": START, "teams": value}, unchecked=True)


@pytest.mark.parametrize(
    "params",
    [
        {"project_ids": ["a\ud800"]},
        {"teams": "a\ud800"},
        {"team\ud800": 1},
        {"page": "a\ud800", "end_time": NOW},
    ],
    ids=ascii,
)
def test_a_text_that_cannot_be_sent_whole_is_refused(params):
    with pytest.raises(QueryError, match="holds a lone surrogate"):
        build("completions", {"start_time": START, **params}, unchecked=True)


def test_what_is_left_out_or_none_is_not_sent():
    query = completions(project_ids=None, group_by=None, end_time=None, page=None, batch=None)
    assert query == completions()
    assert query.params(1, 2, limit=None, page=None) == [
        ("start_time", "1"),
        ("end_time", "2"),
        ("bucket_width", "1d"),
    ]
    assert query.params(1, 2, limit=None, page="page_=/+")[-1] == ("page", "page_=/+")
    assert query.page_limit == 31


@pytest.mark.parametrize("batch", [True, False])
def test_a_flag_is_sent_in_lowercase(batch):
    sent = completions(batch=batch).params(1, 2, limit=None, page=None)
    assert ("batch", str(batch).lower()) in sent


def test_values_that_repeat_are_sent_once_in_their_order():
    query = completions(group_by=["model", "batch", "model"], project_ids=("b", "a", "b"))
    assert query.group_by == ("model", "batch")
    assert dict(query.filters) == {"project_ids": ("b", "a")}


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        pytest.param("completions", {"group_by": "model"}, "write ['model']", id="bare group"),
        pytest.param("costs", {"project_ids": "p"}, "write ['p']", id="bare filter"),
        pytest.param("costs", {"project_ids": 1}, "takes a list of strings, not 1", id="int"),
        pytest.param("costs", {"project_ids": []}, "project_ids is empty", id="empty filter"),
        pytest.param("costs", {"group_by": ()}, "group_by is empty", id="empty groups"),
        pytest.param("costs", {"project_ids": ["a", 1]}, "takes strings, not 1", id="a number"),
        pytest.param("costs", {"project_ids": [["a"]]}, "takes strings, not ['a']", id="a list"),
        pytest.param("costs", {"project_ids": [""]}, "takes strings, not ''", id="empty text"),
        pytest.param(
            "costs",
            {"group_by": ["model"]},
            "group_by takes project_id, user_id, line_item, api_key_id, api_source; not 'model'",
            id="unknown group",
        ),
        pytest.param("images", {"group_by": ["sizes"]}, "takes project_id, user_id", id="choice"),
        pytest.param("completions", {"batch": "true"}, "takes True or False", id="flag as text"),
        pytest.param("completions", {"batch": 1}, "takes True or False", id="flag as number"),
        pytest.param("costs", {"bucket_width": "1h"}, "bucket_width '1d', not '1h'", id="width"),
        pytest.param("costs", {"bucket_width": 86400}, "not 86400", id="width as number"),
        pytest.param("costs", {"limit": 0}, "limit is the number of buckets a page", id="limit 0"),
        pytest.param("costs", {"limit": True}, "not True", id="limit as flag"),
        pytest.param("costs", {"limit": "5"}, "not '5'", id="limit as text"),
        pytest.param("costs", {"page": ""}, "page takes a cursor, not ''", id="empty cursor"),
        pytest.param("costs", {"page": 2}, "page takes a cursor, not 2", id="page number"),
        pytest.param("costs", {"page": "p"}, "page needs the absolute", id="cursor, open end"),
        pytest.param("costs", {"clamp": 1}, "clamp takes True or False", id="clamp"),
        pytest.param(
            "costs",
            {"models": ["gpt-5"], "colour": 1},
            "costs does not take models, colour; it takes start_time, end_time, period,"
            " bucket_width, group_by, limit, page, clamp, project_ids, api_key_ids, line_items",
            id="unknown parameters",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_is_right(name, params, says):
    refused(re.escape(says), name, {"start_time": START, **params})


def test_a_cursor_goes_with_the_range_that_it_was_made_with():
    query = build("costs", {"start_time": START, "end_time": START + DAY, "page": "page_=/+"})
    assert query.page == "page_=/+"
    for times in ({"start_time": "7d", "end_time": START}, {"start_time": START, "end_time": "1d"}):
        refused("page needs the absolute", "costs", {**times, "page": "page_"})
    month = build("costs", {"period": "2026-10", "page": "page_"})
    assert month.resolve(NOW) == TimeRange(OCTOBER, NOVEMBER)


def test_an_unknown_name_is_refused_with_those_that_there_are():
    message = refused("no endpoint 'cost'", "cost", {"start_time": START})
    assert all(name in message for name in NAMES)


@pytest.mark.parametrize(
    ("name", "params", "unknown"),
    [
        pytest.param("images", {"sizes": ["1792x1024"]}, [], id="a size that is known"),
        pytest.param("images", {"sizes": ["1x1", "512x512"]}, [("sizes", "1x1")], id="a size"),
        pytest.param(
            "images",
            {"sources": ["image.dream"], "sizes": ["9x9"]},
            [("sizes", "9x9"), ("sources", "image.dream")],
            id="two filters",
        ),
        pytest.param(
            "web_search_calls",
            {"context_levels": ["huge"]},
            [("context_levels", "huge")],
            id="a level",
        ),
        pytest.param("images", {"project_ids": ["p"], "models": ["m"]}, [], id="any text goes"),
    ],
)
def test_a_value_that_the_api_may_know_is_sent_and_noted(name, params, unknown):
    query = build(name, {"start_time": START, **params})
    assert query.unknown_values == tuple(unknown)
    sent = query.params(START, START + DAY, limit=None, page=None)
    assert {(key, value) for key in params for value in params[key]} <= set(sent)
    assert build(name, {"start_time": START, **params}, unchecked=True).unknown_values == ()


@pytest.mark.parametrize(
    "path",
    [
        "/organization/../v1/chat",
        "/organization/usage/x?y=1",
        "/organization/usage/x#y",
        "/organization//evil.example",
        "/organization/usage/%2e",
        "/organization/usage/x\n",
        "/organization/",
        "/chat/completions",
        "//evil.example/organization/x",
        "https://evil.example/organization/x",
    ],
)
def test_a_path_outside_the_organization_is_refused(path):
    refused("is not a path below /organization/|no endpoint", path, {"start_time": START})


@given(st.text("aZ09_/-.?%\n é", max_size=4))
@example("a\n")
def test_a_path_is_taken_just_if_it_is_plain(text):
    assert is_allowed(f"/organization/{text}") == bool(re.fullmatch(r"[A-Za-z0-9_/-]+", text))


def test_an_endpoint_newer_than_this_library_is_asked_by_its_path():
    query = build(
        "/organization/usage/brand_new",
        {"start_time": START, "group_by": ["whatever"], "limit": 500, "sizes": ["a", "b"], "x": 1},
    )
    assert query.endpoint.result_class is UnknownResult
    assert (query.bucket_width, query.width_s, query.page_limit) == (None, None, 500)
    assert query.params(1, 2, limit=None, page=None)[2:] == [
        ("group_by", "whatever"),
        ("sizes", "a"),
        ("sizes", "b"),
        ("x", "1"),
    ]
    assert str(query) == (
        f"query('/organization/usage/brand_new', start_time={START}, group_by=['whatever'],"
        " limit=500, sizes=['a', 'b'], x=1)"
    )
    wide = build("/organization/usage/brand_new", {"start_time": "36h", "bucket_width": "1h"})
    assert (wide.width_s, wide.page_limit) == (3600, None)
    assert (
        str(wide) == "query('/organization/usage/brand_new', start_time='36h', bucket_width='1h')"
    )
    bare = build("/organization/usage/brand_new", {"start_time": "36h"})
    assert bare.resolve(NOW) == TimeRange(NOW - 36 * 3600, NOW)


def test_a_known_path_is_the_known_endpoint():
    query = build("/organization/costs", {"start_time": START})
    assert query == build("costs", {"start_time": START})
    assert str(query) == f"costs(start_time={START})"


def test_unchecked_sends_what_this_library_does_not_know():
    params = {
        "start_time": START,
        "group_by": ["team_id"],
        "bucket_width": "1w",
        "sizes": ["any"],
        "teams": ("a", "b"),
        "tags": {"one"},
        "deep": True,
    }
    query = build("images", params, unchecked=True)
    assert query.params(1, 2, limit=query.page_limit, page=None)[2:] == [
        ("bucket_width", "1w"),
        ("group_by", "team_id"),
        ("sizes", "any"),
        ("teams", "a"),
        ("teams", "b"),
        ("tags", "one"),
        ("deep", "true"),
    ]
    assert str(query).endswith("teams=['a', 'b'], tags=['one'], deep=True, unchecked=True)")
    more = {"limit": 10_000, "batch": "maybe"}
    sent = build("completions", {"start_time": START, **more}, unchecked=True)
    assert {("batch", "maybe")} <= set(sent.params(1, 2, limit=sent.page_limit, page=None))
    assert sent.page_limit == 10_000
    refused(
        "takes bucket_width", "images", {"start_time": START, "bucket_width": 5}, unchecked=True
    )


def test_a_query_does_not_change_with_the_list_that_it_was_given():
    groups = ["model"]
    query = completions(group_by=groups)
    groups.append("batch")
    assert query.group_by == ("model",)
    assert str(query) == f"completions(start_time={START}, group_by=['model'])"


# Equality, hash, printing

names = st.sampled_from(["a", "b", "c"])
params = st.fixed_dictionaries(
    {"start_time": st.sampled_from([START, "7d", timedelta(days=7), date(2024, 11, 1)])},
    optional={
        "end_time": st.sampled_from(["1d", None]),
        "group_by": st.lists(st.sampled_from(["model", "batch"]), min_size=1, unique=True),
        "project_ids": st.lists(names, min_size=1, unique=True),
        "models": st.lists(names, min_size=1, unique=True).map(tuple),
        "limit": st.integers(1, 31),
        "batch": st.booleans(),
        "clamp": st.booleans(),
    },
)


@given(params, st.randoms())
def test_equal_queries_hash_equal_whatever_the_order_of_their_parameters(given_params, random):
    items = list(given_params.items())
    random.shuffle(items)
    one, other = build("completions", given_params), build("completions", dict(items))
    assert one == other
    assert hash(one) == hash(other)


@given(params, params)
def test_queries_are_equal_exactly_when_they_ask_the_same(one, other):
    def asked(given_params):
        query = build("completions", given_params)
        times = query.resolve(NOW)
        sent = query.params(times.start_time, times.end_time, limit=query.limit, page=query.page)
        return query, (sent, query.clamp, query.start, query.end)

    (one_query, one_asks), (other_query, other_asks) = asked(one), asked(other)
    assert (one_query == other_query) == (one_asks == other_asks)


@given(params)
def test_a_query_prints_as_the_call_that_makes_it_again(given_params):
    def completions(**params):
        return build("completions", params)

    query = build("completions", given_params)
    names = {"completions": completions, "datetime": sys.modules["datetime"]}
    assert eval(str(query), names) == query  # noqa: S307 - our own text
    assert hash(attrs.evolve(query, limit=1)) == hash(attrs.evolve(query, limit=1, given=()))
