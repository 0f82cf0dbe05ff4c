"""The fixture `usage_client`, in a file of its own because it needs pytest-asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from usage_async import UsageClient
    from usage_async.emulator.service.server import Emulator


@pytest_asyncio.fixture
async def usage_client(usage_emulator: Emulator) -> AsyncIterator[UsageClient]:
    """A client of the test's `usage_emulator`, with the same clock."""
    from usage_async.emulator.demonstration import client_of

    async with client_of(usage_emulator) as client:
        yield client
