from __future__ import annotations

import decimal
import runpy
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from asking import COMPLETIONS, COSTS, DAY, MIDNIGHT, NOW, ORGANIZATION, Asker, emulator, rows_of
from hypothesis import given
from hypothesis import strategies as st
from values import HOSTILE

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async.emulator import Emulator, Quirks
from usage_async.emulator.organization import catalog
from usage_async.emulator.service.page import make_page
from usage_async.emulator.service.query import parse

SESSIONS = "/organization/usage/code_interpreter_sessions"
WEEK = [("start_time", MIDNIGHT - 7 * DAY), ("end_time", MIDNIGHT)]


def odd_emulator(**quirks: Any) -> Emulator:
    return emulator(quirks=Quirks(**quirks))


async def plain_and_odd(
    ask: Asker, path: str, params: list[tuple[str, Any]], **quirks: Any
) -> tuple[Any, Any]:
    async with emulator() as plain, odd_emulator(**quirks) as odd:
        return (await ask(plain, path, params)).json, (await ask(odd, path, params)).json


async def test_rows_can_be_called_result(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, result_key="result")
    assert [b["result"] for b in odd["data"]] == [b["results"] for b in plain["data"]]
    assert not any("results" in bucket for bucket in odd["data"])


async def test_amounts_can_be_numbers(ask: Asker) -> None:
    params = [*WEEK, ("group_by", "line_item")]
    plain, odd = await plain_and_odd(ask, COSTS, params, number_amounts=True)
    strings = [row["amount"]["value"] for row in rows_of([plain])]
    numbers = [row["amount"]["value"] for row in rows_of([odd])]
    assert all(isinstance(value, str) for value in strings)
    assert all(isinstance(value, Decimal) for value in numbers)
    assert numbers == [Decimal(value) for value in strings]


@pytest.mark.parametrize("quirks", [Quirks(), Quirks(number_amounts=True, repeated_rows=True)])
def test_no_decimal_context_of_a_caller_changes_an_answer(quirks: Quirks) -> None:
    costs = ENDPOINTS["costs"]
    pairs = [("group_by", name) for name in costs.group_by]
    start = ("start_time", str(MIDNIGHT - 2 * DAY))
    query = parse(costs, [start, *pairs], NOW, quirks)
    expected = make_page(ORGANIZATION, query, NOW, quirks)
    with decimal.localcontext(HOSTILE):
        answer = make_page(ORGANIZATION, query, NOW, quirks)
    assert repr(answer) == repr(expected)


def test_the_catalog_is_the_same_in_every_decimal_context() -> None:
    with decimal.localcontext(HOSTILE):
        profiles = runpy.run_path(catalog.__file__)["PROFILES"]
    for name, profile in catalog.PROFILES.items():
        prices = [(price.dollars, price.units) for price in profiles[name].prices]
        assert prices == [(price.dollars, price.units) for price in profile.prices]


async def test_iso_fields_can_be_left_out(ask: Asker) -> None:
    _, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, iso_fields=False)
    assert not any("start_time_iso" in b or "end_time_iso" in b for b in odd["data"])


async def test_unknown_fields_come_on_every_level(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, unknown_fields=True)
    assert odd.pop("generated_by") == {"version": 7}
    for bucket in odd["data"]:
        assert bucket.pop("granularity") == "exact"
    for row in rows_of([odd]):
        assert row.pop("compute_units") == Decimal("1.5")
        assert row.pop("labels") == {"team": None, "steps": [1, 2]}
    assert odd == plain


@pytest.mark.parametrize("path", [COMPLETIONS, COSTS])
async def test_rows_of_other_kinds_come_beside_the_own(path: str, ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, path, WEEK, other_kinds=True)
    for before, after in zip(plain["data"], odd["data"], strict=True):
        own = len(before["results"])
        assert after["results"][:own] == before["results"]
        kinds = [row["object"] for row in after["results"][own:]]
        assert len(kinds) == (2 if own else 0)
        assert "organization.usage.teleports.result" in kinds or not own
        assert all(kind != before["results"][0]["object"] for kind in kinds)


