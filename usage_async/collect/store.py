"""Stores: databases to which snapshots are applied.

A store is one async class around the blocking operations of a backend, which run in a thread, one
at a time. Each operation is one transaction. `tests/collect/test_conformance.py` says what every
backend must do.

A transaction of a database takes some 10 to 40 ms whatever it does, and a run of 40 organizations
has some 1,500 operations. Therefore the operations that wait while a transaction runs share the
next one, if the backend can do so (`Batching`). If one of them fails, the shared transaction is
undone, and each operation is done again in a transaction of its own.

A database that cannot be opened refuses all operations alike (`UnopenedError`). One that another
program has open is tried again for some seconds. After that all operations that wait fail at once:
if each waited for itself, a run of many organizations would take hours to fail.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, TypeVar, runtime_checkable

import attrs

from usage_async._client.files import in_thread
from usage_async._http.runtime import Runtime
from usage_async.collect.feed import Feed
from usage_async.collect.values import Applied, FeedState, Place, Run, Snapshot
from usage_async.errors import StoreError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")
_Outcome = tuple[Any, Exception | None]

_MOST_TOGETHER = 64
"""Most operations of a shared transaction."""
_MOST_ROWS = 50_000
"""Most rows of a shared transaction, unless its first operation alone has more: if an operation
fails, all of them are written again."""
WAIT_S = 10.0
"""Seconds for which operations wait for a database that another program has open."""
_NEXT_TRY_S = 0.05
"""Seconds between two tries to open it."""
_TURN_S, _PAUSE_S = 1.0, 2 * _NEXT_TRY_S
"""Seconds of work after which a database that shuts others out is left to them, and for how long:
a reader that tries every 50 ms would otherwise wait for the end of a long run."""


class UnopenedError(StoreError):
    """The database cannot be opened. Nothing was done, and no other operation can be done either.

    Attributes:
        is_busy: True if another program has it open, which may end soon.
    """

    def __init__(self, message: str, *, is_busy: bool = False) -> None:
        super().__init__(message)
        self.is_busy = is_busy


class Backend(Protocol):
    """Blocking operations of a database. None is called while another runs.

    Each may raise an `UnopenedError`, rather than wait for another program.

    Attributes:
        keeps_names: True if `remember` keeps names.
        shuts_out: True if nothing else can read the database while an operation runs.
    """

    keeps_names: bool
    shuts_out: bool

    def place(self, organization: str, feed: Feed) -> Place:
        """Give the place of a feed; `Place()` if the feed was never collected.

        Raises:
            StoreError: The table of the feed holds another feed.
        """
        ...

    def apply(self, snapshot: Snapshot, seen_at: int) -> Applied:
        """Apply a snapshot whole, in one transaction.

        The rows of the organization in each bucket that was sent are replaced, and the place
        becomes `snapshot.next_place()`. In a bucket that `snapshot.place.was_read`, each row that
        has come, changed or gone is a revision.

        Args:
            snapshot: The snapshot.
            seen_at: Instant of the revisions, Unix seconds.

        Raises:
            StoreMovedError: The place has another number than `snapshot.place`.
            StoreError: It cannot be applied. Nothing has changed.
        """
        ...

    def record(self, run: Run) -> None:
        """Keep a run that has ended, as the last one of its feed."""
        ...

    def remember(self, organization: str, names: Table, seen_at: int) -> None:
        """Keep names, with the first and the last time that they were seen.

        Args:
            organization: Name of the organization.
            names: Columns `dimension` (such as `project_id`), `id` and `name`; it may be empty.
            seen_at: Unix seconds.
        """
        ...

    def named_at(self, organization: str) -> int | None:
        """Give the Unix seconds of the latest `remember` of an organization; None if never."""
        ...

    def states(self) -> list[FeedState]:
        """Give the state of each feed of each organization, sorted by organization and table."""
        ...

    def close(self) -> None:
        """Close the database."""
        ...


@runtime_checkable
class Batching(Protocol):
    """Backend that can do several operations in one transaction."""

    def batch(self, operations: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do operations in one transaction, in order, and give their results.

        Args:
            operations: Functions that call a method of this backend.

        Raises:
            Exception: An operation failed. Nothing has changed.
        """
        ...


