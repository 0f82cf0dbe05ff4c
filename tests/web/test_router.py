"""The routes of usage and costs: words of the endpoint table, scopes, caps, tags."""

import asyncio
import json
import string
from decimal import Decimal
from functools import partial
from math import inf
from typing import Annotated

import httpx
import pyarrow as pa
import pytest
from asking import NOW as PRESENT
from asking import ORGANIZATION
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query
from fastapi.security import APIKeyQuery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from service import NOW, START, ManualClock, page, serve, turns
from values import NAMES
from web_server import served

from usage_async import (
    ENDPOINTS,
    CostsResult,
    RetryPolicy,
    Runtime,
    Summary,
    UsageClient,
    UsageTimeBucket,
    loads,
)
from usage_async.emulator import Emulator
from usage_async.fastapi import (
    ALL,
    Scope,
    metrics_router,
    replies,
    usage_client,
    usage_lifespan,
    usage_router,
)
from usage_async.fastapi import reasons as fastapi_reasons
from usage_async.fastapi.parameters import parameters_of
from usage_async.fastapi.router import ReportBody

DAY = 86400
RUNTIME = Runtime(now=lambda: NOW)
RANGE = {"start_time": START, "end_time": START + 3 * DAY}
OWN, OTHER = "proj_own", "proj_other"


async def tenant(token: Annotated[str, Header()] = "") -> object:
    scopes = {"boss": ALL, "own": Scope([OWN])}
    if token not in scopes:
        raise HTTPException(401)
    return scopes[token]


def app_of(transport, *, max_waiting=1000, **options):
    options = {"runtime": RUNTIME, "retry": RetryPolicy(attempts=1), **options}
    app = FastAPI(lifespan=usage_lifespan(transport=transport, **options))
    app.include_router(usage_router(scope=tenant, max_waiting=max_waiting))
    return app


BOSS = {"token": "boss"}


class Leaky:
    """A service that sends rows of two projects, whatever it is asked, and words in its errors."""

    def __init__(self):
        self.sent = []

    def projects(self, params):
        return [value for key, value in params if key == "project_ids"] or [OWN, OTHER]

    async def __call__(self, path, params, headers):
        self.sent.append(params)
        given = dict(params)
        name = path.rpartition("/")[2]
        if name == "spend_limit":
            return 404, {}, b'{"error": {"message": "none is set for proj_other"}}'
        kind = ENDPOINTS[name]
        body = json.loads(serve({"bucket_width": "1d", **given}.items()))
        projects = self.projects(params)
        for bucket in body["data"]:
            bucket["results"] = [
                {
                    "object": kind.object,
                    **dict.fromkeys(FIGURES[name], 1),
                    **({"amount": {"value": "0.5", "currency": "usd"}} if name == "costs" else {}),
                    "project_id": project,
                    "user_id": f"user of {project}",
                    "extra_field": f"of {project}",
                }
                for project in projects
            ]
        return 200, {}, json.dumps(body).encode()


FIGURES = {
    name: [
        a.name
        for a in endpoint.result_class.__attrs_attrs__
        if a.metadata["kind"] in ("flow", "level") and a.default is not None
    ]
    for name, endpoint in ENDPOINTS.items()
}


@pytest.mark.parametrize("name", NAMES)
async def test_every_endpoint_has_its_buckets_and_totals(name):
    kind = ENDPOINTS[name].result_class
    async with served(app_of(Leaky())) as browser:
        buckets = await browser.get(f"/usage/{name}", params=RANGE, headers=BOSS)
        totals = await browser.get(
            f"/usage/{name}/totals", params={**RANGE, "group_by": "project_id"}, headers=BOSS
        )
    assert buckets.status_code == 200
    body = buckets.json()
    assert body["requested"] == body["covered"] == RANGE
    assert [each["start_time"] for each in body["buckets"]] == [START + n * DAY for n in range(3)]
    loads(json.dumps(body["buckets"][0]), UsageTimeBucket[kind])
    summary = loads(totals.content, Summary[kind])
    assert {group.project_id for group in summary.groups} == {OWN, OTHER}


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_those_of_the_table(name):
    endpoint = ENDPOINTS[name]
    fields = parameters_of(endpoint).model_json_schema()["properties"]
    times = {"start_time", "end_time", "period"}
    assert set(fields) == {*times, "bucket_width", "group_by", "clamp", *endpoint.filters}
    assert fields["group_by"]["items"].get("enum", [fields["group_by"]["items"].get("const")]) == [
        *endpoint.group_by
    ]
    assert all(field["description"] for field in fields.values())


