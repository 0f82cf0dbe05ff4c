"""Large replies: written as `dumps` writes them, in turns of the event loop."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import DAY, START, any_of, buckets, paid, tokens

from usage_async import CostsResult, Summary, TimeRange, UsageTimeBucket, dumps
from usage_async.fastapi import writing
from usage_async.fastapi.writing import STEP_ROWS, buckets_as_json, parts_of, summary_as_json


async def text_of(pieces):
    return b"".join([piece async for piece in pieces])


def parsed(text):
    return json.loads(text, parse_float=Decimal)


@given(found=st.lists(buckets(CostsResult), max_size=3), step=st.integers(1, 3))
def test_buckets_are_written_as_dumps_writes_them(found, step):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "STEP_ROWS", step)
        written = asyncio.run(text_of(buckets_as_json(found, {"as_of": "x", "buckets": []})))
        divided = [row for bucket in found for part in parts_of(bucket) for row in part.rows()]
    assert parsed(written) == {"as_of": "x", "buckets": [parsed(dumps(each)) for each in found]}
    assert divided == [row for bucket in found for row in bucket.rows()]


@given(summary=any_of(Summary[CostsResult]), step=st.integers(1, 3))
def test_a_summary_is_written_as_dumps_writes_it(summary, step):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "STEP_ROWS", step)
        written = asyncio.run(text_of(summary_as_json(summary)))
    assert parsed(written) == parsed(dumps(summary))


async def turns_during(pieces):
    """Count the turns that another task has while something is written."""
    task, turns = asyncio.ensure_future(text_of(pieces)), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def test_other_tasks_have_turns_while_a_large_value_is_written():
    rows = tuple(tokens(n) for n in range(10 * STEP_ROWS))
    one = UsageTimeBucket(start_time=START, end_time=START + DAY, results=rows)
    many = [
        UsageTimeBucket(start_time=START, end_time=START + DAY, results=rows[:100])
        for _ in range(50)
    ]
    summary = Summary(
        total=paid("1"),
        groups=[paid("1")] * 10 * STEP_ROWS,
        requested=TimeRange(START, START + DAY),
        covered=None,
        settled_through=None,
        as_of=datetime.fromtimestamp(START, UTC),
        notices=(),
    )
    assert await turns_during(buckets_as_json([one], {"buckets": []})) >= 9
    assert await turns_during(buckets_as_json(many, {"buckets": []})) >= 8
    assert await turns_during(summary_as_json(summary)) >= 9