@pytest.mark.parametrize(
    ("path", "group"),
    [
        (COMPLETIONS, "batch"),
        (COSTS, "project_id"),
        (COSTS, "line_item"),
        ("/organization/usage/vector_stores", "project_id"),
    ],
)
async def test_repeated_rows_add_up_to_the_row(path: str, group: str, ask: Asker) -> None:
    params = [*WEEK, ("group_by", group)]
    plain, odd = await plain_and_odd(ask, path, params, repeated_rows=True)
    for before, after in zip(plain["data"], odd["data"], strict=True):
        assert len(after["results"]) == 2 * len(before["results"])
        for number, row in enumerate(before["results"]):
            halves = after["results"][2 * number : 2 * number + 2]
            for name, value in row.items():
                if isinstance(value, bool):
                    assert value is halves[0][name] is halves[1][name]
                elif isinstance(value, int | Decimal):
                    assert value == sum(half[name] for half in halves)
                elif name == "amount":
                    amounts = [Decimal(half["amount"]["value"]) for half in halves]
                    assert Decimal(value["value"]) == sum(amounts)


async def test_batch_can_be_a_string(ask: Asker) -> None:
    params = [*WEEK, ("group_by", "batch")]
    plain, odd = await plain_and_odd(ask, COMPLETIONS, params, string_batch=True)
    assert {row["batch"] for row in rows_of([plain])} == {True, False}
    assert {row["batch"] for row in rows_of([odd])} == {"true", "false"}
    _, ungrouped = await plain_and_odd(ask, COMPLETIONS, WEEK, string_batch=True)
    assert {row["batch"] for row in rows_of([ungrouped])} == {None}


async def test_sessions_can_have_their_old_name(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, SESSIONS, WEEK, legacy_sessions=True)
    new = [row["num_sessions"] for row in rows_of([plain])]
    assert [row["sessions"] for row in rows_of([odd])] == new
    assert not any("num_sessions" in row for row in rows_of([odd]))


@pytest.mark.parametrize(
    "quirks",
    [
        {"short_pages": True},
        {"extra_empty_page": True},
        {"hollow_pages": True},
        {"short_pages": True, "extra_empty_page": True, "hollow_pages": True},
    ],
    ids=" ".join,
)
async def test_odd_pages_still_have_every_bucket_once(quirks: dict[str, bool], ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 30 * DAY), ("end_time", MIDNIGHT), ("limit", 7)]
    async with emulator() as plain, odd_emulator(**quirks) as odd:
        usual = await ask.pages(plain, COMPLETIONS, params)
        unusual = await ask.pages(odd, COMPLETIONS, params)
    assert [b for page in unusual for b in page["data"]] == [b for p in usual for b in p["data"]]
    sizes = [len(page["data"]) for page in unusual]
    assert len(sizes) > len(usual)
    if "hollow_pages" in quirks:
        assert sizes[1::2][:3] == [0, 0, 0]
    if "extra_empty_page" in quirks:
        assert sizes[-1] == 0


@given(
    quirks=st.builds(
        Quirks,
        short_pages=st.booleans(),
        extra_empty_page=st.booleans(),
        hollow_pages=st.integers(0, 3),
        costs_page_buckets=st.integers(1, 9),
        unknown_fields=st.booleans(),
    ),
    endpoint=st.sampled_from([ENDPOINTS["completions"], ENDPOINTS["costs"]]),
    start=st.integers(MIDNIGHT - 9 * DAY, NOW),
    end=st.none() | st.integers(1, 12 * DAY),
    limit=st.integers(1, 31),
)
def test_pages_of_every_shape_have_every_bucket_that_has_begun_once(
    quirks: Quirks, endpoint: Endpoint, start: int, end: int | None, limit: int
) -> None:
    params = [("start_time", str(start)), ("limit", str(limit))]
    params += [] if end is None else [("end_time", str(start + end))]
    starts, sizes = follow(endpoint, params, quirks)
    last = NOW if end is None else min(start + end, NOW)
    assert starts == [*range(start - start % DAY, last, DAY)]
    # Between two pages with buckets lie as many empty ones as the quirk says.
    full = [number for number, size in enumerate(sizes) if size]
    gaps = {after - before - 1 for before, after in pairwise(full)}
    assert gaps <= {quirks.hollow_pages}
    assert len(sizes) - 1 - full[-1] == quirks.extra_empty_page if full else sizes == [0]


