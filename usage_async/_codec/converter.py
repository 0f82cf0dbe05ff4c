"""The converter of this library, and reading and writing of single values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_origin

import msgspec
from cattrs.preconf.msgspec import MsgspecJsonConverter

from usage_async._api.exact import JsonNumber
from usage_async._codec.json_text import READING_ERRORS
from usage_async._codec.parsing import Reader, refused
from usage_async._codec.tolerant import register_hooks

T = TypeVar("T")


def _write_number(value: Any) -> msgspec.Raw:
    """Encode what msgspec does not know. Of our values, these are the numbers in `extra`."""
    if isinstance(value, JsonNumber):
        return msgspec.Raw(str(value).encode())
    raise TypeError(f"{type(value).__name__} is not a JSON value")


class UsageConverter(Reader, MsgspecJsonConverter):
    """cattrs' msgspec converter, set up for the values of this library."""

    encoder: msgspec.json.Encoder = msgspec.json.Encoder(enc_hook=_write_number)

    def read_tolerantly(self, value: Any, cl: type[T]) -> T:
        """Read plain values."""
        return self.structure(value, cl)


def make_converter(*, fast: bool = True) -> UsageConverter:
    """Make a converter of one's own, to register more hooks on."""
    made = UsageConverter()
    made.fast = fast
    register_hooks(made)
    return made


converter: UsageConverter = make_converter()
"""Converter of this library. `converter.copy()` gives one to extend."""


def from_dict(value: Mapping[str, Any], cls: type[T]) -> T:
    """Read plain values, such as `to_dict` gives.

    Args:
        value: JSON values. A float is taken by its shortest repr: `0.1` is exactly 0.1.
        cls: A class of this library, such as `UsageTimeBucket[CostsResult]` or
            `Summary[CostsResult]`.

    Raises:
        ResponseError: A value does not fit its field; `path` is its place.
    """
    return _read(lambda: converter.structure(value, cls), b"", cls)


def to_dict(value: Any) -> dict[str, Any]:
    """Write a value of this library as plain values, without loss.

    Decimals stay Decimals, and datetimes stay datetimes.

    Raises:
        ValueError: A name in an `extra` is a field of its class.
    """
    return cast("dict[str, Any]", converter.unstructure(value))


def loads(data: bytes | str, cls: type[T]) -> T:
    """Read JSON text of a value of this library: `loads(dumps(value), cls)` equals it.

    Args:
        data: JSON text.
        cls: A class of this library, such as `UsageTimeBucket[CostsResult]` or
            `Summary[CostsResult]`.

    Raises:
        ResponseError: The text is not JSON of this class; `path` is the place.
    """
    body = data.encode() if isinstance(data, str) else data
    return _read(lambda: converter.loads(body, cls), body, cls)


def dumps(value: Any) -> bytes:
    """Write a value of this library as JSON text, without loss.

    Money and quantities become strings, datetimes ISO 8601, and numbers in `extra` numbers.

    Raises:
        ValueError: A name in an `extra` is a field of its class.
    """
    return converter.dumps(value)


def _read(read: Callable[[], T], body: bytes, cls: Any) -> T:
    try:
        return read()
    except READING_ERRORS as error:
        raise refused(error, body, expected=(get_origin(cls) or cls).__name__) from None
