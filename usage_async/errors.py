"""Errors that this library raises.

    UsageError
    ├── ConfigurationError (ValueError)     no key, an impossible option, a closed client
    ├── QueryError (ValueError)             a parameter that the endpoint does not take
    │   └── ScopeError                      more than the scope of a client allows
    ├── APIConnectionError                  no whole reply came: retryable, is_untrusted
    │   └── APITimeoutError
    ├── APIStatusError                      status, code, param, request_id, message
    │   ├── BadRequestError                 400
    │   │   └── RangeUnavailableError       earliest
    │   ├── AuthenticationError             401
    │   ├── PermissionDeniedError           403, missing_scopes
    │   ├── NotFoundError                   404
    │   ├── RateLimitError                  429, retry_after
    │   └── InternalServerError             5xx
    ├── ResponseError                       2xx, but not a page: path, snippet, request_id
    │   └── PaginationError                 cursors or buckets contradict each other
    ├── IncompleteError                     figures cannot be proven complete: missing, differing
    ├── MixedCurrencyError                  several currencies have no single sum: currencies
    └── StoreError                          a database of `usage_async.collect` cannot be used
        └── StoreMovedError                 another run has written to it in the meantime

Errors carry data besides their text, and they can be pickled. They never hold a key. What they
quote of the service passes `_codec.redactor`, which knows the client's own key, and `redact`, which
knows the form of keys.
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
    """Replace what looks like an API key, masked ones included, by `sk-…` or `sess-…`."""
    return _SECRET.sub(r"\1-…", text)


def snippet(body: bytes) -> str:
    """Give the start of a body as safe text: escaped, redacted, at most 200 characters."""
    text = body[: 2 * _SNIPPET_LENGTH].decode("utf-8", "backslashreplace")
    return ascii(redact(text))[1:-1][:_SNIPPET_LENGTH]


class UsageError(Exception):
    """Base class of all errors of this library.

    Attributes:
        message: One line for a person, the same as `str(error)`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(UsageError, ValueError):
    """The client cannot work as it is set up. No request was sent."""


class QueryError(UsageError, ValueError):
    """The endpoint does not take a parameter or its value. No request was sent."""


class ScopeError(QueryError):
    """More than the scope of a client allows. No request was sent."""


class APIConnectionError(UsageError):
    """The service was not reached, or the connection broke before the reply was whole.

    Attributes:
        retryable: True if the same request may succeed later; False for a wrong certificate.
        is_untrusted: True if TLS failed.
    """

    def __init__(self, message: str, *, retryable: bool = True, is_untrusted: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.is_untrusted = is_untrusted


class APITimeoutError(APIConnectionError):
    """No whole reply came within the timeouts of the client."""


class APIStatusError(UsageError):
    """The service answered with an error status.

    Attributes:
        status: HTTP status.
        code: `error.code` of the reply; None if it has none.
        param: Parameter that the service refuses; None if it names none.
        request_id: `x-request-id` of the reply, for the support of the service; None if the reply
            has none, or if the error is about several replies. `fetch` sets it.
        retry_after: Seconds after which the service may be asked again; None if it does not say.
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
    """400: the range begins before the history of the service, or of a grouping.

    Attributes:
        earliest: First instant that the service offers, an aware UTC datetime. Start there, or pass
            `clamp=True` to the query.
    """

    def __init__(self, message: str, *, earliest: datetime = EPOCH, **data: Any) -> None:
        super().__init__(message, **data)
        self.earliest = earliest


class AuthenticationError(APIStatusError):
    """401: the key is unknown, revoked, or not an admin key."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not read this.

    Attributes:
        missing_scopes: Scopes that the service names, such as `api.usage.read`.
    """

    def __init__(self, message: str, *, missing_scopes: Iterable[str] = (), **data: Any) -> None:
        super().__init__(message, **data)
        self.missing_scopes: tuple[str, ...] = tuple(missing_scopes)


class NotFoundError(APIStatusError):
    """404: no such endpoint, or none for this organization."""


class RateLimitError(APIStatusError):
    """429: too many requests, for `retry_after` seconds, or no quota."""


class InternalServerError(APIStatusError):
    """5xx: the service failed."""


class ResponseError(UsageError):
    """The reply is successful, but it is not the JSON that was expected.

    Attributes:
        path: Place in the JSON, such as `$.data[0].results[3].amount.value`.
        snippet: Start of the body, escaped, at most 200 characters.
        request_id: `x-request-id` of the reply, for the support of the service; None if the reply
            has none, or if the error is about several replies. `fetch` sets it.
        retryable: True if the same request may succeed later; False for a reply that is too large.
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
    """Cursors or buckets contradict each other. Reading on would lose or double figures."""


class IncompleteError(UsageError):
    """A figure cannot be proven complete.

    Attributes:
        missing: Starts of the buckets that did not come, in Unix seconds.
        differing: Starts of the buckets whose groups do not add up, in Unix seconds.
    """

    def __init__(
        self, message: str, *, missing: Iterable[int] = (), differing: Iterable[int] = ()
    ) -> None:
        super().__init__(message)
        self.missing: tuple[int, ...] = tuple(missing)
        self.differing: tuple[int, ...] = tuple(differing)


class MixedCurrencyError(UsageError):
    """Amounts in several currencies have no single sum. `totals()` keeps them apart.

    Attributes:
        currencies: Currencies of the amounts, sorted.
    """

    def __init__(self, message: str, *, currencies: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.currencies: tuple[str, ...] = tuple(currencies)


class StoreError(UsageError):
    """A database of `usage_async.collect` cannot be opened, read or written to."""


class StoreMovedError(StoreError):
    """Another run has applied a snapshot since this one was begun. Read again, and apply that."""


STATUS_ERRORS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}
"""Error class of a status. Any other is `InternalServerError` (5xx) or `APIStatusError`."""
