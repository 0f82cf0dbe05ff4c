"""Spend limits: bytes into values."""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from usage_async._api.limits import SpendLimit
from usage_async._codec.json_text import READING_ERRORS
from usage_async._codec.parsing import refused
from usage_async._codec.redactor import Redactor
from usage_async.errors import ResponseError

_HEAD_BYTES = 1 << 12
"""Bytes of a reply that a snippet is made of."""


class _Enforcement(msgspec.Struct):
    status: str | None = None


class _Limit(msgspec.Struct):
    threshold_amount: int | None
    currency: str = "USD"
    interval: str = "month"
    enforcement: _Enforcement | None = None


_read = msgspec.json.Decoder(_Limit).decode


class LimitDecoder:
    """Reader of one spend limit, for `fetch`."""

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:  # noqa: ARG002 - of `Decoder`
        """Tell nothing: a limit is short, and is read when it comes."""
        return None

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, SpendLimit | None]:
        """Read a spend limit; None where none is set.

        Raises:
            ResponseError: It is no spend limit.
        """
        yield from ()
        try:
            read = _read(redactor.head(body))
        except READING_ERRORS as error:
            head = redactor.head(body, _HEAD_BYTES)
            raise refused(error, head, expected="spend limit") from None
        if read.threshold_amount is None:
            return None
        status = None if read.enforcement is None else read.enforcement.status
        return SpendLimit(
            threshold_amount=read.threshold_amount,
            currency=read.currency.lower(),
            interval=read.interval,
            enforcement=status,
        )
