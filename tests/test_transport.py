"""The transport: its requests on the wire, and the sessions that it uses."""

import asyncio
import base64
import gzip
import ssl

import aiohttp
import pytest
from faultserver import CERTIFICATE, FaultServer, answer, fly, self_signed
from service import DAY, KEY, START, client_of, days, honest, page, serve

from usage_async import (
    ENDPOINTS,
    APIConnectionError,
    ConfigurationError,
    RetryPolicy,
    Timeout,
    UsageClient,
    UsageError,
)
from usage_async._codec.redactor import Redactor
from usage_async._http.transport import check_base_url, check_proxy

ONCE = RetryPolicy(attempts=1)
REDACTOR = Redactor(("canary.of=us",))

pytestmark = pytest.mark.usefixtures("nothing_left")


async def test_a_request_is_a_get_with_the_key_and_nothing_that_was_not_asked_for():
    async with FaultServer(honest) as server:
        async with client_of(server, organization="org-1") as client:
            await days(client, 1).collect()
        (request,) = server.requests
    assert request.method == "GET"
    assert request.path == "/v1/organization/usage/completions"
    assert request.params == [
        ("start_time", str(START)),
        ("end_time", str(START + DAY)),
        ("bucket_width", "1d"),
        ("limit", "31"),
    ]
    assert request.headers.pop("user-agent").startswith("usage-async/")
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "authorization": f"Bearer {KEY}",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "openai-organization": "org-1",
    }


async def test_everything_that_a_client_can_ask_goes_to_the_documented_places():
    async with FaultServer(answer(page())) as server, client_of(server) as client:
        for name in ENDPOINTS:
            query = client.query(name, start_time=START, end_time=START + DAY)
            for read in (query.collect, query.first, query.total, query.totals, query.summary):
                await read()
            await query.verify()
            async for _ in query.rows():
                pass
        await client.query("/organization/usage/brand_new", start_time=START).collect()
        asked = {(r.method, r.headers["host"], r.path) for r in server.requests}
    paths = {endpoint.path for endpoint in ENDPOINTS.values()} | {"/organization/usage/brand_new"}
    assert asked == {("GET", f"127.0.0.1:{server.port}", f"/v1{path}") for path in paths}


async def test_a_cursor_arrives_as_it_was_given():
    cursor = "page_AAAA+/=&limit=1#%20 é"

    async def behave(request, wire):
        given = dict(request.params).get("page")
        await wire.reply(page([], None if given else cursor))

    async with FaultServer(behave) as server, client_of(server) as client:
        await days(client, 1).collect()
        assert ("page", cursor) in server.requests[1].params


async def test_compressed_pages_are_read():
    async def behave(request, wire):
        body = gzip.compress(serve(request.params))
        await wire.reply(body, headers={"Content-Encoding": "gzip"})

    async with FaultServer(behave) as server, client_of(server) as client:
        assert len(await days(client, 3).collect()) == 3


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://localhost:8089/v1", "http://localhost:8089/v1"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
        ("https://task-force-gateway-of-us.test/v1", "https://task-force-gateway-of-us.test/v1"),
        ("https://gateway.test/sk-region/v1", "https://gateway.test/sk-region/v1"),
    ],
)
def test_urls_that_keep_the_key_safe_are_taken(text, url):
    assert str(check_base_url(text, REDACTOR)).rstrip("/") == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("https://canary.of=us@gateway.test/v1", "a user or a password", id="user"),
        pytest.param("https://me:canary.of=us@gateway.test", "a user or a password", id="password"),
        pytest.param("https://gateway.test/canary.of=us/v1", "holds a key", id="path"),
        pytest.param("https://gateway.test/canary%2Eof%3Dus", "holds a key", id="escaped path"),
        pytest.param("https://gateway.test/sk-admin-canary12345/", "holds a key", id="another key"),
        pytest.param("https://gateway.test/v1?key=canary.of=us", "is not a URL", id="query"),
        pytest.param("https://gateway.test/v1#canary.of=us", "is not a URL", id="fragment"),
        pytest.param("http://gateway.test/canary", "goes to loopback only", id="not encrypted"),
        pytest.param("canary.of=us", "is not a URL", id="nothing else"),
        pytest.param("https://[canary.of=us", "is not a URL", id="no URL"),
    ],
)
def test_what_is_wrong_with_a_base_url_is_told_without_what_it_holds(text, reason):
    with pytest.raises(ConfigurationError, match=f"base_url.*{reason}") as caught:
        check_base_url(text, REDACTOR)
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("proxy", ["proxy:3128", "socks5://me:word@proxy", "http://me:word@[x"])
def test_a_proxy_that_is_no_url_is_refused_without_its_password(proxy):
    with pytest.raises(ConfigurationError) as caught:
        check_proxy(proxy)
    assert "word" not in str(caught.value)
    assert caught.value.__context__ is None


