"""Shared by the tests of the web: applications under uvicorn, and browsers of them."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import attrs
import httpx
import uvicorn

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Without the certificates of the system, which take longer to read than most tests."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready, self.leave = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True  # leaving a task by it would end the tests
        self.ready.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.leave.wait()  # the loop of uvicorn looks ten times a second

    @contextmanager
    def capture_signals(self) -> Any:
        yield  # signals are for the tests


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application on a free port of loopback; yield a browser of it."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=5,
        http="h11",
    )
    server = _Server(config)
    work = asyncio.ensure_future(server.serve())
    ready = asyncio.ensure_future(server.ready.wait())
    await asyncio.wait((work, ready), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if not server.started:
        await work
        raise RuntimeError("the application did not start")
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, verify=NO_TLS
        ) as browser:
            yield browser
    finally:
        server.leave.set()
        await work


@attrs.frozen
class Reply:
    """A reply: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def crowd(
    url: object, paths: Iterable[str], headers: Mapping[str, str] | None = None
) -> list[Reply]:
    """Let as many browsers as paths ask at the same time, each on a connection of its own."""

    async def ask(session: aiohttp.ClientSession, path: str) -> Reply:
        async with session.get(path) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    _allow_connections()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(str(url), connector=connector, headers=headers) as session:
        return await asyncio.gather(*(ask(session, path) for path in paths))


def _allow_connections() -> None:
    """Let this process have both ends of a crowd's connections, as far as the system permits."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@asynccontextmanager
async def direct(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application without a server; yield a browser of it."""
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
            yield browser


def spawn_serve(*options: str) -> subprocess.Popen[str]:
    """Start `usage-async serve --demo` on a free port; its first line is the URL."""
    unwanted = ("OPENAI_", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONWARNINGS")
    return subprocess.Popen(  # noqa: S603 - this very Python
        [sys.executable, "-m", "usage_async._cli", "serve", "--demo", "--port", "0", *options],
        env={k: v for k, v in os.environ.items() if not k.startswith(unwanted)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
