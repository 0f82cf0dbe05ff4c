"""`usage-async serve`: a page, routes and metrics under a real uvicorn on loopback."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
import threading
from contextlib import asynccontextmanager
from decimal import Decimal

import httpx
import pytest
from web_server import NO_TLS, spawn_serve

from usage_async import CostsResult, Runtime, Summary, loads
from usage_async._cli.commands import serve
from usage_async._cli.connection import Connection
from usage_async._cli.context import Context
from usage_async.emulator import Emulator, Quirks, demo
from usage_async.report.compute import compute_report
from usage_async.report.html.form import Question

from .conftest import NOW

DEMO = Connection(demo=True)
WEEK = Question("2026-W45", "project_id")


@asynccontextmanager
async def served(capsys, connection=DEMO, *, with_names=True, context=None):
    """Serve in this process; yield a browser that has not signed in, and the printed URL."""
    context = context or Context(Runtime(now=lambda: NOW), {})
    running = serve.run_server(0, WEEK, connection, context, with_names=with_names)
    task = asyncio.ensure_future(running)
    out = ""
    while not out.endswith("\n") and not task.done():
        await asyncio.sleep(0)
        out += capsys.readouterr().out
    assert not task.done(), task
    url = out.removesuffix("\n")
    try:
        async with httpx.AsyncClient(
            base_url=url.partition("?")[0],
            trust_env=False,
            verify=NO_TLS,
            timeout=60,
            follow_redirects=True,
        ) as browser:
            yield browser, url
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def amounts(page, begin, end="</table>"):
    """The exact figures in a part of a page."""
    part = page[page.index(begin) :]
    return [Decimal(x) for x in re.findall('<data value="([^"]*)">', part[: part.index(end)])]


async def test_the_figures_of_the_page_are_those_of_the_library(capsys):
    async with served(capsys) as (browser, url):
        page = (await browser.get(url)).text
        report = (await browser.get("/report.json", params={"period": "2026-W45"})).json()
    async with demo(now=lambda: NOW) as client:
        query = client.costs(period="2026-W45", group_by=["project_id"])
        total, groups = await query.total(), await query.totals()
        used = await client.completions(period="2026-W45").total()
    assert amounts(page, "Total spend", "exactly")[0] == total.amount_value > 0
    rows = page.split("<caption>Spend by project")[1].split("<tfoot>")[0].split("<tbody>")[1:]
    shown = [amounts(row, "<td>", "</td>")[0] for row in rows]
    assert sorted(shown) == sorted(group.amount_value for group in groups)
    for group in groups:
        assert group.project_name in page
        assert group.project_id in page
    endpoints = amounts(page, "<caption>Everything that was used")
    assert endpoints[:3] == [used.num_model_requests, used.input_tokens, used.output_tokens]
    assert Decimal(report["spend"][0]["amount"]) == total.amount_value


@pytest.mark.slow
async def test_the_printed_url_signs_in_and_everything_is_behind_it(capsys):
    async with served(capsys) as (browser, url):
        paths = ("/", "/report.json", "/costs/summary?period=7d", "/metrics", "/openapi.json")
        refused = [(await browser.get(path)).status_code for path in paths]
        page = await browser.get(url)
        allowed = [await browser.get(path) for path in paths]
        headers = {"authorization": f"Bearer {url.partition('token=')[2]}"}
        browser.cookies.clear()
        scraped = await browser.get("/metrics", headers=headers)
    assert refused == [401] * len(paths)
    assert str(page.url) == url.partition("?")[0]
    assert [reply.status_code for reply in allowed] == [200] * len(paths)
    assert loads(allowed[2].content, Summary[CostsResult]).total.amount_value > 0
    assert "usage_async_upstream_requests_total" in scraped.text
    assert not {"server", "access-control-allow-origin"} & page.headers.keys()
    assert url.partition("token=")[2] not in page.text


async def test_what_is_no_http_or_names_two_hosts_is_refused_and_nothing_is_printed(capsys):
    async with served(capsys) as (_, url):
        port = int(url.split(":")[2].partition("/")[0])
        host = f"Host: 127.0.0.1:{port}\r\n".encode()
        for sent in (
            b"\0\0\0\0\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
            b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            b"GET http://evil.example/ HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            status = int((await reader.read()).split()[1])
            writer.close()
            assert status in {400, 401, 421}, sent
        assert capsys.readouterr() == ("", "")


@pytest.mark.slow
async def test_a_stream_in_flight_ends_with_the_server(capsys, nothing_left):
    async with served(capsys) as (_, url):
        port = int(url.split(":")[2].partition("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        lines = (
            "GET /usage/completions?period=300d&bucket_width=1m HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Authorization: Bearer {url.partition('token=')[2]}",
            "Accept: application/vnd.apache.arrow.stream",
        )
        writer.write("\r\n".join([*lines, "", ""]).encode())
        assert (await reader.read(15)).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_the_page_as_json_is_what_the_terminal_reports(capsys, serving, cli):
    server = serving(Emulator(now=lambda: NOW, quirks=Quirks(refuse_names=True)))

    async def shown():
        async with served(capsys, Connection()) as (browser, url):
            await browser.get(url)
            drawn = await browser.get("/", params={"by": "user"})
            sent = len(server.requests)
            reply = await browser.get("/page.json", params={"by": "user"})
            assert len(server.requests) == sent
            return drawn.text, reply.json()

    drawn, page = asyncio.run(shown())
    given = ("--by", "user", "--compare", "--period", WEEK.period)
    report = json.loads(cli("report", "--format", "json", *given).out)
    told, of_groups = {*page.pop("notices")}, {*report.pop("notices")}
    assert "the users were not read" in str(of_groups)
    # Only the page says why the bill changed; the API key of which it tells has no name.
    assert re.search("The API key key_", drawn)
    (of_reasons,) = told - of_groups
    assert re.match("names: the API keys of .* were not read", of_reasons)
    assert of_groups <= told
    assert page == report


@pytest.mark.slow
async def test_names_are_beside_ids_and_are_kept_at_the_end(capsys, bare, tmp_path):
    bare.setenv("XDG_CACHE_HOME", str(tmp_path))
    async with Emulator(now=lambda: NOW) as server:
        bare.setenv("USAGE_ASYNC_BASE_URL", server.url)
        bare.setenv("OPENAI_ADMIN_KEY", server.admin_key)
        async with served(capsys, Connection()) as (browser, url):
            await browser.get(url)
            page = (await browser.get("/", params={"by": "api_key"})).text
            assert not list(tmp_path.rglob("*.json"))
        (kept,) = tmp_path.rglob("*.json")
        assert "production" in page
        assert "production" in kept.read_text()
        server.requests.clear()
        async with served(capsys, Connection(), with_names=False) as (browser, url):
            await browser.get(url)
            page = (await browser.get("/", params={"by": "api_key"})).text
        assert "production" not in page
        assert not [each for each in server.requests if "projects" in each.path]


def notices(page):
    """The notices of a page, which come in the order of the replies."""
    return set(re.findall("<li>(.*?)</li>", page[page.index("<h2>Notices") :]))


@pytest.mark.slow
async def test_a_page_has_the_notices_of_its_own_reading(capsys, bare):
    quirks = Quirks(refuse_names=True, missing_buckets=3)
    async with Emulator(now=lambda: NOW, quirks=quirks) as server:
        bare.setenv("USAGE_ASYNC_BASE_URL", server.url)
        bare.setenv("OPENAI_ADMIN_KEY", server.admin_key)
        context = Context(Runtime(now=lambda: NOW), {})
        async with served(capsys, Connection(), context=context) as (browser, url):
            first = (await browser.get(url)).text
            weeks = [
                (await browser.get("/", params={"period": week, "by": "user"})).text
                for week in ("2026-W28", "2026-W38")
            ]
            await browser.get("/usage/completions", params={"period": "2026-W20"})
            again = (await browser.get("/", params={"period": "2026-W28", "by": "user"})).text
        assert "the users were not read" not in first
        july, september = map(notices, weeks)
        assert notices(again) == july
        for told, month, other in ((july, "07", "09"), (september, "09", "07")):
            assert any("the users were not read" in line for line in told)
            assert any(re.match(r"completions, .* days were not sent", line) for line in told)
            assert f"the first is 2026-{month}-" in str(told)
            assert f"the first is 2026-{other}-" not in str(told)
        # Those of the users, and those of the API keys that the reasons of a page tell of.
        assert len(context.warnings) == 2


async def test_a_page_is_computed_beside_the_event_loop(capsys, monkeypatch):
    threads = []

    def watched(*given):
        threads.append(threading.current_thread())
        return compute_report(*given)

    monkeypatch.setattr("usage_async.report.compute.compute_report", watched)
    async with served(capsys) as (browser, url):
        assert (await browser.get(url)).status_code == 200
    assert len(threads) == 1
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("debug", [False, True])
async def test_a_bug_is_one_line_or_a_traceback(capsys, monkeypatch, debug):
    def fail(*_):
        raise RuntimeError("oops sk-admin-0123456789abcdef")

    monkeypatch.setattr("usage_async.fastapi.local.report_page", fail)
    async with served(capsys, Connection(demo=True, debug=debug)) as (browser, url):
        assert (await browser.get(url)).status_code == 500
        err = capsys.readouterr().err
    assert "oops" in err
    assert "0123456789" not in err
    assert ("Traceback" in err) is debug
    assert debug or err.count("\n") == 1


def test_it_is_told_what_the_page_shows_first(cli, monkeypatch):
    asked = []

    async def run(*given, **options):
        asked.append((given[:2], options))

    monkeypatch.setattr(serve, "run_server", run)
    assert cli("serve", "--demo").code == 0
    given = ("--port", 0, "--period", "2026-W40", "--by", "model", "--no-names")
    assert cli("serve", "--demo", *given).code == 0
    assert asked == [
        ((8000, Question("last-month", "project")), {"with_names": True}),
        ((0, Question("2026-W40", "model")), {"with_names": False}),
    ]


def test_a_port_in_use_is_one_line(cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = cli("serve", "--demo", "--port", port)
    assert (ran.code, ran.out) == (1, "")
    reason = os.strerror(98) if sys.platform == "linux" else "in use"
    assert f"127.0.0.1:{port}: {reason}" in ran.err
    assert "--port 0 takes a free port" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("tokens", "code", "says"),
    [
        (("--port", "65536", "--demo"), 2, "--port takes 0 to 65535"),
        (("--port", "-1", "--demo"), 2, "--port takes 0 to 65535"),
        (("--period", "someday", "--demo"), 2, "someday"),
        (("--by", "colour", "--demo"), 2, "colour"),
        (("--host", "::", "--demo"), 2, "--host"),
        (("--port", "0"), 2, "no admin key"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_served(cli, tokens, code, says):
    ran = cli("serve", *tokens)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1


def test_a_missing_extra_is_one_line_with_its_command(cli, monkeypatch):
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "uvicorn" else name)
    ran = cli("serve", "--demo")
    assert (ran.code, ran.out) == (2, "")
    assert "pip install 'usage-async[cli,fastapi,report]'" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGINT, "usage-async: interrupted\n"), (signal.SIGTERM, "")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_ends_it_with_a_stream_in_flight_and_nothing_is_printed(number, says):
    with spawn_serve() as process:
        try:
            url = process.stdout.readline().removesuffix("\n")
            port, token = re.fullmatch(
                r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{43})", url
            ).groups()
            lines = (
                "GET /usage/completions?period=300d&bucket_width=1m HTTP/1.1",
                f"Host: 127.0.0.1:{port}",
                f"Authorization: Bearer {token}",
                "Accept: application/x-ndjson",
            )
            with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as browser:
                browser.sendall("\r\n".join([*lines, "", ""]).encode())
                head = browser.recv(100_000)
                # No more is read until the end: the stream waits for its browser.
                process.send_signal(number)
                out, err = process.communicate(timeout=60)
                body = head
                while piece := browser.recv(1 << 20):
                    body += piece
        finally:
            process.kill()
    assert (process.returncode, out) == (128 + number, "")
    assert err == f"serving until Ctrl-C\n{says}"
    assert body.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"complete"' not in body
    assert json.loads(body.partition(b"\r\n\r\n")[2].split(b"\r\n")[1].splitlines()[0])
