"""Failures: errors of this library as replies, whose words are our own.

Every failure has the shape in which FastAPI tells of bad parameters:

    {"detail": [{"type": "upstream_throttled", "loc": [], "msg": "…"}]}

`loc` names the parameter at fault, if there is one. Text of the service and ids of its requests are
logged, and not part of a reply.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from math import ceil
from typing import Any

import attrs
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection

from usage_async.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    IncompleteError,
    MixedCurrencyError,
    PermissionDeniedError,
    QueryError,
    RangeUnavailableError,
    RateLimitError,
    ResponseError,
    ScopeError,
    UsageError,
)

_log = logging.getLogger("usage_async")

_LEAST_WAIT_S = 1


@attrs.frozen
class Failure:
    """A failure as a reply tells of it.

    Attributes:
        status: HTTP status.
        type: Kind of failure, for programs.
        message: One sentence for a person, without text of the service.
        loc: Place of the parameter at fault.
        retry_after_s: Whole seconds after which to ask again; None if that is not known.
    """

    status: int
    type: str
    message: str
    loc: tuple[str, ...] = ()
    retry_after_s: int | None = None

    def detail(self) -> list[dict[str, Any]]:
        """Give the `detail` of the reply."""
        return [{"type": self.type, "loc": list(self.loc), "msg": self.message}]

    def response(self) -> JSONResponse:
        """Make the reply."""
        headers = {"Cache-Control": "no-store"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return JSONResponse({"detail": self.detail()}, self.status, headers)


BUSY = Failure(503, "busy", "too many questions are waiting here; ask again", (), _LEAST_WAIT_S)

_KINDS: tuple[tuple[tuple[type[UsageError], ...], int, str, str], ...] = (
    (
        (AuthenticationError, PermissionDeniedError),
        502,
        "upstream_refused",
        "the usage service refuses this server",
    ),
    ((APITimeoutError,), 504, "upstream_timeout", "the usage service took too long"),
    ((APIConnectionError,), 502, "upstream_unreachable", "the usage service cannot be reached"),
    ((APIStatusError, ResponseError), 502, "upstream_failed", "the usage service failed"),
    ((IncompleteError,), 502, "incomplete", "these figures cannot be added up completely"),
    (
        (MixedCurrencyError,),
        422,
        "mixed_currency",
        "there are amounts in several currencies, which have no single sum",
    ),
    ((ConfigurationError,), 500, "misconfigured", "this server is not set up to answer"),
)


def failure_of(error: UsageError, parameters: Iterable[str] = ()) -> Failure:
    """Give the failure that tells of an error.

    Args:
        error: The error.
        parameters: Names of parameters, one of which may be at fault.
    """
    if isinstance(error, ScopeError):
        return Failure(403, "out_of_scope", error.message)
    if isinstance(error, QueryError):
        word = error.message.partition(" ")[0]
        loc = ("query", word) if word in parameters else ("query",)
        return Failure(422, "query_error", error.message, loc)
    if isinstance(error, RangeUnavailableError):
        text = f"the service has no data before {error.earliest.isoformat()}"
        return Failure(422, "range_unavailable", text, ("query",))
    if isinstance(error, RateLimitError):
        wait_s = max(ceil(error.retry_after or 0), _LEAST_WAIT_S)
        message = "the usage service is throttling this server"
        return Failure(503, "upstream_throttled", message, (), wait_s)
    for kinds, status, word, message in _KINDS:
        if isinstance(error, kinds):
            return Failure(status, word, message)
    return Failure(500, "failed", "the figures could not be computed")


def log_failure(connection: HTTPConnection, error: UsageError) -> None:
    """Log an error with the id of the service's request, for its support."""
    request_id = getattr(error, "request_id", None)
    _log.warning(
        "%a: %s: %a (request id %a)",
        connection.url.path,
        type(error).__name__,
        error.message,
        request_id,
    )


def install_error_handlers(app: FastAPI) -> None:
    """Answer every `UsageError` of a handler by a status and a sentence of our own.

    401 and 403 of the service become 502, 429 a 503 with `Retry-After`, a timeout 504, any other
    failure of the service 502, `QueryError` 422, `ScopeError` 403.

    Args:
        app: The application. Mounted applications need handlers of their own.
    """
    app.add_exception_handler(UsageError, _answer)


async def _answer(request: Any, error: Any) -> JSONResponse:
    return failure_response(request, error)


def failure_response(
    connection: HTTPConnection, error: UsageError, parameters: Iterable[str] = ()
) -> JSONResponse:
    """Log an error, and make the reply that tells of it."""
    failure = failure_of(error, parameters)
    if not isinstance(error, QueryError):
        log_failure(connection, error)
    return failure.response()
