"""Command `usage-async fetch`: write the buckets of an endpoint, as they come."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usage_async._api.endpoints import WIDTH_SECONDS
from usage_async._api.pages import Notice, UsageTimeBucket
from usage_async._cli.connection import Connection, open_client, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import code_of_run
from usage_async._cli.options import OUTPUT, QueryArguments, endpoint_app, option, output_options
from usage_async._cli.output import Sink, choose_format, destination, is_stdout
from usage_async.report.formats import BUCKET_FORMATS, BucketEncoder

if TYPE_CHECKING:
    from usage_async._client.names import Names
    from usage_async._client.query import UsageQuery


def _fetch(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
    names: bool = False,
) -> int:
    make_encoder = choose_format(BUCKET_FORMATS, format, output).load()
    stream = _stream_named if names else _stream
    with destination(output) as sink:
        notices = context.run(
            stream(
                arguments,
                connection,
                context,
                sink,
                make_encoder,
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
    sink: Sink,
    make_encoder: Callable[[], BucketEncoder],
    *,
    quiet: bool,
) -> tuple[Notice, ...]:
    encoder = make_encoder()

    async def take(bucket: UsageTimeBucket[Any]) -> None:
        sink.write(encoder.encode(bucket))

    sink.write(encoder.head)
    async with open_client(connection, context) as client:
        return await _read(arguments.query(client), take, context, quiet=quiet)


async def _stream_named(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    sink: Sink,
    make_encoder: Callable[[Callable[[], Names]], BucketEncoder],
    *,
    quiet: bool,
) -> tuple[Notice, ...]:
    async with open_client_and_names(connection, context) as (client, names):
        encoder = make_encoder(lambda: names.names)

        async def take(bucket: UsageTimeBucket[Any]) -> None:
            await names.update((*bucket.results, *bucket.other_results))
            sink.write(encoder.encode(bucket))

        sink.write(encoder.head)
        return await _read(arguments.query(client), take, context, quiet=quiet)


async def _read(
    query: UsageQuery[Any],
    take: Callable[[UsageTimeBucket[Any]], Awaitable[None]],
    context: Context,
    *,
    quiet: bool,
) -> tuple[Notice, ...]:
    from usage_async.report.terminal.page import progress

    width_s = WIDTH_SECONDS.get(query.bucket_width or "")
    async with query.stream() as stream:
        end = min(stream.end_time, stream.as_of)
        total = width_s and -(-(end - stream.start_time) // width_s)
        with progress(context.err, query.endpoint.name, total, quiet=quiet) as advance:
            async for bucket in stream:
                await take(bucket)
                advance()
    return stream.notices


_NAMES = option(
    "names",
    bool,
    default=False,
    group=OUTPUT,
    negative="",
    show_default=False,
    help="Add project_name, user_name and api_key_name beside the ids. Names of API keys need"
    " --by project_id, too.",
)

app = endpoint_app(
    "fetch",
    "Write an endpoint's buckets to a file or a pipe, as they come.",
    _fetch,
    [*output_options(BUCKET_FORMATS), _NAMES],
    "completions --period 2026-10 --width 1h --by model,project_id -o october.jsonl",
)
