"""Scopes: which queries they allow, and what those ask for. Pure."""

from types import SimpleNamespace

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import ENDPOINTS, QueryError, ScopeError
from usage_async._query.request import build
from usage_async._query.scope import Scope, checked_scope

IDS = ("proj_a", "proj_b", "proj_c")
SCOPE = Scope(project_ids=IDS)
OF_PEOPLE = Scope(project_ids=IDS, people=True)


@pytest.mark.parametrize(
    ("project_ids", "people", "message"),
    [
        pytest.param(None, False, "project_ids takes an iterable of ids, not None", id="None"),
        pytest.param([], False, "project_ids is empty", id="empty"),
        pytest.param(iter(()), False, "project_ids is empty", id="empty iterator"),
        pytest.param("proj_a", False, "takes an iterable of ids, not 'proj_a'", id="text"),
        pytest.param(b"proj_a", False, "takes an iterable of ids", id="bytes"),
        pytest.param({"proj_a": 1}, False, "takes an iterable of ids", id="mapping"),
        pytest.param(5, False, "takes an iterable of ids, not 5", id="int"),
        pytest.param([None], False, "None is no id of a project", id="None among them"),
        pytest.param(["proj_a", ""], False, "'' is no id of a project", id="empty id"),
        pytest.param(["proj_a\0"], False, "is no id of a project", id="NUL"),
        pytest.param(["a/../b"], False, "is no id of a project", id="path"),
        pytest.param(["proj_a\n"], False, "is no id of a project", id="newline"),
        pytest.param(["proj_a"], 1, "people takes True or False, not 1", id="people"),
        pytest.param(["proj_a"], None, "people takes True or False, not None", id="no people"),
    ],
)
def test_a_scope_that_is_none_is_refused(project_ids, people, message):
    with pytest.raises(ScopeError, match=message):
        checked_scope(project_ids, people)


def test_equal_projects_make_equal_scopes():
    scopes = [checked_scope(ids, False) for ids in (IDS, [*IDS, *IDS], set(IDS), reversed(IDS))]
    assert set(scopes) == {SCOPE}


subsets = st.lists(st.sampled_from([*IDS, "proj_d"]), min_size=1)
scopes = st.builds(checked_scope, subsets, st.booleans())


@given(scopes, scopes, scopes)
def test_a_scope_within_another_is_never_wider(one, other, third):
    try:
        both = one.within(other)
    except ScopeError:
        assert not set(one.project_ids) & set(other.project_ids)
        return
    assert set(both.project_ids) == set(one.project_ids) & set(other.project_ids)
    assert both.people == (one.people and other.people)
    assert both == other.within(one)
    assert both.within(both) == both == both.within(None)
    assert set(third.project_ids) & set(both.project_ids) <= set(one.project_ids)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        pytest.param("costs", {"group_by": ["user_id"]}, "does not allow user_id", id="user"),
        pytest.param("costs", {"group_by": ["api_key_id"]}, "not allow api_key_id", id="key"),
        pytest.param("completions", {"user_ids": ["u"]}, "not allow user_ids", id="of users"),
        pytest.param("costs", {"api_key_ids": ["k"]}, "not allow api_key_ids", id="of keys"),
        pytest.param("costs", {"project_ids": ["proj_d"]}, "'proj_d': outside", id="outside"),
        pytest.param(
            "costs", {"project_ids": [*IDS, "proj_d"]}, "'proj_d': outside", id="one outside"
        ),
        pytest.param("costs", {"project_ids": ["PROJ_A"]}, "'PROJ_A': outside", id="other case"),
        pytest.param("costs", {"project_ids": ["proj_a\0"]}, "outside", id="NUL"),
        pytest.param(
            "costs",
            {"period": None, "start_time": 0, "end_time": 86400, "page": "page_x"},
            "a saved cursor does not show",
            id="cursor",
        ),
        pytest.param("/organization/usage/new", {}, "cannot be limited to projects", id="path"),
    ],
)
def test_a_query_that_reaches_beyond_the_scope_is_refused(name, params, message):
    with pytest.raises(ScopeError, match=message):
        build(name, {"period": "7d", **params}).within(SCOPE)


def test_users_beside_projects_are_refused_where_the_service_may_refuse_them():
    message = "costs cannot be grouped by user_id in a scope"
    with pytest.raises(ScopeError, match=message):
        build("costs", {"period": "7d", "group_by": ["user_id"]}).within(OF_PEOPLE)
    query = build("completions", {"period": "7d", "group_by": ["user_id"], "user_ids": ["u"]})
    assert query.within(OF_PEOPLE).group_by == ("user_id",)


@pytest.mark.parametrize("name", ENDPOINTS)
@given(data=st.data())
def test_every_request_of_a_query_is_limited_to_its_scope_and_grouped_by_project(name, data):
    group_by = data.draw(st.lists(st.sampled_from(ENDPOINTS[name].group_by)))
    project_ids = data.draw(st.none() | subsets)
    scope = data.draw(scopes)
    params = {"period": "7d", "group_by": group_by or None, "project_ids": project_ids}
    try:
        query = build(name, params).within(scope)
    except ScopeError:
        is_outside = not set(project_ids or ()) <= set(scope.project_ids)
        assert is_outside or (set(group_by) & {"user_id", "api_key_id"})
        return
    assert query.group_by == tuple(dict.fromkeys(group_by))
    pairs = query.params(0, 86400, limit=7, page=None)
    sent = [value for key, value in pairs if key == "project_ids"]
    assert sorted(sent) == sorted(set(project_ids or scope.project_ids))
    groups = [value for key, value in pairs if key == "group_by"]
    assert groups == list(dict.fromkeys([*group_by, "project_id"]))


@pytest.mark.parametrize("filters", [(), ("project_ids",)])
@pytest.mark.parametrize("group_by", [(), ("project_id",)])
def test_an_endpoint_needs_the_filter_and_the_grouping(filters, group_by):
    costs = ENDPOINTS["costs"]
    endpoint = SimpleNamespace(
        name="new", filters={each: costs.filters[each] for each in filters}, group_by=group_by
    )
    if filters and group_by:
        assert SCOPE.check(endpoint, (), {}, None) == IDS
    else:
        with pytest.raises(ScopeError, match="new cannot be limited to projects"):
            SCOPE.check(endpoint, (), {}, None)


def test_a_query_that_lost_its_filter_makes_no_request():
    query = build("costs", {"period": "7d"}).within(SCOPE)
    for filters in ((), (("project_ids", ("proj_a", "proj_d")),)):
        stray = attrs.evolve(query, filters=filters)
        with pytest.raises(ScopeError, match="is not limited to its scope"):
            stray.params(0, 86400, limit=None, page=None)


def test_a_scope_is_part_of_a_query():
    query = build("costs", {"period": "7d", "project_ids": ["proj_a"]})
    narrow, wide = (query.within(scope) for scope in (SCOPE, OF_PEOPLE))
    assert len({query, narrow, wide, build("costs", {"period": "7d"}).within(SCOPE)}) == 4
    assert narrow == query.within(SCOPE)
    both = [
        build("completions", {"period": "7d", "models": ["m"], "project_ids": ids}).within(SCOPE)
        for ids in (None, IDS)
    ]
    assert both[0] == both[1]


def test_a_scope_error_is_a_query_error():
    assert issubclass(ScopeError, QueryError)
