"""Tables of a store in SQL: their names, columns and views, and the steps between layouts. Pure.

A store in SQL has a table and a view for each feed, and tables of its own, whose names begin with
`usage_`. The columns of a feed's table are those of the endpoint's Arrow tables, after the name of
the organization. A later release may add columns, and drops none. Any other change of the tables is
a new *layout*, with a step that leads to it from the layout before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from usage_async._client.names import DIMENSIONS
from usage_async._codec.packing import Role
from usage_async._codec.schemas import columns_of
from usage_async.collect.feed import Feed, short

LAYOUT_TABLE = "usage_layout"
FEEDS = "usage_feeds"
RUNS = "usage_runs"
REVISIONS = "usage_revisions"
OTHER = "usage_other"
NAMES = "usage_names"
NAMED = "usage_named"
"""Instants at which the names of organizations were last read, even if there were none."""


_TYPES: Mapping[Role, str] = {
    "time": "timestamptz",
    "figure": "bigint",
    "text": "text",
    "flag": "boolean",
    "exact": "text",
    "extra": "text",
}
"""Types of columns by the role of their values, where databases do not differ."""


@attrs.frozen
class Dialect:
    """Differences between databases.

    Attributes:
        decimal: Type of a column of money.
        day: Expression for the UTC date of the instant `{}`.
        has_all_digits: True if a column of money holds any number of digits, so that none is
            needed for the digits of figures that were rounded.
        is_indexed: True if the table of a feed needs an index.
    """

    decimal: str
    day: str
    has_all_digits: bool
    is_indexed: bool

    def columns(self, feed: Feed) -> dict[str, str]:
        """Give the columns of a feed's table after `organization`, with their types."""
        kind: Any = feed.described.result_class
        return {
            column.name: self.decimal if column.role == "decimal" else _TYPES[column.role]
            for column in columns_of(kind, exact=not self.has_all_digits)
        }


@attrs.frozen
class Layout:
    """The tables that a store has for itself, as statements.

    Attributes:
        version: Number of the layout.
        tables: Gives the statements that make the tables.
        steps: By layout, the statements that lead from it to the next one.
    """

    version: int
    tables: Callable[[], Sequence[str]]
    steps: Mapping[int, Sequence[str]]

    def statements(self, found: int | None) -> list[str]:
        """Give the statements that bring a store to this layout.

        Args:
            found: Layout of the store; None if it has no tables.
        """
        if found is None:
            made = [*self.tables(), f"CREATE TABLE {LAYOUT_TABLE} (version bigint NOT NULL)"]
            return [*made, f"INSERT INTO {LAYOUT_TABLE} VALUES ({self.version})"]
        steps = [step for each in range(found, self.version) for step in self.steps[each]]
        return [*steps, f"UPDATE {LAYOUT_TABLE} SET version = {self.version}"]


_FEED = "organization text NOT NULL, table_name text NOT NULL"


def _tables() -> Sequence[str]:
    columns = {
        FEEDS: f"""{_FEED}, endpoint text NOT NULL, bucket_width text NOT NULL,
            group_by text NOT NULL, filters text NOT NULL, number bigint NOT NULL,
            first_start timestamptz, wanted_start timestamptz, start_time timestamptz,
            covered_to timestamptz,
            ended_through timestamptz, settled_through timestamptz, missing text NOT NULL,
            unread text NOT NULL, as_of timestamptz, PRIMARY KEY (organization, table_name)""",
        RUNS: f"""{_FEED}, number bigint NOT NULL, started_at timestamptz NOT NULL,
            seconds float8 NOT NULL, rows_written bigint NOT NULL, buckets bigint NOT NULL,
            requests bigint NOT NULL, revised bigint NOT NULL, rounded bigint NOT NULL,
            missing bigint NOT NULL, error text, PRIMARY KEY (organization, table_name, number)""",
        REVISIONS: f"""{_FEED}, start_time timestamptz NOT NULL, dimensions text NOT NULL,
            old_figures text, new_figures text, seen_at timestamptz NOT NULL""",
        OTHER: f"""{_FEED}, start_time timestamptz NOT NULL, end_time timestamptz NOT NULL,
            content text NOT NULL""",
        NAMES: """organization text NOT NULL, dimension text NOT NULL, id text NOT NULL,
            name text NOT NULL, first_seen timestamptz NOT NULL, last_seen timestamptz NOT NULL,
            PRIMARY KEY (organization, dimension, id)""",
        NAMED: "organization text PRIMARY KEY, named_at timestamptz NOT NULL",
    }
    made = [f"CREATE TABLE {name} ({listed})" for name, listed in columns.items()]
    indexes = [
        f"CREATE INDEX {name}_of ON {name} (organization, table_name)"
        for name in (REVISIONS, OTHER)
    ]
    return made + indexes


LAYOUT = Layout(version=1, tables=_tables, steps={})
"""Layout of this release. A change of `_tables` is a new version and a step from the one before."""


def quoted(name: str) -> str:
    """Quote the name of a table or a column; the name of a table may be a word of SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """Write a text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def listed(names: Iterable[str], prefix: str = "") -> str:
    """List names of columns.

    Args:
        names: The names.
        prefix: Text before each name.
    """
    return ", ".join(prefix + quoted(name) for name in names)


def statements(feed: Feed, dialect: Dialect, found: Sequence[str]) -> list[str]:
    """Give the statements that make the table of a feed and its view, or add columns to them.

    Args:
        feed: The feed.
        dialect: Dialect of the database.
        found: Columns of the table; empty if there is no table.
    """
    wanted, table = dialect.columns(feed), quoted(feed.table)
    if not found:
        columns = ", ".join(
            f"{quoted(name)} {kind}" + (" NOT NULL" if name.endswith("_time") else "")
            for name, kind in wanted.items()
        )
        made = [f"CREATE TABLE {table} (organization text NOT NULL, {columns})"]
        if dialect.is_indexed:
            made.append(f"CREATE INDEX ON {table} (organization, start_time)")
        return [*made, _view(feed, dialect, ["organization", *wanted])]
    more = [name for name in wanted if name not in found]
    if not more:
        return []
    made = [f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {wanted[name]}" for name in more]
    return [*made, _view(feed, dialect, [*found, *more])]


def _view(feed: Feed, dialect: Dialect, columns: Sequence[str]) -> str:
    """Give the statement for the view of a feed: its rows with their UTC day and with names.

    A column that is added to the table comes last: a database replaces a view only if its columns
    stay in place.
    """
    named = [name for name in feed.group_by if name in DIMENSIONS]
    notes = {f"{short(name)}_name": name for name in named}

    def label(note: str) -> str:
        known = f"t.{quoted(note)}, " if note in columns else ""
        dimension = notes[note]
        return f"coalesce({short(dimension)}_names.name, {known}t.{quoted(dimension)})"

    day = dialect.day.format("t.start_time")
    shown = [
        f"{label(name)} AS {quoted(name)}" if name in notes else f"t.{quoted(name)}"
        for name in columns
    ]
    added = [f"{label(note)} AS {quoted(note)}" for note in notes if note not in columns]
    joined = "".join(
        f" LEFT JOIN {NAMES} AS {short(name)}_names ON {short(name)}_names.organization ="
        f" t.organization AND {short(name)}_names.dimension = '{name}'"
        f" AND {short(name)}_names.id = t.{quoted(name)}"
        for name in named
    )
    return (
        f"CREATE OR REPLACE VIEW {quoted(feed.table + '_named')} AS"
        f" SELECT {', '.join([f'{day} AS day', *added, *shown])}"
        f" FROM {quoted(feed.table)} AS t{joined}"
    )
