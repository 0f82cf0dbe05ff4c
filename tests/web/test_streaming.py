"""Replies that are read while they are sent: lines of JSON and Arrow's stream."""

import asyncio
import json
import zlib
from decimal import Decimal
from io import BytesIO

import httpx
import polars as pl
import pyarrow as pa
import pytest
from fastapi import FastAPI
from service import NOW, START, SlowService, days, over, page, serve
from starlette.middleware.gzip import GZipMiddleware
from web_server import served

from usage_async import RetryPolicy, Runtime, UsageClient
from usage_async.fastapi import (
    Usage,
    arrow_stream,
    install_error_handlers,
    ndjson,
    streaming,
    usage_client,
    usage_lifespan,
)

DAY = 86400
RUNTIME = Runtime(now=lambda: NOW)


class Service:
    """A service whose requests end when they are told to.

    Attributes:
        most: Days that it answers; a request that starts later is held, or failed.
        running: Requests that are being answered.
    """

    def __init__(self, most=10**6, failure=None):
        self.most, self.failure = most, failure
        self.running, self.sent = 0, 0
        self.held, self.idle = asyncio.Event(), asyncio.Event()

    async def __call__(self, path, params, headers):
        self.running += 1
        self.sent += 1
        self.idle.clear()
        try:
            given = dict(params)
            if (int(given["start_time"]) - START) // DAY >= self.most:
                if self.failure is not None:
                    return self.failure
                self.held.set()
                await asyncio.Event().wait()
            return 200, {}, serve(params)
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()


def app_of(upstream, *, days=100, make=ndjson, **options):
    options = {"runtime": RUNTIME, "retry": RetryPolicy(attempts=1), **options}
    app = FastAPI(lifespan=usage_lifespan(transport=upstream, **options))
    install_error_handlers(app)

    @app.get("/rows")
    async def rows(usage: Usage):
        return make(usage.completions(start_time=START, end_time=START + days * DAY))

    return app


def lines_of(reply):
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line, parse_float=Decimal) for line in reply.text.splitlines()]


@pytest.mark.parametrize("make", [ndjson, arrow_stream])
async def test_a_client_without_a_cache_streams_too(make):
    app = app_of(SlowService(1), days=3, make=make)
    async with UsageClient(transport=SlowService(1), runtime=RUNTIME) as plain:
        app.dependency_overrides[usage_client] = lambda: plain
        async with served(app) as browser:
            reply = await browser.get("/rows")
    if make is ndjson:
        assert lines_of(reply)[-1]["rows"] == 3
    else:
        assert pa.ipc.open_stream(reply.content).read_all().num_rows == 3


async def test_every_row_is_a_line_without_nulls_and_the_last_says_complete():
    async with served(app_of(SlowService(3), days=100)) as browser:
        *rows, last = lines_of(await browser.get("/rows"))
    assert [row["start_time"] for row in rows] == [START + n * DAY for n in range(100)]
    assert rows[0] == {
        "start_time": START,
        "end_time": START + DAY,
        "object": "organization.usage.completions.result",
        "input_tokens": START // DAY,
        "output_tokens": 1,
        "num_model_requests": 1,
    }
    assert last["complete"] is True
    assert last["rows"] == 100
    assert last["requested"] == {"start_time": START, "end_time": START + 100 * DAY}
    assert last["covered"] == last["requested"]


async def test_a_missing_bucket_is_not_complete():
    async def gaps(path, params, headers):
        body = json.loads(serve(params))
        return 200, {}, page(body["data"][1:])

    async with served(app_of(gaps, days=3)) as browser:
        *rows, last = lines_of(await browser.get("/rows"))
    assert len(rows) == 2
    assert last["complete"] is False
    assert last["covered"] == {"start_time": START + DAY, "end_time": START + 3 * DAY}
    assert [notice["code"] for notice in last["notices"]] == ["missing-bucket"]


