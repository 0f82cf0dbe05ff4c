"""`usage-async fetch`: an endpoint's figures as they are, streamed to a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cyclopts import Group

from usage_async.cli._connect import Connection, connect
from usage_async.cli._context import Context
from usage_async.cli._options import Asked, endpoint_app, option
from usage_async.cli._output import destination
from usage_async.endpoints import WIDTH_SECONDS
from usage_async.models import UsageTimeBucket

Format = Literal["jsonl", "csv"]

_OUTPUT = Group("Output", sort_key=30)
_OPTIONS = (
    option(
        "format",
        Format,
        "jsonl",
        group=_OUTPUT,
        help="jsonl: a bucket a line, as the API sends it, losing nothing; csv: a flat row a"
        " result, raw and exact: data for programs, cells are not guarded for spreadsheets.",
    ),
    option(
        "output",
        Path | None,
        None,
        group=_OUTPUT,
        alias="-o",
        allow_leading_hyphen=True,
        help="A file, replaced when the new one is whole; - or nothing: standard output.",
        show_default=False,
    ),
)


def _fetch(
    asked: Asked,
    connection: Connection,
    context: Context,
    *,
    format: Format = "jsonl",  # noqa: A002 - the name of the option
    output: Path | None = None,
) -> None:
    from usage_async.cli import _csv

    with destination(output) as sink:
        if format == "csv":
            sink.write(_csv.line(_csv.ROW_COLUMNS))
        encode = _csv.rows if format == "csv" else _json_line
        to_terminal = output is None and sys.stdout.isatty()
        context.run(
            _stream(
                asked,
                connection,
                context,
                lambda bucket: sink.write(encode(bucket)),
                quiet=to_terminal,
            )
        )
    context.note_warnings()


async def _stream(
    asked: Asked,
    connection: Connection,
    context: Context,
    take: Callable[[UsageTimeBucket[Any]], object],
    *,
    quiet: bool,
) -> None:
    from usage_async.cli._page import progress

    async with connect(connection, context) as client:
        query = client.query(asked.name, unchecked=asked.unchecked, **asked.params)
        width_s = WIDTH_SECONDS.get(asked.params.get("bucket_width", "1d"))
        async with query.stream() as stream:
            total = width_s and -(-(stream.end_time - stream.start_time) // width_s)
            with progress(context.err, asked.name, total, quiet=quiet) as advance:
                async for bucket in stream:
                    take(bucket)
                    advance()


def _json_line(bucket: UsageTimeBucket[Any]) -> bytes:
    from usage_async._convert import dumps

    return dumps(bucket) + b"\n"


app = endpoint_app(
    "fetch",
    "Write an endpoint's figures to a file or a pipe, as they come.",
    _fetch,
    _OPTIONS,
    "completions --period 2026-10 --width 1h --group-by model,project_id -o october.jsonl",
)
