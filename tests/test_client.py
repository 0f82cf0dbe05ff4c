"""The client and its queries, over canned replies; and the engine that they run on."""

import asyncio
import gc
import logging
import re
from datetime import UTC, datetime, timedelta
from inspect import getdoc, signature

import pytest
from aioresponses import aioresponses
from service import DAY, HOUR, KEY, START, Clock, bucket, days, page, serve, turns

from usage_async import (
    ENDPOINTS,
    ConfigurationError,
    IncompleteError,
    NotFoundError,
    QueryError,
    TimeRange,
    UnknownResult,
    UsageClient,
    UsageError,
)
from usage_async._http.fetch import _decoding

pytestmark = pytest.mark.usefixtures("nothing_left")

COMPLETIONS = re.compile(r"https://api\.openai\.com/v1/organization/usage/completions\?.*")


@pytest.fixture
def canned():
    with aioresponses() as replies:
        yield replies


@pytest.fixture
async def client(monkeypatch, clock):
    """A client of the API of OpenAI, where canned replies stand in for it."""
    monkeypatch.delenv("USAGE_ASYNC_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    async with UsageClient(runtime=clock.runtime) as client:
        yield client


def asked(canned):
    """The queries that were sent, as pairs."""
    return [
        sorted(pair for pair in url.query.items() if pair[0] != "page")
        for (_, url), calls in canned.requests.items()
        for _ in calls
    ]


async def serve_days(path, params, headers):
    await turns(2)
    return 200, {}, serve(params)


def local(**options):
    return UsageClient(transport=serve_days, runtime=Clock().runtime, **options)


async def test_a_page_and_its_cursor_are_followed(client, canned):
    canned.get(COMPLETIONS, body=page([bucket(START)], "page_2"))
    canned.get(COMPLETIONS, body=page([bucket(START + DAY)]))
    buckets = await days(client, 2, group_by=["model", "batch"], batch=True).collect()
    assert [each.start_time for each in buckets] == [START, START + DAY]
    sent = [
        ("batch", "true"),
        ("bucket_width", "1d"),
        ("end_time", str(START + 2 * DAY)),
        ("group_by", "batch"),
        ("group_by", "model"),
        ("limit", "31"),
        ("start_time", str(START)),
    ]
    assert asked(canned) == [sent, sent]


async def test_an_error_reply_is_an_error_of_its_kind(client, canned):
    canned.get(COMPLETIONS, status=404, payload={"error": "Nothing here."})
    with pytest.raises(NotFoundError, match="404: Nothing here"):
        await days(client, 1).total()


async def test_the_first_bucket_is_one_request_for_one_bucket(client, canned):
    canned.get(COMPLETIONS, body=page([bucket(START)], "page_2"))
    first = await days(client, 300).first()
    assert first.start_time == START
    ((*_, limit, _start),) = asked(canned)
    assert limit == ("limit", "1")


async def test_there_may_be_no_first_bucket(client, canned):
    canned.get(COMPLETIONS, body=page())
    assert await days(client, 300).first() is None


async def test_a_summary_says_how_far_to_trust_it(clock):
    clock.now = START + 4 * DAY + HOUR
    client = UsageClient(transport=serve_days, runtime=clock.runtime)
    async with client:
        query = client.completions(start_time=START - 30, end_time=START + 5 * DAY)
        summary = await query.summary()
    assert summary.requested == TimeRange(START - 30, START + 5 * DAY)
    assert summary.covered == TimeRange(START - DAY, START + 5 * DAY)
    assert summary.as_of == datetime.fromtimestamp(clock.now, UTC)
    assert summary.settled_through == datetime.fromtimestamp(START + DAY, UTC)
    assert summary.total.num_model_requests == 6
    assert [notice.code for notice in summary.notices] == ["start-aligned", "unsettled"]
    assert summary.notices[1].starts == tuple(range(START + DAY, START + 5 * DAY, DAY))


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_every_endpoint_is_a_method(name):
    paths = []

    async def note(path, params, headers):
        paths.append(path)
        return 200, {}, page()

    async with UsageClient(transport=note) as client:
        query = getattr(client, name)(start_time=START, end_time=START + DAY)
        assert query == client.query(name, start_time=START, end_time=START + DAY)
        await query.collect()
    assert paths == [ENDPOINTS[name].path]


async def test_an_endpoint_newer_than_this_release_is_read_as_it_comes():
    async def new(path, params, headers):
        assert path == "/organization/usage/brand_new"
        row = {"object": "organization.usage.brand_new.result", "things": 3}
        return 200, {}, page([{**bucket(START), "results": [row]}])

    async with UsageClient(transport=new) as client:
        query = client.query("/organization/usage/brand_new", start_time=START)
        ((_, row),) = [pair async for pair in query.results()]
        assert isinstance(row, UnknownResult)
        assert row.extra["things"] == 3
        with pytest.raises(IncompleteError, match="how to add up results of an unknown kind"):
            await query.total()


async def test_a_query_can_be_compared_hashed_printed_and_used_again():
    async with local() as client:
        one, same = days(client, 3, limit=2), days(client, 3, limit=2)
        assert one == same
        assert len({one, same, days(client, 4)}) == 2
        assert one != days(local(), 3, limit=2)
        end = START + 3 * DAY
        assert repr(one) == f"client.completions(start_time={START}, end_time={end}, limit=2)"
        first, second = await asyncio.gather(one.collect(), one.collect())
        assert first == second


async def test_sums_are_told_apart_by_what_the_query_groups_by():
    async def serve_two(path, params, headers):
        rows = [
            {**bucket(START)["results"][0], "model": model, "project_id": project}
            for model, project in (("a", "x"), ("a", "y"), ("b", "y"))
        ]
        return 200, {}, page([{**bucket(START), "results": rows}])

    async with UsageClient(transport=serve_two) as client:
        query = days(client, 1, group_by=["model", "project_id"])
        assert len(await query.totals()) == len((await query.summary()).groups) == 3
        assert len(await query.totals("model")) == len((await query.summary("model")).groups) == 2
        assert len(await days(client, 1).totals()) == 1


async def test_a_large_bucket_is_added_up_in_turns():
    rows = [{**bucket(START)["results"][0], "model": f"m{number}"} for number in range(5000)]

    async def serve_many(path, params, headers):
        return 200, {}, page([{**bucket(START), "results": rows}])

    async with UsageClient(transport=serve_many) as client:
        query, turns = days(client, 1, group_by=["model"]), 0
        done = asyncio.create_task(query.summary())
        while not done.done():
            await asyncio.sleep(0)
            turns += 1
        assert len(done.result().groups) == 5000
        assert turns > 10


def test_the_clients_of_an_event_loop_decode_in_turns():
    async def locks():
        return _decoding(), _decoding()

    one, same = asyncio.run(locks())
    other, _ = asyncio.run(locks())
    assert one is same
    assert one is not other


async def test_a_query_shows_what_it_asks():
    async with local() as client:
        query = days(client, 1, group_by=["model"], project_ids=["proj_1"], batch=True)
        assert query.endpoint is ENDPOINTS["completions"]
        assert (query.bucket_width, query.group_by) == ("1d", ("model",))
        assert query.filters == {"project_ids": ("proj_1",), "batch": ("true",)}


@pytest.mark.parametrize("settle_after", [3, None, timedelta(seconds=-1), timedelta.max])
def test_what_settles_takes_a_time(settle_after):
    with pytest.raises(ConfigurationError, match="settle_after takes a timedelta"):
        UsageClient(KEY, settle_after=settle_after)


async def test_what_a_query_does_not_group_by_cannot_be_told_apart():
    async with local() as client:
        with pytest.raises(QueryError, match="does not group by 'model': add it to group_by"):
            await days(client, 1).totals("model")


@pytest.mark.parametrize("concurrency", [0, -1, True, 2.0, "8", None])
def test_concurrency_is_a_count(concurrency):
    with pytest.raises(ConfigurationError, match="concurrency takes an int"):
        UsageClient(KEY, concurrency=concurrency)


@pytest.mark.parametrize("organization", ["", "org 1", "org-1\r\nX-Evil: 1", "org-é"])
def test_an_organization_that_cannot_be_sent_is_refused(organization):
    with pytest.raises(ConfigurationError, match="organization takes an id"):
        UsageClient(KEY, organization=organization)


async def test_a_notice_is_told_once_everywhere(caplog):
    notices = []
    async with (
        local(on_notice=notices.append) as client,
        client.completions(start_time=START + 1, end_time=START + DAY).stream() as run,
    ):
        await anext(run)
    (notice,) = notices
    assert run.notices == (notice,)
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("usage_async", logging.WARNING, f"completions: {notice.message}")
    ]


