"""Command `usage-async explain`: tell why the bill changed, and what an invoice differs by."""

from __future__ import annotations

from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Group

from usage_async._cli.connection import Connection, open_client_and_names
from usage_async._cli.context import Context, Effort
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.money import read_amount
from usage_async._cli.options import (
    CONNECTION,
    CONTEXT,
    PERIOD,
    no_names_option,
    option,
    output_options,
)
from usage_async._cli.output import choose_format, render
from usage_async.errors import QueryError
from usage_async.report.formats import EXPLAIN_FORMATS

if TYPE_CHECKING:
    from usage_async.report.spec import ReportSpec
    from usage_async.report.values import Explanation

_PERIOD = Group("Period (UTC, whole days)", sort_key=10)
_VIEW = Group("View", sort_key=20)
_DEFAULT_PERIOD = "last-month"


def explain(
    *,
    period: str,
    against: str | None,
    invoice: str | None,
    top: int,
    format: str | None,  # noqa: A002 - the name of the option
    output: Path | None,
    no_names: bool,
    connection: Connection,
    context: Context,
) -> int:
    """Tell why the bill changed."""
    from usage_async.report.invoice import invoice_gap
    from usage_async.report.reasons import explain_spec
    from usage_async.report.values import View

    if top < 0:
        raise QueryError("--top takes 0 or more")
    billed = None if invoice is None else read_amount("--invoice", invoice)
    chosen = choose_format(EXPLAIN_FORMATS, format, output)
    effort = Effort(context)
    spec = explain_spec(int(context.runtime.now()), period=period, against=against)
    made = context.run(_read(spec, connection, context, effort, with_names=not no_names))
    gap = None if billed is None else invoice_gap(made, *billed)
    view = View(notices=tuple(context.warnings), footer=str(effort), top=top)
    render(chosen, context, output, made, gap, view)
    return ExitCode.DONE if made.is_whole else ExitCode.FAILED


async def _read(
    spec: ReportSpec,
    connection: Connection,
    context: Context,
    effort: Effort,
    *,
    with_names: bool,
) -> Explanation:
    from usage_async.report.reasons import EXPLAIN_QUERIES, explanation_of
    from usage_async.report.terminal.page import progress

    opened = open_client_and_names(connection, context, with_names=with_names, trace=effort.add)
    async with opened as (client, names):
        with progress(context.err, "reading", EXPLAIN_QUERIES) as advance:
            return await explanation_of(
                client, spec, None if names is None else names.update, advance
            )


explain.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        option("period", str, _DEFAULT_PERIOD, group=_PERIOD, help=PERIOD),
        option(
            "against",
            str | None,
            None,
            group=_PERIOD,
            help="The period to compare with, in the same words. Default: the one before, cut to as"
            " many whole days while the period still runs.",
            show_default=False,
        ),
        option(
            "invoice",
            str | None,
            None,
            group=_VIEW,
            help='Amount of an invoice, such as 5597.60 or "80 eur": show the gap to it, and what'
            " can make one.",
            show_default=False,
        ),
        option(
            "top",
            int,
            10,
            group=_VIEW,
            help="The most rows of a table; the others become one line. 0 shows all.",
        ),
        *output_options(EXPLAIN_FORMATS),
        no_names_option(),
        CONNECTION,
        CONTEXT,
    ]
)
explain.__annotations__ = {}