WRONG = [
    ({"period": "someday"}, "period"),
    ({"start_time": "soon"}, "start_time"),
    ({"start_time": "7d", "end_time": "2026-13"}, "end_time"),
    ({"period": "7d", "group_by": "colour"}, "group_by"),
    ({"period": "7d", "bucket_width": "1w"}, "bucket_width"),
    ({"period": "7d", "batch": "maybe"}, "batch"),
    ({"period": "7d", "models": ""}, "models"),
    ({"period": "7d", "limit": "3"}, "limit"),
    ({"period": "7d", "page": "x"}, "page"),
    ({"period": "7d", "project_ids[]": OWN}, "project_ids[]"),
    ({"period": "7d", "PROJECT_IDS": OWN}, "PROJECT_IDS"),
    ({}, "start_time"),
]


@pytest.mark.parametrize(("params", "field"), WRONG, ids=[field for _, field in WRONG[:-1]] + ["-"])
@pytest.mark.parametrize("path", ["/usage/completions", "/usage/completions/totals"])
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_a_wrong_parameter_is_named(params, field, path, accept):
    upstream = Leaky()
    async with served(app_of(upstream)) as browser:
        reply = await browser.get(path, params=params, headers={**BOSS, "accept": accept})
    assert reply.status_code == 422
    first = reply.json()["detail"][0]
    assert first["loc"][:2] == ["query", field]
    assert {"type", "loc", "msg"} <= first.keys()
    assert not upstream.sent


class Key(BaseModel):
    token: str = Field(alias="x-token")


async def by_name(token: Annotated[str, Query()]) -> object:
    return await tenant(token)


async def by_alias(token: Annotated[str, Query(alias="x-token")]) -> object:
    return await tenant(token)


async def by_model(key: Annotated[Key, Query()]) -> object:
    return await tenant(key.token)


async def by_scheme(token: Annotated[str, Depends(APIKeyQuery(name="x-token"))]) -> object:
    return await tenant(token)


async def by_another(scope: Annotated[object, Depends(by_scheme)]) -> object:
    return scope


async def acme(org: str) -> str:
    return org


@pytest.mark.parametrize("scope", [by_name, by_alias, by_model, by_scheme, by_another])
@pytest.mark.parametrize("path", ["/usage/costs", "/costs/summary", "/report.json"])
async def test_dependencies_may_read_the_query(scope, path):
    async def audited(why: str = "") -> None:
        pass

    async def counted(n: int = 0) -> None:
        pass

    options = {"transport": Leaky(), "runtime": RUNTIME}
    run = usage_lifespan(organizations={"acme": {}}, **options)
    app = FastAPI(lifespan=run, dependencies=[Depends(counted)])
    outer = APIRouter(dependencies=[Depends(audited)])
    outer.include_router(usage_router(scope=scope, organization=acme), prefix="/inner")
    app.include_router(outer, prefix="/outer")
    name = "token" if scope is by_name else "x-token"
    params = {"period": "2026-01", name: "boss", "org": "acme", "why": "x", "n": "1"}
    async with served(app) as browser:
        ask = partial(browser.get, f"/outer/inner{path}")
        assert (await ask(params=params)).status_code == 200
        assert (await ask(params={**params, name: "stranger"})).status_code == 401
        more = {"key": "sk-secret", "why2": "1"}
        refused = await ask(params=[*params.items(), *more.items(), *more.items()])
    assert refused.status_code == 422
    told = refused.json()["detail"]
    assert [each["loc"] for each in told] == [["query", "key"], ["query", "why2"]]
    assert {each["type"] for each in told} == {"extra_forbidden"}
    assert "secret" not in refused.text
    assert "boss" not in refused.text


async def test_a_mounted_router_takes_what_it_declares():
    app = FastAPI(lifespan=usage_lifespan(transport=Leaky(), runtime=RUNTIME))
    app.mount("/mounted", usage_router(scope=by_name))
    async with served(app) as browser:
        params = {**RANGE, "token": "boss"}
        reply = await browser.get("/mounted/usage/costs", params=params)
    assert reply.status_code == 200


async def test_what_one_application_declares_is_unknown_to_another():
    async def audited(why: str = "") -> None:
        pass

    router = usage_router(scope=tenant)
    run = usage_lifespan(transport=Leaky(), runtime=RUNTIME)
    apps = [FastAPI(lifespan=run, dependencies=[Depends(audited)]), FastAPI(lifespan=run)]
    found = []
    for app in apps:
        app.include_router(router)
        async with served(app) as browser:
            params = {**RANGE, "why": "x"}
            found.append(await browser.get("/usage/costs", params=params, headers=BOSS))
    assert [reply.status_code for reply in found] == [200, 422]


