"""Stores in SQL databases: each operation of a backend as one transaction. Blocking.

DuckDB and PostgreSQL differ in how they connect, in the types of `layout.Dialect`, and in how a
table of Arrow gets in. All else is in this package, in SQL that both understand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from usage_async._codec.schemas import pyarrow
from usage_async.collect.feed import Feed
from usage_async.collect.rows import instants
from usage_async.collect.sql.layout import (
    FEEDS,
    LAYOUT,
    LAYOUT_TABLE,
    OTHER,
    REVISIONS,
    Dialect,
    Layout,
    listed,
    quoted,
    statements,
)
from usage_async.collect.sql.records import (
    add_names,
    add_run,
    find_place,
    find_states,
    move_place,
    named_at,
)
from usage_async.collect.sql.revisions import find_revisions, revision_table
from usage_async.collect.sql.session import STAGED, Session
from usage_async.collect.values import Applied, FeedState, Place, Run, Snapshot
from usage_async.errors import StoreError, StoreMovedError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")

_SENT = "usage_sent"
"""Name of the table that holds the starts of the buckets of a snapshot during a transaction."""


class SqlBackend(ABC):
    """Backend of a store in an SQL database."""

    keeps_names = True
    shuts_out = False
    dialect: ClassVar[Dialect]
    layout: Layout = LAYOUT

    def __init__(self) -> None:
        self._prepared: set[str] = set()
        """Tables of feeds that have every column."""
        self._shared: Session | None = None
        """Transaction that several operations share."""

    def batch(self, operations: Sequence[Callable[[], Any]]) -> list[Any]:
        """See `Batching`."""

        def all_in(session: Session) -> list[Any]:
            self._shared = session
            try:
                return [operation() for operation in operations]
            finally:
                self._shared = None

        prepared = set(self._prepared)
        try:
            return self._write(all_in)
        except BaseException:
            # Tables that this transaction has made are gone.
            self._prepared = prepared
            raise

    @abstractmethod
    def transact(self, work: Callable[[Session], T], *, writes: bool) -> T:
        """Call a function within one transaction, which is undone if the function raises.

        Args:
            work: The function.
            writes: True if it may change the database.

        Raises:
            StoreError: The database failed. Nothing has changed.
        """

    @abstractmethod
    def close(self) -> None:
        """See `Backend`."""

    def place(self, organization: str, feed: Feed) -> Place:
        """See `Backend`."""
        return self._read(partial(find_place, organization=organization, feed=feed), Place())

    def named_at(self, organization: str) -> int | None:
        """See `Backend`."""
        return self._read(partial(named_at, organization=organization), None)

    def states(self) -> list[FeedState]:
        """See `Backend`."""
        return self._read(find_states, [])

    def apply(self, snapshot: Snapshot, seen_at: int) -> Applied:
        """See `Backend`."""
        applied = self._write(partial(self._apply, snapshot=snapshot, seen_at=seen_at))
        self._prepared.add(snapshot.feed.table)
        return applied

    def record(self, run: Run) -> None:
        """See `Backend`."""
        self._write(partial(add_run, run=run))

    def remember(self, organization: str, names: Table, seen_at: int) -> None:
        """See `Backend`."""
        self._write(partial(add_names, organization=organization, names=names, seen_at=seen_at))

    def _read(self, work: Callable[[Session], T], nothing: T) -> T:
        """Call a function that changes nothing within a transaction.

        Args:
            work: The function.
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
        """Call a function within a transaction that first brings the store to this layout."""
        if self._shared is not None:
            return work(self._shared)

        def checked(session: Session) -> T:
            if self._layout_of(session) != self.layout.version:
                session.lock(LAYOUT_TABLE)
                # Another run may have made it before the lock; its number is then written again.
                for statement in self.layout.statements(self._layout_of(session)):
                    session.run(statement)
            return work(session)

        return self.transact(checked, writes=True)

    def _layout_of(self, session: Session) -> int | None:
        """Read the layout of the store; None if it has no tables.

        Raises:
            StoreError: A later release wrote it, or something else has emptied the table.
        """
        if not session.columns(LAYOUT_TABLE):
            return None
        rows = session.rows(f"SELECT version FROM {LAYOUT_TABLE}")
        if not rows:
            raise StoreError(f"{LAYOUT_TABLE} of this store is empty: restore its row")
        found = int(rows[0][0])
        if found > self.layout.version:
            raise StoreError(
                f"this store was written by a later release (its layout is {found}, this release"
                f" knows {self.layout.version}): upgrade usage-async"
            )
        return found

    def _apply(self, session: Session, snapshot: Snapshot, seen_at: int) -> Applied:
        organization, feed = snapshot.organization, snapshot.feed
        session.lock(f"{organization}\0{feed.table}")
        if find_place(session, organization, feed).number != snapshot.place.number:
            raise StoreMovedError(
                f"{feed.table} of {organization} was written to by another run in the meantime:"
                " read again"
            )
        if feed.table not in self._prepared:
            self._prepare(session, feed)
        revised = self._replace(session, snapshot, seen_at) if snapshot.sent else 0
        move_place(session, snapshot)
        rounded = 0 if self.dialect.has_all_digits else snapshot.rounded
        return Applied(rows=snapshot.table.num_rows, revised=revised, rounded=rounded)

    def _prepare(self, session: Session, feed: Feed) -> None:
        """Make the table of a feed and its view, or add the columns that are missing."""
        if not statements(feed, self.dialect, found := session.columns(feed.table)):
            return
        session.lock(LAYOUT_TABLE)
        found = session.columns(feed.table)
        known = f"SELECT 1 FROM {FEEDS} WHERE table_name = $1 LIMIT 1"
        if found and not session.rows(known, feed.table):
            raise StoreError(
                f"there is a table {feed.table} that this store did not make: drop or rename it,"
                " or give the feed another table"
            )
        for statement in statements(feed, self.dialect, found):
            session.run(statement)

    def _replace(self, session: Session, snapshot: Snapshot, seen_at: int) -> int:
        """Replace the rows of the buckets that were sent, and give the number of revisions."""
        organization, feed, sent = snapshot.organization, snapshot.feed, snapshot.sent
        table = snapshot.table
        columns = [name for name in self.dialect.columns(feed) if name in table.column_names]
        values = {name: self._value(table, name) for name in columns}
        session.stage(STAGED, table)
        revised = find_revisions(session, snapshot, values)
        within = "organization = $1 AND start_time >= to_timestamp(CAST($2 AS bigint))"
        within += " AND start_time <= to_timestamp(CAST($3 AS bigint))"
        if (sent[-1] - sent[0]) // feed.width_s + 1 != len(sent):
            session.stage(_SENT, pyarrow().table({"start_time": instants(sent)}))
            within += f" AND start_time IN (SELECT start_time FROM {_SENT})"
        span = (organization, sent[0], sent[-1])
        session.run(f"DELETE FROM {quoted(feed.table)} WHERE {within}", *span)
        if table.num_rows:
            session.run(
                f"INSERT INTO {quoted(feed.table)} (organization, {listed(columns)})"
                f" SELECT $1, {', '.join(values.values())} FROM {STAGED}",
                organization,
            )
        session.run(f"DELETE FROM {OTHER} WHERE {within} AND table_name = $4", *span, feed.table)
        if snapshot.other:
            session.stage(STAGED, _other(snapshot))
            session.run(
                f"INSERT INTO {OTHER} (organization, table_name, start_time, end_time, content)"
                f" SELECT $1, $2, start_time, end_time, content FROM {STAGED}",
                organization,
                feed.table,
            )
        if revised:
            session.stage(STAGED, revision_table(revised))
            session.run(
                f"INSERT INTO {REVISIONS} (organization, table_name, start_time, dimensions,"
                " old_figures, new_figures, seen_at) SELECT $1, $2, start_time, dimensions,"
                f" old_figures, new_figures, to_timestamp(CAST($3 AS bigint)) FROM {STAGED}",
                organization,
                feed.table,
                seen_at,
            )
        return len(revised)

    def _value(self, table: Table, name: str) -> str:
        """Give the expression for a column of staged rows, with all digits of money."""
        digits: Any = f"{name}_exact"
        if not self.dialect.has_all_digits or digits not in table.column_names:
            return quoted(name)
        if table[digits].null_count == table.num_rows:
            return quoted(name)
        return f"coalesce(CAST({quoted(digits)} AS numeric), {quoted(name)})"


def _other(snapshot: Snapshot) -> Table:
    """Make a table of the rows of other kinds."""
    pa = pyarrow()
    table: Table = pa.table(
        {
            "start_time": instants([each.start_time for each in snapshot.other]),
            "end_time": instants([each.end_time for each in snapshot.other]),
            "content": pa.array([each.row for each in snapshot.other], pa.string()),
        }
    )
    return table
