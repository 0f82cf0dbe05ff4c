"""The pytest fixtures and the marker that come with the installed package."""

import pytest

from usage_async import PermissionDeniedError
from usage_async.emulator import Faults


@pytest.mark.asyncio
async def test_the_spend_of_a_week(usage_client, usage_emulator):
    total = await usage_client.costs(period="7d").total()
    assert total.amount.value > 0
    assert usage_emulator.requests[0].path == "/v1/organization/costs"


@pytest.mark.asyncio
@pytest.mark.usage_emulator(faults=Faults(forbidden_rate=1), now=lambda: 1790812800)
async def test_a_key_without_the_scope(usage_client):
    with pytest.raises(PermissionDeniedError, match=r"api\.usage\.read"):
        await usage_client.costs(period="7d").total()