def follow(
    endpoint: Endpoint, params: list[tuple[str, str]], quirks: Quirks
) -> tuple[list[int], list[int]]:
    """Follow the cursors; gives the starts of the buckets, and the size of each page."""
    starts: list[int] = []
    sizes: list[int] = []
    cursor: list[tuple[str, str]] = []
    while True:
        page = make_page(
            ORGANIZATION, parse(endpoint, [*params, *cursor], NOW, quirks), NOW, quirks
        )
        starts += [bucket["start_time"] for bucket in page["data"]]
        sizes.append(len(page["data"]))
        if not page["has_more"]:
            return starts, sizes
        assert [("page", page["next_page"])] != cursor
        cursor = [("page", page["next_page"])]


@pytest.mark.parametrize("count", [-1, 65536])
def test_hollow_pages_are_as_many_as_a_cursor_can_count(count: int) -> None:
    with pytest.raises(ValueError, match="hollow_pages"):
        Quirks(hollow_pages=count)


async def test_every_nth_bucket_can_be_missing(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, missing_buckets=3)
    kept = [b for b in plain["data"] if b["start_time"] // DAY % 3]
    assert odd["data"] == kept
    assert len(kept) < 7


async def test_given_buckets_can_be_missing(ask: Asker) -> None:
    starts = (MIDNIGHT - 6 * DAY, MIDNIGHT - DAY)
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, missing_starts=starts)
    assert odd["data"] == [b for b in plain["data"] if b["start_time"] not in starts]
    assert len(odd["data"]) == 5


async def test_given_buckets_can_be_empty(ask: Asker) -> None:
    starts = (MIDNIGHT - 6 * DAY, MIDNIGHT - DAY)
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, empty_starts=starts)
    for before, after in zip(plain["data"], odd["data"], strict=True):
        is_empty = before["start_time"] in starts
        assert after == {**before, "results": [] if is_empty else before["results"]}
    assert sum(not bucket["results"] for bucket in odd["data"]) > sum(
        not bucket["results"] for bucket in plain["data"]
    )


@pytest.mark.parametrize(
    ("where", "ungrouped", "grouped"), [("all", 6, 6), ("grouped", 7, 6), ("ungrouped", 6, 7)]
)
async def test_a_bucket_can_be_missing_in_some_answers_only(
    where: str, ungrouped: int, grouped: int, ask: Asker
) -> None:
    quirks = {"missing_starts": (MIDNIGHT - DAY,), "missing_in": where}
    async with odd_emulator(**quirks) as server:
        plain = await ask(server, COMPLETIONS, WEEK)
        by_model = await ask(server, COMPLETIONS, [*WEEK, ("group_by", "model")])
    assert (len(plain.json["data"]), len(by_model.json["data"])) == (ungrouped, grouped)


async def test_groups_can_lack_a_row(ask: Asker) -> None:
    params = [*WEEK, ("group_by", "model")]
    plain, odd = await plain_and_odd(ask, COMPLETIONS, params, lossy_groups=2)
    for before, after in zip(plain["data"], odd["data"], strict=True):
        kept = before["results"][:-1] if before["start_time"] // DAY % 2 == 0 else before["results"]
        assert after == {**before, "results": kept}
    assert odd != plain
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, lossy_groups=1)
    assert odd == plain


