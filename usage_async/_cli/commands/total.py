"""Command `usage-async total`: add up the figures of an endpoint, exactly."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import attrs

from usage_async._api.pages import Notice
from usage_async._cli.connection import Connection, open_client, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import code_of_run
from usage_async._cli.options import (
    OUTPUT,
    QueryArguments,
    endpoint_app,
    no_names_option,
    option,
    output_options,
)
from usage_async._cli.output import choose_format, destination, render
from usage_async.errors import QueryError
from usage_async.report.breakdown import Breakdown, read_breakdown
from usage_async.report.formats import BREAKDOWN_FORMATS, FOCUS_FORMATS


def _total(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
    no_names: bool = False,
    focus: bool = False,
    exact: bool = False,
) -> int:
    if focus:
        return _focus(arguments, connection, context, format, output, exact=exact)
    if exact:
        raise QueryError("--exact is about --focus; sums are exact in any case")
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


def _focus(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    given: str | None,
    output: Path | None,
    *,
    exact: bool,
) -> int:
    """Write charges in place of sums; `--by` adds dimensions to those that FOCUS takes."""
    from usage_async._client.files import write_batches
    from usage_async.report.focus import GROUPING
    from usage_async.report.focus_file import write_charges

    if given is not None and given not in FOCUS_FORMATS:
        raise QueryError(f"--focus writes {' or '.join(FOCUS_FORMATS)}, not {given}")
    form = choose_format(FOCUS_FORMATS, given, output)
    opened: Any = destination(output)
    by = dict.fromkeys((*GROUPING, *arguments.params.get("group_by", ())))
    grouped = attrs.evolve(arguments, params={**arguments.params, "group_by": list(by)})
    with opened as sink:

        async def run() -> tuple[Notice, ...]:
            async with open_client(connection, context) as client:
                write, query = partial(write_batches, sink), grouped.query(client)
                return await write_charges(write, query, form.load(), exact=exact)

        notices = context.run(run())
    context.note_warnings()
    context.note_unsettled(notices)
    return code_of_run(notices)


_FOCUS = [
    option(
        "focus",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="Write charges in the columns of FOCUS 1.2 instead: one row a day, project and line"
        " item, and what else --by names. CSV, or -o with .parquet.",
    ),
    option(
        "exact",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="With --focus, in Parquet: round what has more than 18 decimal places, and add all"
        " digits as texts.",
    ),
]

app = endpoint_app(
    "total",
    "Add up the figures of an endpoint, exactly.",
    _total,
    [*output_options(BREAKDOWN_FORMATS), no_names_option()],
    "costs --period 2026-10 --by project_id",
    only={"costs": _FOCUS},
)
