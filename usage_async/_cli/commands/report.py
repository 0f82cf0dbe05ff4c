"""Command `usage-async report`: show who spent what."""

from __future__ import annotations

from decimal import Decimal
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cyclopts import Group

from usage_async._cli.connection import Connection, open_client_and_names
from usage_async._cli.context import Context, Effort
from usage_async._cli.exit_codes import ExitCode, code_of_budget
from usage_async._cli.money import read_amount
from usage_async._cli.options import (
    CONNECTION,
    CONTEXT,
    END,
    PERIOD,
    START,
    as_written,
    check_end,
    no_names_option,
    one_of,
    option,
    organizations_option,
    output_options,
)
from usage_async._cli.output import choose_format, render
from usage_async.errors import QueryError
from usage_async.report.dimensions import word_of
from usage_async.report.formats import REPORT_FORMATS
from usage_async.report.spec import GROUPINGS, check_month, read_by, report_spec

if TYPE_CHECKING:
    from usage_async._cli.names import CommandNames
    from usage_async._client.client import UsageClient
    from usage_async.report.answers import Answer
    from usage_async.report.budgets import Budget
    from usage_async.report.formats import Format
    from usage_async.report.limits import SpendLimits
    from usage_async.report.spec import ReportSpec
    from usage_async.report.values import Report, View

_PERIOD = Group("Period (UTC, whole days)", sort_key=10)
_VIEW = Group("View", sort_key=20)

_DEFAULT_PERIOD = "last-month"


def report(
    *,
    period: str | None,
    start: str | None,
    end: str | None,
    by: str,
    compare: bool,
    top: int | None,
    budget: str | None,
    strict: bool,
    format: str | None,  # noqa: A002 - the name of the option
    output: Path | None,
    no_names: bool,
    organizations: Path | None,
    connection: Connection,
    context: Context,
) -> int:
    """Show who spent what, on one page."""
    if top is not None and top < 0:
        raise QueryError("--top takes 0 or more")
    check_end(start, end, period)
    from usage_async.report.wording import untold

    monthly = _monthly(budget, organizations, strict=strict)
    chosen = choose_format(REPORT_FORMATS, format, output)
    # Its extra may be missing, which is better said before the reading.
    load = chosen.load if organizations is None else chosen.load_many
    load()
    effort = Effort(context)
    if all(given is None for given in (period, start, end)):
        period = _DEFAULT_PERIOD
    spec = report_spec(
        int(context.runtime.now()),
        by=read_by(by, "--by"),
        period=period,
        start=start,
        end=end,
        compare=compare or chosen.is_detailed,
        detailed=chosen.is_detailed,
    )
    if monthly is not None:
        check_month(spec)

    def view() -> View:
        from usage_async.report.values import View

        return View(
            notices=tuple(context.warnings),
            footer=str(effort),
            top=chosen.top if top is None else top,
        )

    if organizations is not None:
        asked = _ask(spec, organizations, connection, context, effort, with_names=not no_names)
        answers = [
            attrs.evolve(each, notices=untold(each.value, each.notices))
            if each.value is not None
            else each
            for each in context.run(asked)
        ]
        return _show_many(answers, chosen, context, output, view())
    reading = _make(
        spec, connection, context, effort, with_names=not no_names, has_budget=monthly is not None
    )
    made, limits = context.run(reading)
    for notice in {*context.warnings} - {*untold(made, context.warnings)}:
        del context.warnings[notice]
    code = ExitCode.DONE if made.is_whole else ExitCode.FAILED
    planned = None
    if monthly is not None:
        planned, of_budget = _planned(made, monthly, limits, chosen, context, strict=strict)
        code = of_budget or code
    render(chosen, context, output, made, attrs.evolve(view(), budget=planned))
    if not chosen.has_notices:
        context.note_warnings()
        _note(made, context)
    return code


def _planned(
    made: Report,
    monthly: tuple[Decimal, str],
    limits: SpendLimits,
    chosen: Format,
    context: Context,
    *,
    strict: bool,
) -> tuple[Budget | None, ExitCode]:
    """Set the spend of a report beside a budget, and tell what its format does not show."""
    from usage_async.report.monthly import BudgetQuestion, budget_of_report
    from usage_async.report.wording import budget_text

    amount, currency = monthly
    question = BudgetQuestion(spec=made.spec, monthly=amount, currency=currency)
    found = budget_of_report(made, question, limits)
    if found is None:
        context.warnings["budget: not compared, the spend is unknown"] = None
        return None, ExitCode.FAILED
    (planned,) = found.whole
    if not chosen.has_budget:
        context.warnings[budget_text(planned)] = None
    context.warnings |= {f"budget: {remark}": None for remark in found.remarks_on_budget}
    code = code_of_budget(found.verdict, strict=strict)
    return planned, code or (ExitCode.DONE if found.is_whole else ExitCode.FAILED)


