"""An open transaction of an SQL database, as `duckdb` and `postgresql` implement it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

STAGED = "usage_staged"
"""Name of the table that holds the rows of a snapshot, or of a record, during a transaction."""


class Session(Protocol):
    """An open transaction of an SQL database.

    Parameters are `$1`, `$2`, …, and `values` are theirs, in order. Times are Unix seconds, which
    the SQL turns into instants.
    """

    def run(self, sql: str, *values: Any) -> None:
        """Run a statement that gives no rows."""
        ...

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Give the rows of a query."""
        ...

    def stage(self, name: str, table: Table) -> None:
        """Make a table readable by a name until the end of the transaction."""
        ...

    def columns(self, table: str) -> list[str]:
        """Give the names of the columns of a table; none if there is no such table."""
        ...

    def lock(self, name: str) -> None:
        """Make other transactions that lock this name wait until the end of this one."""
        ...
