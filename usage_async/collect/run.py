"""Runs: every feed of many organizations into a store, one failure apart from the others.

Theory of operation. Each organization is a task with a client and a key of its own. What all share
is bounded: connections, requests in flight (`Limiter`), organizations at once, feeds at once,
and rows held. The invariants:

- *Failures stay where they are*: a task never raises but for a cancellation. What goes wrong with a
  feed is the `error` of its run; what goes wrong with a key is that of all feeds of the
  organization, which are then not asked for one by one.
- *Who is silent holds nobody up*: an organization whose service has not answered for some seconds
  gives its place to another, and goes on beside it.
- *Steps overlap*: a snapshot is applied while the next one is read, and no more than these two are
  held for a feed.
- *A run that was overtaken reads again*: a snapshot is refused if another run has applied one since
  its place was read. What it gave is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from usage_async._api.interval import DAY_S
from usage_async._api.results import UsageRow
from usage_async._client.client import UsageClient
from usage_async._engine.engine import together
from usage_async._http.fetch import RequestEvent
from usage_async._http.key import Secret
from usage_async._http.limiter import Limiter, check_count
from usage_async._http.runtime import Runtime
from usage_async._http.transport import open_session
from usage_async._query.times import Calendar, calendar_range, parse_period, parse_time
from usage_async.collect.feed import Feed
from usage_async.collect.organizations import (
    Organization,
    check_organizations,
    distinct,
    read_key,
)
from usage_async.collect.reading import snapshots
from usage_async.collect.store import Store
from usage_async.collect.values import Place, Progress, Run, Snapshot
from usage_async.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    QueryError,
    RateLimitError,
    StoreMovedError,
    UsageError,
    redact,
)

if TYPE_CHECKING:
    from usage_async._api.endpoints import Time
    from usage_async._codec.schemas import Table

T = TypeVar("T")

FIRST = timedelta(days=31)
"""Time before the first run of a feed that it reads, unless it is told a start."""
AT_ONCE = 16
"""Default of the most organizations at once."""
REQUESTS = 64
"""Requests in flight of all organizations, by default. One process decodes some 570 pages a
second, so at 100 ms a request this keeps it busy."""
FEEDS_AT_ONCE = 4
"""Feeds of one organization that are read at once: a run that reads what may still change takes one
or two requests a feed."""
TRIES = 5
"""Times that a feed is read while other runs overtake it."""
PATIENCE_S = 10.0
"""Seconds without an answer after which an organization gives its place to another."""

_ROWS_HELD = 160_000
"""Rows that all snapshots together may hold, some 30 MB as tables. With many organizations each
snapshot is smaller, but not smaller than `_FEWEST_ROWS`."""
_FEWEST_ROWS, _MOST_ROWS = 5_000, 20_000
_NAMED = ("project_id", "user_id", "api_key_id")
_NOTED = ("project_name", "user_email")
"""Columns that hold names themselves."""

_log = logging.getLogger("usage_async")

ClientOf = Callable[..., UsageClient]


def client_of(organization: Organization, **options: Any) -> UsageClient:
    """Make the client of an organization, whose key is read from its source at the first request.

    Args:
        organization: The organization.
        options: Options of the client.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return UsageClient(
        _Key(organization).read,
        base_url=organization.base_url,
        organization=organization.organization_id,
        settle_after=organization.settle_after,
        **options,
    )


@attrs.define(eq=False)
class _Key:
    """Key of an organization. A source that failed is not asked again for every feed."""

    _organization: Organization
    _failure: str | None = attrs.field(default=None, init=False)

    async def read(self) -> Secret:
        if self._failure is None:
            try:
                return await read_key(self._organization)
            except ConfigurationError as error:
                self._failure = error.message
        raise ConfigurationError(self._failure)


