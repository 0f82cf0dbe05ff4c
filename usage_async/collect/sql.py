"""Stores in SQL databases: each operation of a backend as one transaction. Blocking.

DuckDB and PostgreSQL differ in how they connect, in the types of `layout.Dialect`, and in how a
table of Arrow gets in. All else is here, in SQL that both understand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import attrs
import msgspec

from usage_async._api.exact import plain
from usage_async._codec.schemas import pyarrow
from usage_async.collect.feed import Feed
from usage_async.collect.layout import (
    FEEDS,
    LAYOUT,
    LAYOUT_TABLE,
    NAMES,
    OTHER,
    REVISIONS,
    RUNS,
    Dialect,
    Layout,
    listed,
    quoted,
    statements,
)
from usage_async.collect.rows import dimensions_of, figures_of
from usage_async.collect.values import Applied, FeedState, Place, Run, Snapshot
from usage_async.errors import QueryError, StoreError, StoreMovedError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")

_TIMES = ("first_start", "start_time", "covered_to", "ended_through", "settled_through", "as_of")
"""Times of a place."""
_STARTS = ("missing", "unread")
"""Starts of buckets in a place, which are kept as JSON."""
_COUNTS = ("buckets", "requests", "revised", "rounded", "missing")
"""Numbers of a run that have columns of their names."""
_STAGED = "usage_staged"
_SENT = "usage_sent"


class Session(Protocol):
    """An open transaction. Parameters are `$1`, `$2`, …; times are Unix seconds."""

    def run(self, sql: str, *values: Any) -> None:
        """Run a statement that gives no rows."""
        ...

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Give the rows of a query."""
        ...

    def stage(self, name: str, table: Table) -> None:
        """Make a table readable by a name, until the end of the transaction."""
        ...

    def columns(self, table: str) -> list[str]:
        """Give the columns of a table; none if there is no such table."""
        ...

    def lock(self, name: str) -> None:
        """Keep every other transaction that locks this name waiting until the end of this one."""
        ...