async def tunnel(request, wire):
    """Be a proxy for one connection."""
    host, _, port = request.target.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await wire.raw(b"HTTP/1.1 200 Connected\r\n\r\n")

    async def pump(source, sink):
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    await asyncio.gather(pump(wire.reader, writer), pump(reader, wire.writer))
    wire.closed = True


async def test_a_proxy_sees_a_tunnel_and_never_the_key():
    async with FaultServer(honest, ssl=self_signed()) as server, FaultServer(tunnel) as proxy:
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        url = f"http://me:password@127.0.0.1:{proxy.port}"
        async with client_of(server, proxy=url, ssl=trusting) as client:
            assert await days(client, 1).collect()
        (seen,) = proxy.requests
    assert seen.method == "CONNECT"
    assert "authorization" not in seen.headers
    credentials = base64.b64encode(b"me:password").decode()
    assert seen.headers["proxy-authorization"] == f"Basic {credentials}"


@pytest.mark.parametrize(("status", "tries"), [(407, 1), (502, 3)])
async def test_a_proxy_that_refuses_is_named_and_retried_where_that_may_help(clock, status, tries):
    async with FaultServer(answer(b"", status)) as proxy:
        client = UsageClient(
            KEY,
            base_url="https://127.0.0.1:9",
            proxy=f"http://me:password@127.0.0.1:{proxy.port}",
            retry=RetryPolicy(attempts=3),
            runtime=clock.runtime,
        )
        async with client:
            with pytest.raises(APIConnectionError, match=f"the proxy refuses .*: {status}"):
                await days(client, 1).collect()
        assert len(proxy.requests) == tries


async def test_loopback_needs_no_proxy():
    async with FaultServer(honest) as server, FaultServer(honest) as proxy:
        async with client_of(server, proxy=f"http://127.0.0.1:{proxy.port}") as client:
            assert await days(client, 1).collect()
        assert not proxy.accepted


SESSIONS = {
    "plain": {},
    "raise_for_status": {"raise_for_status": True},
    "base_url": {"base_url": "http://127.0.0.1:1/elsewhere/"},
    "headers": {"headers": {"Authorization": "Bearer wrong", "X-Mine": "1"}},
    "raw bodies": {"auto_decompress": False},
    "impatient": {"timeout": aiohttp.ClientTimeout(total=1e-9)},
    "one connection": {"connector": ...},
}


@pytest.mark.parametrize("options", SESSIONS.values(), ids=SESSIONS)
async def test_a_session_of_the_caller_is_used_and_stays_as_it_was(options):
    async def behave(request, wire):
        body = gzip.compress(serve(request.params))
        await wire.reply(body, headers={"Content-Encoding": "gzip", "Set-Cookie": "a=1"})

    if "connector" in options:
        options = {"connector": aiohttp.TCPConnector(limit=1)}
    jar = aiohttp.CookieJar(unsafe=True)
    async with FaultServer(behave) as server:
        async with aiohttp.ClientSession(cookie_jar=jar, **options) as session:
            before = {name: getattr(session, name) for name in ("timeout", "headers", "auth")}
            async with client_of(server, session=session) as client:
                assert len(await days(client, 40, limit=9).collect()) == 40
            assert not session.closed
            assert {name: getattr(session, name) for name in before} == before
            assert [cookie.key for cookie in jar] == ["a"]
        assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}


