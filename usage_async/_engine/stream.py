"""Stream: the async iterator that a caller holds, over the pages of one run.

A stream that broke off never looks like a finished one: every further read raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from usage_async._api.pages import Notice
from usage_async._engine.merge import Merge
from usage_async._engine.run import Notices, Run
from usage_async.errors import UsageError

if TYPE_CHECKING:
    from usage_async._api.pages import UsageResponse
    from usage_async._api.results import UsageResult
    from usage_async._codec.decoded import Decoded
    from usage_async._engine.engine import Engine
    from usage_async._http.fetch import Decoder
    from usage_async._query.request import CheckedQuery
    from usage_async._query.times import TimeRange

R = TypeVar("R", bound="UsageResult")
T = TypeVar("T")

_TURN_S = 0.01
"""Seconds after which a stream yields to the event loop although it has items at hand. They are
real time, whatever the client's clock is, because they bound the wait of all other tasks."""


class Stream(Generic[T]):
    """One run of a query: an async iterator that reads ahead, and an async context manager.

    Leaving `async with` waits until every request has ended. A stream that is dropped, as after
    `break`, cancels its requests. After an error, a cancellation or a caller's timeout within
    `anext`, every further `anext` raises.
    """

    def __init__(
        self,
        merge: Merge[Any],
        flatten: Callable[[UsageResponse[Any]], Iterable[T]],
    ) -> None:
        self._merge = merge
        self._flatten = flatten
        self._items: Iterator[T] = iter(())
        self._busy = False
        self._finished = False
        self._broken: str | None = None
        self._turn_due = inf

    @property
    def requested(self) -> TimeRange:
        """Range that was asked for. Its relative times were resolved when the run began."""
        return self._merge.run.requested

    @property
    def start_time(self) -> int:
        """Start of the range that is read, Unix seconds, inclusive. `clamp` may move it."""
        return self._merge.times.start_time

    @property
    def end_time(self) -> int:
        """End of the range that is read, Unix seconds, exclusive."""
        return self._merge.times.end_time

    @property
    def as_of(self) -> int:
        """Unix seconds at which the run began."""
        return self._merge.run.now

    @property
    def settled_before(self) -> int:
        """Unix seconds: figures of buckets that end later may still be revised."""
        return self._merge.run.settled_before

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Notices so far."""
        return tuple(self._merge.notices.told)

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
            if self._merge.run.query.scope is not None:
                # Tracebacks show locals, and those of a run hold cursors of the service.
                error.__traceback__ = None
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
        """Cancel every request of this run, and wait until all have ended."""
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


def start(
    engine: Engine,
    query: CheckedQuery,
    decoder: Decoder[Decoded[R]],
    flatten: Callable[[UsageResponse[R]], Iterable[T]],
    concurrency: int | None = None,
    *,
    now: int | None = None,
) -> Stream[T]:
    """Begin a run; resolve all relative times against one instant.

    Args:
        engine: Engine of the client.
        query: The query to read.
        decoder: Reader of its pages.
        flatten: Function that makes the items of the stream from a page.
        concurrency: The most pages held or being requested at a time; by default the client's.
        now: Unix seconds; by default those of the clock.

    Raises:
        QueryError: The range is empty or begins in the future.
    """
    fetcher = engine.fetcher
    now = int(fetcher.runtime.now()) if now is None else now
    if query.scope != getattr(decoder, "scope", None):
        raise TypeError("a query with a scope is read by the decoder of its gate only")
    run = Run(
        query=query,
        decoder=decoder,
        now=now,
        requested=query.resolve(now),
        concurrency=concurrency or fetcher.limiter.maximum,
        settled_before=now - engine.settle_after // timedelta(seconds=1),
    )
    name = query.endpoint.name
    # Recent figures are always unsettled, and "7d" hardly ever begins at the start of a bucket.
    expected = (
        {"unsettled", "start-aligned"} if isinstance(query.start, timedelta) else {"unsettled"}
    )
    notices = Notices(name, fetcher.place(name), engine.on_notice, frozenset(expected))
    for parameter, value in query.unknown_values:
        message = f"{parameter} holds {value!r}, a value that this release does not know"
        notices.tell(Notice(code="unknown-value", message=message))
    return Stream(Merge(engine, run, notices), flatten)
