from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypedDict

import attrs
import pytest
from asking import (
    COMPLETIONS,
    COSTS,
    DAY,
    MIDNIGHT,
    NOW,
    ORGANIZATION,
    Asker,
    emulator,
    rows_of,
)

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.results import UsageResult
from usage_async.emulator import Emulator


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
async def test_rows_have_the_fields_of_the_result_class(endpoint: Endpoint, ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 31 * DAY), ("limit", 31)]
    async with emulator() as server:
        pages = await ask.pages(server, endpoint.path, params)
    rows = rows_of(pages)
    assert rows
    result_class: Any = endpoint.result_class
    documented = set(attrs.fields_dict(result_class)) - {"extra"}
    optional = {"quantity_unit", "project_name", "user_email"}
    for row in rows:
        assert row["object"] == endpoint.object
        assert documented - optional <= set(row) <= documented
        assert [row[name] for name in endpoint.group_by] == [None] * len(endpoint.group_by)


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
async def test_rows_are_grouped_by_every_dimension_at_once(endpoint: Endpoint, ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 7 * DAY), *(("group_by", g) for g in endpoint.group_by)]
    async with emulator() as server:
        reply = await ask(server, endpoint.path, params)
    for bucket in reply.json["data"]:
        keys = [tuple(row[name] for name in endpoint.group_by) for row in bucket["results"]]
        assert len(keys) == len(set(keys))
    rows = rows_of([reply.json])
    assert all(any(row[name] is not None for row in rows) for name in endpoint.group_by)


async def test_the_parts_of_a_row_add_up(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 2 * DAY), ("bucket_width", "1m"), ("limit", 1440)]
    params += [("group_by", "model"), ("group_by", "batch")]
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, params)
    rows = rows_of([reply.json])
    assert len(rows) > 500
    kinds = ("text", "audio", "image")
    for row in rows:
        assert row["input_tokens"] == (
            row["input_uncached_tokens"]
            + row["input_cached_tokens"]
            + row["input_cache_write_tokens"]
        )
        assert row["input_uncached_tokens"] == sum(row[f"input_{k}_tokens"] for k in kinds)
        assert row["input_cached_tokens"] == sum(row[f"input_cached_{k}_tokens"] for k in kinds)
        assert row["input_cache_write_tokens"] == (
            row["input_cache_write_30m_tokens"] + row["input_cache_write_12h_tokens"]
        )
        assert row["output_tokens"] == sum(row[f"output_{k}_tokens"] for k in kinds)
        assert row["num_model_requests"] > 0


@pytest.mark.parametrize(
    ("endpoint", "width"),
    [
        pytest.param(endpoint, width, id=f"{endpoint.name} {width}")
        for endpoint in ENDPOINTS.values()
        for width in endpoint.bucket_widths
    ],
)
async def test_a_page_has_its_default_and_at_most_its_cap_of_buckets(
    endpoint: Endpoint, width: str, ask: Asker
) -> None:
    cap = endpoint.limits[width]
    params = [("start_time", MIDNIGHT - 190 * DAY), ("bucket_width", width)]
    async with emulator() as server:
        default = await ask(server, endpoint.path, params)
        full = await ask(server, endpoint.path, [*params, ("limit", cap)])
        over = await ask(server, endpoint.path, [*params, ("limit", cap + 1)])
    assert len(default.json["data"]) == {"1m": 60, "1h": 24, "1d": 7}[width]
    assert len(full.json["data"]) == min(cap, 31 if width == "1d" else cap)
    assert full.json["has_more"]
    assert over.status == 400
    assert over.json["error"]["param"] == "limit"


async def test_cursors_lead_through_every_bucket_once(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 100 * DAY), ("limit", 180)]
    async with emulator() as server:
        pages = await ask.pages(server, COSTS, params)
    assert [len(page["data"]) for page in pages] == [31, 31, 31, 8]
    starts = [bucket["start_time"] for page in pages for bucket in page["data"]]
    assert starts == list(range(MIDNIGHT - 100 * DAY, MIDNIGHT + 1, DAY))
    assert all(page["next_page"].startswith("page_") for page in pages[:-1])
    assert pages[-1]["next_page"] is None


async def test_the_end_of_an_open_range_is_frozen_in_its_cursor(ask: Asker) -> None:
    clock = [NOW]
    params = [("start_time", NOW - 600), ("bucket_width", "1m"), ("limit", 9)]
    async with Emulator(ORGANIZATION, now=lambda: clock[0]) as server:
        first = await ask(server, COMPLETIONS, params)
        clock[0] += 3600
        last = await ask(server, COMPLETIONS, [*params, ("page", first.json["next_page"])])
    assert last.json["data"][-1]["end_time"] == NOW - NOW % 60 + 60
    assert not last.json["has_more"]


async def test_a_start_is_floored_and_quiet_buckets_are_sent(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - DAY + 1234), ("end_time", MIDNIGHT)]
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [*params, ("bucket_width", "1h")])
    buckets = reply.json["data"]
    assert [bucket["start_time"] for bucket in buckets] == list(
        range(MIDNIGHT - DAY, MIDNIGHT, 3600)
    )
    assert [bucket["results"] for bucket in buckets[:5]] == [[]] * 5


async def test_the_running_bucket_is_sent_and_nothing_after_it(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - DAY), ("end_time", MIDNIGHT + 9 * DAY)]
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, params)
        future = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT + DAY)])
    starts = [bucket["start_time"] for bucket in reply.json["data"]]
    assert starts == [MIDNIGHT - DAY, MIDNIGHT]
    assert not reply.json["has_more"]
    assert (future.json["data"], future.json["has_more"]) == ([], False)


