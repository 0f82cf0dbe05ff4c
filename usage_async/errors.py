"""Everything that this library raises on purpose.

    UsageError
    ├── ConfigurationError (ValueError)     no key, an impossible option, a closed client
    ├── QueryError (ValueError)             a parameter that this endpoint does not take
    ├── APIConnectionError                  the service never gave a usable answer
    │   └── APITimeoutError
    ├── APIStatusError                      status, code, param, request_id, message
    │   ├── BadRequestError                 400
    │   │   └── RangeUnavailableError       earliest: where the history begins
    │   ├── AuthenticationError             401
    │   ├── PermissionDeniedError           403, missing_scopes
    │   ├── NotFoundError                   404
    │   ├── RateLimitError                  429, retry_after
    │   └── InternalServerError             5xx
    ├── ResponseError                       2xx, but not a page: where, and a snippet
    │   └── PaginationError                 cursors or buckets that contradict each other
    ├── IncompleteError                     figures that cannot be proven whole
    └── MixedCurrencyError                  money that has no single sum

Errors carry data besides text, pickle, and never hold a key: what they quote of the service passes
`_codec.redactor`, which knows the client's own key, and `redact`, which knows what keys look like.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EPOCH = datetime.fromtimestamp(0, UTC)
_SECRET = re.compile(
    r"(sk|sess)-(?!(?:admin|proj|svcacct)-?(?![A-Za-z0-9_*-]))"  # a prefix alone is no key
    r"[A-Za-z0-9_*-]+(?:[.+/=~]+[A-Za-z0-9_*-]+)*=*"
)
_SNIPPET_LENGTH = 200


def redact(text: str) -> str:
    """Replace everything that looks like an API key, masked ones too, by `sk-…` or `sess-…`."""
    return _SECRET.sub(r"\1-…", text)


def snippet(body: bytes) -> str:
    """Give the start of a body as safe text: escaped, redacted, at most 200 characters."""
    text = body[: 2 * _SNIPPET_LENGTH].decode("utf-8", "backslashreplace")
    return ascii(redact(text))[1:-1][:_SNIPPET_LENGTH]


class UsageError(Exception):
    """The base of every error of this library.

    Args:
        message: One line for a person; also `str(error)`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(UsageError, ValueError):
    """The client cannot work as it was set up; no request was sent."""


class QueryError(UsageError, ValueError):
    """A parameter that the endpoint does not take; no request was sent."""


class APIConnectionError(UsageError):
    """The service was never reached, or broke off before an answer was whole.

    Attributes:
        retryable: Whether the same request may succeed later (not so for a wrong certificate).
        is_untrusted: Whether it was TLS that failed.
    """

    def __init__(self, message: str, *, retryable: bool = True, is_untrusted: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.is_untrusted = is_untrusted


class APITimeoutError(APIConnectionError):
    """No whole answer within the timeouts of the client."""


class APIStatusError(UsageError):
    """The service answered with an error status.

    Attributes:
        status: The HTTP status.
        code: The service's `error.code`, where it sent one.
        param: The parameter that the service complains about, where it named one.
        request_id: The service's `x-request-id`, to quote to its support.
        retry_after: Seconds after which the service asks to be called again, if it said so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        **data: Any,
    ) -> None:
        super().__init__(message, **data)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """400: the service refuses the query itself."""


class RangeUnavailableError(BadRequestError):
    """400: the range begins before the service's history, or before a grouping's floor.

    Attributes:
        earliest: The first instant that the service offers, an aware UTC datetime. Ask from there,
            or pass `clamp=True` to the query.
    """

    def __init__(self, message: str, *, earliest: datetime = EPOCH, **data: Any) -> None:
        super().__init__(message, **data)
        self.earliest = earliest


class AuthenticationError(APIStatusError):
    """401: the key is unknown, revoked, or not an admin key."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not read this.

    Attributes:
        missing_scopes: The scopes that the service named, such as `api.usage.read`.
    """

    def __init__(self, message: str, *, missing_scopes: Iterable[str] = (), **data: Any) -> None:
        super().__init__(message, **data)
        self.missing_scopes: tuple[str, ...] = tuple(missing_scopes)


class NotFoundError(APIStatusError):
    """404: no such endpoint, or none for this organization."""


class RateLimitError(APIStatusError):
    """429: too many requests (`retry_after` says for how long), or no quota."""


class InternalServerError(APIStatusError):
    """5xx: the service failed."""


class ResponseError(UsageError):
    """A successful answer that is not a page.

    Attributes:
        path: Where in the JSON it went wrong, such as `$.data[0].results[3].amount.value`.
        snippet: The start of the body, escaped, at most 200 characters.
        request_id: The service's `x-request-id`, to quote to its support.
        retryable: Whether asking again may help (not so for a reply that is too large).
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | None = None,
        snippet: str | None = None,
        request_id: str | None = None,
        retryable: bool = True,
    ) -> None:
        super().__init__(message)
        self.path = path
        self.snippet = snippet
        self.request_id = request_id
        self.retryable = retryable


class PaginationError(ResponseError):
    """Cursors or buckets contradict each other: going on would lose or double figures."""


class IncompleteError(UsageError):
    """A figure cannot be proven whole.

    Attributes:
        missing: Starts of the buckets that never came, Unix seconds.
        differing: Starts of the buckets whose groups do not add up, Unix seconds.
    """

    def __init__(
        self, message: str, *, missing: Iterable[int] = (), differing: Iterable[int] = ()
    ) -> None:
        super().__init__(message)
        self.missing: tuple[int, ...] = tuple(missing)
        self.differing: tuple[int, ...] = tuple(differing)


class MixedCurrencyError(UsageError):
    """Amounts in several currencies have no single sum; `totals()` keeps them apart.

    Attributes:
        currencies: The currencies found, sorted.
    """

    def __init__(self, message: str, *, currencies: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.currencies: tuple[str, ...] = tuple(currencies)


STATUS_ERRORS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}
"""The error class of a status; 5xx is `InternalServerError`, any other `APIStatusError`."""