async def test_money_and_unknown_fields_are_exact():
    value = "12345678901234567890.123456789012345678"
    amount = {"value": "VALUE", "currency": "usd"}
    row = {"object": "organization.costs.result", "amount": amount, "new": ["NEW"]}
    bucket = {"object": "bucket", "start_time": START, "end_time": START + DAY, "results": [row]}
    body = page([bucket]).replace(b'"VALUE"', value.encode()).replace(b'"NEW"', b"1.10")

    async def bill(path, params, headers):
        return 200, {}, body

    app = FastAPI(lifespan=usage_lifespan(transport=bill, runtime=RUNTIME))

    @app.get("/rows")
    async def rows(usage: Usage):
        return ndjson(usage.costs(start_time=START, end_time=START + DAY))

    async with served(app) as browser:
        first, _ = lines_of(await browser.get("/rows"))
    assert first["amount"] == value
    assert first["extra"] == {"new": [Decimal("1.10")]}


async def test_of_nothing_no_range_is_covered():
    async def nothing(path, params, headers):
        return 200, {}, page([])

    async with served(app_of(nothing, days=2)) as browser:
        [last] = lines_of(await browser.get("/rows"))
    assert (last["complete"], last["covered"]) == (False, None)


async def test_no_rows_are_complete_as_well():
    async def empty(path, params, headers):
        data = [{**each, "results": []} for each in json.loads(serve(params))["data"]]
        return 200, {}, page(data)

    async with served(app_of(empty, days=2)) as browser:
        [last] = lines_of(await browser.get("/rows"))
    assert (last["complete"], last["rows"]) == (True, 0)


REFUSED = (401, {"x-request-id": "req_1"}, b'{"error": {"message": "of proj_other"}}')


@pytest.mark.parametrize("make", [ndjson, arrow_stream], ids=["lines", "arrow"])
async def test_an_error_before_the_first_row_has_its_status(make):
    async with served(app_of(Service(0, REFUSED), make=make)) as browser:
        reply = await browser.get("/rows")
    assert reply.status_code == 502
    assert reply.json()["detail"][0]["type"] == "upstream_refused"


async def test_a_wrong_query_has_its_status():
    app = app_of(SlowService())

    @app.get("/wrong")
    async def wrong(usage: Usage):
        return ndjson(usage.completions(start_time=NOW + DAY))

    async with served(app) as browser:
        assert (await browser.get("/wrong")).status_code == 422


async def test_an_error_in_the_middle_is_told_by_the_last_line(caplog):
    upstream = Service(31, (200, {"x-request-id": "req_1"}, b"no page of proj_other"))
    async with served(app_of(upstream, days=62)) as browser:
        *rows, last = lines_of(await browser.get("/rows"))
    assert len(rows) == 31
    assert (last["complete"], last["rows"]) == (False, 31)
    assert last["error"]["status"] == 502
    assert last["error"]["detail"][0]["type"] == "upstream_failed"
    assert "proj_other" not in json.dumps(last)
    assert "req_1" not in json.dumps(last)
    assert "req_1" in caplog.text


async def test_a_defect_in_the_middle_is_told_as_well(monkeypatch, caplog):
    from usage_async.fastapi import streaming

    def broken(row):
        if row.start_time > START:
            raise ZeroDivisionError("secret")
        return {}

    monkeypatch.setattr(streaming, "_line", broken)
    async with served(app_of(SlowService(), days=2)) as browser:
        *_, last = lines_of(await browser.get("/rows"))
    assert last["error"]["status"] == 500
    assert "secret" not in json.dumps(last)
    assert "ZeroDivisionError" in caplog.text


async def test_arrow_holds_every_row():
    async with served(app_of(SlowService(1), make=arrow_stream)) as browser:
        reply = await browser.get("/rows")
    assert reply.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(reply.content).read_all()
    assert table.num_rows == 100
    assert table["input_tokens"].to_pylist()[0] == START // DAY


