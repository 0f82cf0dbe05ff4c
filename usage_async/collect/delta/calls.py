"""Calls of deltalake, each of whose failures becomes an error of one line. Blocking."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from usage_async._codec.redactor import Redactor, shortened
from usage_async.errors import StoreError

T = TypeVar("T")

_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
"""Variables whose values no message shows."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_DAMAGED = re.compile(r"Parquet error|not found|NoSuchKey")
"""Messages for a data file that is gone or cut short."""
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")
_OS_ERROR = re.compile(r"os error (\d+)\)|Os \{ code: (\d+)")
_STATUS = re.compile(r"\b([45]\d\d [A-Z]\w+(?: [A-Z]\w+)*)")
"""Status that a server has answered, with its words."""
_REASONS = (
    ("169.254.169.254", "there are no credentials: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
    ("URL scheme is not allowed", "the endpoint is plain http: set AWS_ALLOW_HTTP=true to use it"),
    ("operation timed out", "no answer in time"),
)
"""Parts of messages, and what is told in their place."""


class RaceError(StoreError):
    """Another run has changed the table since it was read."""


class AbsentError(StoreError):
    """There is no such table."""


class DamagedError(StoreError):
    """A file of a table is gone or cut short."""


@cache
def deltalake() -> Any:
    """Import deltalake, which takes 0.1 s: at its first use, in the thread of the store."""
    return import_module("deltalake")


def call(where: str, work: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call what reads or writes a table.

    The errors of deltalake quote requests and replies, so none is chained.

    Args:
        where: The store, as messages name it.
        work: The function to call.
        args: Its arguments.
        options: Its keywords.

    Raises:
        RaceError: Another run has changed the table since it was read.
        AbsentError: There is no such table.
        DamagedError: A file of the table is gone or cut short.
        StoreError: Any other failure.
    """
    try:
        return work(*args, **options)
    except BaseException as error:
        # A panic in Rust is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        failure = _failure(where, error)
    raise failure


def _failure(where: str, error: BaseException) -> StoreError:
    """Give the error for a failure of deltalake."""
    kinds, text = deltalake().exceptions, str(error)
    code = _OS_ERROR.search(text)
    number = int(code[1] or code[2]) if code else 0
    kind = StoreError
    if isinstance(error, kinds.CommitFailedError):
        kind = RaceError
    elif isinstance(error, kinds.TableNotFoundError) and number in {0, errno.ENOENT}:
        kind = AbsentError
    elif _DAMAGED.search(text):
        kind = DamagedError
    return kind(f"{where}: {_reason(text, number)}")


def _reason(text: str, number: int) -> str:
    """Tell in one line why deltalake failed."""
    for part, reason in _REASONS:
        if part in text:
            return reason
    if number:
        return os.strerror(number)
    if found := _S3_CODE.search(text) or _STATUS.search(text):
        return f"S3 answers {found[1]}"
    keys = tuple(filter(None, map(os.environ.get, _SECRETS)))
    lines = Redactor(keys).text(_COLOUR.sub("", text)).splitlines()
    return shortened(next(filter(None, map(str.strip, lines)), "unknown error"))
