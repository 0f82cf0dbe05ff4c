"""Command `usage-async serve`: the figures in a browser, for one person on this machine."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from inspect import Signature
from math import inf
from socket import create_server, socket
from typing import TYPE_CHECKING, Any

from cyclopts import Group

from usage_async._cli import stderr
from usage_async._cli.connection import Connection, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.hints import explain
from usage_async._cli.options import (
    CONNECTION,
    CONTEXT,
    PERIOD,
    as_written,
    no_names_option,
    one_of,
    option,
)
from usage_async.errors import ConfigurationError, QueryError
from usage_async.report.dimensions import word_of
from usage_async.report.spec import GROUPINGS, read_by, report_spec

if TYPE_CHECKING:
    from usage_async._cli.names import CommandNames
    from usage_async._client.client import UsageClient
    from usage_async.report.html.form import Question
    from usage_async.report.spec import ReportSpec
    from usage_async.report.values import Report, View

_SERVER = Group("Server", sort_key=10)
_PAGE = Group("Page", sort_key=20)

_HOST = "127.0.0.1"
_NEEDS = ("fastapi", "prometheus_client", "uvicorn", "altair", "jinja2", "vl_convert")
_LAST_PORT = 65_535
_DEFAULT_PERIOD = "last-month"

_notes: ContextVar[dict[str, None]] = ContextVar("_notes")
"""Collects the library's warnings of what is being read for a page."""


def serve(
    *,
    port: int,
    period: str,
    by: str,
    no_names: bool,
    connection: Connection,
    context: Context,
) -> None:
    """Serve a page, the routes and the metrics on this machine."""
    if not 0 <= port <= _LAST_PORT:
        raise QueryError(f"--port takes 0 to {_LAST_PORT}")
    if not all(map(find_spec, _NEEDS)):
        raise ConfigurationError(
            "serve needs extras: pip install 'usage-async[cli,fastapi,report]'"
        )
    from usage_async.report.html.form import Question

    question = Question(period, ",".join(map(word_of, read_by(by, "--by"))))
    # A wrong period is told here, before it would be on every page.
    report_spec(int(context.runtime.now()), by=question.by, period=period)
    context.run(run_server(port, question, connection, context, with_names=not no_names))


async def run_server(
    port: int, question: Question, connection: Connection, context: Context, *, with_names: bool
) -> None:
    """Serve until the task is cancelled.

    Args:
        port: Port to listen on; 0 takes a free one.
        question: The report that the page shows at first.
        connection: Options of the command.
        context: Its clocks and consoles.
        with_names: True to read names.

    Raises:
        OSError: The port cannot be used.
    """
    from usage_async.fastapi.lifespan import counter_of, lifespan_of
    from usage_async.fastapi.local import LocalGuard, local_app, new_token
    from usage_async.fastapi.replies import Made, cached_report

    sent: Counter[tuple[str, str]] = Counter()
    opened = open_client_and_names(
        connection, context, with_names=with_names, trace=counter_of(sent)
    )
    with _listening(port) as listener:
        async with opened as (client, names):
            # Whoever reloads a page wants no old figures, and waits for those of a long period.
            cached = client.cached(stale_s=0, wait_s=inf)

            async def read(spec: ReportSpec) -> Made[tuple[Report, View]]:
                report, view = await _read(client, names, spec, context)
                return Made(report, (report, view))

            async def answer(asked: Question) -> tuple[Report, View]:
                by, period = asked.by, asked.period
                return await cached_report(
                    cached, read, by=by, period=period, compare=True, detailed=True, form="page"
                )

            app = local_app(
                lifespan_of(cached, sent), question=question, read=answer, explain=explain
            )
            port, token = listener.getsockname()[1], new_token()
            guard = LocalGuard(app, port, token, _teller(connection, context))
            with _page_notes():
                context.out.print(f"http://{_HOST}:{port}/?token={token}", soft_wrap=True)
                stderr.write("serving until Ctrl-C\n")
                await _serve_until_cancelled(guard, listener)
    # Not from within: names are kept only where nothing fails. Ctrl-C and SIGTERM end the task, and
    # each has its exit code.
    raise asyncio.CancelledError


@contextmanager
def _listening(port: int) -> Iterator[socket]:
    try:
        listener = create_server((_HOST, port))
    except OSError as error:
        place, reason = f"{_HOST}:{port}", error.strerror
        raise OSError(error.errno, f"{reason}; --port 0 takes a free port", place) from None
    with listener:
        yield listener


async def _read(
    client: UsageClient, names: CommandNames | None, spec: ReportSpec, context: Context
) -> tuple[Report, View]:
    """Read a report, and what to say beside it."""
    from usage_async.fastapi.replies import TOP
    from usage_async.report.compute import compute_report
    from usage_async.report.reading import buckets_of, let_go, naming_rows, read_sections
    from usage_async.report.values import View
    from usage_async.report.wording import untold
    from usage_async.report.worker import in_worker

    with _noted({}) as notes:
        sections = await read_sections(client, spec)
    # Told once, a list of names that is refused concerns every page from then on.
    with _noted(context.warnings):
        known = None
        if names is not None:
            known = await names.update(await in_worker(naming_rows, sections))
    buckets = buckets_of(sections)
    report = await in_worker(compute_report, spec, sections, known)
    view = View(notices=(*context.warnings, *untold(report, notes)), top=TOP)
    del sections
    await let_go(buckets)
    return report, view


@contextmanager
def _noted(notes: dict[str, None]) -> Iterator[dict[str, None]]:
    before = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(before)


@contextmanager
def _page_notes() -> Iterator[None]:
    """Give the library's warnings to the page whose reading causes them, and to nothing else.

    The command would collect those of every reply for its end, for as long as it serves.
    """

    def keep(record: logging.LogRecord) -> bool:
        notes = _notes.get(None)
        if notes is not None and record.levelno >= logging.WARNING:
            notes[record.getMessage()] = None
        return False

    log = logging.getLogger("usage_async")
    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)


def _teller(connection: Connection, context: Context) -> Callable[[Exception], None]:
    """Make the function that tells of an error that no reply tells of."""

    def tell(error: Exception) -> None:
        if connection.debug:
            stderr.write(stderr.without_keys("".join(traceback.format_exception(error))))
        else:
            context.note(explain(error))

    return tell


async def _serve_until_cancelled(app: Any, listener: socket) -> None:
    """Serve; when the task is cancelled, end what is in flight, and return."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            # Signals end the task, as in every command.
            yield

    config = uvicorn.Config(
        app,
        lifespan="on",
        http="h11",
        ws="none",
        access_log=False,
        log_config=None,
        # Requests that are no HTTP, and errors that the guard has told.
        log_level=logging.CRITICAL + 1,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=0,  # whoever presses Ctrl-C is waiting for the end
    )
    server = Server(config)
    work = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        server.should_exit = True
        await work
        # Replies in flight have been cancelled, and need a turn for it.
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks)


serve.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        option("port", int, 8000, group=_SERVER, help="Port to listen on; 0 takes a free one."),
        option(
            "period", str, _DEFAULT_PERIOD, group=_PAGE, help=f"{PERIOD} The page can change it."
        ),
        option(
            "by",
            one_of(tuple(map(word_of, GROUPINGS))),
            "project",
            group=_PAGE,
            converter=as_written,
            help="Dimension to group by, or two: project,model. The page can change it.",
        ),
        no_names_option(),
        CONNECTION,
        CONTEXT,
    ]
)
serve.__annotations__ = {}
