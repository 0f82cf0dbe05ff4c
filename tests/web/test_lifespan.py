"""Clients of an application: one for all handlers, by organization, within a tenant's scope."""

import asyncio
import importlib
import logging
import sys
from contextlib import asynccontextmanager
from typing import Annotated
from weakref import WeakSet

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Header, HTTPException, Request, WebSocket
from service import KEY, NOW, START, SlowService, bucket, page, serve
from web_server import direct, served

from usage_async import Runtime, UsageClient, UsageCompletionsResult, errors
from usage_async.fastapi import (
    ALL,
    Scope,
    Usage,
    install_error_handlers,
    lifespan,
    metrics_router,
    scoped_usage,
    usage_client,
    usage_lifespan,
    usage_of,
    usage_router,
)
from usage_async.fastapi.scope import narrowed

RUNTIME = Runtime(now=lambda: NOW)
DAYS = {"start_time": START, "end_time": START + 86400}


def app_of(**options):
    """An application whose handler tells of the client that it got."""
    app = FastAPI(lifespan=usage_lifespan(**options))
    add_total(app)
    return app


def add_total(app):
    @app.get("/total")
    async def total(usage: Usage) -> UsageCompletionsResult:
        return await usage.completions(**DAYS).total()


def service(**options):
    return {"transport": SlowService(), "runtime": RUNTIME, **options}


