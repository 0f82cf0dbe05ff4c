"""The local application: who is let in, what every reply carries, and the page."""

import re
from html import unescape

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import NOW
from starlette.responses import Response
from values import utc_range

from usage_async import ENDPOINTS, AuthenticationError
from usage_async.fastapi.lifespan import lifespan_of
from usage_async.fastapi.local import LocalGuard, local_app, new_token
from usage_async.report.compute import compute_report
from usage_async.report.html.form import Question
from usage_async.report.html.page import POLICY
from usage_async.report.spec import report_spec
from usage_async.report.values import Blank, Section, Sections, View

PORT = 8123
TOKEN = new_token()
OWN = f"http://127.0.0.1:{PORT}"
KNOWN = {"authorization": f"Bearer {TOKEN}"}


async def inner(scope, receive, send):
    """Tell what has come through."""
    if scope["path"] == "/bug":
        raise RuntimeError("a bug")
    headers = {"x-method": scope["method"]}
    if scope["path"] == "/own":
        headers["cache-control"] = "private"
    await Response(headers=headers)(scope, receive, send)


@pytest.fixture
def bugs():
    return []


@pytest.fixture
def guard(bugs):
    return LocalGuard(inner, PORT, TOKEN, bugs.append)


def browser_of(app, **options):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=OWN, **options)


@pytest.fixture
async def browser(guard):
    async with browser_of(guard) as browser:
        yield browser


