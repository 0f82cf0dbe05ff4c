"""The terminal: `usage-async`, everything that the client can do without writing code.

Nothing heavy is imported before it is needed: `usage-async --help` has to be there at once.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from typing import NoReturn

from usage_async._cli.exit import ExitCode

__all__ = ["main"]

_NEEDS = ("cyclopts", "rich")


def main() -> None:
    """Run `usage-async` with the arguments of the process, and exit."""
    _replace_closed_streams()
    if not all(map(find_spec, _NEEDS)):
        sys.stderr.write('usage-async: the terminal is an extra: pip install "usage-async[cli]"\n')
        sys.exit(ExitCode.WRONG)
    from usage_async._cli.run import run

    # Told to end, it ends as after Ctrl-C: what is half written goes.
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run(sys.argv[1:]))


def _replace_closed_streams() -> None:
    """Put something in place of a standard stream that the process began without.

    Else the first file or socket would get its number. Writing to standard output still fails;
    what standard error would say is lost.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            lost = name == "stderr"
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_WRONLY if lost else os.O_RDONLY)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - a number


def _terminate(_number: int, _frame: object) -> NoReturn:
    sys.exit(ExitCode.TERMINATED)
