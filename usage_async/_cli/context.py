"""Context of a command: the clocks, the consoles, and the library's warnings."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from contextvars import ContextVar
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from usage_async._cli import stderr
from usage_async._cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from usage_async._api.pages import Notice
    from usage_async._http.fetch import RequestEvent
    from usage_async._http.runtime import Runtime
    from usage_async.report.terminal.page import Console

T = TypeVar("T")

WARNINGS: ContextVar[dict[str, None] | None] = ContextVar("usage_async_warnings", default=None)
"""The library's warnings in a task and those that it starts; None adds to those of the command."""


class Context:
    """Context of a command.

    Args:
        runtime: The clocks; None takes those of the machine.
        warnings: The library's warnings so far, which the run adds to.
    """

    def __init__(self, runtime: Runtime | None, warnings: dict[str, None]) -> None:
        self._runtime = runtime
        self.warnings = warnings

    @cached_property
    def runtime(self) -> Runtime:
        """The clocks."""
        from usage_async._http.runtime import Runtime

        return self._runtime or Runtime()

    @cached_property
    def out(self) -> Console:
        """Standard output, for people."""
        from usage_async.report.terminal.page import make_console

        return make_console(stderr=False)

    @cached_property
    def err(self) -> Console:
        """Standard error, for people."""
        from usage_async.report.terminal.page import make_console

        return make_console(stderr=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, in an event loop of its own."""
        return asyncio.run(_ended_by_sigterm(work))

    def note_warnings(self) -> None:
        """Write the library's warnings to standard error, one line each."""
        for message in self.warnings:
            self.note(message)

    def note_unsettled(self, notices: Iterable[Notice]) -> None:
        """Write to standard error which figures may still be revised; that is no warning."""
        for notice in notices:
            if notice.code == "unsettled":
                self.note(f"{notice.endpoint}: {notice.message}")

    def note(self, message: str) -> None:
        """Write a line to standard error."""
        stderr.write_line(f"note: {message}")


class Effort:
    """Requests and seconds that a command takes, counted from here on.

    Args:
        context: The command's context.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._begun = context, context.runtime.monotonic()
        self._requests = 0

    def add(self, _event: RequestEvent) -> None:
        """Count a request: the `trace` of a client."""
        self._requests += 1

    def __str__(self) -> str:
        seconds = self._context.runtime.monotonic() - self._begun
        return f"{self._requests} requests in {seconds:.1f} s"


async def _ended_by_sigterm(work: Coroutine[Any, Any, T]) -> T:
    """Let SIGTERM cancel the task, as Ctrl-C does.

    A `sys.exit` in the signal handler could strike within the event loop's own code.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    was_terminated = False

    def end(_number: int, _frame: object) -> None:
        nonlocal was_terminated
        was_terminated = True
        loop.call_soon_threadsafe(cast("asyncio.Task[T]", task).cancel)

    before = signal.signal(signal.SIGTERM, end)
    try:
        return await work
    except asyncio.CancelledError:
        if was_terminated:
            raise SystemExit(ExitCode.TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
