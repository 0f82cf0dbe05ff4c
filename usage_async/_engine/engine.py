"""Engine: what all runs of a client share, namely its event loop, tasks and fetcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import attrs

from usage_async._api.pages import Notice
from usage_async._http.fetch import Fetcher
from usage_async._http.runtime import running_loop
from usage_async.errors import ConfigurationError

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently; the first failure cancels the others and is raised."""
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
    """Owner of one client's tasks; it ends them when the client is closed.

    Attributes:
        fetcher: Sender of all requests.
        on_notice: Hook that is called with every notice of every run.
        settle_after: How long after a bucket's end its figures may still be revised.
        closed: True once the client is closed.
        loop: Event loop of the first use. Use in any other loop is refused.
    """

    fetcher: Fetcher
    on_notice: Callable[[Notice], object] | None
    settle_after: timedelta
    closed: bool = attrs.field(default=False, init=False)
    loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set, init=False)

    def check_usable(self) -> None:
        """Refuse to work after `close` or in a second event loop.

        Raises:
            ConfigurationError: The client was closed, or was used in another event loop.
        """
        if self.closed:
            raise ConfigurationError("this client is closed")
        self.loop = running_loop(self.loop, "client")

    def check_loop(self) -> None:
        """Refuse to work in a second event loop.

        Raises:
            ConfigurationError: The client was used in another event loop.
        """
        running_loop(self.loop, "client")

    def spawn(
        self,
        work: Coroutine[Any, Any, T],
        on_end: Callable[[asyncio.Task[T]], object] | None = None,
    ) -> asyncio.Task[T]:
        """Start a task that is cancelled when the client is closed.

        Args:
            work: The work of the task.
            on_end: Function that is called with the task when it has ended.
        """
        tasks = self._tasks

        def end(task: asyncio.Task[T]) -> None:
            tasks.discard(task)
            if on_end is not None:
                on_end(task)

        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(end)
        return task

    async def close(self) -> None:
        """Cancel every task, and wait until all have ended."""
        self.closed = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
