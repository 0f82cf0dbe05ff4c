"""The README's table "Beside the official client": each line shown with both clients."""

from decimal import Decimal

import attrs
import pytest
from openai import AsyncOpenAI, BadRequestError, InternalServerError
from values import DAY

from usage_async import InternalServerError as OurInternalServerError
from usage_async import QueryError, ResponseError, RetryPolicy, Runtime, UsageClient
from usage_async.emulator import Emulator, Faults, Quirks

NOW = 1_795_348_800
OCTOBER = {"start_time": 1_790_812_800, "end_time": 1_793_491_200}


def emulator(**options):
    return Emulator(now=lambda: NOW, **options)


def official(server):
    return AsyncOpenAI(admin_api_key=server.admin_key, base_url=server.url)


@pytest.fixture
def ours(clock):
    """Make a client that waits without taking time."""
    runtime = attrs.evolve(clock.runtime, now=lambda: NOW)
    return lambda server, **options: UsageClient(
        server.admin_key, base_url=server.url, runtime=runtime, **options
    )


@pytest.fixture(autouse=True)
def no_real_waits(monkeypatch):
    """Let the official client retry at once."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)


async def test_a_month_of_costs_is_one_page_there_and_all_days_here(ours):
    async with emulator() as server, official(server) as theirs, ours(server) as client:
        page = await theirs.admin.organization.usage.costs(**OCTOBER)
        buckets = await client.costs(**OCTOBER).collect()
    assert (len(page.data), page.has_more, len(buckets)) == (7, True, 31)


async def test_pages_are_read_one_by_one_there_and_at_the_same_time_here(ours):
    alone = Faults(throttle=1)  # a second request in flight meets a 429
    async with emulator(faults=alone, latency_s=0.01) as server:
        async with official(server) as theirs:
            read = theirs.admin.organization.usage.completions
            page = await read(**OCTOBER)
            while page.has_more:
                page = await read(**OCTOBER, page=page.next_page)
        assert [request.status for request in server.requests] == [200] * 5
        async with ours(server, concurrency=4) as client:
            assert len(await client.completions(**OCTOBER, limit=7).collect()) == 31
        assert 429 in [request.status for request in server.requests]


async def test_money_is_a_float_there_and_a_decimal_here(ours):
    async with emulator() as server, official(server) as theirs, ours(server) as client:
        page = await theirs.admin.organization.usage.costs(**OCTOBER)
        bucket = await client.costs(**OCTOBER).first()
    assert isinstance(page.data[0].results[0].amount.value, float)
    assert isinstance(bucket.results[0].amount.value, Decimal)


async def test_times_are_unix_seconds_there_and_words_too_here(ours):
    async with emulator() as server, official(server) as theirs, ours(server) as client:
        with pytest.raises(BadRequestError, match="expected an integer"):
            await theirs.admin.organization.usage.costs(start_time="2026-10-01")
        bucket = await client.costs(start_time="2026-10-01").first()
    assert bucket.start_time == OCTOBER["start_time"]


async def test_a_group_that_does_not_exist_is_sent_there_and_refused_here(ours):
    async with emulator() as server, official(server) as theirs, ours(server) as client:
        with pytest.raises(BadRequestError):
            await theirs.admin.organization.usage.costs(**OCTOBER, group_by=["model"])
        asked = len(server.requests)
        with pytest.raises(QueryError, match="model"):
            client.costs(**OCTOBER, group_by=["model"])
        assert len(server.requests) == asked == 1


async def test_a_missing_bucket_is_noticed_here_only(ours):
    gap = OCTOBER["start_time"] + DAY
    lossy = Quirks(missing_starts=(gap,))
    async with emulator(quirks=lossy) as server, official(server) as theirs, ours(server) as client:
        page = await theirs.admin.organization.usage.costs(**OCTOBER, limit=31)
        query = client.costs(**OCTOBER)
        summary, proof = await query.summary(), await query.verify()
    assert (len(page.data), page.has_more) == (30, False)
    assert [(n.code, n.starts) for n in summary.notices] == [("missing-bucket", (gap,))]
    assert (proof.ok, proof.missing) == (False, (gap,))


async def test_a_repeated_bucket_counts_twice_there_and_once_here(ours):
    twice = Quirks(repeated_buckets=True)
    async with emulator(quirks=twice) as server, official(server) as theirs, ours(server) as client:
        page = await theirs.admin.organization.usage.costs(**OCTOBER, limit=31)
        summary = await client.costs(**OCTOBER).summary()
        buckets = await client.costs(**OCTOBER).collect()
    assert page.data[0] == page.data[1]
    assert len({bucket.start_time for bucket in buckets}) == len(buckets) == 31
    assert {notice.code for notice in summary.notices} == {"repeated-bucket"}


async def test_html_with_200_is_a_str_there_and_an_error_here(ours):
    html = Faults(html_rate=1)
    async with emulator(faults=html) as server, official(server) as theirs, ours(server) as client:
        page = await theirs.admin.organization.usage.costs(**OCTOBER)
        assert (type(page), len(server.requests)) == (str, 1)
        with pytest.raises(ResponseError):
            await client.costs(**OCTOBER).collect()
        assert len(server.requests) > 2


async def test_failures_that_pass_are_tried_three_times_there_and_five_times_here(ours):
    down = Faults(error_rate=1)
    async with emulator(faults=down) as server, official(server) as theirs, ours(server) as client:
        with pytest.raises(InternalServerError):
            await theirs.admin.organization.usage.costs(**OCTOBER)
        assert len(server.requests) == 3
        with pytest.raises(OurInternalServerError):
            await client.costs(**OCTOBER).first()
        assert len(server.requests) == 3 + RetryPolicy().attempts == 8


async def test_openai_base_url_is_read_there_and_not_here(monkeypatch):
    async with emulator() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        async with AsyncOpenAI(admin_api_key=server.admin_key) as theirs:
            await theirs.admin.organization.usage.costs(**OCTOBER)
        async with emulator() as named:
            monkeypatch.setenv("USAGE_ASYNC_BASE_URL", named.url)
            async with UsageClient(server.admin_key, runtime=Runtime(now=lambda: NOW)) as client:
                await client.costs(**OCTOBER).first()
        assert (len(server.requests), len(named.requests)) == (1, 1)