@attrs.define(eq=False)
class _Operation:
    """Operation that waits for its turn.

    Attributes:
        work: Function that does it.
        rows: Number of rows that it writes.
        done: Future of its result.
        is_dropped: True if nobody waits for its result any more.
    """

    work: Callable[[], Any]
    rows: int
    done: asyncio.Future[Any]
    is_dropped: bool = attrs.field(default=False, init=False)


class Store:
    """A database to which snapshots are applied; an async context manager, made by `open_store`.

    Args:
        backend: Blocking operations of the database.
        runtime: Clock and sleep.
    """

    def __init__(self, backend: Backend, *, runtime: Runtime | None = None) -> None:
        self._backend = backend
        self._runtime = runtime or Runtime()
        self._waiting: deque[_Operation] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._is_closed = False

    async def resume_from(self, organization: str, feed: Feed) -> Place:
        """Give the place from which a feed is read on.

        Raises:
            StoreError: The store cannot be read, or the table of the feed holds another feed.
        """
        return await self._in_turn(self._backend.place, organization, feed)

    async def apply(self, snapshot: Snapshot, *, seen_at: int | None = None) -> Applied:
        """Apply a snapshot, whole or not at all. A cancellation waits until it is applied.

        Args:
            snapshot: The snapshot.
            seen_at: Instant of the revisions, Unix seconds; by default that at which the run of the
                snapshot began.

        Raises:
            StoreMovedError: Another run has applied a snapshot since this one was begun. Read again
                from the place that `resume_from` gives.
            StoreError: It cannot be applied. Nothing has changed.
        """
        seen_at = snapshot.as_of if seen_at is None else seen_at
        rows = snapshot.table.num_rows
        return await self._in_turn(self._backend.apply, snapshot, seen_at, rows=rows)

    @property
    def keeps_names(self) -> bool:
        """True if the store keeps names; otherwise they need not be read."""
        return self._backend.keeps_names

    async def record(self, run: Run) -> None:
        """Keep a run that has ended.

        Raises:
            StoreError: It cannot be written.
        """
        await self._in_turn(self._backend.record, run)

    async def remember(self, organization: str, names: Table, *, seen_at: int) -> None:
        """Keep names, which stay when they are deleted upstream.

        Args:
            organization: Name of the organization.
            names: A table of `Names.to_arrow()`.
            seen_at: Unix seconds.

        Raises:
            StoreError: They cannot be written.
        """
        await self._in_turn(self._backend.remember, organization, names, seen_at)

    async def named_at(self, organization: str) -> int | None:
        """Give the Unix seconds at which names were kept last; None if they never were.

        Raises:
            StoreError: The store cannot be read.
        """
        return await self._in_turn(self._backend.named_at, organization)

    async def states(self) -> list[FeedState]:
        """Give the state of each feed of each organization, sorted by organization and table.

        Raises:
            StoreError: The store cannot be read.
        """
        return await self._in_turn(self._backend.states)

    async def _in_turn(self, work: Callable[..., T], *args: Any, rows: int = 0) -> T:
        """Do an operation after those before it.

        A cancellation drops an operation that waits, and waits for the end of one that has begun.
        """
        if self._is_closed:
            raise StoreError("this store is closed")
        loop = asyncio.get_running_loop()
        operation = _Operation(partial(work, *args), rows, loop.create_future())
        self._waiting.append(operation)
        if self._worker is None:
            self._worker = loop.create_task(self._work())
        cancelled: asyncio.CancelledError | None = None
        while not operation.done.done():
            try:
                await asyncio.wait((operation.done,))
            except asyncio.CancelledError as error:
                if operation in self._waiting:
                    self._waiting.remove(operation)
                    raise
                operation.is_dropped = True
                cancelled = error
        if cancelled is not None:
            if not operation.done.cancelled():
                # An error that nobody asks for would be logged by asyncio.
                operation.done.exception()
            raise cancelled
        result: T = operation.done.result()
        return result

    async def _work(self) -> None:
        """Do the operations that wait, until there are none."""
        together: list[_Operation] = []
        busy_since: float | None = None
        begun = self._runtime.monotonic()
        try:
            while self._waiting:
                together = self._next()
                outcomes = await in_thread(_done, self._backend, together)
                unopened = self._tell(together, outcomes)
                now = self._runtime.monotonic()
                if unopened is None:
                    busy_since = None
                    if self._backend.shuts_out and self._waiting and now - begun >= _TURN_S:
                        await self._runtime.sleep(_PAUSE_S)
                        begun = self._runtime.monotonic()
                    continue
                busy_since = now if busy_since is None else busy_since
                if unopened.is_busy and now - busy_since < WAIT_S:
                    await self._runtime.sleep(_NEXT_TRY_S)
                else:
                    self._refuse(unopened)
                    busy_since = None
        finally:
            # When an event loop closes, it cancels this task as well.
            for operation in (*together, *self._waiting):
                operation.done.cancel()
            self._waiting.clear()
            self._worker = None

    def _tell(
        self, together: Sequence[_Operation], outcomes: Sequence[_Outcome]
    ) -> UnopenedError | None:
        """Give operations their outcomes. Those that the database was not opened for wait again."""
        unopened, again = None, []
        for operation, (result, failure) in zip(together, outcomes, strict=True):
            if isinstance(failure, UnopenedError):
                unopened = failure
                if operation.is_dropped:
                    operation.done.cancel()
                else:
                    again.append(operation)
            elif failure is None:
                operation.done.set_result(result)
            else:
                operation.done.set_exception(failure)
        self._waiting.extendleft(reversed(again))
        return unopened

    def _refuse(self, unopened: UnopenedError) -> None:
        """Let all operations that wait fail, each with an error of its own."""
        told = unopened.message
        if unopened.is_busy:
            told = f"{told.removesuffix('.')}; waited for {WAIT_S:.0f} s"
        while self._waiting:
            self._waiting.popleft().done.set_exception(StoreError(told))

    def _next(self) -> list[_Operation]:
        """Take the operations that share the next transaction."""
        most = _MOST_TOGETHER if isinstance(self._backend, Batching) else 1
        together = [self._waiting.popleft()]
        rows = together[0].rows
        while self._waiting and len(together) < most and rows + self._waiting[0].rows <= _MOST_ROWS:
            together.append(self._waiting.popleft())
            rows += together[-1].rows
        return together

    async def close(self) -> None:
        """Close the database, after the operations that wait."""
        if not self._is_closed:
            self._is_closed = True
            if self._worker is not None:
                await asyncio.wait((self._worker,))
            await in_thread(self._backend.close)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the URL of the store may hold a password."""
        raise TypeError("a store cannot be pickled: open it where it is used")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _done(backend: Any, operations: Sequence[_Operation]) -> list[_Outcome]:
    """Do operations together, or each on its own if that fails, and give their outcomes."""
    if len(operations) > 1:
        try:
            results = backend.batch([operation.work for operation in operations])
        except UnopenedError as error:
            return [(None, error)] * len(operations)
        except Exception:  # noqa: BLE001, S110 - on its own the operation fails again
            pass
        else:
            return [(result, None) for result in results]
    outcomes: list[_Outcome] = []
    for operation in operations:
        last = outcomes[-1] if outcomes else (None, None)
        outcomes.append(last if isinstance(last[1], UnopenedError) else _outcome(operation))
    return outcomes


def _outcome(operation: _Operation) -> _Outcome:
    """Do an operation, and give its result or its error."""
    if operation.is_dropped:
        return None, None
    try:
        return operation.work(), None
    except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
        return None, error