async def test_without_a_token_there_is_nothing():
    upstream = Leaky()
    async with served(app_of(upstream)) as browser:
        paths = ("/usage/costs", "/usage/costs/totals", "/costs/summary", "/report.json")
        for path in (*paths, *REASONS):
            assert (await browser.get(path, params={"period": "7d"})).status_code == 401
    assert not upstream.sent


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html, application/*;q=0.1", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/json;q=0.5, Application/X-NDJSON", "application/x-ndjson"),
        ("application/json;q=x, application/x-ndjson;q=0.2", "application/x-ndjson"),
        ("application/vnd.apache.arrow.stream;v=1", "application/vnd.apache.arrow.stream"),
    ],
)
async def test_the_browser_says_what_it_takes(accept, kind):
    async with served(app_of(Leaky())) as browser:
        browser.headers.pop("accept")
        headers = BOSS if accept is None else {**BOSS, "accept": accept}
        reply = await browser.get("/usage/completions", params=RANGE, headers=headers)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == kind


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", ""])
async def test_what_is_not_served_is_said(accept):
    async with served(app_of(Leaky())) as browser:
        headers = {**BOSS, "accept": accept}
        reply = await browser.get("/usage/completions", params=RANGE, headers=headers)
    assert reply.status_code == 406
    assert "ndjson" in reply.json()["detail"][0]["msg"]


PREFERENCES = [
    ("", "406"),
    ("*/*", "json"),
    ("application/*", "json"),
    ("application/json;q=0, */*;q=0.5", "ndjson"),
    ("*/*, application/json;q=0, application/x-ndjson;q=0", "arrow"),
    ("application/*;q=0, */*", "406"),
    ("application/json;q=0", "406"),
    ("application/json;q=0.1, application/*;q=0.2, */*;q=0.9", "ndjson"),
    ("application/x-ndjson, application/json", "ndjson"),
    ("application/json, application/x-ndjson", "json"),
    ("Application/JSON;charset=utf-8;Q=0.2, application/x-ndjson;q=0.1", "json"),
    ("application/x-ndjson;q=nan, application/json;q=0.1", "json"),
    ("application/x-ndjson;q=7, application/json;q=0.1", "json"),
    ("application/x-ndjson;q=x, application/json;q=0.1", "json"),
    ("text/html, */*;q=0.1", "json"),
]


async def test_the_closest_range_says_how_much_a_type_is_liked():
    async with served(app_of(Leaky())) as browser:
        for accept, expected in PREFERENCES:
            headers = {**BOSS, "accept": accept}
            reply = await browser.get("/usage/completions", params=RANGE, headers=headers)
            kind = "406" if reply.status_code == 406 else reply.headers["content-type"]
            assert expected in kind, accept


JSON_REPLIES = {
    "buckets": ("/usage/completions", RANGE, 1),
    "totals": ("/usage/completions/totals", RANGE, 1),
    "summary": ("/costs/summary", RANGE, 1),
    "report": ("/report.json", {"period": "2026-01"}, len(ENDPOINTS) + 1),
    "explain": ("/explain", {"period": "2026-01"}, 6),
    "reconcile": ("/reconcile", {"period": "2026-01"}, 11),
    "budget": ("/budget", {"monthly": "9", "period": "2026-01", "by": "project_id"}, 5),
}
REASONS = {
    "/explain": ("ExplanationBody", {"period": "2026-01"}),
    "/reconcile": ("ReconciliationBody", {"period": "2026-01"}),
    "/budget": ("BudgetBody", {"monthly": "9"}),
}
ALL_REQUESTS = sum(requests for *_, requests in JSON_REPLIES.values())


@pytest.mark.parametrize(("path", "params", "requests"), JSON_REPLIES.values(), ids=JSON_REPLIES)
async def test_equal_questions_are_one_run_and_one_reply(path, params, requests):
    upstream = Leaky()
    async with served(app_of(upstream)) as browser:
        ask = partial(browser.get, path, params=params, headers=BOSS)
        found = [*await asyncio.gather(*(ask() for _ in range(50))), await ask()]
    assert {reply.status_code for reply in found} == {200}
    assert len({(reply.content, reply.headers["etag"]) for reply in found}) == 1
    assert len(upstream.sent) == requests


