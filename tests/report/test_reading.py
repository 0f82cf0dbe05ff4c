import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import permutations

import attrs
import pytest

from usage_async import (
    ENDPOINTS,
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    Names,
    RangeUnavailableError,
    RetryPolicy,
    Runtime,
    TimeRange,
    UsageClient,
)
from usage_async.emulator import Emulator, Quirks
from usage_async.emulator.demonstration import client_of
from usage_async.report import amounts
from usage_async.report.compute import compute_report
from usage_async.report.reading import buckets_of, naming_rows, query_count, read_sections
from usage_async.report.spec import GROUPINGS, ReportSpec, report_spec
from usage_async.report.values import Report, Sections

from .conftest import DAY, cost, section

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z
END = NOW - NOW % DAY
SPEC = ReportSpec(
    "project_id", TimeRange(END - 2 * DAY, END), NOW, TimeRange(END - 4 * DAY, END - 2 * DAY)
)

_LOOKBACK = (
    b'{"error": {"code": "reporting_lookback_exceeded", "message": "Earliest supported start'
    b' date: 2025-11-22 (UTC)."}}'
)


def _page(params) -> bytes:
    start, end = (int(dict(params)[name]) for name in ("start_time", "end_time"))
    buckets = ",".join(
        f'{{"object":"bucket","start_time":{at},"end_time":{at + DAY},"results":[]}}'
        for at in range(start, end, DAY)
    )
    return f'{{"object":"page","data":[{buckets}],"has_more":false,"next_page":null}}'.encode()


def _client(refuse) -> UsageClient:
    """A client whose service answers what `refuse(path, params)` says, else empty days."""

    async def transport(path, params, _headers):
        await asyncio.sleep(0)
        return refuse(path, params) or (200, {}, _page(params))

    return UsageClient(
        "sk-admin-x",
        transport=transport,
        retry=RetryPolicy(attempts=1),
        runtime=Runtime(now=lambda: NOW),
    )


async def test_everything_is_read_at_the_same_time_and_counted():
    ticks = []
    async with _client(lambda *_: None) as client:
        found = await read_sections(client, SPEC, lambda: ticks.append(1))
    assert len(ticks) == query_count(SPEC) == 3 + len(ENDPOINTS)
    assert len(found.costs.buckets) == 2
    assert found.costs_before is not None
    assert all(len(reading.buckets) == 2 for reading in found.usage.values())


async def test_a_plain_report_takes_a_query_an_endpoint_and_one_for_its_groups():
    assert query_count(ReportSpec("user_id", SPEC.period, NOW)) == 1 + len(ENDPOINTS)


@asynccontextmanager
async def _emulated(**quirks) -> AsyncIterator[UsageClient]:
    async with (
        Emulator(now=lambda: NOW, quirks=Quirks(**quirks)) as server,
        client_of(server) as client,
    ):
        yield client


async def _report(client: UsageClient, by: str) -> Report:
    spec = report_spec(NOW, by=by, period="last-month")
    return compute_report(spec, await read_sections(client, spec))


@pytest.mark.parametrize("by", [*permutations(GROUPINGS, 2)])
async def test_costs_are_read_by_both_dimensions_and_usage_by_those_that_it_takes(by):
    grouped = {}

    def note(path, params):
        grouped.setdefault(path.rpartition("/")[2], set()).add(
            tuple(value for name, value in params if name == "group_by")
        )

    spec = attrs.evolve(SPEC, by=by[0], then_by=by[1])
    async with _client(note) as client:
        await read_sections(client, spec)
    assert grouped.pop("costs") == {(), spec.costs_dimensions}
    for name, (dimensions,) in grouped.items():
        known = ENDPOINTS[name].group_by
        asked = {*spec.usage_dimensions} & {*known}
        # The names of API keys are listed by project.
        located = {"project_id"} if "api_key_id" in spec.usage_dimensions and asked else set()
        assert {*dimensions} == asked | located & {*known}


async def test_pairs_that_the_service_refuses_are_a_section_that_says_why():
    async with _emulated(refuse_user_by_project=True) as client:
        made = await _report(client, "user,project")
        total = await client.costs(period="last-month", group_by=["user_id"]).total()
    ((section, blank),) = made.blanks
    assert section == "spend by user and project"
    assert blank.verdict == "refused"
    assert "project_id" in blank.reason
    assert not made.is_whole
    assert made.spends[0].groups == ()
    assert made.spends[0].total == total.amount_value


