"""One run of `usage-async`: its arguments, its exit code, and the one line of an error."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usage_async._cli import speech
from usage_async._cli.exit import ExitCode

if TYPE_CHECKING:
    from usage_async._http.runtime import Runtime

_STDOUT = 1


def run(tokens: Sequence[str], *, runtime: Runtime | None = None) -> int:
    """Run a command.

    Args:
        tokens: The arguments, without the name of the program.
        runtime: The clocks that its figures and a built-in organization go by, for tests.

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

    # That of cyclopts would end the process where a pipe closes early.
    app.console = make_console(stderr=False)
    _survive_odd_characters()
    try:
        with _gathered_warnings() as warnings:
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
        _forget_stdout()
        return ExitCode.DONE
    except CycloptsError as error:
        return _fail(f"{error} Try --help.", ExitCode.WRONG)
    except Exception as error:  # noqa: BLE001 - a person gets one line, whatever it is
        return _explain(error, debug="--debug" in tokens)
    return code or ExitCode.DONE


def _explain(error: Exception, *, debug: bool) -> int:
    from usage_async._cli.errors import explain

    if isinstance(error, OSError):
        # A full disk behind standard output would fail once more at the end of the process.
        _flush_or_forget()
    if debug:
        speech.write(speech.told("".join(traceback.format_exception(error))))
        return _code(error)
    return _fail(explain(error), _code(error))


def _code(error: Exception) -> int:
    from usage_async.errors import ConfigurationError, QueryError

    if isinstance(error, ConfigurationError | QueryError):
        return ExitCode.WRONG
    return ExitCode.FAILED


def _fail(line: str, code: int) -> int:
    speech.say(line)
    return code


def _survive_odd_characters() -> None:
    """Write a question mark for what the encoding of the terminal does not have."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _flush_or_forget() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _forget_stdout()


def _forget_stdout() -> None:
    """Give what is still buffered to nobody: the reader of the pipe has left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)


class _Gatherer(logging.Handler):
    """Keeps what the library warns of, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.messages[record.getMessage()] = None


@contextmanager
def _gathered_warnings() -> Iterator[dict[str, None]]:
    log, gatherer = logging.getLogger("usage_async"), _Gatherer()
    log.addHandler(gatherer)
    try:
        yield gatherer.messages
    finally:
        log.removeHandler(gatherer)
