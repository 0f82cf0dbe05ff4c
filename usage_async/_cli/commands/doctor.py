"""`usage-async doctor`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from usage_async._cli.connect import Connection
from usage_async._cli.context import Context
from usage_async._cli.exit import ExitCode
from usage_async._cli.speech import told
from usage_async.report.text import clean

_STYLES = {"ok": "green", "note": "yellow", "bad": "bold red"}


def doctor(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen
    context: Annotated[Any, Parameter(parse=False)],
) -> int:
    """Look at everything between here and the figures."""
    from usage_async._cli.doctor import examine
    from usage_async.report.terminal.page import Text

    here: Context = context
    checks = here.run(examine(connection, here))
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = Text(f"{check.verdict:<4}", style=_STYLES[check.verdict])
        line = Text.assemble(mark, f"  {check.name:<{width}}  ", clean(told(check.says)))
        here.out.print(line, soft_wrap=True)
    bad = sum(check.verdict == "bad" for check in checks)
    here.out.print(f"{bad} of {len(checks)} checks are bad" if bad else "all is well")
    return ExitCode.FAILED if bad else ExitCode.DONE