def _show_many(
    answers: list[Answer[Report]],
    chosen: Format,
    context: Context,
    output: Path | None,
    view: View,
) -> int:
    from usage_async._cli.organizations import note_answers
    from usage_async.report.answers import are_whole, given

    render(chosen, context, output, answers, view, many=True)
    if not chosen.has_notices:
        note_answers(answers, context)
        for answer, each in given(answers):
            _note(each, context, f"{answer.name}: ")
    return ExitCode.DONE if are_whole(answers) else ExitCode.FAILED


def _monthly(
    budget: str | None, organizations: Path | None, *, strict: bool
) -> tuple[Decimal, str] | None:
    """Read the budget, and its currency."""
    if budget is None:
        if strict:
            raise QueryError("--strict is of a budget: add --budget 6000")
        return None
    if organizations is not None:
        raise QueryError("--budget is of one organization: leave --organizations out")
    amount, currency = read_amount("--budget", budget)
    return amount, currency or "usd"


def _note(made: Report, context: Context, place: str = "") -> None:
    """Write to standard error what limits the figures of a report."""
    blanks = (f"{section}: {blank}" for section, blank in made.blanks)
    for note in (*blanks, *made.remarks):
        context.note(f"{place}{note}")


async def _ask(
    spec: ReportSpec,
    file: Path,
    connection: Connection,
    context: Context,
    effort: Effort,
    *,
    with_names: bool,
) -> list[Answer[Report]]:
    from usage_async._cli.organizations import ask_all
    from usage_async.report.reports import report_of

    async def read(client: UsageClient, names: CommandNames | None) -> Report:
        return await report_of(client, spec, None if names is None else names.update)

    return await ask_all(file, connection, context, read, with_names=with_names, trace=effort.add)


async def _make(
    spec: ReportSpec,
    connection: Connection,
    context: Context,
    effort: Effort,
    *,
    with_names: bool,
    has_budget: bool,
) -> tuple[Report, SpendLimits]:
    from usage_async.report.limits import SpendLimits, read_spend_limits
    from usage_async.report.reading import query_count
    from usage_async.report.reports import report_of
    from usage_async.report.terminal.page import progress

    opened = open_client_and_names(connection, context, with_names=with_names, trace=effort.add)
    async with opened as (client, names):
        with progress(context.err, "reading", query_count(spec)) as advance:
            name = None if names is None else names.update
            made = await report_of(client, spec, name, advance)
        return made, await read_spend_limits(client) if has_budget else SpendLimits()


_TEXT = str | None
_NUMBER = int | None
report.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        option(
            "period",
            _TEXT,
            None,
            group=_PERIOD,
            help=f"{PERIOD} Default: {_DEFAULT_PERIOD}, whose figures have settled.",
        ),
        option("start", _TEXT, None, group=_PERIOD, help=START),
        option("end", _TEXT, None, group=_PERIOD, help=END),
        option(
            "by",
            one_of(tuple(map(word_of, GROUPINGS))),
            "project",
            group=_VIEW,
            converter=as_written,
            help="Dimension to group by, or two: project,model splits each project by model. Models"
            " are derived from line items.",
        ),
        option(
            "compare",
            bool,
            default=False,
            group=_VIEW,
            negative="",
            show_default=False,
            help="Compare with the period before, as a page does in any case.",
        ),
        option(
            "top",
            _NUMBER,
            None,
            group=_VIEW,
            help="The most groups to show, and of each a third as many parts, at least 3; the"
            " others become one line. 0 shows all. Default: "
            + ", ".join(
                f"{each.top} in {name}" for name, each in REPORT_FORMATS.items() if each.top
            )
            + ".",
        ),
        option(
            "budget",
            _TEXT,
            None,
            group=_VIEW,
            help='Budget of a month, such as 6000 or "5000 eur", shown with the report of one.'
            f" Exit code {ExitCode.OVER:d} if it is over.",
            show_default=False,
        ),
        option(
            "strict",
            bool,
            default=False,
            group=_VIEW,
            negative="",
            show_default=False,
            help=f"With --budget: exit code {ExitCode.PROJECTED_OVER:d} if the projected month is"
            " over.",
        ),
        *output_options(REPORT_FORMATS),
        no_names_option(),
        organizations_option("Their reports follow a table of all. Default: one organization."),
        CONNECTION,
        CONTEXT,
    ]
)
report.__annotations__ = {}
