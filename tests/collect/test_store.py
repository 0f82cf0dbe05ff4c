"""The store that callers hold: one operation at a time, whole, and those that wait together."""

import asyncio
import math
import threading

import attrs
import pytest
from asking import until
from collecting import COMPLETIONS, ORGANIZATION, START, Toy, put, snapshot, usage
from service import Clock, ManualClock, turns

from usage_async._codec.tables import table_of_texts
from usage_async.collect import Place, Run, Store
from usage_async.collect import store as module
from usage_async.collect.sql.duckdb import DuckDB
from usage_async.collect.store import UnopenedError
from usage_async.errors import StoreError, StoreMovedError


@attrs.define(slots=False)
class Together(Toy):
    """A store in memory that does several operations together.

    Attributes:
        batches: Counts of the operations that were done together.
        held: Blocks the first operation until it is set.
        begun: Set when the first operation has begun.
        closed: Number of times that it was closed.
    """

    batches: list[int] = attrs.Factory(list)
    held: threading.Event = attrs.Factory(threading.Event)
    begun: threading.Event = attrs.Factory(threading.Event)
    closed: int = 0

    def named_at(self, organization):
        """Block."""
        self.begun.set()
        self.held.wait(10)

    def batch(self, operations):
        """See `Batching`."""
        self.batches.append(len(operations))
        return [operation() for operation in operations]

    def close(self):
        """See `Backend`."""
        self.closed += 1


@attrs.define(slots=False)
class Alone(Together):
    """The same, but unable to do several operations together."""

    batch = None


async def blocked(backend):
    """A store whose first operation goes on until `backend.held` is set."""
    store = Store(backend)
    first = asyncio.create_task(store.named_at("acme"))
    await asyncio.to_thread(backend.begun.wait)
    return store, first


class Slow(Toy):
    """A store that waits for the test, and that notices two operations at once."""

    def __init__(self):
        super().__init__()
        self.gate, self.entered = threading.Event(), threading.Event()
        self.inside = 0

    def apply(self, snapshot, seen_at):
        self.inside += 1
        assert self.inside == 1
        self.entered.set()
        assert self.gate.wait(10)
        applied = super().apply(snapshot, seen_at)
        self.inside -= 1
        return applied


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


# Operations that wait


async def test_what_waits_is_done_together(nothing_left):
    backend = Together()
    store, first = await blocked(backend)
    rest = [asyncio.create_task(store.resume_from(f"o{n}", COMPLETIONS)) for n in range(70)]
    await turns(2)
    backend.held.set()
    assert await asyncio.gather(*rest) == [Place()] * 70
    await first
    assert backend.batches == [64, 6]
    await store.close()


async def test_a_store_that_cannot_do_several_at_once_does_one_after_another(
    nothing_left,
):
    backend = Alone()
    store, first = await blocked(backend)
    rest = [asyncio.create_task(store.resume_from(f"o{n}", COMPLETIONS)) for n in range(3)]
    await turns(2)
    backend.held.set()
    assert await asyncio.gather(*rest, first) == [Place()] * 3 + [None]
    assert backend.batches == []


async def test_many_rows_are_applied_by_fewer_operations(monkeypatch, nothing_left):
    monkeypatch.setattr(module, "_MOST_ROWS", 5)
    backend = Together()
    store, first = await blocked(backend)
    made = [snapshot(Place(), [[usage()], [usage()]], organization=f"o{n}") for n in range(5)]
    rest = [asyncio.create_task(store.apply(each)) for each in made]
    await turns(2)
    backend.held.set()
    assert [applied.rows for applied in await asyncio.gather(*rest)] == [2] * 5
    await first
    assert backend.batches == [2, 2]


async def test_a_failure_is_that_of_its_operation_only(nothing_left):
    backend = Together()
    store, first = await blocked(backend)
    good, late = snapshot(Place(), [[usage()]]), snapshot(Place(number=9), [[usage()]])
    rest = [
        asyncio.create_task(store.apply(each))
        for each in (good, late, attrs.evolve(good, organization="globex"))
    ]
    await turns(2)
    undone = backend.batch

    def batch(operations):
        memory = attrs.evolve(backend.memory, places=dict(backend.memory.places))
        try:
            return undone(operations)
        except StoreMovedError:
            backend.memory = memory
            raise

    backend.batch = batch
    backend.held.set()
    one, two, three = await asyncio.gather(*rest, return_exceptions=True)
    assert (one.rows, three.rows) == (1, 1)
    assert isinstance(two, StoreMovedError)
    await first


