"""Opening of stores by their URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from usage_async._http.key import Secret
from usage_async.collect.store import Store
from usage_async.collect.store_url import POSTGRESQL_SCHEMES, parameters, place_of, scheme_of
from usage_async.errors import ConfigurationError

if TYPE_CHECKING:
    from usage_async.collect.store import Backend


def open_store(url: str) -> Store:
    """Give the store at a URL. The first use connects; the first snapshot makes file and tables.

    Neither the URL nor a password in it is shown by any error, repr or log line.

    Args:
        url: `duckdb:PATH`; `postgresql://user@host:port/database?…`, of which every part may be
            left out; or `delta:` with a path or a URL. libpq takes what is left out from its
            environment variables (`PGHOST`, …) and the password from `~/.pgpass`. Special
            characters are percent-encoded, in a password as well.

    Raises:
        ConfigurationError: The URL is none of these, or the library for it is not installed.
    """
    url = Secret(url)
    return Store(_backend(url))


def _backend(url: Secret) -> Backend:
    scheme = scheme_of(url)
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"this is no URL of a store: use {' or '.join(_FORMS)}")
    return _SCHEMES[scheme](url)


def _duckdb(url: Secret) -> Backend:
    from usage_async.collect.sql.duckdb import DuckDB

    path = str(place_of(url))
    if not path or path == ":memory:":
        raise ConfigurationError("a store in DuckDB needs a file: use duckdb:PATH")
    return DuckDB(os.path.expanduser(path))  # noqa: PTH111 - pathlib would take `//` for `/`


def _postgresql(url: Secret) -> Backend:
    from usage_async.collect.sql.postgresql import PostgreSQL

    found = parameters(url)
    if found is None:
        raise ConfigurationError(
            "this is no URL of a PostgreSQL database: write"
            " postgresql://user:password@host:port/database?parameter=value, and percent-encode"
            " special characters (@ as %40, / as %2F)"
        )
    return PostgreSQL(found)


def _delta(url: Secret) -> Backend:
    from usage_async.collect.delta.backend import delta_backend

    return delta_backend(place_of(url))


_SCHEMES: Mapping[str, Callable[[Secret], Backend]] = {
    "duckdb": _duckdb,
    "delta": _delta,
    **dict.fromkeys(POSTGRESQL_SCHEMES, _postgresql),
}
_FORMS = ("duckdb:PATH", "postgresql://HOST/DATABASE", "delta:PATH-or-URL")
