"""Reading of JSON text: the fast path first, then the tolerant reader.

Importing cattrs takes longer than reading a page, and pages that hold just what is declared do not
need it. So the tolerant reader is imported when the fast path first refuses a text.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import msgspec

from usage_async._codec.fast import (
    NOTHING_LEARNED,
    Learned,
    collector_paused,
    fast_reader,
    learn,
)
from usage_async._codec.json_text import parse
from usage_async.errors import ResponseError, redact, snippet

T = TypeVar("T")

_LONGEST_REASON = 200
"""Characters of the reason that an error quotes at most."""


class Reader:
    """Reader of JSON text into values of this library.

    Attributes:
        fast: True if `loads` may take the fast path. The values are equal either way.
        learned: Unknown fields that the fast path has learned of what it refused before.
    """

    fast: bool = True
    learned: Learned = NOTHING_LEARNED

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
            made = self.read_tolerantly(parse(data), cl)
        if self.fast:
            self.learned = learn(self.learned, made)
        return made

    def read_tolerantly(self, value: Any, cl: type[T]) -> T:
        """Read plain values."""
        from usage_async._codec.tolerant import tolerant_converter

        made: T = tolerant_converter().structure(value, cl)
        return made


READER = Reader()
"""Reader of the pages of a client."""


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
    if isinstance(error, ExceptionGroup):
        from cattrs import transform_error

        reason, _, path = transform_error(error, path, _reason)[0].rpartition(" @ ")
    path = place(path)
    message = f"not a {expected}: {reason} at {path}"
    return ResponseError(message, path=path, snippet=snippet(body))


def _reason(error: BaseException, _: Any) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    reason = redact(str(error.args[0] if error.args else error))
    return reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"