async def test_the_schema_holds_every_status_and_the_fields_of_a_report():
    app = app_of(Leaky())
    app.include_router(metrics_router(scope=tenant))
    async with served(app) as browser:
        paths = (await browser.get("/openapi.json")).json()
        reply = await browser.get("/report.json", params={"period": "2026-01"}, headers=BOSS)
    schemas, paths = paths["components"]["schemas"], paths["paths"]
    every = {"200", "403", "404", "422", "500", "502", "503", "504"}
    for path, described in paths.items():
        is_of_buckets = path.removeprefix("/usage/") in NAMES
        known = every | ({"304"} if path != "/metrics" else set())
        known |= {"406"} if is_of_buckets else set()
        known |= {"409"} if path.endswith(("/totals", "/summary")) else set()
        assert set(described["get"]["responses"]) == known, path
    ok = paths["/report.json"]["get"]["responses"]["200"]["content"]["application/json"]
    assert ok["schema"] == {"$ref": "#/components/schemas/ReportBody"}
    assert set(schemas["ReportBody"]["properties"]) == set(reply.json())
    ReportBody.model_validate_json(reply.content)


@pytest.mark.parametrize("path", REASONS)
async def test_the_schema_holds_the_fields_of_reasons(path):
    name, params = REASONS[path]
    async with served(app_of(Leaky())) as browser:
        described = (await browser.get("/openapi.json")).json()
        reply = await browser.get(path, params=params, headers=BOSS)
    ok = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    assert ok["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert set(described["components"]["schemas"][name]["properties"]) == set(reply.json())
    getattr(fastapi_reasons, name).model_validate_json(reply.content)


async def test_what_is_covered_is_told_beside_what_was_asked_for():
    async def later(path, params, headers):
        return 200, {}, page(json.loads(serve(params))["data"][1:])

    asked = {"start_time": START, "end_time": START + 2 * DAY + 1}
    async with served(app_of(later)) as browser:
        body = (await browser.get("/usage/completions", params=asked, headers=BOSS)).json()
    assert body["requested"] == asked
    assert body["covered"] == {"start_time": START + DAY, "end_time": START + 3 * DAY}
    async with served(app_of(Nothing())) as browser:
        body = (await browser.get("/usage/completions", params=asked, headers=BOSS)).json()
    assert body["covered"] is None


class Nothing:
    """A service that leaves every bucket out."""

    async def __call__(self, path, params, headers):
        return 200, {}, page([])


async def test_large_replies_are_sent_in_parts(monkeypatch):
    found = []
    for _ in range(2):
        async with served(app_of(Leaky())) as browser:
            found.append(
                [
                    await browser.get(path, params=params, headers=BOSS)
                    for path, params, _ in JSON_REPLIES.values()
                ]
            )
        monkeypatch.setattr(replies, "_PART", 100)
    for whole, parts in zip(*found, strict=True):
        assert parts.content == whole.content
        assert int(parts.headers["content-length"]) == len(whole.content) > 200


async def test_tenants_share_no_reply():
    upstream = Leaky()
    async with served(app_of(upstream)) as browser:
        for path, params, _ in JSON_REPLIES.values():
            ask = partial(browser.get, path, params=params)
            boss = await ask(headers={"token": "boss"})
            sent = len(upstream.sent)
            own = await ask(headers={"token": "own"})
            assert boss.content != own.content
            assert len(upstream.sent) > sent


async def test_questions_of_other_arguments_share_no_reply():
    asked = [{}, {"compare": "true"}, {"by": "model"}, {"period": "2026-02"}]
    async with served(app_of(Leaky())) as browser:
        found = [
            await browser.get("/report.json", params={"period": "2026-01", **each}, headers=BOSS)
            for each in asked
        ]
    assert len({reply.content for reply in found}) == len(asked)


@pytest.mark.parametrize("fails", [False, True], ids=["complete", "with a gap"])
async def test_only_settled_and_complete_replies_are_kept_for_longer(fails):
    class Failing(Leaky):
        async def __call__(self, path, params, headers):
            status, head, body = await super().__call__(path, params, headers)
            is_gone = fails and path.endswith(("completions", "costs"))
            return status, head, page(json.loads(body)["data"][1:]) if is_gone else body

    upstream, ticks = Failing(), [0.0]
    runtime = Runtime(now=lambda: NOW, monotonic=lambda: ticks[0])
    async with served(app_of(upstream, runtime=runtime)) as browser:
        for ticks[0] in (0, 3600, 86399):
            for path, params, _ in JSON_REPLIES.values():
                await browser.get(path, params=params, headers=BOSS)
    # The limits beside a budget may change at any time.
    *_, of_budget = JSON_REPLIES["budget"]
    once = 0 if fails else ALL_REQUESTS - of_budget
    assert len(upstream.sent) == 3 * ALL_REQUESTS - 2 * once


async def test_a_period_to_compare_with_that_runs_is_not_kept_for_longer():
    upstream, ticks = Leaky(), [0.0]
    runtime = Runtime(now=lambda: NOW, monotonic=lambda: ticks[0])
    sent = []
    async with served(app_of(upstream, runtime=runtime)) as browser:
        for against in ("2025-12", "7d"):
            for ticks[0] in (0, 3600):
                params = {"period": "2026-01", "against": against}
                reply = await browser.get("/explain", params=params, headers=BOSS)
                assert reply.status_code == 200
                sent.append(len(upstream.sent))
    assert sent[0] == sent[1] < sent[2] < sent[3]


async def test_a_settled_explanation_in_a_scope_is_kept_and_says_that_the_scope_leaves_keys_out():
    upstream, ticks, sent = Leaky(), [0.0], []
    runtime = Runtime(now=lambda: NOW, monotonic=lambda: ticks[0])
    async with served(app_of(upstream, runtime=runtime)) as browser:
        for ticks[0] in (0, 3600):
            reply = await browser.get(
                "/explain", params={"period": "2026-01"}, headers={"token": "own"}
            )
            assert reply.status_code == 200
            sent.append(len(upstream.sent))
    assert reply.json()["refused"] == [
        {"section": "spend by API key", "reason": "API keys are outside of the scope"}
    ]
    assert sent[0] == sent[1] > 0


async def test_a_client_without_a_cache_reads_each_time():
    upstream = Leaky()
    app = app_of(upstream)
    async with UsageClient(transport=upstream, runtime=RUNTIME) as plain:
        app.dependency_overrides[usage_client] = lambda: plain
        async with served(app) as browser:
            for path, params, _ in 2 * [*JSON_REPLIES.values()]:
                reply = await browser.get(path, params=params, headers=BOSS)
                assert reply.status_code == 200
    assert len(upstream.sent) == 2 * ALL_REQUESTS


async def test_a_browser_asks_whether_its_reply_still_holds():
    async with served(app_of(Leaky())) as browser:
        path = "/costs/summary"
        first = await browser.get(path, params=RANGE, headers=BOSS)
        tag = first.headers["etag"]
        for known in (tag, f'"x", W/{tag}'):
            headers = {**BOSS, "if-none-match": known}
            again = await browser.get(path, params=RANGE, headers=headers)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
        other = await browser.get(path, params=RANGE, headers={**BOSS, "if-none-match": '"x"'})
    assert other.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"
    assert first.headers["vary"] == "Accept"


async def test_the_tag_of_another_tenant_does_not_hold_even_if_the_figures_are_equal():
    tokens = {"own": Scope([OWN]), "of-people": Scope([OWN], people=True), "boss": ALL}

    async def signed_in(token: Annotated[str, Header()]) -> object:
        return tokens[token]

    apps = [FastAPI(lifespan=usage_lifespan(transport=Empty(), runtime=RUNTIME)) for _ in range(2)]
    for app in apps:
        app.include_router(usage_router(scope=signed_in))
    replies = {}
    for app in apps:
        async with served(app) as browser:
            for token in tokens:
                for path in ("/costs/summary", "/usage/costs", "/report.json"):
                    params, headers = {"period": "yesterday"}, {"token": token}
                    reply = await browser.get(path, params=params, headers=headers)
                    assert reply.status_code == 200, reply.text
                    found = replies.setdefault(path, {})
                    known = {"if-none-match": ", ".join(found)} if found else {}
                    assert found.setdefault(reply.headers["etag"], reply.content) is reply.content
                    again = await browser.get(path, params=params, headers={**headers, **known})
                    assert again.status_code == 200
    assert [len(set(found.values())) for found in replies.values()] == [1, 1, 1]


class Empty:
    """An organization without usage."""

    async def __call__(self, path, params, headers):
        given = dict(params)
        days = range(int(given["start_time"]), int(given["end_time"]), DAY)
        data = [{"start_time": day, "end_time": day + DAY, "results": []} for day in days]
        return 200, {}, page(data)


async def test_json_has_a_most_of_buckets_and_lines_have_none():
    upstream = Leaky()
    params = {"start_time": START, "end_time": START + 8 * DAY, "bucket_width": "1m"}
    async with served(app_of(upstream)) as browser:
        reply = await browser.get("/usage/completions", params=params, headers=BOSS)
        assert reply.status_code == 422
        assert reply.json()["detail"][0]["loc"] == ["query", "bucket_width"]
        assert not upstream.sent
        headers = {**BOSS, "accept": "application/x-ndjson"}
        lines = await browser.get("/usage/completions", params=params, headers=headers)
    assert json.loads(lines.text.splitlines()[-1])["rows"] == 2 * 8 * 1440


async def test_more_questions_than_the_bound_are_asked_to_come_again():
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(path, params, headers):
        held.set()
        await go.wait()
        return 200, {}, serve(params)

    async with served(app_of(slow, max_waiting=1)) as browser:
        first = asyncio.ensure_future(browser.get("/usage/completions", params=RANGE, headers=BOSS))
        await held.wait()
        for accept in ("application/json", "application/x-ndjson"):
            headers = {**BOSS, "accept": accept}
            reply = await browser.get("/usage/completions", params=RANGE, headers=headers)
            assert reply.status_code == 503
            assert reply.headers["retry-after"] == "1"
            assert reply.json()["detail"][0]["type"] == "busy"
        go.set()
        assert (await first).status_code == 200
        again = await browser.get(
            "/usage/completions", params=RANGE, headers={**BOSS, "accept": "application/x-ndjson"}
        )
        assert again.status_code == 200


STREAMED = ("application/x-ndjson", "application/vnd.apache.arrow.stream")


@pytest.mark.parametrize("accept", ["application/json", *STREAMED])
@pytest.mark.parametrize("is_throttled", [False, True])
async def test_who_asks_waits_as_long_as_the_client_lets_them(accept, is_throttled):
    clock, held = ManualClock(), asyncio.Event()

    async def slow(path, params, headers):
        held.set()
        if not is_throttled:
            await asyncio.Event().wait()
        return 429, {"retry-after": "60"}, b"words"

    options = {"runtime": clock.runtime, "wait_s": 5, "retry": RetryPolicy()}
    async with served(app_of(slow, **options)) as browser:
        path, headers = "/usage/completions", {**BOSS, "accept": accept}
        asked = asyncio.ensure_future(browser.get(path, params=RANGE, headers=headers))
        await held.wait()
        await turns(20)
        await clock.pass_by(4.9)
        assert not asked.done()
        await clock.pass_by(0.2)
        reply = await asked
    assert reply.status_code == (503 if is_throttled else 504)
    assert reply.headers.get("retry-after") == ("55" if is_throttled else "5")


@pytest.mark.parametrize("accept", STREAMED)
async def test_a_stream_waits_without_end_if_the_client_does(accept):
    clock = ManualClock()
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(path, params, headers):
        held.set()
        await go.wait()
        return 200, {}, serve(params)

    async with served(app_of(slow, runtime=clock.runtime, wait_s=inf)) as browser:
        path, headers = "/usage/completions", {**BOSS, "accept": accept}
        asked = asyncio.ensure_future(browser.get(path, params=RANGE, headers=headers))
        await held.wait()
        await clock.pass_by(10**6)
        go.set()
        assert (await asked).status_code == 200


@pytest.mark.parametrize("accept", STREAMED)
async def test_a_stream_gives_its_place_back_when_its_first_piece_is_there(accept):
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(path, params, headers):
        if int(dict(params)["start_time"]) > START:
            held.set()
            await go.wait()
        return 200, {}, serve(params)

    params = {"start_time": START, "end_time": START + 62 * DAY}
    clock = ManualClock()
    app = app_of(slow, max_waiting=1, wait_s=5, runtime=clock.runtime)
    async with served(app) as browser:
        headers = {**BOSS, "accept": accept}
        ask = browser.stream("GET", "/usage/completions", params=params, headers=headers)
        async with ask as reply:
            await held.wait()
            beside = await browser.get("/usage/completions", params=RANGE, headers=BOSS)
            assert beside.status_code == 200
            # The time to wait is that of the first piece.
            await clock.pass_by(60)
            go.set()
            body = await reply.aread()
    if accept == STREAMED[0]:
        assert json.loads(body.splitlines()[-1])["complete"] is True
    else:
        assert pa.ipc.open_stream(body).read_all().num_rows == 62


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ((401, {}, b"words"), 502),
        ((429, {"retry-after": "7"}, b"words"), 503),
        ((500, {}, b"words"), 502),
        ((200, {}, b"words"), 502),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_failures_of_the_service_have_one_shape(reply, status, accept):
    async def fails(path, params, headers):
        return reply

    async with served(app_of(fails)) as browser:
        headers = {**BOSS, "accept": accept}
        answer = await browser.get("/usage/completions", params=RANGE, headers=headers)
    assert answer.status_code == status
    assert "words" not in answer.text
    assert set(answer.json()) == {"detail"}
    if status == 503:
        assert answer.headers["retry-after"] == "7"


async def test_the_report_is_that_of_the_terminal():
    async with Emulator(ORGANIZATION, now=lambda: PRESENT) as server:
        app = FastAPI(
            lifespan=usage_lifespan(
                admin_key=server.admin_key,
                base_url=server.url,
                runtime=Runtime(now=lambda: PRESENT),
            )
        )
        app.include_router(usage_router(scope=tenant))
        async with served(app) as browser:
            reply = await browser.get("/report.json", params={"by": "model"}, headers=BOSS)
            total = await browser.get(
                "/costs/summary", params={"period": "last-month"}, headers=BOSS
            )
            compared = await browser.get("/report.json", params={"compare": "true"}, headers=BOSS)
            wrong = await browser.get("/report.json", params={"by": "x"}, headers=BOSS)
            period = await browser.get("/report.json", params={"period": "x"}, headers=BOSS)
    report = reply.json()
    assert report["by"] == "model"
    amount = loads(total.content, Summary[CostsResult]).total.amount_value
    assert amount == Decimal(report["spend"][0]["amount"]) > 0
    assert any(group["cause"] for group in compared.json()["spend"][0]["groups"])
    assert wrong.status_code == 422
    assert period.json()["detail"][0]["loc"] == ["query", "period"]


async def test_the_reasons_are_those_of_the_terminal():
    async with Emulator(now=lambda: PRESENT) as server:
        app = FastAPI(
            lifespan=usage_lifespan(
                admin_key=server.admin_key,
                base_url=server.url,
                runtime=Runtime(now=lambda: PRESENT),
            )
        )
        app.include_router(usage_router(scope=tenant))
        async with served(app) as browser:
            ask = partial(browser.get, headers=BOSS)
            explained = await ask("/explain", params={"against": "2026-08"})
            again = await ask("/explain", params={"against": "2026-07"})
            reconciled = await ask("/reconcile", params={"period": "yesterday"})
            budgets = [await ask("/budget", params={"monthly": each}) for each in ("1", "99999")]
            month = await ask("/budget", params={"monthly": "1", "period": "7d"})
    (bill,) = explained.json()["bills"]
    assert sum(map(Decimal, bill["effects"].values())) == Decimal(bill["change"])
    assert bill["sentences"]
    assert again.json()["compared_with"] != explained.json()["compared_with"]
    assert reconciled.json()["line_items"]
    assert [each.json()["budgets"][0]["verdict"] for each in budgets] == ["over", "within"]
    assert month.json()["detail"][0]["loc"] == ["query", "period"]


async def test_reasons_hold_no_words_of_the_service():
    async def partly(path, params, headers):
        grouped = {value for name, value in params if name == "group_by"}
        if path.endswith(("images", "spend_limit")) or "api_key_id" in grouped:
            return 403, {}, b'{"error": {"message": "words of proj_other"}}'
        return 200, {}, page([])

    async with served(app_of(partly)) as browser:
        found = [
            await browser.get(path, params=params, headers=BOSS)
            for path, params in (
                ("/explain", {}),
                ("/reconcile", {}),
                ("/budget", {"monthly": "1"}),
            )
        ]
    assert [reply.status_code for reply in found] == [200] * 3
    assert not any("words" in reply.text for reply in found)
    assert found[0].json()["refused"][0]["section"] == "spend by API key"
    assert found[1].json()["refused"][0]["section"] == "images"
    assert "spend limits could not be read" in found[2].json()["notices"]


async def test_a_report_holds_no_words_of_the_service():
    async def partly(path, params, headers):
        if path.endswith("images"):
            return 403, {}, b'{"error": {"message": "words of proj_other"}}'
        return 200, {}, page([])

    async with served(app_of(partly)) as browser:
        reply = await browser.get("/report.json", params={"compare": "true"}, headers=BOSS)
    assert reply.status_code == 200
    assert "words" not in reply.text
    [refused] = reply.json()["refused"]
    assert refused["section"] == "images"


NAMES_OF_PARAMETERS = st.sampled_from(
    ["project_ids", "project_ids[]", "Project_Ids", "project_id", "group_by", "user_ids", "page",
     "api_key_ids", "limit", "models", "period", "start_time", "unchecked", "clamp", "by"]
)  # fmt: skip
VALUES_OF_PARAMETERS = st.sampled_from(
    [OWN, OTHER, f"{OWN},{OTHER}", f"{OWN}\0", "", "*", "user_id", "api_key_id", "project_id",
     "7d", "model", "page_1", "true", "null", f'["{OTHER}"]']
) | st.text(string.printable, max_size=6)  # fmt: skip
PATHS = st.sampled_from(
    [f"/usage/{name}" for name in NAMES]
    + [f"/usage/{name}/totals" for name in NAMES]
    + ["/costs/summary", "/report.json", "/usage/../usage/costs", "/usage/costs/", "/usage/%2e"]
)
ACCEPTS = st.sampled_from(
    ["*/*", "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream", "x"]
)


class Foreign(Leaky):
    """A service that ignores the filter: it sends rows of another project."""

    def projects(self, params):
        return [OWN, OTHER]


@pytest.mark.parametrize("service", [Leaky, Foreign])
def test_a_tenant_never_sees_another_project(service):
    upstream = service()
    app = app_of(upstream)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        path=PATHS,
        params=st.lists(st.tuples(NAMES_OF_PARAMETERS, VALUES_OF_PARAMETERS), max_size=4),
        accept=ACCEPTS,
        has_period=st.booleans(),
    )
    def look(path, params, accept, has_period):
        asyncio.run(ask(path, params, accept, has_period))

    async def ask(path, params, accept, has_period):
        upstream.sent.clear()
        own = [*params, *([("period", "7d")] if has_period else [])]
        sent = " ".join(value for _, value in own)
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope, receive, send):
                await app({**scope, "state": dict(state)}, receive, send)

            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(with_state, raise_app_exceptions=False),
                base_url="http://test",
            ) as browser:
                headers = {"token": "own", "accept": accept}
                reply = await browser.get(path, params=own, headers=headers)
        told = reply.text + str(reply.headers)
        if OTHER not in sent:
            assert OTHER not in told
        assert f"of {OTHER}" not in told
        assert f"user of {OWN}" not in told
        assert reply.status_code in {200, 307, 403, 404, 406, 422, 502}
        for each in upstream.sent:
            assert {value for name, value in each if name == "project_ids"} == {OWN}
        if service is Foreign and upstream.sent:
            assert "input_tokens" not in told or reply.status_code != 200

    look()


