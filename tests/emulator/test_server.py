from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypedDict

import attrs
import openai
import pytest
from asking import DAY, MIDNIGHT, NOW, Asker, rows_of, send
from openai.resources.admin.organization import AsyncUsage

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.results import UsageResult
from usage_async.emulator import Emulator, Organization, Quirks
from usage_async.emulator.service.query import parse

ORGANIZATION = Organization(0)
COMPLETIONS = "/organization/usage/completions"
COSTS = "/organization/costs"


def emulator(**options: Any) -> Emulator:
    return Emulator(ORGANIZATION, now=lambda: NOW, **options)


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


@pytest.mark.parametrize(
    ("other", "path"),
    [
        ([("start_time", MIDNIGHT - 9 * DAY)], COMPLETIONS),
        ([("start_time", MIDNIGHT - 8 * DAY), ("limit", 3)], COMPLETIONS),
        ([("start_time", MIDNIGHT - 8 * DAY), ("group_by", "model")], COMPLETIONS),
        ([("start_time", MIDNIGHT - 8 * DAY)], COSTS),
    ],
    ids=["start", "limit", "group", "endpoint"],
)
async def test_a_cursor_is_refused_under_another_query(
    other: list[tuple[str, Any]], path: str, ask: Asker
) -> None:
    async with emulator() as server:
        first = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT - 8 * DAY)])
        cursor = ("page", first.json["next_page"])
        same = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT - 8 * DAY), cursor])
        reply = await ask(server, path, [*other, cursor])
    assert same.status == 200
    assert (reply.status, reply.json["error"]["param"]) == (400, "page")


@pytest.mark.parametrize("cursor", ["page_", "page_AAAA", "nonsense", "page_ä", ""])
async def test_a_made_up_cursor_is_refused(cursor: str, ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT), ("page", cursor)])
    assert (reply.status, reply.json["error"]["param"]) == (400, "page")


async def test_the_end_of_an_open_range_is_frozen_in_its_cursor(ask: Asker) -> None:
    clock = [NOW]
    params = [("start_time", NOW - 600), ("bucket_width", "1m"), ("limit", 9)]
    async with Emulator(ORGANIZATION, now=lambda: clock[0]) as server:
        first = await ask(server, COMPLETIONS, params)
        clock[0] += 3600
        last = await ask(server, COMPLETIONS, [*params, ("page", first.json["next_page"])])
    assert last.json["data"][-1]["end_time"] == NOW - NOW % 60 + 60
    assert not last.json["has_more"]


BAD = {
    "no start": ([], "start_time"),
    "not a number": ([("start_time", "yesterday")], "start_time"),
    "two starts": ([("start_time", MIDNIGHT), ("start_time", MIDNIGHT)], "start_time"),
    "end before start": ([("start_time", MIDNIGHT), ("end_time", MIDNIGHT - DAY)], "end_time"),
    "unknown": ([("start_time", MIDNIGHT), ("color", "red")], "color"),
    "width": ([("start_time", MIDNIGHT), ("bucket_width", "1w")], "bucket_width"),
    "group": ([("start_time", MIDNIGHT), ("group_by", "size")], "group_by"),
    "groups in one": ([("start_time", MIDNIGHT), ("group_by", "model,batch")], "group_by"),
    "filter": ([("start_time", MIDNIGHT), ("sizes", "1024x1024")], "sizes"),
    "batch": ([("start_time", MIDNIGHT), ("batch", "yes")], "batch"),
    "limit zero": ([("start_time", MIDNIGHT), ("limit", 0)], "limit"),
    "limit below": ([("start_time", MIDNIGHT), ("limit", -7)], "limit"),
    "milliseconds": ([("start_time", MIDNIGHT * 1000)], "start_time"),
    "far away": ([("start_time", 99999999999999)], "start_time"),
    "year 10000": ([("start_time", 253402300800)], "start_time"),
    "end in year 10000": ([("start_time", MIDNIGHT), ("end_time", 253402300800)], "end_time"),
    "start below zero": ([("start_time", -1)], "start_time"),
    "end below zero": ([("start_time", MIDNIGHT), ("end_time", -MIDNIGHT)], "end_time"),
    "end at start": ([("start_time", MIDNIGHT), ("end_time", MIDNIGHT)], "end_time"),
    "epoch": ([("start_time", 0)], None),
    "5,000 digits": ([("start_time", "9" * 5000)], "start_time"),
    "5,000 digits below zero": ([("start_time", "-" + "9" * 5000)], "start_time"),
    "other digits": ([("start_time", "\u0661\u0667")], "start_time"),
    "fraction": ([("start_time", f"{MIDNIGHT}.5")], "start_time"),
}


