"""CSV: exact values for programs, guarded cells for spreadsheets.

Values are written as they are (RFC 4180, lines ended by a line feed): Decimals in full and without
padding, `true` and `false`, unknown fields as JSON, nothing where there is no value and `""` for an
empty text, so that reading gives back what was written.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from usage_async._convert import dumps
from usage_async._fields import Extra, fields_of, plain
from usage_async.models import UsageRow, UsageTimeBucket

_QUOTED = frozenset('",\r\n')
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

ROW_COLUMNS = tuple(a.name for a in fields_of(UsageRow))
"""The columns of flat rows: the fields of `UsageRow`, for every endpoint the same."""


def line(values: Iterable[Any]) -> bytes:
    """Write one line of raw, exact cells."""
    return (",".join(map(_cell, values)) + "\n").encode()


def guarded(values: Iterable[Any]) -> bytes:
    """Write one line for a spreadsheet: a text that would be a formula begins with `'`."""
    return line(
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for value in values
    )


def rows(bucket: UsageTimeBucket[Any]) -> bytes:
    """Write the results of a bucket as lines of `ROW_COLUMNS`."""
    return b"".join(line(getattr(row, name) for name in ROW_COLUMNS) for row in bucket.rows())


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return plain(value)
        case int():
            return str(value)
        case Extra():
            return _text(dumps(value).decode()) if value else ""
    return _text(str(value))


def _text(text: str) -> str:
    if text and _QUOTED.isdisjoint(text) and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'