@pytest.mark.parametrize("path", [COMPLETIONS, COSTS])
async def test_a_bucket_can_be_cut_where_the_range_ends(path: str, ask: Asker) -> None:
    begin, end = MIDNIGHT - 3 * DAY, MIDNIGHT - DAY
    noon = [("start_time", begin), ("end_time", end - DAY // 2 + 59)]
    whole, cut = await plain_and_odd(ask, path, noon, cut_buckets=True)
    assert whole["data"][0] == cut["data"][0]
    figure = "amount" if path == COSTS else "input_tokens"
    last = [page["data"][1]["results"][0][figure] for page in (whole, cut)]
    amounts = [Decimal(value["value"]) if path == COSTS else value for value in last]
    assert 0 < amounts[1] < amounts[0]
    if path == COMPLETIONS:
        hours = [("start_time", end - DAY), ("end_time", end - DAY // 2), ("bucket_width", "1h")]
        by_hour, _ = await plain_and_odd(ask, path, hours)
        assert amounts[1] == sum(row[figure] for row in rows_of([by_hour]))
    second = [("start_time", begin), ("end_time", begin + 1)]
    assert rows_of([(await plain_and_odd(ask, path, second, cut_buckets=True))[1]]) == []


async def test_quirks_can_be_replaced_while_the_emulator_runs(ask: Asker) -> None:
    async with emulator() as server:
        before = await ask(server, COMPLETIONS, WEEK)
        server.quirks = Quirks(settling_days=9)
        after = await ask(server, COMPLETIONS, WEEK)
    assert before.json != after.json


async def test_a_bucket_can_be_repeated(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, repeated_buckets=True)
    assert odd["data"] == [plain["data"][0], *plain["data"]]


async def test_a_bucket_can_contradict_itself(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, contradicting_buckets=True)
    first, second = odd["data"][:2]
    assert first["start_time"] == second["start_time"]
    assert first["results"] != second["results"]
    assert [first, *odd["data"][2:]] == plain["data"]


async def test_a_page_can_begin_before_the_range(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, foreign_buckets=True)
    assert odd["data"][0]["start_time"] == MIDNIGHT - 8 * DAY
    assert odd["data"][1:] == plain["data"]


async def test_an_empty_page_stays_empty_under_quirks_of_buckets(ask: Asker) -> None:
    quirks = {"repeated_buckets": True, "contradicting_buckets": True, "foreign_buckets": True}
    _, odd = await plain_and_odd(ask, COMPLETIONS, [("start_time", MIDNIGHT + DAY)], **quirks)
    assert odd["data"] == []


async def test_a_cursor_can_be_missing(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 30 * DAY)]
    _, odd = await plain_and_odd(ask, COMPLETIONS, params, cursors="missing")
    assert (odd["has_more"], odd["next_page"]) == (True, None)


@pytest.mark.parametrize(("cursors", "distinct"), [("repeated", 1), ("looping", 3)])
async def test_cursors_can_lead_nowhere(cursors: str, distinct: int, ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 30 * DAY)]
    async with odd_emulator(cursors=cursors) as server:
        pages = await ask.pages(server, COMPLETIONS, params, most=9)
    assert len(pages) == 9
    assert len({page["next_page"] for page in pages}) == distinct


async def test_costs_can_refuse_users_by_project(ask: Asker) -> None:
    groups = [("group_by", "user_id"), ("group_by", "project_id")]
    async with odd_emulator(refuse_user_by_project=True) as server:
        both = await ask(server, COSTS, [*WEEK, *groups])
        one = await ask(server, COSTS, [*WEEK, groups[0]])
    assert (both.status, both.json["error"]["param"], one.status) == (400, "group_by", 200)


async def test_an_archived_project_can_refuse_its_keys(ask: Asker) -> None:
    archived = next(project for project in ORGANIZATION.projects if project.archived)
    path = f"/organization/projects/{archived.id}/api_keys"
    async with emulator() as plain, odd_emulator(refuse_archived_projects=True) as odd:
        listed, refused = await ask(plain, path), await ask(odd, path)
    assert [key["name"] for key in listed.json["data"]] == ["demo"]
    assert refused.status == 400


async def test_a_page_of_costs_can_be_larger(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 200 * DAY), ("limit", 180)]
    _, odd = await plain_and_odd(ask, COSTS, params, costs_page_buckets=180)
    assert len(odd["data"]) == 180


async def test_young_days_can_still_grow(ask: Asker) -> None:
    plain, odd = await plain_and_odd(ask, COMPLETIONS, WEEK, settling_days=3)
    requests = [
        [sum(row["num_model_requests"] for row in bucket["results"]) for bucket in page["data"]]
        for page in (plain, odd)
    ]
    assert requests[0][:5] == requests[1][:5]
    assert all(young < old for young, old in zip(requests[1][5:], requests[0][5:], strict=True))
