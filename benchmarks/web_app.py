"""The application of the web scenarios, for uvicorn: our cache, its peers, constants, and no cache.

Its environment names the service. `TICKING=1` measures stalls of the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import cashews
from async_lru import alru_cache
from fastapi import FastAPI, Request, Response

from benchmarks.data import START
from usage_async import CostsResult, UsageClient
from usage_async.fastapi import ALL, Usage, metrics_router, usage_lifespan, usage_router

MONTH: Any = {"start_time": START, "end_time": START + 31 * 86400, "group_by": ["project_id"]}
"""A month of costs by project."""

_cashews = cashews.Cache()
_cashews.setup("mem://")


class _Stall:
    """Longest wall and CPU time for which the event loop ran nothing else."""

    wall_s = cpu_s = 0.0

    async def tick(self) -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self.wall_s = max(self.wall_s, time.perf_counter() - wall - 0.001)
            self.cpu_s = max(self.cpu_s, time.thread_time() - cpu)


async def _own(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    gc.freeze()  # as the guide recommends
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(UsageClient())

        async def read() -> list[CostsResult]:
            return await plain.costs(**MONTH).totals()

        stall = _Stall()
        if os.environ.get("TICKING") == "1":
            ticking = asyncio.create_task(stall.tick())
            stack.callback(ticking.cancel)
        yield {
            "no_cache": read,
            "cashews": _cashews(ttl="1h", key="month")(read),
            "async_lru": alru_cache(ttl=3600)(read),
            "stall": stall,
        }


async def everybody() -> object:
    return ALL


_options = {
    name.lower(): float(os.environ[name]) for name in ("TTL_S", "WAIT_S") if name in os.environ
}
app = FastAPI(lifespan=usage_lifespan(_own, **_options))
app.include_router(usage_router(scope=everybody))
app.include_router(metrics_router(scope=everybody))


@app.get("/handler")
async def handler(usage: Usage) -> list[CostsResult]:
    return await usage.costs(**MONTH).totals()


@app.get("/no-cache")
async def no_cache(request: Request) -> list[CostsResult]:
    found: list[CostsResult] = await request.state.no_cache()
    return found


@app.get("/cashews")
async def with_cashews(request: Request) -> list[CostsResult]:
    found: list[CostsResult] = await request.state.cashews()
    return found


@app.get("/async-lru")
async def with_async_lru(request: Request) -> list[CostsResult]:
    found: list[CostsResult] = await request.state.async_lru()
    return found


_constant: list[CostsResult] = []


@app.get("/constant")
async def constant() -> list[CostsResult]:
    return _constant


@app.get("/constant-text")
async def constant_text(of: str) -> Response:
    return Response(_texts[of], media_type="application/json")


_texts: dict[str, bytes] = {}


@app.put("/constants")
async def set_constants(of: str, request: Request) -> None:
    """Take a reply as the text of `/constant-text`, and read the values of `/constant`."""
    _texts[of] = await request.body()
    _constant[:] = await request.state.no_cache()


@app.get("/ping")
async def ping() -> str:
    return "pong"


@app.get("/cpu")
async def cpu() -> float:
    """CPU time of the process, in seconds."""
    return time.process_time()


@app.get("/stall")
async def stalled(request: Request) -> tuple[float, float]:
    """Give the longest stall since the last call."""
    stall = request.state.stall
    found = stall.wall_s, stall.cpu_s
    stall.wall_s = stall.cpu_s = 0.0
    return found


@app.get("/total")
async def total(usage: Usage, period: str = "2024-12") -> CostsResult:
    """Give one row: FastAPI writes many at once, which stalls by itself."""
    return await usage.costs(period=period, group_by=["project_id"]).total()
