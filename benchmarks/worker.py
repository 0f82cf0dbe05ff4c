"""One contestant in a process of its own.

`python -m benchmarks.worker ENTRY` takes a `race.Entry` as JSON, warms up, and answers `{}`. Then
it answers each line of standard input with the figures of a round. The wall time and the CPU time
are those of the work alone. A failure is answered with its reason in one line.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import attrs

from benchmarks.data import Dataset, Sums, page, window_bytes
from benchmarks.race import Entry, Figures

_TICK_S = 0.001


async def _read(entry: Entry, datasets: Sequence[Dataset], clients: int) -> Sums:
    from benchmarks.contestants import OPEN

    async with AsyncExitStack() as stack:
        reads = [
            await stack.enter_async_context(OPEN[entry.contestant](entry.url, entry.concurrency))
            for _ in range(clients)
        ]
        found = await asyncio.gather(*(read(dataset) for read in reads for dataset in datasets))
    return sum(found, Sums())


async def _ticking(work: Any) -> tuple[Any, float, float]:
    """Run work, and measure the longest wall and CPU time without a turn for another task."""
    longest = longest_cpu = 0.0

    async def tick() -> None:
        nonlocal longest, longest_cpu
        while True:
            before, before_cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK_S)
            longest = max(longest, time.perf_counter() - before - _TICK_S)
            longest_cpu = max(longest_cpu, time.thread_time() - before_cpu)

    ticker = asyncio.create_task(tick())
    try:
        return await work, longest, longest_cpu
    finally:
        ticker.cancel()


def _check(found: Sums, entry: Entry) -> None:
    """Check the sums: exactly for integers, approximately for floats."""
    wanted = sum((dataset.sums() for dataset in entry.datasets), Sums())
    if entry.contestant == "floor: bytes":
        assert found.bytes == entry.clients * sum(map(window_bytes, entry.datasets)), found
        return
    assert found.rows == entry.clients * wanted.rows, (found, wanted)
    assert math.isclose(found.total, entry.clients * wanted.total, rel_tol=1e-12), (found, wanted)


def _held_mb() -> float:
    """The peak of Python's allocations since tracing began, and of Arrow's pool."""
    held = tracemalloc.get_traced_memory()[1]
    if pyarrow := sys.modules.get("pyarrow"):
        held += pyarrow.default_memory_pool().max_memory()
    return float(held / 2**20)


def _network(entry: Entry) -> Callable[[], Figures]:
    warm = [attrs.evolve(dataset, pages=1) for dataset in entry.datasets]
    if entry.warm:
        asyncio.run(_read(entry, warm, 1))

    async def run() -> tuple[Sums, Figures]:
        wall, cpu = time.perf_counter(), time.process_time()
        found = await _read(entry, entry.datasets, entry.clients)
        return found, Figures(time.perf_counter() - wall, time.process_time() - cpu)

    async def run_ticking() -> tuple[Sums, Figures]:
        (found, figures), stall, stall_cpu = await _ticking(run())
        return found, attrs.evolve(figures, stall_s=stall, stall_cpu_s=stall_cpu)

    def round_() -> Figures:
        if entry.tracing:
            tracemalloc.start()
        found, figures = asyncio.run(run_ticking() if entry.ticking else run())
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        _check(found, entry)
        held = _held_mb() if entry.tracing else None
        tracemalloc.stop()
        return attrs.evolve(figures, rss_mb=rss, held_mb=held)

    return round_


def _decoding(entry: Entry) -> Callable[[], Figures]:
    from benchmarks.decoders import DECODERS

    (dataset,) = entry.datasets
    body, wanted = page(dataset), dataset.sums().rows
    decode = DECODERS[entry.contestant](dataset)
    times = max(1, 2_000_000 // len(body))
    decode(body)

    def round_() -> Figures:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            assert decode(body) == wanted
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Figures(wall / times, cpu / times)

    return round_


def main() -> None:
    entry = Entry.from_json(sys.argv[1])
    try:
        run = _network(entry) if entry.url else _decoding(entry)
        print("{}", flush=True)
        for _ in sys.stdin:
            gc.collect()
            print(json.dumps(attrs.asdict(run())), flush=True)
    except Exception as error:  # noqa: BLE001 - whatever fails is reported, and the race goes on
        reason = " ".join(str(error).split())
        print(json.dumps({"failed": f"{type(error).__name__}: {reason}"}), flush=True)


if __name__ == "__main__":
    main()
