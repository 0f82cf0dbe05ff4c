"""Stores in PostgreSQL, through ADBC. Blocking.

A transaction copies its rows into a temporary table and from there into the table of the feed: for
8,760 buckets this takes a fifteenth of the time of replacing them one by one. An advisory lock,
which ends with the transaction, keeps two runs of one feed apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import attrs

from usage_async._codec.redactor import SHORTEST_KEY, Redactor
from usage_async._codec.schemas import pyarrow
from usage_async._http.key import Secret
from usage_async.collect.sql.backend import SqlBackend
from usage_async.collect.sql.layout import Dialect, quoted
from usage_async.collect.sql.session import Session
from usage_async.collect.store import UnopenedError
from usage_async.collect.store_url import conninfo
from usage_async.errors import ConfigurationError, StoreError, StoreMovedError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

T = TypeVar("T")

NULL_MARK = "\N{SYMBOL FOR NULL}"
"""Replacement of U+0000, which no text of PostgreSQL can hold."""
DEFAULTS: Mapping[str, Secret] = {
    "connect_timeout": Secret("10"),
    "keepalives_idle": Secret("60"),
    "tcp_user_timeout": Secret("60000"),
    "fallback_application_name": Secret("usage-async"),
}
"""Parameters of libpq, in seconds and milliseconds, where the URL names no others. With those of
the system, a server that is gone would hold a run for hours."""
_ENCODING = Secret("UTF8")
"""Encoding of the texts that the driver sends, whatever URL, environment and role ask for: under
another one they would be stored garbled."""
_LIMITS = (
    "SELECT set_config(name, '60s', true) FROM"
    " (VALUES ('lock_timeout'), ('idle_in_transaction_session_timeout')) AS limits (name)"
)
"""Limits of a transaction: a run whose machine has stopped keeps others waiting for a minute at
most."""
_MOVED = ("40001", "40P01")
"""SQLSTATE of a transaction that another one has overtaken: serialization failure, deadlock."""
_SAID = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(.*)")
"""The server's words, in a message of the driver that also quotes the statement."""
_STATEMENT = re.compile(r" '.*'(?=: )", re.DOTALL)
"""Statement in a message of the driver, which may have several lines."""
_LAYER = re.compile(r"\A[A-Z_]+: (?:\[libpq\] )?(?:Failed to connect: )?")
"""Beginning of a message that comes from the driver or from libpq."""