class SqlBackend(ABC):
    """Backend of a store in an SQL database."""

    keeps_names = True
    dialect: ClassVar[Dialect]
    layout: Layout = LAYOUT

    def __init__(self) -> None:
        self._prepared: set[str] = set()
        self._shared: Session | None = None
        """Transaction that several operations share."""

    def batch(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """See `Batching`."""

        def all_in(session: Session) -> list[Any]:
            self._shared = session
            try:
                return [work() for work in works]
            finally:
                self._shared = None

        prepared = set(self._prepared)
        try:
            return self._write(all_in)
        except BaseException:
            # Tables that were made are gone.
            self._prepared = prepared
            raise

    @abstractmethod
    def transact(self, work: Callable[[Session], T], *, writes: bool) -> T:
        """Do a work in one transaction, which is undone if the work fails.

        Args:
            work: The work.
            writes: True if it may change the database.

        Raises:
            StoreError: The database failed. Nothing has changed.
        """

    @abstractmethod
    def close(self) -> None:
        """See `Backend`."""

    def place(self, organization: str, feed: Feed) -> Place:
        """See `Backend`."""
        return self._read(partial(_place, organization=organization, feed=feed), Place())

    def named_at(self, organization: str) -> int | None:
        """See `Backend`."""
        return self._read(partial(_named_at, organization=organization), None)

    def states(self) -> list[FeedState]:
        """See `Backend`."""
        return self._read(_states, [])

    def apply(self, snapshot: Snapshot, seen_at: int) -> Applied:
        """See `Backend`."""
        applied = self._write(partial(self._apply, snapshot=snapshot, seen_at=seen_at))
        self._prepared.add(snapshot.feed.table)
        return applied

    def record(self, run: Run) -> None:
        """See `Backend`."""
        self._write(partial(_record, run=run))

    def remember(self, organization: str, names: Table, seen_at: int) -> None:
        """See `Backend`."""
        self._write(partial(_remember, organization=organization, names=names, seen_at=seen_at))

    def _read(self, work: Callable[[Session], T], nothing: T) -> T:
        """Do a work that changes nothing.

        Args:
            work: The work.
            nothing: Its result in a database without a store.
        """
        if self._shared is not None:
            return work(self._shared)

        def checked(session: Session) -> tuple[bool, T]:
            found = self._layout_of(session)
            is_older = found is not None and found < self.layout.version
            return is_older, nothing if found is None or is_older else work(session)

        is_older, result = self.transact(checked, writes=False)
        return self._write(work) if is_older else result

    def _write(self, work: Callable[[Session], T]) -> T:
        if self._shared is not None:
            return work(self._shared)

        def checked(session: Session) -> T:
            if self._layout_of(session) != self.layout.version:
                session.lock(LAYOUT_TABLE)
                found = self._layout_of(session)  # of another run, while this one waited
                if found != self.layout.version:
                    for statement in self.layout.statements(found):
                        session.run(statement)
            return work(session)

        return self.transact(checked, writes=True)

    def _layout_of(self, session: Session) -> int | None:
        if not session.columns(LAYOUT_TABLE):
            return None
        found = int(session.rows(f"SELECT version FROM {LAYOUT_TABLE}")[0][0])
        if found > self.layout.version:
            raise StoreError(
                f"this store was written by a later release (its layout is {found}, this release"
                f" knows {self.layout.version}): upgrade usage-async"
            )
        return found

    def _apply(self, session: Session, snapshot: Snapshot, seen_at: int) -> Applied:
        organization, feed = snapshot.organization, snapshot.feed
        session.lock(f"{organization}\0{feed.table}")
        if _place(session, organization, feed).number != snapshot.place.number:
            raise StoreMovedError(
                f"{feed.table} of {organization} was written to by another run in the meantime:"
                " read again"
            )
        if feed.table not in self._prepared:
            self._prepare(session, feed)
        revised = self._replace(session, snapshot, seen_at) if snapshot.sent else 0
        _move(session, snapshot)
        return Applied(rows=snapshot.table.num_rows, revised=revised)

    def _prepare(self, session: Session, feed: Feed) -> None:
        """Make or widen the table of a feed."""
        if not statements(feed, self.dialect, found := session.columns(feed.table)):
            return
        session.lock(LAYOUT_TABLE)
        found = session.columns(feed.table)
        known = f"SELECT 1 FROM {FEEDS} WHERE table_name = $1 LIMIT 1"
        if found and not session.rows(known, feed.table):
            raise StoreError(
                f"there is a table {feed.table} that holds something else: drop or rename it, or"
                " give the feed another table"
            )
        for statement in statements(feed, self.dialect, found):
            session.run(statement)

    def _replace(self, session: Session, snapshot: Snapshot, seen_at: int) -> int:
        organization, feed, sent = snapshot.organization, snapshot.feed, snapshot.sent
        table = snapshot.table
        columns = [name for name in self.dialect.columns(feed) if name in table.column_names]
        values = {name: self._value(table, name) for name in columns}
        session.stage(_STAGED, table)
        revised = self._revisions(session, snapshot, values)
        within = "organization = $1 AND start_time >= to_timestamp(CAST($2 AS bigint))"
        within += " AND start_time <= to_timestamp(CAST($3 AS bigint))"
        if (sent[-1] - sent[0]) // feed.width_s + 1 != len(sent):
            session.stage(_SENT, _instants(sent))
            within += f" AND start_time IN (SELECT start_time FROM {_SENT})"
        span = (organization, sent[0], sent[-1])
        session.run(f"DELETE FROM {quoted(feed.table)} WHERE {within}", *span)
        if table.num_rows:
            session.run(
                f"INSERT INTO {quoted(feed.table)} (organization, {listed(columns)})"
                f" SELECT $1, {', '.join(values.values())} FROM {_STAGED}",
                organization,
            )
        session.run(f"DELETE FROM {OTHER} WHERE {within} AND table_name = $4", *span, feed.table)
        if snapshot.other:
            session.stage(_STAGED, _other(snapshot))
            session.run(
                f"INSERT INTO {OTHER} (organization, table_name, start_time, end_time, content)"
                f" SELECT $1, $2, start_time, end_time, content FROM {_STAGED}",
                organization,
                feed.table,
            )
        if revised:
            session.stage(_STAGED, _revised(revised))
            session.run(
                f"INSERT INTO {REVISIONS} (organization, table_name, start_time, dimensions,"
                " old_figures, new_figures, seen_at) SELECT $1, $2, start_time, dimensions,"
                f" old_figures, new_figures, to_timestamp(CAST($3 AS bigint)) FROM {_STAGED}",
                organization,
                feed.table,
                seen_at,
            )
        return len(revised)

    def _value(self, table: Table, name: str) -> str:
        """Give the expression for a column of staged rows."""
        digits: Any = f"{name}_exact"
        if not self.dialect.has_all_digits or digits not in table.column_names:
            return quoted(name)
        if table[digits].null_count == table.num_rows:
            return quoted(name)
        return f"coalesce(CAST({quoted(digits)} AS numeric), {quoted(name)})"

    def _revisions(
        self, session: Session, snapshot: Snapshot, values: Mapping[str, str]
    ) -> list[_Revision]:
        """Compare the rows of buckets that were read before with the staged ones."""
        place, width, sent = snapshot.place, snapshot.feed.width_s, {*snapshot.sent}
        if place.first_start is None or place.ended_through is None:
            return []
        first = max(place.first_start, snapshot.sent[0])
        last = min(place.ended_through - width, snapshot.sent[-1])
        if last < first:
            return []
        kind = snapshot.feed.described.result_class
        dimensions, figures = dimensions_of(kind), figures_of(kind)
        figures += tuple(f"{name}_exact" for name in figures if f"{name}_exact" in values)
        names = [name for name in (*dimensions, *figures) if name in values]
        start = "CAST(extract(epoch FROM start_time) AS bigint)"
        within = "start_time >= to_timestamp(CAST($1 AS bigint))"
        within += " AND start_time <= to_timestamp(CAST($2 AS bigint))"
        # Rows of one side are all different, so that of two equal ones there is one on each.
        rows = session.rows(
            f"SELECT min(side), {start}, {listed(names)} FROM (SELECT 0 AS side, start_time,"
            f" {listed(names)} FROM {quoted(snapshot.feed.table)} WHERE {within}"
            " AND organization = $3 UNION ALL SELECT 1, start_time,"
            f" {', '.join(values[name] for name in names)} FROM {_STAGED} WHERE {within}) AS sides"
            f" GROUP BY start_time, {listed(names)} HAVING count(*) = 1",
            first,
            last,
            snapshot.organization,
        )
        found: dict[tuple[Any, ...], list[Any]] = {}
        for side, *row in rows:
            if row[0] in sent and place.was_read(row[0], row[0] + width):
                key = tuple(row[: len(dimensions) + 1])
                found.setdefault(key, [None, None])[side] = _figures(
                    figures, row[len(dimensions) + 1 :]
                )
        return [
            _Revision(key[0], _json(zip(dimensions, key[1:], strict=True)), old, new)
            for key, (old, new) in found.items()
        ]


@attrs.frozen
class _Revision:
    start_time: int
    dimensions: str
    old_figures: str | None
    new_figures: str | None


def _json(items: Iterable[tuple[str, Any]]) -> str:
    return msgspec.json.encode({k: v for k, v in items if v is not None}).decode()


def _figures(names: Sequence[str], values: Sequence[Any]) -> str:
    """Write figures as JSON, money as texts with all digits."""
    found = dict(zip(names, values, strict=True))
    for name in names:
        if name.endswith("_exact"):
            digits = found.pop(name)
            found[name.removesuffix("_exact")] = digits or found[name.removesuffix("_exact")]
    return _json(
        (name, plain(Decimal(value)) if isinstance(value, Decimal | str) else value)
        for name, value in found.items()
    )


def _instants(times: Sequence[int]) -> Table:
    pa = pyarrow()
    table: Table = pa.table({"start_time": _timestamps(times)})
    return table


def _timestamps(times: Sequence[int]) -> Any:
    pa = pyarrow()
    return pa.array([1_000_000 * time for time in times], pa.timestamp("us", tz="UTC"))


def _revised(revisions: Sequence[_Revision]) -> Table:
    pa = pyarrow()
    names = ("dimensions", "old_figures", "new_figures")
    columns = {
        name: pa.array([getattr(each, name) for each in revisions], pa.string()) for name in names
    }
    starts = _timestamps([each.start_time for each in revisions])
    table: Table = pa.table({"start_time": starts, **columns})
    return table


def _other(snapshot: Snapshot) -> Table:
    pa = pyarrow()
    table: Table = pa.table(
        {
            "start_time": _timestamps([each.start_time for each in snapshot.other]),
            "end_time": _timestamps([each.end_time for each in snapshot.other]),
            "content": pa.array([each.row for each in snapshot.other], pa.string()),
        }
    )
    return table


def _definition(feed: Feed) -> tuple[str, str, str, str]:
    """Write a feed as the columns of `usage_feeds`."""
    encoded = [msgspec.json.encode(each).decode() for each in (feed.group_by, feed.filters)]
    return (feed.endpoint, feed.bucket_width, encoded[0], encoded[1])


_DEFINITION = "endpoint, bucket_width, group_by, filters"
_PLACE = ", ".join(
    ["number", *_STARTS, *(f"CAST(extract(epoch FROM {name}) AS bigint)" for name in _TIMES)]
)


def _place(session: Session, organization: str, feed: Feed) -> Place:
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


def _place_of(row: Sequence[Any]) -> Place:
    number, *rest = row
    starts = [msgspec.json.decode(text, type=tuple[int, ...]) for text in rest[: len(_STARTS)]]
    times = rest[len(_STARTS) :]
    values: dict[str, Any] = dict(zip((*_STARTS, *_TIMES), (*starts, *times), strict=True))
    return Place(number=number, **values)


def _move(session: Session, snapshot: Snapshot) -> None:
    """Move the place of a feed to that after a snapshot."""
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
    """Add a feed of an organization, unless it is there."""
    session.run(
        f"INSERT INTO {FEEDS} (organization, table_name, {_DEFINITION}, number,"
        f" {', '.join(_STARTS)}) VALUES ($1, $2, $3, $4, $5, $6, 0, '[]', '[]')"
        " ON CONFLICT DO NOTHING",
        organization,
        feed.table,
        *_definition(feed),
    )


def _record(session: Session, run: Run) -> None:
    key = (run.organization, run.feed.table)
    session.lock("\0".join(key))
    _place(session, run.organization, run.feed)
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


def _remember(session: Session, organization: str, names: Table, seen_at: int) -> None:
    session.lock(f"{organization}\0{NAMES}")
    session.stage(_STAGED, names)
    seen = "to_timestamp(CAST($2 AS bigint))"
    session.run(
        f"INSERT INTO {NAMES} (organization, dimension, id, name, first_seen, last_seen)"
        f" SELECT DISTINCT ON (dimension, id) $1, dimension, id, name, {seen}, {seen}"
        f" FROM {_STAGED} ON CONFLICT (organization, dimension, id)"
        " DO UPDATE SET name = excluded.name, last_seen = excluded.last_seen",
        organization,
        seen_at,
    )


def _named_at(session: Session, organization: str) -> int | None:
    sql = f"SELECT CAST(extract(epoch FROM max(last_seen)) AS bigint) FROM {NAMES}"
    found: int | None = session.rows(f"{sql} WHERE organization = $1", organization)[0][0]
    return found


def _states(session: Session) -> list[FeedState]:
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
    group_by = msgspec.json.decode(groups, type=tuple[str, ...])
    given = msgspec.json.decode(filters, type=tuple[tuple[str, tuple[str, ...]], ...])
    try:
        return Feed(endpoint, width, group_by, given, table)
    except QueryError as error:
        told = str(error)
    raise StoreError(f"the table {table} holds a feed of a later release ({told}): upgrade")


def _run(organization: str, feed: Feed, row: Sequence[Any]) -> Run:
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
