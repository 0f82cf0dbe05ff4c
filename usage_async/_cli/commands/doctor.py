"""Command `usage-async doctor`: check everything between this machine and the figures."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from usage_async._cli.connection import Connection
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.stderr import without_keys
from usage_async.report.formatting import clean

_STYLES = {"ok": "green", "note": "yellow", "bad": "bold red"}


def doctor(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
    context: Annotated[Any, Parameter(parse=False)],
) -> int:
    """Run the checks, and print one line for each."""
    from usage_async._cli.checks import run_checks
    from usage_async.report.terminal.page import Text

    here: Context = context
    checks = here.run(run_checks(connection, here))
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = Text(f"{check.verdict:<4}", style=_STYLES[check.verdict])
        line = Text.assemble(mark, f"  {check.name:<{width}}  ", clean(without_keys(check.says)))
        here.out.print(line, soft_wrap=True)
    bad = sum(check.verdict == "bad" for check in checks)
    here.out.print(f"{bad} of {len(checks)} checks are bad" if bad else "all is well")
    return ExitCode.FAILED if bad else ExitCode.DONE
