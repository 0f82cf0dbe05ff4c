"""Command `usage-async fetch`: write the results of an endpoint, as they come.

JSON lines are made of buckets. Tables are made of record batches, which are joined, and written in
a thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from usage_async._api.endpoints import WIDTH_SECONDS
from usage_async._api.pages import Notice
from usage_async._cli.connection import Connection, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import code_of_run
from usage_async._cli.options import OUTPUT, QueryArguments, endpoint_app, option, output_options
from usage_async._cli.output import Sink, choose_format, destination, is_shown
from usage_async.errors import ConfigurationError
from usage_async.report.dimensions import NAME_FIELDS, name_in
from usage_async.report.formats import BUCKET_FORMATS

if TYPE_CHECKING:
    from usage_async._cli.names import CommandNames
    from usage_async._client.query import UsageQuery
    from usage_async._codec.schemas import RecordBatch
    from usage_async._engine.stream import Stream

_ROWS = 1 << 14
"""Rows from which on batches are written: each write costs some 1 ms, however few rows it has."""
_OTHERS = "other-results"
_NOTES = ("project_name", "user_email")
"""Names that rows carry themselves."""


def _fetch(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
    names: bool = False,
    exact: bool = False,
) -> int:
    form = choose_format(BUCKET_FORMATS, format, output)
    if form.writer is None:
        write: Callable[..., Any] = partial(_write_lines, form.load())
    elif find_spec("pyarrow") is None:
        raise ConfigurationError(
            f"{form.writer} needs pyarrow: pip install 'usage-async[arrow]'; jsonl does not"
        )
    else:
        write = partial(_write_table, form.writer, exact=exact)
    with destination(output) as sink:

        async def run() -> tuple[Notice, ...]:
            async with open_client_and_names(connection, context, with_names=names) as (
                client,
                known,
            ):
                # A progress bar would mix with the rows.
                reading = _Reading(arguments.query(client), known, context, is_shown(output))
                notices: tuple[Notice, ...] = await write(reading, sink)
                return notices

        notices = context.run(run())
    context.note_warnings()
    context.note_unsettled(notices)
    if form.writer is None:
        return code_of_run(notices)
    if any(notice.code == _OTHERS for notice in notices):
        context.note(f"{form.writer} has no place for rows of other kinds; --format jsonl has")
    return code_of_run(notices, _OTHERS)


@attrs.frozen
class _Reading:
    """A query that is read, and what goes with it.

    Attributes:
        query: The query.
        names: Names to add; None adds none.
        context: The command's context.
        is_quiet: True to show no progress.
    """

    query: UsageQuery[Any]
    names: CommandNames | None
    context: Context
    is_quiet: bool

    @contextmanager
    def progress(self, stream: Stream[Any]) -> Iterator[Callable[..., object]]:
        """Show how many buckets have come."""
        from usage_async.report.terminal.page import progress

        width_s = WIDTH_SECONDS.get(self.query.bucket_width or "")
        end = min(stream.end_time, stream.as_of)
        total = width_s and -(-(end - stream.start_time) // width_s)
        what, console = self.query.endpoint.name, self.context.err
        with progress(console, what, total, quiet=self.is_quiet) as advance:
            yield advance


async def _write_lines(
    render: Callable[..., bytes], reading: _Reading, sink: Sink
) -> tuple[Notice, ...]:
    names, known = reading.names, None
    async with reading.query.stream() as stream:
        with reading.progress(stream) as advance:
            async for bucket in stream:
                if names is not None:
                    known = await names.update((*bucket.results, *bucket.other_results))
                sink.write(render(bucket, known))
                advance()
    return stream.notices


async def _write_table(
    writer: str, reading: _Reading, sink: Any, *, exact: bool
) -> tuple[Notice, ...]:
    from usage_async._client.files import facts, write_batches
    from usage_async._codec.formats import WRITERS

    table = _Table(reading, exact=exact, is_text=writer == "csv")
    async with reading.query.arrow_batches(exact=table.exact) as stream:
        with reading.progress(stream) as advance:
            async with aclosing(table.batches(stream, advance)) as batches:
                metadata = partial(facts, reading.query, stream)
                await write_batches(sink, batches, table.schema, metadata, WRITERS[writer])
    return stream.notices


class _Table:
    """Batches for one file.

    Args:
        reading: The query and the names.
        exact: As in `UsageQuery.to_arrow`.
        is_text: The file holds texts, and so all digits, in any case.

    Attributes:
        exact: True if the batches must have all digits.
        schema: Schema of the file.
    """

    def __init__(self, reading: _Reading, *, exact: bool, is_text: bool) -> None:
        from usage_async._codec.batches import NameColumns, spelled_schema
        from usage_async._codec.schemas import arrow_schema

        self.exact = exact or is_text
        self._is_text = is_text
        self._names = reading.names
        self._width_s = WIDTH_SECONDS.get(reading.query.bucket_width or "")
        schema = arrow_schema(reading.query.endpoint, exact=self.exact)
        self._columns = NameColumns(schema, NAME_FIELDS, _NOTES)
        if self._names is not None:
            schema = self._columns.schema
        self.schema = spelled_schema(schema) if is_text else schema

    async def batches(
        self, stream: Stream[RecordBatch], advance: Callable[[int], object]
    ) -> AsyncGenerator[RecordBatch, None]:
        """Join the batches of a stream, and give them the columns of the file."""
        waiting: list[RecordBatch] = []
        rows = done = 0
        async for batch in stream:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= _ROWS:
                yield await self._finished(waiting)
                waiting, rows = [], 0
            done, before = self._buckets(batch, stream.start_time), done
            advance(done - before)
        if waiting:
            yield await self._finished(waiting)

    def _buckets(self, batch: RecordBatch, start: int) -> int:
        """Count the buckets up to the end of a batch."""
        last = batch.column("start_time")[-1].value // 10**6
        return (last - start) // self._width_s + 1 if self._width_s else 0

    async def _finished(self, batches: list[RecordBatch]) -> RecordBatch:
        from usage_async._api.results import UsageRow
        from usage_async._codec.batches import joined, spelled

        batch = joined(batches)
        if self._names is not None:
            unseen = self._columns.unseen(batch)
            if unseen:
                rows = [UsageRow(object="", start_time=0, end_time=0, **each) for each in unseen]
                await self._names.update(rows)
            batch = self._columns.add(batch, self._names.names, name_in)
        return spelled(batch) if self._is_text else batch


_OPTIONS = [
    option(
        "names",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="Add project_name, user_name and api_key_name beside the ids. Names of API keys need"
        " --by project_id, too.",
    ),
    option(
        "exact",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="In parquet and arrow, round money and quantities that have more than 18 decimal"
        " places, and add all digits as texts: amount_exact, quantity_exact.",
    ),
]

app = endpoint_app(
    "fetch",
    "Write an endpoint's results to a file or a pipe, as they come. Rows of other kinds than the"
    " endpoint's own are in jsonl only; for the other formats they mean exit code 1.",
    _fetch,
    [*output_options(BUCKET_FORMATS), *_OPTIONS],
    "completions --period 2026-10 --width 1h --by model,project_id -o october.parquet",
)
