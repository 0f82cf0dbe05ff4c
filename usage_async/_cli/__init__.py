"""The program `usage-async`: the client for the terminal.

Heavy modules are imported only when a command needs them, so that `--help` shows at once.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from typing import NoReturn

from usage_async._cli.exit_codes import ExitCode

__all__ = ["main"]

_NEEDS = ("cyclopts", "rich")


def main() -> None:
    """Run `usage-async` with the arguments of the process, and exit."""
    _replace_closed_streams()
    if not all(map(find_spec, _NEEDS)):
        sys.stderr.write(
            'usage-async: the extra `cli` is missing: pip install "usage-async[cli]"\n'
        )
        sys.exit(ExitCode.WRONG)
    from usage_async._cli.dispatch import run_command

    # SIGTERM is handled like Ctrl-C: partial output is removed.
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run_command(sys.argv[1:]))


def _replace_closed_streams() -> None:
    """Open a replacement for each standard stream that was closed when the process started.

    Without one, the first file or socket would get its descriptor, and receive what is printed.
    Writing to the replacement of standard output fails; text for standard error is lost.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            lost = name == "stderr"
            # `os.open` takes the lowest free descriptor, which is this stream's.
            os.open(os.devnull, os.O_WRONLY if lost else os.O_RDONLY)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - a number


def _terminate(_number: int, _frame: object) -> NoReturn:
    sys.exit(ExitCode.TERMINATED)
