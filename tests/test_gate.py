"""The gate: whatever is asked of a client with a scope, and whatever the service sends."""

import asyncio
import inspect
import json
import logging
import pickle
import traceback
from decimal import Decimal
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args, get_type_hints

import attrs
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet
from service import DAY, NOW, START, Clock
from values import one_row

from usage_async import (
    ENDPOINTS,
    ApiKey,
    ApiKeyOwner,
    APIStatusError,
    CacheEvent,
    CacheStats,
    CostsResult,
    CostsResultAmount,
    Extra,
    Names,
    Notice,
    PaginationError,
    PermissionDeniedError,
    Project,
    QueryError,
    RangeUnavailableError,
    ResponseError,
    RetryPolicy,
    ScopeError,
    UsageClient,
    UsageCompletionsResult,
    UsageError,
    UsageQuery,
    UsageResult,
    UsageTimeBucket,
    User,
    dumps,
)
from usage_async._client.names_book import NamesBook
from usage_async._codec.columns import ColumnDecoder, Columns
from usage_async._codec.pages import PageDecoder
from usage_async._codec.redactor import NO_KEY
from usage_async._engine.cache import UsageCache
from usage_async._engine.gate import GatedDecoder, gated
from usage_async._engine.stream import Stream, start
from usage_async._query.request import build
from usage_async._query.scope import Scope
from usage_async._sums.totals import Totals

OWN = ("proj_one", "proj_two")
SECRET = "xFOREIGNx"
FOREIGN = f"proj_{SECRET}"
PATHS = {endpoint.path for endpoint in ENDPOINTS.values()}
NAMES = list(ENDPOINTS)
PERIOD = {"start_time": START, "end_time": START + 2 * DAY}


async def all_of(stream):
    return [each async for each in stream]


async def written(query):
    with TemporaryDirectory() as folder:
        path = Path(folder, "usage.parquet")
        await query.write_parquet(path)
        return as_text(parquet.read_table(path))


async def in_columns(query):
    return as_text(await query.to_arrow())


def as_text(table):
    return [table.to_pylist(), table.schema.metadata]


METHODS = {
    "stream": lambda query: all_of(query.stream()),
    "pages": lambda query: all_of(query.pages()),
    "results": lambda query: all_of(query.results()),
    "rows": lambda query: all_of(query.rows()),
    "collect": lambda query: query.collect(),
    "first": lambda query: query.first(),
    "total": lambda query: query.total(),
    "totals": lambda query: query.totals(),
    "summary": lambda query: query.summary(),
    "verify": lambda query: query.verify(),
    "arrow_batches": lambda query: all_of(query.arrow_batches()),
    "to_arrow": in_columns,
    "write_parquet": written,
}
"""Everything that a query can be asked."""
SILENT = {"endpoint", "bucket_width", "group_by", "filters"}
"""Attributes that send no request."""


def test_every_method_of_a_query_is_tried_here():
    assert {name for name in vars(UsageQuery) if name[0] != "_"} == {*METHODS, *SILENT}


def test_every_method_of_a_client_makes_queries_or_is_looked_at_here():
    public = {name for name, _ in inspect.getmembers(UsageClient) if name[0] != "_"}
    of_no_rows = {"limiter", "cache", "close"}
    of_names = {"names", "names_for", "names_book"}
    assert public == {*ENDPOINTS, "query", "gather", "scoped", "cached", *of_no_rows, *of_names}


def test_everything_that_a_scope_gives_is_looked_at_here():
    def of(kind):
        return {name for name in dir(kind) if name[0] != "_"}

    times = {"start_time", "end_time", "requested", "as_of", "settled_before"}
    assert of(Stream) == {*times, "notices", "aclose"}
    assert of(NamesBook) == {"names", "read", "update"}
    assert of(UsageCache) == {"stats"}
    assert {a.name for a in attrs.fields(CacheEvent)} == {"endpoint", "method", "outcome", "age_s"}
    assert {a.name for a in attrs.fields(Notice)} == {"code", "message", "endpoint", "starts"}
    outcomes = {"fresh", "stale", "joined", "read", "failed"}
    assert {a.name for a in attrs.fields(CacheStats)} == {*outcomes, "entries", "bytes"}


class Recorder:
    """A service that notes what it is asked, and answers with nothing."""

    def __init__(self):
        self.sent = []

    async def __call__(self, path, params, headers):
        self.sent.append((path, list(params)))
        body = {"object": "page", "data": [], "has_more": False, "next_page": None}
        return 200, {}, json.dumps(body).encode()

    def check(self, project_ids):
        for path, params in self.sent:
            assert path in PATHS
            assert {name for name, _ in params} <= KNOWN
            asked = [value for name, value in params if name == "project_ids"]
            assert asked
            assert set(asked) <= set(project_ids)
            assert ("group_by", "project_id") in params


