"""Command `usage-async budget`: tell how a month stands beside its budget."""

from __future__ import annotations

from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Group

from usage_async._cli.connection import Connection, open_client, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode, code_of_budget
from usage_async._cli.money import read_amount
from usage_async._cli.options import (
    CONNECTION,
    CONTEXT,
    as_written,
    no_names_option,
    one_of,
    option,
    output_options,
    read_dimension,
)
from usage_async._cli.output import choose_format, render
from usage_async.errors import QueryError
from usage_async.report.formats import BUDGET_FORMATS

if TYPE_CHECKING:
    from usage_async._http.fetch import RequestEvent
    from usage_async.report.reasons import BudgetQuestion, BudgetReport

_BUDGET = Group("Budget", sort_key=10)
_VIEW = Group("View", sort_key=20)
_DEFAULT_PERIOD = "this-month"
_WORDS = ("project", "user", "api-key", "line-item")


def budget(
    *,
    monthly: str | None,
    period: str,
    by: str | None,
    strict: bool,
    quiet: bool,
    format: str | None,  # noqa: A002 - the name of the option
    output: Path | None,
    no_names: bool,
    connection: Connection,
    context: Context,
) -> int:
    """Tell how a month stands beside its budget."""
    from usage_async.report.reasons import BUDGET_DIMENSIONS, budget_question
    from usage_async.report.values import View

    if monthly is None:
        raise QueryError("the budget is missing: add --monthly 6000")
    if quiet and output is not None:
        raise QueryError("--quiet writes nothing: leave -o out, or --quiet")
    amount, currency = read_amount("--monthly", monthly)
    chosen = choose_format(BUDGET_FORMATS, format, output)
    begun = context.runtime.monotonic()
    dimension = None if by is None else read_dimension(by, BUDGET_DIMENSIONS)
    question = budget_question(
        int(context.runtime.now()),
        amount,
        period=period,
        by=None if quiet else dimension,
        currency=currency or "usd",
        limits=not quiet,
    )
    requests: list[RequestEvent] = []
    read = _read if no_names or question.by is None else _read_named
    made = context.run(read(question, connection, context, requests))
    if quiet and made.not_billed is not None:
        context.note(made.not_billed)
    elif not quiet:
        seconds = context.runtime.monotonic() - begun
        footer = f"{len(requests)} requests in {seconds:.1f} s"
        render(chosen, context, output, made, View(notices=tuple(context.warnings), footer=footer))
    code = code_of_budget(made.verdict, strict=strict)
    return code or (ExitCode.DONE if made.is_whole else ExitCode.FAILED)


async def _read(
    question: BudgetQuestion,
    connection: Connection,
    context: Context,
    requests: list[RequestEvent],
) -> BudgetReport:
    from usage_async.report.reasons import budget_of

    async with open_client(connection, context, trace=requests.append) as client:
        return await budget_of(client, question)


async def _read_named(
    question: BudgetQuestion,
    connection: Connection,
    context: Context,
    requests: list[RequestEvent],
) -> BudgetReport:
    from usage_async.report.reasons import budget_of

    async with open_client_and_names(connection, context, trace=requests.append) as opened:
        client, names = opened
        return await budget_of(client, question, names.update)


budget.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        option(
            "monthly",
            str | None,
            None,
            group=_BUDGET,
            help='The budget of a month, such as 6000 or "5000 eur". Exit code'
            f" {ExitCode.OVER:d} if it is over.",
            show_default=False,
        ),
        option(
            "period",
            str,
            _DEFAULT_PERIOD,
            group=_BUDGET,
            help="The month: this-month, last-month, 2026-10.",
        ),
        option(
            "strict",
            bool,
            default=False,
            group=_BUDGET,
            negative="",
            show_default=False,
            help=f"Exit code {ExitCode.PROJECTED_OVER:d} if the projected month is over.",
        ),
        option(
            "by",
            one_of(_WORDS) | None,
            None,
            group=_VIEW,
            converter=as_written,
            help="Show groups, too; projects with their spend limits.",
            show_default=False,
        ),
        option(
            "quiet",
            bool,
            default=False,
            group=_VIEW,
            negative="",
            show_default=False,
            help="Print nothing: the exit code tells, for cron. Neither groups nor spend limits are"
            " read.",
        ),
        *output_options(BUDGET_FORMATS),
        no_names_option(),
        CONNECTION,
        CONTEXT,
    ]
)
budget.__annotations__ = {}
