"""Command `usage-async total`: add up the figures of an endpoint, exactly."""

from __future__ import annotations

from pathlib import Path

from usage_async._cli.connection import Connection, open_client
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import code_of_run
from usage_async._cli.options import QueryArguments, endpoint_app, output_options
from usage_async._cli.output import choose_format, render
from usage_async.report.breakdown import Breakdown, read_breakdown
from usage_async.report.formats import BREAKDOWN_FORMATS


def _total(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
) -> int:
    chosen = choose_format(BREAKDOWN_FORMATS, format, output)
    breakdown = context.run(_read(arguments, connection, context))
    render(chosen, context, output, breakdown)
    context.note_warnings()
    context.note_unsettled(breakdown.notices)
    return code_of_run(breakdown.notices)


async def _read(arguments: QueryArguments, connection: Connection, context: Context) -> Breakdown:
    async with open_client(connection, context) as client:
        return await read_breakdown(arguments.query(client))


app = endpoint_app(
    "total",
    "Add up the figures of an endpoint, exactly.",
    _total,
    output_options(BREAKDOWN_FORMATS),
    "costs --period 2026-10 --by project_id",
)