async def collect(
    organizations: Iterable[Organization],
    store: Store,
    *,
    since: Time | None = None,
    feeds: Iterable[Feed | str] | None = None,
    names: bool = True,
    limiter: Limiter | None = None,
    at_once: int = AT_ONCE,
    on_progress: Callable[[Progress], object] | None = None,
    client_of: ClientOf = client_of,
    **options: Any,
) -> list[Run]:
    """Collect the feeds of organizations into a store: what is new, and what may have changed.

    A failure costs only the feeds that it concerns, and is the `error` of their runs. A
    cancellation waits for the snapshot that is being applied. What was applied stays in any case,
    and the next run goes on from there.

    Args:
        organizations: The organizations.
        store: The store, which stays open.
        since: Start from which on figures are wanted, as `start_time` or `period` takes it. An
            earlier one than before reads everything from there again; a later one changes nothing.
            By default 31 days before the first run of a feed.
        feeds: The feeds to collect, instead of those of each organization.
        names: Read the names of projects, users and API keys, at most once a day.
        limiter: Bound on the requests in flight of all organizations; by default 64.
        at_once: The most organizations at once.
        on_progress: Function that is called after each snapshot, and after each feed.
        client_of: Function that makes the client of an organization, `(organization, **options)`.
        options: Options of every client, such as `concurrency`, `retry` or `proxy`.

    Returns:
        A run for each feed of each organization, in their order.

    Raises:
        QueryError: `since` is no instant, or there is no such feed.
        ConfigurationError: Two organizations or feeds get in each other's way.
    """
    runtime: Runtime = options.setdefault("runtime", Runtime())
    check_count("at_once", at_once)
    organizations = tuple(organizations)
    if feeds is not None:
        chosen = distinct(feeds)
        organizations = tuple(attrs.evolve(each, feeds=chosen) for each in organizations)
    check_organizations(organizations)
    start = None if since is None else first_start(since, int(runtime.now()))
    # For each feed one snapshot is applied, and one is read.
    held = 2 * FEEDS_AT_ONCE * max(1, min(at_once, len(organizations)))
    session = open_session()
    try:
        collecting = _Collecting(
            store=store,
            since=start,
            names=names and store.keeps_names,
            max_rows=min(_MOST_ROWS, max(_FEWEST_ROWS, _ROWS_HELD // held)),
            runtime=runtime,
            on_progress=on_progress or _unheard,
            client_of=client_of,
            options={"limiter": limiter or Limiter(REQUESTS), "session": session, **options},
            places=asyncio.Semaphore(at_once),
        )
        found = await together(map(collecting.organization, organizations))
    finally:
        await session.close()
    return [run for runs in found for run in runs]


def _unheard(_: Progress) -> None:
    """Report no progress."""


def first_start(since: Time, now: int) -> int:
    """Give the start from which on figures are wanted.

    Args:
        since: An instant, or a period, whose start counts.
        now: Unix seconds.

    Raises:
        QueryError: It is neither, or lies in the future.
    """
    found: Any
    try:
        found = parse_time("since", since)
    except QueryError:
        if not isinstance(since, str):
            raise
        try:
            found, _ = parse_period(since)
        except QueryError:
            found = None
        if found is None:
            raise
    if isinstance(found, str):
        found = calendar_range(cast("Calendar", found), now).start_time
    start: int = found if isinstance(found, int) else now - found // timedelta(seconds=1)
    if start >= now:
        raise QueryError(f"since {since!r} is in the future")
    return max(start, 0)


@attrs.define(eq=False)
class _Tally:
    """What was done for one feed so far."""

    requests: int = 0
    rows: int = 0
    buckets: int = 0
    revised: int = 0
    rounded: int = 0
    missing: int = 0


_TALLY: ContextVar[_Tally | None] = ContextVar("usage_async_tally", default=None)
"""Tally of the feed for which a task works. Tasks that it starts inherit it."""


@attrs.define(eq=False, kw_only=True)
class _Collecting:
    """What the organizations of one call share."""

    store: Store
    since: int | None
    names: bool
    max_rows: int
    runtime: Runtime
    on_progress: Callable[[Progress], object]
    client_of: ClientOf
    options: dict[str, Any]
    places: asyncio.Semaphore

    async def organization(self, organization: Organization) -> list[Run]:
        await self.places.acquire()
        work = _Work(self, organization)
        with work.in_place():
            return await work.runs()


@attrs.define(eq=False)
class _Work:
    """The work of one organization.

    Attributes:
        failure: Why no further feed is asked for.
        is_answered: True once its service has answered.
        storing: Number of its tasks that wait for the store.
    """

    shared: _Collecting
    organization: Organization
    failure: str | None = attrs.field(default=None, init=False)
    is_answered: bool = attrs.field(default=False, init=False)
    storing: int = attrs.field(default=0, init=False)
    _heard_at: float = attrs.field(default=0.0, init=False)
    _rows: dict[tuple[str | None, ...], None] = attrs.field(factory=dict, init=False)
    _is_naming: bool = attrs.field(default=False, init=False)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Hold a place, and give it to another organization after a long silence."""
        loop, places = asyncio.get_running_loop(), self.shared.places
        self._heard_at, is_held = loop.time(), True
        handle: asyncio.TimerHandle

        def look() -> None:
            nonlocal is_held, handle
            if self.storing:
                # It waits for the store, as others would.
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

    async def runs(self) -> list[Run]:
        shared, feeds = self.shared, self.organization.feeds
        trace = shared.options.get("trace")

        def heard(event: RequestEvent) -> None:
            if (tally := _TALLY.get()) is not None:
                tally.requests += 1
            if event.error is None:
                self.is_answered = True
                self._heard_at = asyncio.get_running_loop().time()
            if trace is not None:
                trace(event)

        try:
            client = shared.client_of(self.organization, **{**shared.options, "trace": heard})
        except ConfigurationError as error:
            self.failure = error.message
            return [await self._run(None, feed) for feed in feeds]
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
            except Exception as failure:  # noqa: BLE001 - it must cost no other feed anything
                error = self._line(client, feed, failure)
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
        except UsageError as failure:
            run = attrs.evolve(run, error=run.error or failure.message)
        self._report(feed, tally, 1.0, run)
        return run

    def _line(self, client: UsageClient, feed: Feed, failure: Exception) -> str:
        """Describe a failure in one line, and decide if it holds for the other feeds, too."""
        if not isinstance(failure, UsageError):
            place = f"{self.organization.name}, {feed}"
            redactor = client._engine.fetcher.custody.redactor  # noqa: SLF001 - it knows the key
            text = redact(redactor.text(f"{type(failure).__name__}: {failure}"))
            failure = UsageError(f"{text}: this is a bug in usage-async")
            _log.error("%s: %s", place, failure)
        line = " ".join(failure.message.split())
        is_of_all = isinstance(failure, AuthenticationError | ConfigurationError)
        # Another endpoint may answer, unless none has answered yet.
        is_silent = isinstance(failure, APIConnectionError | RateLimitError)
        if is_of_all or (is_silent and not self.is_answered):
            self.failure = line
        return line

    async def _collect(self, client: UsageClient, feed: Feed, tally: _Tally) -> None:
        """Read a feed and apply it; read it again if another run was faster.

        Raises:
            StoreMovedError: Other runs were faster again and again.
            UsageError: Something failed. What was applied stays.
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
                # Two runs that take turns would overtake each other again.
                await runtime.sleep(runtime.random() * attempt)
            else:
                return

    async def _apply_all(
        self, client: UsageClient, feed: Feed, tally: _Tally, place: Place
    ) -> None:
        shared = self.shared
        since = place.first_start if shared.since is None else shared.since
        if since is None:
            since = int(shared.runtime.now()) - FIRST // timedelta(seconds=1)
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
            if applying is not None:
                await applying
        except BaseException as error:
            await reading.aclose()
            if applying is not None:
                if isinstance(error, asyncio.CancelledError):
                    # One that waits for its turn is dropped; one that is being applied is awaited.
                    applying.cancel()
                await asyncio.gather(applying, return_exceptions=True)
            raise

    async def _apply(self, snapshot: Snapshot, tally: _Tally) -> None:
        applied = await self._stored(self.shared.store.apply(snapshot))
        tally.rows += applied.rows
        tally.revised += applied.revised
        tally.buckets += len(snapshot.sent)
        tally.rounded += snapshot.rounded
        place = snapshot.next_place()
        tally.missing = len(place.unread)
        first = place.first_start or 0
        share = (snapshot.end_time - first) / max(snapshot.as_of - first, 1)
        self._report(snapshot.feed, tally, min(share, 1.0))

    async def _stored(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for the store, which is no silence of the service."""
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
        try:
            named_at = await self._stored(self.shared.store.named_at(self.organization.name))
        except UsageError:
            # The feeds meet it, too, and say so.
            return False
        now = self.shared.runtime.now()
        return named_at is None or not 0 <= now - named_at < DAY_S

    def _note(self, table: Table) -> None:
        """Note which ids the rows of a snapshot hold."""
        columns = [name for name in (*_NAMED, *_NOTED) if name in table.column_names]
        found = table.select(columns).group_by(columns).aggregate([]).to_pylist()
        for row in found:
            values = tuple(row.get(name) for name in (*_NAMED, *_NOTED))
            if any(values):
                self._rows[values] = None

    async def _remember(self, client: UsageClient) -> None:
        """Read the names of what the rows hold by id. A failure is told, and is no error."""
        if not self._rows:
            return
        made: list[dict[str, Any]] = [
            dict(zip((*_NAMED, *_NOTED), values, strict=True)) for values in self._rows
        ]
        rows = [UsageRow(start_time=0, end_time=0, object="", **each) for each in made]
        try:
            names = (await client.names_for(rows)).to_arrow()
            if names.num_rows:
                name, now = self.organization.name, int(self.shared.runtime.now())
                await self._stored(self.shared.store.remember(name, names, seen_at=now))
        except UsageError as error:
            _log.warning("%s: names were not read: %s", self.organization.name, error)


def collect_organization(
    organization: Organization,
    store_variable: str,
    *,
    since: Time | None = None,
    feeds: Sequence[Feed | str] | None = None,
    names: bool = True,
) -> list[Run]:
    """Collect one organization, as one call over plain values, for any machine that has the keys.

    The arguments hold neither a key nor a password: both are read where this runs, in an event loop
    of its own. It may be called again, at any time, anywhere, even while it runs: what was applied
    is not lost, and nothing counts twice.

    Args:
        organization: The organization.
        store_variable: Environment variable with the URL of the store. The store must be one for
            many writers: PostgreSQL or Delta Lake.
        since: As for `collect`.
        feeds: As for `collect`.
        names: As for `collect`.

    Raises:
        ConfigurationError: The variable is not set.
        StoreError: The store cannot be opened.
    """
    url = Secret(os.environ.get(store_variable, ""))
    if not url:
        raise ConfigurationError(f"{store_variable}, the variable of the store's URL, is not set")
    return asyncio.run(_collect_one(organization, url, since=since, feeds=feeds, names=names))


async def _collect_one(organization: Organization, url: Secret, **how: Any) -> list[Run]:
    from usage_async.collect.open import open_store

    async with open_store(url) as store:
        return await collect([organization], store, **how)
