"""The pages of a run, in order, however they come; and the stream that a caller iterates.

Windows are read ahead of the caller, at most `concurrency` pages at a time; the caller gets them by
time. A stream that broke off never looks finished.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs

from usage_async._fetch import in_turns
from usage_async._times import iso
from usage_async._window import WindowReading
from usage_async.errors import (
    AuthenticationError,
    PermissionDeniedError,
    RangeUnavailableError,
    UsageError,
)
from usage_async.models import Notice, UsageResponse, UsageResult, UsageTimeBucket

if TYPE_CHECKING:
    from usage_async._codec import Decoded
    from usage_async._plan import Plan, Window
    from usage_async._times import TimeRange

R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

_TURN_S = 0.01
"""How long a caller may be given items that are at hand, before the event loop has its turn. It is
real time, whatever the client's clock: it bounds what others on the loop wait for."""

Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
GetPage = Callable[["Window", "str | None", asyncio.Event], "Awaitable[Decoded[R]]"]
"""Reads one page: of a window, from a cursor; it is decoded when the event is set."""


@attrs.define(eq=False)
class _Requests(Generic[R]):
    """What tasks know of a run: nothing that refers to the stream, so that dropping it ends them.

    Attributes:
        get_page: Reads one page.
        urgent: What must not wait for its turn: the key was refused.
        failed: Whether a request failed, so that no window further on is begun.
    """

    get_page: GetPage[R]
    urgent: asyncio.Future[Exception] = attrs.field(
        factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )
    failed: bool = False

    async def read(
        self, window: Window, cursor: str | None, turn: asyncio.Event
    ) -> Decoded[R] | Exception:
        """Read one page; a failure is a value, to be raised when it is this page's turn."""
        try:
            return await self.get_page(window, cursor, turn)
        except Exception as error:  # noqa: BLE001 - a caller's transport may raise anything
            self.failed = True
            refused = isinstance(error, AuthenticationError | PermissionDeniedError)
            if refused and not self.urgent.done():
                self.urgent.set_result(error)
            return error


@attrs.frozen(eq=False)
class _Ahead(Generic[R]):
    """A page that is being read, or waits for its turn.

    Attributes:
        task: Reads it.
        turn: Set when the caller waits for it; until then it stays as it came. Bytes take less
            memory than objects, and objects less time when they are used as soon as they are made,
            while they are in the processor's caches.
    """

    task: asyncio.Task[Decoded[R] | Exception]
    turn: asyncio.Event


