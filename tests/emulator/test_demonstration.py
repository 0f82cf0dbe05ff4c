from __future__ import annotations

from typing import get_type_hints

import attrs
import pytest
from asking import MIDNIGHT, NOW

from usage_async import PermissionDeniedError
from usage_async.emulator import Emulator, Faults, Organization, demo
from usage_async.emulator.demonstration import EmulatorOptions


async def test_a_client_of_a_local_organization_is_one_line() -> None:
    async with demo() as client:
        total = await client.completions(period="7d").total()
    assert total.num_model_requests > 0


async def test_the_client_goes_by_the_clock_of_the_organization() -> None:
    async with demo(now=lambda: NOW, organization=Organization(5)) as client:
        buckets = await client.completions(period="7d").collect()
    assert buckets[-1].start_time == MIDNIGHT
    assert len(buckets) == 8


async def test_options_are_those_of_the_emulator() -> None:
    async with demo(faults=Faults(forbidden_rate=1)) as client:
        with pytest.raises(PermissionDeniedError, match=r"api\.usage\.read"):
            await client.costs(period="7d").total()
    assert set(get_type_hints(EmulatorOptions)) == {
        field.name for field in attrs.fields(Emulator) if field.init
    }
