"""Command `usage-async total`: add up the figures of an endpoint, exactly."""

from __future__ import annotations

from pathlib import Path

import attrs

from usage_async._cli.connection import Connection, open_client, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import code_of_run
from usage_async._cli.options import QueryArguments, endpoint_app, no_names_option, output_options
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
    no_names: bool = False,
) -> int:
    chosen = choose_format(BREAKDOWN_FORMATS, format, output)
    read = _read if no_names else _read_named
    breakdown = context.run(read(arguments, connection, context))
    render(chosen, context, output, breakdown)
    context.note_warnings()
    context.note_unsettled(breakdown.notices)
    return code_of_run(breakdown.notices)


async def _read(arguments: QueryArguments, connection: Connection, context: Context) -> Breakdown:
    async with open_client(connection, context) as client:
        return await read_breakdown(arguments.query(client))


async def _read_named(
    arguments: QueryArguments, connection: Connection, context: Context
) -> Breakdown:
    async with open_client_and_names(connection, context) as (client, names):
        breakdown = await read_breakdown(arguments.query(client))
        return attrs.evolve(breakdown, names=await names.update(breakdown.groups))


app = endpoint_app(
    "total",
    "Add up the figures of an endpoint, exactly.",
    _total,
    [*output_options(BREAKDOWN_FORMATS), no_names_option()],
    "costs --period 2026-10 --by project_id",
)