ARROW = {**BOSS, "accept": "application/vnd.apache.arrow.stream"}


async def test_an_exact_table_is_asked_for_by_a_parameter():
    digits = "0.1234567890123456785"

    async def long(path, params, headers):
        body = json.loads(serve(params))
        amount = {"value": digits, "currency": "usd"}
        for bucket in body["data"]:
            bucket["results"] = [{"object": "organization.costs.result", "amount": amount}]
        return 200, {}, json.dumps(body).encode()

    exact = {**RANGE, "exact": "true"}
    async with served(app_of(long)) as browser:
        refused = await browser.get("/usage/costs", params=RANGE, headers=ARROW)
        asked = await browser.get("/usage/costs", params=exact, headers=ARROW)
        lines = await browser.get(
            "/usage/costs", params=exact, headers={**BOSS, "accept": "application/x-ndjson"}
        )
        as_json = await browser.get("/usage/costs", params=exact, headers=BOSS)
        totals = await browser.get("/costs/summary", params=exact, headers=BOSS)
        described = (await browser.get("/openapi.json")).json()["paths"]["/usage/costs"]["get"]
    assert refused.status_code == 422
    [told] = refused.json()["detail"]
    assert told["loc"] == ["query", "exact"]
    assert "exact=true" in told["msg"]
    table = pa.ipc.open_stream(asked.content).read_all()
    assert set(table["amount_exact"].to_pylist()) == {digits}
    assert json.loads(lines.text.splitlines()[0])["amount"] == digits
    assert as_json.json()["buckets"][0]["results"][0]["amount"]["value"] == digits
    assert totals.status_code == 422
    [parameter] = [each for each in described["parameters"] if each["name"] == "exact"]
    assert parameter["schema"]["type"] == "boolean"


async def test_arrow_holds_the_rows_of_the_scope_only():
    async with served(app_of(Leaky())) as browser:
        headers = {"token": "own", "accept": "application/vnd.apache.arrow.stream"}
        params = {**RANGE, "group_by": "project_id"}
        reply = await browser.get("/usage/completions", params=params, headers=headers)
    table = pa.ipc.open_stream(reply.content).read_all()
    assert set(table["project_id"].to_pylist()) == {OWN}