async def test_pairs_add_up_to_the_total_of_a_query():
    async with _emulated() as client:
        made = await _report(client, "project,model")
        total = await client.costs(period="last-month").total()
    (spend,) = made.spends
    parts = [part for group in spend.groups for part in group.parts]
    assert len(parts) > len(spend.groups) > 1
    assert amounts.total(part.amount for part in parts) == spend.total == total.amount_value


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_what_is_refused_stays_blank_and_the_rest_comes(status):
    def refuse(path, params):
        if path.endswith(("images", "costs")) and ("group_by", "project_id") in params:
            return status, {}, b'{"error": {"message": "not by project"}}'
        return None

    async with _client(refuse) as client:
        found = await read_sections(client, SPEC)
    assert str(found.costs_by.blank).startswith("refused: ")
    assert "not by project" in str(found.costs_by.blank)
    assert found.costs.blank is None
    assert found.usage["images"].blank
    assert found.usage["completions"].blank is None


async def test_where_everything_is_refused_there_is_no_report():
    async with _client(lambda *_: (400, {}, b'{"error": {"message": "no"}}')) as client:
        with pytest.raises(BadRequestError, match="no"):
            await read_sections(client, SPEC)


async def test_a_range_before_the_history_is_an_error_although_usage_may_be_there():
    def refuse(path, _params):
        return (400, {}, _LOOKBACK) if path.endswith("costs") else None

    async with _client(refuse) as client:
        with pytest.raises(RangeUnavailableError):
            await read_sections(client, SPEC)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param(lambda: (500, {}, b""), id="500"),
        pytest.param(lambda: (429, {}, b""), id="429"),
        pytest.param(lambda: (200, {}, b"<html>"), id="no page"),
        pytest.param(lambda: _raise(APITimeoutError("no answer in time")), id="timeout"),
        pytest.param(lambda: _raise(APIConnectionError("no connection")), id="connection"),
    ],
)
async def test_what_fails_stays_blank_and_the_rest_comes(fail):
    async with _client(lambda path, _: fail() if path.endswith("images") else None) as client:
        found = await read_sections(client, SPEC)
    assert str(found.usage["images"].blank).startswith("failed: ")
    assert {name for name, reading in found.usage.items() if reading.blank} == {"images"}
    assert len(found.costs.buckets) == 2


async def test_where_everything_fails_there_is_no_report():
    async with _client(lambda *_: (500, {}, b"")) as client:
        with pytest.raises(InternalServerError):
            await read_sections(client, SPEC)


async def test_a_key_that_is_refused_ends_the_rest():
    def refuse(path, _params):
        return (401, {}, b"") if path.endswith("images") else None

    async with _client(refuse) as client:
        with pytest.raises(AuthenticationError):
            await read_sections(client, SPEC)


def test_rows_that_name_the_same_are_given_once_and_the_last_name_counts():
    days = [
        [cost("1", project_id="a", project_name=name), cost("1", user_id="u", project_id="a")]
        for name in ("old", "new", "old")
    ]
    sections = Sections(costs=section(), costs_by=section(*days), usage={})
    rows = naming_rows(sections)
    assert len(rows) == 3
    assert Names.from_rows(rows) == Names.from_rows(sections.grouped_rows())
    assert Names.from_rows(rows).label("project_id", "a") == "old"


OCTOBER = {"by": "project_id", "period": "2026-10", "compare": True}


async def test_what_stands_out_is_read_by_line_item_and_explained():
    spec = report_spec(NOW, **OCTOBER)
    async with Emulator(now=lambda: NOW) as server, client_of(server) as client:
        sections = await read_sections(client, spec)
        asked = [dict(request.query) for request in server.requests if "costs" in request.path]
    assert sections.costs_by_line is not None
    assert sections.movers is not None
    filtered = [each for each in asked if "project_ids" in each]
    assert len(filtered) == 2
    assert set(buckets_of(sections)) >= set(sections.movers[0].buckets)
    (spend,) = compute_report(spec, sections).spends
    causes = {each.day.day: each.cause for each in spend.unusual}
    assert causes[17].line_item == "gpt-5.2, output"
    assert causes[4] is None
    moved = {group.name: group.cause for group in spend.groups if group.cause}
    assert len(moved) == 3
    assert moved["Search"].effect == "price"
    assert moved["Search"].line_item == "gpt-image-1, images"


async def test_line_items_that_cannot_be_read_leave_days_and_groups_without_a_cause():
    def refuse(path, params):
        if path.endswith("costs") and ("group_by", "line_item") in params:
            return 500, {}, b"{}"
        return None

    spec = report_spec(NOW, **OCTOBER)
    async with Emulator(now=lambda: NOW) as server, client_of(server) as client:
        send = client._engine.fetcher.transport

        async def transport(path, params, headers):
            return refuse(path, params) or await send(path, params, headers)

        client._engine.fetcher.transport = transport
        client._engine.fetcher.policy = RetryPolicy(attempts=1)
        report = compute_report(spec, await read_sections(client, spec))
    (spend,) = report.spends
    assert spend.unusual
    assert not any(each.cause for each in (*spend.unusual, *spend.groups))
    assert report.is_whole
