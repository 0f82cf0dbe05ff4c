"""The guide in the docstring: a whole application, under a real uvicorn."""

import asyncio
import os
import re
import socket
import sys
import textwrap
import time
from collections import Counter
from contextlib import asynccontextmanager
from decimal import Decimal
from math import floor

import pytest
from asking import ORGANIZATION
from web_server import crowd, served

import usage_async.fastapi
from usage_async import CostsResult, UsageClient, loads
from usage_async.emulator import Emulator

HEADERS = {"x-token": "boss-token"}


def guide():
    """The application of the docstring."""
    [code, *_] = re.findall(r"\n((?:    .*\n|\n)+)", usage_async.fastapi.__doc__)
    return textwrap.dedent(code)


@pytest.fixture
async def organization(monkeypatch):
    async with Emulator(ORGANIZATION) as server:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", server.admin_key)
        monkeypatch.setenv("USAGE_ASYNC_BASE_URL", server.url)
        yield server


def test_it_is_short():
    assert len([line for line in guide().splitlines() if line]) < 25


async def test_it_runs_and_its_figures_are_those_of_the_library(organization):
    names = {}
    exec(guide(), names)  # noqa: S102 - as a reader would
    async with UsageClient() as client:
        expected = await client.costs(period="last-month", group_by=["project_id"]).totals()
    async with served(names["app"]) as browser:
        spend = await browser.get("/spend/last-month", headers=HEADERS)
        summary = await browser.get(
            "/api/costs/summary", params={"period": "last-month"}, headers=HEADERS
        )
        metrics = await browser.get("/metrics", headers=HEADERS)
        mine = await browser.get("/spend/last-month", headers={"x-token": "team-token"})
        paths = ("/api/costs/summary", "/metrics", "/spend/last-month")
        strangers = [
            await browser.get(path, headers=each)
            for path in paths
            for each in ({}, {"x-token": "boss-toker"}, {"x-token": ""}, {"x-token": b"\xff"})
        ]
        schema = await browser.get("/openapi.json")
    assert [loads(str.encode(_json(each)), CostsResult) for each in spend.json()] == expected
    total = sum(each.amount_value for each in expected)
    assert Decimal(summary.json()["total"]["amount"]["value"]) == total > 0
    assert metrics.status_code == 200
    assert mine.json() == []  # the emulator has no such project
    assert {reply.status_code for reply in strangers} == {401}
    # What is compared does not depend on how much of a token is right.
    assert not any(token in repr(names["SCOPES"]) for token in ("boss-token", "team-token"))
    assert "/api/usage/completions" in schema.json()["paths"]


def _json(value):
    import json

    return json.dumps(value)


TTL_S = 0.5
WORKERS = 4


@asynccontextmanager
async def workers(folder, server):
    """Serve the guide's application by uvicorn with several processes; yield its URL."""
    app = guide().replace("ttl_s=60", f"ttl_s={TTL_S}")
    (folder / "guide.py").write_text(app, "utf-8")
    settings = {"OPENAI_ADMIN_KEY": server.admin_key, "USAGE_ASYNC_BASE_URL": server.url}
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        options = ["--workers", str(WORKERS), "--fd", str(listening.fileno()), "--no-access-log"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "guide:app", "--app-dir", str(folder), *options),
            env={**os.environ, **settings},
            pass_fds=[listening.fileno()],
            stderr=asyncio.subprocess.PIPE,
        )
        lines = [b""]
        try:
            while sum(b"startup complete" in line for line in lines) < WORKERS:
                lines.append(await process.stderr.readuntil(b"\n"))
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            process.terminate()
            await process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are not inherited")
async def test_four_workers_read_at_most_once_each_in_a_ttl(tmp_path):
    async with Emulator(ORGANIZATION) as server, workers(tmp_path, server) as url:
        begin = time.monotonic()
        for _ in range(3):
            replies = await crowd(url, ["/spend/yesterday"] * 200, HEADERS)
            assert {reply.status for reply in replies} == {200}
            assert len({reply.body for reply in replies}) == 1
        terms = floor((time.monotonic() - begin) / TTL_S) + 1
    runs = Counter(request.query for request in server.requests)
    assert max(runs.values()) <= WORKERS * terms
