"""Fixtures that several rooms' tests share."""

import asyncio
import gc

import pytest
from hypothesis import settings
from service import Clock

# Other work on the machine must not fail a test; what a bug hunt finds is worth a longer run:
# `pytest --hypothesis-profile=long`.
settings.register_profile("short", deadline=None, max_examples=25)
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile("short")


@pytest.fixture
def clock():
    """Time that passes only by sleeping."""
    return Clock()


@pytest.fixture
async def nothing_left():
    """After the test no task is left, and the event loop has nothing to complain of."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
    assert asyncio.all_tasks() == {asyncio.current_task()}
