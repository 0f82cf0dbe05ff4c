"""The guide in the docstring: a whole application, under a real uvicorn and many browsers."""

import asyncio
import re
import textwrap
from decimal import Decimal

import pytest
from asking import NOW, ORGANIZATION
from fastapi import FastAPI
from service import SlowService
from web_server import served

import usage_async.fastapi
from usage_async import CostsResult, RetryPolicy, Runtime, UsageClient, loads
from usage_async.emulator import Emulator
from usage_async.fastapi import Usage, install_error_handlers, usage_lifespan


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
    assert len([line for line in guide().splitlines() if line]) <= 25


async def test_it_runs_and_its_figures_are_those_of_the_library(organization):
    names = {}
    exec(guide(), names)  # noqa: S102 - as a reader would
    async with UsageClient() as client:
        expected = await client.costs(period="last-month", group_by=["project_id"]).totals()
    async with served(names["app"]) as browser:
        spend = await browser.get("/spend/last-month")
        headers = {"x-token": "boss-token"}
        summary = await browser.get(
            "/api/costs/summary", params={"period": "last-month"}, headers=headers
        )
        metrics = await browser.get("/metrics", headers=headers)
        strangers = [await browser.get(path) for path in ("/api/costs/summary", "/metrics")]
        schema = await browser.get("/openapi.json")
    assert [loads(str.encode(_json(each)), CostsResult) for each in spend.json()] == expected
    total = sum(each.amount_value for each in expected)
    assert Decimal(summary.json()["total"]["amount"]["value"]) == total > 0
    assert metrics.status_code == 200
    assert [reply.status_code for reply in strangers] == [401, 401]
    assert "/api/usage/completions" in schema.json()["paths"]


def _json(value):
    import json

    return json.dumps(value)


def app_of(upstream, **options):
    app = FastAPI(
        lifespan=usage_lifespan(
            transport=upstream,
            runtime=Runtime(now=lambda: NOW),
            retry=RetryPolicy(attempts=1),
            **options,
        )
    )
    install_error_handlers(app)

    @app.get("/spend/{days}")
    async def spend(days: int, usage: Usage) -> int:
        total = await usage.completions(start_time=NOW - days * 86400).total()
        return total.num_model_requests

    return app


async def all_of(browser, paths):
    room = asyncio.Semaphore(100)

    async def one(path):
        async with room:
            return await browser.get(path)

    return await asyncio.gather(*map(one, paths))


@pytest.mark.slow
async def test_a_thousand_equal_calls_are_one_run():
    upstream = SlowService()
    async with served(app_of(upstream)) as browser:
        replies = await all_of(browser, ["/spend/7"] * 1000)
    assert {reply.status_code for reply in replies} == {200}
    assert len(upstream.sent) == 1


@pytest.mark.slow
async def test_two_hundred_different_calls_stay_under_the_limiter():
    upstream = SlowService()
    async with served(app_of(upstream, concurrency=8)) as browser:
        replies = await all_of(browser, [f"/spend/{days}" for days in range(1, 201)])
    assert {reply.status_code for reply in replies} == {200}
    assert upstream.most <= 8


DOWN = {
    "revoked": ((401, {}, b"words"), 502),
    "throttling": ((429, {"retry-after": "3"}, b"words"), 503),
    "down": ((503, {}, b"words"), 502),
}


@pytest.mark.slow
@pytest.mark.parametrize(("reply", "status"), DOWN.values(), ids=DOWN)
async def test_a_thousand_calls_of_a_service_that_fails(reply, status):
    sent = 0

    async def fails(path, params, headers):
        nonlocal sent
        sent += 1
        return reply

    async with served(app_of(fails, error_ttl_s=60)) as browser:
        replies = await all_of(browser, ["/spend/7"] * 1000)
    assert {reply.status_code for reply in replies} == {status}
    assert not any("words" in reply.text for reply in replies)
    if status == 503:
        assert {reply.headers["retry-after"] for reply in replies} == {"3"}
    assert sent == 1


async def test_a_service_that_hangs_is_waited_for_no_longer_than_wait_s():
    async def hangs(path, params, headers):
        await asyncio.Event().wait()

    async with served(app_of(hangs, wait_s=0.05)) as browser:
        replies = await all_of(browser, ["/spend/7"] * 50)
    assert {reply.status_code for reply in replies} == {504}
