"""The official client and this one read the same figures from the emulator."""

from collections import Counter
from decimal import Decimal

import pytest
from openai import AsyncOpenAI
from openai.resources.admin.organization import AsyncUsage

from usage_async import ENDPOINTS, UsageClient
from usage_async._api.fields import fields_of
from usage_async.emulator import Emulator, Quirks

END = 1_795_219_200
"""2026-11-21, midnight UTC."""
START = END - 40 * 86_400
NANO = Decimal("1e-9")


@pytest.fixture(params=[Quirks(), Quirks(number_amounts=True, short_pages=True)], ids=["", "odd"])
async def server(request):
    async with Emulator(now=lambda: END, quirks=request.param) as server:
        yield server


def measures(endpoint):
    """The names of the figures of an endpoint, except money."""
    fields = fields_of(endpoint.result_class)
    return [a.name for a in fields if a.metadata["kind"] in ("flow", "level")]


def figures(buckets, endpoint):
    """Every figure by bucket, project and name; money as the official client reads it."""
    found = Counter()
    for bucket in buckets:
        for result in bucket.results:
            for name in measures(endpoint):
                found[bucket.start_time, result.project_id, name] += getattr(result, name, 0) or 0
            if endpoint.name == "costs":
                value = Decimal(float(result.amount.value)).quantize(NANO)
                found[bucket.start_time, result.project_id, "amount"] += value
    return +found


async def follow(official, name, params):
    """Follow the cursors by hand, as users of the official client must."""
    buckets, cursor = [], {}
    while True:
        page = await getattr(official.admin.organization.usage, name)(**params, **cursor)
        buckets += page.data
        if not page.has_more:
            return buckets
        cursor = {"page": page.next_page}


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if hasattr(AsyncUsage, name)])
async def test_the_official_client_reads_the_same_figures(server, name):
    endpoint = ENDPOINTS[name]
    params = {"start_time": START, "end_time": END, "group_by": ["project_id"]}
    async with AsyncOpenAI(admin_api_key=server.admin_key, base_url=server.url) as official:
        buckets = await follow(official, name, params)
    theirs = figures(buckets, endpoint)
    async with UsageClient(server.admin_key, base_url=server.url) as client:
        query = client.query(name, **params)
        ours = await query.collect()
        totals = await query.totals("project_id")
    assert [bucket.start_time for bucket in ours] == [bucket.start_time for bucket in buckets]
    assert figures(ours, endpoint) == theirs
    assert len(theirs) > 40
    last = max(start for start, _, _ in theirs)
    for total in totals:
        mine = {key: value for key, value in theirs.items() if key[1] == total.project_id}
        for measure in measures(endpoint):
            is_level = measure == "usage_bytes"
            parts = [v for (t, _, m), v in mine.items() if m == measure and t >= is_level * last]
            assert getattr(total, measure) == sum(parts)
        if name == "costs":
            parts = [value for (_, _, measure), value in mine.items() if measure == "amount"]
            assert abs(total.amount.value - sum(parts)) < 40 * NANO
