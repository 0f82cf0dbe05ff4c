"""The key is nowhere but on the wire: whatever fails, and however it is shown."""

import asyncio
import gzip
import io
import json
import logging
import os
import pickle
import traceback
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import aiohttp
import pytest
import structlog
from faultserver import FaultServer, answer, close, hang, raw, reset, self_signed
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.traceback import Traceback
from service import KEY, START, Clock, bucket, days, honest, page, turns

from usage_async import (
    APIConnectionError,
    RetryPolicy,
    UsageClient,
    UsageCompletionsResult,
    UsageError,
)
from usage_async._codec.pages import PageDecoder
from usage_async._codec.replies import QUOTED_BYTES
from usage_async._http.fetch import Request
from usage_async._http.key import Secret

ONCE = RetryPolicy(attempts=1)

pytestmark = pytest.mark.usefixtures("key", "nothing_left")


@pytest.fixture(params=[KEY, KEY[:9] + KEY[-40:]], ids=["long", "short"])
def key(request, monkeypatch):
    """The key is in the environment, so that no frame of a test holds it."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", request.param)


def assert_untold(text):
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    secret = os.environ["OPENAI_ADMIN_KEY"]
    parts = (secret, secret[-8:], "canary-0123456789")
    assert not [part for part in parts if part in text], text


def assert_traceback_untold(error):
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert_untold("".join(shown.format()))


def assert_error_untold(error):
    """Show an error in every way that is usual, with all that hangs on it."""
    assert_traceback_untold(error)
    exc_info = (type(error), error, error.__traceback__)
    console = Console(file=io.StringIO(), width=500)
    console.print(Traceback.from_exception(*exc_info, show_locals=True, extra_lines=0))
    assert_untold(console.file.getvalue())
    for cut, use_rich in ((80, True), (80, False), (10_000, True)):
        transform = structlog.tracebacks.ExceptionDictTransformer(
            show_locals=True, locals_max_string=cut, use_rich=use_rich
        )
        assert_untold(repr(transform(exc_info)))
    while error is not None:
        assert_untold(repr(error) + str(error) + repr(error.args) + repr(vars(error)))
        if isinstance(error, UsageError):
            assert error.__cause__ is None
            assert error.__context__ is None
            assert_untold(pickle.dumps(error))
        error = error.__cause__ or error.__context__


async def echo(request, wire, status=200):
    """Tell the client its own key, everywhere."""
    key = request.headers["authorization"]
    body = json.dumps({"error": {"message": f"no: {key}", "code": key, "param": key}, key: key})
    await wire.reply(body.encode(), status, {"x-request-id": key, "X-Key": key})


def echoing(status):
    return lambda request, wire: echo(request, wire, status)


async def echo_in_row(request, wire):
    row = {**bucket(START)["results"][0], "input_tokens": request.headers["authorization"]}
    await wire.reply(page([{**bucket(START), "results": [row]}]))


async def echo_too_much(request, wire):
    key = request.headers["authorization"]
    await wire.reply(key.encode() * 1000, headers={"x-request-id": key})


FAULTS = {
    "close": close,
    "reset": reset,
    "hang": hang,
    "cut": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"),
    "corrupt gzip": answer(b"{}", headers={"Content-Encoding": "gzip"}),
    "bomb": answer(gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"}),
    "garbage": raw(b"garbage\r\n\r\n"),
    "HTML": answer(b"<html>"),
    "redirect": answer(b"", 302, {"Location": "http://127.0.0.1:9/"}),
    "echo in a row": echo_in_row,
    "echo that is too large": echo_too_much,
    **{f"echo {status}": echoing(status) for status in (200, 400, 401, 403, 404, 429, 500)},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_no_fault_of_the_wire_tells_the_key(caplog, fault):
    caplog.set_level(logging.DEBUG)
    events = []
    async with FaultServer(fault) as server:
        client = UsageClient(
            base_url=server.url,
            retry=ONCE,
            max_page_bytes=50_000,
            concurrency=1,
            trace=events.append,
        )
        async with client:
            with pytest.raises(UsageError) as caught:
                await days(client, 3).collect()
            assert_error_untold(caught.value)
            assert_untold(repr(client) + repr(client.limiter) + repr(client._engine))
    assert_untold(caplog.text)
    assert_untold(repr(events))


async def refused(client):
    await days(client, 1).collect()


def netrc(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


async def test_what_cannot_be_sent_does_not_tell_the_key(tmp_path, monkeypatch):
    netrc(tmp_path, monkeypatch)
    proxy = answer(b"", 407)
    async with FaultServer(proxy) as server, FaultServer(honest, ssl=self_signed()) as secure:
        closed = aiohttp.ClientSession()
        await closed.close()
        async with aiohttp.ClientSession(trust_env=True) as reader_of_netrc:
            for options in (
                {"base_url": "http://127.0.0.1:1"},
                {"base_url": secure.url},
                {"base_url": secure.url, "proxy": "http://me:password@127.0.0.1:1"},
                {"base_url": secure.url, "proxy": f"http://me:password@127.0.0.1:{server.port}"},
                {"base_url": server.url, "session": closed},
                {"base_url": server.url, "session": reader_of_netrc},
            ):
                async with UsageClient(retry=ONCE, **options) as client:
                    with pytest.raises(UsageError) as caught:
                        await refused(client)
                assert_error_untold(caught.value)
                assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"organization": "a b"},
        {"base_url": "http://example.com"},
        {"proxy": "socks5://me:password@127.0.0.1:1"},
        {"proxy": "http://me:password@[127"},
    ],
    ids=str,
)
def test_a_constructor_that_refuses_does_not_tell_the_key(options):
    with pytest.raises(UsageError) as caught:
        UsageClient(os.environ["OPENAI_ADMIN_KEY"], **options)
    assert_error_untold(caught.value)


@pytest.mark.parametrize("blot", ["\n", " ", "é"], ids=ascii)
def test_a_key_that_is_refused_is_not_told(monkeypatch, tmp_path, blot):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY + blot + KEY)
    with pytest.raises(UsageError) as caught:
        UsageClient()
    assert_error_untold(caught.value)
    file = tmp_path / "key"
    file.write_text(os.environ["OPENAI_ADMIN_KEY"], encoding="utf-8")
    monkeypatch.setenv("OPENAI_ADMIN_KEY_FILE", str(file))
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    with pytest.raises(UsageError) as caught:
        UsageClient()
    monkeypatch.setenv("OPENAI_ADMIN_KEY", file.read_text(encoding="utf-8"))
    assert_error_untold(caught.value)


async def ask():
    return os.environ["OPENAI_ADMIN_KEY"]


async def ask_in_vain():
    raise LookupError("the vault is shut")


async def ask_for_bytes():
    return (await ask()).encode()


@pytest.mark.parametrize("source", [ask, ask_in_vain, ask_for_bytes])
async def test_a_key_that_is_asked_for_is_not_told(source):
    async with (
        FaultServer(echoing(401)) as server,
        UsageClient(source, base_url=server.url) as client,
    ):
        with pytest.raises((UsageError, LookupError)) as caught:
            await refused(client)
    assert_error_untold(caught.value)


async def test_no_cancellation_tells_the_key(caplog):
    """Not even in aiohttp's frames, which hold the headers."""
    caplog.set_level(logging.DEBUG)
    cut, turn = 0, asyncio.Event()
    turn.set()
    async with FaultServer(honest) as server:
        for count in range(1000):
            async with UsageClient(base_url=server.url, runtime=Clock().runtime) as client:
                merge = days(client, 1).stream()._merge
                request = merge.run.request(merge.uncut.cut()[0], None)
                request.turn.set()
                task = asyncio.create_task(client._engine.fetcher.fetch(request))
                await turns(count)
                if task.done():
                    break
                task.cancel()
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                check = assert_traceback_untold if count % 7 else assert_error_untold
                check(caught.value)
                cut += 1
    assert 5 < cut < 999
    assert_untold(caplog.text)


