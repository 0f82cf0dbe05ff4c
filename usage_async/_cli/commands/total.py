"""`usage-async total`: an endpoint's figures, added up exactly."""

from __future__ import annotations

from typing import Literal

from cyclopts import Group

from usage_async._cli.connect import Connection, connect
from usage_async._cli.context import Context
from usage_async._cli.exit import code_of
from usage_async._cli.options import Asked, endpoint_app, option
from usage_async._cli.output import destination
from usage_async.report.sums import Sums, read_sums

Format = Literal["table", "json", "csv"]

_GROUP = Group("Output", sort_key=30)
_OPTIONS = (
    option(
        "format",
        Format,
        "table",
        group=_GROUP,
        help="table: rounded, for people; json, csv: exact, for programs.",
    ),
)


def _total(
    asked: Asked,
    connection: Connection,
    context: Context,
    *,
    format: Format = "table",  # noqa: A002 - the name of the option
) -> int:
    sums = context.run(_read(asked, connection, context))
    if format == "table":
        from usage_async.report.terminal.sums import draw_sums

        draw_sums(context.out, sums)
    else:
        from usage_async.report.csv import sums_as_csv
        from usage_async.report.json import sums_as_json

        with destination(None) as sink:
            sink.write(sums_as_json(sums) if format == "json" else sums_as_csv(sums))
    context.note_warnings()
    context.note_unsettled(sums.notices)
    return code_of(sums.notices)


async def _read(asked: Asked, connection: Connection, context: Context) -> Sums:
    async with connect(connection, context) as client:
        query = client.query(asked.name, unchecked=asked.unchecked, **asked.params)
        return await read_sums(query)


app = endpoint_app(
    "total",
    "Add an endpoint's figures up, exactly.",
    _total,
    _OPTIONS,
    "costs --period 2026-10 --by project_id",
)
