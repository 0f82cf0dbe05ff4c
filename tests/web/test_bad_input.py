"""Bad input: each route answers 422, names the parameter, and asks the service for nothing."""

import json
from datetime import UTC, datetime
from typing import get_origin

import pytest
from fastapi import FastAPI
from service import NOW, START, page
from values import NAMES
from web_server import direct

from usage_async import ENDPOINTS, RetryPolicy, Runtime
from usage_async.fastapi import ALL, Scope, usage_lifespan, usage_router
from usage_async.fastapi.parameters import (
    BudgetParameters,
    ExplainParameters,
    ReconcileParameters,
    ReportParameters,
    buckets_parameters_of,
    parameters_of,
)

ROUTES = {
    **{f"/usage/{name}": buckets_parameters_of(ENDPOINTS[name]) for name in NAMES},
    **{f"/usage/{name}/totals": parameters_of(ENDPOINTS[name]) for name in NAMES},
    "/costs/summary": parameters_of(ENDPOINTS["costs"]),
    "/report.json": ReportParameters,
    "/explain": ExplainParameters,
    "/reconcile": ReconcileParameters,
    "/budget": BudgetParameters,
}
LATER = datetime.fromtimestamp(NOW + 86400, UTC).date().isoformat()
WORDS = {
    "start_time": [
        "",
        "soon",
        "-5",
        "9" * 30,
        "1e400",
        "2026-13-01",
        "1969-12-31",
        LATER,
        str(NOW),
    ],
    "end_time": ["", "soon", "2026-10-01T00:00:00", "-1", "30000d"],
    "period": ["", "someday", "2026-13", "0d", "2099", "1969", "1969-12-31", LATER, "9" * 30 + "d"],
    "bucket_width": ["", "1w", "1D", "60"],
    "group_by": ["", "colour", "PROJECT_ID", "project_id,model"],
    "clamp": ["", "maybe", "2"],
    "batch": ["", "maybe", "2"],
    "exact": ["", "maybe", "2"],
    "by": ["", "colour", "MODEL"],
    "compare": ["", "maybe"],
    "against": ["", "someday", "2099"],
    "monthly": ["", "much", "-1", "NaN", "1e99"],
    "currency": ["", "dollars"],
}
"""Values that a parameter does not take."""
UNKNOWN = ["limit", "page", "unchecked", "PERIOD", "project_ids[]", "project_ids[0]", "project_id"]


def cases(parameters):
    """Pairs of what is sent, and the name of the parameter at fault."""
    fields = parameters.model_fields
    is_report = "start_time" not in fields
    needed = [("monthly", "1")] if "monthly" in fields else []
    good = needed if is_report else [("period", "7d")]
    for name, field in fields.items():
        takes_several = get_origin(field.annotation) is list
        before = {"start_time": [], "end_time": [("start_time", "7d")], "period": needed}.get(
            name, good
        )
        for value in WORDS.get(name, [""]):
            yield [*before, (name, value)], name
            if takes_several:
                yield [*before, (name, "a"), (name, value)], name
        if not takes_several:
            twice = {"period": "7d", "start_time": "7d", "end_time": "1d", "bucket_width": "1d"}
            value = twice.get(name, "project_id" if name == "by" else "true")
            yield [*before, (name, value), (name, value)], name
    for name in UNKNOWN:
        yield [*good, (name, "1")], name
    if not is_report:
        yield [], "start_time"
        yield [("end_time", "1d")], "start_time"
        yield [("start_time", "1d"), ("end_time", "2d")], "start_time"
        yield [("start_time", "2026-09-02"), ("end_time", "2026-09-01")], "start_time"
        yield [("start_time", "7d"), ("period", "7d")], "period"
        yield [("period", "7d"), ("end_time", "1d")], "period"


def app_of(transport, *, scope=ALL):
    app = FastAPI(
        lifespan=usage_lifespan(
            transport=transport, runtime=Runtime(now=lambda: NOW), retry=RetryPolicy(attempts=1)
        )
    )
    app.include_router(usage_router(scope=lambda: scope))
    return app


async def no_service(path, params, headers):
    pytest.fail("a bad question was asked")


def test_every_parameter_has_bad_values_here():
    for parameters in ROUTES.values():
        for name, field in parameters.model_fields.items():
            assert name in WORDS or get_origin(field.annotation) is list


@pytest.mark.parametrize("scope", [ALL, Scope(["proj_own"], people=True)], ids=["all", "scope"])
async def test_every_bad_value_is_a_422_that_names_its_parameter(scope):
    tried = 0
    async with direct(app_of(no_service, scope=scope)) as browser:
        for path, parameters in ROUTES.items():
            for sent, name in cases(parameters):
                reply = await browser.get(path, params=sent)
                assert reply.status_code == 422, (path, sent, reply.text)
                first = reply.json()["detail"][0]
                assert first["loc"][:2] == ["query", name], (path, sent, first)
                assert first["type"]
                assert first["msg"]
                tried += 1
    assert tried > 1000


@pytest.mark.parametrize(
    ("path", "sent", "name"),
    [
        ("/usage/completions", {"start_time": START}, "start_time"),
        ("/usage/completions/totals", {"period": "2025-12"}, "period"),
        ("/report.json", {}, "period"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_a_range_before_the_history_names_what_begins_it(path, sent, name, accept):
    message = "Earliest supported start date: 2026-09-26"
    error = {"message": message, "code": "reporting_lookback_exceeded"}

    async def late(path, params, headers):
        return 400, {}, json.dumps({"error": error}).encode()

    async with direct(app_of(late)) as browser:
        reply = await browser.get(path, params=sent, headers={"accept": accept})
    assert reply.status_code == 422
    [detail] = reply.json()["detail"]
    assert (detail["type"], detail["loc"]) == ("range_unavailable", ["query", name])


async def test_several_values_of_a_list_are_taken():
    async def empty(path, params, headers):
        return 200, {}, page()

    sent = [("period", "7d"), ("group_by", "model"), ("group_by", "batch"), ("models", "a")]
    async with direct(app_of(empty)) as browser:
        reply = await browser.get("/usage/completions", params=[*sent, ("models", "b")])
    assert reply.status_code == 200