# A key of any form, echoed anywhere

KEYS = st.text("".join(map(chr, range(0x21, 0x7F))), min_size=8, max_size=200)

ENCODERS = {
    "as it is": str,
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON, every character": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "JSON, slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "percent": lambda key: "".join(f"%{ord(char):02X}" for char in key),
    "percent, where needed": lambda key: quote(key, safe=""),
    "small percent": lambda key: "".join(f"%{ord(char):02x}" for char in key),
    "base64": lambda key: b64encode(key.encode()).decode(),
    "base64 of the header": lambda key: b64encode(f"Bearer {key}".encode()).decode(),
    "base64url": lambda key: urlsafe_b64encode(f"a{key}".encode()).decode(),
    "base64, another alignment": lambda key: b64encode(f"ab{key}yz".encode()).decode(),
}


def quoted(text):
    """A JSON text, of whatever a server took for one."""
    return json.dumps(text).encode()


def in_error(name):
    return lambda echo: (400, {}, b'{"error":{"message":"No.","%b":%b}}' % (name, quoted(echo)))


def in_page(fields):
    start = json.dumps(bucket(START)).encode()
    return lambda echo: (200, {}, fields % {b"echo": quoted(echo), b"bucket": start[:-1]})


def in_row(**fields):
    return {**bucket(START), "results": [{**bucket(START)["results"][0], **fields}]}