KNOWN = {"start_time", "end_time", "bucket_width", "group_by", "limit"}
KNOWN |= {name for endpoint in ENDPOINTS.values() for name in endpoint.filters}

ODD_NAMES = ["project_ids[]", "project_ids[0]", "PROJECT_IDS", "project_id", "group_by[]", "a\0"]
ODD_VALUES = [[FOREIGN], FOREIGN, [], None, ["proj_one", FOREIGN], ["PROJ_ONE"], ["proj_one\0"], 1]
odd_params = st.dictionaries(
    st.sampled_from([*ODD_NAMES, *KNOWN, "page", "clamp", "period"]),
    st.sampled_from([*ODD_VALUES, ["proj_two"], ["model"], ["user_id"], ["project_id"], "page_x"]),
    max_size=3,
)
paths = st.sampled_from([*NAMES, *PATHS, "/organization/usage/new", "/organization/users", "x"])


@given(st.data())
def test_no_request_of_a_scope_leaves_without_its_filter(data):
    name, params = data.draw(paths), {**PERIOD, **data.draw(odd_params)}
    unchecked, cached = data.draw(st.booleans()), data.draw(st.booleans())
    people = data.draw(st.booleans())
    method = data.draw(st.sampled_from(list(METHODS)))

    async def ask():
        async with UsageClient(transport=Recorder(), runtime=Clock().runtime) as client:
            service = client._engine.fetcher.transport
            scoped = client.scoped(project_ids=OWN, people=people)
            scoped = scoped.cached(wait_s=inf) if cached else scoped
            try:
                query = scoped.query(name, unchecked=unchecked, **params)
            except QueryError:
                assert not service.sent
                return
            await METHODS[method](query)
            await scoped.gather(query)
            assert service.sent
            service.check(OWN)

    asyncio.run(ask())


def taken(name, hint):
    """Values that a parameter of a TypedDict takes, such as those of other projects."""
    if name in SIMPLE:
        return st.sampled_from(SIMPLE[name])
    if bool in get_args(hint):
        return st.booleans()
    words = [FOREIGN, *words_of(hint)]
    if name == "bucket_width":
        return st.sampled_from(words[1:])
    words = words[1:] if name == "group_by" else words
    return st.lists(st.sampled_from(words), min_size=1, unique=True)


def words_of(hint):
    if isinstance(hint, str):
        return [hint]
    return [word for part in get_args(hint) for word in words_of(part)]


SIMPLE = {
    "start_time": [START],
    "end_time": [START + 2 * DAY],
    "period": ["7d"],
    "limit": [1, 7],
    "clamp": [True, False],
    "page": ["page_x"],
    "project_ids": [[OWN[0]], [*OWN], [FOREIGN], [OWN[0], FOREIGN]],
}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_no_parameter_of_any_endpoint_leads_out_of_a_scope(name, data):
    hints = get_type_hints(ENDPOINTS[name].params)
    names = data.draw(st.sets(st.sampled_from(sorted(hints)), max_size=4))
    names -= {"period"} if names & {"start_time", "end_time"} else set()
    params = {each: data.draw(taken(each, hints[each])) for each in names}
    params = params if "period" in params else {**PERIOD, **params}
    people, method = data.draw(st.booleans()), data.draw(st.sampled_from(list(METHODS)))
    is_inside = (
        "page" not in names
        and set(params.get("project_ids", OWN)) <= set(OWN)
        and (people or not {"user_ids", "api_key_ids"} & names)
        and (people or not {"user_id", "api_key_id"} & set(params.get("group_by", ())))
        and not (name == "costs" and "user_id" in params.get("group_by", ()))
    )

    async def ask():
        async with UsageClient(transport=Recorder(), runtime=Clock().runtime) as client:
            service = client._engine.fetcher.transport
            scoped = client.scoped(project_ids=OWN, people=people)
            if not is_inside:
                with pytest.raises(QueryError):
                    getattr(scoped, name)(**params)
                assert not service.sent
                return
            await METHODS[method](getattr(scoped, name)(**params))
            assert service.sent
            service.check(params.get("project_ids", OWN))

    asyncio.run(ask())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", METHODS)
async def test_every_method_of_every_endpoint_asks_for_the_projects_only(name, method):
    service = Recorder()
    async with UsageClient(transport=service, runtime=Clock().runtime) as client:
        scoped = client.scoped(project_ids=OWN)
        await METHODS[method](getattr(scoped, name)(**PERIOD))
        await METHODS[method](scoped.query(ENDPOINTS[name].path, **PERIOD))
        service.check(OWN)
        assert len(service.sent) >= 2


