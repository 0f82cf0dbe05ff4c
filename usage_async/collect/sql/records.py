"""Records of a store in SQL beside its rows: places, runs, names, and the states made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from usage_async.collect.feed import Feed
from usage_async.collect.sql.layout import FEEDS, NAMED, NAMES, REVISIONS, RUNS, quoted
from usage_async.collect.sql.session import STAGED, Session
from usage_async.collect.values import FeedState, Place, Run, Snapshot
from usage_async.errors import QueryError, StoreError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")

_TIMES = (
    "first_start",
    "wanted_start",
    "start_time",
    "covered_to",
    "ended_through",
    "settled_through",
    "as_of",
)
"""Columns of the times of a place."""
_STARTS = ("missing", "unread")
"""Columns of the starts of buckets in a place, which hold JSON."""
_COUNTS = ("buckets", "requests", "revised", "rounded", "missing")
"""Columns of the counts of a run, named like them."""
_DEFINITION = "endpoint, bucket_width, group_by, filters"
"""Columns that define a feed."""
_PLACE = ", ".join(
    ["number", *_STARTS, *(f"CAST(extract(epoch FROM {name}) AS bigint)" for name in _TIMES)]
)
"""Columns that hold a place, times as Unix seconds."""


def _definition(feed: Feed) -> tuple[str, str, str, str]:
    """Write a feed as the columns of `usage_feeds`."""
    encoded = [msgspec.json.encode(each).decode() for each in (feed.group_by, feed.filters)]
    return (feed.endpoint, feed.bucket_width, encoded[0], encoded[1])


def find_place(session: Session, organization: str, feed: Feed) -> Place:
    """Read the place of a feed.

    Raises:
        StoreError: The table of the feed holds another feed.
    """
    sql = f"SELECT {_DEFINITION} FROM {FEEDS} WHERE table_name = $1 LIMIT 1"
    for found in session.rows(sql, feed.table):
        if found != _definition(feed):
            endpoint, width, groups, filters = found
            raise StoreError(
                f"the table {feed.table} holds another feed: {endpoint} by {width}, grouped by"
                f" {groups}, filtered by {filters}; give this one another table"
            )
    sql = f"SELECT {_PLACE} FROM {FEEDS} WHERE organization = $1 AND table_name = $2"
    rows = session.rows(sql, organization, feed.table)
    return _place_of(rows[0]) if rows else Place()


def _decoded(text: str, kind: type[T]) -> T:
    """Read JSON of a column.

    Raises:
        StoreError: Something else has written it.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        pass
    raise StoreError(f"{FEEDS} holds {text!r}, which this release did not write")


def _place_of(row: Sequence[Any]) -> Place:
    """Make a place of the columns `_PLACE`."""
    number, *rest = row
    starts = [_decoded(text, tuple[int, ...]) for text in rest[: len(_STARTS)]]
    times = rest[len(_STARTS) :]
    values: dict[str, Any] = dict(zip((*_STARTS, *_TIMES), (*starts, *times), strict=True))
    return Place(number=number, **values)


def move_place(session: Session, snapshot: Snapshot) -> None:
    """Move the place of a feed to the place after a snapshot."""
    organization, feed, place = snapshot.organization, snapshot.feed, snapshot.next_place()
    if not snapshot.place.number:
        _add_feed(session, organization, feed)
    values: dict[str, Any] = {
        "number": place.number,
        **{name: msgspec.json.encode(getattr(place, name)).decode() for name in _STARTS},
        **{name: getattr(place, name) for name in _TIMES},
    }
    changes = ", ".join(
        f"{name} = to_timestamp(CAST(${n} AS bigint))" if name in _TIMES else f"{name} = ${n}"
        for n, name in enumerate(values, 3)
    )
    session.run(
        f"UPDATE {FEEDS} SET {changes} WHERE organization = $1 AND table_name = $2",
        organization,
        feed.table,
        *values.values(),
    )


def _add_feed(session: Session, organization: str, feed: Feed) -> None:
    """Add a feed of an organization, unless there is one."""
    session.run(
        f"INSERT INTO {FEEDS} (organization, table_name, {_DEFINITION}, number,"
        f" {', '.join(_STARTS)}) VALUES ($1, $2, $3, $4, $5, $6, 0, '[]', '[]')"
        " ON CONFLICT DO NOTHING",
        organization,
        feed.table,
        *_definition(feed),
    )