async def test_waiting_for_a_free_connection_of_the_callers_session_is_no_timeout():
    async def slow(request, wire):
        for _ in range(6):
            await fly(1)
        await honest(request, wire)

    limits = Timeout(connect_s=10)
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        FaultServer(slow) as server,
        aiohttp.ClientSession(connector=connector) as session,
        client_of(server, session=session, timeout=limits, retry=ONCE) as client,
    ):
        assert len(await days(client, 4, limit=1).collect()) == 4


@pytest.mark.parametrize("status", [302, 500])
async def test_a_session_that_raises_for_status_changes_no_error(clock, status):
    async with (
        FaultServer(answer(b"{}", status, {"Location": "/v1/elsewhere"})) as server,
        aiohttp.ClientSession(raise_for_status=True) as session,
        client_of(server, session=session, runtime=clock.runtime) as client,
    ):
        with pytest.raises(UsageError) as caught:
            await days(client, 1).collect()
    assert caught.value.status == status


async def test_a_session_with_credentials_of_its_own_is_refused():
    with pytest.warns(DeprecationWarning, match="auth"):
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "password"))
    async with session:
        with pytest.raises(ConfigurationError, match="its own auth"):
            UsageClient(KEY, session=session)


async def test_a_netrc_neither_replaces_the_key_nor_goes_out(tmp_path, monkeypatch, clock):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with FaultServer(honest) as server, aiohttp.ClientSession(trust_env=True) as session:
        async with client_of(server, session=session, runtime=clock.runtime) as client:
            with pytest.raises(ConfigurationError, match=r"will not send the key.*netrc"):
                await days(client, 1).collect()
        assert not clock.slept
        assert not server.accepted
        async with client_of(server) as client:
            assert await days(client, 1).collect()
    assert "secret" not in str(server.requests)


async def test_a_session_whose_proxy_is_no_url_is_told_so_without_its_password(clock):
    async with aiohttp.ClientSession(proxy="http://me:password@[x") as session:
        client = UsageClient(KEY, session=session, base_url="https://127.0.0.1:9")
        async with client:
            with pytest.raises(ConfigurationError) as caught:
                await days(client, 1).collect()
    assert str(caught.value) == "the session's proxy is not a URL"
    assert caught.value.__context__ is None


async def test_a_closed_session_is_told_so():
    session = aiohttp.ClientSession()
    await session.close()
    async with UsageClient(KEY, session=session) as client:
        with pytest.raises(ConfigurationError, match="passed to the client is closed"):
            await days(client, 1).collect()


async def test_what_a_callers_middleware_raises_is_told_once_in_our_words(clock):
    async def broken(request, handler):
        raise LookupError("no such thing")

    async with (
        FaultServer(honest) as server,
        aiohttp.ClientSession(middlewares=[broken]) as session,
        client_of(server, session=session, runtime=clock.runtime) as client,
    ):
        with pytest.raises(APIConnectionError, match="LookupError: no such") as caught:
            await days(client, 1).collect()
    assert not clock.slept
    assert caught.value.__context__ is None


async def test_nothing_is_sent_to_a_host_of_the_environment(monkeypatch):
    async with FaultServer(honest) as proxy, FaultServer(honest) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with client_of(server) as client:
            await days(client, 1).collect()
        assert not proxy.accepted


async def test_a_client_that_never_asked_opened_nothing():
    async with FaultServer(honest) as server:
        async with client_of(server):
            pass
        assert not server.accepted