async def test_nothing_that_is_derived_is_wider():
    service = Recorder()
    async with UsageClient(transport=service, runtime=Clock().runtime) as client:
        wide = client.cached(wait_s=inf).scoped(project_ids=OWN, people=True)
        derived = [
            wide.scoped(project_ids=[OWN[0], FOREIGN], people=True),
            wide.scoped(project_ids=[OWN[0]]).cached(wait_s=inf),
            wide.cached(wait_s=inf)
            .scoped(project_ids=[OWN[0]])
            .scoped(project_ids=OWN, people=True),
        ]
        for one in derived:
            for method in METHODS.values():
                await method(one.costs(**PERIOD))
            with pytest.raises(ScopeError, match="outside of the scope"):
                one.costs(**PERIOD, project_ids=[OWN[1]])
        service.check(OWN[:1])
        people = {"group_by": ["api_key_id"]}
        derived[0].costs(**PERIOD, **people)
        for one in derived[1:]:
            with pytest.raises(ScopeError, match="does not allow api_key_id"):
                one.costs(**PERIOD, **people)
        with pytest.raises(ScopeError, match="none of these projects"):
            wide.scoped(project_ids=[FOREIGN])
        with pytest.raises(ScopeError, match="unchecked=True may read anything"):
            wide.query("costs", unchecked=True, **PERIOD)


async def test_the_key_is_not_quoted_by_a_scope_error():
    key = "a-key-of-an-odd-form"
    async with UsageClient(key, transport=Recorder(), runtime=Clock().runtime) as client:
        for ask in (
            lambda: client.scoped(project_ids=key),
            lambda: client.scoped(project_ids=OWN).costs(**PERIOD, project_ids=[key]),
        ):
            with pytest.raises(ScopeError) as error:
                ask()
            assert key not in str(error.value)


def own_row(name, number, project=OWN[0]):
    """A row of a project of the scope that tells of everything that a scope does not show."""
    hidden = ["user_id", "api_key_id", "user_email", "organization_id", "organization_name"]
    row = one_row(name, project_id=project, **dict.fromkeys(hidden, SECRET))
    row |= {SECRET: SECRET}
    measure = ENDPOINTS[name].measure
    money = {"value": str(number), "currency": "usd", SECRET: SECRET}
    row[measure] = money if name == "costs" else number
    return row


def bucket_of(rows, start, **more):
    times = {"start_time": start, "end_time": start + DAY, "start_time_iso": SECRET}
    return {"object": "bucket", **times, "end_time_iso": SECRET, "results": rows, **more}


def page_of(data, *, last=True):
    fields = {"has_more": not last, "next_page": None if last else f"page_{SECRET}"}
    return json.dumps({"object": "page", "data": data, **fields, SECRET: SECRET}).encode()


def refused(status, code="c", **headers):
    error = {"message": f"no {SECRET}. Missing scopes: {SECRET}", "code": code, "param": SECRET}
    return status, {"x-request-id": SECRET, **headers}, json.dumps({"error": error}).encode()


def foreign_rows(name):
    other = "vector_stores" if name != "vector_stores" else "costs"
    base = own_row(name, 1)
    nameless = {key: value for key, value in base.items() if key != "project_id"}
    return {
        "of another project": {**base, "project_id": FOREIGN},
        "of none": {**base, "project_id": None},
        "without project": nameless,
        "of an empty project": {**base, "project_id": ""},
        "of a project in other case": {**base, "project_id": OWN[0].upper()},
        "of a project and more": {**base, "project_id": f"{OWN[0]}\0{SECRET}"},
        "of another kind": own_row(other, 1),
        "of an unknown kind": {"object": SECRET, "project_id": OWN[0], SECRET: 1},
        "of no kind": {SECRET: SECRET},
        "with a figure that is text": {**base, ENDPOINTS[name].measure: SECRET},
        "with a figure that is a list": {**base, "extra_figure": [SECRET], "project_id": [SECRET]},
    }


BROKEN = {
    "cut": b'{"object": "page", "data": [{"xFOREIGNx',
    "text": f"<html>{SECRET}</html>".encode(),
    "a list": json.dumps([SECRET]).encode(),
    "no bucket": page_of([{SECRET: SECRET}]),
    "a bucket twice": page_of([bucket_of([], START), bucket_of([own_row("costs", 1)], START)]),
    "no end": json.dumps({"data": [], "has_more": True, "next_page": SECRET * 9999}).encode(),
    "no cursor": json.dumps({"data": [], "has_more": True, SECRET: 1}).encode(),
}


class Told:
    """Everything that a client tells anybody, as one text."""

    def __init__(self, transport, caplog=None):
        self.told = []
        self.client = UsageClient(
            transport=transport,
            runtime=Clock(NOW).runtime,
            on_notice=self.told.append,
            trace=lambda event: self.told.append(attrs.evolve(event, request_id=None)),
            retry=RetryPolicy(attempts=2),
        )
        cached = self.client.cached(on_answer=self.told.append, wait_s=inf)
        self.scoped = cached.scoped(project_ids=OWN)

    async def ask(self, method, query):
        try:
            value = await (query.names() if method == "names" else METHODS[method](query))
        except UsageError as raised:
            error = raised
        else:
            if method == "arrow_batches":
                value = as_text(pa.Table.from_batches(value)) if value else []
            self.told += [value, dumps(value) if method == "summary" else ""]
            return value
        self.told += [str(error), repr(error), vars(error), error.args, pickle.dumps(error)]
        self.told += [error.__context__, error.__cause__]
        frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        self.told += [frame.locals for frame in frames if "usage_async/_" in frame.filename]
        return error

    def check(self, *more):
        self.told += [self.scoped.cache.stats(), self.scoped, *more]
        told = "\n".join(map(repr, self.told))
        assert SECRET not in told, told[max(0, told.index(SECRET) - 300) :][:600]