def add_run(session: Session, run: Run) -> None:
    """Add a run, as the last one of its feed."""
    key = (run.organization, run.feed.table)
    session.lock("\0".join(key))
    find_place(session, run.organization, run.feed)
    _add_feed(session, run.organization, run.feed)
    of = "organization = $1 AND table_name = $2"
    last = session.rows(f"SELECT max(number) FROM {RUNS} WHERE {of}", *key)[0][0]
    counts = ", ".join(_COUNTS)
    places = ", ".join(f"${number}" for number in range(5, 7 + len(_COUNTS) + 1))
    session.run(
        f"INSERT INTO {RUNS} (organization, table_name, number, started_at, seconds,"
        f" rows_written, {counts}, error)"
        f" VALUES ($1, $2, $3, to_timestamp(CAST($4 AS bigint)), {places})",
        *key,
        (last or 0) + 1,
        run.started_at,
        run.seconds,
        run.rows,
        *(getattr(run, name) for name in _COUNTS),
        run.error,
    )


def add_names(session: Session, organization: str, names: Table, seen_at: int) -> None:
    """Add names, and note when those that are known were last seen."""
    session.lock(f"{organization}\0{NAMES}")
    session.stage(STAGED, names)
    seen = "to_timestamp(CAST($2 AS bigint))"
    session.run(
        f"INSERT INTO {NAMES} (organization, dimension, id, name, first_seen, last_seen)"
        f" SELECT DISTINCT ON (dimension, id) $1, dimension, id, name, {seen}, {seen}"
        f" FROM {STAGED} ON CONFLICT (organization, dimension, id)"
        " DO UPDATE SET name = excluded.name, last_seen = excluded.last_seen",
        organization,
        seen_at,
    )
    session.run(
        f"INSERT INTO {NAMED} (organization, named_at) VALUES ($1, {seen})"
        " ON CONFLICT (organization) DO UPDATE SET named_at = excluded.named_at",
        organization,
        seen_at,
    )


def named_at(session: Session, organization: str) -> int | None:
    """Give the Unix seconds at which names of an organization were last read; None if never."""
    sql = f"SELECT CAST(extract(epoch FROM named_at) AS bigint) FROM {NAMED}"
    rows = session.rows(f"{sql} WHERE organization = $1", organization)
    return rows[0][0] if rows else None


def find_states(session: Session) -> list[FeedState]:
    """Read the state of each feed of each organization, sorted by organization and table."""
    counts: dict[tuple[str, str], int] = {}
    tables = session.rows(f"SELECT DISTINCT table_name FROM {FEEDS}")
    for (table,) in tables:
        if session.columns(table):
            sql = f"SELECT organization, count(*) FROM {quoted(table)} GROUP BY organization"
            counts |= {(name, table): number for name, number in session.rows(sql)}
    of = "organization, table_name"
    sql = f"SELECT {of}, count(*) FROM {REVISIONS} GROUP BY {of}"
    revisions = {(name, table): number for name, table, number in session.rows(sql)}
    fields = f"seconds, rows_written, {', '.join(_COUNTS)}, error"
    runs = session.rows(
        f"SELECT DISTINCT ON ({of}) {of}, CAST(extract(epoch FROM started_at) AS bigint), {fields}"
        f" FROM {RUNS} ORDER BY {of}, number DESC"
    )
    last = {(row[0], row[1]): row[2:] for row in runs}
    found = []
    for row in session.rows(f"SELECT {of}, {_DEFINITION}, {_PLACE} FROM {FEEDS}"):
        key, feed = (row[0], row[1]), _feed(row[1], *row[2:6])
        run = _run(key[0], feed, last[key]) if key in last else None
        found.append(
            FeedState(
                organization=key[0],
                feed=feed,
                place=_place_of(row[6:]),
                rows=counts.get(key, 0),
                revisions=revisions.get(key, 0),
                run=run,
            )
        )
    return sorted(found, key=lambda state: (state.organization, state.feed.table))


def _feed(table: str, endpoint: str, width: str, groups: str, filters: str) -> Feed:
    """Make a feed of its table and the columns `_DEFINITION`."""
    group_by = _decoded(groups, tuple[str, ...])
    given = _decoded(filters, tuple[tuple[str, tuple[str, ...]], ...])
    try:
        return Feed(endpoint, width, group_by, given, table)
    except QueryError as error:
        told = str(error)
    raise StoreError(
        f"the table {table} holds a feed of a later release ({told}): upgrade usage-async"
    )


def _run(organization: str, feed: Feed, row: Sequence[Any]) -> Run:
    """Make a run of its columns in `usage_runs`."""
    started_at, seconds, rows, *counts, error = row
    return Run(
        organization=organization,
        feed=feed,
        started_at=started_at,
        seconds=seconds,
        rows=rows,
        **dict(zip(_COUNTS, counts, strict=True)),
        error=error,
    )
