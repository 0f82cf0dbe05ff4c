"""Shared by the tests of the emulator: an instant, an organization, a small HTTP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import aiohttp
import attrs

from usage_async.emulator import Emulator, Organization

NOW = 1795235000
"""2026-11-21 04:23:20 UTC, a Saturday: the present of every test."""
DAY = 86400
MIDNIGHT = NOW - NOW % DAY
ORGANIZATION = Organization(0)
"""Shared by the tests, since it keeps what it has laid out."""
COMPLETIONS = "/organization/usage/completions"
COSTS = "/organization/costs"
PLUGIN = ("-p", "no:usage_async", "-p", "usage_async.emulator.plugin", "-W", "error")
"""Options that load the pytest plugin from this tree, whether the package is installed or not."""
LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
"""The option without which pytest-asyncio warns."""


def emulator(**options: Any) -> Emulator:
    """Make an emulator whose time stands still."""
    return Emulator(ORGANIZATION, now=lambda: NOW, **options)


@attrs.frozen
class Reply:
    """A reply: status, headers, body, and the body's JSON value with exact numbers."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON value of the body."""
        return json.loads(self.body, parse_float=Decimal)


class Asker:
    """A small HTTP client of emulators."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def __call__(
        self,
        server: Emulator,
        path: str,
        params: Iterable[tuple[str, Any]] = (),
        *,
        key: str | None = None,
        method: str = "GET",
    ) -> Reply:
        key = server.admin_key if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        pairs = [(name, str(value)) for name, value in params]
        async with self.session.request(
            method, server.url + path, params=pairs, headers=headers
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def pages(
        self, server: Emulator, path: str, params: Iterable[tuple[str, Any]], most: int = 99
    ) -> list[Any]:
        """Follow the cursors, for at most `most` pages."""
        params = list(params)
        pages: list[Any] = []
        cursor: list[tuple[str, Any]] = []
        while len(pages) < most:
            reply = await self(server, path, params + cursor)
            assert reply.status == 200, reply.body
            pages.append(reply.json)
            if not reply.json["has_more"]:
                break
            cursor = [("page", reply.json["next_page"])]
        return pages


async def send(server: Emulator, line: str | bytes, headers: Iterable[bytes] = ()) -> Reply:
    """Send a raw request, including one that no client would send.

    Args:
        server: The emulator.
        line: Method and target.
        headers: Lines of the head.
    """
    first = line.encode() if isinstance(line, str) else line
    lines = [first + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers, b"", b""]
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(b"\r\n".join(lines))
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status, *fields = head.decode("latin-1").split("\r\n")
    return Reply(int(status.split(" ")[1]), dict(f.split(": ", 1) for f in fields), body)


async def until(condition: Callable[[], object]) -> None:
    """Give other tasks turns until a condition holds."""
    while not condition():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)


def rows_of(pages: list[Any]) -> list[Any]:
    """List the rows of some pages."""
    return [row for page in pages for bucket in page["data"] for row in bucket["results"]]
