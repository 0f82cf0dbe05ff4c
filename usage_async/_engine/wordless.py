"""Requests of a scope, whose errors hold no text of the service.

The text of an error may tell of other projects, users and keys. So what programs go by is kept, and
the words are our own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from usage_async.errors import APIStatusError, RangeUnavailableError, ResponseError

if TYPE_CHECKING:
    from usage_async._http.fetch import Fetcher, Request

T = TypeVar("T")

OUTSIDE = "the reply holds rows that are not provably of the scope; none of it is shown"
_UNREADABLE = "the reply could not be read; a scope shows nothing of it"


def unreadable(error: ResponseError) -> ResponseError:
    """Give the error of a reply that could not be read, without where and why."""
    return type(error)(_UNREADABLE, retryable=error.retryable)


async def fetch(fetcher: Fetcher, request: Request[T]) -> T:
    """Fetch for a query with a scope: no error holds text of the service.

    Raises:
        UsageError: As `Fetcher.fetch`.
    """
    failure: APIStatusError | ResponseError
    try:
        return await fetcher.fetch(request)
    except APIStatusError as error:
        failure = _wordless(error)
    except ResponseError as error:
        failure = error if error.message == OUTSIDE else unreadable(error)
        failure.request_id = None
    # Tracebacks show locals, and a request holds a cursor of the service.
    del request
    raise failure.with_traceback(None)


def _wordless(error: APIStatusError) -> APIStatusError:
    known: dict[str, Any] = {"status": error.status, "retry_after": error.retry_after}
    if isinstance(error, RangeUnavailableError):
        known["earliest"] = error.earliest
        message = f"{error.status}: the service's data begin at {error.earliest.isoformat()}"
        return type(error)(message, **known)
    return type(error)(f"{error.status}: the service refused a request of this scope", **known)
