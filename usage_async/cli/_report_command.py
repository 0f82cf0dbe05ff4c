"""`usage-async report`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Group, Parameter

from usage_async._fetch import RequestEvent
from usage_async.cli._connect import Connection, connect
from usage_async.cli._context import Context
from usage_async.cli._period import DEFAULT_PERIOD, find_period
from usage_async.cli._read import queries, read
from usage_async.cli._report import By, Plan, Report, make_report

_PERIOD = Group("Period (UTC)", sort_key=10)
_VIEW = Group("View", sort_key=20)


def report(
    *,
    period: Annotated[
        str | None,
        Parameter(
            group=_PERIOD,
            help="last-month, this-month, yesterday, today, 2026-10, 2026-10-05, 7d."
            f" Default: {DEFAULT_PERIOD}, whose figures are settled.",
        ),
    ] = None,
    days: Annotated[
        int | None, Parameter(group=_PERIOD, help="The last so many days, today included.")
    ] = None,
    start: Annotated[
        str | None, Parameter(group=_PERIOD, help="The first day, such as 2026-10-01.")
    ] = None,
    end: Annotated[
        str | None, Parameter(group=_PERIOD, help="The day after the last one; default: now.")
    ] = None,
    by: Annotated[By, Parameter(group=_VIEW, help="What to split it by.")] = "project",
    connection: Connection = Connection(),  # noqa: B008 - frozen
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Show who spent what, on one screen.

    Example: usage-async report --period 2026-10 --by model
    """
    begun = context.runtime.monotonic()
    now = int(context.runtime.now())
    plan = Plan(by, find_period(now, period=period, days=days, start=start, end=end), now)
    requests: list[RequestEvent] = []
    made = context.run(_make(plan, connection, context, requests))
    seconds = context.runtime.monotonic() - begun
    from usage_async.cli import _draw

    _draw.report(
        context.out,
        made,
        notices=[*context.warnings],
        footer=f"{len(requests)} requests in {seconds:.1f} s",
    )


async def _make(
    plan: Plan, connection: Connection, context: Context, requests: list[RequestEvent]
) -> Report:
    from usage_async.cli._page import progress

    async with connect(connection, context, trace=requests.append) as client:
        with progress(context.err, "reading", queries(plan)) as advance:
            return make_report(plan, await read(client, plan, advance))