async def test_amounts_are_strings_with_all_their_digits(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 2 * DAY), ("group_by", "line_item")]
    async with emulator() as server:
        grouped = await ask(server, COSTS, params)
        plain = await ask(server, COSTS, params[:1])
    rows = grouped.json["data"][0]["results"]
    assert {row["amount"]["currency"] for row in rows} == {"usd"}
    amounts = {row["line_item"]: row["amount"]["value"] for row in rows}
    assert amounts["omni-moderation-latest, input"] == "0E-6176"
    assert "chat-latest , input" in amounts
    assert len(Decimal(amounts["gpt-5.2, input"]).as_tuple().digits) == 34
    row = plain.json["data"][0]["results"][0]
    assert Decimal(row["amount"]["value"]) == sum(map(Decimal, amounts.values()))
    assert (row["line_item"], row["quantity"], row["quantity_unit"]) == (None, None, None)


async def test_the_cached_input_of_a_model_that_caches_nothing_costs_nothing(ask: Asker) -> None:
    cached_input = "gpt-4o-mini-2024-07-18, cached input"
    params = [("start_time", MIDNIGHT - 4 * DAY), ("line_items", cached_input)]
    async with emulator() as server:
        reply = await ask(server, COSTS, [*params, ("group_by", "line_item")])
    for row in rows_of([reply.json]):
        assert (row["amount"]["value"], row["quantity"]) == ("0E-6176", 0)
    assert rows_of([reply.json])


async def test_costs_carry_names_as_null_in_one_row_and_not_at_all_in_the_next(
    ask: Asker,
) -> None:
    params = [("start_time", MIDNIGHT - 2 * DAY), ("group_by", "line_item")]
    async with emulator() as server:
        by_line = await ask(server, COSTS, params)
        by_project = await ask(server, COSTS, [*params, ("group_by", "project_id")])
        by_user = await ask(server, COSTS, [*params, ("group_by", "user_id")])
    first, second, *_ = by_line.json["data"][0]["results"]
    assert (first["project_name"], first["user_email"]) == (None, None)
    assert not {"project_name", "user_email"} & set(second)
    assert first["organization_name"] == second["organization_name"] == "Example Labs"
    assert by_project.json["data"][0]["results"][0]["project_name"] == "Web app"
    emails = {row.get("user_email") for row in rows_of([by_user.json])}
    assert {"ada@example.com", None} <= emails


async def test_a_filter_by_line_item_keeps_that_line_item(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 2 * DAY), ("group_by", "line_item")]
    async with emulator() as server:
        reply = await ask(server, COSTS, [*params, ("line_items", "gpt-5.2, input")])
    assert {row["line_item"] for row in rows_of([reply.json])} == {"gpt-5.2, input"}


async def test_iso_fields_lack_their_offset_on_busy_buckets(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - DAY), ("bucket_width", "1h")]
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, params)
    assert {bool(bucket["results"]) for bucket in reply.json["data"]} == {True, False}
    for bucket in reply.json["data"]:
        assert bucket["start_time_iso"].endswith("+00:00") == (not bucket["results"])


class MadeUpParams(TypedDict, total=False):
    start_time: int
    bucket_width: Literal["1m", "1h", "1d"]
    project_ids: list[str] | None
    regions: list[Literal["north", "south"]] | None
    group_by: list[Literal["project_id", "region", "flavor"]] | None


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    dimension = {"kind": "dimension", "unit": "", "doc": "Made up."}
    flow = {"kind": "flow", "unit": "leaps", "doc": "Made up."}

    @attrs.frozen(kw_only=True)
    class UsageLeapsResult(UsageResult):
        object: str = "organization.usage.leaps.result"
        leaps: int = attrs.field(metadata=flow)
        project_id: str | None = attrs.field(default=None, metadata=dimension)
        region: str | None = attrs.field(default=None, metadata=dimension)
        flavor: str | None = attrs.field(default=None, metadata=dimension)

    path = "/organization/usage/leaps"
    limits = {"1d": 31, "1h": 168}
    endpoint = Endpoint("leaps", path, UsageLeapsResult, MadeUpParams, limits, "leaps")
    monkeypatch.setitem(ENDPOINTS, "leaps", endpoint)
    return endpoint


async def test_a_made_up_endpoint_is_served(made_up: Endpoint, ask: Asker) -> None:
    start = ("start_time", MIDNIGHT - 7 * DAY)
    groups = [("group_by", name) for name in made_up.group_by]
    async with emulator() as server:
        plain = await ask(server, made_up.path, [start])
        grouped = await ask(server, made_up.path, [start, *groups])
        north = await ask(server, made_up.path, [start, ("regions", "north")])
        minutes = await ask(server, made_up.path, [start, ("bucket_width", "1m")])
        wrong = await ask(server, made_up.path, [start, ("group_by", "model")])
    assert [list(row) for row in plain.json["data"][2]["results"]] == [
        ["object", "leaps", "project_id", "region", "flavor"]
    ]
    rows = rows_of([grouped.json])
    assert {row["region"] for row in rows} == {"north", "south"}
    assert {row["flavor"] for row in rows} == {"flavor-a", "flavor-b"}
    total = sum(row["leaps"] for row in rows_of([plain.json]))
    assert sum(row["leaps"] for row in rows) == total > 0
    assert 0 < sum(row["leaps"] for row in rows_of([north.json])) < total
    assert (minutes.status, wrong.status) == (400, 400)
