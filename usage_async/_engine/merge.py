"""Merge: the pages of one run, requested concurrently and given in order of time.

Theory of operation. The range is cut into windows. The first page of a window is requested by its
times, further pages by cursors. The *head* is the earliest window that is not read completely.
Beside the next page of the head, the first pages of the windows behind it are requested ahead. The
invariants:

- *Order*: only pages of the head are given to the caller, and only the head follows cursors. So
  buckets come by rising start, in whatever order the replies arrive.
- *Bound*: at most `concurrency` pages exist at a time, including the one that the caller holds. A
  page that was read ahead stays bytes until its turn: bytes take less memory than objects, and
  objects are processed fastest directly after they were made. Only a page of at most 16 KiB is
  decoded when it arrives, which takes less time than keeping track of its turn.
- *Errors in order*: a failure is raised when the turn of its page comes. Until then, no further
  window is begun. A refused key (401, 403) is raised at once, because nothing else can succeed.
- *No leak*: tasks refer to the engine and the run, never to the merge or its stream. So a dropped
  stream is collected, and its `__del__` cancels the tasks. If a task referred to the stream, the
  event loop would keep both alive.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import attrs

from usage_async._api.pages import Notice, UsageResponse, UsageTimeBucket
from usage_async._api.results import UsageResult
from usage_async._engine.progress import WindowProgress
from usage_async._http.fetch import in_turns
from usage_async._query.times import TimeRange, iso
from usage_async._query.windows import round_up
from usage_async.errors import (
    AuthenticationError,
    PermissionDeniedError,
    RangeUnavailableError,
    UsageError,
)

if TYPE_CHECKING:
    from usage_async._codec.decoded import Decoded
    from usage_async._engine.engine import Engine
    from usage_async._engine.run import Notices, Run
    from usage_async._query.windows import UncutRange, Window

R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")


class _Page(NamedTuple, Generic[R]):
    """A page that is being requested, or waits for its turn.

    Attributes:
        task: Task of the request.
        turn: Event that is set when the caller waits for the page.
    """

    task: asyncio.Task[Decoded[R]]
    turn: asyncio.Event


@attrs.define(eq=False)
class _Ends:
    """Ends of the requests of a run. Tasks refer to it, so it does not refer to the merge.

    Attributes:
        refused: Error of a refused key, which does not wait for its turn.
        has_failed: True if any request has failed.
    """

    refused: BaseException | None = attrs.field(default=None, init=False)
    has_failed: bool = attrs.field(default=False, init=False)
    _awaited: asyncio.Task[Any] | None = attrs.field(default=None, init=False)
    _wake: asyncio.Future[None] | None = attrs.field(default=None, init=False)

    def note(self, task: asyncio.Task[Any]) -> None:
        """Note the end of a task. Its error is retrieved, so that asyncio does not log it."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.has_failed = True
            if isinstance(error, AuthenticationError | PermissionDeniedError):
                self.refused = self.refused or error
        is_awaited = task is self._awaited or self.refused is not None
        if is_awaited and self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def result(self, task: asyncio.Task[T]) -> T:
        """Wait for a task, or for the refusal of the key, and give the result of the task."""
        while not task.done() and self.refused is None:
            self._awaited = task
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._awaited = self._wake = None
        if self.refused is not None:
            raise self.refused
        if task.cancelled():
            raise UsageError("the stream or its client was closed while this was being read")
        return task.result()


