"""Command `usage-async reconcile`: set what was billed beside what usage reports."""

from __future__ import annotations

from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Group

from usage_async._cli.connection import Connection, open_client
from usage_async._cli.context import Context, Effort
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.options import CONNECTION, CONTEXT, PERIOD, option, output_options
from usage_async._cli.output import choose_format, render
from usage_async.errors import QueryError
from usage_async.report.formats import RECONCILE_FORMATS

if TYPE_CHECKING:
    from usage_async.report.reconciliation import Reconciliation

_PERIOD = Group("Period (UTC, whole days)", sort_key=10)
_VIEW = Group("View", sort_key=20)
_DEFAULT_PERIOD = "last-month"


def reconcile(
    *,
    period: str,
    top: int,
    format: str | None,  # noqa: A002 - the name of the option
    output: Path | None,
    connection: Connection,
    context: Context,
) -> int:
    """Set what was billed beside what usage reports."""
    from usage_async.report.values import View

    if top < 0:
        raise QueryError("--top takes 0 or more")
    chosen = choose_format(RECONCILE_FORMATS, format, output)
    effort = Effort(context)
    made = context.run(_read(period, connection, context, effort))
    view = View(notices=tuple(context.warnings), footer=str(effort), top=top)
    render(chosen, context, output, made, view)
    return ExitCode.DONE if made.is_whole else ExitCode.FAILED


async def _read(
    period: str, connection: Connection, context: Context, effort: Effort
) -> Reconciliation:
    from usage_async.report.reasons import RECONCILE_QUERIES, read_reconciliation
    from usage_async.report.terminal.page import progress

    async with open_client(connection, context, trace=effort.add) as client:
        with progress(context.err, "reading", RECONCILE_QUERIES) as advance:
            return await read_reconciliation(client, period, advance=advance)


reconcile.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        option("period", str, _DEFAULT_PERIOD, group=_PERIOD, help=PERIOD),
        option(
            "top",
            int,
            15,
            group=_VIEW,
            help="The most rows of a table. 0 shows all.",
        ),
        *output_options(RECONCILE_FORMATS),
        CONNECTION,
        CONTEXT,
    ]
)
reconcile.__annotations__ = {}
