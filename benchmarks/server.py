"""The server that the contestants read, in a process of its own, with little work of its own.

All replies are rendered before the first request. The first segment of the path is the latency in
milliseconds; with a `t` before it, every reply is a 429. `python -m benchmarks.server DATASETS`
prints its port, and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import attrs

from benchmarks.data import Dataset, head
from benchmarks.race import ROOT

_Key = tuple[bytes, bytes, bytes, bytes]
"""Path, start_time, end_time, page."""

_REQUEST = re.compile(rb"GET /(t?)([0-9]+)([^? ]*)\?([^ ]*) HTTP/1\.1\r\n")
_ASKED = re.compile(rb"(?:^|&)(start_time|end_time|page)=([^&]*)")
_STATUS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"x-request-id: req_0123456789abcdef\r\n\r\n"
)
_THROTTLED = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
_FIRST = 1 << 16
"""Bytes that are sent together with the head, since two small packets would cost two reads."""


_Replies = dict[_Key, tuple[bytes, memoryview]]


def render(datasets: Sequence[Dataset]) -> _Replies:
    """Render every reply: each page once as a whole window, and once as a page among cursors."""
    replies = {}
    for dataset in datasets:
        path, start, end = dataset.path.encode(), b"%d" % dataset.start, b"%d" % dataset.end
        for (begin, stop), data in zip(dataset.windows(), dataset.data(), strict=True):
            cursor = b"page_%d" % begin if begin > dataset.start else b""
            following = f"page_{stop}" if stop < dataset.end else None
            replies[path, start, end, cursor] = _reply(head(following), data)
            replies[path, b"%d" % begin, b"%d" % stop, b""] = _reply(head(None), data)
    return replies


def _reply(start: bytes, data: bytes) -> tuple[bytes, memoryview]:
    status = _STATUS % (len(start) + len(data))
    return status + start + data[:_FIRST], memoryview(data)[_FIRST:]


async def _serve(connection: socket.socket, replies: _Replies) -> None:
    loop = asyncio.get_running_loop()
    waiting = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in waiting:
                received = await loop.sock_recv(connection, _FIRST)
                if not received:
                    return
                waiting += received
            request, _, waiting = waiting.partition(b"\r\n\r\n")
            match = _REQUEST.match(request)
            assert match is not None, request
            asked = dict(_ASKED.findall(match[4]))
            key = (match[3], asked[b"start_time"], asked[b"end_time"], asked.get(b"page", b""))
            first, rest = (_THROTTLED, b"") if match[1] else replies[key]
            if latency := int(match[2]):
                await asyncio.sleep(latency / 1000)
            await loop.sock_sendall(connection, first)
            if rest:
                await loop.sock_sendall(connection, rest)


async def _main(datasets: Sequence[Dataset]) -> None:
    replies = render(datasets)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        listening.setblocking(False)  # noqa: FBT003 - takes it by position only
        print(listening.getsockname()[1], flush=True)
        serving = set()
        while True:
            connection, _ = await loop.sock_accept(listening)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(_serve(connection, replies))
            serving.add(task)
            task.add_done_callback(serving.discard)


@contextmanager
def serving(datasets: Sequence[Dataset]) -> Iterator[str]:
    """Run the server, and yield its URL, to be followed by the latency."""
    arguments = json.dumps([attrs.asdict(dataset) for dataset in datasets])
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", arguments],
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
    asyncio.run(_main([Dataset(**values) for values in json.loads(sys.argv[1])]))
