"""Streaming: rows as lines of JSON, and record batches as Arrow's stream, while they are read.

Theory of operation. The run is part of the sending of a reply. It begins when the server wants the
reply, and its first piece is awaited before the headers are sent, so that an error up to then has a
status of its own. A cached client waits for it no longer than `wait_s`. The invariants:

- *Nobody reads for nobody*: sending and waiting for the browser's end are two tasks; the first to
  end cancels the other, and with it the run.
- *No more than the browser takes*: the next piece is asked for when the server has taken the last.
- *Nothing broken off looks finished*: lines end with one that says complete or why not. Arrow's
  stream has no such line, and its readers take the end of a body for that of the stream. HTTP/1.0
  and middleware that ends a body after an error (Starlette's `BaseHTTPMiddleware`) show them such
  an end. So every piece of Arrow's stream but the last ends within a message: with the mark that
  begins each one. An error adds a length and fewer bytes than that, since some readers take a mark
  alone for the end. Then the connection ends without an end of the reply. A table that lacks rows
  is such an error, since the stream has no place for a notice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing, nullcontext
from functools import partial
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from usage_async._api.exact import NO_EXTRA
from usage_async._api.fields import fields_of
from usage_async._api.pages import Notice
from usage_async._api.results import UsageRow
from usage_async._client.query import UsageQuery
from usage_async._codec.converter import converter, to_dict
from usage_async._codec.formats import WRITERS
from usage_async._engine.stream import Stream
from usage_async._query.times import TimeRange, iso
from usage_async.errors import UsageError
from usage_async.fastapi.failures import Failure, LackingError, failure_of
from usage_async.fastapi.writing import parts_of

_log = logging.getLogger("usage_async")

NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"

_NAMES = tuple(a.name for a in fields_of(UsageRow))
_UNKNOWN = Failure(500, "failed", "the figures could not be computed")

_MARK = b"\xff\xff\xff\xff"
"""Begins every message of Arrow's stream, and its end."""
_CUT = b"\x08\x00\x00\x00" + bytes(4)
"""Bytes after the mark of a message that is cut: it has 8 bytes, of which 4 come."""

_LACKS = {
    "missing-bucket": "the usage service has left buckets out",
    "other-results": "the usage service has sent rows of kinds that the table has no place for",
}
"""Reasons why a table lacks rows, by the code of the notice."""

Pieces = Callable[[UsageQuery[Any]], AsyncGenerator[bytes, None]]
OnFailure = Callable[[Request, UsageError], Response]
Guard = Callable[[], AbstractContextManager[object]]


