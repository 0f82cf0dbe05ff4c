"""Faults of the wire, over real sockets. A test's name begins with the number of its row.

01  DNS failure, refused connection
02  a wrong TLS certificate
03  closed or reset before the headers
04  closed or reset in the middle of a body
05  a body that is just short
06  corrupt gzip, a false encoding
07  HTTP that cannot be read
08  HTML, or nothing, with 200
09  JSON that is no page
10  a gzip bomb
11  a server that hangs or drips
12  429 with Retry-After in any form
13  a storm of 429s
14  no quota, 400, 401, 403, 404
15  408, 409, 5xx
16  redirects, plain http, other paths
17  cookies
18  a key that cannot be sent
19  a key in the service's own texts
20  cursors that lead nowhere
21  missing, repeated, foreign, contradicting buckets
22  break, cancellation, a caught timeout
23  a slow consumer
24  a page of 10 MB
25  two event loops, use after close
26  odd names in files
27  `kill -9` while a file is written
28  a full disk, a read-only target, an existing file
29  a clock that is wrong
30  Ctrl-C
"""

import asyncio
import csv
import gc
import gzip
import io
import json
import logging
import os
import signal
import ssl
import sys
import tracemalloc
import zlib
from email.utils import formatdate
from pathlib import Path

import pytest
from faultserver import (
    CERTIFICATE,
    FaultServer,
    Wire,
    answer,
    close,
    fly,
    hang,
    raw,
    reset,
    script,
    self_signed,
)
from service import DAY, KEY, START, bucket, client_of, days, honest, page, read_into, serve, turns

from usage_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RangeUnavailableError,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    Timeout,
    UsageClient,
    UsageError,
)
from usage_async._codec.pages import BATCH_BYTES
from usage_async._http.fetch import _decoding
from usage_async.report.csv import guarded

pytestmark = pytest.mark.usefixtures("nothing_left")


async def fails(server, error, clock, **options):
    """Read one day of a server, which must end in an error that carries nothing of aiohttp."""
    async with client_of(server, runtime=clock.runtime, **options) as client:
        with pytest.raises(error) as caught:
            await days(client, 1).collect()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


async def recovers(server, clock, **options):
    """Read one day of a server that errs at first; gives how often it was tried again."""
    events = []
    async with client_of(server, runtime=clock.runtime, trace=events.append, **options) as client:
        (read,) = await days(client, 1).collect()
    assert read.start_time == START
    return len(events) - 1


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_fault_01_dns_failure_and_refused_connection_are_retried_then_named(
    clock, monkeypatch, host
):
    async with FaultServer(honest) as server:
        port = server.port
    url = f"{'http' if host == '127.0.0.1' else 'https'}://{host}:{port}/v1"
    events = []
    client = UsageClient(KEY, base_url=url, runtime=clock.runtime, trace=events.append)
    async with client:
        with pytest.raises(APIConnectionError, match=rf"{host}:{port}") as caught:
            await days(client, 1).collect()
    assert len(events) == 5
    assert clock.slept == [0.25, 0.5, 1, 2]
    assert caught.value.__context__ is None


async def test_fault_02_a_wrong_certificate_fails_at_once_without_retry(clock):
    async with FaultServer(honest, ssl=self_signed()) as server:
        error = await fails(server, APIConnectionError, clock)
        assert "cannot be trusted" in error.message
        assert not server.requests
        assert not clock.slept
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        assert await recovers(server, clock, ssl=trusting) == 0


