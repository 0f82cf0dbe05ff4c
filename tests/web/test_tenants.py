"""Tenants: whatever one of them asks, it learns nothing of the others, not even that they exist."""

import asyncio
import json
import string
from contextlib import asynccontextmanager
from functools import cache
from typing import Annotated
from urllib.parse import quote, unquote

import attrs
import pytest
from asking import NOW, ORGANIZATION
from fastapi import FastAPI, Header, HTTPException
from hypothesis import given
from hypothesis import strategies as st
from values import NAMES

from usage_async import ENDPOINTS, RetryPolicy, Runtime
from usage_async.emulator import Quirks
from usage_async.emulator.service.page import make_page
from usage_async.emulator.service.query import parse
from usage_async.emulator.service.refusals import Refusal
from usage_async.emulator.service.server import _encode
from usage_async.fastapi import (
    ALL,
    Scope,
    install_error_handlers,
    metrics_router,
    usage_lifespan,
    usage_router,
)
from usage_async.fastapi.lifespan import _STATE

WEB, SEARCH, SUPPORT, *_ = (project.id for project in ORGANIZATION.projects)
TENANT = "web"
SCOPES = {
    TENANT: Scope([WEB]),
    "search": Scope([SEARCH], people=True),
    "both": Scope([WEB, SEARCH]),
    "boss": ALL,
}
OTHER = "{other}"
MADE_UP = "proj_ffffffffffffffff"
"""A project that does not exist; it is as long as those that do."""
FIGURE = 987654321
"""A figure of every row of the others."""

OTHERS = [project for project in ORGANIZATION.projects if project.id != WEB]
FORBIDDEN = [
    *(project.id for project in OTHERS),
    *(project.name for project in OTHERS if project.name not in ("Search", "Research")),
    *(user.id for user in ORGANIZATION.users),
    *(user.email for user in ORGANIZATION.users),
    *(key.id for key in ORGANIZATION.keys),
    *(key.owner.id for key in ORGANIZATION.keys),
    str(FIGURE),
]
BY_PATH = {endpoint.path: endpoint for endpoint in ENDPOINTS.values()}


class Upstream:
    """The service of the organization, without sockets.

    Attributes:
        kind: `honest`; `unfiltered`: it ignores the filter; `wordy`: it fails, and tells of others.
        sent: Parameters of each request.
    """

    def __init__(self, kind):
        self.kind, self.sent = kind, []

    async def __call__(self, path, params, headers):
        self.sent.append(params)
        if self.kind == "wordy":
            words = {"error": {"message": " ".join(FORBIDDEN), "param": SEARCH}}
            return 403, {"x-request-id": SEARCH}, json.dumps(words).encode()
        if self.kind == "unfiltered":
            params = [each for each in params if each[0] != "project_ids"]
        if path.endswith("/spend_limit"):
            cents = 5 if WEB in path else FIGURE
            return 200, {}, json.dumps({"threshold_amount": cents, "currency": "USD"}).encode()
        return reply_to(path, tuple(params))


QUIRKS = Quirks(unknown_fields=True, repeated_rows=True)


@cache
def reply_to(path, params):
    try:
        query = parse(BY_PATH[path], params, NOW, QUIRKS)
    except Refusal as refusal:
        return refusal.status, {}, json.dumps(refusal.body).encode()
    page = json.loads(_encode(make_page(ORGANIZATION, query, NOW, QUIRKS)))
    for bucket in page["data"]:
        for row in bucket["results"]:
            if row["project_id"] != WEB:
                row |= {key: FIGURE for key in ("input_tokens", "images") if key in row}
    return 200, {}, json.dumps(page).encode()


async def tenant(token: Annotated[str, Header()] = "") -> object:
    if token not in SCOPES:
        raise HTTPException(401)
    return SCOPES[token]


@attrs.frozen
class Reply:
    """A reply: status, headers but for the tag, and body."""

    status: int
    headers: tuple
    body: bytes
    tag: str = attrs.field(eq=False)

    @property
    def told(self):
        """Everything that it tells, as one text."""
        return f"{self.headers} {self.body.decode('utf-8', 'backslashreplace')}"

    def without(self, project_id):
        """Blank the id of a project that the request named itself."""
        blank = b"." * len(project_id)
        return attrs.evolve(self, body=self.body.replace(project_id.encode(), blank))


