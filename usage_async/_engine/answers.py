"""Answers that several tasks share, and one run for all that ask at the same time.

Theory of operation. A question is a query, what is asked of it, and the days in which its relative
times lie. Its answer is kept with the instant at which its run began, from which its age counts.
While no answer is young enough, all that ask wait for one *run*, a task of its own. Everything here
happens between two turns of the event loop, so nothing is locked. The invariants:

- *Nobody is taken along*: a waiter waits for a future of its own, which is only ever given a bool,
  so that an error is never left unretrieved. The run is cancelled with its last waiter, unless it
  goes on for others to come: after a waiter's time was up, or as a refresh.
- *One run a question*: a run leaves `_runs` in the turn in which it ends or is cancelled. Nobody
  joins it afterwards.
- *Nothing is shared that can be changed*: values are frozen, lists are copied, and so are errors,
  whose tracebacks belong to whoever raised them.
- *Tenants stay apart*: a query holds its scope, so that equal questions of two scopes differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping
from copy import copy
from functools import partial
from http import HTTPStatus
from math import ceil, inf
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from usage_async.errors import APITimeoutError, ConfigurationError, RateLimitError, UsageError

if TYPE_CHECKING:
    from usage_async._engine.engine import Engine
    from usage_async._query.request import CheckedQuery
    from usage_async._query.scope import Scope

T = TypeVar("T")

_log = logging.getLogger("usage_async")

_KEY_BYTES = 4096
"""Memory of an entry beside its answer: some 3 KB were measured."""
_SAMPLE = 256
"""Items of a sequence whose sizes are measured, evenly spread; it takes some 1 ms."""


class LateError(APITimeoutError):
    """The time to wait for an answer is up, whether the service or this process needed it."""


Method = Literal["first", "total", "totals", "summary", "collect", "report"]
Outcome = Literal["fresh", "stale", "joined", "read", "failed"]


@attrs.frozen(kw_only=True)
class CachePolicy:
    """Limits of a cached client.

    Attributes:
        ttl_s: Age of an answer below which it is given as it is.
        stale_s: Age below which it is given while it is refreshed.
        settled_ttl_s: The same as `ttl_s`, of figures that are not expected to change.
        error_ttl_s: Age of an error below which it is raised again.
        wait_s: Time after which a question is given up.
        max_bytes: Bytes of all answers after one of this client was added.
    """

    ttl_s: float
    stale_s: float
    settled_ttl_s: float
    error_ttl_s: float
    wait_s: float
    max_bytes: int

    def __attrs_post_init__(self) -> None:
        for name in ("ttl_s", "stale_s", "settled_ttl_s", "error_ttl_s", "wait_s", "max_bytes"):
            value = getattr(self, name)
            is_number = isinstance(value, int if name == "max_bytes" else int | float)
            # Not a number is not at least 0, either.
            if not is_number or isinstance(value, bool) or not value >= 0:
                raise ConfigurationError(f"{name} takes a number of at least 0, not {value!r}")


@attrs.frozen(cache_hash=True)
class Question:
    """Something that is asked of a query; equal questions have equal answers.

    Attributes:
        query: The query. That of a report is one of several, which are all of the same days.
        method: Method of the query, or `report`.
        arguments: Its arguments.
        is_rendered: True if the answer is what a route of the web makes of it, such as JSON.
    """

    query: CheckedQuery
    method: Method
    arguments: tuple[str, ...] = ()
    is_rendered: bool = False


Answer = tuple[T, bool]
"""A value, and True if it is complete and not expected to change."""

_Key = tuple[Question, tuple[int, ...]]
Read = Callable[[int], Coroutine[Any, Any, Answer[Any]]]
"""Reads an answer, as of an instant in Unix seconds."""


@attrs.define(eq=False)
class _Entry:
    """State of a question: its last answer, and an error since.

    Attributes:
        answer: The answer; None if there was none.
        begun: Start of its run on the monotonic clock.
        error: Error of the last run; None if it gave the answer.
        failed: End of that run on the monotonic clock.
        size: Estimate of its bytes.
    """

    answer: Answer[Any] | None = None
    begun: float = 0.0
    error: Exception | None = None
    failed: float = 0.0
    size: int = 0


@attrs.define(eq=False)
class _Run:
    """A run that is waited for.

    Attributes:
        begun: Its start on the monotonic clock.
        max_bytes: Bound of the client that began it.
        place: What it reads, for messages.
        task: Its task.
        goes_on: True if it is not cancelled with its last waiter.
        waiters: Futures of those who wait; True means that the run has ended.
        deadlines: Instants at which waiters give up, by the time that they wait.
        watches: Tasks that look after the deadlines.
        answer: Its answer; None until it has one.
        error: Its error; None until it has one.
    """

    begun: float
    max_bytes: int
    place: str
    task: asyncio.Task[Answer[Any]] = attrs.field(init=False)
    goes_on: bool = False
    waiters: set[asyncio.Future[bool]] = attrs.field(factory=set)
    deadlines: dict[float, deque[tuple[float, asyncio.Future[bool]]]] = attrs.field(factory=dict)
    watches: list[asyncio.Task[None]] = attrs.field(factory=list)
    answer: Answer[Any] | None = None
    error: Exception | None = None

    def wake(self, waiter: asyncio.Future[bool], *, has_ended: bool) -> None:
        self.waiters.discard(waiter)
        if not waiter.done():
            waiter.set_result(has_ended)


@attrs.define(eq=False)
class Answers:
    """Answers of one client and all that are derived from it.

    Attributes:
        engine: Engine of the client. It starts the runs, and cancels them on `close`.
    """

    engine: Engine
    _entries: OrderedDict[_Key, _Entry] = attrs.field(factory=OrderedDict, init=False)
    """The least recently used first."""
    _runs: dict[_Key, _Run] = attrs.field(factory=dict, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    async def answer(
        self,
        question: Question,
        read: Read,
        policy: CachePolicy,
        tell: Callable[[Outcome, float | None], None],
    ) -> Any:
        """Answer a question, by a run if no answer at hand is young enough.

        Args:
            question: The question.
            read: Reads the answer.
            policy: Limits of the client that asks.
            tell: Receives the outcome.

        Raises:
            APITimeoutError: The run took longer than `wait_s`; it goes on.
            RateLimitError: The same, while the service throttles the client.
            UsageError: The run failed, or its client was closed.
        """
        self.engine.check_usable()
        runtime = self.engine.fetcher.runtime
        now, tick = int(runtime.now()), runtime.monotonic()
        key = (question, question.query.calendar(now))
        entry = self._entries.get(key) or _Entry()
        answer, age = entry.answer, tick - entry.begun
        if answer is not None:
            self._entries.move_to_end(key)
            if age < (policy.settled_ttl_s if answer[1] else policy.ttl_s):
                tell("fresh", age)
                return _given(answer)
        run = self._runs.get(key)
        error = entry.error if tick - entry.failed < policy.error_ttl_s else None
        if answer is not None and age < policy.stale_s:
            if run is None and error is None:
                self._begin(key, read, now, policy).goes_on = True
            tell("stale", age)
            return _given(answer)
        if run is None and error is not None:
            tell("failed", None)
            raise _copied(error)
        tell("read" if run is None else "joined", None)
        return await self._wait(key, run or self._begin(key, read, now, policy), policy.wait_s)

    async def in_time(self, work: Coroutine[Any, Any, T], endpoint: str, wait_s: float) -> T:
        """Wait for work that nobody shares, and cancel it when its time is up.

        Args:
            work: The work.
            endpoint: Name of the endpoint that it reads.
            wait_s: Seconds to wait for it.

        Raises:
            APITimeoutError: It took longer.
            RateLimitError: The same, while the service throttles the client.
        """
        if wait_s == inf:
            return await work
        fetcher = self.engine.fetcher
        task = asyncio.ensure_future(work)
        timer = asyncio.ensure_future(fetcher.runtime.sleep(wait_s))
        try:
            await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            task.cancel()
            timer.cancel()
            await asyncio.gather(task, timer, return_exceptions=True)
        raise self._late(fetcher.place(endpoint), wait_s, "it was given up")

    def size(self, scope: Scope | None) -> tuple[int, int]:
        """Give the number of entries and their bytes: those of a scope, or all."""
        if scope is None:
            return len(self._entries), self._bytes
        sizes = [
            entry.size for (asked, _), entry in self._entries.items() if asked.query.scope == scope
        ]
        return len(sizes), sum(sizes)

    def clear(self) -> None:
        """Forget every answer."""
        self._entries.clear()
        self._bytes = 0

    def _begin(self, key: _Key, read: Read, now: int, policy: CachePolicy) -> _Run:
        fetcher, (question, _) = self.engine.fetcher, key
        place = fetcher.place(question.query.endpoint.name)
        run = _Run(fetcher.runtime.monotonic(), policy.max_bytes, place)
        run.task = self.engine.spawn(read(now))
        run.task.add_done_callback(partial(self._end, key, run))
        self._runs[key] = run
        return run

    async def _wait(self, key: _Key, run: _Run, wait_s: float) -> Any:
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        run.waiters.add(waiter)
        if wait_s != inf:
            self._watch(run, waiter, wait_s)
        try:
            has_ended = await waiter
        except asyncio.CancelledError:
            run.waiters.discard(waiter)
            if not run.waiters and not run.goes_on and self._runs.get(key) is run:
                del self._runs[key]
                run.task.cancel()
            raise
        if not has_ended:
            raise self._late(run.place, wait_s, "it is still being read")
        if run.error is not None:
            raise _copied(run.error)
        return _given(run.answer)

    def _late(self, place: str, wait_s: float, then: str) -> UsageError:
        """Make the error of a waiter whose time is up."""
        fetcher = self.engine.fetcher
        pause_s = fetcher.limiter.cooldown_until - fetcher.runtime.monotonic()
        late = f"{place}: no answer within {wait_s:g} s"
        if pause_s > 0:
            text = f"{late}; the service throttles this client, for {ceil(pause_s)} s more"
            status = HTTPStatus.TOO_MANY_REQUESTS.value
            return RateLimitError(text, status=status, retry_after=pause_s)
        return LateError(f"{late}; {then}")

    def _watch(self, run: _Run, waiter: asyncio.Future[bool], wait_s: float) -> None:
        """Wake a waiter when its time is up."""
        due = self.engine.fetcher.runtime.monotonic() + wait_s
        if wait_s in run.deadlines:
            run.deadlines[wait_s].append((due, waiter))
            return
        run.deadlines[wait_s] = deque([(due, waiter)])
        run.watches.append(self.engine.spawn(self._give_up(run, wait_s)))

    async def _give_up(self, run: _Run, wait_s: float) -> None:
        # Waiters of equal patience give up in the order in which they came.
        runtime, deadlines = self.engine.fetcher.runtime, run.deadlines[wait_s]
        while deadlines:
            due, waiter = deadlines[0]
            left = due - runtime.monotonic()
            if left > 0 and not waiter.done():
                await runtime.sleep(left)
                continue
            deadlines.popleft()
            if not waiter.done():
                run.goes_on = True
                run.wake(waiter, has_ended=False)
        del run.deadlines[wait_s]

    def _end(self, key: _Key, run: _Run, task: asyncio.Task[Answer[Any]]) -> None:
        """Keep the outcome of a run, and wake those who wait for it."""
        if self._runs.get(key) is run:
            del self._runs[key]
        for watch in run.watches:
            watch.cancel()
        if task.cancelled():
            run.error = UsageError("the client was closed while this was being read")
        elif (error := task.exception()) is None:
            run.answer = task.result()
            self._keep(key, _Entry(run.answer, run.begun), run.max_bytes)
        else:
            run.error = _copied(error)
            self._keep_error(key, run)
        for waiter in [*run.waiters]:
            run.wake(waiter, has_ended=True)

    def _keep_error(self, key: _Key, run: _Run) -> None:
        before = self._entries.get(key) or _Entry()
        failed = self.engine.fetcher.runtime.monotonic()
        entry = _Entry(before.answer, before.begun, run.error, failed)
        self._keep(key, entry, run.max_bytes)
        if not run.waiters:
            # The text of an error that is not ours may hold anything.
            is_ours = isinstance(run.error, UsageError)
            what = run.error if is_ours else type(run.error).__name__
            _log.warning("%s: a cached answer was not refreshed: %s", run.place, what)

    def _keep(self, key: _Key, entry: _Entry, max_bytes: int) -> None:
        entry.size = _KEY_BYTES + _weight(entry.answer) + _weight(str(entry.error)) + _weight(key)
        if (before := self._entries.pop(key, None)) is not None:
            self._bytes -= before.size
        if self.engine.closed or entry.size > max_bytes:
            return
        self._entries[key] = entry
        self._bytes += entry.size
        while self._bytes > max_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.size


def _given(answer: Answer[Any] | None) -> Any:
    value = answer and answer[0]
    return value.copy() if isinstance(value, list) else value


def _copied(error: BaseException) -> Exception:
    """Make an error of one's own: without a traceback, which holds frames and what is in them."""
    try:
        other = copy(error)
    except Exception:  # noqa: BLE001 - a class that is not ours may take any arguments
        other = error
    if other is not error and isinstance(other, Exception):
        return other
    return UsageError(f"the reading failed: {type(error).__name__}")


def _weight(value: Any) -> int:
    """Estimate the bytes of memory of a value; of a long sequence some items are weighed."""
    size = getsizeof(value)
    if value is None or isinstance(value, str | int | float):
        return size
    if isinstance(value, list | tuple):
        some = value[:: len(value) // _SAMPLE + 1]
        return size + sum(map(_weight, some)) * len(value) // max(len(some), 1)
    if isinstance(value, Mapping):
        return size + sum(_weight(name) + _weight(each) for name, each in value.items())
    if isinstance(value, Question):
        scope = value.query.scope
        return _weight((value.query.filters, value.query.given, scope and scope.project_ids))
    if attrs.has(type(value)):
        return size + sum(_weight(getattr(value, a.name)) for a in attrs.fields(type(value)))
    return size
