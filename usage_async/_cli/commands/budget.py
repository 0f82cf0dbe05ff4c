"""Command `usage-async budget`: tell how a month stands beside its budget."""

from __future__ import annotations

from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Group

from usage_async._cli.connection import Connection, open_client_and_names
from usage_async._cli.context import Context, Effort
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
    from usage_async.report.monthly import BudgetQuestion, BudgetReport

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
    from usage_async.report.monthly import BUDGET_DIMENSIONS, budget_question
    from usage_async.report.values import View

    if monthly is None:
        raise QueryError("the budget is missing: add --monthly 6000")
    if quiet and output is not None:
        raise QueryError("--quiet writes nothing: leave -o out, or --quiet")
    amount, currency = read_amount("--monthly", monthly)
    chosen = choose_format(BUDGET_FORMATS, format, output)
    effort = Effort(context)
    dimension = None if by is None else read_dimension(by, BUDGET_DIMENSIONS)
    question = budget_question(
        int(context.runtime.now()),
        amount,
        period=period,
        by=None if quiet else dimension,
        currency=currency or "usd",
        limits=not quiet,
    )
    with_names = not no_names and question.by is not None
    made = context.run(_read(question, connection, context, effort, with_names=with_names))
    if quiet and made.not_billed is not None:
        context.note(made.not_billed)
    elif not quiet:
        view = View(notices=tuple(context.warnings), footer=str(effort))
        render(chosen, context, output, made, view)
    code = code_of_budget(made.verdict, strict=strict)
    return code or (ExitCode.DONE if made.is_whole else ExitCode.FAILED)


async def _read(
    question: BudgetQuestion,
    connection: Connection,
    context: Context,
    effort: Effort,
    *,
    with_names: bool,
) -> BudgetReport:
    from usage_async.report.reasons import budget_of

    opened = open_client_and_names(connection, context, with_names=with_names, trace=effort.add)
    async with opened as (client, names):
        return await budget_of(client, question, None if names is None else names.update)


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
            help="Print no figures: the exit code tells, for cron. Neither groups nor spend limits"
            " are read.",
        ),
        *output_options(BUDGET_FORMATS),
        no_names_option(),
        CONNECTION,
        CONTEXT,
    ]
)
budget.__annotations__ = {}
