"""Failures: errors of this library as replies, whose words are our own.

Every failure has the shape in which FastAPI tells of bad parameters:

    {"detail": [{"type": "upstream_throttled", "loc": [], "msg": "…"}]}

`loc` names the parameter at fault, if there is one. Text of the service and ids of its requests are
logged, and not part of a reply.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from http import HTTPStatus
from math import ceil
from typing import Any

import attrs
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from usage_async._codec.schemas import SCALE, MisfitError
from usage_async._engine.answers import LateError
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
_LATE_WAIT_S = 5
"""Seconds after which to ask again for what is still being made."""


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

    def headers(self) -> dict[str, str]:
        """Give the headers of the reply."""
        headers = {"Cache-Control": "no-store"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return headers

    def response(self) -> JSONResponse:
        """Make the reply."""
        return JSONResponse({"detail": self.detail()}, self.status, self.headers())


class BusyError(UsageError):
    """Too many questions are waiting in this process."""


class LackingError(IncompleteError):
    """A table would lack rows, and has no place to say so."""


_TIMES = frozenset({"start_time", "end_time"})

_OWN = ""
"""In place of a message: that of the error, which holds no text of the service."""

_KINDS: tuple[tuple[tuple[type[UsageError], ...], int, str, str], ...] = (
    ((BusyError,), 503, "busy", _OWN),
    ((ScopeError,), 403, "out_of_scope", _OWN),
    ((QueryError,), 422, "query_error", _OWN),
    (
        (RateLimitError,),
        503,
        "upstream_throttled",
        "the usage service is throttling this server",
    ),
    (
        (AuthenticationError, PermissionDeniedError),
        502,
        "upstream_refused",
        "the usage service refuses this server",
    ),
    # What kept it may be the service, or a queue of this process.
    ((LateError,), 504, "late", "there was no answer in time: ask again"),
    ((APITimeoutError,), 504, "upstream_timeout", "the usage service took too long"),
    ((APIConnectionError,), 502, "upstream_unreachable", "the usage service cannot be reached"),
    ((APIStatusError, ResponseError), 502, "upstream_failed", "the usage service failed"),
    ((LackingError,), 502, "incomplete", _OWN),
    ((IncompleteError,), 502, "incomplete", "these figures cannot be added up completely"),
    (
        (MixedCurrencyError,),
        # No parameter is wrong: the same question had an answer until the service billed so.
        409,
        "mixed_currency",
        "the amounts are in several currencies, which /usage/costs and reports keep apart",
    ),
    ((ConfigurationError,), 500, "misconfigured", "this server is not set up to answer"),
)


def failure_of(error: UsageError, parameters: Collection[str] = ()) -> Failure:
    """Give the failure that tells of an error.

    Args:
        error: The error.
        parameters: Names of parameters, one of which may be at fault.
    """
    if isinstance(error, RangeUnavailableError):
        text = f"the service has no data before {error.earliest.isoformat()}"
        return Failure(422, "range_unavailable", text, _place("start_time", parameters))
    if isinstance(error, MisfitError):
        if not error.is_long:
            return Failure(422, "misfit", "a figure is too large for a table: take NDJSON or JSON")
        text = (
            f"a figure has more than {SCALE} decimal places: exact=true rounds it in the table, and"
            " adds all digits as texts"
        )
        return Failure(422, "misfit", text, _place("exact", parameters))
    for kinds, status, kind, message in _KINDS:
        if isinstance(error, kinds):
            loc: tuple[str, ...] = ()
            if isinstance(error, QueryError):
                # A message about a parameter begins with its name.
                loc = _place(error.message.partition(" ")[0], parameters)
            wait_s = None
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                wait_s = max(ceil(getattr(error, "retry_after", 0) or 0), _LEAST_WAIT_S)
            elif isinstance(error, LateError):
                wait_s = _LATE_WAIT_S
            return Failure(status, kind, message or error.message, loc, wait_s)
    return Failure(500, "failed", "the figures could not be computed")


def _place(name: str, parameters: Collection[str]) -> tuple[str, ...]:
    """Give the place of a parameter; without the times there is a period, which gives both."""
    if name in _TIMES and name not in parameters:
        name = "period"
    return ("query", name) if name in parameters else ("query",)


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

    401 and 403 of the service become 502, 429 a 503 with `Retry-After`, a timeout 504, what is not
    there within `wait_s` a 504 with `Retry-After`, any other failure of the service 502,
    `QueryError` 422, `ScopeError` 403, `MixedCurrencyError` 409. A `ConfigurationError` at the
    start of the application, such as a missing key, is one line in place of a traceback.

    Args:
        app: The application. Mounted applications need handlers of their own.
    """
    app.add_exception_handler(UsageError, _answer)
    app.add_middleware(_PlainStart)


class _PlainStart:
    """Middleware that tells the server of a `ConfigurationError` at the start in one line.

    Starlette sends the traceback as the message, whatever a lifespan does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            # Starlette sends this while it handles the error.
            error = sys.exc_info()[1]
            is_ours = isinstance(error, ConfigurationError)
            if message["type"] == "lifespan.startup.failed" and is_ours:
                message = {**message, "message": str(error)}
            await send(message)

        await self._app(scope, receive, tell)


async def _answer(request: Any, error: Any) -> JSONResponse:
    return failure_response(request, error)


def told_failure(
    connection: HTTPConnection, error: UsageError, parameters: Collection[str] = ()
) -> Failure:
    """Log an error, and give the failure that tells of it.

    Args:
        connection: The request.
        error: The error.
        parameters: Names of the parameters of its route, one of which may be at fault.
    """
    if "period" in connection.query_params:
        parameters = set(parameters) - _TIMES
    failure = failure_of(error, parameters)
    if not isinstance(error, BusyError | QueryError):
        log_failure(connection, error)
    return failure


def failure_response(
    connection: HTTPConnection, error: UsageError, parameters: Collection[str] = ()
) -> JSONResponse:
    """Log an error, and make the reply that tells of it, as `told_failure` does."""
    return told_failure(connection, error, parameters).response()
