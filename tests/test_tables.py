"""Tables of queries, as pandas, polars, DuckDB and pyarrow read them; and files of them."""

import asyncio
import io
import json
import os
import subprocess
import sys
import tempfile
from contextlib import aclosing
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import DAY, HOUR, KEY, START, Clock, days, page, serve, turns
from values import one_row

from usage_async import (
    IncompleteError,
    PaginationError,
    UsageClient,
    UsageError,
    UsageTimeBucket,
    arrow_schema,
    to_arrow,
)
from usage_async._client.files import write_batches, write_file
from usage_async._codec.formats import WRITERS
from usage_async._codec.schemas import pyarrow

pytestmark = pytest.mark.usefixtures("nothing_left")


def client_with(transport, **options):
    runtime = Clock().runtime
    return UsageClient(KEY, transport=transport, runtime=runtime, **options)


def replying(make):
    """A transport whose pages are made from the parameters."""

    async def transport(path, params, headers):
        await asyncio.sleep(0)
        return 200, {}, make(dict(params))

    return transport


def bucket(start, *rows, width=DAY):
    return {"object": "bucket", "start_time": start, "end_time": start + width, "results": rows}


def windows(rows_of, width=DAY):
    """An honest service: the rows of each bucket of the range that is asked for."""

    def make(params):
        begin, end = int(params["start_time"]), int(params["end_time"])
        starts = range(begin - begin % width, end, width)
        return page([bucket(start, *rows_of(start), width=width) for start in starts])

    return replying(make)


honest = replying(lambda params: serve(params.items()))


def script(replies):
    """Replies by cursor, whatever the window: a service that may do anything."""

    def make(params):
        number = int(params.get("page", "p0")[1:])
        cursor = f"p{number + 1}" if number + 1 < len(replies) else None
        return page([bucket(*each) for each in replies[number]], cursor)

    return replying(make)


starts = st.sampled_from([START + day * DAY for day in range(-1, 5)])
some_rows = st.lists(
    st.builds(
        lambda tokens, model: one_row("completions", input_tokens=tokens, model=model),
        st.integers(0, 2),
        st.sampled_from(["a", "b", None]),
    ),
    max_size=2,
)
scripts = st.lists(
    st.lists(st.builds(lambda start, rows: (start, *rows), starts, some_rows), max_size=4),
    min_size=1,
    max_size=3,
)


@given(scripts)
async def test_a_table_has_the_rows_the_errors_and_the_notices_of_the_buckets(replies):
    found = []
    for read in (of_buckets, of_batches, of_table):
        told = []
        async with client_with(script(replies), on_notice=told.append, concurrency=1) as client:
            try:
                rows = await read(days(client, 3))
            except UsageError as error:
                rows = type(error), str(error)
        found.append((rows, told))
    assert found[0] == found[1] == found[2]


async def of_buckets(query):
    return to_arrow(await query.collect(), UsageTimeBucket[query.endpoint.result_class]).to_pylist()


async def of_batches(query):
    async with query.arrow_batches() as stream:
        return [row async for batch in stream for row in batch.to_pylist()]


async def of_table(query):
    return (await query.to_arrow()).to_pylist()


async def test_a_repeated_bucket_counts_once_and_another_one_is_an_error():
    row, other = one_row("completions", input_tokens=1), one_row("completions", input_tokens=2)
    for last, expected in (row, 3), (other, None):
        replies = [
            [(START, row), (START + DAY, row)],
            [(START + DAY, last), (START + 2 * DAY, row)],
        ]
        async with client_with(script(replies), concurrency=1) as client:
            if expected:
                assert (await days(client, 3).to_arrow()).num_rows == expected
            else:
                with pytest.raises(PaginationError, match="two different buckets"):
                    await days(client, 3).to_arrow()