def logged(caplog):
    """Give the log lines, but for the ids of requests, which only those who look for faults see."""
    return [record.getMessage().partition(", request ")[0] for record in caplog.records]


def replying(*bodies):
    """A service that gives these pages, one by cursor after the other."""
    headers = {"x-request-id": SECRET}
    replies = [body if isinstance(body, tuple) else (200, headers, body) for body in bodies]

    async def transport(path, params, headers):
        return replies[1 if "page" in dict(params) else 0]

    return transport


@pytest.mark.parametrize("kind", foreign_rows("costs"))
@pytest.mark.parametrize(
    ("name", "place"),
    [
        *((name, "among others") for name in NAMES),
        *((name, "alone") for name in ("costs", "vector_stores")),
        *((name, "on a later page") for name in ("costs", "completions")),
    ],
)
async def test_a_row_that_is_not_of_the_scope_is_an_error_that_tells_nothing(
    name, kind, place, caplog
):
    caplog.set_level(logging.DEBUG, "usage_async")
    row, good = foreign_rows(name)[kind], own_row(name, 3)
    if place == "on a later page":
        pages = [page_of([bucket_of([good], START)], last=False)]
        pages += [page_of([bucket_of([good, row, good], START + DAY)])]
    else:
        rows = [row] if place == "alone" else [good, good, row]
        pages = [page_of([bucket_of(rows, START), bucket_of([good], START + DAY)])]
    world = Told(replying(*pages))
    async with world.client:
        for method in METHODS:
            query = world.scoped.query(name, **PERIOD)
            outcome = await world.ask(method, query)
            if method != "first" or place != "on a later page":
                assert type(outcome) is ResponseError
                assert outcome.retryable == ("could not be read" in str(outcome))
                assert (outcome.path, outcome.snippet, outcome.request_id) == (None, None, None)
        world.check(logged(caplog))


def test_one_message_stands_for_every_row_that_is_not_of_the_scope():
    async def messages():
        found = set()
        for row in list(foreign_rows("costs").values())[:8]:
            world = Told(replying(page_of([bucket_of([row], START)])))
            async with world.client:
                found.add(str(await world.ask("collect", world.scoped.costs(**PERIOD))))
        return found

    assert asyncio.run(messages()) == {
        "the reply holds rows that are not provably of the scope; none of it is shown"
    }


@pytest.mark.parametrize(
    "reply",
    [
        *(pytest.param(body, id=name) for name, body in BROKEN.items()),
        *(pytest.param(refused(status), id=str(status)) for status in (400, 401, 403, 404, 500)),
        pytest.param(refused(429, **{"retry-after": "1"}), id="429"),
        pytest.param(refused(418), id="418"),
        pytest.param(refused(302, location=SECRET), id="302"),
        pytest.param((403, {}, f'{{"error": "{SECRET}"}}'.encode()), id="403, a text"),
        pytest.param((500, {}, SECRET.encode()), id="500, no JSON"),
    ],
)
async def test_no_reply_that_fails_is_quoted(reply, caplog):
    caplog.set_level(logging.DEBUG, "usage_async")
    world = Told(replying(reply))
    async with world.client:
        for method in METHODS:
            outcome = await world.ask(method, world.scoped.costs(**PERIOD))
            assert isinstance(outcome, APIStatusError | ResponseError)
            if isinstance(outcome, APIStatusError):
                assert outcome.status == reply[0]
                assert (outcome.code, outcome.param, outcome.request_id) == (None, None, None)
        world.check(logged(caplog))


ROW = own_row("costs", 1)
CONTRADICTIONS = {
    "in a circle": [page_of([bucket_of([ROW], START)], last=False)] * 2,
    "two of one start": [page_of([bucket_of([ROW] * n, START) for n in (1, 2)], last=False)],
    "no end": [page_of([{**bucket_of([ROW], START), "end_time": START}], last=False)],
    "too late": [
        page_of([bucket_of([ROW], START + DAY)], last=False),
        page_of([bucket_of([ROW], START)], last=False),
    ],
}


