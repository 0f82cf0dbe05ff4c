"""Dispatch: run the command that the arguments name; errors become one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usage_async._cli import stderr
from usage_async._cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from usage_async._http.runtime import Runtime

_STDOUT_FD = 1


def run_command(tokens: Sequence[str], *, runtime: Runtime | None = None) -> int:
    """Run a command.

    Args:
        tokens: The arguments, without the name of the program.
        runtime: The clocks of the command and of the demonstration, for tests.

    Returns:
        The exit code.
    """
    try:
        return _run(tokens, runtime)
    except KeyboardInterrupt:
        return _fail("interrupted", ExitCode.INTERRUPTED)


def _run(tokens: Sequence[str], runtime: Runtime | None) -> int:
    from cyclopts import CycloptsError

    from usage_async._cli.app import app
    from usage_async._cli.context import Context
    from usage_async.report.terminal.page import make_console

    # The console of cyclopts would end the process where a pipe closes early.
    app.console = make_console(stderr=False)
    _replace_odd_characters()
    try:
        with _collected_warnings() as warnings:
            command, bound, ignored = app.parse_args(
                list(tokens), print_error=False, exit_on_error=False
            )
            given = {}
            if "context" in ignored:
                bound.apply_defaults()
                given["context"] = Context(runtime, warnings)
            code: int | None = command(*bound.args, **bound.kwargs, **given)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return ExitCode.DONE
    except CycloptsError as error:
        return _fail(f"{error} Try --help.", ExitCode.WRONG)
    except Exception as error:  # noqa: BLE001 - any error becomes one line
        return _explain(error, debug="--debug" in tokens)
    return code or ExitCode.DONE


def _explain(error: Exception, *, debug: bool) -> int:
    from usage_async._cli.hints import explain

    if isinstance(error, OSError):
        # Python flushes standard output again at exit; on a full disk that would fail once more.
        _flush_or_discard()
    if debug:
        stderr.write(stderr.without_keys("".join(traceback.format_exception(error))))
        return _code(error)
    return _fail(explain(error), _code(error))


def _code(error: Exception) -> int:
    from usage_async.errors import ConfigurationError, QueryError

    if isinstance(error, ConfigurationError | QueryError):
        return ExitCode.WRONG
    return ExitCode.FAILED


def _fail(line: str, code: int) -> int:
    stderr.write_line(line)
    return code


def _replace_odd_characters() -> None:
    """Print a question mark for a character that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _flush_or_discard() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()


def _discard_stdout() -> None:
    """Discard buffered output: the reader of the pipe has left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT_FD)
    os.close(nowhere)


class _Collector(logging.Handler):
    """Collects the library's warnings, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        from usage_async._cli.context import WARNINGS

        found = WARNINGS.get()
        messages = self.messages if found is None else found
        messages[record.getMessage()] = None


@contextmanager
def _collected_warnings() -> Iterator[dict[str, None]]:
    log, collector = logging.getLogger("usage_async"), _Collector()
    log.addHandler(collector)
    try:
        yield collector.messages
    finally:
        log.removeHandler(collector)