async def test_a_cancelled_operation_that_waits_is_dropped(nothing_left):
    backend = Together()
    store, first = await blocked(backend)
    rest = [asyncio.create_task(store.apply(snapshot(Place(), [[usage()]]))) for _ in range(2)]
    await turns(2)
    rest[0].cancel()
    await turns(2)
    assert rest[0].cancelled()
    backend.held.set()
    assert (await rest[1]).rows == 1
    await first


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_operation_that_has_begun_is_waited_for(nothing_left, fails):
    backend = Together()
    if fails:
        hold = backend.named_at

        def named_at(organization):
            hold(organization)
            raise StoreError("it is gone")

        backend.named_at = named_at
    _, first = await blocked(backend)
    first.cancel()
    await turns(3)
    assert not first.done()
    backend.held.set()
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_closing_waits_for_what_was_asked_for(nothing_left):
    backend = Together()
    store, first = await blocked(backend)
    last = asyncio.create_task(store.resume_from("acme", COMPLETIONS))
    await turns(2)
    closing = asyncio.create_task(store.close())
    await turns(2)
    with pytest.raises(StoreError, match="closed"):
        await store.resume_from("acme", COMPLETIONS)
    assert (closing.done(), backend.closed) == (False, 0)
    backend.held.set()
    await closing
    assert (first.done(), await last) == (True, Place())
    await store.close()
    assert backend.closed == 1


async def test_an_operation_is_done_after_the_queue_was_empty(nothing_left):
    async with Store(Toy()) as store:
        for _ in range(2):
            assert await store.states() == []


# A database that cannot be opened


@attrs.define(slots=False)
class Shut(Together):
    """A store that another program has open for some tries, or that is not reached at all.

    Attributes:
        tries: Number of tries that fail.
        is_busy: True if another program has it open.
        tried: Number of tries so far, together or alone.
    """

    tries: float = math.inf
    is_busy: bool = True
    tried: int = 0

    def opened(self):
        self.tried += 1
        if self.tried <= self.tries:
            raise UnopenedError("a.duckdb: PID 1 has it open.", is_busy=self.is_busy)

    def place(self, organization, feed):
        """See `Backend`."""
        self.opened()
        return super().place(organization, feed)

    def record(self, run):
        """Fail by itself."""
        raise StoreError("it is no row")


@pytest.mark.parametrize("together", [True, False])
async def test_all_that_wait_for_a_busy_store_fail_after_one_wait(nothing_left, together):
    backend, clock = Shut(), Clock(0.0)
    if not together:
        backend.batch = None
    store = Store(backend, runtime=clock.runtime)
    asked = (store.resume_from(f"o{n}", COMPLETIONS) for n in range(200))
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(each) for each in found} == {"a.duckdb: PID 1 has it open; waited for 10 s"}
    assert len({id(each) for each in found}) == 200
    assert 10 <= clock.now < 10.1
    assert backend.tried == len(clock.slept) + 1
    backend.tries = 0
    assert await store.resume_from("acme", COMPLETIONS) == Place()
    await store.close()


async def test_a_busy_store_that_is_freed_does_all_in_order(nothing_left):
    backend, clock = Shut(tries=7), Clock(0.0)
    async with Store(backend, runtime=clock.runtime) as store:
        asked = (store.resume_from(f"o{n}", COMPLETIONS) for n in range(200))
        assert await asyncio.gather(*asked) == [Place()] * 200
        assert clock.slept == [0.05] * 7
        # The wait begins anew.
        backend.tried, backend.tries, clock.now = 0, math.inf, 100.0
        with pytest.raises(StoreError, match="waited for 10 s"):
            await store.resume_from("acme", COMPLETIONS)
        assert 110 <= clock.now < 110.1


async def test_a_store_that_is_not_reached_is_tried_once_for_all_that_wait(nothing_left):
    backend, clock = Shut(is_busy=False), Clock(0.0)
    async with Store(backend, runtime=clock.runtime) as store:
        asked = (store.resume_from(f"o{n}", COMPLETIONS) for n in range(200))
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(each) for each in found} == {"a.duckdb: PID 1 has it open."}
    assert (backend.tried, clock.slept) == (1, [])


async def test_a_store_that_is_shut_while_a_batch_is_done_one_by_one_is_tried_once(nothing_left):
    backend, clock = Shut(is_busy=False), Clock(0.0)
    store = Store(backend, runtime=clock.runtime)
    asked = [store.resume_from("first", COMPLETIONS), store.record(run("acme"))]
    asked += [store.resume_from(f"o{n}", COMPLETIONS) for n in range(30)]
    backend.tries = 0
    _, wrong, *rest = await asyncio.gather(*asked, return_exceptions=True)
    assert str(wrong) == "it is no row"
    assert rest == [Place()] * 30
    backend.tried, backend.tries = 0, math.inf
    asked = [store.named_at("acme"), store.record(run("acme"))]
    asked += [store.resume_from(f"o{n}", COMPLETIONS) for n in range(30)]
    backend.held.set()
    _, wrong, *rest = await asyncio.gather(*asked, return_exceptions=True)
    assert str(wrong) == "it is no row"
    assert {str(each) for each in rest} == {"a.duckdb: PID 1 has it open."}
    assert backend.tried == 1
    await store.close()