@pytest.mark.parametrize(("params", "param"), BAD.values(), ids=BAD)
async def test_what_is_not_taken_is_refused(
    params: list[tuple[str, Any]], param: str | None, ask: Asker
) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, params)
    assert reply.status == 400
    assert reply.json["error"].get("param") == param
    assert reply.json["error"].get("type", "invalid_request_error") == "invalid_request_error"


async def test_the_last_second_that_can_be_asked_for_is_in_the_year_9999(ask: Asker) -> None:
    async with emulator() as server:
        start = await ask(server, COMPLETIONS, [("start_time", 253402300799)])
        params = [("start_time", MIDNIGHT), ("end_time", 253402300799)]
        end = await ask(server, COMPLETIONS, params)
    assert (start.status, start.json["data"]) == (200, [])
    assert [bucket["start_time"] for bucket in end.json["data"]] == [MIDNIGHT]


@pytest.mark.parametrize("offset", [-DAY, 1])
async def test_a_cursor_to_no_bucket_of_its_range_is_refused(offset: int, ask: Asker) -> None:
    params = [("start_time", str(MIDNIGHT - 9 * DAY))]
    query = parse(ENDPOINTS["completions"], params, NOW, Quirks())
    cursor = query.cursor(query.start + offset)
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [*params, ("page", cursor)])
    assert (reply.status, reply.json["error"]["param"]) == (400, "page")


@pytest.mark.parametrize("size", ["1x1", "1024x1024, 512x512", "ä"])
async def test_a_value_that_nobody_has_matches_nothing(size: str, ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - DAY), ("sizes", size)]
    async with emulator() as server:
        reply = await ask(server, "/organization/usage/images", params)
    assert reply.status == 200
    assert [bucket["results"] for bucket in reply.json["data"]] == [[], []]


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
async def test_every_value_that_is_sent_is_taken_as_a_filter(
    endpoint: Endpoint, ask: Asker
) -> None:
    start = ("start_time", MIDNIGHT - 2 * DAY)
    async with emulator() as server:
        for name, accepted in endpoint.filters.items():
            if accepted.type is bool or accepted.dimension not in endpoint.group_by:
                continue
            group = ("group_by", accepted.dimension)
            sent = rows_of([(await ask(server, endpoint.path, [start, group])).json])
            for value in {row[accepted.dimension] for row in sent} - {None}:
                reply = await ask(server, endpoint.path, [start, group, (name, value)])
                found = {row[accepted.dimension] for row in rows_of([reply.json])}
                assert found == {value}, (name, reply.body)


async def test_arrays_are_repeated_keys_with_or_without_brackets(ask: Asker) -> None:
    start = ("start_time", MIDNIGHT - 3 * DAY)
    async with emulator() as server:
        plain = await ask(
            server, COMPLETIONS, [start, ("group_by", "model"), ("group_by", "batch")]
        )
        brackets = await ask(
            server, COMPLETIONS, [start, ("group_by[]", "model"), ("group_by[]", "batch")]
        )
    assert plain.status == 200
    assert plain.json == brackets.json


async def test_batch_jobs_can_be_kept_or_left_out(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 3 * DAY), ("group_by", "batch")]
    async with emulator() as server:
        only, without = [
            await ask(server, COMPLETIONS, [*params, ("batch", value)])
            for value in ("true", "false")
        ]
    assert {row["batch"] for row in rows_of([only.json])} == {True}
    assert {row["batch"] for row in rows_of([without.json])} == {False}


async def test_the_history_ends_a_year_back(ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT - 366 * DAY)])
        first = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT - 365 * DAY)])
    assert first.status == 200
    assert reply.status == 400
    assert reply.json == {
        "error": {
            "code": "reporting_lookback_exceeded",
            "message": "Usage and cost data are available for the past year. "
            "Earliest supported start date: 2025-11-21 (UTC).",
        }
    }


