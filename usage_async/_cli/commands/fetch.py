"""`usage-async fetch`: an endpoint's figures as they are, streamed to a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from cyclopts import Group

from usage_async._api.endpoints import WIDTH_SECONDS
from usage_async._api.pages import (
    Notice,
    UsageTimeBucket,
)
from usage_async._cli.connect import Connection, connect
from usage_async._cli.context import Context
from usage_async._cli.exit import code_of
from usage_async._cli.options import Asked, endpoint_app, option
from usage_async._cli.output import destination
from usage_async.errors import QueryError

Format = Literal["jsonl", "csv"]

_ENDINGS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_NOT_WRITTEN = (".parquet",)
_WRITTEN = f"files are called {', '.join(_ENDINGS)}"

_OUTPUT = Group("Output", sort_key=30)
_OPTIONS = (
    option(
        "format",
        Format | None,
        None,
        group=_OUTPUT,
        help="jsonl: a bucket a line, as the API sends it, losing nothing; csv: a flat row a"
        " result, raw and exact: data for programs, cells are not guarded for spreadsheets."
        " Default: as the file is called, else jsonl.",
        show_default=False,
    ),
    option(
        "output",
        Path | None,
        None,
        group=_OUTPUT,
        alias="-o",
        allow_leading_hyphen=True,
        help="A file (.jsonl, .ndjson, .csv), replaced when the new one is whole; - or nothing:"
        " standard output.",
        show_default=False,
    ),
)


def _fetch(
    asked: Asked,
    connection: Connection,
    context: Context,
    *,
    format: Format | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
) -> int:
    from usage_async.report import csv as _csv

    format = _format(format, output)  # noqa: A001 - the name of the option
    with destination(output) as sink:
        if format == "csv":
            sink.write(_csv.line(_csv.ROW_COLUMNS))
        encode = _csv.rows if format == "csv" else _json_line
        to_terminal = output is None and sys.stdout.isatty()
        notices = context.run(
            _stream(
                asked,
                connection,
                context,
                lambda bucket: sink.write(encode(bucket)),
                quiet=to_terminal,
            )
        )
    context.note_warnings()
    context.note_unsettled(notices)
    return code_of(notices)


def _format(said: Format | None, output: Path | None) -> Format:
    """Give the format of a file: its name and `--format` must agree.

    Raises:
        QueryError: They contradict each other, or the name has an ending that says nothing here.
    """
    ending = output.suffix.lower() if output is not None else ""
    named = _ENDINGS.get(ending)
    if ending in _NOT_WRITTEN:
        raise QueryError(f"{output}: {ending} is not written here; {_WRITTEN}")
    if said is not None and named not in (None, said):
        raise QueryError(f"{output}: the name says {named}, and --format {said}; change one")
    if said is None and named is None and ending:
        raise QueryError(f"{output}: say --format for a name with this ending; {_WRITTEN}")
    return said or named or "jsonl"


async def _stream(
    asked: Asked,
    connection: Connection,
    context: Context,
    take: Callable[[UsageTimeBucket[Any]], object],
    *,
    quiet: bool,
) -> tuple[Notice, ...]:
    from usage_async.report.terminal.page import progress

    async with connect(connection, context) as client:
        query = client.query(asked.name, unchecked=asked.unchecked, **asked.params)
        width_s = WIDTH_SECONDS.get(asked.params.get("bucket_width", "1d"))
        async with query.stream() as stream:
            end = min(stream.end_time, stream.as_of)
            total = width_s and -(-(end - stream.start_time) // width_s)
            with progress(context.err, asked.name, total, quiet=quiet) as advance:
                async for bucket in stream:
                    take(bucket)
                    advance()
        return stream.notices


def _json_line(bucket: UsageTimeBucket[Any]) -> bytes:
    from usage_async._codec.converter import dumps

    return dumps(bucket) + b"\n"


app = endpoint_app(
    "fetch",
    "Write an endpoint's figures to a file or a pipe, as they come.",
    _fetch,
    _OPTIONS,
    "completions --period 2026-10 --width 1h --by model,project_id -o october.jsonl",
)
