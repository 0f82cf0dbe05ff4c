"""Feeds: they are written and read, and each has a table of its own."""

import pickle
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from usage_async import ENDPOINTS
from usage_async.collect import Feed, default_feeds
from usage_async.errors import ConfigurationError, QueryError


@pytest.mark.parametrize(
    ("text", "written", "table"),
    [
        ("costs", "costs:1d", "costs_1d"),
        (
            "costs:1d:project+line_item",
            "costs:1d:project+line_item",
            "costs_by_project_line_item_1d",
        ),
        (
            "costs:1d:line_item+project_id",
            "costs:1d:project+line_item",
            "costs_by_project_line_item_1d",
        ),
        ("completions:1h", "completions:1h", "completions_1h"),
        ("completions::model", "completions:1d:model", "completions_by_model_1d"),
        ("completions:1m:", "completions:1m", "completions_1m"),
        ("completions:1h:model+", "completions:1h:model", "completions_by_model_1h"),
        ("embeddings:1h:api_key", "embeddings:1h:api_key", "embeddings_by_api_key_1h"),
        (
            "vector_stores:1h:project",
            "vector_stores:1h:project",
            "vector_stores_by_project_1h_levels",
        ),
    ],
)
def test_a_feed_is_read_and_written(text, written, table):
    feed = Feed.parse(text)
    assert (str(feed), feed.table) == (written, table)
    assert Feed.parse(str(feed)) == feed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no endpoint ''; there are completions"),
        ("images2:1d", "no endpoint 'images2'"),
        ("/organization/costs", "no endpoint"),
        ("costs:1h", "bucket_width"),
        ("costs:2d", "bucket_width"),
        ("costs:1d:model", "costs has no dimension 'model': project, user, line_item"),
        ("completions:1h:model:x", "no dimension 'model:x'"),
    ],
)
def test_what_is_no_feed_is_refused(text, told):
    with pytest.raises(QueryError, match=re.escape(told)):
        Feed.parse(text)


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint": "nothing"},
        {"endpoint": "costs", "bucket_width": "1h"},
        {"endpoint": "costs", "group_by": ("model",)},
        {"endpoint": "costs", "group_by": ("project",)},
        {"endpoint": "costs", "filters": {"models": ["a"]}},
        {"endpoint": "costs", "filters": {"limit": 3}},
        {"endpoint": "costs", "filters": {"project_ids": []}},
        {"endpoint": "completions", "filters": {"batch": "maybe"}},
    ],
    ids=str,
)
def test_what_the_endpoint_does_not_take_is_refused(arguments):
    with pytest.raises(QueryError):
        Feed(**arguments)


def test_equal_questions_are_equal_feeds():
    one = Feed(
        "completions", "1h", ["model", "project_id"], {"models": ["b", "a", "b"], "batch": True}
    )
    other = Feed(
        "completions",
        "1h",
        ("project_id", "model"),
        [("batch", True), ("models", ("a", "b"))],
    )
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one


def test_feeds_that_differ_in_their_filters_have_different_tables():
    feeds = [
        Feed("completions", "1h"),
        Feed("completions", "1h", (), {"models": ["a"]}),
        Feed("completions", "1h", (), {"models": ["a", "b"]}),
        Feed("completions", "1h", (), {"project_ids": ["a"]}),
        Feed("completions", "1h", (), {"batch": True}),
        Feed("completions", "1h", (), {"batch": False}),
    ]
    assert len({feed.table for feed in feeds}) == len(feeds)
    assert re.fullmatch("completions_1h_f[0-9a-f]{6}", feeds[1].table)


def test_the_filters_of_a_feed_are_those_of_its_query():
    feed = Feed("completions", "1h", (), {"batch": True, "models": ["a"]})
    assert feed.parameters() == {"bucket_width": "1h", "batch": True, "models": ("a",)}
    again = Feed("completions", "1h", (), feed.filters)
    assert again == feed
    assert Feed("completions", "1h", (), {"batch": False}).parameters()["batch"] is False


@pytest.mark.parametrize("name", ["mine", "a", "a" * 57, "order", "my_1_table", "a_named_1"])
def test_a_table_can_have_a_name_of_its_own(name):
    assert Feed("costs", table=name).table == name
    assert str(Feed("costs", table=name)) == "costs:1d"


@pytest.mark.parametrize(
    "name",
    [
        "usage_feeds",
        "usage_",
        "Mine",
        "1a",
        "_a",
        "a b",
        'a"',
        "a;",
        "ä",
        "a.b",
        "a" * 58,
        "a\n",
        "a_named",
    ],
)
def test_other_names_of_tables_are_refused(name):
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        Feed("costs", table=name)


@st.composite
def feeds(draw):
    name = draw(st.sampled_from(sorted(ENDPOINTS)))
    endpoint = ENDPOINTS[name]
    width = draw(st.sampled_from(["1d"] if name == "costs" else ["1m", "1h", "1d"]))
    group_by = draw(st.lists(st.sampled_from(list(endpoint.group_by)), unique=True))
    texts = st.lists(st.text(min_size=1), min_size=1, max_size=3)
    filters = {
        filter_name: draw(st.booleans() if each.type is bool else texts)
        for filter_name, each in endpoint.filters.items()
        if draw(st.booleans())
    }
    return Feed(name, width, group_by, filters)


@given(one=feeds(), other=feeds())
def test_no_two_feeds_have_one_table(one, other):
    assume(one != other)
    assert one.table != other.table


@given(feed=feeds())
def test_names_of_tables_fit_into_every_store(feed):
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,56}", feed.table)
    assert not feed.table.startswith("usage_")
    # A name that was derived can be given, too.
    assert Feed(feed.endpoint, feed.bucket_width, feed.group_by, feed.filters, feed.table) == feed


def test_the_widest_grouping_of_each_endpoint_has_a_table_of_its_own():
    found = [
        Feed(name, width, endpoint.group_by[:count], filters).table
        for name, endpoint in ENDPOINTS.items()
        for width in (["1d"] if name == "costs" else ["1m", "1h", "1d"])
        for count in range(len(endpoint.group_by) + 1)
        for filters in ({}, {"project_ids": ["p"]})
    ]
    assert len({*found}) == len(found)


def test_the_default_feeds_cover_every_endpoint():
    found = default_feeds()
    assert [feed.endpoint for feed in found].count("costs") == 1
    assert {feed.endpoint for feed in found} == {*ENDPOINTS}
    assert [str(feed) for feed in found if feed.endpoint in ("costs", "completions")] == [
        "costs:1d:project+line_item",
        "completions:1h:project+model",
    ]
    assert [feed.table for feed in found if feed.is_level] == ["vector_stores_by_project_1h_levels"]


def test_a_width_is_told_in_seconds():
    assert [Feed("completions", width).width_s for width in ("1m", "1h", "1d")] == [60, 3600, 86400]