async def status(guard, *headers, path="/", query=b"", method="GET"):
    """Ask with headers that no client would send."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in headers],
    }
    await guard(scope, None, send)
    return sent[0]["status"]


HOST = (b"host", b"127.0.0.1:8123")
BEARER = (b"authorization", f"Bearer {TOKEN}".encode())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
async def test_the_names_of_this_machine_are_ours(guard, host):
    assert await status(guard, (b"host", f"{host}:{PORT}".encode()), BEARER) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"127.0.0.1"],
        [b"127.0.0.1:8124"],
        [b"127.0.0.1:8123.evil.example"],
        [b"evil.example:8123"],
        [b"localhost.evil.example:8123"],
        [b"localhost.:8123"],
        [b"[127.0.0.1]:8123"],
        [b"::1:8123"],
        [b"[::1]"],
        [b"0.0.0.0:8123"],
        [b"127.0.0.2:8123"],
        [b"user@127.0.0.1:8123"],
        [b"127.0.0.1:8123", b"127.0.0.1:8123"],
        [b"127.0.0.1:8123", b"evil.example"],
        [b"127.0.0.1:8123, evil.example"],
        [b"\xff:8123"],
    ],
)
async def test_a_request_for_another_host_gets_nothing(guard, hosts):
    named = [(b"host", host) for host in hosts]
    assert await status(guard, *named, BEARER) == 421
    assert await status(guard, *named, query=f"token={TOKEN}".encode()) == 421


async def test_at_port_80_a_host_needs_no_port(bugs):
    guard = LocalGuard(inner, 80, TOKEN, bugs.append)
    assert await status(guard, (b"host", b"localhost"), BEARER) == 200
    assert await status(guard, (b"host", b"localhost:80"), BEARER) == 200
    assert await status(guard, (b"host", b"evil.example"), BEARER) == 421


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"origin": OWN}, 200),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": f"https://127.0.0.1:{PORT}"}, 403),
        ({"origin": f"http://localhost:{PORT}"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "none", "origin": "http://evil.example"}, 403),
    ],
)
async def test_a_page_of_another_origin_gets_nothing(browser, headers, expected):
    reply = await browser.get("/", headers={**KNOWN, **headers})
    assert reply.status_code == expected
    assert not [name for name in reply.headers if name.startswith("access-control")]
    exchange = await browser.get("/", params={"token": TOKEN}, headers=headers)
    assert exchange.status_code == (303 if expected == 200 else 403)
    assert ("set-cookie" in exchange.headers) is (expected == 200)


async def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(browser, guard):
    reply = await browser.get("/", params={"token": TOKEN})
    assert (reply.status_code, reply.headers["location"], reply.content) == (303, "/", b"")
    name, _, rest = reply.headers["set-cookie"].partition("=")
    session, *flags = rest.split("; ")
    assert name == guard.cookie == f"usage_async_{PORT}"
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=strict"]
    assert TOKEN not in reply.headers["set-cookie"]
    assert len(session) > 40
    assert (await browser.get("/usage/costs")).status_code == 200


async def test_the_printed_address_opens_several_browsers_each_with_a_session(guard):
    sessions = set()
    for _ in range(3):
        async with browser_of(guard) as browser:
            assert (await browser.get("/")).status_code == 401
            await browser.get("/", params={"token": TOKEN})
            sessions.add(browser.cookies[guard.cookie])
            assert (await browser.get("/")).status_code == 200
    assert len(sessions) == 3


async def test_there_is_a_most_of_sessions_and_the_oldest_ends(guard):
    async with browser_of(guard) as first, browser_of(guard) as last:
        await first.get("/", params={"token": TOKEN})
        for _ in range(100):
            await last.get("/", params={"token": TOKEN})
        assert (await last.get("/")).status_code == 200
        assert (await first.get("/")).status_code == 401


WRONG = ["", "x", TOKEN[:-1], TOKEN + "x", "é", "%", "true", f"{TOKEN}\0"]


@pytest.mark.parametrize("given", WRONG)
async def test_a_wrong_token_is_told_to_use_the_printed_address(browser, given):
    for reply in (
        await browser.get("/", params={"token": given}),
        await browser.get("/usage/costs", params={"token": given}),
        await browser.get("/"),
        await browser.get("/nowhere"),
    ):
        assert reply.status_code == 401
        assert "usage-async serve has printed" in reply.text
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert "set-cookie" not in reply.headers


@given(st.binary())
async def test_no_bytes_but_the_token_open_anything(given):
    guard = LocalGuard(inner, PORT, TOKEN, lambda _: None)
    for name, value in (
        (b"authorization", b"Bearer " + given),
        (b"authorization", given),
        (b"cookie", guard.cookie.encode() + b"=" + given),
        (b"cookie", given),
    ):
        assert await status(guard, HOST, (name, value)) == 401
    quoted = "".join(f"%{byte:02x}" for byte in given).encode()
    assert await status(guard, HOST, query=b"token=" + quoted) == 401


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer  {TOKEN}", f"BEARER {TOKEN} "])
async def test_a_program_sends_the_token_in_a_header(browser, header):
    assert (await browser.get("/", headers={"authorization": header})).status_code == 200
    for other in (f"Basic {TOKEN}", f"Bearer:{TOKEN}", TOKEN):
        assert (await browser.get("/", headers={"authorization": other})).status_code == 401


async def test_the_token_opens_only_as_said(browser, guard):
    """In an address of the page or as a bearer; not as a cookie, nor in another address."""
    assert (await browser.get("/metrics", params={"token": TOKEN})).status_code == 401
    cookies = {"cookie": f"{guard.cookie}={TOKEN}"}
    assert (await browser.get("/", headers=cookies)).status_code == 401
    both = await browser.get("/", params=[("token", TOKEN), ("token", "x")])
    assert both.status_code == 401


async def test_a_cookie_of_another_port_opens_nothing(browser, guard):
    await browser.get("/", params={"token": TOKEN})
    session = browser.cookies[guard.cookie]
    browser.cookies.clear()
    for cookie, expected in (
        (f"usage_async_9999={session}", 401),
        (f"x={guard.cookie}={session}", 401),
        (f"{guard.cookie}={session}", 200),
        (f'a="1;2"; {guard.cookie}=other; {guard.cookie}={session}; b', 200),
    ):
        reply = await browser.get("/", headers={"cookie": cookie})
        assert reply.status_code == expected, cookie


async def test_every_reply_carries_the_headers_of_a_private_page(browser):
    replies = [
        await browser.get("/"),
        await browser.get("/", headers=KNOWN),
        await browser.get("/", headers={"host": "evil.example"}),
        await browser.get("/", params={"token": TOKEN}),
        await browser.get("/own", headers=KNOWN),
    ]
    for reply in replies:
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["content-security-policy"].startswith("default-src 'none'")
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"
    assert [reply.headers["cache-control"] for reply in replies] == [*["no-store"] * 4, "private"]


async def test_head_is_answered_like_get(browser):
    reply = await browser.head("/", headers=KNOWN)
    assert (reply.status_code, reply.headers["x-method"]) == (200, "GET")
    assert (await browser.head("/")).status_code == 401


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE", "TRACE"])
async def test_another_method_gets_in_no_more_easily(browser, method):
    assert (await browser.request(method, "/")).status_code == 401
    reply = await browser.request(method, "/", headers=KNOWN)
    assert reply.headers["x-method"] == method


async def test_a_bug_is_told(browser, bugs):
    assert (await browser.get("/bug", headers=KNOWN)).status_code == 500
    assert [str(error) for error in bugs] == ["a bug"]


def test_the_token_is_in_no_repr(guard):
    assert TOKEN not in repr(guard)


# The page


def sections_of(spec):
    blank = Section(blank=Blank("failed", "upstream's words"))
    usage = {name: blank for name in ENDPOINTS if name != "costs"}
    return Sections(costs=Section(), costs_by=Section(), usage=usage, costs_before=Section())


@pytest.fixture
def asked():
    return []


@pytest.fixture
async def pages(asked):
    async def read(question):
        spec = report_spec(NOW, by=question.by, period=question.period, compare=True)
        asked.append(spec)
        if spec.by == "user_id":
            raise AuthenticationError("the key is wrong", status=401)
        if spec.by == "line_item":
            raise RuntimeError("a bug")
        return compute_report(spec, sections_of(spec)), View(notices=("<a notice>",))

    app = local_app(
        lifespan_of(None, {}),
        question=Question("last-month", "project_id"),
        read=read,
        explain=lambda error: f"explained: <{error}>",
    )
    async with browser_of(app) as browser:
        yield browser


async def test_the_page_answers_its_form(pages, asked):
    first = await pages.get("/")
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["content-security-policy"] == POLICY
    assert "&lt;a notice&gt;" in first.text
    await pages.get("/", params={"period": "2026-08", "by": "model", "utm": "x"})
    await pages.get("/", params={"period": "", "by": "api_key_id"})
    assert [spec.by for spec in asked] == ["project_id", "model", "api_key_id"]
    assert asked[1].requested == utc_range("2026-08-01", "2026-09-01")
    assert asked[0].before is not None


@pytest.mark.parametrize(
    ("params", "status", "says"),
    [
        ({"period": "<i>"}, 422, "&lt;i&gt;"),
        ({"by": "<i>"}, 422, "&lt;i&gt;"),
        ({"by": "user"}, 502, "explained: &lt;the key is wrong&gt;"),
    ],
)
async def test_what_cannot_be_shown_is_a_page_that_says_why(pages, params, status, says):
    reply = await pages.get("/", params=params)
    assert reply.status_code == status
    assert says in reply.text
    assert "<i>" not in reply.text
    assert reply.headers["content-security-policy"] == POLICY
    assert '<form method="get">' in reply.text


async def test_the_page_as_json_is_what_its_link_gives(pages, asked):
    page = (await pages.get("/", params={"period": "2026-08", "by": "model"})).text
    link = unescape(re.search('<a href="([^"]*)">The same as JSON', page)[1])
    reply = await pages.get(link)
    assert reply.headers["content-type"] == "application/json"
    assert asked[0] == asked[1]
    assert reply.json()["by"] == "model"
    assert "<a notice>" in reply.json()["notices"]
    assert "upstream's words" in reply.text


@pytest.mark.parametrize(("params", "status"), [({"by": "<i>"}, 422), ({"by": "user"}, 502)])
async def test_what_cannot_be_shown_as_json_is_a_failure(pages, params, status):
    reply = await pages.get("/page.json", params=params)
    assert reply.status_code == status
    assert reply.json()["detail"][0]["msg"]


async def test_there_is_no_page_that_loads_scripts_from_elsewhere(pages):
    assert (await pages.get("/docs")).status_code == 404
    assert (await pages.get("/redoc")).status_code == 404
    paths = (await pages.get("/openapi.json")).json()["paths"]
    assert {"/metrics", "/report.json", "/usage/costs"} <= set(paths)
    assert not {"/", "/page.json"} & set(paths)


async def test_other_methods_are_refused(pages):
    for path in ("/", "/report.json"):
        reply = await pages.post(path)
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET")
