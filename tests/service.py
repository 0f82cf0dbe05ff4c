"""Shared by the tests that do I/O: a correct service, its clients, and a key that must not leak.

The service is a pure function from parameters to a body. `honest` serves it over sockets; a fake
transport can call it directly.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

from faultserver import FaultServer, Request, Wire

from usage_async import Runtime, UsageClient

KEY = "sk-admin-" + "canary-0123456789-" * 8 + "AbCdEfGh"
"""As long as a real key, since programs that print local variables cut long strings."""

MINUTE, HOUR, DAY = 60, 3600, 86400
WIDTHS = {"1m": MINUTE, "1h": HOUR, "1d": DAY}

START = 1_764_547_200
"""2025-12-01, midnight UTC."""
NOW = START + 300 * DAY


def bucket(start: int, width: int = DAY) -> dict[str, Any]:
    """The only correct bucket of an instant."""
    row = {
        "object": "organization.usage.completions.result",
        "input_tokens": start // width,
        "output_tokens": 1,
        "num_model_requests": 1,
    }
    end = start + width
    return {"object": "bucket", "start_time": start, "end_time": end, "results": [row]}


def page(data: Iterable[Any] = (), next_page: str | None = None, **more: Any) -> bytes:
    """A page of buckets."""
    fields = {"has_more": next_page is not None, "next_page": next_page, **more}
    return json.dumps({"object": "page", "data": list(data), **fields}).encode()


def padded(body: bytes) -> bytes:
    """Add blanks to a page, so that it is not decoded before its turn."""
    return body.ljust(20_000)


def serve(params: Iterable[tuple[str, str]], size: Callable[[int], int] | None = None) -> bytes:
    """Answer a query: start floored to a bucket, at most `limit` buckets, a cursor to the others.

    Args:
        params: Parameters of the request.
        size: Function from the first instant of a page to its maximum of buckets. 0 puts an empty
            page with a cursor before it.
    """
    given = dict(params)
    width = WIDTHS[given["bucket_width"]]
    begin, end = int(given["start_time"]), int(given["end_time"])
    cursor = given.get("page")
    begin = begin - begin % width if cursor is None else int(cursor.strip("page_=/+"))
    most = int(given["limit"]) if size is None else min(int(given["limit"]), size(begin))
    if most == 0 and cursor is not None and cursor.endswith("="):
        most = 1
    starts = range(begin, end, width)[:most]
    rest = starts[-1] + width if starts else begin
    mark = "=" if most == 0 else "+/"
    data = [bucket(start, width) for start in starts]
    return page(data, f"page_{rest}{mark}" if rest < end else None)


class SlowService:
    """A transport that answers after some turns of the loop, which depend on the request.

    Some pages, which depend on the request, are not decoded before their turn.

    Attributes:
        fail: Replies by the day on which a request starts, instead of the days themselves.
        sent: The start of every request, and its cursor.
        in_flight: Number of requests that are being answered.
        most: The most that were ever being answered.
    """

    def __init__(
        self,
        seed: int = 0,
        size: Callable[[int], int] | None = None,
        fail: Mapping[int, Any] | None = None,
    ) -> None:
        self.seed = seed
        self.size = size
        self.fail = fail or {}
        self.sent: list[tuple[int, str | None]] = []
        self.in_flight = self.most = 0

    async def __call__(
        self, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> Any:
        given = dict(params)
        start = int(given["start_time"])
        self.sent.append((start, given.get("page")))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            chance = crc32(f"{self.seed} {params}".encode())
            await turns(chance % 7)
            failure = self.fail.get((start - START) // DAY)
            if failure is not None:
                return failure
            body = serve(params, self.size)
            return 200, {}, padded(body) if chance // 7 % 2 else body
        finally:
            self.in_flight -= 1


async def honest(request: Request, wire: Wire) -> None:
    """Serve correctly."""
    await wire.reply(serve(request.params), headers={"x-request-id": "req_1"})


def client_of(server: FaultServer, **options: Any) -> UsageClient:
    """A client of a server. The default is the real clock, which suits tests without retries."""
    return UsageClient(**{"admin_key": KEY, "base_url": server.url, **options})


def over(transport: Any, **options: Any) -> UsageClient:
    """A client over a fake transport, by a clock that passes only by sleeping."""
    return UsageClient(transport=transport, runtime=Clock().runtime, **options)


def numbers(buckets: Iterable[Any]) -> list[int]:
    """The day of each bucket, from `START` on."""
    return [(bucket.start_time - START) // DAY for bucket in buckets]


def days(client: UsageClient, count: int, **params: Any) -> Any:
    """A query of `count` days."""
    return client.completions(start_time=START, end_time=START + count * DAY, **params)


async def read_into(read: list[Any], stream: Any) -> None:
    """Read a stream into a list, which keeps what came before an error."""
    async for each in stream:
        read.append(each)  # noqa: PERF401 - a comprehension would lose it


async def turns(count: int) -> None:
    """Give other tasks `count` turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class Clock:
    """A clock that advances only when somebody sleeps, and a random number that is always 0.5.

    Attributes:
        slept: Seconds of each sleep, in order.
    """

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.slept: list[float] = []
        self.runtime = Runtime(
            now=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep, random=lambda: 0.5
        )

    async def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class ManualClock:
    """Time that passes only when a test says so; sleepers wake when theirs has come."""

    def __init__(self, now: float = NOW) -> None:
        self.now = float(now)
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.runtime = Runtime(
            now=lambda: self.now, monotonic=lambda: self.now, sleep=self.sleep, random=lambda: 0.5
        )

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has come."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + seconds, wake))
        await wake

    async def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for due, wake in self.sleepers:
            if due <= self.now and not wake.done():
                wake.set_result(None)
        self.sleepers = [each for each in self.sleepers if not each[1].done()]
        await turns(10)
