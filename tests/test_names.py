"""Names: the values, the lists that they are read from, and what is not read."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import re
import traceback
from collections import Counter
from contextlib import asynccontextmanager

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import KEY, turns
from values import any_of

from usage_async import (
    ApiKey,
    ApiKeyOwner,
    AuthenticationError,
    BadRequestError,
    CostsResult,
    Extra,
    InternalServerError,
    Names,
    Notice,
    PaginationError,
    Project,
    QueryError,
    ResponseError,
    RetryPolicy,
    UsageClient,
    UsageCompletionsResult,
    UsageError,
    UsageVectorStoresResult,
    User,
    dumps,
    from_dict,
    loads,
    to_arrow,
)
from usage_async._codec.names import ListDecoder
from usage_async._codec.redactor import NO_KEY, Redactor
from usage_async.emulator import Emulator, Faults, Organization, Quirks

pytestmark = pytest.mark.usefixtures("nothing_left")

SEARCH = Project(id="proj_1", name="Search")
ADA = User(id="user-1", name="Ada", email="ada@example.com")
NIGHTLY = User(id="svc_1", name="Nightly")
INDEXER = ApiKey(
    id="key_1",
    name="indexer",
    project_id="proj_1",
    owner=ApiKeyOwner(type="service_account", service_account=NIGHTLY),
)
NAMES = Names(projects=[SEARCH], users=[ADA], api_keys=[INDEXER])


# Values


@pytest.mark.parametrize(
    ("names", "dimension", "identity", "label"),
    [
        pytest.param(NAMES, "project_id", "proj_1", "Search", id="project"),
        pytest.param(NAMES, "user_id", "user-1", "Ada", id="user"),
        pytest.param(NAMES, "api_key_id", "key_1", "indexer", id="key"),
        pytest.param(NAMES, "api_key_id", "key_2", "key_2", id="unknown"),
        pytest.param(NAMES, "user_id", "proj_1", "proj_1", id="of another list"),
        pytest.param(NAMES, "user_id", None, "", id="nothing"),
        pytest.param(NAMES, "user_id", "", "", id="empty"),
        pytest.param(Names(projects=[Project(id="p")]), "project_id", "p", "p", id="no name"),
        pytest.param(
            Names(projects=[Project(id="p", name="")]), "project_id", "p", "p", id="empty name"
        ),
        pytest.param(
            Names(users=[User(id="u", email="u@example.com")]),
            "user_id",
            "u",
            "u@example.com",
            id="address",
        ),
    ],
)
def test_the_label_of_an_id_is_its_name_or_else_the_id(names, dimension, identity, label):
    assert names.label(dimension, identity) == label


def test_labels_are_those_of_every_known_id():
    twins = Names(projects=[SEARCH, Project(id="proj_2", name="Search"), Project(id="proj_3")])
    labels = twins.labels("project_id")
    assert labels == {"proj_1": "Search", "proj_2": "Search", "proj_3": "proj_3"}
    assert twins.labels("user_id") == {}


@pytest.mark.parametrize("dimension", ["model", "projects", ""])
def test_a_dimension_without_names_is_a_key_error_that_names_those_with(dimension):
    for ask in (NAMES.labels, lambda of: NAMES.label(of, "x")):
        with pytest.raises(KeyError, match="project_id, user_id and api_key_id have"):
            ask(dimension)


def test_names_are_mappings_by_id():
    assert NAMES.projects["proj_1"] is SEARCH
    assert list(NAMES.users.values()) == [ADA]
    assert len(NAMES.api_keys) == 1
    assert "proj_2" not in NAMES.projects
    assert attrs.evolve(NAMES, users=()).projects is NAMES.projects
    assert Names(projects={"any": SEARCH}) == Names(projects=[Project(id="proj_1"), SEARCH])
    with pytest.raises(TypeError):
        NAMES.projects["proj_2"] = SEARCH


def test_names_can_be_pickled_and_hashed_and_are_written_as_lists():
    assert pickle.loads(pickle.dumps(NAMES)) == NAMES
    assert len({NAMES, attrs.evolve(NAMES)}) == 1
    written = json.loads(dumps(NAMES))
    assert [project["id"] for project in written["projects"]] == ["proj_1"]


def test_the_names_of_deleted_things_are_kept():
    renamed = Names(
        projects=[Project(id="proj_1", name="Find")], notices=(Notice(code="x", message="y"),)
    )
    merged = renamed.merged(NAMES)
    assert merged.label("project_id", "proj_1") == "Find"
    assert merged.label("api_key_id", "key_1") == "indexer"
    assert merged.notices == renamed.notices
    assert NAMES.merged(renamed).notices == ()


def test_an_older_reading_fills_names_and_addresses_only():
    older = Names(
        projects=[Project(id="p", name="Old", archived_at=1, status="archived")],
        users=[User(id="u", name="Ada", email="a@example.com", role="owner")],
    )
    newer = Names(
        projects=[Project(id="p", name="Old")], users=[User(id="u", email="b@example.com")]
    )
    merged = newer.merged(older)
    assert merged.projects["p"] == Project(id="p", name="Old")
    assert merged.users["u"] == User(id="u", name="Ada", email="b@example.com")


@given(any_of(Names), any_of(Names))
def test_merged_names_know_every_id_and_prefer_what_is_newer(newer, older):
    merged = newer.merged(older)
    assert merged.merged(older) == merged
    for dimension in ("project_id", "user_id", "api_key_id"):
        mine, theirs, both = [each.labels(dimension) for each in (newer, older, merged)]
        assert both.keys() == mine.keys() | theirs.keys()
        for identity, label in both.items():
            assert label in (mine.get(identity), theirs.get(identity))
            if mine.get(identity, identity) != identity and dimension != "user_id":
                assert label == mine[identity]


def test_rows_of_costs_carry_names_themselves():
    rows = [
        CostsResult(project_id="p", project_name="Old name"),
        CostsResult(project_id="p", project_name="Search", user_id="u", user_email="a@example.com"),
        CostsResult(project_id="p", user_id="v"),
        CostsResult(project_name="of nothing"),
        UsageVectorStoresResult(usage_bytes=1, project_id="q"),
    ]
    names = Names.from_rows(iter(rows))
    assert names.labels("project_id") == {"p": "Search"}
    assert names.labels("user_id") == {"u": "a@example.com"}


def test_a_notebook_shows_names_as_tables_whatever_they_hold():
    many = [Project(id=f"p{n}", name="<b>&") for n in range(102)]
    shown = Names(projects=many, users=[ADA])._repr_html_()
    assert shown.count("<tr><td>p") == 100
    assert "&lt;b&gt;&amp;" in shown
    assert "… and 2 more" in shown
    assert "<th>user_id</th>" in shown
    assert "api_key_id" not in shown
    assert Names()._repr_html_() == "<p>no names</p>"


def test_names_are_tables_to_join_with_tables_of_usage():
    everything = NAMES.to_arrow()
    assert everything.column_names == ["dimension", "id", "name"]
    assert everything.to_pylist()[0] == {
        "dimension": "project_id",
        "id": "proj_1",
        "name": "Search",
    }
    assert len(everything) == 3
    rows = [completions(project_id="proj_1"), completions(project_id="proj_2"), completions()]
    usage = to_arrow(rows).to_pandas()
    joined = usage.merge(NAMES.to_arrow("project_id").to_pandas(), how="left", on="project_id")
    assert joined["project_name"].fillna("").tolist() == ["Search", "", ""]
    assert Names().to_arrow("api_key_id").column_names == ["api_key_id", "api_key_name"]
    with pytest.raises(KeyError):
        NAMES.to_arrow("model")


# Lists: bytes into items


def decode(kind, value, redactor=NO_KEY, **known):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    decoder = ListDecoder(kind, known)
    assert decoder.probe(body, redactor) is None
    steps = decoder.decode(body, redactor)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def page(*items, **fields):
    last_id = items[-1].get("id") if items else None
    return {"object": "list", "data": items, "has_more": False, "last_id": last_id, **fields}


def test_the_documented_items_are_read_whole():
    project = {"id": "p", "object": "organization.project", "name": "n", "created_at": 1}
    project |= {"archived_at": None, "status": "active", "residency": "GLOBAL"}
    (read,) = decode(Project, page(project)).items
    assert read == Project(id="p", name="n", created_at=1, status="active", residency="GLOBAL")
    assert read.object == "organization.project"


def test_a_field_that_nobody_knows_is_in_extra():
    (read,) = decode(User, page({"id": "u", "badge": {"level": 2}, "name": "Ada"})).items
    assert read == User(id="u", name="Ada", extra=Extra({"badge": {"level": 2}}))


def test_nothing_of_a_key_is_kept():
    owner = {"type": "user", "user": {"id": "u", "name": "Ada", "value": "kept"}}
    key = {"id": "k", "redacted_value": "sk-proj-****abcd", "value": "sk-proj-x", "owner": owner}
    (read,) = decode(ApiKey, page(key), project_id="p").items
    assert (read.project_id, read.owner.user.name) == ("p", "Ada")
    assert read.extra == Extra()
    assert b"sk-" not in dumps(read)


def test_the_project_of_a_key_is_the_one_that_it_names_itself():
    (read,) = decode(ApiKey, page({"id": "k", "project_id": "q"}), project_id="p").items
    assert read.project_id == "q"


@pytest.mark.parametrize(
    ("item", "user"),
    [
        pytest.param({}, User(id="u"), id="nothing"),
        pytest.param({"user": None}, User(id="u"), id="no account"),
        pytest.param({"user": "u"}, User(id="u"), id="an id alone"),
        pytest.param({"user": {"name": "A", "banned": True}}, User(id="u", name="A"), id="account"),
        pytest.param(
            {"user": {"email": "a@b"}, "email": None}, User(id="u", email="a@b"), id="null"
        ),
        pytest.param({"user": {"name": "A"}, "name": "B"}, User(id="u", name="B"), id="both"),
        pytest.param({"projects": {"data": [{"id": "p"}] * 9}}, User(id="u"), id="memberships"),
    ],
)
def test_the_name_of_a_member_may_be_that_of_its_account(item, user):
    assert decode(User, page({"id": "u", **item})).items == (user,)


def test_the_key_of_the_client_is_no_name():
    (read,) = decode(Project, page({"id": "p", "name": f"of {KEY}!"}), Redactor((KEY,))).items
    assert read.name == "of …!"


@pytest.mark.parametrize(
    ("fields", "cursor"),
    [
        pytest.param({}, None, id="the last page may carry last_id"),
        pytest.param({"has_more": True}, "p2", id="last_id"),
        pytest.param({"has_more": True, "last_id": "p9"}, "p9", id="last_id that is no item's"),
        pytest.param({"has_more": True, "last_id": None}, "p2", id="the last item's"),
        pytest.param({"has_more": True, "data": [], "last_id": "p9"}, "p9", id="hollow"),
    ],
)
def test_the_cursor_is_last_id_or_else_the_last_items(fields, cursor):
    listed = decode(Project, page({"id": "p1"}, {"id": "p2"}, **fields))
    assert listed.next_id == cursor


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"data": [], "last_id": None}, "gives no cursor", id="none"),
        pytest.param({"last_id": "p" * 5000}, "too many for a URL", id="too long"),
        pytest.param({"last_id": KEY}, "holds the key of this client", id="the key"),
        pytest.param({"last_id": None, "data": [{"id": KEY}]}, "holds the key", id="an id"),
    ],
)
def test_a_cursor_that_leads_nowhere_is_an_error(fields, says):
    with pytest.raises(PaginationError, match=says) as error:
        decode(Project, page({"id": "p"}, has_more=True, **fields), Redactor((KEY,)))
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"", r"not a list of Projects: .* at \$$", id="nothing"),
        pytest.param(b"<html>", r"not a list of Projects", id="html"),
        pytest.param([], r"got `array`", id="an array"),
        pytest.param({"data": []}, "has_more", id="no has_more"),
        pytest.param(page({"name": "n"}, last_id="p"), r"\$\.data\[0\]", id="no id"),
        pytest.param(
            page(*[{"id": "p"}] * 30, {"id": 7}, last_id="p"), r"\$\.data\[30\]\.id", id="id"
        ),
        pytest.param(
            page({"id": "p", "archived_at": "soon"}), r"\$\.data\[0\]\.archived", id="int"
        ),
        pytest.param(page(last_id=5), r"last_id", id="last_id"),
        pytest.param({"data": [1], "has_more": False}, r"got `int`", id="no objects"),
    ],
)
def test_what_is_no_list_of_names_says_where(body, says):
    with pytest.raises(ResponseError, match=says):
        decode(Project, body)


@given(st.lists(any_of(Project) | any_of(User) | any_of(ApiKey), max_size=60))
def test_what_was_written_as_a_list_is_read_as_it_was(values):
    for kind in (Project, User, ApiKey):
        items = tuple(value for value in values if type(value) is kind)
        body = b'{"has_more":false,"data":[%b]}' % b",".join(map(dumps, items))
        assert decode(kind, body).items == items


# Reading


class Service:
    """A service of lists of names, as a transport.

    Attributes:
        lists: Items by path.
        size: The most items of a page.
        quirk: How to page: `good`, `hollow` (an empty page before each), `repeated` (each page
            begins with the item before), `no_last_id`.
        refused: Statuses by path.
        body: The body of a refusal.
        asked: Path and parameters of every request.
    """

    def __init__(self, lists, size=100, quirk="good", refused=None, body=None):
        self.lists = lists
        self.size = size
        self.quirk = quirk
        self.refused = refused or {}
        self.body = body or {"error": {"message": "no"}}
        self.asked = []
        self.in_flight = self.most_in_flight = 0

    async def __call__(self, path, params, headers):
        self.asked.append((path, list(params)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await turns(2)
        self.in_flight -= 1
        if path in self.refused:
            return self.refused[path], {}, json.dumps(self.body).encode()
        return 200, {}, json.dumps(self.page(self.lists[path], dict(params))).encode()

    def page(self, items, params):
        ids = [item["id"] for item in items]
        after = params.get("after", "")
        hollow = after.removeprefix("hollow:") if after.startswith("hollow:") else None
        last = after if hollow is None else hollow
        begin = ids.index(last) + 1 if last else 0
        if self.quirk == "hollow" and hollow is None and begin < len(ids):
            return {"data": [], "has_more": True, "last_id": f"hollow:{last}"}
        first = max(begin - 1, 0) if self.quirk == "repeated" else begin
        data = items[first : begin + self.size]
        made = {"data": data, "has_more": begin + self.size < len(ids)}
        if self.quirk != "no_last_id":
            made["last_id"] = data[-1]["id"] if data else None
        return made

    def paths(self):
        return [path for path, _ in self.asked]


PROJECTS, USERS = "/organization/projects", "/organization/users"


def keys_of(project):
    return f"{PROJECTS}/{project}/api_keys"


def small(**options):
    """A service with two projects, two users and three keys."""
    owners = [
        {"type": "user", "user": {"id": "u3", "name": "Gone"}},
        {"type": "service_account", "service_account": {"id": "s1", "name": "Nightly"}},
        {"type": "user", "user": {"id": "u1", "name": "Ada of the key", "email": "a@example.com"}},
    ]
    keys = [{"id": f"k{n}", "name": f"key {n}", "owner": owner} for n, owner in enumerate(owners)]
    lists = {
        PROJECTS: [{"id": "p1", "name": "One"}, {"id": "p2", "name": "Two"}],
        USERS: [{"id": "u1", "name": "Ada"}, {"id": "u2", "name": "Grace"}],
        keys_of("p1"): keys[:2],
        keys_of("p2"): keys[2:],
    }
    return Service(lists, **options)


def client_of(service, **options):
    return UsageClient(transport=service, retry=RetryPolicy(attempts=1), **options)


async def test_projects_and_users_are_read_by_default():
    service = small()
    async with client_of(service) as client:
        names = await client.names()
    assert names.labels("project_id") == {"p1": "One", "p2": "Two"}
    assert names.labels("user_id") == {"u1": "Ada", "u2": "Grace"}
    assert sorted(service.asked) == [
        (PROJECTS, [("include_archived", "true"), ("limit", "100")]),
        (USERS, [("limit", "100")]),
    ]


async def test_only_the_lists_that_are_asked_for_are_read():
    service = small()
    async with client_of(service) as client:
        names = await client.names("projects")
    assert service.paths() == [PROJECTS]
    assert not names.users


async def test_keys_are_read_for_the_projects_that_are_asked_for():
    service = small()
    async with client_of(service) as client:
        names = await client.names("api_keys", project_ids=iter(["p1", "p1"]))
    assert service.asked == [(keys_of("p1"), [("owner_project_access", "any"), ("limit", "100")])]
    assert names.labels("api_key_id") == {"k0": "key 0", "k1": "key 1"}
    assert names.api_keys["k0"].project_id == "p1"


async def test_the_owners_of_keys_are_users_and_their_own_entries_count_first():
    async with client_of(small()) as client:
        names = await client.names(project_ids=["p1", "p2"])
    assert names.labels("user_id") == {"u1": "Ada", "u2": "Grace", "u3": "Gone", "s1": "Nightly"}
    assert names.users["u1"].email == "a@example.com"
    assert names.users["s1"].is_service_account is True
    assert names.users["u3"].is_service_account is None


async def test_no_project_at_all_has_no_keys():
    service = small()
    async with client_of(service) as client:
        assert await client.names("api_keys", project_ids=[]) == Names()
    assert not service.asked


@pytest.mark.parametrize(
    ("lists", "project_ids", "says"),
    [
        pytest.param(["groups"], None, "no list of names 'groups'; there are projects", id="list"),
        pytest.param(["api_keys"], None, "say which in project_ids", id="keys of nothing"),
        pytest.param(["users"], ["p1"], "ask for api_keys, too", id="projects of nothing"),
        pytest.param([], "p1", "takes an iterable of ids", id="a text"),
        pytest.param([], 5, "takes an iterable of ids", id="a number"),
        pytest.param([], ["p/../x"], "'p/../x' is no id of a project", id="a path"),
        pytest.param([], [""], "is no id", id="empty"),
        pytest.param([], [7], "is no id", id="no text"),
        pytest.param([], ["p\n"], "is no id", id="newline"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_before_any_request(lists, project_ids, says):
    service = small()
    async with client_of(service) as client:
        with pytest.raises(QueryError, match=re.escape(says)):
            await client.names(*lists, project_ids=project_ids)
    assert not service.asked


async def test_a_key_in_the_wrong_place_is_not_repeated():
    async with client_of(small(), admin_key=KEY) as client:
        with pytest.raises(QueryError) as error:
            await client.names(KEY)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(500, {"error": {"message": KEY}}, id="refusal"),
        pytest.param(200, {"data": [{"id": "p", "created_at": KEY}], "has_more": False}, id="item"),
        pytest.param(200, {"data": [], "has_more": True, "last_id": KEY}, id="cursor"),
    ],
)
async def test_no_error_tells_the_key_that_a_list_holds(status, body):
    async def echo(path, params, headers):
        return status, {}, json.dumps(body).encode()

    async with client_of(echo, admin_key=KEY) as client:
        with pytest.raises(UsageError) as error:
            await client.names("projects")
    error = error.value
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    theirs = [
        frame.f_locals for frame in frames if frame.f_globals["__name__"].startswith("usage_async.")
    ]
    assert theirs
    assert KEY not in repr((error, vars(error), theirs))


def numbered(count):
    return [{"id": f"p{n}", "name": f"Project {n}"} for n in range(count)]


@given(
    count=st.integers(0, 40),
    size=st.integers(1, 15),
    quirk=st.sampled_from(["good", "hollow", "repeated", "no_last_id"]),
)
def test_every_item_is_read_however_the_list_is_paged(count, size, quirk):
    service = Service({PROJECTS: numbered(count)}, size, quirk)

    async def read():
        async with client_of(service) as client:
            return await client.names("projects")

    names = asyncio.run(read())
    assert list(names.projects) == [f"p{n}" for n in range(count)]
    assert not names.notices


def circling(*pages):
    """A list whose pages come by their numbers, for ever."""
    served = []

    async def transport(path, params, headers):
        served.append(params)
        made = pages[(len(served) - 1) % len(pages)]
        made = made(len(served)) if callable(made) else made
        return 200, {}, json.dumps(made).encode()

    return transport, served


@pytest.mark.parametrize(
    ("pages", "requests"),
    [
        pytest.param([{"data": [{"id": "a"}], "has_more": True}], 2, id="the same page"),
        pytest.param(
            [{"data": [{"id": n}], "has_more": True, "last_id": n} for n in "abc"], 4, id="a circle"
        ),
        pytest.param(
            [lambda n: {"data": [], "has_more": True, "last_id": f"x{n}"}],
            101,
            id="hollow for ever",
        ),
    ],
)
async def test_cursors_that_lead_in_a_circle_end(pages, requests):
    transport, served = circling(*pages)
    async with client_of(transport) as client:
        with pytest.raises(PaginationError, match="lead in a circle"):
            await client.names("projects")
    assert len(served) == requests


async def test_a_list_without_an_end_ends(monkeypatch):
    monkeypatch.setattr("usage_async._client.names_book._MOST_PAGES", 7)
    transport, served = circling(lambda n: {"data": [{"id": f"p{n}"}], "has_more": True})
    async with client_of(transport) as client:
        with pytest.raises(PaginationError, match="more than 7 pages"):
            await client.names("projects")
    assert len(served) == 7


async def test_lists_that_the_key_may_not_read_are_left_out_with_a_notice(caplog):
    told = []
    body = {"error": "You lack it. Missing scopes: api.management.read. Ask."}
    service = small(refused={PROJECTS: 403, USERS: 404}, body=body)
    async with client_of(service, on_notice=told.append) as client:
        names = await client.names(project_ids=["p2"])
    assert [notice.message for notice in names.notices] == [
        "the projects were not read: the key lacks api.management.read (403)",
        "the users were not read: the service does not find them (404)",
    ]
    assert {notice.code for notice in names.notices} == {"names-skipped"}
    assert told == list(names.notices)
    assert not names.projects
    assert names.label("user_id", "u1") == "Ada of the key"
    assert [r.levelno for r in caplog.records if "not read" in r.message] == [logging.WARNING] * 2


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_project_that_refuses_is_left_out_and_others_are_read(status):
    service = small(refused={keys_of(p): status for p in ("gone", "lost")})
    async with client_of(service) as client:
        names = await client.names("api_keys", project_ids=["gone", "p1", "lost", "p2"])
    assert len(names.api_keys) == 3
    (notice,) = names.notices
    reasons = {400: "refuses them", 403: "may not read them", 404: "does not find them"}
    assert notice.message.startswith("the API keys of gone and 1 more were not read: ")
    assert reasons[status] in notice.message


async def test_one_project_that_refuses_is_named():
    async with client_of(small(refused={keys_of("p1"): 404})) as client:
        names = await client.names("api_keys", project_ids=["p1", "p2"])
    assert names.notices[0].message.startswith("the API keys of p1 were not read: ")


async def test_a_scope_that_the_key_lacks_ends_the_reading_of_keys():
    many = [f"p{n}" for n in range(500)]
    body = {"error": "Missing scopes: api.management.read."}
    service = Service({}, refused={keys_of(p): 403 for p in many}, body=body)
    async with client_of(service, concurrency=4) as client:
        names = await client.names("api_keys", project_ids=many)
    assert len(service.asked) <= 8
    assert "the key lacks api.management.read" in names.notices[0].message


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadRequestError), (401, AuthenticationError), (500, InternalServerError)],
)
async def test_any_other_failure_of_a_list_is_an_error(status, error):
    async with client_of(small(refused={USERS: status})) as client:
        with pytest.raises(error):
            await client.names()


async def test_the_keys_of_many_projects_are_read_within_the_limit():
    many = [f"p{n}" for n in range(60)]
    service = Service({keys_of(p): [{"id": f"k-{p}", "name": p}] for p in many})
    async with client_of(service, concurrency=5) as client:
        names = await client.names("api_keys", project_ids=many)
        assert client.limiter.in_flight == client.limiter.waiting == 0
    assert service.most_in_flight == 5
    assert names.labels("api_key_id") == {f"k-{p}": p for p in many}


async def test_a_reading_ends_with_its_client():
    started = asyncio.Event()

    async def hang(path, params, headers):
        started.set()
        await asyncio.Event().wait()

    client = client_of(hang)
    reading = asyncio.ensure_future(client.names())
    await started.wait()
    await client.close()
    with pytest.raises(UsageError, match="closed while names were being read"):
        await reading
    with pytest.raises(UsageError, match="this client is closed"):
        await client.names()


async def test_a_reading_that_is_cancelled_ends_its_requests():
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(path, params, headers):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with client_of(hang) as client:
        reading = asyncio.ensure_future(client.names("users"))
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert ended.is_set()


# For rows


def completions(**ids):
    return UsageCompletionsResult(input_tokens=1, output_tokens=1, num_model_requests=1, **ids)


@pytest.mark.parametrize(
    ("rows", "paths"),
    [
        pytest.param([], [], id="no rows"),
        pytest.param([completions()], [], id="nothing named"),
        pytest.param([completions(project_id="p1")], [PROJECTS], id="projects"),
        pytest.param([CostsResult(project_id="p1", project_name="One")], [], id="named itself"),
        pytest.param(
            [CostsResult(project_id="p1", project_name="One"), completions(project_id="p1")],
            [],
            id="named by another row",
        ),
        pytest.param([completions(user_id="u1")], [USERS], id="users"),
        pytest.param([CostsResult(user_id="u1", user_email="a@b")], [], id="an address"),
        pytest.param(
            [completions(project_id="p1", api_key_id="k0")], [PROJECTS, keys_of("p1")], id="keys"
        ),
        pytest.param([completions(api_key_id="k0")], [], id="keys of nobody knows what"),
        pytest.param(
            [completions(project_id="../x", api_key_id="k0")], [PROJECTS], id="no id of a project"
        ),
        pytest.param(
            [completions(project_id="p1", user_id="s1")],
            [PROJECTS, USERS, keys_of("p1")],
            id="a service account",
        ),
        pytest.param(
            [completions(project_id="p1", user_id="s1", api_key_id="k1")],
            [PROJECTS, keys_of("p1"), USERS],
            id="a service account whose key is read anyway",
        ),
    ],
)
async def test_only_lists_that_may_name_something_of_the_rows_are_read(rows, paths):
    service = small()
    async with client_of(service) as client:
        names = await client.names_for(iter(rows))
    assert Counter(service.paths()) == Counter(paths)
    for row in rows:
        if row.user_id == "s1":
            assert names.label("user_id", "s1") == "Nightly"
        assert names.label("project_id", row.project_id) in ("One", "../x", "")


async def test_what_is_known_is_not_read_again_and_is_kept():
    service = small()
    known = Names(projects=[Project(id="p1", name="Known")], users=[User(id="u9", name="Gone")])
    rows = [completions(project_id="p1", user_id="u9")]
    async with client_of(service) as client:
        assert await client.names_for(rows, known=known) == known
        assert not service.asked
        names = await client.names_for([*rows, completions(project_id="p2")], known=known)
    assert service.paths() == [PROJECTS]
    assert names.labels("project_id") == {"p1": "One", "p2": "Two"}
    assert names.label("user_id", "u9") == "Gone"


async def test_rows_of_a_key_that_may_not_read_names_keep_their_ids():
    service = small(refused={PROJECTS: 403})
    async with client_of(service) as client:
        names = await client.names_for([completions(project_id="p1")])
    assert names.label("project_id", "p1") == "p1"
    assert [notice.code for notice in names.notices] == ["names-skipped"]


# A book


async def test_a_book_reads_each_list_once_while_rows_come():
    service = small()
    service.lists[keys_of("p9")] = []
    async with client_of(service) as client:
        book = client.names_book()
        await book.update([completions(project_id="p1", user_id="gone")])
        assert Counter(service.paths()) == Counter([PROJECTS, USERS, keys_of("p1")])
        await book.update([completions(project_id="p9", user_id="gone too")])
        await book.update([completions(project_id="p2", api_key_id="gone")])
        names = await book.update([completions(project_id="p1", api_key_id="gone")])
    assert service.paths()[3:] == [keys_of("p9"), keys_of("p2")]
    assert names is book.names
    assert names.label("api_key_id", "k2") == "key 2"


async def test_a_book_tells_each_refusal_once():
    told = []
    service = small(refused={PROJECTS: 403, keys_of("p1"): 404})
    async with client_of(service, on_notice=told.append) as client:
        book = client.names_book()
        for _ in range(3):
            await book.update([completions(project_id="p1", api_key_id="k0")])
    assert len(told) == 2
    assert book.names.notices == tuple(told)


async def test_a_book_asks_for_no_more_keys_once_the_scope_is_known_to_lack():
    body = {"error": "Missing scopes: api.management.read."}
    service = small(refused={keys_of(p): 403 for p in ("p1", "p2")}, body=body)
    async with client_of(service) as client:
        book = client.names_book(known=Names.from_rows([]))
        for project in ("p1", "p2"):
            await book.update([completions(project_id=project, api_key_id="k0")])
    assert Counter(service.paths()) == Counter([PROJECTS, keys_of("p1")])


async def test_a_book_asks_again_for_what_failed():
    service = small(refused={PROJECTS: 500})
    async with client_of(service) as client:
        book = client.names_book()
        with pytest.raises(InternalServerError):
            await book.update([completions(project_id="p1")])
        service.refused.clear()
        names = await book.update([completions(project_id="p1")])
    assert names.label("project_id", "p1") == "One"


async def test_a_list_counts_before_rows_and_rows_before_what_was_known():
    rows = [CostsResult(project_id="p1", project_name="Of the row")]
    known = Names(projects=[Project(id="p1", name="Known")])
    async with client_of(small()) as client:
        book = client.names_book(known=known)
        assert (await book.update(rows)).label("project_id", "p1") == "Of the row"
        await book.update([completions(project_id="p2")])
        assert (await book.update(rows)).label("project_id", "p1") == "One"


async def test_two_readings_at_the_same_time_read_no_list_twice():
    service = small()
    rows = [completions(project_id="p1", user_id="u1")]
    async with client_of(service) as client:
        book = client.names_book()
        await asyncio.gather(*(book.update(rows) for _ in range(3)))
    assert Counter(service.paths()) == Counter([PROJECTS, USERS])


# From the emulator


@asynccontextmanager
async def emulated(*args, concurrency=8, retry=None, **options):
    """An emulator, and a client of it."""
    async with (
        Emulator(*args, **options) as server,
        UsageClient(
            server.admin_key, base_url=server.url, concurrency=concurrency, retry=retry
        ) as client,
    ):
        yield server, client


async def test_the_emulator_names_all_but_deleted_keys():
    organization = Organization()
    async with emulated(organization) as (_, client):
        groups = ["project_id", "user_id", "api_key_id"]
        rows = await client.completions(period="last-month", group_by=groups).totals()
        names = await client.names_for(rows)
        costs = await client.costs(period="last-month", group_by=["project_id"]).totals()
    assert Names.from_rows(costs).labels("project_id").items() <= names.labels("project_id").items()
    nameless = {
        identity
        for row in rows
        for dimension in groups
        if names.label(dimension, identity := getattr(row, dimension)) == identity
    }
    assert nameless == {key.id for key in organization.keys if key.deleted}


@pytest.mark.parametrize("quirks", [Quirks(hide_enabled_keys=True), Quirks(compress=True)])
async def test_two_thousand_keys_are_read_within_the_limit_of_the_service(quirks):
    organization = Organization(idle_projects=200)
    faults = Faults(throttle=4)
    options = {"faults": faults, "quirks": quirks, "concurrency": 4}
    async with emulated(organization, **options) as (server, client):
        projects = (await client.names("projects")).projects
        names = await client.names("api_keys", project_ids=projects)
    listed = {key.id: key.name for key in organization.keys if not key.deleted}
    assert names.labels("api_key_id") == listed
    assert {request.status for request in server.requests} == {200}


async def test_a_key_for_usage_only_reads_usage_and_no_names():
    async with emulated(quirks=Quirks(refuse_names=True)) as (_, client):
        names = await client.names()
        total = await client.completions(start_time="7d").total()
    (notice,) = names.notices
    says = "the projects and the users were not read: the key lacks api.management.read (403)"
    assert notice.message == says
    assert total.num_model_requests


async def test_an_archived_project_that_refuses_its_keys_is_left_out():
    organization = Organization()
    async with emulated(organization, quirks=Quirks(refuse_archived_projects=True)) as (_, client):
        names = await client.names("api_keys", project_ids=[p.id for p in organization.projects])
    assert len(names.api_keys) == 10
    assert "refuses them (400)" in names.notices[0].message


async def test_names_survive_a_service_that_fails_now_and_then():
    faults = Faults(seed=3, error_rate=0.2, cut_rate=0.1, html_rate=0.1)
    organization = Organization(idle_projects=20)
    retry = RetryPolicy(attempts=10, base_s=0.001)
    async with emulated(organization, faults=faults, retry=retry) as (server, client):
        names = await client.names(project_ids=[p.id for p in organization.projects])
    assert len(names.api_keys) == 211
    assert {request.fault for request in server.requests} == {"none", "error", "cut", "html"}


def test_names_are_read_from_plain_values():
    assert from_dict({"projects": [{"id": "p", "name": "One", "tier": 3}]}, Names) == Names(
        projects=[Project(id="p", name="One", extra=Extra({"tier": 3}))]
    )
    with pytest.raises(ResponseError, match="id"):
        loads('{"projects": [{}]}', Names)


@pytest.mark.parametrize("text", ["[]", '"projects"', "5", "null", '{"projects": {}}'])
def test_what_is_no_object_is_no_names(text):
    with pytest.raises(ResponseError, match=r"expected an (object|array)"):
        loads(text, Names)