class StreamedResponse(Response):
    """A reply that is read while it is sent.

    Args:
        query: The query.
        pieces: Begins its run, and gives the pieces of the body.
        media_type: Media type of the body.
        on_failure: Makes the reply after an error that comes before the first piece; None to raise
            it.
        guard: Context of the waiting for the first piece; what it raises is an error before it.
    """

    def __init__(
        self,
        query: UsageQuery[Any],
        pieces: Pieces,
        media_type: str,
        on_failure: OnFailure | None = None,
        guard: Guard = nullcontext,
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background: BackgroundTask | None = None
        self._query = query
        self._pieces = pieces
        self._on_failure = on_failure
        self._guard = guard
        # Proxies hold back what they may compress or buffer.
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Send the reply, until the browser leaves."""
        gone = asyncio.ensure_future(_gone(receive))
        work = asyncio.ensure_future(self._send(scope, receive, send))
        try:
            await asyncio.wait((gone, work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.wait((gone, work))
        if not work.cancelled():
            work.result()

    async def _send(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            try:
                with self._guard():
                    pieces = await stack.enter_async_context(aclosing(self._pieces(self._query)))
                    piece = await self._query._in_time(_next(pieces))  # noqa: SLF001 - a limit of its client
            except UsageError as error:
                if self._on_failure is None:
                    raise
                failed = self._on_failure(Request(scope), error)
                await failed(scope, receive, send)
                return
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await _next(pieces)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def ndjson(query: UsageQuery[Any]) -> Response:
    """Reply with every row of a query as a line of JSON, while they are read.

    Nulls are left out, and money is an exact string. The last line has `complete`: true, or false
    with the `notices` or the `error` that tell why. A reply without this line broke off. An error
    before the first row is raised, so that it has a status: also that no row came within the
    client's `wait_s`.

    Args:
        query: The query. It is read once for each reply, whatever the client's cache holds.
    """
    return StreamedResponse(query, lines_of, NDJSON)


async def lines_of(query: UsageQuery[Any]) -> AsyncGenerator[bytes, None]:
    """Read a query, and give lines of JSON as `ndjson` does."""
    rows, encode, covered = 0, converter.encoder.encode, None
    try:
        async with query.stream() as stream:
            async for bucket in stream:
                begin = covered.start_time if covered else bucket.start_time
                covered = TimeRange(begin, bucket.end_time)
                for part in parts_of(bucket):
                    lines = [encode(_line(row)) + b"\n" for row in part.rows()]
                    rows += len(lines)
                    yield b"".join(lines)
                    # Sending need not suspend this task.
                    await asyncio.sleep(0)
        last = _last(stream, rows, covered)
    except Exception as error:
        if not rows:
            raise
        last = {"complete": False, "rows": rows, "error": _told(error)}
    yield encode(last) + b"\n"


def _line(row: UsageRow) -> dict[str, Any]:
    line = {name: value for name in _NAMES if (value := getattr(row, name)) is not None}
    extra = line.pop("extra", NO_EXTRA)
    if extra:
        line["extra"] = converter.unstructure(extra)
    return line


def _last(stream: Stream[Any], rows: int, covered: TimeRange | None) -> dict[str, Any]:
    notices = stream.notices
    return {
        "complete": all(notice.code != "missing-bucket" for notice in notices),
        "rows": rows,
        "requested": to_dict(stream.requested),
        "covered": to_dict(covered),
        "as_of": iso(stream.as_of),
        "notices": [to_dict(notice) for notice in notices],
    }


def _told(error: Exception) -> dict[str, Any]:
    failure = failure_of(error) if isinstance(error, UsageError) else _UNKNOWN
    is_ours = isinstance(error, UsageError)
    request_id = getattr(error, "request_id", None)
    _log.warning(
        "a reply broke off: %s: %a (request id %a)",
        type(error).__name__,
        str(error) if is_ours else "",
        request_id,
        exc_info=None if is_ours else error,
    )
    return {"status": failure.status, "detail": failure.detail()}


def arrow_stream(query: UsageQuery[Any], *, exact: bool = False) -> Response:
    """Reply with every row of a query as Arrow's IPC stream, while they are read.

    The stream has no place for notices, and a table that lacks rows must not look whole. So missing
    buckets and rows of other kinds are errors here, where lines and JSON give notices. An error
    before the first piece is raised, so that it has a status: also that none came within the
    client's `wait_s`. After one that comes later, no reader takes the stream for whole.

    Args:
        query: The query. It is read once for each reply, whatever the client's cache holds.
        exact: Round money and quantities that have more than 18 decimal places, half to even, and
            add all digits as texts: `amount_exact`, `quantity_exact`. Without it they are an error.
    """
    return StreamedResponse(query, partial(arrow_of, exact=exact), ARROW)


async def arrow_of(query: UsageQuery[Any], *, exact: bool = False) -> AsyncGenerator[bytes, None]:
    """Read a query, and give pieces of Arrow's IPC stream; after an error, a cut message."""
    from usage_async._codec.schemas import arrow_schema

    # The first import of pyarrow takes 0.2 s, which would stall the event loop.
    schema = await asyncio.to_thread(arrow_schema, query.endpoint, exact=exact)
    sink = _Sink()
    open_writer: Any = WRITERS["arrow"]
    writer = None
    try:
        async with query.arrow_batches(exact=exact) as stream:
            async for batch in stream:
                _check_whole(stream.notices)
                if writer is None:
                    writer = open_writer(sink, batch.schema)
                await asyncio.to_thread(writer.write, batch)
                yield sink.taken() + _MARK
        _check_whole(stream.notices)
        if writer is None:
            writer = open_writer(sink, schema)
        writer.close({})
    except Exception:
        if sink.is_begun:
            yield _CUT
        raise
    yield sink.taken()


def _check_whole(notices: Sequence[Notice]) -> None:
    """Refuse to go on with a table that lacks rows.

    Raises:
        LackingError: A bucket is missing, or a row is of another kind.
    """
    for notice in notices:
        if (why := _LACKS.get(notice.code)) is not None:
            raise LackingError(
                f"{why}, and Arrow's stream cannot say so: take NDJSON or JSON",
                missing=notice.starts,
            )


class _Sink:
    """A file that holds what was written since it was last taken.

    Attributes:
        is_begun: True if a piece was taken. Its taker has added the mark of the next one.
    """

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.is_begun = False

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is at hand."""

    def taken(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        start = len(_MARK) if self.is_begun else 0
        self.is_begun = True
        return taken[start:]
