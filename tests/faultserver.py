"""A raw HTTP server on loopback that can misbehave on purpose.

    async with FaultServer(behaviour) as server:
        ... server.url, server.requests, server.connections

A behaviour is `async (request, wire) -> None`: it answers one request, well or badly, through the
`Wire`. `script(…)` makes one of several, one a request; the last one stays.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import attrs


@attrs.frozen
class Request:
    """A request as it arrived; what prints it does not tell the key."""

    method: str
    target: str
    headers: Mapping[str, str] = attrs.field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)


@attrs.define(eq=False)
class Wire:
    """The server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    closed: bool = False

    async def reply(
        self,
        body: bytes = b"",
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        """Send a whole answer; `length` makes its Content-Length a lie."""
        size = len(body) if length is None else length
        fields = {"Content-Type": "application/json", "Content-Length": size, **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.raw(f"HTTP/1.1 {status} Some Reason\r\n{lines}\r\n".encode() + body)

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        """Close in an orderly way, whatever was promised."""
        self.closed = True
        self.writer.close()

    async def reset(self) -> None:
        """Drop the connection so that the peer sees a reset."""
        self.closed = True
        linger = struct.pack("ii", 1, 0)
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing until the peer gives up."""
        await self.reader.read()
        self.closed = True


Behaviour = Callable[[Request, Wire], Awaitable[None]]


def script(*behaviours: Behaviour) -> Behaviour:
    """Behave differently from request to request; the last behaviour stays."""
    left = list(behaviours)

    async def behave(request: Request, wire: Wire) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, wire)

    return behave


def answer(*args: Any, **options: Any) -> Behaviour:
    """Reply always the same, as `Wire.reply` does."""
    return lambda _, wire: wire.reply(*args, **options)


def raw(data: bytes) -> Behaviour:
    """Send bytes as they are, and close."""

    async def behave(_: Request, wire: Wire) -> None:
        await wire.raw(data)
        await wire.close()

    return behave


async def close(_: Request, wire: Wire) -> None:
    """Close before any header."""
    await wire.close()


async def reset(_: Request, wire: Wire) -> None:
    """Reset before any header."""
    await wire.reset()


async def hang(_: Request, wire: Wire) -> None:
    """Never answer; meanwhile the time flies."""
    hanging = asyncio.create_task(wire.hang())
    try:
        while not hanging.done():
            await fly(0.1)
        await hanging
    finally:
        hanging.cancel()


async def fly(seconds: float) -> None:
    """Let the event loop's clock run ahead, so that its timers are met without a wait.

    Tests of a timeout take no time, and limits can be so long that a busy machine meets none by
    itself. Every turn counts, so a test that is about something else hangs by `Wire.hang`.
    """
    loop = asyncio.get_running_loop()
    ahead = getattr(loop.time, "ahead", 0.0) + seconds

    def time() -> float:
        return monotonic() + ahead

    time.ahead = ahead
    loop.time = time
    await asyncio.sleep(0)


@attrs.define(eq=False)
class FaultServer:
    """Listens on a free port of loopback.

    Attributes:
        requests: What arrived, in order.
        connections: How many connections are open.
        accepted: How many connections were ever opened.
    """

    behave: Behaviour
    ssl: ssl.SSLContext | None = None
    requests: list[Request] = attrs.field(factory=list, init=False)
    connections: int = attrs.field(default=0, init=False)
    accepted: int = attrs.field(default=0, init=False)
    port: int = attrs.field(default=0, init=False)
    _server: asyncio.Server | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    @property
    def url(self) -> str:
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def until_left(self, kept: int = 0) -> None:
        """Wait until every connection is closed, but for some that are kept for later."""
        while self.connections > kept:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain callback: the task of a coroutine would be logged when it is cancelled.
        task = asyncio.get_running_loop().create_task(self._serve(Wire(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, wire: Wire) -> None:
        self.connections += 1
        self.accepted += 1
        try:
            while not wire.closed and (request := await _read(wire.reader)):
                self.requests.append(request)
                await self.behave(request, wire)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client gave up, as it may
        finally:
            self.connections -= 1
            wire.writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("ascii").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(": ") for line in lines if line)
    return Request(method, target, {name.lower(): value for name, _, value in pairs})
