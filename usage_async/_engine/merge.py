"""Merge: the pages of one run, requested concurrently and given in order of time.

Theory of operation. The range is cut into windows. The first page of a window is requested by its
times, further pages by cursors. The *head* is the earliest window that is not read completely.
Beside the next page of the head, the first pages of the windows behind it are requested ahead. The
invariants:

- *Order*: only pages of the head are given to the caller, and only the head follows cursors. So
  buckets come by rising start, in whatever order the replies arrive.
- *Bound*: at most `concurrency` pages exist at a time, including the one that the caller holds. A
  page that was read ahead stays bytes until its turn: bytes take less memory than objects, and
  objects are processed fastest directly after they were made.
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
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
    from usage_async._codec.pages import Decoded
    from usage_async._engine.engine import Engine
    from usage_async._engine.run import Notices, Run
    from usage_async._query.windows import UncutRange, Window

R = TypeVar("R", bound=UsageResult)


@attrs.frozen(eq=False)
class _Page(Generic[R]):
    """A page that is being requested, or waits for its turn.

    Attributes:
        task: Task of the request.
        turn: Event that is set when the caller waits for the page, which is not decoded before.
    """

    task: asyncio.Task[Decoded[R]]
    turn: asyncio.Event

    @property
    def has_failed(self) -> bool:
        """True if the request has ended in an error."""
        task = self.task
        return task.done() and not task.cancelled() and task.exception() is not None


def _retrieve(urgent: asyncio.Future[BaseException], task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a finished task, so that asyncio does not log it as unretrieved.

    Args:
        urgent: Future for the error of a refused key, which does not wait for its turn.
        task: The finished task.
    """
    error = None if task.cancelled() else task.exception()
    if isinstance(error, AuthenticationError | PermissionDeniedError) and not urgent.done():
        urgent.set_result(error)


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
    _windows: deque[Window] = attrs.field(factory=deque, init=False)
    """Windows that were cut off and are not read completely, earliest first."""
    _ahead: dict[Window, _Page[R]] = attrs.field(factory=dict, init=False)
    _given_up: list[asyncio.Task[Any]] = attrs.field(factory=list, init=False)
    _urgent: asyncio.Future[BaseException] | None = attrs.field(default=None, init=False)
    _head: WindowProgress[R] | None = attrs.field(default=None, init=False)
    _reread: Callable[[], Generator[None, None, Decoded[R]]] | None = attrs.field(
        default=None, init=False
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
        if self._urgent is None:
            self._urgent = asyncio.get_running_loop().create_future()
        while (window := next(self._left(), None)) is not None:
            if self._head is None or self._head.window != window:
                cursor = self.run.query.page
                self._head = WindowProgress(window=window, now=self.run.now, cursor=cursor)
            self._begin(self._head, self._urgent)
            try:
                decoded = await _outcome(self._ahead[window].task, self._urgent)
            except RangeUnavailableError as error:
                if not self.run.query.clamp:
                    raise
                self._clamp(error, self._head)
                continue
            del self._ahead[window]
            return await self._accepted(decoded, self._head)
        self._tell_unsettled()
        return None

    def _left(self) -> Iterator[Window]:
        """Give the remaining windows, earliest first; cut further ones off on demand."""
        yield from self._windows
        while (cut := self.uncut.cut()) is not None:
            window, self.uncut = cut
            self._windows.append(window)
            yield window

    def _begin(self, head: WindowProgress[R], urgent: asyncio.Future[BaseException]) -> None:
        """Start as many requests as are allowed: the next page of the head, then first pages."""
        has_failed = any(page.has_failed for page in self._ahead.values())
        for window in self._left():
            if window in self._ahead:
                continue
            is_head = window is head.window
            if not is_head and (has_failed or len(self._ahead) >= self.run.concurrency):
                break
            request = self.run.request(window, head.cursor if is_head else None)
            task = self.engine.spawn(self.engine.fetcher.fetch(request))
            task.add_done_callback(partial(_retrieve, urgent))
            self._ahead[window] = _Page(task, request.turn)
        self._ahead[head.window].turn.set()

    async def _accepted(self, decoded: Decoded[R], head: WindowProgress[R]) -> UsageResponse[R]:
        before = await self._page_before(head, decoded.page)
        page, notices = head.accept(decoded.page, before)
        self._reread = None if head.done else decoded.reread
        for notice in (*decoded.notices, *notices, *self._resumed(page), *self._unaligned(page)):
            self.notices.tell(notice)
        if head.done:
            self._windows.popleft()
        settled = self.run.settled_before
        if page.data and page.data[-1].end_time > settled:
            self._unsettled += [each.start_time for each in page.data if each.end_time > settled]
        return page

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
        self.uncut = self.uncut.after(floor)
        if self.times.start_time == head.next_start:
            following = next(self._left(), None)
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


async def _outcome(
    task: asyncio.Task[Decoded[R]], urgent: asyncio.Future[BaseException]
) -> Decoded[R]:
    await asyncio.wait((task, urgent), return_when=asyncio.FIRST_COMPLETED)
    if urgent.done():
        raise urgent.result()
    if task.cancelled():
        raise UsageError("the stream or its client was closed while this was being read")
    return task.result()


def _unaligned(end: str, asked: int, bucket: UsageTimeBucket[Any]) -> Notice:
    message = (
        f"{end}_time {iso(asked)} lies inside the bucket from {iso(bucket.start_time)} to"
        f" {iso(bucket.end_time)}, whose figures are given whole"
    )
    return Notice(code=f"{end}-aligned", message=message, starts=(bucket.start_time,))