async def test_all_handlers_share_one_cached_client():
    upstream = SlowService()
    async with served(app_of(transport=upstream, ttl_s=60)) as browser:
        replies = [await browser.get("/total") for _ in range(3)]
    assert [reply.json()["input_tokens"] for reply in replies] == [START // 86400] * 3
    assert len(upstream.sent) == 1


async def test_the_client_is_closed_at_the_end():
    found = []
    app = FastAPI(lifespan=usage_lifespan(**service()))

    @app.get("/")
    async def keep(usage: Usage) -> None:
        found.append(usage)

    async with served(app) as browser:
        await browser.get("/")
        assert (await found[0].completions(**DAYS).total()).num_model_requests == 1
    with pytest.raises(errors.ConfigurationError, match="closed"):
        await found[0].completions(**DAYS).total()


@pytest.mark.parametrize("is_plain", [True, False])
async def test_the_lifespan_of_the_application_runs_within(is_plain):
    told = []

    async def own(app):
        told.append("begin")
        yield {"database": "db"}
        told.append("end")

    app = FastAPI(
        lifespan=usage_lifespan(own if is_plain else asynccontextmanager(own), **service())
    )
    add_total(app)

    @app.get("/database")
    async def database(request: Request) -> str:
        return request.state.database

    async with served(app) as browser:
        assert (await browser.get("/database")).json() == "db"
        assert (await browser.get("/total")).status_code == 200
        assert told == ["begin"]
    assert told == ["begin", "end"]


@pytest.mark.parametrize("name", [["acme"], {}, None, 7, "nobody", ""])
async def test_what_names_no_organization_is_not_found(name):
    app = FastAPI(lifespan=usage_lifespan(organizations={"acme": {}}, **service()))

    async def organization() -> object:
        return name

    @app.get("/")
    async def none(usage: Annotated[UsageClient, usage_of(organization)]) -> None:
        pass

    async with served(app) as browser:
        reply = await browser.get("/")
    assert reply.status_code == 404
    assert reply.json()["detail"][0]["type"] == "no_organization"


async def test_a_lifespan_of_the_application_may_hold_ours():
    @asynccontextmanager
    async def own(app):
        async with usage_lifespan(**service())(app) as state:
            yield {**state, "database": "db"}

    app = FastAPI(lifespan=own)
    add_total(app)
    async with served(app) as browser:
        assert (await browser.get("/total")).status_code == 200


async def test_an_own_lifespan_may_have_no_state():
    async def own(app):
        yield

    app = FastAPI(lifespan=usage_lifespan(own, **service()))
    add_total(app)
    async with served(app) as browser:
        assert (await browser.get("/total")).status_code == 200


async def test_a_mounted_application_has_the_client():
    inner = FastAPI()
    add_total(inner)
    app = FastAPI(lifespan=usage_lifespan(**service()))
    app.mount("/inner", inner)
    async with served(app) as browser:
        assert (await browser.get("/inner/total")).status_code == 200


def one_of(name):
    """Options of a lifespan whose client reads another organization's figures."""

    async def transport(path, params, headers):
        row = {"object": "organization.usage.completions.result", "input_tokens": ord(name)}
        row |= {"output_tokens": 1, "num_model_requests": 1}
        return 200, {}, page([{**bucket(START), "results": [row]}])

    return {"transport": transport, "runtime": RUNTIME}


async def read_by(app, path="/total"):
    """The organization whose figures an application shows; None for a failure."""
    async with direct(app) as browser:
        reply = await browser.get(path)
    return chr(reply.json()["input_tokens"]) if reply.status_code == 200 else None


def with_total(app):
    add_total(app)
    return app


async def started(app):
    async with direct(app):
        pass


TWICE = "give one usage_lifespan all organizations"


async def test_two_lifespans_within_each_other_are_refused_at_the_start():
    inner = usage_lifespan(**one_of("b"))
    with pytest.raises(errors.ConfigurationError, match=TWICE):
        await started(FastAPI(lifespan=usage_lifespan(inner, **one_of("a"))))

    @asynccontextmanager
    async def both(app):
        async with usage_lifespan(**one_of("a"))(app) as state, inner(app) as other:
            yield {**state, **other}

    with pytest.raises(errors.ConfigurationError, match=TWICE):
        await started(FastAPI(lifespan=both))


async def test_the_lifespan_of_an_included_router_is_that_of_the_application():
    router = with_total(APIRouter(lifespan=usage_lifespan(**one_of("b"))))
    around = APIRouter()
    around.include_router(router, prefix="/deep")
    app = FastAPI()
    app.include_router(around)
    assert await read_by(app, "/deep/total") == "b"
    for beside in (usage_lifespan(**one_of("a")), None):
        app = FastAPI(lifespan=beside)
        app.include_router(around)
        if beside is None:
            app.include_router(APIRouter(lifespan=usage_lifespan(**one_of("c"))))
        with pytest.raises(errors.ConfigurationError, match=TWICE):
            await started(app)
    app = with_total(FastAPI(lifespan=usage_lifespan(**one_of("a"))))
    assert await read_by(app) == "a"


async def test_a_router_that_is_included_too_late_to_begin_gets_no_client_of_others():
    app, around = FastAPI(lifespan=usage_lifespan(**one_of("a"))), APIRouter()
    app.include_router(around)
    around.include_router(with_total(APIRouter(lifespan=usage_lifespan(**one_of("b")))))
    assert await read_by(app) is None


@asynccontextmanager
async def no_state(app):
    yield


@pytest.mark.parametrize("kind", [FastAPI, APIRouter])
@pytest.mark.parametrize("is_wrapped", [False, True])
async def test_what_is_mounted_with_a_lifespan_gets_no_client_of_others(kind, is_wrapped):
    own = usage_lifespan(**one_of("b"))

    @asynccontextmanager
    async def wrapped(app):
        async with own(app) as state:
            yield state

    app = FastAPI(lifespan=usage_lifespan(**one_of("a")))
    app.mount("/inner", with_total(kind(lifespan=wrapped if is_wrapped else own)))
    assert await read_by(app, "/inner/total") is None


@pytest.mark.parametrize("has_state", [False, True])
async def test_a_mounted_application_whose_lifespan_is_begun_by_hand_has_its_own_client(has_state):
    inner = with_total(FastAPI(lifespan=usage_lifespan(**one_of("b"))))

    async def begin(app):
        async with inner.router.lifespan_context(inner) as state:
            yield state if has_state else {}

    app = with_total(FastAPI(lifespan=usage_lifespan(begin, **one_of("a"))))
    app.mount("/inner", inner)
    assert await read_by(app) == "a"
    assert await read_by(app, "/inner/total") == "b"
    app = FastAPI(lifespan=asynccontextmanager(begin))
    app.mount("/inner", inner)
    assert await read_by(app, "/inner/total") == "b"


@pytest.mark.parametrize("kind", [FastAPI, APIRouter])
async def test_what_is_mounted_without_a_lifespan_of_ours_has_the_client_around_it(
    kind, monkeypatch
):
    monkeypatch.setattr(lifespan, "_idle", WeakSet())  # of other tests, too
    elsewhere = usage_lifespan(**one_of("c"))
    inner = kind()
    inner.include_router(with_total(APIRouter()))
    app = FastAPI(lifespan=usage_lifespan(**one_of("a")))
    app.mount("/inner", inner)
    assert await read_by(app, "/inner/total") == "a"
    app.mount("/other", with_total(kind(lifespan=no_state)))
    assert await read_by(app, "/other/total") is None
    async with elsewhere(FastAPI()):
        assert await read_by(app, "/other/total") == "a"


async def test_two_servers_of_an_application_have_clients_of_their_own():
    app = with_total(FastAPI(lifespan=usage_lifespan(**one_of("a"))))
    async with direct(app) as one:
        async with direct(app) as other:
            assert (await other.get("/total")).status_code == 200
        assert (await one.get("/total")).status_code == 200
    assert await read_by(app) == "a"


def test_a_websocket_has_the_client():
    from starlette.testclient import TestClient

    app = FastAPI(lifespan=usage_lifespan(**service()))

    @app.websocket("/live")
    async def live(socket: WebSocket, usage: Usage) -> None:
        await socket.accept()
        total = await usage.completions(**DAYS).total()
        await socket.send_json(total.num_model_requests)
        await socket.close()

    with TestClient(app) as browser, browser.websocket_connect("/live") as socket:
        assert socket.receive_json() == 1


async def test_a_test_overrides_the_client():
    app = app_of(admin_key=KEY)
    async with UsageClient(**service()) as fake:
        app.dependency_overrides[usage_client] = lambda: fake
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
            assert (await browser.get("/total")).json()["input_tokens"] == START // 86400


async def test_without_a_lifespan_the_message_says_what_to_write():
    app = FastAPI()
    add_total(app)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as browser:
        with pytest.raises(errors.ConfigurationError, match=r"lifespan=usage_lifespan\(\)"):
            await browser.get("/total")


async def test_a_missing_key_fails_at_the_start_and_the_last_line_says_so(monkeypatch, caplog):
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY_FILE", raising=False)
    with caplog.at_level(logging.ERROR, "uvicorn.error"), pytest.raises(RuntimeError):
        async with served(app_of()):
            pytest.fail("it started")
    lines = [record.getMessage().strip().splitlines()[-1] for record in caplog.records]
    assert any("OPENAI_ADMIN_KEY" in line for line in lines)


async def test_behind_the_error_handlers_a_missing_key_is_one_line(monkeypatch, caplog):
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY_FILE", raising=False)
    app = app_of()
    install_error_handlers(app)
    with caplog.at_level(logging.ERROR, "uvicorn.error"), pytest.raises(RuntimeError):
        async with served(app):
            pytest.fail("it started")
    first, _ = [record.getMessage() for record in caplog.records]
    assert first.startswith("no admin key: set OPENAI_ADMIN_KEY")
    assert "\n" not in first
    # Who starts it without a server gets the error itself.
    with pytest.raises(errors.ConfigurationError):
        async with app.router.lifespan_context(app):
            pytest.fail("it started")


async def test_behind_the_error_handlers_a_defect_at_the_start_has_its_traceback(caplog):
    async def own(app):
        raise ZeroDivisionError
        yield

    app = FastAPI(lifespan=usage_lifespan(own, **service()))
    install_error_handlers(app)
    with caplog.at_level(logging.ERROR, "uvicorn.error"), pytest.raises(RuntimeError):
        async with served(app):
            pytest.fail("it started")
    assert "Traceback" in caplog.records[0].getMessage()
    assert "ZeroDivisionError" in caplog.records[0].getMessage()


async def test_an_organization_without_a_key_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    run = usage_lifespan(organizations={"good": service(), "bad": {}})
    with pytest.raises(errors.ConfigurationError, match="organization 'bad': "):
        async with run(FastAPI()):
            pytest.fail("it started")


def test_an_unknown_option_is_refused_at_once():
    with pytest.raises(errors.ConfigurationError, match=r"ttl_seconds.*ttl_s"):
        usage_lifespan(ttl_seconds=60)


def test_an_option_of_the_cache_is_checked_at_the_start():
    run = usage_lifespan(**service(), ttl_s=-1)

    async def start():
        async with run(FastAPI()):
            pass

    with pytest.raises(errors.ConfigurationError, match="ttl_s"):
        asyncio.run(start())


async def organization(name: str) -> str:
    return name


def many():
    upstreams = {name: SlowService() for name in ("acme", "umbrella")}
    app = FastAPI(
        lifespan=usage_lifespan(
            organizations={name: {"transport": each} for name, each in upstreams.items()},
            runtime=RUNTIME,
        )
    )
    add_total(app)

    @app.get("/of/{name}")  # noqa: FAST003 - a dependency takes it
    async def of(usage: Annotated[UsageClient, usage_of(organization)]) -> UsageCompletionsResult:
        return await usage.completions(**DAYS).total()

    return app, upstreams


async def test_a_dependency_picks_one_of_several_organizations():
    app, upstreams = many()
    async with served(app) as browser:
        assert (await browser.get("/of/acme")).status_code == 200
        assert [len(each.sent) for each in upstreams.values()] == [1, 0]
        assert (await browser.get("/of/nobody")).status_code == 404


async def test_of_several_organizations_none_is_the_default():
    app, upstreams = many()
    install_error_handlers(app)
    async with served(app) as browser:
        assert (await browser.get("/total")).status_code == 500
    assert not any(each.sent for each in upstreams.values())


class ByProject:
    """A service that answers with the project of the filter."""

    def __init__(self):
        self.sent = []

    async def __call__(self, path, params, headers):
        self.sent.append(params)
        projects = [value for name, value in params if name == "project_ids"]
        field = f'"project_id": "{projects[0] if projects else "none"}", "input_tokens"'
        return 200, {}, serve(params).replace(b'"input_tokens"', field.encode())


TOKENS = {"a": Scope(["proj_a"]), "boss": ALL, "odd": None}


async def tenant(token: Annotated[str, Header()]) -> object:
    if token not in TOKENS:
        raise HTTPException(401)
    return TOKENS[token]


def scoped_app(upstream):
    app = FastAPI(lifespan=usage_lifespan(transport=upstream, runtime=RUNTIME))
    install_error_handlers(app)

    @app.get("/mine")
    async def mine(
        usage: Annotated[UsageClient, scoped_usage(tenant)], project: str | None = None
    ) -> list[UsageCompletionsResult]:
        projects = None if project is None else [project]
        query = usage.completions(**DAYS, group_by=["project_id"], project_ids=projects)
        return await query.totals()

    return app


@pytest.mark.parametrize(
    ("token", "params", "status", "filters"),
    [
        ("a", {}, 200, [["proj_a"]]),
        ("boss", {}, 200, [[]]),
        ("boss", {"project": "proj_b"}, 200, [["proj_b"]]),
        ("a", {"project": "proj_b"}, 403, []),
        ("nobody", {}, 401, []),
        ("odd", {}, 500, []),
    ],
    ids=["tenant", "all", "all-filtered", "outside", "stranger", "no-scope"],
)
async def test_a_tenant_reads_its_own_projects_only(token, params, status, filters):
    upstream = ByProject()
    async with served(scoped_app(upstream)) as browser:
        reply = await browser.get("/mine", params=params, headers={"token": token})
    assert reply.status_code == status
    sent = [[value for name, value in each if name == "project_ids"] for each in upstream.sent]
    assert sent == filters


async def test_a_tenant_of_one_of_several_organizations():
    upstreams = {"acme": ByProject(), "umbrella": ByProject()}
    each = {name: {"transport": upstream} for name, upstream in upstreams.items()}
    app = FastAPI(lifespan=usage_lifespan(organizations=each, runtime=RUNTIME))
    usage = Annotated[UsageClient, scoped_usage(tenant, organization=organization)]

    @app.get("/of/{name}")  # noqa: FAST003 - a dependency takes it
    async def of(usage: usage) -> UsageCompletionsResult:
        return await usage.completions(**DAYS).total()

    async with served(app) as browser:
        reply = await browser.get("/of/umbrella", headers={"token": "a"})
    assert reply.status_code == 200
    assert [len(upstream.sent) for upstream in upstreams.values()] == [0, 1]


async def test_a_stranger_does_not_learn_which_organizations_there_are():
    app = FastAPI(lifespan=usage_lifespan(organizations={"acme": {"transport": ByProject()}}))
    usage = Annotated[UsageClient, scoped_usage(tenant, organization=organization)]

    @app.get("/of/{name}")  # noqa: FAST003 - a dependency takes it
    async def of(usage: usage) -> None:
        pytest.fail("a stranger was let in")

    app.include_router(metrics_router(scope=tenant, organization=organization), prefix="/{name}")
    app.include_router(usage_router(scope=tenant, organization=organization), prefix="/{name}")
    paths = ("/of/{}", "/{}/metrics", "/{}/usage/costs", "/{}/report.json")
    async with served(app) as browser:
        for path in paths:
            known, unknown = [
                await browser.get(path.format(name), headers={"token": "nobody"})
                for name in ("acme", "nobody")
            ]
            assert (known.status_code, known.content) == (401, unknown.content)
            assert known.status_code == unknown.status_code
        reply = await browser.get("/nobody/metrics", headers={"token": "a"})
        assert reply.status_code == 404


@pytest.mark.parametrize("ids", [[], None, "proj_a", ["a/b"], [1]])
def test_a_scope_of_nothing_is_refused(ids):
    with pytest.raises(errors.ScopeError):
        Scope(ids)


def test_people_are_allowed_by_name_only():
    assert not Scope(["proj_a"]).people
    assert Scope(["proj_a"], people=True).people
    with pytest.raises(TypeError):
        Scope(["proj_a"], True)


@pytest.mark.parametrize("scope", [None, True, "ALL", ["proj_a"], {"project_ids": ["proj_a"]}])
def test_what_is_no_scope_gives_no_client(scope):
    client = UsageClient(**service())
    with pytest.raises(errors.ConfigurationError, match=f"not {type(scope).__name__}$"):
        narrowed(client, scope)


async def test_a_hook_of_the_caller_is_called_as_well():
    told = []
    async with served(app_of(**service(trace=told.append))) as browser:
        await browser.get("/total")
    assert [event.status for event in told] == [200]


def test_the_key_is_in_no_local():
    run = usage_lifespan(admin_key=KEY, organizations={"a": {"admin_key": KEY}})
    assert KEY not in repr([cell.cell_contents for cell in run.__wrapped__.__closure__])


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "usage_async.fastapi")
    with pytest.raises(ImportError, match=r"pip install 'usage-async\[fastapi\]'"):
        importlib.import_module("usage_async.fastapi")
