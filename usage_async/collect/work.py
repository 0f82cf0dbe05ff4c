"""The work of one organization in a run: its feeds, read and applied, and the names of its ids.

Theory of operation. Each organization is a task with a client and a key of its own. All of them
share a bound on connections, on requests in flight (`Limiter`), on organizations and feeds at once,
and on rows held. The invariants:

- *A failure stays where it is*: a task raises nothing but a cancellation. A failure of a feed is
  the `error` of its run. A failure of a key is the `error` of all runs of the organization, and no
  further feed is asked for.
- *A silent organization blocks nobody*: one whose service has not answered for some seconds gives
  its place to another, and goes on beside it.
- *Steps overlap*: a snapshot is applied while the next one is read. No more than these two are held
  for a feed.
- *A run that was overtaken reads again*: a store refuses a snapshot if another run has applied one
  since its place was read. The refused snapshot is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from usage_async._api.interval import DAY_S
from usage_async._api.results import UsageRow
from usage_async._client.client import UsageClient
from usage_async._codec.redactor import Redactor
from usage_async._engine.engine import together
from usage_async._http.fetch import RequestEvent
from usage_async._http.runtime import Runtime
from usage_async.collect.clients import ClientOf
from usage_async.collect.feed import Feed
from usage_async.collect.organizations import Organization
from usage_async.collect.reading import snapshots
from usage_async.collect.store import Store
from usage_async.collect.values import Place, Progress, Run, Snapshot
from usage_async.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    RateLimitError,
    StoreMovedError,
    UsageError,
    redact,
)

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")

FIRST = timedelta(days=31)
"""Range that the first run of a feed reads, if no start is asked for: a month of any length."""
FEEDS_AT_ONCE = 4
"""Feeds of one organization that are read at once. A run that reads what may still change takes one
or two requests a feed, so these fill the default `concurrency` of 8."""
TRIES = 5
"""Times that a feed is read while other runs overtake it."""
PATIENCE_S = 10.0
"""Seconds without an answer after which an organization gives its place to another."""
SILENCE_S = 60.0
"""Seconds without an answer after which a feed that gets none stands for those that are not begun:
each would try for five minutes."""

_ROWS_HELD = 160_000
"""Rows that all snapshots of a call together may hold: 29 MB as tables, 183 bytes a row (measured
by `Table.nbytes`: completions by project and model)."""
_FEWEST_ROWS, _MOST_ROWS = 5_000, 20_000
"""Bounds of the rows of a snapshot. DuckDB applies snapshots of 5,000 rows at 43,000 rows a second,
of 20,000 at 104,000, and of 100,000, with five times the memory, at 141,000 (measured over buckets
of 20 rows, on two busy cores)."""
_NAMED = ("project_id", "user_id", "api_key_id")
"""Columns of ids whose names are read."""
_NOTED = ("project_name", "user_email")
"""Columns that hold names themselves."""

_log = logging.getLogger("usage_async")


def rows_of_a_snapshot(organizations: int) -> int:
    """Give the rows after which a snapshot ends.

    Args:
        organizations: Number of organizations at once.
    """
    # For each feed one snapshot is applied while the next one is read.
    held = 2 * FEEDS_AT_ONCE * max(1, organizations)
    return min(_MOST_ROWS, max(_FEWEST_ROWS, _ROWS_HELD // held))


@attrs.define(eq=False)
class _Tally:
    """Counts of a run of one feed so far; see `Run`."""

    requests: int = 0
    rows: int = 0
    buckets: int = 0
    revised: int = 0
    rounded: int = 0
    missing: int = 0


_TALLY: ContextVar[_Tally | None] = ContextVar("usage_async_tally", default=None)
"""Tally of the feed that a task works for. Tasks that it starts inherit it, so that the requests
of a client, which serves several feeds, are counted for the right one."""


@attrs.define(eq=False, kw_only=True)
class Shared:
    """Options and bounds that all organizations of one call share.

    Attributes:
        store: The store.
        since: Start of the figures, Unix seconds; None for `FIRST`, or that of earlier runs.
        names: True if names are read.
        max_rows: Rows after which a snapshot ends.
        runtime: Clock, sleep and chance.
        on_progress: Function that is called after each snapshot, and after each feed.
        client_of: Function that makes the client of an organization.
        options: Options of every client.
        places: Bound on the organizations at once.
    """

    store: Store
    since: int | None
    names: bool
    max_rows: int
    runtime: Runtime
    on_progress: Callable[[Progress], object]
    client_of: ClientOf
    options: dict[str, Any]
    places: asyncio.Semaphore


@attrs.define(eq=False)
class Work:
    """The work of one organization.

    Attributes:
        shared: Options and bounds.
        organization: The organization.
        failure: Failure that holds for all feeds, so that no further one is asked for.
        answered_at: Time of the event loop at which its service has last answered.
        storing: Number of its tasks that wait for the store.
    """

    shared: Shared
    organization: Organization
    failure: str | None = attrs.field(default=None, init=False)
    answered_at: float = attrs.field(default=-math.inf, init=False)
    storing: int = attrs.field(default=0, init=False)
    _heard_at: float = attrs.field(default=0.0, init=False)
    _rows: dict[tuple[str | None, ...], None] = attrs.field(factory=dict, init=False)
    _is_naming: bool = attrs.field(default=False, init=False)
    _redactor: Redactor = attrs.field(factory=Redactor, init=False)

    async def do(self) -> list[Run]:
        """Wait for a place, then collect every feed, and give their runs in order."""
        await self.shared.places.acquire()
        with self.in_place():
            return await self._runs()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Hold a place that was acquired, and free it at the end or after a long silence."""
        loop, places = asyncio.get_running_loop(), self.shared.places
        self._heard_at, is_held = loop.time(), True
        handle: asyncio.TimerHandle

        def look() -> None:
            nonlocal is_held, handle
            if self.storing:
                # Another organization would wait for the store as well.
                self._heard_at = loop.time()
            due = self._heard_at + PATIENCE_S
            if loop.time() >= due:
                is_held = False
                places.release()
            else:
                handle = loop.call_at(due, look)

        handle = loop.call_at(self._heard_at + PATIENCE_S, look)
        try:
            yield
        finally:
            handle.cancel()
            if is_held:
                places.release()

    async def _runs(self) -> list[Run]:
        shared, feeds = self.shared, self.organization.feeds
        trace = shared.options.get("trace")

        def heard(event: RequestEvent) -> None:
            if (tally := _TALLY.get()) is not None:
                tally.requests += 1
            if event.error is None:
                self._heard_at = self.answered_at = asyncio.get_running_loop().time()
            if trace is not None:
                trace(event)

        try:
            client = shared.client_of(self.organization, **{**shared.options, "trace": heard})
        except ConfigurationError as error:
            self.failure = error.message
            return [await self._run(None, feed) for feed in feeds]
        self._redactor = client._engine.fetcher.custody.redactor  # noqa: SLF001 - it knows the key
        async with client:
            room = asyncio.Semaphore(FEEDS_AT_ONCE)

            async def one(feed: Feed) -> Run:
                async with room:
                    return await self._run(client, feed)

            self._is_naming = shared.names and await self._is_name_day()
            found = await together(map(one, feeds))
            await self._remember(client)
        return found

    async def _run(self, client: UsageClient | None, feed: Feed) -> Run:
        """Collect one feed; a failure becomes the error of its run."""
        runtime = self.shared.runtime
        begun, started_at, tally = runtime.monotonic(), int(runtime.now()), _Tally()
        error = self.failure
        if error is None and client is not None:
            # The task of this feed alone has this context.
            _TALLY.set(tally)
            try:
                await self._collect(client, feed, tally)
            except Exception as failure:  # noqa: BLE001 - the other feeds go on
                error = self._line(failure, str(feed))
        run = Run(
            organization=self.organization.name,
            feed=feed,
            started_at=started_at,
            seconds=runtime.monotonic() - begun,
            error=error,
            **attrs.asdict(tally),
        )
        try:
            await self._stored(self.shared.store.record(run))
        except Exception as failure:  # noqa: BLE001 - the other feeds go on
            run = attrs.evolve(run, error=error or self._line(failure, str(feed)))
        self._report(feed, tally, 1.0, run)
        return run

    def _line(self, failure: Exception, work: str) -> str:
        """Describe a failure in one line, and note one that holds for the other feeds as well."""
        if not isinstance(failure, UsageError):
            text = self._redactor.text(f"{type(failure).__name__}: {failure}")
            failure = UsageError(f"{redact(text)}: this is a bug in usage-async, please report it")
            _log.error("%s, %s: %s", self.organization.name, work, failure)
        line = " ".join(failure.message.split())
        is_of_all = isinstance(failure, AuthenticationError | ConfigurationError)
        is_silent = isinstance(failure, APIConnectionError | RateLimitError)
        # Where one endpoint has answered just before, others may.
        silent_s = asyncio.get_running_loop().time() - self.answered_at
        if is_of_all or (is_silent and silent_s > SILENCE_S):
            self.failure = line
        return line

    async def _collect(self, client: UsageClient, feed: Feed, tally: _Tally) -> None:
        """Read a feed and apply it; read it again if another run has overtaken this one.

        Raises:
            StoreMovedError: Other runs have overtaken every try.
            UsageError: The reading or the store failed. Snapshots that were applied stay.
        """
        runtime, attempt = self.shared.runtime, 0
        while True:
            attempt += 1
            asked = self.shared.store.resume_from(self.organization.name, feed)
            place = await self._stored(asked)
            try:
                await self._apply_all(client, feed, tally, place)
            except StoreMovedError:
                if attempt == TRIES:
                    raise
                # Without chance, two runs could overtake each other again and again.
                await runtime.sleep(runtime.random() * attempt)
            else:
                return

    async def _apply_all(
        self, client: UsageClient, feed: Feed, tally: _Tally, place: Place
    ) -> None:
        """Read a feed from a place on, and apply each snapshot while the next one is read."""
        shared, now = self.shared, int(self.shared.runtime.now())
        since = place.first_start if shared.since is None else shared.since
        if since is None:
            since = now - FIRST // timedelta(seconds=1)
        name, max_rows = self.organization.name, shared.max_rows
        reading = snapshots(client, name, feed, place, since, max_rows=max_rows)
        is_naming = self._is_naming or (shared.names and place.start_time is None)
        applying: asyncio.Task[None] | None = None
        try:
            async for snapshot in reading:
                if is_naming:
                    await asyncio.to_thread(self._note, snapshot.table)
                if applying is not None:
                    await applying
                applying = asyncio.ensure_future(self._apply(snapshot, tally))
                place = snapshot.next_place()
            if applying is not None:
                await applying
            tally.missing = place.missing_at(now, feed.width_s)
        except BaseException as error:
            await reading.aclose()
            if applying is not None:
                if isinstance(error, asyncio.CancelledError):
                    # A snapshot that waits is dropped; one that is being applied is awaited.
                    applying.cancel()
                await asyncio.gather(applying, return_exceptions=True)
            raise

    async def _apply(self, snapshot: Snapshot, tally: _Tally) -> None:
        """Apply a snapshot, count it, and report progress."""
        applied = await self._stored(self.shared.store.apply(snapshot))
        tally.rows += applied.rows
        tally.revised += applied.revised
        tally.buckets += len(snapshot.sent)
        tally.rounded += applied.rounded
        place = snapshot.next_place()
        first = place.first_start or 0
        share = (snapshot.end_time - first) / max(snapshot.as_of - first, 1)
        self._report(snapshot.feed, tally, min(share, 1.0))

    async def _stored(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the store; meanwhile the service does not count as silent."""
        self.storing += 1
        try:
            return await work
        finally:
            self.storing -= 1

    def _report(self, feed: Feed, tally: _Tally, share: float, run: Run | None = None) -> None:
        self.shared.on_progress(
            Progress(
                organization=self.organization.name,
                feed=feed,
                share=share,
                rows=tally.rows,
                run=run,
            )
        )

    async def _is_name_day(self) -> bool:
        """Tell if names were last kept more than a day ago, or never."""
        try:
            named_at = await self._stored(self.shared.store.named_at(self.organization.name))
        except Exception:  # noqa: BLE001 - the runs of the feeds fail as well, and tell of it
            return False
        now = self.shared.runtime.now()
        return named_at is None or not 0 <= now - named_at < DAY_S

    def _note(self, table: Table) -> None:
        """Note the ids in the rows of a snapshot."""
        columns = [name for name in (*_NAMED, *_NOTED) if name in table.column_names]
        found = table.select(columns).group_by(columns).aggregate([]).to_pylist()
        for row in found:
            values = tuple(row.get(name) for name in (*_NAMED, *_NOTED))
            if any(values):
                self._rows[values] = None

    async def _remember(self, client: UsageClient) -> None:
        """Read the names of the ids that were noted, and keep them. A failure is only logged."""
        if not self._rows:
            return
        made: list[dict[str, Any]] = [
            dict(zip((*_NAMED, *_NOTED), values, strict=True)) for values in self._rows
        ]
        rows = [UsageRow(start_time=0, end_time=0, object="", **each) for each in made]
        try:
            names = (await client.names_for(rows)).to_arrow()
            # Even without names: a key that may not read them is not refused again all day.
            name, now = self.organization.name, int(self.shared.runtime.now())
            await self._stored(self.shared.store.remember(name, names, seen_at=now))
        except Exception as error:  # noqa: BLE001 - the figures are there
            told = self._line(error, "names")
            _log.warning("%s: names were not read: %s", self.organization.name, told)