@attrs.define(eq=False, kw_only=True)
class Merge(Generic[R]):
    """Reads the windows of a run, several at a time, and gives their pages by time.

    Attributes:
        requested: The range that was asked for.
        times: The range that is read.
        plan: The windows that were not cut yet.
        get_page: Reads one page.
        check_usable: Raises where the client was closed.
        spawn: Starts a task that the client ends when it is closed.
        concurrency: The most pages held, the one that the caller works on included.
        now: Unix seconds at which the run began.
        settle_after_s: Seconds after its end for which a bucket may still be revised.
        page: A saved cursor, to begin from.
        clamp: Whether to go on from where the history begins.
        notify: Takes notices.
    """

    requested: TimeRange
    times: TimeRange
    plan: Plan
    get_page: GetPage[R]
    check_usable: Callable[[], None]
    spawn: Spawn
    concurrency: int
    now: int
    settle_after_s: int
    page: str | None
    clamp: bool
    notify: Callable[[Notice], None]
    ahead: dict[Window, _Ahead[R]] = attrs.field(factory=dict, init=False)
    _windows: deque[Window] = attrs.field(factory=deque, init=False)
    """The windows that were cut and are not over, earliest first."""
    _unsettled: list[int] = attrs.field(factory=list, init=False)
    _given_up: list[asyncio.Task[Any]] = attrs.field(factory=list, init=False)
    _requests: _Requests[R] | None = attrs.field(default=None, init=False)
    _reread: Callable[[], Generator[None, None, Decoded[R]]] | None = attrs.field(
        default=None, init=False
    )
    _head: WindowReading[R] | None = attrs.field(default=None, init=False)

    async def next_page(self) -> UsageResponse[R] | None:
        """Give the next page; None at the end.

        Raises:
            UsageError: What the page's request ended in, or 401 and 403 of any request.
        """
        self.check_usable()
        while (window := next(self._cut_windows(), None)) is not None:
            if self._head is None or self._head.window != window:
                self._head = WindowReading(window=window, now=self.now, cursor=self.page)
            self._begin(self._head)
            try:
                decoded = await self._outcome(self.ahead[window].task)
            except RangeUnavailableError as error:
                if not self.clamp or self.page is not None:
                    raise
                self._adapt(error, self._head)
                continue
            del self.ahead[window]
            before = await self._before(self._head, decoded.page)
            page, notices = self._head.accept(decoded.page, before)
            self._reread = None if self._head.done else decoded.reread
            for notice in (*decoded.notices, *notices, *self._unaligned(page)):
                self.notify(notice)
            if self._head.done:
                self._windows.popleft()
            self._note_unsettled(page)
            return page
        self._tell_unsettled()
        return None

    def _cut_windows(self) -> Iterator[Window]:
        """Give the windows that are left, earliest first; they are cut on the way."""
        yield from self._windows
        while (left := self.plan.cut()) is not None:
            window, self.plan = left
            self._windows.append(window)
            yield window

    def _unaligned(self, page: UsageResponse[R]) -> Iterator[Notice]:
        """Tell of the buckets that reach out of the range that was asked for."""
        asked = self.requested
        for bucket in page.data[:1]:
            if bucket.start_time < asked.start_time:
                yield _unaligned("start", asked.start_time, bucket)
        for bucket in page.data[-1:]:
            if bucket.end_time > asked.end_time and self.now > asked.end_time:
                yield _unaligned("end", asked.end_time, bucket)

    def _note_unsettled(self, page: UsageResponse[R]) -> None:
        settled = self.now - self.settle_after_s
        if page.data and page.data[-1].end_time > settled:
            self._unsettled += [each.start_time for each in page.data if each.end_time > settled]

    def _tell_unsettled(self) -> None:
        if starts := tuple(self._unsettled):
            self._unsettled.clear()
            message = f"figures from {iso(starts[0])} on may still be revised"
            self.notify(Notice(code="unsettled", message=message, starts=starts))

    async def _before(
        self, head: WindowReading[R], page: UsageResponse[R]
    ) -> tuple[UsageTimeBucket[R], ...]:
        """Read the page before once more where it is needed, which is seldom.

        Kept are its bytes: its objects would take more memory, and push those of the next page out
        of the processor's caches.
        """
        if self._reread is None or not head.looks_back(page):
            return ()
        return (await in_turns(self._reread())).page.data

    def _run(self) -> _Requests[R]:
        if self._requests is None:
            self._requests = _Requests(self.get_page)
        return self._requests

    def _begin(self, head: WindowReading[R]) -> None:
        """Start the requests that there is room for: the head's next, then first pages."""
        requests = self._run()
        for window in self._cut_windows():
            if window in self.ahead:
                continue
            is_head = window is head.window
            if not is_head and (requests.failed or len(self.ahead) >= self.concurrency):
                break
            cursor = head.cursor if is_head else None
            turn = asyncio.Event()
            task = self.spawn(requests.read(window, cursor, turn))
            self.ahead[window] = _Ahead(task, turn)
        self.ahead[head.window].turn.set()

    async def _outcome(self, task: asyncio.Task[Decoded[R] | Exception]) -> Decoded[R]:
        urgent = self._run().urgent
        await asyncio.wait((task, urgent), return_when=asyncio.FIRST_COMPLETED)
        if urgent.done():
            raise urgent.result()
        if task.cancelled():
            raise UsageError("the stream or its client was closed while this was being read")
        outcome = task.result()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _adapt(self, error: RangeUnavailableError, head: WindowReading[R]) -> None:
        """Take what lies before the history out of the whole plan."""
        floor = int(error.earliest.timestamp())
        left = {window: window.after(floor) for window in self._windows}
        if left[head.window] == head.window:
            raise error
        # The history's begin moves on at midnight, perhaps when some of the window was read.
        left[head.window] = head.window.after(max(floor, head.next_start))
        for window, rest in left.items():
            if rest != window and window in self.ahead:
                self._given_up.append(self.ahead.pop(window).task)
                self._given_up[-1].cancel()
        self._windows = deque(rest for rest in left.values() if rest is not None)
        self.plan = self.plan.after(floor)
        self._run().failed = False
        if self.times.start_time == head.next_start:
            following = next(self._cut_windows(), None)
            first = self.times.end_time if following is None else following.start
            self.times = attrs.evolve(self.times, start_time=first)
        if floor <= head.next_start:
            return
        message = f"the service's data begin at {iso(floor)}; nothing before it was read"
        self.notify(Notice(code="clamped", message=message))

    def release(self) -> None:
        """Let go of what was read: a stream may be kept, for its notices."""
        self.ahead.clear()
        self._given_up.clear()
        self._reread = None

    def cancel(self) -> list[asyncio.Task[Any]]:
        """End every request; gives the tasks that are ending."""
        tasks = [*(each.task for each in self.ahead.values()), *self._given_up]
        ending = [task for task in tasks if not task.done() and not task.get_loop().is_closed()]
        for task in ending:
            task.cancel()
        return ending


