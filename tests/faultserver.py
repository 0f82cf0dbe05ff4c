"""A raw HTTP server on loopback that can misbehave on purpose.

    async with FaultServer(behaviour) as server:
        ... server.url, server.requests, server.connections

A behaviour, `async (request, wire) -> None`, answers one request, correctly or not, through the
`Wire`. `script(…)` combines several behaviours, one for each request; the last one stays.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import attrs

CERTIFICATE = Path(__file__).parent / "samples" / "self_signed.pem"
"""Certificate and key of a TLS server that only a test trusts."""


def self_signed() -> ssl.SSLContext:
    """Make the TLS context of a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


@attrs.frozen
class Request:
    """A request as it arrived. Its `repr` hides the headers, and so the key."""

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
        """Send a whole reply; `length` replaces the correct Content-Length."""
        size = len(body) if length is None else length
        fields = {"Content-Type": "application/json", "Content-Length": size, **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.raw(f"HTTP/1.1 {status} Some Reason\r\n{lines}\r\n".encode() + body)

    async def raw(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def close(self) -> None:
        """Close the connection in an orderly way, even in the middle of a reply."""
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
        """Send nothing until the peer gives up."""
        await self.reader.read()
        self.closed = True


Behaviour = Callable[[Request, Wire], Awaitable[None]]


def script(*behaviours: Behaviour) -> Behaviour:
    """Answer each request with the next behaviour; the last one stays."""
    left = list(behaviours)

    async def behave(request: Request, wire: Wire) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, wire)

    return behave


def answer(*args: Any, **options: Any) -> Behaviour:
    """Always send the same reply; the arguments are those of `Wire.reply`."""
    return lambda _, wire: wire.reply(*args, **options)


def raw(data: bytes) -> Behaviour:
    """Send raw bytes, and close."""

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
    """Never answer, while the event loop's clock runs ahead."""
    hanging = asyncio.create_task(wire.hang())
    try:
        while not hanging.done():
            await fly(0.1)
        await hanging
    finally:
        hanging.cancel()


async def fly(seconds: float) -> None:
    """Advance the event loop's clock, so that its timers expire without a wait.

    So the test of a timeout takes no time, and its timeout can be long enough for a busy machine.
    Each turn of the loop advances the clock; a test about something else uses `Wire.hang`.
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
    """A server on a free port of loopback.

    Attributes:
        requests: Requests in the order of arrival.
        connections: Number of open connections.
        accepted: Number of connections since the start.
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
        """Wait until at most `kept` connections are open."""
        while self.connections > kept:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain callback, because asyncio would log the cancelled task of a coroutine.
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
            pass  # the client gave up, which is allowed
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
