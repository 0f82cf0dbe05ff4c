"""A service of any range, in a process of its own: the upstream of the web scenarios.

Pages are made on demand of rows that are rendered once for each endpoint. The first two segments of
the path are the rows of a bucket and the number of different rows.
`python -m benchmarks.web_upstream` prints its port, and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from json import dumps
from urllib.parse import parse_qs, urlsplit

from benchmarks.data import PAGE_BUCKETS, WIDTH_SECONDS, head, row
from benchmarks.race import ROOT

LATENCY_S = 0.02
_STATUS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@cache
def _texts(endpoint: str, pool: int) -> list[bytes]:
    chance = random.Random(endpoint)
    return [dumps(row(endpoint, chance), separators=(",", ":")).encode() for _ in range(pool)]


@cache
def _span(endpoint: str, rows: int, pool: int, first: int) -> bytes:
    texts = _texts(endpoint, pool)
    return b",".join(texts[(first + n) % pool] for n in range(rows))


def _page(target: str) -> bytes:
    parts = urlsplit(target)
    _, rows_text, pool_text, *path = parts.path.split("/")
    rows, pool, endpoint = int(rows_text), int(pool_text), path[-1]
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    width = WIDTH_SECONDS[asked.get("bucket_width", "1d")]
    start, end = int(asked["start_time"]), int(asked["end_time"])
    begin = int(asked.get("page", f"page_{start - start % width}").removeprefix("page_"))
    limit = int(asked.get("limit", PAGE_BUCKETS[asked.get("bucket_width", "1d")]))
    starts = range(begin, end, width)[:limit]
    rest = starts[-1] + width if starts else end
    buckets = (
        b'{"object":"bucket","start_time":%d,"end_time":%d,"results":[%b]}'
        % (each, each + width, _span(endpoint, rows, pool, each // width * rows % pool))
        for each in starts
    )
    return head(f"page_{rest}" if rest < end else None) + b"[%b]}" % b",".join(buckets)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            body = _page(request.split(b" ", 2)[1].decode())
            await asyncio.sleep(LATENCY_S)
            writer.write(_STATUS % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def upstream() -> Iterator[str]:
    """Run the service, and yield its URL, to be followed by rows and different rows."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.web_upstream"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_main())
