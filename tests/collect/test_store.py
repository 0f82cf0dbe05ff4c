"""The store that a caller holds: one operation at a time, in a thread, and whole."""

import asyncio
import threading

import pytest
from collecting import COMPLETIONS, ORGANIZATION, START, Toy, snapshot, usage

from usage_async._codec.tables import table_of_texts
from usage_async.collect import Place, Run
from usage_async.collect.store import Store
from usage_async.errors import StoreError


class Slow(Toy):
    """A store that waits for the test, and that notices two operations at once."""

    def __init__(self):
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.inside = 0
        self.closed = 0

    def apply(self, snapshot, seen_at):
        self.inside += 1
        assert self.inside == 1
        self.entered.set()
        assert self.gate.wait(10)
        applied = super().apply(snapshot, seen_at)
        self.inside -= 1
        return applied

    def close(self):
        self.closed += 1


@pytest.fixture
def slow():
    return Slow()


async def test_every_operation_reaches_the_backend():
    toy = Toy()
    async with Store(toy) as store:
        assert await store.resume_from(ORGANIZATION, COMPLETIONS) == Place()
        given = snapshot(Place(), [[usage(1)]])
        assert (await store.apply(given)).rows == 1
        again = snapshot(given.next_place(), [[usage(2)]])
        await store.apply(again, seen_at=START + 5)
        run = Run(organization=ORGANIZATION, feed=COMPLETIONS, started_at=START, seconds=1.0)
        await store.record(run)
        names = table_of_texts({"dimension": ["project_id"], "id": ["p"], "name": ["P"]})
        await store.remember(ORGANIZATION, names, seen_at=7)
        (state,) = await store.states()
    assert (state.place.number, state.run, state.revisions) == (2, run, 1)
    assert [row["seen_at"] for row in toy.memory.revisions] == [START + 5]
    assert [row["first_seen"] for row in toy.memory.names.values()] == [7]


async def test_operations_are_done_one_at_a_time_and_the_loop_runs_on(slow):
    store = Store(slow)
    first = asyncio.ensure_future(store.apply(snapshot(Place(), [[]])))
    second = asyncio.ensure_future(store.apply(snapshot(Place(number=1), [[]])))
    await asyncio.to_thread(slow.entered.wait)
    await asyncio.sleep(0)
    assert not first.done()
    slow.gate.set()
    await asyncio.gather(first, second)
    assert (await store.resume_from(ORGANIZATION, COMPLETIONS)).number == 2


async def test_a_cancellation_waits_until_the_snapshot_is_applied(slow):
    store = Store(slow)
    applying = asyncio.ensure_future(store.apply(snapshot(Place(), [[]])))
    await asyncio.to_thread(slow.entered.wait)
    applying.cancel()
    await asyncio.sleep(0)
    assert not applying.done()
    slow.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert (await store.resume_from(ORGANIZATION, COMPLETIONS)).number == 1


async def test_closing_waits_for_the_operation_that_runs(slow):
    store = Store(slow)
    applying = asyncio.ensure_future(store.apply(snapshot(Place(), [[]])))
    await asyncio.to_thread(slow.entered.wait)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    assert slow.closed == 0
    slow.gate.set()
    await asyncio.gather(applying, closing)
    await store.close()
    assert slow.closed == 1
    with pytest.raises(StoreError, match="closed"):
        await store.states()
