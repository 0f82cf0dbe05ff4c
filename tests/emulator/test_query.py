from __future__ import annotations

from typing import Any

import pytest
from asking import (
    COMPLETIONS,
    COSTS,
    DAY,
    MIDNIGHT,
    NOW,
    Asker,
    emulator,
    rows_of,
)

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async.emulator import Quirks
from usage_async.emulator.service.query import parse


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


async def test_the_history_and_the_floor_can_be_moved(ask: Asker) -> None:
    quirks = Quirks(lookback_days=10, api_key_floor=MIDNIGHT - 5 * DAY)
    async with emulator(quirks=quirks) as server:
        lookback = await ask(server, COSTS, [("start_time", MIDNIGHT - 11 * DAY)])
        floor = await ask(
            server, COSTS, [("start_time", MIDNIGHT - 6 * DAY), ("group_by", "api_key_id")]
        )
    assert "2026-11-11" in lookback.json["error"]["message"]
    assert f">= {MIDNIGHT - 5 * DAY}." in floor.json["error"]["message"]