async def test_costs_by_api_key_begin_at_a_floor(ask: Asker) -> None:
    floor = 1764979200
    group = ("group_by", "api_key_id")
    async with emulator() as server:
        before = await ask(server, COSTS, [("start_time", floor - DAY), group])
        after = await ask(server, COSTS, [("start_time", floor), group])
        without = await ask(server, COSTS, [("start_time", floor - DAY)])
    assert (after.status, without.status) == (200, 200)
    assert before.status == 400
    assert before.json == {
        "error": {
            "message": "Grouping costs by api_key_id is only available for "
            "start_time >= 1764979200.",
            "type": "invalid_request_error",
            "param": "start_time",
            "code": "invalid_request_error",
        }
    }


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        ("", 401, "You didn't provide an API key."),
        ("sk-admin-somethingwxyz", 401, "Incorrect API key provided: sk-admin-****wxyz."),
        ("nonsense", 401, "Incorrect API key provided: ****."),
        ("sk-proj-abc", 403, "Missing scopes: api.usage.read."),
        ("sk-abc", 403, "Missing scopes: api.usage.read."),
        ("sess-abc", 403, "You must be an organization owner"),
    ],
)
async def test_a_wrong_key_is_refused(key: str, status: int, text: str, ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT)], key=key)
        right = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT)])
    assert (reply.status, right.status) == (status, 200)
    assert text in reply.body.decode()
    assert isinstance(reply.json["error"], str) == ("scopes" in text)


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer sk-admin-\xff\xfe",
        b"Bearer \xc3\xa4",
        b"Bearer \xff",
        b"\xff sk-admin-x",
        b"Bearer",
    ],
)
async def test_a_key_that_is_no_ascii_is_a_wrong_key(authorization: bytes) -> None:
    async with emulator() as server:
        reply = await send(server, f"GET /v1{COMPLETIONS}", [b"Authorization: " + authorization])
    assert reply.status == 401
    assert "API key" in reply.json["error"]["message"]


async def test_an_unknown_path_is_404_and_only_get_is_taken(ask: Asker) -> None:
    async with emulator() as server:
        missing = await ask(server, "/organization/usage/nothing")
        posted = await ask(server, COMPLETIONS, method="POST")
        head = await ask(server, COMPLETIONS, method="HEAD")
    assert (missing.status, posted.status, head.status) == (404, 405, 405)
    assert missing.json["error"]["message"] == "Invalid URL (GET /v1/organization/usage/nothing)"


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
    for bucket in reply.json["data"]:
        assert bucket["start_time_iso"].endswith("+00:00") == (not bucket["results"])


