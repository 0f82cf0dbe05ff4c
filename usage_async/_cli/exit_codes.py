"""Exit codes of every command."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from usage_async._api.pages import Notice


class ExitCode(IntEnum):
    """Exit code, with its meaning for the help."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made

    DONE = 0, "done"
    FAILED = 1, "a service or a file failed, figures are missing, or a check is bad"
    WRONG = 2, "the command is wrong, or there is no key"
    STOPPED = 4, "status: collecting has stopped, or failed"
    OVER = 5, "a budget is over"
    PROJECTED_OVER = 6, "a budget is projected to be over, with --strict"
    INTERRUPTED = 130, "Ctrl-C"
    TERMINATED = 143, "SIGTERM"


def code_of_run(notices: Iterable[Notice], *also: str) -> ExitCode:
    """Give the code of a run that came to its end: FAILED if a bucket is missing, else DONE.

    Args:
        notices: Notices of the run.
        also: Codes of notices that mean FAILED, too.
    """
    failures = ("missing-bucket", *also)
    return ExitCode.FAILED if any(each.code in failures for each in notices) else ExitCode.DONE


def code_of_budget(verdict: str, *, strict: bool) -> ExitCode:
    """Give the code of a budget; DONE if it is within.

    Args:
        verdict: `verdict` of the budget.
        strict: True if a projected month counts, too.
    """
    if verdict == "over":
        return ExitCode.OVER
    return ExitCode.PROJECTED_OVER if strict and verdict == "projected over" else ExitCode.DONE
