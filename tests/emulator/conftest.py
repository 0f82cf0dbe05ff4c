from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from asking import Asker


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as session:
        yield Asker(session)