async def test_a_value_newer_than_this_release_is_sent_and_told():
    async def note(path, params, headers):
        assert ("sizes", "2048x2048") in params
        return 200, {}, page()

    async with UsageClient(transport=note) as client:
        query = client.images(start_time=START, end_time=START + DAY, sizes=["2048x2048"])
        (notice, _) = (await query.summary()).notices
    assert notice.code == "unknown-value"
    assert "sizes holds '2048x2048'" in notice.message


async def test_a_log_line_names_the_organization_where_it_is_known(caplog):
    async with local(organization="org-1") as client:
        await client.completions(start_time=START + 1, end_time=START + DAY).collect()
    assert caplog.records[0].getMessage().startswith("completions of org-1: start_time")


async def test_the_same_notice_of_several_pages_is_one_notice(caplog):
    async def new_field(path, params, headers):
        return 200, {}, serve(params).replace(b'"results"', b'"news": 1, "results"')

    async with (
        UsageClient(transport=new_field, runtime=Clock().runtime) as client,
        days(client, 6, limit=2).stream() as stream,
    ):
        assert len([bucket async for bucket in stream]) == 6
    assert [notice.code for notice in stream.notices] == ["unknown-field"]
    assert len(caplog.records) == 1


async def test_closing_in_the_middle_of_a_stream_ends_its_requests_and_the_stream():
    client = local()
    stream = days(client, 9, limit=1).stream()
    await anext(stream)
    await turns(1)
    await client.close()
    assert not client._engine._tasks
    with pytest.raises(ConfigurationError, match="this client is closed"):
        await anext(stream)
    with pytest.raises(UsageError, match="broke off: this client is closed"):
        await anext(stream)
    await client.close()