@pytest.mark.parametrize("pages", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_pages_that_contradict_each_other_tell_no_cursor(pages, caplog):
    caplog.set_level(logging.DEBUG, "usage_async")
    world = Told(replying(*pages))
    async with world.client:
        for method in METHODS:
            outcome = await world.ask(method, world.scoped.costs(**PERIOD))
            assert method == "first" or type(outcome) is PaginationError
        world.check(logged(caplog))


texts = st.just(SECRET) | st.sampled_from(OWN)
odd = st.sampled_from([None, SECRET, 1, -1, 1e999, True, [SECRET], {SECRET: SECRET}, {}])
hostile_rows = st.sampled_from(NAMES).flatmap(
    lambda name: st.builds(
        lambda number, project, more: own_row(name, number, project) | more,
        st.integers(0, 3),
        texts,
        st.dictionaries(st.sampled_from([*own_row(name, 1), SECRET]), odd, max_size=2),
    )
)
hostile_buckets = st.builds(
    lambda rows, day, more: bucket_of(rows, START + day * DAY, **more),
    st.lists(hostile_rows, max_size=3),
    st.integers(-1, 3),
    st.dictionaries(st.sampled_from(["results", "result", "start_time", SECRET]), odd, max_size=1),
)
hostile_pages = st.builds(
    lambda data, fields: json.dumps({"object": "page", "data": data, **fields}).encode(),
    st.lists(hostile_buckets, max_size=3) | odd,
    st.fixed_dictionaries(
        {"has_more": st.booleans()},
        optional={"next_page": st.sampled_from([None, SECRET, SECRET * 999]) | odd, SECRET: odd},
    ),
)
hostile_replies = st.one_of(
    hostile_pages,
    st.sampled_from(list(BROKEN.values())),
    st.sampled_from([400, 401, 403, 404, 429, 500, 302, 204]).map(refused),
    st.builds(lambda page, cut: page[:cut], hostile_pages, st.integers(0, 99)),
    st.builds(lambda page: page.ljust(20_000), hostile_pages),
)


@given(
    name=st.sampled_from(NAMES),
    replies=st.lists(hostile_replies, min_size=1, max_size=3),
    method=st.sampled_from(list(METHODS)),
    group_by=st.sampled_from([None, ["project_id"]]),
)
def test_whatever_the_service_sends_nothing_of_others_is_told(name, replies, method, group_by):
    sent = 0

    async def transport(path, params, headers):
        nonlocal sent
        sent += 1
        reply = replies[min(sent, len(replies)) - 1]
        return reply if isinstance(reply, tuple) else (200, {"x-request-id": SECRET}, reply)

    async def ask():
        world = Told(transport)
        async with world.client:
            query = world.scoped.query(name, **PERIOD, group_by=group_by)
            for _ in range(2):
                value = await world.ask(method, query)
                if isinstance(value, UsageResult):
                    assert value.project_id in (None, *OWN)
            world.check()

    asyncio.run(ask())


async def test_errors_keep_what_programs_go_by():
    earliest = "Earliest supported start date: 2026-01-02"
    body = json.dumps({"error": {"message": earliest, "code": "reporting_lookback_exceeded"}})
    world = Told(replying((400, {}, body.encode())))
    async with world.client:
        error = await world.ask("collect", world.scoped.costs(**PERIOD))
        assert type(error) is RangeUnavailableError
        assert error.earliest.isoformat() == "2026-01-02T00:00:00+00:00"
        assert str(error) == "400: the service's data begin at 2026-01-02T00:00:00+00:00"
    world = Told(replying(refused(403)))
    async with world.client:
        error = await world.ask("collect", world.scoped.costs(**PERIOD))
        assert type(error) is PermissionDeniedError
        assert str(error) == "403: the service refused a request of this scope"
        assert error.missing_scopes == ()
    world = Told(replying(refused(429, **{"retry-after": "999"})))
    async with world.client:
        error = await world.ask("collect", world.scoped.costs(**PERIOD))
        assert (error.status, error.retry_after) == (429, 999.0)

    async def too_large(path, params, headers):
        raise ResponseError(f"the reply is larger than {SECRET}", retryable=False)

    world = Told(too_large)
    async with world.client:
        error = await world.ask("collect", world.scoped.costs(**PERIOD))
        assert not error.retryable
        world.check()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("grouped", [True, False])
async def test_what_is_of_the_scope_is_shown_without_what_tells_of_others(name, grouped, caplog):
    caplog.set_level(logging.DEBUG, "usage_async")
    rows = [own_row(name, 3), own_row(name, 4, OWN[1]), own_row(name, 5)]
    more = {SECRET: {SECRET: SECRET}}
    pages = [page_of([bucket_of(rows, START, **more)], last=False)]
    pages += [page_of([bucket_of(rows[:1], START + DAY)])]
    world = Told(replying(*pages))
    groups = {"group_by": ["project_id"]} if grouped else {}
    async with world.client:
        query = world.scoped.query(name, **PERIOD, **groups)
        found = {method: await world.ask(method, query) for method in METHODS}
        world.check(logged(caplog))
    measure = ENDPOINTS[name].measure

    def figures(results):
        found = [getattr(row, measure) for row in results]
        return [int(one.value) if isinstance(one, CostsResultAmount) else one for one in found]

    first, second = found["collect"]
    if grouped:
        assert figures(first.results) == [3, 4, 5]
        assert [row.project_id for row in first.results] == [OWN[0], OWN[1], OWN[0]]
    else:
        assert figures(first.results) == [12]
        assert first.results[0].project_id is None
    assert figures(second.results) == [3]
    is_level = name == "vector_stores"
    assert figures([found["total"]]) == [3 if is_level else 15]
    assert found["summary"].total == found["total"]
    assert sum(figures(found["totals"])) == (3 if is_level else 15)
    assert [page.next_page for page in found["pages"]] == [None, None]
    assert [page.has_more for page in found["pages"]] == [True, False]
    assert found["first"] == first
    assert found["stream"] == found["collect"]
    assert [row for _, row in found["results"]] == [*first.results, *second.results]
    assert found["verify"].ok
    assert found["verify"].compared == ()
    rows = [*first.results, *second.results]
    for method in ("to_arrow", "arrow_batches", "write_parquet"):
        columns, _ = found[method]
        assert [row["project_id"] for row in columns] == [row.project_id for row in rows]
        assert [int(row[measure]) for row in columns] == figures(rows)


async def test_users_are_shown_to_a_scope_of_people():
    rows = [own_row("completions", 3), own_row("completions", 4, OWN[1])]
    async with Told(replying(page_of([bucket_of(rows, START)]))).client as client:
        scoped = client.scoped(project_ids=OWN, people=True)
        query = scoped.completions(**PERIOD, group_by=["user_id"])
        (result,) = await query.totals()
        assert (result.user_id, result.input_tokens) == (SECRET, 7)
        assert (result.api_key_id, result.project_id, result.extra) == (None, None, Extra())
        assert (await query.verify()).compared == ("user_id",)
        both = {"group_by": ["project_id", "user_id"]}
        assert (await scoped.completions(**PERIOD, **both).verify()).compared == ("user_id",)
        assert (await client.completions(**PERIOD, **both).verify()).compared == (
            *both["group_by"],
        )
    cost = own_row("costs", 1)
    async with Told(replying(page_of([bucket_of([cost], START)]))).client as client:
        query = client.scoped(project_ids=OWN, people=True).costs(
            **PERIOD, group_by=["project_id", "api_key_id"]
        )
        row = (await query.first()).results[0]
        assert (row.user_email, row.api_key_id) == (SECRET, SECRET)
        assert row.organization_id is row.organization_name is None


async def test_a_filter_within_the_scope_is_checked_as_well():
    row = own_row("costs", 1, OWN[1])
    world = Told(replying(page_of([bucket_of([row], START)])))
    async with world.client:
        query = world.scoped.costs(**PERIOD, project_ids=[OWN[0]])
        assert type(await world.ask("total", query)) is ResponseError


async def test_an_answer_is_not_shared_between_scopes():
    rows = [own_row("costs", 3)]
    sent = []

    async def transport(path, params, headers):
        sent.append(dict(params)["project_ids"])
        return 200, {}, page_of([bucket_of(rows, START)])

    async with Told(transport).client as client:
        cached = client.cached(wait_s=inf)
        one, both = (cached.scoped(project_ids=ids) for ids in (OWN[:1], OWN))
        for _ in range(2):
            await cached.costs(**PERIOD, project_ids=OWN[:1]).total()
            await one.costs(**PERIOD).total()
            await both.costs(**PERIOD, project_ids=OWN[:1]).total()
        assert len(sent) == 3
        assert [each.cache.stats().read for each in (cached, one, both)] == [3, 1, 1]
        assert [each.cache.stats().entries for each in (cached, one, both)] == [3, 1, 1]
        assert one.cache.stats().bytes < cached.cache.stats().bytes


class Lists:
    """The lists of an organization; those of projects go on after a project of others."""

    def __init__(self, failure=None):
        self.failure = failure
        self.paths = []

    async def __call__(self, path, params, headers):
        self.paths.append(path)
        more = False
        if path == "/organization/projects":
            if "after" in dict(params):
                if self.failure is not None:
                    return self.failure
                items = [{"id": OWN[1], "name": "Two", SECRET: SECRET}]
            else:
                more = True
                items = [{"id": OWN[0], "name": "One"}, {"id": FOREIGN, "name": SECRET}]
        elif path == "/organization/users":
            items = [{"id": "user_1", "name": "Owner"}, {"id": SECRET, "name": SECRET}]
        else:
            more_of = {SECRET: {SECRET: SECRET}, "projects": [SECRET]}
            user = {"id": "user_1", "name": "Owner", "email": "o@example.com", **more_of}
            account = {"id": "svc_1", "name": "Robot", **more_of}
            items = [
                {"id": "key_1", "owner": {"type": "user", "user": user, **more_of}, **more_of},
                {"id": "key_2", "owner": {"type": "service_account", "service_account": account}},
                {"id": SECRET, "name": SECRET, "project_id": FOREIGN, "owner": {"user": user}},
            ]
        body = {"object": "list", "data": items, "has_more": more, "last_id": items[-1]["id"]}
        return 200, {}, json.dumps(body).encode()


async def test_names_of_a_scope_are_those_of_its_projects(caplog):
    caplog.set_level(logging.DEBUG, "usage_async")
    row = {"amount": None, "project_name": "Row", "user_email": "r@example.com"}
    rows = [
        CostsResult(project_id=OWN[0], user_id="user_2", api_key_id="key_1", **row),
        CostsResult(project_id=FOREIGN, user_id="user_3", api_key_id="key_3", **row),
        UsageCompletionsResult(
            project_id=OWN[1],
            user_id="user_1",
            num_model_requests=1,
            input_tokens=1,
            output_tokens=1,
        ),
    ]
    more = Extra({SECRET: SECRET})
    known = Names(
        projects=[Project(id=OWN[0], name="Old", extra=more), Project(id=FOREIGN, name=SECRET)],
        users=[User(id="user_9", name=SECRET), User(id="user_8", name="Known", extra=more)],
        api_keys=[
            ApiKey(id=SECRET, project_id=FOREIGN, owner=ApiKeyOwner(user=User(id="user_9"))),
            ApiKey(id="key_8", project_id=OWN[0], owner=ApiKeyOwner(user=User(id="user_8"))),
            ApiKey(id="key_7", project_id=OWN[0], owner=ApiKeyOwner(user=User(id="user_7"))),
        ],
        notices=[Notice(code="names-skipped", message=SECRET)],
    )
    service = Lists()
    world = Told(service)
    async with world.client:
        scoped = world.scoped
        names = await scoped.names()
        assert names.labels("project_id") == {OWN[0]: "One", OWN[1]: "Two"}
        assert not names.users
        assert not names.api_keys
        found = await scoped.names_for(rows, known=known)
        assert found.labels("project_id") == {OWN[0]: "One", OWN[1]: "Two"}
        assert not found.users
        assert not found.api_keys
        for lists in (["users"], ["api_keys"]):
            with pytest.raises(ScopeError, match="does not allow the list"):
                await scoped.names(*lists, project_ids=OWN if "api_keys" in lists else None)
        assert set(service.paths) == {"/organization/projects"}
        people = world.client.scoped(project_ids=OWN, people=True)
        names = await people.names(project_ids=OWN[:1])
        assert names.labels("user_id") == {"user_1": "Owner", "svc_1": "Robot"}
        assert set(names.api_keys) == {"key_1", "key_2"}
        assert names.users["svc_1"].is_service_account
        found = await people.names_for(rows, known=known)
        users = {"user_1": "Owner", "svc_1": "Robot", "user_2": "r@example.com", "user_8": "Known"}
        assert found.labels("user_id") == users
        assert set(found.api_keys) == {"key_1", "key_2", "key_7", "key_8"}
        assert set(found.projects) == set(OWN)
        with pytest.raises(ScopeError, match="outside of the scope"):
            await people.names(project_ids=["proj_other"])
        with pytest.raises(ScopeError, match="does not allow the list users"):
            await people.names("users")
        assert "/organization/users" not in service.paths
        assert not any(FOREIGN in path for path in service.paths)
        world.check(names, found, await scoped.names_book().read(), logged(caplog))


@pytest.mark.parametrize(
    "failure",
    [
        refused(500),
        refused(403),
        (200, {}, SECRET.encode()),
        (200, {}, json.dumps({"data": [{SECRET: 1}], "has_more": False}).encode()),
        (200, {}, json.dumps({"data": [], "has_more": True, "last_id": FOREIGN}).encode()),
    ],
    ids=["500", "403", "no JSON", "no item", "in a circle"],
)
async def test_no_list_of_names_that_fails_is_quoted(failure):
    world = Told(Lists(failure))
    async with world.client:
        await world.ask("names", world.scoped)
        world.check()


def run(steps):
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


money = st.one_of(
    st.none(),
    st.builds(
        CostsResultAmount,
        value=st.integers(-5, 5).map(Decimal),
        currency=st.sampled_from(["usd", "eur"]),
    ),
)
costs = st.builds(
    CostsResult,
    amount=money,
    quantity=st.none() | st.integers(0, 5).map(Decimal),
    quantity_unit=st.sampled_from([None, "tokens", "calls"]),
    line_item=st.sampled_from([None, "a", "b"]),
    project_id=st.sampled_from(OWN),
)
days = st.lists(st.lists(costs, max_size=5), min_size=1, max_size=3)


def counted(unit):
    return CostsResult(
        amount=None, quantity=Decimal(1), quantity_unit=unit, line_item="a", project_id=OWN[0]
    )


# The units of the first day differ, so that its sum has no quantity, and neither has the whole.
@example([[counted("tokens"), counted("calls")], [counted("tokens")]], ())
@given(days, st.sampled_from([(), ("line_item",), ("project_id",), ("line_item", "project_id")]))
def test_sums_over_a_scope_are_those_of_its_rows(days, group_by):
    buckets = [
        UsageTimeBucket(
            start_time=START + n * DAY, end_time=START + (n + 1) * DAY, results=tuple(rows)
        )
        for n, rows in enumerate(days)
    ]
    plain = Totals(CostsResult, "amount", group_by, as_of=NOW)
    for bucket in buckets:
        plain.add(bucket)

    async def transport(path, params, headers):
        data = [json.loads(dumps(bucket)) for bucket in buckets]
        return 200, {}, page_of(data)

    async def read():
        async with Told(transport).client as client:
            query = client.scoped(project_ids=OWN).costs(
                start_time=START, end_time=START + len(days) * DAY, group_by=group_by or None
            )
            return await query.totals(), await query.collect()

    totals, shown = asyncio.run(read())
    assert totals == plain.groups()
    for bucket, seen in zip(buckets, shown, strict=True):
        alone = Totals(CostsResult, "amount", group_by, as_of=NOW)
        alone.add(bucket)
        if "project_id" in group_by:
            assert seen.results == bucket.results
        else:
            assert list(seen.results) == alone.groups()


def test_a_large_page_leaves_the_event_loop_its_turns():
    query = build("completions", PERIOD).within(Scope(project_ids=OWN))
    rows = [own_row("completions", n) for n in range(2500)]
    data = [bucket_of(rows, START), bucket_of(rows[:1], START + DAY)]
    sums = Totals(UsageCompletionsResult, "input_tokens", (), as_of=0)
    for each, least in ((None, 4), (sums, 6)):
        decoder = GatedDecoder(PageDecoder(UsageCompletionsResult), query, each)
        steps, body = 0, page_of(data)
        plain = sum(1 for _ in decoder._pages.decode(body, NO_KEY))
        for _ in decoder.decode(body, NO_KEY):
            steps += 1
        assert steps - plain >= least - 1
        decoded = run(decoder.decode(body, NO_KEY))
        assert run(decoded.reread()).page == decoded.page
        assert decoded.notices == ()


def test_columns_of_a_scope_hold_each_row_once():
    query = build("completions", {**PERIOD, "group_by": ["project_id"]})
    columns = Columns(UsageCompletionsResult)
    decoder = gated(ColumnDecoder(columns), query.within(Scope(project_ids=OWN)), None)
    sizes = [1, 999, 0, 2500, 1000, 1, 1]
    data = [
        bucket_of([own_row("completions", 1000 * n + i) for i in range(size)], START + n * DAY)
        for n, size in enumerate(sizes)
    ]
    page = run(decoder.decode(page_of([*data, data[-1]]), NO_KEY)).page
    assert [bucket.start_time for bucket in page.data[:-1]] == [one["start_time"] for one in data]
    assert page.data[-1] == page.data[-2]  # a repeated bucket is left to the merge
    page = attrs.evolve(page, data=page.data[:-1])
    table = pa.Table.from_batches(columns.batches(page))
    tokens = [1000 * n + i for n, size in enumerate(sizes) for i in range(size)]
    assert table["input_tokens"].to_pylist() == tokens


def test_a_decoder_whose_rows_cannot_be_checked_is_refused():
    query = build("costs", PERIOD).within(Scope(project_ids=OWN))
    with pytest.raises(TypeError, match="a scope cannot look into what object reads"):
        gated(object(), query, None)


async def test_no_run_begins_behind_the_gate():
    query = build("costs", PERIOD)
    scoped, other = (query.within(Scope(project_ids=ids)) for ids in (OWN, OWN[:1]))
    pages = PageDecoder(CostsResult)
    async with Told(Recorder()).client as client:
        for asked, decoder in (
            (scoped, pages),
            (scoped, GatedDecoder(pages, other)),
            (query, GatedDecoder(pages, scoped)),
        ):
            with pytest.raises(TypeError, match="by the decoder of its gate only"):
                start(client._engine, asked, decoder, list)


def test_a_page_that_is_none_is_told_at_a_glance_without_its_text():
    query = build("costs", PERIOD).within(Scope(project_ids=OWN))
    decoder = GatedDecoder(PageDecoder(CostsResult), query)
    error = decoder.probe(BROKEN["text"], NO_KEY)
    assert (type(error), error.snippet, error.path) == (ResponseError, None, None)
    assert SECRET not in str(error)
    assert decoder.probe(page_of([]), NO_KEY) is None
    with pytest.raises(ResponseError) as raised:
        run(decoder.decode(BROKEN["no bucket"], NO_KEY))
    assert (raised.value.snippet, raised.value.path) == (None, None)
    assert str(raised.value) == str(error)