class World:
    """An application over the service."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.ticks = 0.0
        runtime = Runtime(now=lambda: NOW, monotonic=lambda: self.ticks)
        self.app = FastAPI(
            lifespan=usage_lifespan(
                transport=upstream, runtime=runtime, retry=RetryPolicy(attempts=1), ttl_s=60
            )
        )
        install_error_handlers(self.app)
        self.app.include_router(usage_router(scope=tenant))
        self.app.include_router(metrics_router(scope=tenant, endpoints=["completions"]))

    @asynccontextmanager
    async def running(self):
        async with self.app.router.lifespan_context(self.app) as self.state:
            yield self

    async def ask(self, token, target, *, method="GET", headers=()):
        """Send a request whose target is exactly as given, as no HTTP client would."""
        path, _, query = target.partition("?")
        sent, body = [], []
        asked = [(b"token", token.encode()), *headers]
        first = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            if not first:
                await asyncio.Event().wait()
            return first.pop()

        async def send(message):
            sent.append(message)
            body.append(message.get("body", b""))

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower(), value) for name, value in asked],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": dict(self.state),
        }
        await self.app(scope, receive, send)
        await self.idle()
        named = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        tag = named.pop("etag", "")
        return Reply(sent[0]["status"], tuple(sorted(named.items())), b"".join(body), tag)

    async def idle(self):
        """Wait for what is read behind."""
        client = self.state[_STATE].by_name[""]
        while tasks := client._engine._tasks:
            await asyncio.wait([*tasks])


@attrs.frozen
class Step:
    """A request of the tenant. In its target and headers, `OTHER` stands for another project.

    Attributes:
        seconds: Time that passes before it.
        between: Who asks the same before it, in a world of several tenants.
        with_tag: Whether it holds the tags of their replies.
    """

    target: str
    method: str
    headers: tuple
    seconds: float
    between: tuple
    with_tag: bool

    def about(self, other):
        """Give target and headers that name a project."""
        named = other.encode()
        headers = [(name, value.replace(OTHER.encode(), named)) for name, value in self.headers]
        return self.target.replace(OTHER, other), headers


PARAMETERS = [
    "project_ids", "project_ids[]", "project_ids[0]", "Project_Ids", "PROJECT_IDS", "project_id",
    "project_ids\0", "group_by", "group_by[]", "user_ids", "api_key_ids", "models", "line_items",
    "batch", "period", "start_time", "end_time", "bucket_width", "clamp", "page", "limit", "by",
    "compare", "against", "monthly", "currency", "unchecked", "people", "scope", "token",
    "transport", "client", "",
]  # fmt: skip
TEXTS = [
    WEB, OTHER, f"{WEB},{OTHER}", f"{WEB}\0", f"{OTHER}\0", f"{WEB} ", "*", "%", "", "null", "{}",
    f'["{OTHER}"]', f"{WEB}&project_ids={OTHER}", OTHER.upper(), WEB.upper(), f"..{OTHER}", "7d",
    "project_id", "user_id", "api_key_id", "model", "line_item", "2026-10", "today", "1d", "1h",
    "2026-11-20", "2099", "page_1764547200", "true", "1", "9" * 30, "gpt-5.1", "ALL",
]  # fmt: skip
ENCODINGS = [str, quote, lambda text: quote(quote(text)), lambda text: quote(text, safe="%{}")]
PATHS = [
    *(f"/usage/{name}{rest}" for name in NAMES for rest in ("", "/totals")),
    *["/costs/summary", "/metrics"] * 4,
    "/report.json",
    "/explain",
    "/reconcile",
    "/budget",
    "odd",
]
ODD_PATHS = [
    "//usage/costs", "/usage/../usage/costs", "/usage/%2e%2e/costs", "/usage/costs/", "/",
    "/USAGE/costs", "/usage/Costs", "/usage/costs%00", "/usage/costs/totals/", "/costs", "/usage",
    "/usage/*", f"/usage/{OTHER}", f"/usage/costs/{OTHER}", "/usage%2fcosts", "/./usage/costs",
    "/openapi.json",
]  # fmt: skip
METHODS = ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"]
MEDIA = [
    b"*/*", b"application/json", b"application/x-ndjson", b"application/vnd.apache.arrow.stream",
    b"text/html", b"application/*;q=0", b"application/json;q=nan, application/x-ndjson;q=1e999",
    b",,;;==", b"application/x-ndjson;q=-1", b"*/*;q=\xff", b"a" * 5000, b"",
]  # fmt: skip
HEADERS = [
    (b"x-forwarded-for", b"10.0.0.1"),
    (b"x-forwarded-host", OTHER.encode()),
    (b"x-forwarded-prefix", b"/../"),
    (b"forwarded", b"for=" + OTHER.encode()),
    (b"x-http-method-override", b"POST"),
    (b"x-original-url", b"/usage/costs"),
    (b"x-rewrite-url", b"/usage/costs?project_ids=" + OTHER.encode()),
    (b"authorization", b"Bearer boss"),
    (b"cookie", b"token=boss; scope=ALL"),
    (b"token", b"boss"),  # a second one: the dependency above takes the first
    (b"openai-organization", b"org_1"),
    (b"openai-project", OTHER.encode()),
    (b"if-none-match", b"*"),
    (b"if-modified-since", b"Sat, 21 Nov 2026 04:23:20 GMT"),
    (b"range", b"bytes=0-99"),
    (b"content-type", b"application/json"),
]
headers = st.tuples(st.just(b"accept"), st.sampled_from(MEDIA)) | st.sampled_from(HEADERS)
parameters = st.builds(
    lambda name, value, encode: f"{quote(name, safe='[]')}={encode(value)}",
    st.sampled_from(PARAMETERS),
    st.sampled_from(TEXTS) | st.text(string.printable, max_size=4),
    st.sampled_from(ENCODINGS),
)
good = st.sampled_from(["period=7d", "period=2026-10", "period=today", "start_time=2026-11-01"])
own = st.sampled_from(
    ["group_by=model", "group_by=project_id", f"project_ids={WEB}", "bucket_width=1d", "clamp=true"]
)
queries = st.one_of(
    st.tuples(good, st.lists(own, max_size=2)),
    st.tuples(good | st.just(""), st.lists(parameters, max_size=3)),
).map(lambda parts: "&".join(filter(None, [parts[0], *parts[1]])))
steps = st.builds(
    Step,
    target=st.builds(
        "{}?{}".format,
        st.sampled_from(PATHS).flatmap(
            lambda path: st.sampled_from(ODD_PATHS if path == "odd" else [path])
        ),
        queries,
    ),
    method=st.sampled_from([*["GET"] * 40, *METHODS]),
    headers=st.lists(headers, max_size=3).map(tuple),
    seconds=st.sampled_from([0, 0, 1, 61, 4000]),
    between=st.lists(st.sampled_from(["boss", "search", "both"]), max_size=2).map(tuple),
    with_tag=st.booleans(),
)
ANSWERS = {200, 307, 403, 404, 405, 406, 422, 502}


def told_by(reply, step):
    """Everything that a reply tells, but for the project that the request itself named."""
    named = step.target + "".join(value.decode("latin-1") for _, value in step.headers)
    return reply.told.replace(SUPPORT, "") if OTHER in named else reply.told


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["honest", "unfiltered", "wordy"])
def test_a_tenant_learns_nothing_of_others(kind):
    # In one world others ask as well, and the request names a project that there is. In the other
    # one the tenant is alone, and the project is made up.
    shared, alone = World(Upstream(kind)), World(Upstream(kind))

    @given(st.lists(steps, min_size=1, max_size=4))
    def learn(sequence):
        asyncio.run(look(sequence))

    async def look(sequence):
        async with shared.running(), alone.running():
            for step in sequence:
                shared.ticks += step.seconds
                alone.ticks += step.seconds
                tags = [(await shared.ask(who, step.about(SUPPORT)[0])).tag for who in step.between]
                tags = tags if step.with_tag else []
                assert await ask(shared, step, SUPPORT, tags) == await ask(
                    alone, step, MADE_UP, tags
                )

    async def ask(world, step, other, tags):
        target, sent = step.about(other)
        sent += [(b"if-none-match", tag.encode()) for tag in tags]
        upstream = world.upstream
        upstream.sent.clear()
        reply = await world.ask(TENANT, target, method=step.method, headers=sent)
        assert reply.status in ANSWERS
        told = told_by(reply, step)
        assert not [each for each in FORBIDDEN if each in told]
        for params in upstream.sent:
            assert {value for name, value in params if name == "project_ids"} == {WEB}
            assert ("group_by", "project_id") in params
        if kind == "wordy" and "totals" in target:
            assert reply.status != 200
        return reply.without(other), len(upstream.sent)

    learn()
