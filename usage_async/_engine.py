"""What the queries of one client run on: its event loop, its tasks, and the start of a run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import attrs

from usage_async._codec import Decoded
from usage_async._fetch import Fetcher, PageRequest
from usage_async._pages import Merge, Stream
from usage_async._plan import Window, plan
from usage_async._times import TimeRange
from usage_async.errors import ConfigurationError
from usage_async.models import Notice, UsageResponse, UsageResult
from usage_async.query import Query

R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

_log = logging.getLogger("usage_async")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run everything at the same time; the first failure ends the rest, and is raised itself."""
    failure: BaseException
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        failure = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise failure


@attrs.define(eq=False)
class Engine:
    """Starts runs, and ends what they started when the client is closed.

    Attributes:
        fetcher: Reads pages.
        on_notice: Takes the notices of every run.
        settle_after: Time after its end for which a bucket may still be revised.
        closed: Whether the client was closed.
        loop: The event loop that it belongs to, from its first use on.
    """

    fetcher: Fetcher
    on_notice: Callable[[Notice], object] | None
    settle_after: timedelta
    closed: bool = attrs.field(default=False, init=False)
    loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False)

    def check_usable(self) -> None:
        """Refuse to work after the end, and in two event loops.

        Raises:
            ConfigurationError: One of these.
        """
        if self.closed:
            raise ConfigurationError("this client is closed")
        self.check_loop()
        self.loop = asyncio.get_running_loop()

    def check_loop(self) -> None:
        """Refuse to work in two event loops.

        Raises:
            ConfigurationError: The client was used in another one.
        """
        if self.loop not in (None, asyncio.get_running_loop()):
            raise ConfigurationError("this client belongs to another event loop; make one a loop")

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that ends with this client."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End every task, and wait until they have ended."""
        self.closed = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def start(
        self,
        query: Query,
        kind: type[R],
        flatten: Callable[[UsageResponse[R]], Iterable[T]],
        concurrency: int | None = None,
    ) -> Stream[T]:
        """Begin a run: everything relative resolves here, against one instant.

        Args:
            query: What is read.
            kind: The class of its rows.
            flatten: Makes the stream's items out of a page.
            concurrency: The most pages held; that of the client, unless it is fewer.

        Raises:
            QueryError: The range is empty or begins in the future.
        """
        concurrency = concurrency or self.fetcher.limiter.maximum
        now = int(self.fetcher.runtime.now())
        requested = query.resolve(now)
        windows = plan(query, requested, now=now, concurrency=concurrency)
        notices: dict[Notice, None] = {}

        def notify(notice: Notice) -> None:
            notice = attrs.evolve(notice, endpoint=query.endpoint.name)
            if notice not in notices:
                notices[notice] = None
                # Every look at the present has figures that may be revised.
                level = logging.INFO if notice.code == "unsettled" else logging.WARNING
                _log.log(level, "%s: %s", self.fetcher.place(notice.endpoint), notice.message)
                if self.on_notice is not None:
                    self.on_notice(notice)

        for name, value in query.unknown_values:
            message = f"{name} holds {value!r}, a value that this release does not know"
            notify(Notice(code="unknown-value", message=message))

        def get_page(
            window: Window, cursor: str | None, turn: asyncio.Event
        ) -> Coroutine[Any, Any, Decoded[R]]:
            params = query.params(window.start, window.end, limit=query.page_limit, page=cursor)
            return self.fetcher.fetch(PageRequest(query.endpoint.path, params, kind, turn))

        merge = Merge(
            requested=requested,
            times=TimeRange(windows.start, windows.end),
            plan=windows,
            get_page=get_page,
            check_usable=self.check_usable,
            spawn=self.spawn,
            concurrency=concurrency,
            now=now,
            settle_after_s=int(self.settle_after.total_seconds()),
            page=query.page,
            clamp=query.clamp,
            notify=notify,
        )
        return Stream(merge, flatten, notices)
