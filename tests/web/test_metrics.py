"""Metrics for Prometheus: gauges within a scope, and a scrape that never waits."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import pytest
from fastapi import FastAPI, Header, HTTPException
from prometheus_client.parser import text_string_to_metric_families
from service import page
from values import DAY
from web_server import served

from usage_async import RetryPolicy, Runtime, UsageClient, errors
from usage_async.fastapi import (
    ALL,
    Scope,
    metrics_router,
    usage_client,
    usage_lifespan,
    usage_router,
)

NOW = datetime(2026, 11, 21, 4, 23, tzinfo=UTC).timestamp()
OWN, OTHER = "proj_own", "proj_other"
BOSS = {"token": "boss"}


async def tenant(token: Annotated[str, Header()] = "") -> object:
    scopes = {"boss": ALL, "own": Scope([OWN])}
    if token not in scopes:
        raise HTTPException(401)
    return scopes[token]


class Service:
    """A service of one cent and ten tokens for each model, project and day."""

    def __init__(self, models=3):
        self.models, self.sent, self.failure = models, 0, None
        self.go, self.idle = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def __call__(self, path, params, headers):
        self.sent += 1
        await self.go.wait()
        if self.failure is not None:
            return self.failure
        given = dict(params)
        projects = [value for name, value in params if name == "project_ids"] or [OWN, OTHER]
        make = self.cost if path.endswith("costs") else self.tokens
        start, end = int(given["start_time"]), int(given["end_time"])
        data = [
            {
                "object": "bucket",
                "start_time": day,
                "end_time": day + DAY,
                "results": [make(n, project) for project in projects for n in range(self.models)],
            }
            for day in range(start - start % DAY, end, DAY)
        ]
        return 200, {}, page(data)

    def cost(self, n, project):
        amount = {"value": (n + 1) / 100, "currency": "usd"}
        item = "storage" if n == 0 else f"model-{n}, input"
        return {
            "object": "organization.costs.result",
            "amount": amount,
            "project_id": project,
            "line_item": item,
        }

    def tokens(self, n, project):
        return {
            "object": "organization.usage.completions.result",
            "input_tokens": 10 * (n + 1),
            "output_tokens": 1,
            "num_model_requests": 2,
            "project_id": project,
            "model": f"model-{n}",
        }


def app_of(upstream, *, ticks=None, **options):
    ticks = ticks or [0.0]
    runtime = Runtime(now=lambda: NOW, monotonic=lambda: ticks[0])
    app = FastAPI(
        lifespan=usage_lifespan(
            transport=upstream, runtime=runtime, retry=RetryPolicy(attempts=1), error_ttl_s=0
        )
    )
    app.include_router(metrics_router(scope=tenant, endpoints=["completions"], **options))
    app.include_router(usage_router(scope=tenant))
    return app


def read(reply):
    assert reply.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


async def scraped(browser, headers=BOSS, count=8):
    """Scrape until all figures are there."""
    for _ in range(500):
        found = read(await browser.get("/metrics", headers=headers))
        if sum(key[0] == "usage_async_reading_failed" for key in found) == count:
            return found
    raise AssertionError(found)


def spend(found, period, project, model):
    labels = {"period": period, "project_id": project, "model": model, "currency": "usd"}
    return found["usage_async_spend", *sorted(labels.items())]


async def test_spend_and_usage_of_days_and_months():
    async with served(app_of(Service())) as browser:
        found = await scraped(browser)
    assert spend(found, "day", OWN, "model-2") == 0.03
    assert spend(found, "day", OWN, "storage") == 0.01
    assert spend(found, "settled_day", OTHER, "model-1") == 0.02
    assert spend(found, "month", OWN, "model-1") == pytest.approx(0.02 * 21)
    assert spend(found, "settled_month", OWN, "model-1") == pytest.approx(0.02 * 31)
    labels = {"endpoint": "completions", "period": "day", "project_id": OWN, "model": "model-1"}
    for metric, value in ("input_tokens", 20), ("output_tokens", 1), ("num_model_requests", 2):
        key = "usage_async_usage", *sorted({**labels, "metric": metric}.items())
        assert found[key] == value
    day = ("endpoint", "costs"), ("period", "settled_day")
    assert found["usage_async_as_of_seconds", *day] == NOW
    assert (
        found["usage_async_settled_through_seconds", *day]
        == datetime(2026, 11, 18, tzinfo=UTC).timestamp()
    )


async def test_a_scrape_never_waits_for_the_service():
    upstream = Service()
    upstream.go.clear()
    async with served(app_of(upstream)) as browser:
        first = read(await browser.get("/metrics", headers=BOSS))
        assert not any(name == "usage_async_spend" for name, *_ in first)
        await browser.get("/metrics", headers=BOSS)
        assert upstream.sent <= 1
        upstream.go.set()
        await scraped(browser)


async def test_figures_are_read_again_when_they_are_old():
    upstream, ticks = Service(), [0.0]
    async with served(app_of(upstream, ticks=ticks, refresh_s=300)) as browser:
        await scraped(browser)
        sent = upstream.sent
        ticks[0] = 299.0
        await scraped(browser)
        assert upstream.sent == sent
        ticks[0] = 4000.0
        await browser.get("/metrics", headers=BOSS)
        while upstream.sent == sent:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def test_groups_beyond_the_largest_are_one():
    async with served(app_of(Service(models=50), top=2)) as browser:
        found = await scraped(browser)
    groups = [key for key in found if key[0] == "usage_async_spend" and ("period", "day") in key]
    assert len(groups) == 3
    total = 2 * sum(n + 1 for n in range(50)) / 100
    assert spend(found, "day", "other", "other") == pytest.approx(total - 2 * 0.5)


class Rows(Service):
    """A service with the same rows on every day."""

    def __init__(self, costs=(), completions=()):
        super().__init__()
        self.rows = {"costs": costs, "completions": completions}

    async def __call__(self, path, params, headers):
        given = dict(params)
        start, end = int(given["start_time"]), int(given["end_time"])
        rows = self.rows[path.rpartition("/")[2]]
        days = range(start - start % DAY, end, DAY)
        data = [
            {"object": "bucket", "start_time": day, "end_time": day + DAY, "results": rows}
            for day in days
        ]
        return 200, {}, page(data)

    @classmethod
    def billed(cls, value, project, item, currency="usd"):
        amount = {"value": value, "currency": currency}
        return {**cls().cost(0, project), "line_item": item, "amount": amount}

    @classmethod
    def used(cls, tokens, project, model):
        return {**cls().tokens(0, project), "model": model, "input_tokens": tokens}


def shown(found, name, **wanted):
    """The values of a metric of a settled day, by the labels that are not asked for."""
    series = {}
    for (each, *pairs), value in found.items():
        labels = dict(pairs)
        if each == name and wanted.items() <= labels.items() and labels["period"] == "settled_day":
            rest = {key: text for key, text in labels.items() if key not in {*wanted, "period"}}
            series[tuple(rest.values())] = value
    return series


TOKENS = {"endpoint": "completions", "metric": "input_tokens"}


async def test_rows_without_a_project_and_with_an_empty_one_are_added():
    rows = Rows(
        [Rows.billed(1, None, "m, input"), Rows.billed(2, "", "m, output")],
        [Rows.used(5, None, "m"), Rows.used(7, "", "m"), Rows.used(9, "", None)],
    )
    async with served(app_of(rows)) as browser:
        found = await scraped(browser)
    assert shown(found, "usage_async_spend", model="m", currency="usd") == {("",): 3}
    assert shown(found, "usage_async_usage", **TOKENS) == {("m", ""): 12, ("", ""): 9}


async def test_a_group_that_is_called_as_the_others_is_added_to_them():
    names = ["other", *map(str, range(5))]
    rows = Rows(
        [Rows.billed(10 - n, name, name) for n, name in enumerate(names)],
        [Rows.used(100 - n, name, name) for n, name in enumerate(names)],
    )
    async with served(app_of(rows, top=2)) as browser:
        found = await scraped(browser)
    spent = shown(found, "usage_async_spend", currency="usd")
    assert spent == {("other", "other"): 10 + 8 + 7 + 6 + 5, ("0", "0"): 9}
    used = shown(found, "usage_async_usage", **TOKENS)
    assert used == {("other", "other"): 100 + 98 + 97 + 96 + 95, ("0", "0"): 99}


async def test_each_currency_has_a_spend_of_its_own():
    rows = Rows([Rows.billed(1, OWN, "m"), Rows.billed(2, OWN, "m", "eur")])
    async with served(app_of(rows)) as browser:
        found = await scraped(browser)
    spent = shown(found, "usage_async_spend", project_id=OWN, model="m")
    assert spent == {("usd",): 1, ("eur",): 2}
    assert not any(v for (name, *_), v in found.items() if name == "usage_async_reading_failed")


async def test_the_last_figures_stay_when_the_service_fails(caplog):
    upstream, ticks = Service(), [0.0]
    async with served(app_of(upstream, ticks=ticks)) as browser:
        await scraped(browser)
        upstream.failure = 500, {}, b"words"
        ticks[0] = 10**6
        key = "usage_async_reading_failed", ("endpoint", "costs"), ("period", "day")
        found = {key: 0}
        while not found[key]:
            found = read(await browser.get("/metrics", headers=BOSS))
    assert spend(found, "day", OWN, "model-2") == 0.03
    assert "words" in caplog.text


async def test_a_tenant_is_told_of_its_projects_only():
    async with served(app_of(Service())) as browser:
        await scraped(browser)
        reply = await browser.get("/metrics", headers={"token": "own"})
        found = await scraped(browser, {"token": "own"})
        stranger = await browser.get("/metrics")
    assert stranger.status_code == 401
    assert OTHER not in reply.text + json.dumps(sorted(map(str, found)))
    assert {dict(key[1:])["project_id"] for key in found if key[0] == "usage_async_spend"} == {OWN}
    names = {name for name, *_ in found}
    assert not any("cache" in name or "upstream" in name for name in names)


async def test_the_cache_and_the_requests_are_counted():
    upstream = Service()
    async with served(app_of(upstream)) as browser:
        await scraped(browser)
        params = {"period": "2026-09"}
        for _ in range(3):
            await browser.get("/costs/summary", params=params, headers=BOSS)
        found = await scraped(browser)
    assert found["usage_async_upstream_requests_total", ("outcome", "200")] == upstream.sent
    assert found["usage_async_cache_answers_total", ("outcome", "fresh")] == 2
    assert found["usage_async_cache_bytes",] > 0


async def test_each_organization_has_counters_of_its_own():
    upstreams = {"acme": Service(), "umbrella": Service(models=1)}
    app = FastAPI(
        lifespan=usage_lifespan(
            organizations={name: {"transport": each} for name, each in upstreams.items()},
            runtime=Runtime(now=lambda: NOW, monotonic=lambda: 0.0),
        )
    )

    async def organization(of: str) -> str:
        return of

    app.include_router(metrics_router(scope=lambda: ALL, organization=organization))
    async with served(app) as browser:
        for name, upstream in upstreams.items():
            browser.params = {"of": name}
            found = await scraped(browser, count=12)
            requests = found["usage_async_upstream_requests_total", ("outcome", "200")]
            assert requests == upstream.sent
            assert spend(found, "day", OWN, "storage") == 0.01


async def test_rows_without_an_amount_are_no_spend():
    class Free(Service):
        def cost(self, n, project):
            return {**super().cost(n, project), "amount": None}

    async with served(app_of(Free())) as browser:
        found = await scraped(browser)
    assert not any(name == "usage_async_spend" for name, *_ in found)


async def test_the_first_scopes_make_room_for_more(monkeypatch):
    from usage_async.fastapi import metrics

    monkeypatch.setattr(metrics, "_MOST_SCOPES", 1)
    upstream = Service()
    async with served(app_of(upstream)) as browser:
        await scraped(browser)
        await scraped(browser, {"token": "own"})
        sent = upstream.sent
        first = read(await browser.get("/metrics", headers=BOSS))
        assert not any(name == "usage_async_spend" for name, *_ in first)
        await scraped(browser)
        assert upstream.sent == sent  # the answers are in the cache


async def test_a_reading_that_failed_is_tried_again_soon():
    upstream, ticks = Service(), [0.0]
    upstream.failure = 500, {}, b"words"
    async with served(app_of(upstream, ticks=ticks, refresh_s=300)) as browser:
        await scraped(browser)
        sent = upstream.sent
        ticks[0] = 29.0
        await scraped(browser)
        assert upstream.sent == sent
        ticks[0], upstream.failure = 30.0, None
        found = {}
        while ("usage_async_reading_failed", *LAST) not in found or upstream.sent < sent + 8:
            found = read(await browser.get("/metrics", headers=BOSS))
        await scraped(browser)
        ticks[0] = 60.0
        await scraped(browser)
        assert upstream.sent == sent + 8


LAST = ("endpoint", "completions"), ("period", "settled_month")


async def test_the_client_of_a_test_has_metrics_without_a_lifespan_or_a_cache():
    runtime = Runtime(now=lambda: NOW)
    app = FastAPI()
    app.include_router(metrics_router(scope=tenant, endpoints=["completions"]))
    async with UsageClient(transport=Service(), runtime=runtime) as fake, served(app) as browser:
        app.dependency_overrides[usage_client] = lambda: fake
        found = await scraped(browser)
    assert spend(found, "day", OWN, "storage") == 0.01
    names = {name for name, *_ in found}
    assert not any("cache" in name or "upstream" in name for name in names)


@pytest.mark.parametrize("name", ["costs", "vector_stores", "brand_new"])
def test_an_endpoint_without_models_is_refused(name):
    with pytest.raises(errors.QueryError, match=name):
        metrics_router(scope=tenant, endpoints=[name])
