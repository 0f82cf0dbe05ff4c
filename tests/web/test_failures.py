"""Failures: a status and words of our own for each error; the service's words are in the log."""

import logging
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI
from service import DAY, KEY, START, bucket, page
from web_server import served

from usage_async import errors
from usage_async._engine.answers import LateError
from usage_async.fastapi import ALL, install_error_handlers, usage_lifespan, usage_router

SECRET = "words of the service about proj_other"
ID = {"request_id": "req_123"}

CASES = {
    "key": (errors.AuthenticationError(SECRET, status=401, **ID), 502, "upstream_refused"),
    "right": (errors.PermissionDeniedError(SECRET, status=403, **ID), 502, "upstream_refused"),
    "throttled": (
        errors.RateLimitError(SECRET, status=429, retry_after=2.1, **ID),
        503,
        "upstream_throttled",
    ),
    "timeout": (errors.APITimeoutError(SECRET), 504, "upstream_timeout"),
    "late": (LateError(SECRET), 504, "late"),
    "unreachable": (errors.APIConnectionError(SECRET), 502, "upstream_unreachable"),
    "5xx": (errors.InternalServerError(SECRET, status=500, **ID), 502, "upstream_failed"),
    "404": (errors.NotFoundError(SECRET, status=404, **ID), 502, "upstream_failed"),
    "400": (errors.BadRequestError(SECRET, status=400, **ID), 502, "upstream_failed"),
    "not-a-page": (errors.ResponseError(SECRET, **ID), 502, "upstream_failed"),
    "cursors": (errors.PaginationError(SECRET, **ID), 502, "upstream_failed"),
    "history": (
        errors.RangeUnavailableError(
            SECRET, status=400, earliest=datetime(2026, 1, 1, tzinfo=UTC), **ID
        ),
        422,
        "range_unavailable",
    ),
    "incomplete": (errors.IncompleteError(SECRET), 502, "incomplete"),
    "currencies": (errors.MixedCurrencyError(SECRET), 409, "mixed_currency"),
    "configuration": (errors.ConfigurationError(SECRET), 500, "misconfigured"),
    "other": (errors.UsageError(SECRET), 500, "failed"),
}


def browser_of(error):
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/fail")
    async def fail() -> None:
        raise error

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize(("error", "status", "kind"), CASES.values(), ids=CASES)
async def test_each_error_has_its_status_and_words_of_our_own(error, status, kind, caplog):
    async with browser_of(error) as browser:
        reply = await browser.get("/fail")
    assert reply.status_code == status
    [detail] = reply.json()["detail"]
    assert detail["type"] == kind
    assert detail["msg"]
    everything = reply.text + str(reply.headers)
    assert not any(part in everything for part in ("words", "proj_other", "req_123"))
    assert reply.headers["cache-control"] == "no-store"
    [record] = caplog.records
    assert SECRET in record.getMessage()
    if hasattr(error, "request_id") and error.request_id:
        assert "req_123" in record.getMessage()


@pytest.mark.parametrize(("seconds", "header"), [(2.1, "3"), (0.0, "1"), (None, "1"), (60, "60")])
async def test_a_throttled_reply_says_when_to_ask_again(seconds, header):
    async with browser_of(errors.RateLimitError("x", status=429, retry_after=seconds)) as browser:
        assert (await browser.get("/fail")).headers["retry-after"] == header


async def test_what_is_still_being_made_blames_nobody_and_says_when_to_ask_again():
    async with browser_of(LateError(SECRET)) as browser:
        reply = await browser.get("/fail")
    assert int(reply.headers["retry-after"]) > 0
    assert "service" not in reply.text
    assert "ask again" in reply.text


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.QueryError("period takes words"), 422, "query_error"),
        (errors.ScopeError("outside of the scope"), 403, "out_of_scope"),
    ],
)
async def test_a_wrong_query_is_told_as_it_is_and_not_logged(error, status, kind, caplog):
    async with browser_of(error) as browser:
        reply = await browser.get("/fail")
    assert reply.status_code == status
    [detail] = reply.json()["detail"]
    assert (detail["type"], detail["msg"]) == (kind, error.message)
    assert not caplog.records


async def test_the_start_of_the_history_is_told():
    earliest = datetime(2026, 1, 1, tzinfo=UTC)
    error = errors.RangeUnavailableError("x", status=400, earliest=earliest)
    async with browser_of(error) as browser:
        assert "2026-01-01" in (await browser.get("/fail")).text


async def test_a_line_break_forges_no_line_of_the_log(caplog):
    caplog.set_level(logging.WARNING)
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/of/{name:path}")
    async def fail(name: str) -> None:
        raise errors.UsageError("a\r\nb")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        await browser.get("/of/a%0Db")
    text = caplog.records[0].getMessage()
    assert "\n" not in text
    assert "\r" not in text


async def in_two_currencies(path, params, headers):
    rows = [
        {"object": "organization.costs.result", "amount": {"value": 1, "currency": currency}}
        for currency in ("usd", "eur")
    ]
    return 200, {}, page([{**bucket(START), "results": rows}])


async def test_amounts_without_a_single_sum_are_no_wrong_question():
    app = FastAPI(lifespan=usage_lifespan(admin_key=KEY, transport=in_two_currencies))
    app.include_router(usage_router(scope=lambda: ALL))
    day = {"start_time": START, "end_time": START + DAY}
    async with served(app) as browser:
        for path in ("/usage/costs/totals", "/costs/summary"):
            reply = await browser.get(path, params=day)
            assert reply.status_code == 409
            assert "/usage/costs" in reply.json()["detail"][0]["msg"]
        asked = await browser.get("/usage/costs", params=day)
        told = (await browser.get("/openapi.json")).json()["paths"][path]["get"]["responses"]
    rows = asked.json()["buckets"][0]["results"]
    assert [row["amount"]["currency"] for row in rows] == ["usd", "eur"]
    assert "several currencies" in told["409"]["description"]
