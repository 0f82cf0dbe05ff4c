"""`demo`: a client of a local organization, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypedDict, Unpack

from usage_async._client.client import UsageClient
from usage_async._http.runtime import Runtime
from usage_async.emulator.faults import Faults
from usage_async.emulator.organization.organization import Organization
from usage_async.emulator.quirks import Quirks
from usage_async.emulator.service.server import Emulator


class EmulatorOptions(TypedDict, total=False):
    """The options of an `Emulator`."""

    organization: Organization
    now: Callable[[], float] | None
    latency_s: float
    faults: Faults
    quirks: Quirks
    host: str
    port: int


@asynccontextmanager
async def demo(**options: Unpack[EmulatorOptions]) -> AsyncIterator[UsageClient]:
    """Start a local organization, and yield a client of it. No key and no network is needed.

        async with demo() as client:
            print(await client.costs(period="last-month").total())

    Args:
        options: Options of the `Emulator`. The client has the same clock.
    """
    async with Emulator(**options) as server, client_of(server) as client:
        yield client


def client_of(server: Emulator) -> UsageClient:
    """Make a client of a running emulator, with the same clock."""
    runtime = None if server.now is None else Runtime(now=server.now)
    return UsageClient(server.admin_key, base_url=server.url, runtime=runtime)
