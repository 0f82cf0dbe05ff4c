"""The converter of this library, and reading and writing of single values.

`UsageConverter.loads` tries the fast path first. What that refuses goes to the tolerant reader. The
values are equal either way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal
from typing import Any, TypeVar, cast, get_origin

import msgspec
from cattrs import transform_error
from cattrs.errors import BaseValidationError
from cattrs.preconf.msgspec import MsgspecJsonConverter, configure_converter

from usage_async._api.exact import JsonNumber
from usage_async._codec.fast import (
    NOTHING_LEARNED,
    Learned,
    collector_paused,
    fast_reader,
    learn,
)
from usage_async._codec.tolerant import LONGEST_REASON, register_hooks
from usage_async.errors import ResponseError, redact, snippet

T = TypeVar("T")

parse = msgspec.json.Decoder(float_hook=Decimal).decode
"""Decode JSON text into plain values, numbers with a fraction into Decimals."""


def _write_number(value: Any) -> msgspec.Raw:
    """Encode what msgspec does not know. Of our values, these are the numbers in `extra`."""
    if isinstance(value, JsonNumber):
        return msgspec.Raw(str(value).encode())
    raise TypeError(f"{type(value).__name__} is not a JSON value")


class UsageConverter(MsgspecJsonConverter):
    """cattrs' msgspec converter, set up for the values of this library.

    Attributes:
        fast: True if `loads` may take the fast path. The values are equal either way.
        learned: Unknown fields that the fast path has learned of what it refused before.
    """

    fast: bool = True
    learned: Learned = NOTHING_LEARNED
    encoder: msgspec.json.Encoder = msgspec.json.Encoder(enc_hook=_write_number)

    def loads(self, data: bytes, cl: type[T], **_: Any) -> T:
        """Read JSON text; numbers with a fraction keep all their digits."""
        made = self.loads_fast(data, cl)
        if made is None and self.learned:
            made = self.loads_learned(data, cl)
        return self.loads_tolerant(data, cl) if made is None else made

    def loads_fast(
        self, data: bytes, cl: type[T], *, learned: Learned = NOTHING_LEARNED
    ) -> T | None:
        """Read JSON text on the fast path; None if the fast path refuses it."""
        read = fast_reader(cast("Hashable", cl), learned) if self.fast else None
        if read is None:
            return None
        try:
            with collector_paused():
                return cast("T", read(data))
        except (msgspec.ValidationError, ArithmeticError):
            return None

    def loads_learned(self, data: bytes, cl: type[T]) -> T | None:
        """Read JSON text on the fast path, with the unknown fields that it has learned."""
        return self.loads_fast(data, cl, learned=self.learned)

    def loads_tolerant(self, data: bytes, cl: type[T]) -> T:
        """Read JSON text that the fast path refuses, and teach it the unknown fields."""
        with collector_paused():
            made = self.structure(parse(data), cl)
        if self.fast:
            self.learned = learn(self.learned, made)
        return made


def make_converter(*, fast: bool = True) -> UsageConverter:
    """Make a converter of one's own, to register more hooks on."""
    made = UsageConverter()
    made.fast = fast
    configure_converter(made)
    register_hooks(made)
    return made


converter: UsageConverter = make_converter()
"""Converter of this library. `converter.copy()` gives one to extend."""


def refused(
    error: Exception,
    body: bytes,
    place: Callable[[str], str] = lambda path: path,
    *,
    expected: str = "page of usage",
) -> ResponseError:
    """Turn an error of reading JSON into a `ResponseError`.

    Args:
        error: One of `READING_ERRORS`.
        body: Text that was read.
        place: Function from the path within the text to the path that the error tells.
        expected: What the text should have been.
    """
    reason, path = _reason(error, None), "$"
    if isinstance(error, BaseValidationError):
        reason, _, path = transform_error(error, path, _reason)[0].rpartition(" @ ")
    path = place(path)
    message = f"not a {expected}: {reason} at {path}"
    return ResponseError(message, path=path, snippet=snippet(body))


def _reason(error: BaseException, _: Any) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    reason = redact(str(error.args[0] if error.args else error))
    return reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + "…"


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


READING_ERRORS = (
    BaseValidationError,
    msgspec.MsgspecError,
    ArithmeticError,  # an exponent beyond what Decimal can hold
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
)
"""Errors that reading untrusted JSON can raise."""
