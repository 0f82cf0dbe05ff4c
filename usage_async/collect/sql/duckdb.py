"""Stores in DuckDB: one file, which is open only while it is read or written. Blocking.

An open file shuts every other program out, readers included. Therefore each transaction attaches
the file to a database in memory and detaches it again, which takes 2 ms (opening it as a database
of its own takes 18).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4
from weakref import WeakValueDictionary

import attrs

from usage_async.collect.sql.backend import SqlBackend
from usage_async.collect.sql.layout import Dialect, quoted, quoted_text
from usage_async.collect.sql.session import Session
from usage_async.collect.store import UnopenedError
from usage_async.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")

_BUSY = ("Could not set lock on file", "Unique file handle conflict")
"""Parts of DuckDB's messages for a file that is open: in another process, elsewhere in this one."""
_NAME = "usage_store"
"""Name of the file's database while it is attached."""
_ATTACH = f"ATTACH {{}} AS {_NAME} (TYPE duckdb, {{}})"
"""The type is named because DuckDB, without it, guesses it from the file: for another kind of file
it would look for an extension, even in the network."""

_LOCKS: WeakValueDictionary[str, _Lock] = WeakValueDictionary()
"""Locks of files by path. Two transactions of this process share the database of a file, which
would refuse the later one of two changes of a row."""


class _Lock:
    """Lock of a file within this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


@cache
def duckdb() -> Any:
    """Import duckdb.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import duckdb
    except ImportError:
        msg = "a store in DuckDB needs duckdb: pip install 'usage-async[collect]'"
        raise ConfigurationError(msg) from None
    return duckdb


class DuckDB(SqlBackend):
    """Backend of a store in a DuckDB file.

    Args:
        path: Path of the file, which the first snapshot makes.
    """

    shuts_out = True
    dialect: ClassVar[Dialect] = Dialect(
        decimal="decimal(38, 18)",
        # A cast of the instant itself would take the time zone of the session.
        day="CAST(make_timestamp(epoch_us({})) AS date)",
        has_all_digits=False,
        is_indexed=False,
    )

    def __init__(self, path: str) -> None:
        super().__init__()
        duckdb()
        # DuckDB takes a relative `md:…` or `https:…` for a place in the network.
        self._path = os.path.realpath(path)
        self._memory: Any = None
        self._turn = _LOCKS.setdefault(self._path, _Lock())

    def __repr__(self) -> str:
        return f"DuckDB({self._path!r})"

    def transact(self, work: Callable[[Session], T], *, writes: bool) -> T:
        """See `SqlBackend`."""
        with self._turn.lock:
            connection = self._open(writes=writes)
            try:
                connection.begin()
                found = work(_Session(connection))
                connection.commit()
            except duckdb().Error as error:
                failure = str(error)
            except BaseException:
                self.close()
                raise
            else:
                connection.close()
                try:
                    self._run(f"DETACH {_NAME}")
                except duckdb().Error:
                    # The disk is full. What was committed is in the log beside the file.
                    self.close()
                return found
            self.close()
        raise self._failed(failure)

    def close(self) -> None:
        """See `Backend`. Between two transactions the file is not open."""
        if self._memory is not None:
            # An open transaction ends, and so does what an error has left behind.
            self._memory.close()
            self._memory = None

    def _open(self, *, writes: bool) -> Any:
        """Attach the file, and give a connection whose tables are those of the file."""
        try:
            self._attach(writes=writes)
            connection = self._memory.cursor()
            connection.execute(f"USE {_NAME}")
        except (duckdb().Error, RuntimeError) as error:
            # A locale that lacks a character of the path is a RuntimeError.
            failure = str(error)
        else:
            return connection
        if any(part in failure for part in _BUSY):
            # The database in memory stays, for the next try.
            told = f"{self._path}: another program has it open: {_line(failure)}"
            raise UnopenedError(told, is_busy=True)
        self.close()
        raise self._failed(failure)

    def _attach(self, *, writes: bool) -> None:
        path, mode = self._path, "READ_WRITE" if writes else "READ_ONLY"
        folder = os.path.dirname(path)
        if os.path.lexists(path):
            if not os.path.isfile(path):
                # DuckDB would wait for the other end of a named pipe, and nothing could end that.
                raise StoreError(f"{path}: it is no file")
        else:
            if not os.path.isdir(folder):
                raise StoreError(f"{path}: there is no folder {folder}")
            if writes:
                # A kill while DuckDB makes a file leaves one that it cannot open: the file gets its
                # name when it is whole.
                self._make(os.path.join(folder, f".usage-async-{uuid4().hex}.part"))
            else:
                path, mode = ":memory:", "READ_WRITE"  # an empty database
        self._run(_ATTACH.format(quoted_text(path), mode))

    def _make(self, beside: str) -> None:
        """Make an empty database beside the file, and give it the name of the file."""
        try:
            self._run(_ATTACH.format(quoted_text(beside), "READ_WRITE"))
            self._run(f"DETACH {_NAME}")
            # This fails if another run has made the file in the meantime, and in a file system
            # without links, where DuckDB then makes it in place.
            with suppress(OSError):
                os.link(beside, self._path)
        finally:
            with suppress(OSError):
                os.unlink(beside)

    def _run(self, sql: str) -> None:
        if self._memory is None:
            # For so few rows more threads take more memory and as much time.
            self._memory = duckdb().connect(config={"threads": 1})
        self._memory.execute(sql)

    def _failed(self, failure: str) -> StoreError:
        return StoreError(f"{self._path}: {_line(failure)}")


def _line(failure: str) -> str:
    return failure.strip().partition("\n")[0].partition(" See also ")[0]


@attrs.frozen
class _Session:
    connection: Any

    def run(self, sql: str, *values: Any) -> None:
        self.connection.execute(sql, values)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.connection.execute(sql, values).fetchall()
        return found

    def stage(self, name: str, table: Table) -> None:
        self.connection.register(name, table)

    def columns(self, table: str) -> list[str]:
        # An error ends a transaction, so this query has one of its own. Asking the catalogue of all
        # tables would take 13 ms.
        with self.connection.cursor() as cursor:
            try:
                described = cursor.execute(f"DESCRIBE {_NAME}.{quoted(table)}").fetchall()
            except duckdb().CatalogException:
                return []
        return [row[0] for row in described]

    def lock(self, name: str) -> None:
        """Nothing else writes while this connection is open."""
