"""Hints for people: each error becomes one line that also says how to go on."""

from __future__ import annotations

from errno import EBADF
from math import ceil

from usage_async import errors
from usage_async._http.key import KEY_FILE_VARIABLE, KEY_VARIABLE, NO_KEY

_WITHOUT_KEY = f"{NO_KEY}: set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}; --demo needs no key"

_EXACT = ("exact=True", "--exact")
"""An argument that the library's messages name, and its option."""


def explain(error: Exception) -> str:
    """Describe an error in one line, with a hint where there is one."""
    if isinstance(error, errors.ConfigurationError) and error.message.startswith(NO_KEY):
        return _WITHOUT_KEY
    if isinstance(error, OSError) and error.errno == EBADF:
        return "standard output is closed"
    if isinstance(error, OSError):
        return ": ".join(filter(None, (error.filename, error.strerror or str(error))))
    if not isinstance(error, errors.UsageError):
        return f"{type(error).__name__}: {error}: this is a bug in usage-async; --debug shows where"
    message, hint = error.message.replace(*_EXACT), _hint(error)
    return f"{message.rstrip('.')}: {hint}" if hint else message


def _hint(error: errors.UsageError) -> str | None:
    if isinstance(error, errors.RangeUnavailableError):
        return f"begin at {error.earliest:%Y-%m-%d} or later"
    if isinstance(error, errors.PermissionDeniedError) and error.missing_scopes:
        return f"the key lacks {', '.join(error.missing_scopes)}"
    if isinstance(error, errors.RateLimitError) and error.code == "insufficient_quota":
        return "the organization has no credit left"
    if isinstance(error, errors.APIStatusError) and error.retry_after:
        return f"try again in {ceil(error.retry_after)} s"
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)


_AGAIN = "try again in a minute"
_HINTS: tuple[tuple[type[errors.UsageError], str], ...] = (
    (errors.NotFoundError, "check the path and --base-url"),
    (errors.RateLimitError, _AGAIN),
    (errors.InternalServerError, _AGAIN),
    (errors.APITimeoutError, "try again, or ask for a shorter range"),
    (errors.APIConnectionError, "check the network and --proxy, or run `usage-async doctor`"),
    (errors.PaginationError, "try again; if it happens again, run `usage-async doctor`"),
    (errors.ResponseError, "a proxy may have changed the reply; run `usage-async doctor`"),
    (errors.IncompleteError, "`usage-async fetch` writes every row as it is"),
    (errors.MixedCurrencyError, "`usage-async report` and `total` keep currencies apart"),
)
"""Hints by kind of error; the first that fits is given."""