async def test_a_cancellation_ends_the_wait_for_a_busy_store(nothing_left):
    backend, clock = Shut(), ManualClock()
    store = Store(backend, runtime=clock.runtime)
    asked = [asyncio.create_task(store.resume_from(f"o{n}", COMPLETIONS)) for n in range(100)]
    await until(lambda: clock.sleepers)
    for task in asked:
        task.cancel()
    await turns(3)
    assert all(task.cancelled() for task in asked)
    closing = asyncio.create_task(store.close())
    await clock.pass_by(0.05)
    await closing
    assert backend.tried == 1


async def test_what_is_cancelled_while_a_busy_store_is_tried_is_dropped(nothing_left):
    backend, clock = Shut(tries=1), ManualClock()
    opened = backend.opened

    def held():
        backend.begun.set()
        backend.held.wait(10)
        opened()

    backend.opened = held
    store = Store(backend, runtime=clock.runtime)
    asked = [asyncio.create_task(store.resume_from(f"o{n}", COMPLETIONS)) for n in range(2)]
    await asyncio.to_thread(backend.begun.wait)
    asked[0].cancel()
    await turns(3)
    assert not asked[0].done()
    backend.held.set()
    await until(lambda: clock.sleepers)
    await turns(3)
    assert asked[0].cancelled()
    await clock.pass_by(0.05)
    assert await asked[1] == Place()
    assert backend.tried == 2
    await store.close()


async def test_what_is_cancelled_while_a_batch_fails_is_not_done_by_itself(nothing_left):
    backend = Together()
    store, first = await blocked(backend)
    begun, held, done = threading.Event(), threading.Event(), []

    def batch(works):
        begun.set()
        held.wait(10)
        raise StoreError("one of them cannot be done")

    backend.batch = batch
    backend.place = lambda organization, feed: done.append(organization)
    rest = [asyncio.create_task(store.resume_from(f"o{n}", COMPLETIONS)) for n in range(4)]
    await turns(2)
    backend.held.set()
    await asyncio.to_thread(begun.wait)
    for task in rest[1:]:
        task.cancel()
    await turns(3)
    held.set()
    await asyncio.gather(*rest, first, return_exceptions=True)
    assert done == ["o0"]
    assert [task.cancelled() for task in rest] == [False, True, True, True]
    await store.close()


async def test_a_loop_that_closes_while_a_store_works_leaves_nobody_waiting(nothing_left):
    backend = Together()
    store, first = await blocked(backend)
    last = asyncio.create_task(store.resume_from("acme", COMPLETIONS))
    await turns(2)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await turns(2)
    backend.held.set()
    await asyncio.wait((first, last), timeout=5)
    assert (first.cancelled(), last.cancelled()) == (True, True)


@pytest.mark.parametrize(("shuts_out", "pauses"), [(True, 2), (False, 0)])
async def test_a_store_that_shuts_others_out_lets_them_in_from_time_to_time(
    nothing_left, shuts_out, pauses
):
    backend, clock = Alone(), Clock(0.0)
    backend.shuts_out = shuts_out

    def place(organization, feed):
        clock.now += 0.3
        return Place()

    backend.place = place
    async with Store(backend, runtime=clock.runtime) as store:
        await asyncio.gather(*(store.resume_from(f"o{n}", COMPLETIONS) for n in range(12)))
    assert clock.slept == [0.1] * pauses


# A shared transaction of a database


def run(organization):
    return Run(organization=organization, feed=COMPLETIONS, started_at=START, seconds=1.0)


def test_a_database_does_several_operations_in_one_transaction(tmp_path, monkeypatch):
    backend = DuckDB(str(tmp_path / "usage.duckdb"))
    opened = []
    connect = backend._open

    def _open(**how):
        opened.append(how)
        return connect(**how)

    monkeypatch.setattr(backend, "_open", _open)
    made = [snapshot(Place(), [[usage()]], organization=name) for name in ("acme", "globex")]
    operations = [lambda each=each: backend.apply(each, START) for each in made]
    operations += [lambda: backend.place("acme", COMPLETIONS), lambda: backend.record(run("acme"))]
    one, two, place, _ = backend.batch(operations)
    assert (one.rows, two.rows, place.number) == (1, 1, 1)
    assert len(opened) == 1
    assert [state.rows for state in backend.states()] == [1, 1]


def test_a_batch_that_fails_leaves_nothing(tmp_path):
    backend = DuckDB(str(tmp_path / "usage.duckdb"))
    good, late = snapshot(Place(), [[usage()]]), snapshot(Place(number=9), [[usage()]])
    with pytest.raises(StoreMovedError):
        backend.batch([lambda: backend.apply(good, START), lambda: backend.apply(late, START)])
    assert backend.states() == []
    assert put(backend, [[usage()]]).rows == 1