@cache
def dbapi() -> Any:
    """Import the driver of PostgreSQL.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        from adbc_driver_postgresql import dbapi as found  # type: ignore[import-untyped] # no marker
    except ImportError:
        msg = "a store in PostgreSQL needs a driver: pip install 'usage-async[postgres]'"
        raise ConfigurationError(msg) from None
    return found


class PostgreSQL(SqlBackend):
    """Backend of a store in a PostgreSQL database.

    The first transaction connects; the connection stays open until `close`.

    Args:
        parameters: Parameters of libpq. It takes what is missing from its environment variables,
            and the password from `~/.pgpass`.
    """

    dialect: ClassVar[Dialect] = Dialect(
        decimal="numeric",
        day="CAST({} AT TIME ZONE 'UTC' AS date)",
        has_all_digits=True,
        is_indexed=True,
    )

    def __init__(self, parameters: Mapping[str, Secret]) -> None:
        super().__init__()
        dbapi()
        self._conninfo = conninfo({**DEFAULTS, **parameters, "client_encoding": _ENCODING})
        secrets = [parameters.get(name, Secret()) for name in ("password", "sslpassword")]
        self._redactor = Redactor(tuple(one for one in secrets if len(one) >= SHORTEST_KEY))
        self._connection: Any = None

    def __repr__(self) -> str:
        return "PostgreSQL()"

    def transact(self, work: Callable[[Session], T], *, writes: bool) -> T:
        """See `SqlBackend`."""
        try:
            session = self._begun(writes=writes)
            try:
                found = work(session)
            except StoreError:
                # Connecting again would take a tenth of a second.
                session.run("ROLLBACK")
                raise
            session.run("COMMIT")
        except dbapi().Error as error:
            failure: StoreError = self._failed(error)
        except StoreError:
            raise
        except BaseException:
            self.close()
            raise
        else:
            return found
        self.close()
        raise failure

    def close(self) -> None:
        """See `Backend`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # An open transaction ends with its connection.
            with suppress(dbapi().Error):
                connection.close()

    def _begun(self, *, writes: bool) -> _Session:
        """Begin a transaction, over a new connection if the server has ended the last one."""
        begin = f"BEGIN ISOLATION LEVEL READ COMMITTED {'READ WRITE' if writes else 'READ ONLY'}"
        if self._connection is not None:
            try:
                return self._session(begin)
            except dbapi().Error:
                self.close()
        try:
            self._connection = dbapi().connect(self._conninfo, autocommit=True)
        except dbapi().Error as error:
            failure = UnopenedError(self._failed(error).message)
        else:
            return self._session(begin)
        raise failure

    def _session(self, begin: str) -> _Session:
        session = _Session(self._connection)
        session.run(begin)
        session.rows(_LIMITS)
        return session

    def _failed(self, error: Any) -> StoreError:
        if error.sqlstate in _MOVED:
            return StoreMovedError("another run has written to the same rows: read again")
        text = str(error).strip()
        said = _SAID.search(text)
        line = said[1] if said else _LAYER.sub("", _STATEMENT.sub("", text).partition("\n")[0])
        told = " ".join(line.split())
        return StoreError(f"PostgreSQL: {self._redactor.text(told)}")


@attrs.frozen
class _Session:
    connection: Any = attrs.field(repr=False)

    def run(self, sql: str, *values: Any) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, _bound(values))

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, _bound(values))
            table = cursor.fetch_arrow_table()
        # This takes a fifth of the time of `fetchall`.
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def stage(self, name: str, table: Table) -> None:
        table = _without_nulls(table)
        types = {field.name: _type_of(field.type) for field in table.schema}
        columns = ", ".join(f"{quoted(column)} {kind}" for column, kind in types.items())
        self.run(f"DROP TABLE IF EXISTS pg_temp.{name}")
        self.run(f"CREATE TEMPORARY TABLE {name} ({columns}) ON COMMIT DROP")
        with self.connection.cursor() as cursor:
            cursor.adbc_ingest(name, table, mode="append", temporary=True)

    def columns(self, table: str) -> list[str]:
        rows = self.rows(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(quote_ident($1))"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            table,
        )
        return [name for (name,) in rows]

    def lock(self, name: str) -> None:
        digest = sha256(f"usage-async {name}".encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        self.rows("SELECT pg_advisory_xact_lock($1)", number)


def _bound(values: tuple[Any, ...]) -> list[Any] | None:
    if not values:
        return None
    return [_text(value) if isinstance(value, str) else value for value in values]


def _text(text: str) -> str:
    return text.replace("\0", NULL_MARK)


def _type_of(kind: Any) -> str:
    pa = pyarrow()
    if pa.types.is_timestamp(kind):
        return "timestamptz"
    if pa.types.is_int64(kind):
        return "bigint"
    if pa.types.is_boolean(kind):
        return "boolean"
    return "numeric" if pa.types.is_decimal(kind) else "text"


def _without_nulls(table: Table) -> Table:
    """Replace U+0000 in the texts of a table."""
    pa = pyarrow()
    for number, field in enumerate(table.schema):
        column: Any = table.column(number)
        if pa.types.is_dictionary(field.type) and any(
            "\0" in text for chunk in column.chunks for text in chunk.dictionary.to_pylist()
        ):
            column = column.cast(pa.string())
        if not pa.types.is_string(column.type):
            continue
        made = pa.compute.replace_substring(column, "\0", NULL_MARK)
        table = table.set_column(number, field.name, made)
    return table