@attrs.define(eq=False)
class Merge(Generic[R]):
    """Pages of a run, in order of time.

    Attributes:
        engine: Engine of the client. It starts the requests, and cancels them on `close`.
        run: Constants of the run.
        notices: Notices of the run.
        times: The range that is read; a clamp moves its start.
        uncut: The part of the range that has not been cut into windows.
    """

    engine: Engine
    run: Run[R]
    notices: Notices
    times: TimeRange = attrs.field(init=False)
    uncut: UncutRange = attrs.field(init=False)
    # Tracebacks show locals; what holds text of the service has no repr.
    _windows: deque[Window] = attrs.field(factory=deque, init=False)
    """Windows that were cut off and are not read completely, earliest first."""
    _ahead: dict[Window, _Page[R]] = attrs.field(factory=dict, init=False, repr=False)
    _asked: int = attrs.field(default=0, init=False)
    """Number of windows, from the earliest on, whose first page is known to be requested."""
    _given_up: list[asyncio.Task[Any]] = attrs.field(factory=list, init=False, repr=False)
    _ends: _Ends = attrs.field(factory=_Ends, init=False, repr=False)
    _head: WindowProgress[R] | None = attrs.field(default=None, init=False, repr=False)
    _reread: Callable[[], Generator[None, None, Decoded[R]]] | None = attrs.field(
        default=None, init=False, repr=False
    )
    _unsettled: list[int] = attrs.field(factory=list, init=False)
    _has_begun: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.uncut = self.run.uncut()
        self.times = TimeRange(self.uncut.start, self.uncut.end)

    async def next_page(self) -> UsageResponse[R] | None:
        """Give the next page; None at the end.

        Raises:
            UsageError: The request of the page failed, or any request was refused (401, 403).
        """
        self.engine.check_usable()
        while (window := self._window(0)) is not None:
            if self._head is None or self._head.window != window:
                cursor = self.run.query.page
                self._head = WindowProgress(window=window, now=self.run.now, cursor=cursor)
            self._begin(self._head)
            try:
                decoded = await self._ends.result(self._ahead[window].task)
            except RangeUnavailableError as error:
                if not self.run.query.clamp:
                    raise
                self._clamp(error, self._head)
                continue
            del self._ahead[window]
            return await self._accepted(decoded, self._head)
        self._tell_unsettled()
        return None

    def _window(self, index: int) -> Window | None:
        """Give a window that is not read completely, by its place; None if there are fewer."""
        if index == len(self._windows) and (cut := self.uncut.cut()) is not None:
            window, self.uncut = cut
            self._windows.append(window)
        return self._windows[index] if index < len(self._windows) else None

    def _begin(self, head: WindowProgress[R]) -> None:
        """Start as many requests as are allowed: the next page of the head, then first pages."""
        ahead, most = self._ahead, self.run.concurrency
        if head.window not in ahead:
            self._request(head.window, head.cursor)
        ahead[head.window].turn.set()
        while len(ahead) < most and not self._ends.has_failed:
            window = self._window(self._asked)
            if window is None:
                break
            if window not in ahead:
                self._request(window, None)
            self._asked += 1

    def _request(self, window: Window, cursor: str | None) -> None:
        request = self.run.request(window, cursor)
        fetch = self.engine.fetcher.fetch
        if self.run.query.scope is not None:
            from usage_async._engine import wordless

            fetch = partial(wordless.fetch, self.engine.fetcher)
        task = self.engine.spawn(fetch(request), self._ends.note)
        self._ahead[window] = _Page(task, request.turn)

    async def _accepted(self, decoded: Decoded[R], head: WindowProgress[R]) -> UsageResponse[R]:
        before = await self._page_before(head, decoded.page)
        page, notices = await _stepped(head.accept(decoded.page, before))
        self._reread = None if head.done else decoded.reread
        for notice in (*decoded.notices, *notices, *self._resumed(page), *self._unaligned(page)):
            self.notices.tell(notice)
        if head.done:
            self._windows.popleft()
            self._asked = max(self._asked - 1, 0)
        settled = self.run.settled_before
        if page.data and page.data[-1].end_time > settled:
            self._unsettled += [each.start_time for each in page.data if each.end_time > settled]
        # A cursor is text of the service, and a query with a scope takes none.
        return page if self.run.query.scope is None else attrs.evolve(page, next_page=None)

    async def _page_before(
        self, head: WindowProgress[R], page: UsageResponse[R]
    ) -> tuple[UsageTimeBucket[R], ...]:
        """Decode the previous page again if the checks need it, which is rare.

        Only its bytes are kept, since its objects would take more memory.
        """
        if self._reread is None or not head.looks_back(page):
            return ()
        return (await in_turns(self._reread())).page.data

    def _resumed(self, page: UsageResponse[R]) -> Iterator[Notice]:
        """Report that a run from a saved cursor gives only a part of its range."""
        if self.run.query.page is not None and not self._has_begun and page.data:
            begin = iso(page.data[0].start_time)
            message = f"read from a saved cursor: the figures begin at {begin}"
            yield Notice(code="resumed", message=message)
        self._has_begun = self._has_begun or bool(page.data)

    def _unaligned(self, page: UsageResponse[R]) -> Iterator[Notice]:
        """Report buckets that extend beyond the requested range."""
        asked = self.run.requested
        for bucket in page.data[:1]:
            if bucket.start_time < asked.start_time:
                yield _unaligned("start", asked.start_time, bucket)
        for bucket in page.data[-1:]:
            if bucket.end_time > asked.end_time and isinstance(self.run.query.end, int):
                yield _unaligned("end", asked.end_time, bucket)

    def _tell_unsettled(self) -> None:
        if starts := tuple(self._unsettled):
            self._unsettled.clear()
            message = f"figures from {iso(starts[0])} on may still be revised"
            self.notices.tell(Notice(code="unsettled", message=message, starts=starts))

    def _clamp(self, error: RangeUnavailableError, head: WindowProgress[R]) -> None:
        """Remove the part before the history from all remaining windows."""
        floor = int(error.earliest.timestamp())
        left = {window: window.after(floor) for window in self._windows}
        if left[head.window] == head.window:
            raise error
        for notice in head.give_up():
            self.notices.tell(notice)
        # The history may lose a day at midnight, after a part of this window was read.
        left[head.window] = head.window.after(max(floor, head.next_start))
        for window, rest in left.items():
            if rest != window and window in self._ahead:
                self._given_up.append(self._ahead.pop(window).task)
                self._given_up[-1].cancel()
        self._windows = deque(rest for rest in left.values() if rest is not None)
        self._asked = 0
        self._ends.has_failed = any(_has_failed(page.task) for page in self._ahead.values())
        self.uncut = self.uncut.after(floor)
        if self.times.start_time == head.next_start:
            following = self._window(0)
            first = self.times.end_time if following is None else following.start
            self.times = attrs.evolve(self.times, start_time=first)
        if floor > head.next_start:
            begin = iso(round_up(floor, head.window.width_s))
            message = f"the service's data begin at {iso(floor)}; nothing before {begin} was read"
            self.notices.tell(Notice(code="clamped", message=message))

    def release(self) -> None:
        """Release the pages. A caller may keep the closed stream for its notices."""
        self._ahead.clear()
        self._given_up.clear()
        self._reread = None

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Cancel every request; give the tasks that have not ended."""
        tasks = [*(page.task for page in self._ahead.values()), *self._given_up]
        ending = [task for task in tasks if not task.done() and not task.get_loop().is_closed()]
        for task in ending:
            task.cancel()
        return ending


async def _stepped(steps: Generator[None, None, T]) -> T:
    """Run a generator that nearly always has a single step; give the event loop a turn a step."""
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    return await in_turns(steps)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _unaligned(end: str, asked: int, bucket: UsageTimeBucket[Any]) -> Notice:
    message = (
        f"{end}_time {iso(asked)} lies inside the bucket from {iso(bucket.start_time)} to"
        f" {iso(bucket.end_time)}, whose figures are given whole"
    )
    return Notice(code=f"{end}-aligned", message=message, starts=(bucket.start_time,))
