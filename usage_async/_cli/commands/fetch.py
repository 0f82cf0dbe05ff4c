"""Command `usage-async fetch`: write the buckets of an endpoint, as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usage_async._api.endpoints import WIDTH_SECONDS
from usage_async._api.pages import Notice, UsageTimeBucket
from usage_async._cli.connection import Connection, open_client
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import code_of_run
from usage_async._cli.options import QueryArguments, endpoint_app, output_options
from usage_async._cli.output import choose_format, destination, is_stdout
from usage_async.report.formats import BUCKET_FORMATS, BucketEncoder


def _fetch(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
) -> int:
    encoder: BucketEncoder = choose_format(BUCKET_FORMATS, format, output).load()()
    with destination(output) as sink:
        sink.write(encoder.head)
        notices = context.run(
            _stream(
                arguments,
                connection,
                context,
                lambda bucket: sink.write(encoder.encode(bucket)),
                # A progress bar would mix with the buckets.
                quiet=is_stdout(output) and sys.stdout.isatty(),
            )
        )
    context.note_warnings()
    context.note_unsettled(notices)
    return code_of_run(notices)


async def _stream(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    take: Callable[[UsageTimeBucket[Any]], object],
    *,
    quiet: bool,
) -> tuple[Notice, ...]:
    from usage_async.report.terminal.page import progress

    async with open_client(connection, context) as client:
        query = arguments.query(client)
        width_s = WIDTH_SECONDS.get(query.bucket_width or "")
        async with query.stream() as stream:
            end = min(stream.end_time, stream.as_of)
            total = width_s and -(-(end - stream.start_time) // width_s)
            with progress(context.err, arguments.name, total, quiet=quiet) as advance:
                async for bucket in stream:
                    take(bucket)
                    advance()
        return stream.notices


app = endpoint_app(
    "fetch",
    "Write an endpoint's buckets to a file or a pipe, as they come.",
    _fetch,
    output_options(BUCKET_FORMATS),
    "completions --period 2026-10 --width 1h --by model,project_id -o october.jsonl",
)
