"""The key is nowhere but on the wire: whatever fails, and however it is shown."""

import asyncio
import gzip
import io
import json
import logging
import os
import pickle
import ssl
import traceback
from pathlib import Path

import aiohttp
import pytest
import structlog
from faultserver import FaultServer, answer, close, hang, raw, reset
from rich.console import Console
from rich.traceback import Traceback
from service import KEY, START, Clock, bucket, days, honest, page, turns

from usage_async import RetryPolicy, UsageClient, UsageError

SAMPLES = Path(__file__).parent / "samples"
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
            max_page_bytes=100_000,
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
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SAMPLES / "self_signed.pem")
    proxy = answer(b"", 407)
    async with FaultServer(proxy) as server, FaultServer(honest, ssl=tls) as secure:
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
                task = asyncio.create_task(merge.get_page(merge.plan.cut()[0], None, turn))
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