async def test_closing_that_is_cancelled_still_closes_the_session(client, canned, monkeypatch):
    canned.get(COMPLETIONS, body=page([bucket(START)]))
    await days(client, 1).collect()

    async def cancelled():
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(type(client._engine), "close", lambda _: cancelled())
        with pytest.raises(asyncio.CancelledError):
            await client.close()
    assert client._engine.fetcher.transport._own_session.closed


async def test_a_client_that_is_forgotten_is_warned_of():
    client = local()
    await days(client, 1).collect()
    with pytest.warns(ResourceWarning, match="unclosed <usage_async._client.client.UsageClient"):
        client = None
    assert client is None
    gc.collect()


async def test_a_client_that_was_never_used_needs_no_closing():
    local()
    with pytest.raises(ConfigurationError):
        UsageClient("")
    gc.collect()


async def test_waiting_for_a_slot_can_be_cancelled_at_any_turn():
    for count in range(30):
        async with local(concurrency=2) as client:
            reading = [asyncio.create_task(days(client, 6, limit=1).collect()) for _ in range(3)]
            await turns(count)
            reading[0].cancel()
            reading[1].cancel()
            await asyncio.wait(reading)
            assert len(await reading[2]) == 6
            assert client.limiter.in_flight == client.limiter.waiting == 0


async def test_a_gathering_that_is_cancelled_ends_every_query():
    async with local() as client:
        gathering = asyncio.create_task(client.gather(days(client, 9, limit=1), days(client, 2)))
        await turns(4)
        gathering.cancel()
        await asyncio.wait([gathering])
        assert gathering.cancelled()
        assert not client._engine._tasks


def test_every_option_of_the_client_is_documented():
    documented = re.findall(r"(?m)^    ([a-z_]+): ", getdoc(UsageClient))
    assert documented == list(signature(UsageClient).parameters)


async def test_a_period_that_moves_is_read_as_of_now(clock):
    clock.now = START + 40 * DAY
    sent = []

    async def note(path, params, headers):
        sent.append(dict(params))
        return 200, {}, serve(params)

    async with UsageClient(transport=note, runtime=clock.runtime) as client:
        query = client.completions(start_time=timedelta(days=2))
        await query.collect()
        clock.now += DAY
        await query.collect()
    assert [params["start_time"] for params in sent] == [
        str(START + 38 * DAY),
        str(START + 39 * DAY),
    ]
