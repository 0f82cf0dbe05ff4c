"""Runs: every feed of many organizations into a store, by one call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs

from usage_async._engine.engine import together
from usage_async._http.key import Secret
from usage_async._http.limiter import Limiter, check_count
from usage_async._http.runtime import Runtime
from usage_async._http.transport import open_session
from usage_async._query.times import Calendar, calendar_range, parse_period, parse_time
from usage_async.collect.clients import ClientOf, client_of
from usage_async.collect.feed import Feed
from usage_async.collect.organizations import Organization, check_organizations, distinct
from usage_async.collect.store import Store
from usage_async.collect.values import Progress, Run
from usage_async.collect.work import Shared, Work, rows_of_a_snapshot
from usage_async.errors import ConfigurationError, QueryError

if TYPE_CHECKING:
    from usage_async._api.endpoints import Time

AT_ONCE = 16
"""Default of the most organizations at once."""
REQUESTS = 64
"""Default of the most requests in flight, of all organizations together. One process decodes some
570 pages a second (`python -m benchmarks collect`), so with replies after 100 ms these keep it
busy."""


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
    """Collect feeds of organizations into a store: new buckets, and those that may have changed.

    A failure concerns its feed or its organization alone, and is the `error` of their runs. A
    cancellation waits for the snapshot that is being applied. Snapshots that were applied stay in
    any case, and the next run goes on from there.

    Args:
        organizations: The organizations.
        store: The store, which stays open.
        since: Start of the figures, inclusive, as `start_time` takes it, or a `period`, whose start
            counts. One that is earlier than that of the runs before reads everything from there
            again; a later one changes nothing. By default 31 days before the first run of a feed.
        feeds: The feeds to collect, instead of those of each organization.
        names: Read the names of projects, users and API keys, at most once a day, and with the
            first run of a feed.
        limiter: Bound on the requests in flight of all organizations; by default `Limiter(64)`.
        at_once: Most organizations at once, at least 1. One that gets no answer for 10 seconds does
            not count until it ends.
        on_progress: Function that is called after each snapshot, and after each feed.
        client_of: Function that makes the client of an organization, `(organization, **options)`.
            By default the key comes from the source that the organization names.
        options: Options of every client, such as `concurrency`, `retry` or `proxy`.

    Returns:
        A run for each feed of each organization, in their order.

    Raises:
        QueryError: `since` is no instant or period of the past, or there is no such feed.
        ConfigurationError: Two organizations have the same name or key, two feeds have the same
            table, or `at_once` is less than 1.
    """
    runtime: Runtime = options.setdefault("runtime", Runtime())
    check_count("at_once", at_once)
    organizations = tuple(organizations)
    if feeds is not None:
        chosen = distinct(feeds)
        organizations = tuple(attrs.evolve(each, feeds=chosen) for each in organizations)
    check_organizations(organizations)
    start = None if since is None else first_start(since, int(runtime.now()))
    session = open_session()
    try:
        shared = Shared(
            store=store,
            since=start,
            names=names and store.keeps_names,
            max_rows=rows_of_a_snapshot(min(at_once, len(organizations))),
            runtime=runtime,
            on_progress=on_progress or _ignore,
            client_of=client_of,
            options={"limiter": limiter or Limiter(REQUESTS), "session": session, **options},
            places=asyncio.Semaphore(at_once),
        )
        found = await together(Work(shared, each).do() for each in organizations)
    finally:
        await session.close()
    return [run for runs in found for run in runs]


def _ignore(_: Progress) -> None:
    """Report no progress."""


def first_start(since: Time, now: int) -> int:
    """Give the start of the figures, in Unix seconds.

    Args:
        since: An instant, or a period, whose start counts.
        now: The present, Unix seconds.

    Raises:
        QueryError: `since` is neither, or lies in the future.
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


def collect_organization(
    organization: Organization,
    store_variable: str,
    *,
    since: Time | None = None,
    feeds: Sequence[Feed | str] | None = None,
    names: bool = True,
) -> list[Run]:
    """Collect one organization, as one call over plain values, on any machine that has the keys.

    The arguments hold neither a key nor a password: both are read where this runs, which is in an
    event loop of its own. It can be called again at any time and anywhere, even while it runs: no
    snapshot that was applied is lost, and no figure counts twice.

    Args:
        organization: The organization.
        store_variable: Environment variable with the URL of the store. From several machines only
            PostgreSQL and Delta Lake can be written.
        since: As for `collect`.
        feeds: As for `collect`.
        names: As for `collect`.

    Returns:
        A run for each feed, in order.

    Raises:
        QueryError: As for `collect`.
        ConfigurationError: As for `collect`; or the variable is not set or holds no URL of a store.
    """
    url = Secret(os.environ.get(store_variable, ""))
    if not url:
        raise ConfigurationError(
            f"{store_variable}, the variable of the store's URL, is not set: set it where this runs"
        )
    return asyncio.run(_collect_one(organization, url, since=since, feeds=feeds, names=names))


async def _collect_one(organization: Organization, url: Secret, **how: Any) -> list[Run]:
    from usage_async.collect.open import open_store

    async with open_store(url) as store:
        return await collect([organization], store, **how)
