"""Thousands of pages through random faults: every bucket exactly once, and nothing left behind.

`USAGE_ASYNC_SOAK_PAGES=1000000 pytest tests/test_soak.py` soaks longer, `USAGE_ASYNC_SOAK_SEED`
meets other faults.
"""

import asyncio
import gc
import gzip
import os
import random
import tracemalloc
from collections import Counter, deque

import pytest
from faultserver import FaultServer, answer, close, raw, reset
from service import MINUTE, START, client_of, honest, serve

from usage_async import UsageTimeBucket

PAGES = int(os.environ.get("USAGE_ASYNC_SOAK_PAGES", "10000"))
SEED = int(os.environ.get("USAGE_ASYNC_SOAK_SEED", "1"))
FAULT_RATE = 0.05
LIMIT = 3


async def half(request, wire):
    """Break off in the middle of a body."""
    body = serve(request.params)
    await wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
    await wire.raw(body[: len(body) // 2])
    await wire.close()


async def short(request, wire):
    """Half a body whose length agrees."""
    body = serve(request.params)
    await wire.reply(body[: len(body) // 2])


async def corrupt(request, wire):
    """Compressed, with a wrong checksum."""
    body = gzip.compress(serve(request.params), 1)[:-8] + bytes(8)
    await wire.reply(body, headers={"Content-Encoding": "gzip"})


FAULTS = {
    "closed before headers": close,
    "reset before headers": reset,
    "closed in a body": half,
    "half a body": short,
    "corrupt gzip": corrupt,
    "garbage": raw(b"\x00garbage\r\n\r\n"),
    "HTML": answer(b"<html>Just a moment...</html>", headers={"Content-Type": "text/html"}),
    "nothing": answer(b""),
    "500": answer(b'{"error": {"message": "oops"}}', 500),
    "429": answer(b'{"error": "slow down"}', 429, {"Retry-After": "1"}),
}


class Weather:
    """Serves well but for faults drawn at random; the third try of a page always succeeds."""

    def __init__(self):
        self.chance = random.Random(SEED)  # noqa: S311 - to be repeatable
        self.asked = 0
        self.met = Counter()
        self.tries = Counter()

    async def __call__(self, request, wire):
        self.asked += 1
        self.tries[request.target] += 1
        # aiohttp itself tries twice where nothing came back.
        if self.tries[request.target] < 3 and self.chance.random() < FAULT_RATE:
            name = self.chance.choice(list(FAULTS))
            self.met[name] += 1
            await FAULTS[name](request, wire)
        else:
            del self.tries[request.target]
            await honest(request, wire)


async def soak(server, clock, pages):
    """Read so many pages, and see that every bucket comes once and in its place."""
    due, end = START, START + pages * LIMIT * MINUTE
    async with client_of(server, runtime=clock.runtime) as client:
        query = client.completions(start_time=due, end_time=end, bucket_width="1m", limit=LIMIT)
        async for bucket in query:
            assert bucket.start_time == due
            assert bucket.results[0].input_tokens == due // MINUTE
            due += MINUTE
        assert client.limiter.in_flight == client.limiter.waiting == 0
        # A task that has just ended leaves in the next turn of the loop.
        assert all(task.done() for task in client._engine._tasks)
    assert due == end


def buckets_alive() -> int:
    gc.collect()
    return sum(isinstance(each, UsageTimeBucket) for each in gc.get_objects())


@pytest.mark.slow
async def test_every_bucket_comes_exactly_once_through_ten_kinds_of_faults(clock, nothing_left):
    weather = Weather()
    async with FaultServer(weather) as server:
        server.requests = deque(maxlen=1)
        await soak(server, clock, 200)  # what is made once and kept, is made by then
        await server.until_left()
        tasks, buckets = asyncio.all_tasks(), buckets_alive()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await soak(server, clock, PAGES)
            await server.until_left()
            clock.slept.clear()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert asyncio.all_tasks() == tasks
        assert not server.connections
    assert buckets_alive() == buckets
    assert after - before < 1_000_000
    assert not weather.tries
    assert weather.asked > PAGES
    assert set(weather.met) == set(FAULTS)
    assert weather.met.total() > PAGES * FAULT_RATE / 2
