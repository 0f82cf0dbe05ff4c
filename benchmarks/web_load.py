"""Browsers of the web scenarios, in a process of their own.

`python -m benchmarks.web_load` answers each line of standard input, JSON arguments, by one
line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from benchmarks.data import START

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Browser:
    """Connections that are kept, each for one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.idle: list[Connection] = []

    async def ask(
        self, path: str, method: str = "GET", body: bytes = b"", accept: str = "*/*"
    ) -> bytes:
        """Send a request, and read its reply.

        Raises:
            AssertionError: Its status is not 200.
        """
        if self.idle:
            reader, writer = self.idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 24)
        lines = (
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            f"Accept: {accept}",
            f"Content-Length: {len(body)}",
        )
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        if b"transfer-encoding: chunked" in head:
            parts = []
            while size := int(await reader.readuntil(b"\r\n"), 16):
                parts.append((await reader.readexactly(size + 2))[:-2])
            await reader.readexactly(2)
            found = b"".join(parts)
        else:
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            found = await reader.readexactly(int(length))
        self.idle.append((reader, writer))
        return found

    async def cpu_s(self) -> float:
        return float(await self.ask("/cpu"))

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()


async def steady(url: str, path: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Ask at random instants, whatever the replies take; give the times from these instants on."""
    browser, loop, chance = Browser(url), asyncio.get_running_loop(), random.Random(seed)
    took: list[float] = []

    async def ask(due: float) -> None:
        await browser.ask(path)
        took.append(loop.time() - due)

    await asyncio.gather(*(browser.ask(path) for _ in range(8)))
    cpu, tasks = await browser.cpu_s(), []
    due = loop.time() + 0.05
    end = due + seconds
    while (due := due + chance.expovariate(rate)) < end:
        await asyncio.sleep(max(due - loop.time(), 0))
        tasks.append(asyncio.create_task(ask(due)))
    await asyncio.gather(*tasks)
    cpu = (await browser.cpu_s() - cpu) / len(took)
    browser.close()
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "cpu": cpu}


async def stall(url: str, path: str, accept: str, times: int) -> dict[str, Any]:
    """Ask for something large, beside cached answers and pings; give the stall of the server."""
    browser = Browser(url)
    # The first request of each route is slow: FastAPI makes what it needs for it.
    hour = f"?bucket_width=1h&start_time={START}&end_time={START + 3600}"
    for first in ("/ping", "/total", f"/usage/completions{hour}"):
        await browser.ask(first, accept=accept)
    is_over = asyncio.Event()

    async def beside(small: str) -> None:
        while not is_over.is_set():
            await browser.ask(small)
            await asyncio.sleep(0.005)

    others = [asyncio.create_task(beside(small)) for small in ("/ping", "/total")]
    await asyncio.sleep(0.1)
    await browser.ask("/stall")
    wall, cpu = time.perf_counter(), await browser.cpu_s()
    for _ in range(times):
        body = await browser.ask(path, accept=accept)
        if path == "/metrics":  # which are read behind
            await asyncio.sleep(0.5)
    wall, cpu = time.perf_counter() - wall, await browser.cpu_s() - cpu
    stall_s, stall_cpu_s = json.loads(await browser.ask("/stall"))
    is_over.set()
    await asyncio.gather(*others)
    browser.close()
    found = {"wall": wall, "cpu": cpu, "stall": stall_s, "stall_cpu": stall_cpu_s}
    return {**found, "bytes": len(body)}


async def crowd(url: str, path: str, browsers: int, seconds: float) -> dict[str, Any]:
    """Let browsers ask again and again; each leaves after ten replies, and another comes."""
    end, took = time.monotonic() + seconds, []

    async def ask() -> None:
        while time.monotonic() < end:
            browser = Browser(url)
            for _ in range(10):
                begin = time.monotonic()
                await browser.ask(path)
                took.append(time.monotonic() - begin)
                await asyncio.sleep(0.5)
            browser.close()

    await asyncio.gather(*(ask() for _ in range(browsers)))
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "replies": len(took)}


async def set_constants(url: str, of: str, path: str) -> dict[str, Any]:
    """Make the reply to a path the constant of another one."""
    browser = Browser(url)
    body = await browser.ask(path)
    await browser.ask(f"/constants?of={of}", "PUT", body)
    browser.close()
    return {"bytes": len(body)}


_WORK: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    each.__name__: each for each in (steady, stall, crowd, set_constants)
}


def main() -> None:
    for line in sys.stdin:
        arguments = json.loads(line)
        try:
            found = asyncio.run(_WORK[arguments.pop("work")](**arguments))
        except Exception as error:  # noqa: BLE001 - whatever fails is reported, and the others go on
            found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