def _unaligned(end: str, asked: int, bucket: UsageTimeBucket[Any]) -> Notice:
    message = (
        f"{end}_time {iso(asked)} lies inside the bucket from {iso(bucket.start_time)} to"
        f" {iso(bucket.end_time)}, whose figures are given whole"
    )
    return Notice(code=f"{end}-aligned", message=message, starts=(bucket.start_time,))


class Stream(Generic[T]):
    """One run of a query: an async iterator that reads ahead, and an async context manager.

    Leaving `async with` waits until every request has ended. After a bare `break` the dropped
    stream cancels them. After a failure, a cancellation or a caller's timeout within `anext` the
    stream is dead: it raises, since a run that broke off must not look like one that finished.
    """

    def __init__(
        self,
        merge: Merge[Any],
        flatten: Callable[[UsageResponse[Any]], Iterable[T]],
        notices: Mapping[Notice, None],
    ) -> None:
        self._merge = merge
        self._flatten = flatten
        self._notices = notices
        self._items: Iterator[T] = iter(())
        self._busy = False
        self._finished = False
        self._broken: str | None = None
        self._turn_due = inf

    @property
    def requested(self) -> TimeRange:
        """The range that was asked for; what is relative was resolved when the run began."""
        return self._merge.requested

    @property
    def start_time(self) -> int:
        """Start of the range that is read, Unix seconds, inclusive; a clamp moves it."""
        return self._merge.times.start_time

    @property
    def end_time(self) -> int:
        """End of the range that is read, Unix seconds, exclusive."""
        return self._merge.times.end_time

    @property
    def as_of(self) -> int:
        """Unix seconds at which the run began."""
        return self._merge.now

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What a careful reader should know, so far."""
        return tuple(self._notices)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._check()
        is_due = monotonic() >= self._turn_due
        if not is_due:
            for item in self._items:
                return item
        if self._finished:
            raise StopAsyncIteration
        self._busy = True
        try:
            if is_due:
                await asyncio.sleep(0)
                self._turn_due = monotonic() + _TURN_S
            while True:
                for item in self._items:
                    return item
                page = await self._merge.next_page()
                if page is None:
                    break
                self._items = iter(self._flatten(page))
                self._turn_due = min(self._turn_due, monotonic() + _TURN_S)
        except BaseException as error:
            self._broken = str(error) or type(error).__name__
            self._merge.cancel()
            raise
        finally:
            self._busy = False
        self._finished = True
        raise StopAsyncIteration

    def _check(self) -> None:
        if self._broken is not None:
            raise UsageError(f"this stream broke off: {self._broken}; begin a new one")
        if self._busy:
            raise UsageError("another task is waiting for the next item of this stream")

    async def aclose(self) -> None:
        """End every request of this run, and wait until they have ended."""
        if not self._finished and self._broken is None:
            self._broken = "it was closed"
        if tasks := self._merge.cancel():
            await asyncio.wait(tasks)
        self._merge.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._merge.cancel()
