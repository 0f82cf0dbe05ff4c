"""Options of the commands that use a store, `collect` and `status`, and the reading of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from inspect import Parameter as Argument
from typing import TYPE_CHECKING, Any

from cyclopts import Group

from usage_async._cli.options import OUTPUT, one_of, option
from usage_async._query.times import parse_time
from usage_async.errors import ConfigurationError, QueryError

if TYPE_CHECKING:
    from usage_async._cli.context import Context
    from usage_async._http.key import Secret

STORE = Group("Store", sort_key=10)

DUCKDB = "duckdb"
DEFAULT_STORE = "duckdb:usage.duckdb"
DEMO_STORE = "duckdb:usage-demo.duckdb"

_SECRET = re.compile(
    r"(?i)://[^/?#]*:[^/?#]*@"
    r"|[?&;][^=&;]*(?:pass(?!file=)|p[a-z]*w|secret|token|sig|_key)[^=&;]*="
)
"""A password or the key of an object store in a URL, of whatever store. A parameter counts even if
its name is misspelt (`pasword`, `pwd`), since its value is a password all the same; the `passfile`
of PostgreSQL is the name of a file."""


def store_options(text: str) -> list[Argument]:
    """Make the options `--to` and `--to-env`."""
    return [
        option(
            "to",
            str | None,
            None,
            group=STORE,
            show_default=False,
            help="URL of the store: duckdb:FILE, postgresql://HOST/DATABASE or"
            f" delta:FOLDER-OR-URL, without a password. {text}",
        ),
        option(
            "to_env",
            str | None,
            None,
            group=STORE,
            show_default=False,
            help="Environment variable that holds the URL of the store, also one with a password.",
        ),
    ]


def format_option() -> Argument:
    """Make the option `--format`."""
    return option(
        "format",
        one_of(("text", "json")),
        "text",
        group=OUTPUT,
        help="text: for people. json: one object a line, for programs.",
    )


def store_url(to: str | None, to_env: str | None, default: str = DEFAULT_STORE) -> Secret:
    """Find the URL of the store.

    Args:
        to: Value of `--to`.
        to_env: Value of `--to-env`.
        default: URL without either option.

    Raises:
        QueryError: Both options are given, or `--to` holds a password.
        ConfigurationError: The variable is not set.
    """
    from usage_async._http.key import Secret
    from usage_async.collect.store_url import holds_password

    if to is not None and to_env is not None:
        raise QueryError("--to and --to-env both name the store: leave one out")
    if to_env is not None:
        if url := os.environ.get(to_env):
            return Secret(url)
        raise ConfigurationError(
            f"--to-env {to_env}: this variable is not set: set it to the URL of the store"
        )
    if to is not None and (holds_password(to) or _SECRET.search(to)):
        raise QueryError(
            "--to holds a password, which every user of this machine can see: put it into"
            " ~/.pgpass or PGPASSWORD, or the whole URL into a variable for --to-env NAME"
        )
    return Secret(default if to is None else to)


def kind_of(url: str) -> str:
    """Give the kind of a store, which is the scheme of its URL."""
    return url.partition(":")[0].lower()


def parse_length(name: str, text: str) -> timedelta:
    """Read a length of time.

    Args:
        name: Name of the option, for messages.
        text: Its value.

    Raises:
        QueryError: The value is no length of time.
    """
    found: object = None
    with suppress(QueryError):
        # Its message also tells of instants.
        found = parse_time(name, text)
    if not isinstance(found, timedelta):
        raise QueryError(f"{name} takes a length of time such as 1h, 90m or 2d; not {text!r}")
    return found


def print_json(context: Context, value: Mapping[str, Any]) -> None:
    """Print an object on a line of its own."""
    context.out.print(json.dumps(value), soft_wrap=True)
