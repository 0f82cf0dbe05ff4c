"""`usage-async report`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from usage_async._cli.connect import Connection, connect
from usage_async._cli.context import Context
from usage_async._cli.exit import ExitCode
from usage_async._cli.options import END, PERIOD, START

if TYPE_CHECKING:
    from usage_async._http.fetch import RequestEvent
    from usage_async.report.plan import Plan, Report

_PERIOD = Group("Period (UTC, whole days)", sort_key=10)
_VIEW = Group("View", sort_key=20)
_TOP = 15

_DEFAULT_PERIOD = "last-month"

_Text = str | None
_By = Literal["project", "user", "api-key", "line-item", "model"]


def _as_written(_: Any, tokens: Sequence[Any]) -> str:
    return str(tokens[0].value)


def report(
    *,
    period: Annotated[
        _Text,
        Parameter(
            group=_PERIOD,
            help=f"{PERIOD} Default: {_DEFAULT_PERIOD}, whose figures have settled.",
        ),
    ] = None,
    start: Annotated[_Text, Parameter(group=_PERIOD, help=START)] = None,
    end: Annotated[_Text, Parameter(group=_PERIOD, help=END)] = None,
    by: Annotated[
        _By,
        Parameter(
            group=_VIEW,
            converter=_as_written,
            help="What to split it by; model is derived from line items.",
        ),
    ] = "project",
    compare: Annotated[
        bool,
        Parameter(
            group=_VIEW, negative="", show_default=False, help="Compare with the period before."
        ),
    ] = False,
    top: Annotated[
        int, Parameter(group=_VIEW, help="Show so many groups, and the others as one; 0: all.")
    ] = _TOP,
    format: Annotated[  # noqa: A002 - the name of the option
        Literal["text", "json", "csv"],
        Parameter(
            group=_VIEW,
            help="text: rounded, for people; json: exact; csv: exact amounts, and names that"
            " would be formulas begin with an apostrophe.",
        ),
    ] = "text",
    connection: Connection = Connection(),  # noqa: B008 - frozen
    context: Annotated[Any, Parameter(parse=False)],
) -> int:
    """Show who spent what, on one screen."""
    from usage_async._query.times import period_before
    from usage_async.errors import QueryError
    from usage_async.report.period import find_period, is_running, whole_days
    from usage_async.report.plan import GROUPINGS, Plan
    from usage_async.report.words import dimension_of

    if top < 0:
        raise QueryError("--top takes a number of at least 0")
    here: Context = context
    begun = here.runtime.monotonic()
    now = int(here.runtime.now())
    if all(given is None for given in (period, start, end)):
        period = _DEFAULT_PERIOD
    asked = find_period(now, period=period, start=start, end=end)
    found = whole_days(asked, now)
    before = period_before(found, period) if compare else None
    plan = Plan(dimension_of(by, GROUPINGS), found, now, before, is_running(found, now), asked)
    requests: list[RequestEvent] = []
    made = here.run(_make(plan, connection, here, requests))
    notices = list(here.warnings)
    if format == "text":
        seconds = here.runtime.monotonic() - begun
        footer = f"{len(requests)} requests in {seconds:.1f} s"
        _show(here, made, notices, footer, top)
    else:
        _write(made, notices, format)
    if format == "csv":
        for section, blank in made.blanks:
            here.note(f"{section}: {blank}")
        here.note_warnings()
        for remark in made.remarks:
            here.note(remark)
    return ExitCode.DONE if made.is_whole else ExitCode.FAILED


def _show(context: Context, made: Report, notices: Sequence[str], footer: str, top: int) -> None:
    from usage_async.report.terminal.report import draw_report

    draw_report(context.out, made, notices=notices, footer=footer, top=top)


def _write(made: Report, notices: Sequence[str], form: str) -> None:
    from usage_async._cli.output import destination
    from usage_async.report.csv import as_csv
    from usage_async.report.json import as_json

    with destination(None) as sink:
        sink.write(as_json(made, notices) if form == "json" else as_csv(made))


async def _make(
    plan: Plan, connection: Connection, context: Context, requests: list[RequestEvent]
) -> Report:
    from usage_async.report.make import make_report
    from usage_async.report.reading import queries, read
    from usage_async.report.terminal.page import progress

    async with connect(connection, context, trace=requests.append) as client:
        with progress(context.err, "reading", queries(plan)) as advance:
            return make_report(plan, await read(client, plan, advance))