PLACES = {
    "message": in_error(b"message"),
    "code": in_error(b"code"),
    "param": in_error(b"param"),
    "scopes": lambda echo: (403, {}, quoted({"error": f"Missing scopes: {echo}"})),
    "error text, as it is": lambda echo: (404, {}, b'{"error": "%b"}' % echo.encode()),
    "HTML": lambda echo: (200, {}, b"<html>%b" % echo.encode()),
    "HTML of an error": lambda echo: (502, {}, b"<html>%b" % echo.encode()),
    "cut HTML": lambda echo: (502, {}, b"<html>" + b"x" * (QUOTED_BYTES - 36) + echo.encode() * 9),
    "invalid JSON": lambda echo: (200, {}, b'{"data": ["%b"' % echo.encode()),
    "request id": lambda echo: (500, {"X-Request-Id": echo}, b"{}"),
    "request id of a page": lambda echo: (200, {"x-request-id": echo}, page([bucket(START)])),
    "Retry-After": lambda echo: (429, {"Retry-After": echo, "Date": echo}, b"{}"),
    "cursor": lambda echo: (200, {}, page([bucket(START)], echo)),
    "field of a page": in_page(b'{"data":[%(bucket)b}],"has_more":false,%(echo)b:1}'),
    "field of a bucket": in_page(b'{"data":[%(bucket)b,%(echo)b:1}],"has_more":false}'),
    "kind": in_page(b'{"data":[%(bucket)b}],"has_more":false,"object":%(echo)b}'),
    "has_more": in_page(b'{"data":[%(bucket)b}],"has_more":%(echo)b}'),
    "kind of a row": lambda echo: (200, {}, page([in_row(object=echo)])),
    "field of a row": lambda echo: (200, {}, page([in_row(**{echo: 1})])),
    "figure": lambda echo: (200, {}, page([in_row(input_tokens=echo)])),
    "transport": lambda echo: APIConnectionError(f"no answer: {echo}"),
}


DATA = ("field of a page", "field of a bucket", "kind of a row", "field of a row")
"""Places in what is returned as it was sent, and so is in the frames of who adds it up."""