async def test_requests_are_recorded_without_secrets(ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT), ("group_by", "model")])
        await ask(server, COMPLETIONS)
        first, second = server.requests
    assert (first.method, first.path, first.status) == ("GET", f"/v1{COMPLETIONS}", 200)
    assert first.query == (("start_time", str(MIDNIGHT)), ("group_by", "model"))
    assert first.request_id == reply.headers["x-request-id"]
    assert (second.status, second.query) == (400, ())
    assert "user-agent" in first.headers
    assert server.admin_key not in repr(server.requests)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.status = 500  # type: ignore[misc] # the wrong use is the test


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


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "9" * 5000, "1_0", "\u0663"])
async def test_a_limit_of_a_list_that_is_out_of_bounds_is_refused(limit: str, ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, "/organization/projects", [("limit", limit)])
    assert (reply.status, reply.json["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(hide_enabled_keys=True)])
async def test_keys_are_listed_by_the_access_of_their_owners(quirks: Quirks, ask: Asker) -> None:
    active = next(p for p in ORGANIZATION.projects if not p.archived)
    archived = next(p for p in ORGANIZATION.projects if p.archived)
    listed = {}
    async with emulator(quirks=quirks) as server:
        for project in (active, archived):
            path = f"/organization/projects/{project.id}/api_keys"
            for access in (None, "any", "active", "inactive"):
                params = [("owner_project_access", access)] if access else []
                reply = await ask(server, path, params)
                listed[project, access] = [key["name"] for key in reply.json["data"]]
        wrong = await ask(server, path, [("owner_project_access", "all")])
    live = ["production", "staging"]
    assert [listed[active, a] for a in ("any", "active", "inactive")] == [live, live, []]
    assert [listed[archived, a] for a in ("any", "active", "inactive")] == [["demo"], [], ["demo"]]
    assert listed[active, None] == ([] if quirks.hide_enabled_keys else live)
    assert listed[archived, None] == ["demo"]
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "owner_project_access")


async def test_names_are_listed(ask: Asker) -> None:
    async with emulator() as server:
        projects = await ask(server, "/organization/projects")
        everything = await ask(server, "/organization/projects", [("include_archived", "true")])
        users = await ask(server, "/organization/users", [("limit", 100)])
        project_id = projects.json["data"][0]["id"]
        keys = await ask(server, f"/organization/projects/{project_id}/api_keys")
        missing = await ask(server, "/organization/projects/proj_none/api_keys")
    assert len(everything.json["data"]) == len(projects.json["data"]) + 1
    assert everything.json["data"][-1]["status"] == "archived"
    assert {user["email"] for user in users.json["data"]} >= {"ada@example.com"}
    assert [key["name"] for key in keys.json["data"]] == ["production", "staging"]
    assert missing.status == 404
    deleted = [key for key in ORGANIZATION.keys if key.deleted]
    assert deleted[0].project.id == project_id


async def test_lists_are_paged(ask: Asker) -> None:
    async with emulator() as server:
        first = await ask(server, "/organization/users", [("limit", 5)])
        after = ("after", first.json["last_id"])
        last = await ask(server, "/organization/users", [("limit", 5), after])
        refused = [
            await ask(server, "/organization/users", [params])
            for params in (("limit", 101), ("after", "user-none"), ("color", "red"))
        ]
    names = [user["name"] for page in (first, last) for user in page.json["data"]]
    assert names == [user.name for user in ORGANIZATION.users]
    assert (first.json["has_more"], last.json["has_more"]) == (True, False)
    assert [reply.status for reply in refused] == [400, 400, 400]


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if hasattr(AsyncUsage, name)])
async def test_the_official_client_reads_every_endpoint(name: str, ask: Asker) -> None:
    endpoint = ENDPOINTS[name]
    start = MIDNIGHT - 40 * DAY
    async with emulator() as server:
        pages = await ask.pages(
            server, endpoint.path, [("start_time", start), ("group_by", "project_id")]
        )
        async with openai.AsyncOpenAI(
            api_key="unused", admin_api_key=server.admin_key, base_url=server.url, max_retries=0
        ) as client:
            read = getattr(client.admin.organization.usage, name)
            cursor: dict[str, str] = {}
            buckets = []
            while True:
                page = await read(start_time=start, group_by=["project_id"], **cursor)
                buckets += page.data
                if not page.has_more:
                    break
                cursor = {"page": page.next_page}
    expected = [bucket["start_time"] for page in pages for bucket in page["data"]]
    assert [bucket.start_time for bucket in buckets] == expected
    assert len(expected) == len(set(expected))
    results = [result for bucket in buckets for result in bucket.results]
    assert [r.project_id for r in results] == [row["project_id"] for row in rows_of(pages)]
    assert [r.object for r in results] == [row["object"] for row in rows_of(pages)]


async def test_two_emulators_of_one_seed_give_the_same_answers(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 3 * DAY), ("group_by", "model")]
    bodies = []
    for organization in (Organization(5), Organization(5), Organization(6)):
        async with Emulator(organization, now=lambda: NOW) as server:
            bodies.append((await ask(server, COMPLETIONS, params)).body)
    assert bodies[0] == bodies[1] != bodies[2]


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open() -> None:
    async with emulator() as server:
        with pytest.raises(OSError, match="address already in use"):
            await emulator(port=server.port).start()


async def test_the_history_and_the_floor_can_be_moved(ask: Asker) -> None:
    quirks = Quirks(lookback_days=10, api_key_floor=MIDNIGHT - 5 * DAY)
    async with emulator(quirks=quirks) as server:
        lookback = await ask(server, COSTS, [("start_time", MIDNIGHT - 11 * DAY)])
        floor = await ask(
            server, COSTS, [("start_time", MIDNIGHT - 6 * DAY), ("group_by", "api_key_id")]
        )
    assert "2026-11-11" in lookback.json["error"]["message"]
    assert f">= {MIDNIGHT - 5 * DAY}." in floor.json["error"]["message"]