async def test_arrow_of_nothing_has_the_columns():
    async def empty(path, params, headers):
        data = [{**each, "results": []} for each in json.loads(serve(params))["data"]]
        return 200, {}, page(data)

    async with served(app_of(empty, make=arrow_stream)) as browser:
        table = pa.ipc.open_stream((await browser.get("/rows")).content).read_all()
    assert table.num_rows == 0
    assert "input_tokens" in table.column_names


async def test_arrow_that_broke_off_never_looks_finished():
    upstream = Service(31, (200, {}, b"no page"))
    async with served(app_of(upstream, days=62, make=arrow_stream)) as browser:
        with pytest.raises(httpx.RemoteProtocolError):
            await browser.get("/rows")


def passed_on(app):
    @app.middleware("http")
    async def pass_on(request, call_next):
        return await call_next(request)


def compressed(app):
    app.add_middleware(GZipMiddleware, minimum_size=1)


READERS = {
    "pyarrow": lambda data: pa.ipc.open_stream(data).read_all().num_rows,
    "polars": lambda data: pl.read_ipc_stream(BytesIO(data)).height,
}

UNREADABLE = (pa.ArrowInvalid, OSError, pl.exceptions.PolarsError)


async def body_over(version, port):
    """Give the body of `/rows` as a reader gets it, who looks at nothing but the bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ask = f"GET /rows HTTP/{version}\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
    writer.write(f"{ask}Connection: close\r\n\r\n".encode())
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    if b"chunked" in head:
        chunks = b""
        while (size := int(body.partition(b"\r\n")[0] or b"0", 16)) > 0:
            rest = body.partition(b"\r\n")[2]
            chunks, body = chunks + rest[:size], rest[size + 2 :]
        body = chunks
    if b"content-encoding: gzip" in head:
        body = zlib.decompressobj(31).decompress(body)
    return body


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    "around",
    [(), (passed_on,), (compressed,), (passed_on, compressed), (compressed, passed_on)],
    ids=["bare", "base", "gzip", "base-in-gzip", "gzip-in-base"],
)
async def test_no_reader_takes_broken_arrow_for_whole(around, version):
    whole, broken = Service(), Service(31, (200, {}, b"no page"))
    for upstream in (whole, broken):
        app = app_of(upstream, days=62, make=arrow_stream)
        for add in around:
            add(app)
        async with served(app) as browser:
            body = await body_over(version, browser.base_url.port)
        for read in READERS.values():
            if upstream is whole:
                assert read(body) == 62
            else:
                with pytest.raises(UNREADABLE):
                    read(body)
    # Some readers take the mark of a message alone for the end.
    assert body.endswith(b"\xff\xff\xff\xff\x08\0\0\0" + bytes(4))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
async def test_arrow_that_ends_behind_any_piece_is_broken(read):
    async with over(SlowService(1)) as client:
        pieces = [piece async for piece in streaming.arrow_of(days(client, 100))]
    assert len(pieces) > 3
    assert read(b"".join(pieces)) == 100
    for count in range(len(pieces)):
        with pytest.raises(UNREADABLE):
            read(b"".join(pieces[:count]))


class Digits:
    """A service that sends an amount of 19 decimal places, on the days from `begin` on."""

    def __init__(self, value="0.1234567890123456785", begin=0):
        self.value, self.begin = value, begin

    async def __call__(self, path, params, headers):
        data = json.loads(serve(params))["data"]
        for bucket in data:
            is_due = (bucket["start_time"] - START) // DAY >= self.begin
            value = self.value if is_due else "1"
            amount = {"value": value, "currency": "usd"}
            bucket["results"] = [{"object": "organization.costs.result", "amount": amount}]
        return 200, {}, page(data)


def costs_app(upstream, **options):
    app = FastAPI(lifespan=usage_lifespan(transport=upstream, runtime=RUNTIME))
    install_error_handlers(app)

    @app.get("/rows")
    async def rows(usage: Usage):
        return arrow_stream(usage.costs(start_time=START, end_time=START + 2 * DAY), **options)

    return app


async def test_what_has_too_many_places_for_a_table_is_told_apart():
    for value, words in (("0.1234567890123456785", "exact=true"), ("9" * 30, "NDJSON")):
        async with served(costs_app(Digits(value))) as browser:
            reply = await browser.get("/rows")
        assert reply.status_code == 422
        [told] = reply.json()["detail"]
        assert told["type"] == "misfit"
        assert words in told["msg"]
        assert value not in told["msg"]


async def test_an_exact_table_has_all_digits():
    async with served(costs_app(Digits(), exact=True)) as browser:
        table = pa.ipc.open_stream((await browser.get("/rows")).content).read_all()
    assert table["amount"].to_pylist() == 2 * [Decimal("0.123456789012345678")]
    assert table["amount_exact"].to_pylist() == 2 * ["0.1234567890123456785"]


async def test_an_exact_table_of_nothing_has_its_columns():
    async def empty(path, params, headers):
        data = [{**each, "results": []} for each in json.loads(serve(params))["data"]]
        return 200, {}, page(data)

    async with served(costs_app(empty, exact=True)) as browser:
        table = pa.ipc.open_stream((await browser.get("/rows")).content).read_all()
    assert "amount_exact" in table.column_names


def without_a_bucket(data):
    return data[1:]


def with_another_kind(data):
    other = {"object": "organization.usage.riddles.result", "riddles": 7, "of": "words"}
    return [{**data[0], "results": [*data[0]["results"], other]}, *data[1:]]


@pytest.mark.parametrize("change", [without_a_bucket, with_another_kind])
@pytest.mark.parametrize("begin", [0, 31], ids=["at-first", "in-the-middle"])
async def test_arrow_that_lacks_rows_is_broken(change, begin):
    async def changed(path, params, headers):
        data = json.loads(serve(params))["data"]
        is_due = (data[0]["start_time"] - START) // DAY >= begin
        return 200, {}, page(change(data) if is_due else data)

    async with served(app_of(changed, days=62, make=arrow_stream)) as browser:
        if begin:
            body = await body_over("1.0", browser.base_url.port)
            for read in READERS.values():
                with pytest.raises(UNREADABLE):
                    read(body)
        else:
            reply = await browser.get("/rows")
            assert reply.status_code == 502
            [told] = reply.json()["detail"]
            assert told["type"] == "incomplete"
            assert "take NDJSON" in told["msg"]
            assert "riddles" not in told["msg"]


@pytest.mark.parametrize("make", [ndjson, arrow_stream], ids=["lines", "arrow"])
@pytest.mark.parametrize("most", [0, 31], ids=["before-the-first-row", "in-the-middle"])
async def test_requests_end_within_a_second_of_the_browser_leaving(most, make, nothing_left):
    upstream = Service(most)
    app = app_of(upstream, days=310, make=make)
    async with served(app) as browser:
        port = browser.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /rows HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await upstream.held.wait()
        if most:
            await reader.readuntil(b"\r\n\r\n")
        assert upstream.running
        writer.close()
        await asyncio.wait_for(upstream.idle.wait(), 1)


async def test_no_more_is_read_than_the_browser_takes():
    upstream = Service()
    application = app_of(upstream, days=10_000, concurrency=2)
    sent, may_send = [], asyncio.Event()

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)
        if len(sent) > 3:
            await may_send.wait()

    run = usage_lifespan(transport=upstream, runtime=RUNTIME, concurrency=2)
    async with run(application) as state:
        scope = {"type": "http", "method": "GET", "path": "/rows", "query_string": b""}
        scope |= {"headers": [], "root_path": "", "scheme": "http", "server": ("test", 80)}
        scope["state"] = state
        work = asyncio.ensure_future(application(scope, receive, send))
        for _ in range(2000):
            await asyncio.sleep(0)
        assert len(sent) == 4
        assert upstream.sent <= 4
        may_send.set()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not upstream.running