def shown_everywhere(error, *, has_locals):
    """All that is usually shown of an error."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=has_locals)
    formatted = shown.format()
    yield from ("".join(formatted), str(error), repr(error), repr(error.args), repr(vars(error)))
    yield from vars(error).values()
    yield pickle.dumps(error).decode("latin-1")


class Echoing:
    """A transport that tells the client its own key; nothing that it holds is shown."""

    def __init__(self, answer):
        self._answer = answer

    async def __call__(self, path, params, headers):
        await asyncio.sleep(0)
        answer = self._answer(headers["Authorization"].removeprefix("Bearer "))
        if isinstance(answer, Exception):
            raise answer
        return answer


@given(KEYS, st.sampled_from(sorted(ENCODERS)), st.sampled_from(sorted(PLACES)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
async def test_no_text_that_leaves_the_library_holds_the_key(caplog, key, encoder, place):
    assume(len(key.replace("\\", "")) > 5)
    caplog.clear()
    has_locals = place not in DATA
    encode, place = ENCODERS[encoder], PLACES[place]
    forms = {key, *(form(key) for form in ENCODERS.values())}
    # A key may be a word that the library itself uses.
    unasked = await everything_told(
        Echoing(lambda _: place("-")), Secret(key), caplog, has_locals=has_locals
    )
    assume(not any(form in text for text in unasked for form in forms))
    told = await everything_told(
        Echoing(lambda sent: place(encode(str(sent)))),
        Secret(key),
        caplog,
        has_locals=has_locals,
    )
    for text in told:
        assert not [form for form in forms if form in text], text


async def all_shown(read, *, has_locals):
    """Read; gives all that is shown of the error that it ends in."""
    error = None
    try:
        await read()
    except UsageError as caught:
        error = caught
    if error is None:
        return ()
    shown = shown_everywhere(error, has_locals=has_locals)
    return [*shown, error.__cause__, error.__context__]


async def everything_told(transport, key, caplog, *, has_locals):
    """Read in every way; gives every text that could be seen."""
    told, events, notices = [], [], []
    caplog.set_level(logging.DEBUG)
    options = {"trace": events.append, "on_notice": notices.append, "runtime": Clock().runtime}
    async with UsageClient(key, retry=ONCE, transport=transport, **options) as client:
        query = days(client, 2, limit=1)
        for read in (query.collect, query.total, query.first):
            told.extend(await all_shown(read, has_locals=has_locals))
    told.extend([*map(repr, events), *map(repr, notices), repr(client), repr(client._engine)])
    told.extend([*(record.getMessage() for record in caplog.records), caplog.text])
    return list(map(str, told))


@pytest.mark.parametrize("spell", ENCODERS.values(), ids=ENCODERS)
async def test_after_a_rotation_neither_key_is_told(spell):
    keys = iter(["old.key-canary", "new.key-canary"])

    async def rotate():
        return next(keys)

    async def refuse(path, params, headers):
        echo = spell("old.key-canary") + " " + spell("new.key-canary")
        return 401, {}, quoted({"error": {"message": echo}})

    async with UsageClient(rotate, transport=refuse, retry=ONCE) as client:
        with pytest.raises(UsageError) as caught:
            await refused(client)
    assert "… …" in str(caught.value)


async def test_after_many_rotations_no_key_is_told():
    keys = [f"sk-admin-{number:02}-canary-{number:08}" for number in range(30)]
    source = iter(keys)

    async def rotate():
        return next(source)

    async def refuse(path, params, headers):
        return 401, {}, quoted({"error": {"message": " ".join(key[9:] for key in keys[:20])}})

    async with UsageClient(rotate, transport=refuse, retry=ONCE) as client:
        for _ in range(20):
            with pytest.raises(UsageError) as caught:
                await refused(client)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_ADMIN_KEY_FILE", KEY),
        ("OPENAI_ADMIN_KEY_FILE", KEY[:30]),
        ("USAGE_ASYNC_BASE_URL", KEY),
        ("USAGE_ASYNC_BASE_URL", f"https://{KEY}@gateway.test/v1"),
        ("USAGE_ASYNC_BASE_URL", f"https://gateway.test/{KEY}/v1"),
        ("USAGE_ASYNC_BASE_URL", f"https://{KEY}.invalid/"),
        ("USAGE_ASYNC_BASE_URL", f"https://{KEY[9:].upper()}.invalid/"),
        ("USAGE_ASYNC_BASE_URL", f"http://{KEY}:8080/v1"),
        ("USAGE_ASYNC_BASE_URL", f"https://gateway.test/v1?key={KEY}"),
        ("USAGE_ASYNC_BASE_URL", f"http://gateway.test/{KEY[9:]}"),
    ],
    ids=str,
)
def test_a_key_in_the_wrong_variable_is_not_told(monkeypatch, variable, value):
    if variable == "OPENAI_ADMIN_KEY_FILE":
        monkeypatch.delenv("OPENAI_ADMIN_KEY")
    monkeypatch.setenv(variable, value)
    del value
    with pytest.raises(UsageError) as caught:
        UsageClient()
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    assert_error_untold(caught.value)


@pytest.mark.parametrize(
    "option",
    [
        lambda key: {"organization": f"{key} "},
        lambda key: {"base_url": f"https://{key}@gateway.test/v1"},
        lambda key: {"base_url": key},
        lambda key: {"proxy": key},
        lambda key: {"proxy": f"socks5://{key}@gateway.test"},
    ],
    ids=["organization", "user of base_url", "base_url", "proxy", "user of proxy"],
)
def test_a_key_in_the_wrong_option_is_not_told(option):
    with pytest.raises(UsageError) as caught:
        UsageClient(**option(os.environ["OPENAI_ADMIN_KEY"]))
    assert_error_untold(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        lambda client, key: client.query(key),
        lambda client, key: client.query(f"/organization/{key}"),
        lambda client, key: client.query(f"/organization/usage/{key}", start_time=START),
        lambda client, key: client.costs(start_time=key),
        lambda client, key: client.costs(period=key),
        lambda client, key: client.costs(start_time=START, group_by=[key]),
        lambda client, key: client.costs(start_time=START, project_ids=[key]),
        lambda client, key: client.costs(start_time=START, page=key),
        lambda client, key: client.costs(**{key: 1}),
    ],
    ids=["name", "path", "path with a start", *("start", "period", "group", "id", "page", "name_")],
)
async def test_a_key_as_parameter_is_neither_told_nor_sent(caplog, query):
    caplog.set_level(logging.DEBUG)
    key = Secret("gw-canary-0123456789")
    sent = []

    async def answer(*asked):
        sent.append(asked)
        return 200, {}, page([])

    async with UsageClient(key, transport=answer, runtime=Clock().runtime) as client:
        with pytest.raises(UsageError) as caught:
            await query(client, str(key)).collect()
    assert "canary" not in f"{caught.value!r} {vars(caught.value)} {caplog.text}"
    assert caught.value.__context__ is None
    assert not sent


async def test_a_key_as_organization_is_not_logged(caplog):
    caplog.set_level(logging.DEBUG)
    key = Secret("gw.canary-0123456789")

    async def answer(path, params, headers):
        return 200, {}, page([bucket(START)])

    async with UsageClient(key, organization=key, transport=answer) as client:
        await refused(client)
    assert "completions of …: GET" in caplog.text
    assert "canary" not in caplog.text


async def test_a_cancellation_does_not_tell_what_the_service_echoes(caplog):
    caplog.set_level(logging.DEBUG)
    arrived = asyncio.Event()

    async def behave(request, wire):
        key = request.headers["authorization"]
        body = page([bucket(START)], None, **{key: 1})
        head = f"HTTP/1.1 200 {key}\r\nX-Request-Id: {key}\r\nContent-Length: 9999\r\n\r\n"
        await wire.raw(head.encode() + body)
        arrived.set()
        await wire.hang()

    async with FaultServer(behave) as server:
        async with UsageClient(base_url=server.url) as client:
            path = "/organization/usage/completions"
            asked = Request(path, [], PageDecoder(UsageCompletionsResult))
            task = asyncio.create_task(client._engine.fetcher.fetch(asked))
            await arrived.wait()
            await turns(20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
        assert_error_untold(caught.value)
    assert_untold(caplog.text)