@pytest.mark.parametrize("read", [of_batches, of_table])
async def test_pages_come_concurrently_and_in_order(read):
    async with client_with(honest) as client:
        rows = await read(days(client, 200))
    assert [row["input_tokens"] for row in rows] == [START // DAY + day for day in range(200)]


async def test_a_range_without_rows_gives_the_schema_without_rows():
    async with client_with(windows(lambda start: [])) as client:
        query = client.costs(start_time=START, end_time=START + 40 * DAY)
        table = await query.to_arrow()
        assert (table.schema, table.num_rows) == (arrow_schema("costs"), 0)
        assert [batch async for batch in query.arrow_batches()] == []
        assert (await query.to_arrow(exact=True)).schema == arrow_schema("costs", exact=True)


async def test_a_figure_that_does_not_fit_breaks_the_stream_off():
    def rows_of(start):
        return [one_row("completions", input_tokens=2**63 if start == START + 40 * DAY else 1)]

    async with client_with(windows(rows_of)) as client:
        stream = days(client, 90).arrow_batches()
        assert (await anext(stream)).num_rows == 31
        with pytest.raises(
            UsageError, match="input_tokens of the bucket that starts at 2026-01-10"
        ):
            await anext(stream)
        with pytest.raises(UsageError, match="this stream broke off"):
            await anext(stream)


async def test_a_saved_cursor_and_its_notice_hold_for_tables_too():
    async with client_with(honest) as client:
        told = [each.next_page async for each in days(client, 40, limit=10).pages()]
        table = await days(client, 40, limit=10, page=told[0]).to_arrow()
    assert table.num_rows == 30
    assert "resumed" in table.schema.metadata[b"usage_async.notices"].decode()


async def test_the_metadata_say_query_range_time_version_and_notices():
    async with client_with(honest) as client:
        query = client.completions(start_time=START + 5, end_time=START + DAY)
        metadata = (await query.to_arrow()).schema.metadata
    found = {name.decode().removeprefix("usage_async."): v.decode() for name, v in metadata.items()}
    (notice,) = json.loads(found.pop("notices"))
    assert notice["code"] == "start-aligned"
    assert found.pop("version")
    assert found == {
        "query": repr(query),
        "start_time": "2025-12-01T00:00:05Z",
        "end_time": "2025-12-02T00:00:00Z",
        "as_of": "2026-09-27T00:00:00Z",
    }


async def test_rows_of_other_kinds_are_told_by_a_notice_while_a_total_is_refused():
    rows = [one_row("completions", input_tokens=1), one_row("images", images=1)]
    told = []
    async with client_with(windows(lambda start: rows), on_notice=told.append) as client:
        query = days(client, 2)
        table = await query.to_arrow()
        with pytest.raises(IncompleteError):
            await query.total()
    assert table["input_tokens"].to_pylist() == [1, 1]
    assert told[0].code == "other-results"
    assert "other-results" in table.schema.metadata[b"usage_async.notices"].decode()


FIRST_IMPORT = """
import asyncio, sys, threading
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("pyarrow", "numpy", "pandas"):
            print(name, threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watch())
import usage_async
from usage_async import UsageClient

async def main():
    async def transport(path, params, headers):
        return 200, {}, PAGE

    async with UsageClient("sk-admin-0", transport=transport) as client:
        query = client.completions(start_time=START, end_time=START + 86400)
        RUN

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        "assert (await query.to_arrow()).num_rows == 1",
        "await query.write_parquet(PATH)",
        """await asyncio.to_thread(usage_async.arrow_schema, "costs")
        assert [batch.num_rows async for batch in query.arrow_batches()] == [1]""",
    ],
    ids=["to_arrow", "write_parquet", "arrow_batches"],
)
def test_the_event_loop_does_not_wait_for_the_first_import(run, tmp_path):
    body = page([bucket(START, one_row("completions", model="a"))])
    values = {"PATH": str(tmp_path / "file"), "PAGE": body, "START": START}
    script = FIRST_IMPORT.replace("RUN", run)
    for name, value in values.items():
        script = script.replace(name, repr(value))
    code = [sys.executable, "-c", script]
    done = subprocess.run(code, capture_output=True, text=True, check=True)  # noqa: S603 - this very Python
    assert set(done.stdout.splitlines()) == {"pyarrow False", "numpy False", "pandas False"}


async def test_a_first_import_gives_the_same_table():
    async with client_with(honest) as client:
        table = await days(client, 3).to_arrow()
        pyarrow.cache_clear()
        assert (await days(client, 3).to_arrow()).equals(table)


AMOUNTS = {
    "texts of 34 digits": [f"{whole}.{'0' * 12}{whole:06d}{'0' * 15}" for whole in range(1, 40)],
    "numbers": [0.1, 1e-7, 123456.789, 3, 1e-18, 0.30000000000000004],
    "zeros and nulls": ["0", "0E-6176", 0, None, "0.000", "-0.0"],
    "eighteen places": ["0.000000000000000001", "99999999999999999.999999999999999999", "-1.5"],
}


def bill(value):
    amount = None if value is None else {"value": value, "currency": "usd"}
    quantity = {} if value is None else {"quantity": value, "quantity_unit": "tokens"}
    return one_row("costs", amount=amount, line_item="a", project_name="Ä", **quantity)


@pytest.mark.parametrize("values", AMOUNTS.values(), ids=AMOUNTS)
async def test_every_tool_adds_our_table_and_our_file_up_to_the_total(values, tmp_path):
    path = tmp_path / "costs.parquet"

    def rows_of(start):
        at = start // DAY * 5 % len(values)
        return map(bill, (values * 2)[at : at + 3])

    async with client_with(windows(rows_of)) as client:
        query = client.costs(start_time=START, end_time=START + 40 * DAY)
        total, table = (await query.total()).amount_value, await query.to_arrow()
        await query.write_parquet(path)
    nulls = table["amount"].null_count
    assert pq.read_table(path).equals(table)
    database = duckdb.connect()
    database.register("costs", table)
    for source in ("costs", f"'{path}'"):
        found = database.sql(
            f"from {source} select sum(amount), count(*) - count(amount), count(*)"
        )
        assert found.fetchall() == [(total, nulls, 120)]
    for frame in pl.from_arrow(table), pl.read_parquet(path):
        assert frame["amount"].sum() == total
        assert frame["amount"].null_count() == nulls
        assert frame["line_item"].n_unique() == 1
    for frame in table.to_pandas(), pq.read_table(path).to_pandas():
        assert frame["amount"].sum() == total
        assert frame["amount"].isna().sum() == nulls
        assert str(frame["start_time"].dtype) == "datetime64[us, UTC]"
    for again in table, pq.read_table(path):
        assert pc.sum(again["amount"]).as_py() == total
        assert again["project_name"].unique().to_pylist() == ["Ä"]


async def test_every_tool_adds_tokens_up_to_the_total(tmp_path):
    path = tmp_path / "completions.parquet"

    def rows_of(start):
        cached = {} if start % 2 else {"input_cached_tokens": start}
        tokens = {"input_tokens": 2**53 + start, "batch": start % (3 * HOUR) == 0}
        return [one_row("completions", model=f"m{start % 7}", **tokens, **cached)]

    async with client_with(windows(rows_of, HOUR)) as client:
        query = days(client, 9, bucket_width="1h", group_by=["model", "batch"])
        total, table = await query.total(), await query.to_arrow()
        await query.write_parquet(path)
        groups = {row.model: row.input_tokens for row in await query.totals("model")}
    sums = "select sum(input_tokens)::hugeint, sum(input_cached_tokens)::hugeint"
    database = duckdb.connect()
    database.register("tokens", table)
    for source in ("tokens", f"'{path}'"):
        found = database.sql(f"from {source} {sums}").fetchall()
        assert found == [(total.input_tokens, total.input_cached_tokens)]
    for frame in pl.from_arrow(table), pl.read_parquet(path):
        assert frame["input_tokens"].sum() == total.input_tokens
        by_model = frame.group_by("model").agg(pl.col("input_tokens").sum())
        assert dict(by_model.rows()) == groups
    for frame in table.to_pandas(), pq.read_table(path).to_pandas():
        assert int(frame["input_tokens"].sum()) == total.input_tokens
        by_model = frame.groupby("model", observed=True)["input_tokens"].sum()
        assert by_model.to_dict() == groups
    for again in table, pq.read_table(path):
        assert pc.sum(again["input_tokens"]).as_py() == total.input_tokens


async def test_a_level_is_that_of_the_last_bucket():
    def rows_of(start):
        return [one_row("vector_stores", usage_bytes=start + n, project_id=f"p{n}") for n in (1, 2)]

    async with client_with(windows(rows_of)) as client:
        query = client.vector_stores(start_time=START, end_time=START + 40 * DAY)
        table, total = await query.to_arrow(), await query.total()
    last = table.filter(pc.equal(table["start_time"], pc.max(table["start_time"])))
    assert pc.sum(last["usage_bytes"]).as_py() == total.usage_bytes


async def test_a_summary_is_a_table_of_its_groups():
    async with client_with(windows(lambda start: [bill("0.1"), bill("2")])) as client:
        query = client.costs(start_time=START, end_time=START + 9 * DAY, group_by=["line_item"])
        summary = await query.summary()
    table = summary.to_arrow()
    assert table["amount"].to_pylist() == [Decimal("18.9")]
    assert table["line_item"].to_pylist() == ["a"]
    assert table.schema.names == arrow_schema("costs").names[2:]
    metadata = table.schema.metadata
    assert metadata[b"usage_async.as_of"] == b"2026-09-27T00:00:00Z"
    assert metadata[b"usage_async.start_time"] == b"2025-12-01T00:00:00Z"
    assert json.loads(metadata[b"usage_async.notices"]) == []
    assert summary.to_arrow(exact=True)["amount_exact"].to_pylist() == ["18.9"]


async def test_a_parquet_file_has_even_row_groups_zstd_and_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr("usage_async._codec.formats.ROW_GROUP", 100)
    path = tmp_path / "usage.parquet"
    async with client_with(honest) as client:
        query = days(client, 290)
        assert await query.write_parquet(str(path)) is None
        table = await query.to_arrow()
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [100, 100, 90]
    assert groups[0].column(0).compression == "ZSTD"
    assert file.read().equals(table)
    written = {k: v for k, v in file.metadata.metadata.items() if k.startswith(b"usage_async")}
    assert written == table.schema.metadata
    assert (path.stat().st_mode & 0o777) == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


async def test_an_empty_range_makes_a_file_without_rows(tmp_path):
    path = tmp_path / "empty.parquet"
    async with client_with(windows(lambda start: [])) as client:
        await days(client, 3).write_parquet(path)
    table = pq.read_table(path)
    assert (table.num_rows, table.schema) == (0, arrow_schema("completions"))


async def test_a_run_that_breaks_off_leaves_the_old_file(tmp_path):
    path = tmp_path / "usage.parquet"
    path.write_bytes(b"old")

    def make(params):
        if int(params["start_time"]) > START + 31 * DAY:
            return b"<html>"
        return serve(params.items())

    async with client_with(replying(make)) as client:
        with pytest.raises(UsageError, match="not a page"):
            await days(client, 90).write_parquet(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_cancelled_write_waits_for_its_thread_and_leaves_nothing(tmp_path):
    path, begun = tmp_path / "usage.parquet", asyncio.Event()

    async def transport(path, params, headers):
        if int(dict(params)["start_time"]) > START:
            begun.set()
            await asyncio.Event().wait()
        return 200, {}, serve(params)

    async with client_with(transport) as client:
        writing = asyncio.create_task(days(client, 90).write_parquet(path))
        await begun.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert list(tmp_path.iterdir()) == []


async def test_a_cancellation_while_a_batch_is_written_comes_after_it(tmp_path):
    loop, written = asyncio.get_running_loop(), []

    class Slow:
        def write(self, batch):
            loop.call_soon_threadsafe(writing.cancel)
            loop.call_soon_threadsafe(writing.cancel)
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
            written.append(batch)

        def close(self, metadata):
            written.append("closed")

    async def batches():
        yield 1
        yield 2

    async with aclosing(batches()) as two:
        work = write_file(tmp_path / "file", two, None, dict, lambda file, schema: Slow())
        writing = asyncio.create_task(work)
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert written == [1, "closed"]
    assert list(tmp_path.iterdir()) == []


def cancelling(work, loop, writing):
    """Give work that is cancelled while it runs in its thread."""

    def run(*args, **options):
        done = work(*args, **options)
        loop.call_soon_threadsafe(writing[0].cancel)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()
        return done

    return run


@pytest.mark.parametrize("form", WRITERS)
async def test_a_writer_whose_opening_is_cancelled_is_closed_before_its_file(tmp_path, form):
    opened, closed, writing = [], [], []

    class Watched:
        def __init__(self, file, schema):
            opened.append(file)
            self.writer = WRITERS[form](file, schema)

        def close(self, metadata):
            assert not opened[0]._file.closed
            self.writer.close(metadata)
            closed.append(opened[0]._file)

    schema = pa.schema({"a": pa.int64()})
    open_writer = cancelling(Watched, asyncio.get_running_loop(), writing)
    work = write_file(tmp_path / "file", None, schema, dict, open_writer)
    writing.append(asyncio.create_task(work))
    with pytest.raises(asyncio.CancelledError):
        await writing[0]
    assert len(closed) == 1
    assert closed[0].closed
    assert list(tmp_path.iterdir()) == []


async def test_a_file_whose_opening_is_cancelled_is_removed_at_once(tmp_path, monkeypatch):
    writing, made = [], []

    def mkstemp(**options):
        made.append(make(**options))
        return made[-1]

    make = tempfile.mkstemp
    slow = cancelling(mkstemp, asyncio.get_running_loop(), writing)
    monkeypatch.setattr(tempfile, "mkstemp", slow)
    work = write_file(tmp_path / "file", None, None, dict, None)
    writing.append(asyncio.create_task(work))
    with pytest.raises(asyncio.CancelledError):
        await writing[0]
    assert len(made) == 1
    assert list(tmp_path.iterdir()) == []


async def test_every_format_holds_every_row_of_the_batches(tmp_path):
    def rows_of(start):
        return [bill("0.10"), bill("1e-18"), bill(None), one_row("costs", line_item="")]

    async with client_with(windows(rows_of)) as client:
        query = client.costs(start_time=START, end_time=START + 40 * DAY)
        table = await query.to_arrow()
        for name, open_writer in WRITERS.items():
            async with query.arrow_batches() as stream:
                path = tmp_path / f"costs.{name}"
                await write_file(path, stream, table.schema, dict, open_writer)
    assert pq.read_table(tmp_path / "costs.parquet").equals(table)
    assert pa.ipc.open_stream(tmp_path / "costs.arrow").read_all().equals(table)
    lines = (tmp_path / "costs.csv").read_text().splitlines()
    assert lines[0].startswith('"start_time","end_time","project_id"')
    times = '"2025-12-01T00:00:00Z","2025-12-02T00:00:00Z"'
    assert lines[1] == f'{times},,,,,"a","0.1","usd","0.1","tokens",,,"Ä",,'
    least = '"0.000000000000000001"'
    assert lines[2] == f'{times},,,,,"a",{least},"usd",{least},"tokens",,,"Ä",,'
    assert lines[3] == f'{times},,,,,"a",,,,,,,"Ä",,'
    assert lines[4] == f'{times},,,,,"",,,,,,,,,'
    assert len(lines) == 1 + table.num_rows


async def test_every_tool_reads_a_stream_whose_dictionaries_grow():
    def rows_of(start):
        return [one_row("completions", model=f"m{start % (37 * DAY) // DAY}", user_id=f"u{start}")]

    async with client_with(windows(rows_of)) as client:
        query = days(client, 200)
        table, file = await query.to_arrow(), io.BytesIO()
        async with query.arrow_batches() as stream:
            await write_batches(file, stream, table.schema, dict, WRITERS["arrow"])
    written = file.getvalue()
    again = pa.ipc.open_stream(written).read_all()
    assert again["user_id"].num_chunks > 1
    assert again.schema == table.schema
    assert again.to_pylist() == table.to_pylist()
    frame = pl.read_ipc_stream(io.BytesIO(written))
    assert frame.select("model", "user_id").equals(
        pl.from_arrow(table.select(["model", "user_id"]))
    )
    for column in ("model", "user_id"):
        texts = table[column].to_pylist()
        assert pa.ipc.open_stream(written).read_pandas()[column].tolist() == texts
        stream = pa.ipc.open_stream(written)
        assert duckdb.from_arrow(stream).project(column).fetchall() == [(t,) for t in texts]


def test_a_stream_holds_of_a_long_dictionary_what_its_batches_use():
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([("user_id", kind)])
    users = pa.array([f"user-{number:06}" for number in range(20_000)])
    file = io.BytesIO()
    writer = WRITERS["arrow"](file, schema)
    codes = [[number, None, number] for number in range(0, 20_000, 1000)]
    for some in codes:
        column = pa.DictionaryArray.from_arrays(pa.array(some, pa.int32()), users)
        writer.write(pa.record_batch([column], schema))
    writer.close({})
    assert len(file.getvalue()) < 20_000
    again = pa.ipc.open_stream(file.getvalue()).read_all()["user_id"].to_pylist()
    expected = [None if code is None else users[code].as_py() for some in codes for code in some]
    assert again == expected
    assert pl.read_ipc_stream(io.BytesIO(file.getvalue()))["user_id"].to_list() == expected


async def test_a_folder_that_is_not_there_is_named_by_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "none" / "usage.parquet"
    async with client_with(honest) as client:
        with pytest.raises(FileNotFoundError) as error:
            await days(client, 3).write_parquet(path)
    assert error.value.filename == str(path)


async def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with client_with(honest) as client:
        reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
        await days(client, 40).write_parquet(pipe)
        written = await reading
        table = await days(client, 40).to_arrow()
    assert pipe.is_fifo()
    assert pq.read_table(io.BytesIO(written)).equals(table)


async def test_waiting_for_the_reader_of_a_pipe_can_be_broken_off(tmp_path, monkeypatch):
    pipe, tried = tmp_path / "pipe", asyncio.Event()
    os.mkfifo(pipe)
    open_at_once = os.open

    def tell(path, flags, *mode):
        if path == pipe:
            tried.set()
        return open_at_once(path, flags, *mode)

    monkeypatch.setattr(os, "open", tell)
    async with client_with(honest) as client:
        writing = asyncio.create_task(days(client, 3).write_parquet(pipe))
        await tried.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert pipe.is_fifo()


async def test_a_pipe_waits_for_its_reader(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with client_with(honest) as client:
        writing = asyncio.create_task(days(client, 3).write_parquet(pipe))
        await turns(20)
        written, _ = await asyncio.gather(asyncio.to_thread(pipe.read_bytes), writing)
    assert pq.read_table(io.BytesIO(written)).num_rows == 3


async def test_a_pipe_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def refuse(path, flags):
        raise PermissionError(path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        await write_file(pipe, None, None, dict, None)


async def test_a_file_keeps_its_permissions_and_a_link_stays_one(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    async with client_with(honest) as client:
        await days(client, 3).write_parquet(link)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert pq.read_table(target).num_rows == 3