async def test_fault_02_plain_text_where_tls_is_due_fails_at_once(clock):
    async def plain(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, UsageClient(KEY, base_url=url, runtime=clock.runtime) as client:
        with pytest.raises(APIConnectionError, match="cannot be trusted"):
            await days(client, 1).collect()
    assert not clock.slept


@pytest.mark.parametrize("fault", [close, reset])
async def test_fault_03_closed_or_reset_before_headers_is_retried(clock, fault):
    # aiohttp itself asks once more before it tells.
    async with FaultServer(script(fault, fault, fault, fault, honest)) as server:
        assert await recovers(server, clock) == 2
        assert len({request.target for request in server.requests}) == 1


async def test_fault_03_a_kept_connection_that_was_closed_meanwhile_costs_no_try(clock):
    async def once(request, wire):
        await honest(request, wire)
        await wire.close()

    async with FaultServer(once) as server, client_of(server, retry=RetryPolicy(attempts=1)) as c:
        for _ in range(3):
            assert await days(c, 1).collect()


async def test_fault_03_a_tls_handshake_that_breaks_off_is_retried(clock):
    accepted = []

    async def leave(reader, writer):
        accepted.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(leave, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = UsageClient(KEY, base_url=f"https://127.0.0.1:{port}", runtime=clock.runtime)
    async with server, client:
        with pytest.raises(APIConnectionError) as caught:
            await days(client, 1).collect()
    assert len(accepted) == 5
    assert caught.value.message == f"no complete reply from 127.0.0.1:{port}: ConnectionResetError"


def begun(head, *, then):
    """Send the beginning of an answer, then break off in some way."""

    async def behave(request, wire):
        await wire.raw(head)
        await then(request, wire)

    return behave


BODY = serve(
    [("bucket_width", "1d"), ("start_time", START), ("end_time", START + DAY), ("limit", 9)]
)
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n"


@pytest.mark.parametrize("head", [LONG, CHUNKED], ids=["Content-Length", "chunked"])
@pytest.mark.parametrize("fault", [close, reset])
async def test_fault_04_closed_or_reset_in_the_middle_of_a_body_is_retried(clock, head, fault):
    async with FaultServer(script(begun(head, then=fault), honest)) as server:
        assert await recovers(server, clock) == 1
    async with FaultServer(begun(head, then=fault)) as server:
        await fails(server, APIConnectionError, clock)
        assert len(server.requests) == 5


def zipped(body, **options):
    return answer(body, headers={"Content-Encoding": "gzip"}, **options)


SHORT = {
    "half a body": raw(b"HTTP/1.1 200 OK\r\n\r\n" + BODY[: len(BODY) // 2]),
    "no body": raw(b"HTTP/1.1 200 OK\r\n\r\n"),
    "no has_more": answer(b'{"object": "page", "data": []}'),
    "no data": answer(b'{"object": "page", "has_more": false, "next_page": null}'),
    "truncated gzip": zipped(gzip.compress(BODY)[:-40]),
}


@pytest.mark.parametrize("fault", SHORT.values(), ids=SHORT)
async def test_fault_05_a_body_that_is_just_short_is_retried_twice_and_never_believed(clock, fault):
    async with FaultServer(script(fault, fault, honest)) as server:
        assert await recovers(server, clock) == 2
    async with FaultServer(fault) as server:
        await fails(server, ResponseError, clock)
        assert len(server.requests) == 3


CORRUPT = {
    "corrupt gzip": zipped(gzip.compress(BODY)[:-8] + bytes(8)),
    "not gzip": zipped(BODY),
    "not deflate": answer(BODY, headers={"Content-Encoding": "deflate"}),
}


@pytest.mark.parametrize("fault", CORRUPT.values(), ids=CORRUPT)
async def test_fault_06_corrupt_gzip_and_a_false_encoding_are_retried(clock, fault):
    async with FaultServer(script(fault, honest)) as server:
        assert await recovers(server, clock) == 1
    async with FaultServer(fault) as server:
        error = await fails(server, ResponseError, clock)
        assert "not in the Content-Encoding that it names" in error.message
        assert len(server.requests) == 3


UNREADABLE = {
    "unsupported encoding": answer(BODY, headers={"Content-Encoding": "br"}),
    "garbage": raw(b"garbage\r\n\r\n"),
    "no status": raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    "long header": answer(BODY, headers={"X-Long": "x" * 9000}),
    "many headers": answer(BODY, headers={f"X-{i}": "x" for i in range(500)}),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
    "bad chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
}


@pytest.mark.parametrize("fault", UNREADABLE.values(), ids=UNREADABLE)
async def test_fault_07_unreadable_http_is_never_taken_for_a_400(clock, fault):
    async with FaultServer(script(fault, honest)) as server:
        assert await recovers(server, clock) == 1
    async with FaultServer(fault) as server:
        error = await fails(server, ResponseError, clock)
        assert "replied, but not in valid HTTP" in error.message
        assert not isinstance(error, APIStatusError)


HTML = b"<!DOCTYPE html><html>\x1b[31m" + "é".encode() * 400
NOT_JSON = {
    "HTML": answer(HTML, headers={"Content-Type": "text/html"}),
    "HTML that says JSON": answer(HTML),
    "empty": answer(b""),
    "204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
}


@pytest.mark.parametrize("fault", NOT_JSON.values(), ids=NOT_JSON)
async def test_fault_08_html_and_empty_success_are_retried_then_shown_escaped(clock, fault):
    async with FaultServer(script(fault, fault, honest)) as server:
        assert await recovers(server, clock) == 2
    async with FaultServer(fault) as server:
        error = await fails(server, ResponseError, clock)
        assert len(server.requests) == 3
        assert len(error.snippet) <= 200
        assert error.snippet.isascii()
        assert error.snippet.isprintable()


def amount(text):
    """A page of costs with an amount of that JSON text."""
    row = {"object": "organization.costs.result", "amount": {"value": "?", "currency": "usd"}}
    body = page([{**bucket(START), "results": [row]}])
    return answer(body.replace(b'"?"', text))


NOT_A_PAGE = {
    "invalid UTF-8": answer(BODY.replace(b"page", b"\xff")),
    "deep nesting": answer(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"," + BODY[1:]),
    "infinite": amount(b"1e999"),
    "NaN": amount(b"NaN"),
    "NaN as text": amount(b'"NaN"'),
    "trailing bytes": answer(BODY + b"x"),
    "a list": answer(b"[" + BODY + b"]"),
    "a string": answer(b'"page"'),
    "null": answer(b"null"),
}


@pytest.mark.parametrize("fault", NOT_A_PAGE.values(), ids=NOT_A_PAGE)
async def test_fault_09_json_that_is_no_page_is_refused(clock, fault):
    async with FaultServer(fault) as server:
        async with client_of(server, runtime=clock.runtime) as client:
            with pytest.raises(ResponseError) as caught:
                await client.costs(start_time=START, end_time=START + DAY).collect()
        assert caught.value.__context__ is None
        assert caught.value.path.startswith("$")


def bomb(size):
    """Some kilobytes of gzip that decompress to so many bytes."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    return (
        b"".join([pack.compress(b" " * 1_000_000) for _ in range(size // 1_000_000)]) + pack.flush()
    )


@pytest.mark.parametrize("cap", [4_000_000, 8_000_000], ids=["joined", "large"])
async def test_fault_10_a_gzip_bomb_stops_at_the_cap_within_three_times_its_memory(clock, cap):
    async with FaultServer(zipped(bomb(300_000_000))) as server:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            error = await fails(server, ResponseError, clock, max_page_bytes=cap)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert "max_page_bytes" in error.message
        assert peak - before < 3 * cap
        assert len(server.requests) == 1


async def drip(_, wire):
    """A byte now and then, for ever."""
    await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    while not wire.writer.is_closing():
        await wire.raw(b" ")
        await fly(0.1)


@pytest.mark.parametrize(
    ("fault", "limits", "message"),
    [
        pytest.param(hang, Timeout(read_s=4), "sent nothing for 4 s", id="hang, read"),
        pytest.param(
            hang, Timeout(total_s=4), "did not reply completely within 4 s", id="hang, total"
        ),
        pytest.param(
            drip, Timeout(total_s=4), "did not reply completely within 4 s", id="drip, total"
        ),
        pytest.param(
            begun(LONG, then=hang),
            Timeout(read_s=4),
            "sent nothing for 4 s",
            id="half a body, read",
        ),
    ],
)
async def test_fault_11_a_server_that_hangs_or_drips_meets_a_timeout(clock, fault, limits, message):
    async with FaultServer(fault) as server:
        policy = RetryPolicy(attempts=2)
        error = await fails(server, APITimeoutError, clock, timeout=limits, retry=policy)
        assert message in error.message
        assert len(server.requests) == 2
        assert error.message.startswith(f"127.0.0.1:{server.port} ")


async def test_fault_11_a_connection_that_is_never_accepted_meets_a_timeout(clock):
    left = asyncio.Event()

    async def nothing(reader, writer):
        try:
            await hang(None, Wire(reader, writer))
        finally:
            writer.close()
            left.set()

    # TLS with one who never says hello: connected, but not usable.
    silent = await asyncio.start_server(nothing, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    policy, timeout = RetryPolicy(attempts=1), Timeout(connect_s=4)
    client = UsageClient(KEY, base_url=url, retry=policy, timeout=timeout)
    async with silent, client:
        with pytest.raises(APITimeoutError, match=r"did not accept a connection within 4 s"):
            await days(client, 1).collect()
        await left.wait()


def throttled(headers=None, code="rate_limit_exceeded"):
    body = json.dumps({"error": {"message": "Slow down.", "code": code}}).encode()
    return answer(body, 429, headers)


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        pytest.param({"Retry-After": "7"}, 7, id="seconds"),
        pytest.param({"Retry-After": "1.5"}, 1.5, id="a fraction"),
        pytest.param({"Retry-After": "0"}, 0, id="at once"),
        pytest.param({"retry-after-ms": "250"}, 0.25, id="milliseconds"),
        pytest.param({"retry-after-ms": "250", "Retry-After": "9"}, 0.25, id="both"),
        pytest.param(
            {"Retry-After": formatdate(START + 9, usegmt=True), "Date": formatdate(START)},
            9,
            id="an HTTP date",
        ),
        *(
            pytest.param({"Retry-After": text}, None, id=text)
            for text in ("nan", "inf", "-5", "soon", "Mon, 01 Jan 100000 00:00:00 GMT")
        ),
    ],
)
async def test_fault_12_retry_after_is_honoured_in_all_its_forms(clock, headers, waited):
    async with FaultServer(script(throttled(headers), honest)) as server:
        begin = clock.now
        assert await recovers(server, clock) == 1
        # Without a usable header: half of the first delay, since chance is one half.
        due = 0.25 if waited is None else waited
        assert due <= clock.now - begin <= due + 0.5


async def test_fault_12_a_retry_after_beyond_the_cap_is_told_at_once(clock):
    async with FaultServer(throttled({"Retry-After": "3600"})) as server:
        error = await fails(server, RateLimitError, clock)
        assert error.retry_after == 3600
        assert len(server.requests) == 1
        assert not clock.slept


async def test_fault_13_a_429_storm_meets_one_cooldown_and_a_budget(clock):
    async with FaultServer(throttled()) as server:
        policy = RetryPolicy(attempts=10**6, deadline_s=10**9)
        async with client_of(server, runtime=clock.runtime, retry=policy) as client:
            with pytest.raises(RateLimitError):
                await days(client, 200, limit=1).collect()
            assert client.limiter.limit == 1
        # 500 tokens at 5 a retry, and the first tries of those in flight.
        assert len(server.requests) <= 100 + client.limiter.maximum


async def test_fault_13_after_a_429_the_limit_is_halved_and_nothing_starts_before_the_cooldown(
    clock,
):
    started, limits = [], []

    async def storm(request, wire):
        started.append(clock.now)
        limits.append(client.limiter.limit)
        await (throttled({"Retry-After": "30"}) if len(started) <= 8 else honest)(request, wire)

    async with FaultServer(storm) as server:
        begin = clock.now
        async with client_of(server, runtime=clock.runtime) as client:
            read = await days(client, 40, limit=1).collect()
            assert limits[:8] == [8] * 8
            assert limits[8] == 4
    assert [b.start_time for b in read] == [START + DAY * i for i in range(40)]
    assert len(server.requests) == 48
    assert [at - begin for at in started[:8]] == [0] * 8
    assert min(started[8:]) >= begin + 30


REFUSALS = {
    "quota": (429, "insufficient_quota", RateLimitError),
    "400": (400, None, BadRequestError),
    "401": (401, "invalid_api_key", AuthenticationError),
    "403": (403, None, PermissionDeniedError),
    "404": (404, None, NotFoundError),
}


@pytest.mark.parametrize(("status", "code", "error"), REFUSALS.values(), ids=REFUSALS)
async def test_fault_14_refusals_are_not_retried(clock, status, code, error):
    body = json.dumps({"error": {"message": "No.", "code": code}}).encode()
    async with FaultServer(answer(body, status, {"x-request-id": "req_7"})) as server:
        caught = await fails(server, error, clock)
        assert (caught.status, caught.code, caught.request_id) == (status, code, "req_7")
        assert len(server.requests) == 1


def failing_at(index, failure, otherwise):
    """Behave badly for the window of one day."""

    async def behave(request, wire):
        is_it = int(dict(request.params)["start_time"]) == START + index * DAY
        await (failure if is_it else otherwise)(request, wire)

    return behave


@pytest.mark.parametrize("status", [400, 404])
async def test_fault_14_an_error_waits_for_its_turn_and_nothing_new_begins(clock, status):
    async with FaultServer(failing_at(3, answer(b"{}", status), honest)) as server:
        async with client_of(server, runtime=clock.runtime) as client:
            stream = days(client, 30, limit=1).stream()
            read = []
            with pytest.raises(APIStatusError, match=str(status)):
                await read_into(read, stream)
        assert [each.start_time for each in read] == [START + DAY * i for i in range(3)]
        assert len(server.requests) < 30
        await server.until_left()


async def stay_silent(_, wire):
    await wire.hang()


@pytest.mark.parametrize("status", [401, 403])
async def test_fault_14_a_refused_key_surfaces_at_once_and_cancels_the_others(clock, status):
    async with FaultServer(failing_at(3, answer(b"{}", status), stay_silent)) as server:
        async with client_of(server, runtime=clock.runtime) as client:
            stream = days(client, 30, limit=1).stream()
            with pytest.raises((AuthenticationError, PermissionDeniedError)):
                await anext(stream)
            await server.until_left(kept=1)
        assert len(server.requests) <= 8


def history_from(floor):
    """Refuse what begins earlier, as the service does."""
    message = f"Grouping is only available for start_time >= {floor}."
    body = json.dumps({"error": {"message": message, "param": "start_time"}}).encode()

    async def behave(request, wire):
        early = int(dict(request.params)["start_time"]) < floor
        await (answer(body, 400) if early else honest)(request, wire)

    return behave


async def test_fault_14_a_400_that_can_be_adapted_to_is_adapted_to_once_for_the_whole_plan(clock):
    floor = START + 20 * DAY
    async with (
        FaultServer(history_from(floor)) as server,
        client_of(server, runtime=clock.runtime) as client,
    ):
        async with days(client, 30, limit=1, clamp=True).stream() as stream:
            read = [each.start_time async for each in stream]
        assert read == [START + DAY * i for i in range(20, 30)]
        assert [notice.code for notice in stream.notices] == ["clamped"]
        assert stream.start_time == floor
        refused = len(server.requests) - 10
        assert refused <= client.limiter.maximum
        with pytest.raises(RangeUnavailableError) as caught:
            await days(client, 30, limit=1).collect()
        assert caught.value.earliest.timestamp() == floor


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 599])
async def test_fault_15_passing_failures_are_tried_five_times_with_growing_delays(clock, status):
    async with FaultServer(script(*[answer(b"", status)] * 4, honest)) as server:
        assert await recovers(server, clock) == 4
    async with FaultServer(answer(b"", status)) as server:
        clock.slept.clear()
        error = await fails(server, APIStatusError, clock)
        assert isinstance(error, InternalServerError) is (status >= 500)
        assert len(server.requests) == 5
        assert clock.slept == [0.25, 0.5, 1, 2]


async def test_fault_15_no_retry_begins_after_the_deadline(clock):
    policy = RetryPolicy(attempts=100, base_s=20, deadline_s=45)
    async with FaultServer(answer(b"", 500)) as server:
        await fails(server, InternalServerError, clock, retry=policy)
        assert clock.slept == [10, 10, 10, 10]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_fault_16_redirects_are_errors_and_the_key_stays(clock, status):
    async with FaultServer(honest) as other:
        headers = {"Location": f"{other.url}/organization/costs"}
        async with FaultServer(answer(b"", status, headers)) as server:
            error = await fails(server, APIStatusError, clock)
            assert error.status == status
            assert len(server.requests) == 1
        assert not other.accepted


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openai.com/v1",
        "http://0.0.0.0:80/v1",
        "http://localhost.example.com/v1",
        "http://127.0.0.1.example.com/v1",
        "ftp://api.openai.com/v1",
        "https://user:password@api.openai.com/v1",
        "https://api.openai.com/v1?to=elsewhere",
        "https://api.openai.com/v1#elsewhere",
        "https:///v1",
        "https://[broken/v1",
        "api.openai.com",
    ],
)
def test_fault_16_a_base_url_that_would_tell_the_key_is_refused(url):
    with pytest.raises(ConfigurationError) as caught:
        UsageClient(KEY, base_url=url)
    assert caught.value.__context__ is None
    assert "password@" not in str(caught.value)


async def test_fault_16_openai_base_url_is_ignored_with_a_log_line(clock, monkeypatch, caplog):
    async with FaultServer(honest) as gateway, FaultServer(honest) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.url)
        monkeypatch.setenv("USAGE_ASYNC_BASE_URL", server.url)
        with caplog.at_level(logging.INFO, "usage_async"):
            async with UsageClient(KEY) as client:
                assert await days(client, 1).collect()
        assert not gateway.accepted
    assert "OPENAI_BASE_URL is set, but not read" in caplog.text


@pytest.mark.parametrize(
    "path", ["/models", "/organization/../models", "/organization/%2e%2e/models", "/Organization/x"]
)
async def test_fault_16_a_path_outside_of_the_organization_is_refused(path):
    async with UsageClient(KEY) as client:
        with pytest.raises(ValueError, match="organization"):
            client.query(path, start_time=START)


async def test_fault_17_cookies_are_ignored(clock):
    cookie = {"Set-Cookie": "sticky=1; Path=/"}
    async with FaultServer(answer(BODY, headers=cookie)) as server:
        async with client_of(server, runtime=clock.runtime) as client:
            for _ in range(2):
                await days(client, 1).collect()
        assert [request.headers.get("cookie") for request in server.requests] == [None, None]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "sk-admin-canary\r\nX-Evil: 1",
        "sk-admin-canary x",
        "sk-admin-canary\u00e9",
        b"sk-admin-c",
    ],
)
def test_fault_18_a_key_that_cannot_be_sent_is_refused_without_being_told(key):
    with pytest.raises(ConfigurationError) as caught:
        UsageClient(key)
    assert "canary" not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
async def test_fault_19_a_key_that_the_server_tells_is_told_no_further(clock, caplog, status):
    async def echo(request, wire):
        key = request.headers["authorization"]
        body = json.dumps({"error": {"message": f"no: {key}", "code": key, "param": key}}).encode()
        await wire.reply(body, status, {"x-request-id": key})

    with caplog.at_level(logging.DEBUG):
        async with FaultServer(echo) as server:
            error = await fails(server, UsageError, clock)
    for text in (caplog.text, repr(error), str(error), repr(error.__dict__), repr(error.args)):
        assert KEY not in text
        assert KEY[-8:] not in text


def with_cursors(*cursors):
    """Give these cursors one after another, each with a new bucket."""

    def answers():
        for index, cursor in enumerate(cursors):
            yield answer(page([bucket(START + index * DAY)], cursor, has_more=True))

    return script(*answers())


@pytest.mark.parametrize(
    ("cursors", "message"),
    [
        pytest.param(["a", "a"], "in a circle", id="repeated"),
        pytest.param(["a", "b", "c", "a"], "in a circle", id="a loop of three"),
        pytest.param([None], "sent no next_page", id="no cursor"),
        pytest.param([""], "sent no next_page", id="an empty cursor"),
    ],
)
async def test_fault_20_cursors_that_lead_nowhere_are_an_error_and_no_end(clock, cursors, message):
    async with FaultServer(with_cursors(*cursors)) as server:
        async with client_of(server, runtime=clock.runtime, concurrency=1) as client:
            with pytest.raises(PaginationError, match=message):
                await days(client, 30).collect()
        assert len(server.requests) == len(cursors)


DIFFERENT = {**bucket(START + DAY), "results": []}
CONTRADICTIONS = {
    "a missing bucket": ([0, 2], "missing-bucket", [0, 2]),
    "an identical repeat": ([0, 1, 1, 2], "repeated-bucket", [0, 1, 2]),
    "before the range": ([-1, 0, 1, 2], "bucket-outside-range", [0, 1, 2]),
    "after the range": ([0, 1, 2, 3], "bucket-outside-range", [0, 1, 2]),
}


@pytest.mark.parametrize(("sent", "code", "read"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
async def test_fault_21_odd_buckets_are_noticed_and_never_counted_twice(clock, sent, code, read):
    body = page(bucket(START + index * DAY) for index in sent)
    async with (
        FaultServer(answer(body)) as server,
        client_of(server, runtime=clock.runtime) as client,
        days(client, 3).stream() as stream,
    ):
        starts = [(each.start_time - START) // DAY async for each in stream]
    assert starts == read
    assert [notice.code for notice in stream.notices] == [code]


async def test_fault_21_one_start_with_different_rows_is_an_error(clock):
    body = page([bucket(START), bucket(START + DAY), DIFFERENT])
    async with (
        FaultServer(answer(body)) as server,
        client_of(server, runtime=clock.runtime) as client,
    ):
        with pytest.raises(PaginationError, match="two different buckets"):
            await days(client, 3).collect()


NOVEL = pytest.mark.parametrize("fields", [{}, {"novel": 1}], ids=["declared", "novel"])


def two_pages(second, fields):
    """Days 0 and 1, then others."""
    first = json.loads(page([bucket(START), bucket(START + DAY)], "page_2")) | fields
    return script(answer(json.dumps(first).encode()), answer(page(second)))


@NOVEL
async def test_fault_21_a_repeat_on_the_next_page_counts_once(clock, fields):
    second = [bucket(START + DAY), bucket(START + 2 * DAY)]
    async with (
        FaultServer(two_pages(second, fields)) as server,
        client_of(server, runtime=clock.runtime, concurrency=1) as client,
        days(client, 3).stream() as stream,
    ):
        starts = [(each.start_time - START) // DAY async for each in stream]
    assert starts == [0, 1, 2]
    assert "repeated-bucket" in {notice.code for notice in stream.notices}


@NOVEL
async def test_fault_21_a_contradiction_on_the_next_page_is_an_error(clock, fields):
    second = [DIFFERENT, bucket(START + 2 * DAY)]
    async with (
        FaultServer(two_pages(second, fields)) as server,
        client_of(server, runtime=clock.runtime, concurrency=1) as client,
    ):
        with pytest.raises(PaginationError, match="two different buckets"):
            await days(client, 3).collect()


async def look_up(query):
    async for each in query:
        raise LookupError(each)


async def leave(client, how):
    """Stop reading after a bucket or two, in one of the ways that people do."""
    query = days(client, 30, limit=1)
    match how:
        case "break":
            async for _ in query:
                break
        case "exception":
            with pytest.raises(LookupError):
                await look_up(query)
        case "async with":
            async with query.stream() as stream:
                await anext(stream)
            with pytest.raises(UsageError, match="it was closed"):
                await anext(stream)


@pytest.mark.parametrize("how", ["break", "exception", "async with"])
async def test_fault_22_leaving_early_leaves_no_request(how):
    async with FaultServer(honest) as server, client_of(server) as client:
        before = asyncio.all_tasks()
        await leave(client, how)
        await turns(3)
        assert not client._engine._tasks
        assert client.limiter.in_flight == client.limiter.waiting == 0
        assert not client._engine.fetcher.transport._own_session.connector._acquired
        assert asyncio.all_tasks() - before <= server._tasks


async def test_fault_22_cancellation_at_every_turn_ends_every_request():
    cut = 0
    async with FaultServer(honest) as server:
        for count in range(10_000):
            client = client_of(server, concurrency=3)
            before = asyncio.all_tasks()
            read = []

            task = asyncio.create_task(read_into(read, days(client, 6, limit=2)))
            await turns(count)
            whole = task.done()
            task.cancel()
            await asyncio.wait([task])
            await turns(3)
            assert not client._engine._tasks
            assert client.limiter.in_flight == 0
            assert asyncio.all_tasks() - before <= server._tasks
            await client.close()
            if whole:
                assert len(read) == 6
                break
            assert task.cancelled()
            cut += 1
    assert cut > 10


async def test_fault_22_a_timeout_around_one_anext_that_is_caught_kills_the_stream():
    async with FaultServer(hang) as server, client_of(server) as client:
        stream = days(client, 3).stream()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(4):
                await anext(stream)
        for _ in range(2):
            with pytest.raises(UsageError, match="this stream broke off: CancelledError"):
                await anext(stream)
        await server.until_left()


async def test_fault_23_a_slow_consumer_holds_at_most_concurrency_pages():
    async with (
        FaultServer(honest) as server,
        client_of(server, concurrency=4) as client,
        days(client, 30, limit=1).stream() as stream,
    ):
        for taken in range(1, 10):
            await anext(stream)
            # The page that was taken, and three that wait.
            for _ in range(100_000):
                await turns(1)
                if len(server.requests) == taken + 3:
                    break
            await turns(200)
            assert len(server.requests) == taken + 3


async def test_fault_24_a_page_of_ten_megabytes_is_decoded_in_many_turns():
    row = bucket(START)["results"][0]
    body = page([{**bucket(START), "results": [row] * 80_000}])
    assert len(body) > 9_000_000
    async with FaultServer(answer(body)) as server, client_of(server) as client:
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += _decoding().lock.locked()

        ticker = asyncio.create_task(tick())
        (read,) = await days(client, 1).collect()
        ticker.cancel()
    assert len(read.results) == 80_000
    assert ticks >= len(body) // BATCH_BYTES


def test_fault_25_two_event_loops_are_refused():
    async def read(client):
        await days(client, 1).collect()

    client = UsageClient(KEY, transport=lambda *_: replies(BODY), concurrency=2)
    asyncio.run(read(client))
    for use in (read, UsageClient.close, UsageClient.__aenter__):
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(use(client))
    with pytest.warns(ResourceWarning, match="unclosed"):  # noqa: PT031 - whoever ends it
        client = None
        gc.collect()
    assert client is None


async def replies(body):
    return 200, {}, body


async def test_fault_25_a_closed_client_and_a_second_entry_are_refused():
    client = UsageClient(KEY, transport=lambda _, params, __: replies(serve(params)))
    async with client:
        stream = days(client, 2, limit=1).stream()
        await anext(stream)
        with pytest.raises(ConfigurationError, match="already entered"):
            await client.__aenter__()
    await client.close()
    for use in (client.__aenter__, days(client, 1).collect, stream.__anext__):
        with pytest.raises(ConfigurationError, match="closed"):
            await use()


ROOT = Path(__file__).parent.parent


async def terminal(server, *tokens):
    """Start `usage-async`, in a process of its own, on some days of a server."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "usage_async._cli", *map(str, tokens)),
        *("--start", str(START), "--end", str(START + 3 * DAY)),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "OPENAI_ADMIN_KEY": KEY,
            "USAGE_ASYNC_BASE_URL": server.url,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ends(process):
    """Wait for its end: its code, and what it said."""
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


NAMES = ["=cmd()|' /C calc'!A0", "</script><script>", 'a,b"c', "two\nlines", "\u2028", "@sum", " "]


async def test_fault_26_odd_names_stay_names_in_every_file():
    rows = [
        {"object": "organization.costs.result", "project_id": f"p{i}", "project_name": name}
        for i, name in enumerate(NAMES)
    ]
    body = page({**bucket(START + day * DAY), "results": rows} for day in range(3))
    async with FaultServer(answer(body)) as server:
        code, lines, _ = await ends(await terminal(server, "fetch", "costs"))
        assert code == 0
        code, table, _ = await ends(await terminal(server, "fetch", "costs", "--format", "csv"))
        assert code == 0
    read = [
        row["project_name"]
        for line in lines.split("\n")[:-1]
        for row in json.loads(line)["results"]
    ]
    assert read == NAMES * 3
    assert [row["project_name"] for row in csv.DictReader(io.StringIO(table))] == NAMES * 3
    for name in NAMES:
        (cell,) = next(csv.reader(io.StringIO(guarded([name]).decode())))
        assert cell.removeprefix("'") == name
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


class Stall:
    """Hangs at the first request for the last of three days, and tells when."""

    def __init__(self):
        self.reached = asyncio.Event()
        self.behave = failing_at(2, script(self.hang, honest), honest)

    async def hang(self, request, wire):
        self.reached.set()
        await wire.hang()

    async def begin(self, server, target):
        """Write a file by one page a day, until it stalls."""
        process = await terminal(server, "fetch", "completions", "--limit", 1, "-o", target)
        await self.reached.wait()
        return process


def files(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def old_file(tmp_path):
    """A file of an earlier run."""
    file = tmp_path / "out.jsonl"
    file.write_text("old")
    return file


async def test_fault_27_after_a_kill_the_old_file_is_whole_and_the_next_run_is_complete(old_file):
    stall = Stall()
    async with FaultServer(stall.behave) as server:
        process = await stall.begin(server, old_file)
        process.kill()
        assert (await ends(process))[0] == -signal.SIGKILL
        assert old_file.read_text() == "old"
        code, _, err = await ends(await terminal(server, "fetch", "completions", "-o", old_file))
        assert (code, err) == (0, "")
        _, undisturbed, _ = await ends(await terminal(server, "fetch", "completions"))
    assert old_file.read_text() == undisturbed
    assert undisturbed.count("\n") == 3


@pytest.mark.parametrize(
    ("target", "says"),
    [
        pytest.param("/dev/full", "No space left on device", id="disk full"),
        pytest.param("/proc/out.jsonl", "/proc", id="read-only"),
        pytest.param("{}", "directory", id="a folder"),
        pytest.param("{}/missing/out.jsonl", "No such file or directory", id="no folder"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and /proc")
async def test_fault_28_what_cannot_be_written_is_one_clear_line(tmp_path, target, says):
    async with FaultServer(honest) as server:
        command = ("fetch", "completions", "-o", target.format(tmp_path))
        code, out, err = await ends(await terminal(server, *command))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert says in err
    assert not files(tmp_path)


async def test_fault_28_a_run_that_fails_leaves_the_old_file_intact(old_file, tmp_path):
    async with FaultServer(failing_at(2, answer(b"{}", 404), honest)) as server:
        process = await terminal(server, "fetch", "completions", "--limit", 1, "-o", old_file)
        code, _, err = await ends(process)
    assert (code, err.count("\n")) == (1, 1)
    assert files(tmp_path) == {"out.jsonl": "old"}


async def test_fault_29_a_retry_after_date_is_read_against_the_date_of_the_reply(clock):
    # The server's clock is a day late.
    at = clock.now - DAY
    headers = {"Retry-After": formatdate(at + 20, usegmt=True), "Date": formatdate(at, usegmt=True)}
    begin = clock.now
    async with FaultServer(script(throttled(headers), honest)) as server:
        assert await recovers(server, clock) == 1
    assert 20 <= clock.now - begin < 21


async def test_fault_30_ctrl_c_is_one_line_and_leaves_no_partial_file(old_file, tmp_path):
    stall = Stall()
    async with FaultServer(stall.behave) as server:
        process = await stall.begin(server, old_file)
        process.send_signal(signal.SIGINT)
        assert await ends(process) == (130, "", "usage-async: interrupted\n")
        await server.until_left()
    assert files(tmp_path) == {"out.jsonl": "old"}
