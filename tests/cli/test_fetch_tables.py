"""Tables that `fetch` writes, as those read them who get them."""

import csv
import json
import os
import sys
import threading
from decimal import Decimal
from functools import partial

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from service import DAY, START, page
from values import one_row

from usage_async import UsageClient, arrow_schema
from usage_async._cli.commands import fetch
from usage_async.emulator import Emulator, Organization, Quirks

from .conftest import NOW

TABLES = ("csv", "parquet", "arrow")
ORGANIZATION = Organization()
COSTS = ("costs", "--period", "2026-10")
BY = ("--by", "project_id,line_item")


def of_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [row["amount"] for row in csv.DictReader(file)]


def of_polars_csv(path):
    return pl.read_csv(path, infer_schema=False)["amount"].to_list()


def of_duckdb_csv(path):
    found = duckdb.read_csv(str(path), all_varchar=True).project("amount").fetchall()
    return [amount for (amount,) in found]


def of_duckdb_parquet(path):
    found = duckdb.read_parquet(str(path)).project("amount").fetchall()
    return [amount for (amount,) in found]


READERS = {
    "csv": [of_csv, of_polars_csv, of_duckdb_csv],
    "parquet": [
        lambda path: pq.read_table(path)["amount"].to_pylist(),
        lambda path: pl.read_parquet(path)["amount"].to_list(),
        of_duckdb_parquet,
    ],
    "arrow": [
        lambda path: pa.ipc.open_stream(path).read_all()["amount"].to_pylist(),
        lambda path: pl.read_ipc_stream(path)["amount"].to_list(),
    ],
}
QUIRKS = {
    "none": Quirks(),
    "numbers and repeated rows": Quirks(number_amounts=True, repeated_rows=True),
    "unknown fields": Quirks(unknown_fields=True),
    "repeated buckets and empty pages": Quirks(repeated_buckets=True, hollow_pages=2),
}


@pytest.mark.parametrize("quirks", QUIRKS.values(), ids=QUIRKS)
@pytest.mark.parametrize("form", TABLES)
def test_every_reader_of_a_table_finds_the_total(cli, serving, tmp_path, form, quirks):
    serving(Emulator(now=lambda: NOW, quirks=quirks))
    file = tmp_path / f"costs.{form}"
    assert cli("fetch", *COSTS, *BY, "-o", file).code == 0
    ran = cli("total", *COSTS, *BY, "--format", "json", "--no-names")
    total = Decimal(json.loads(ran.out)["totals"][0]["amount"]["value"])
    for read in READERS[form]:
        amounts = [amount for amount in read(file) if amount not in (None, "")]
        assert sum(map(Decimal, amounts)) == total


def rows_of(path):
    """The rows of a table of any format; texts only, an empty cell for null, in a CSV file."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        return [row for line in lines for row in json.loads(line)["results"]]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return pa.ipc.open_stream(path).read_all().to_pylist()


@pytest.fixture
def fetch_rows(cli, tmp_path):
    """Fetch into a file of a format; give its rows."""

    def fetch_rows(form, *tokens):
        path = tmp_path / f"table.{form}"
        ran = cli("fetch", *tokens, "-o", path)
        assert ran.code == 0, ran.err
        return rows_of(path)

    return fetch_rows


def test_the_columns_are_those_of_the_library(cli, tmp_path):
    asked = ("fetch", "completions", "--demo", "--period", "2026-10-05")
    for form in TABLES:
        assert cli(*asked, "-o", tmp_path / f"table.{form}").code == 0
    schema = arrow_schema("completions")
    table = pq.read_table(tmp_path / "table.parquet")
    assert table.schema.equals(schema)
    facts = pq.read_metadata(tmp_path / "table.parquet").metadata
    assert facts[b"usage_async.notices"] == b"[]"
    assert b"completions" in facts[b"usage_async.query"]
    assert pa.ipc.open_stream(tmp_path / "table.arrow").schema.equals(schema)
    header = (tmp_path / "table.csv").read_text().partition("\n")[0]
    assert header.replace('"', "").split(",") == schema.names


@pytest.mark.parametrize("form", TABLES)
def test_an_empty_range_is_a_table_without_rows(cli, serving, tmp_path, form):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(missing_buckets=1)))
    path = tmp_path / f"table.{form}"
    assert cli("fetch", "costs", "--period", "2026-10-05", "-o", path).code == 1
    assert rows_of(path) == []
    assert path.stat().st_size


@pytest.mark.parametrize("rows", [1, 7, 1 << 14])
def test_batches_are_joined_without_a_change(cli, monkeypatch, tmp_path, rows):
    asked = ("fetch", "completions", "--demo", "--period", "2026-Q3", "--limit", "7")
    by = ("--by", "project_id,model")
    monkeypatch.setattr(fetch, "_ROWS", rows)
    for form in TABLES:
        assert cli(*asked, *by, "-o", tmp_path / f"table.{form}").code == 0
    parquet, arrow = rows_of(tmp_path / "table.parquet"), rows_of(tmp_path / "table.arrow")
    assert parquet == arrow
    assert [row["model"] or "" for row in arrow] == [
        row["model"] for row in rows_of(tmp_path / "table.csv")
    ]
    total = json.loads(cli("total", *asked[1:], "--no-names", "--format", "json").out)["totals"][0]
    assert sum(row["input_tokens"] for row in arrow) == total["input_tokens"]


# Names


KEYS = ("completions", "--period", "3d", "--by", "project_id,user_id,api_key_id")


@pytest.fixture
def named(serving, bare, tmp_path):
    bare.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return serving(Emulator(ORGANIZATION, now=lambda: NOW))


@pytest.mark.parametrize("rows", [1, 1 << 14])
@pytest.mark.parametrize("form", TABLES)
def test_names_stand_beside_ids(fetch_rows, named, monkeypatch, form, rows):
    monkeypatch.setattr(fetch, "_ROWS", rows)
    plain, found = fetch_rows(form, *KEYS), fetch_rows(form, *KEYS, "--names")
    names = {key.id: (key.name, key.owner.name, key.project.name) for key in ORGANIZATION.keys}
    deleted = {key.id for key in ORGANIZATION.keys if key.deleted}
    fields = ("api_key_name", "user_name", "project_name")
    seen = set()
    for row in found:
        *_, project = expected = names.get(row["api_key_id"], (None, None, None))
        if row["api_key_id"] in deleted:
            assert (row["api_key_name"] or None, row["project_name"]) == (None, project)
        elif row["api_key_id"]:
            assert tuple(row[name] for name in fields) == expected
            seen.add(row["api_key_id"])
    assert len(seen) > 5
    assert list(found[0])[2:8] == [
        *("project_id", "project_name", "user_id", "user_name", "api_key_id", "api_key_name")
    ]
    assert [{name: row[name] for name in plain[0]} for row in found] == plain


@pytest.mark.parametrize("form", ["jsonl", *TABLES])
def test_a_list_of_names_is_read_once(cli, named, tmp_path, form):
    asked = ("fetch", "completions", "--period", "60d", "--by", "project_id,api_key_id", "--names")
    assert cli(*asked, "-o", tmp_path / f"table.{form}").code == 0
    paths = [request.path for request in named.requests if "/usage/" not in request.path]
    assert any(path.endswith("/projects") for path in paths)
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("form", ["jsonl", *TABLES])
def test_names_that_costs_carry_stay_and_no_list_is_read(fetch_rows, named, form):
    by = ("--by", "project_id", "--names")
    carried = fetch_rows(form, *COSTS, *by[:2])
    found = fetch_rows(form, *COSTS, *by)
    assert all(row["project_name"] for row in found)
    assert [row["project_name"] for row in found] == [row["project_name"] for row in carried]
    assert all("/costs" in request.path for request in named.requests)


@pytest.mark.parametrize("form", TABLES)
def test_where_no_row_has_an_id_the_columns_of_names_are_empty(fetch_rows, named, form):
    rows = fetch_rows(form, "completions", "--period", "3d", "--names")
    assert {row["project_name"] or None for row in rows} == {None}
    assert all("/usage/" in request.path for request in named.requests)


# What a table cannot hold


@pytest.mark.parametrize("form", TABLES)
def test_rows_of_other_kinds_are_told_and_code_1(cli, serving, tmp_path, form):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(other_kinds=True)))
    file = tmp_path / f"table.{form}"
    ran = cli("fetch", "completions", "--period", "2026-10-05", "-o", file)
    assert ran.code == 1
    assert "rows of kind" in ran.err
    assert f"note: {form} has no place for rows of other kinds; --format jsonl has\n" in ran.err
    assert len(rows_of(file)) == 1
    file = tmp_path / "rows.jsonl"
    ran = cli("fetch", "completions", "--period", "2026-10-05", "-o", file)
    assert ran.code == 0
    assert len(json.loads(file.read_text())["results"]) == 3


@pytest.mark.parametrize("form", TABLES)
def test_rows_of_an_endpoint_newer_than_this_program_are_in_its_table(replying, fetch_rows, form):
    replying({"object": "organization.usage.brand_new.result", "sparks": 3})
    (row,) = fetch_rows(form, "path", "/organization/usage/brand_new", "--start", "2025-12-01")
    assert json.loads(row["extra"]) == {"sparks": 3}


@pytest.fixture
def replying(bare):
    """Answer every request with one bucket of these rows."""

    def replying(*rows):
        async def transport(path, params, headers):
            bucket = {"start_time": START, "end_time": START + DAY, "results": rows}
            return 200, {}, page([{"object": "bucket", **bucket}])

        client = partial(UsageClient, transport=transport)
        bare.setattr("usage_async._client.client.UsageClient", client)
        bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-0123456789")

    return replying


DIGITS = "0.1234567890123456789012345678901234"
BILL = {"line_item": "a", "quantity": DIGITS, "quantity_unit": "tokens"}
DAY_OF_COSTS = ("costs", "--start", "2025-12-01", "--end", "2025-12-02")


def test_more_digits_than_a_column_has_are_refused_with_the_way_out(cli, replying, tmp_path):
    replying(one_row("costs", amount={"value": DIGITS, "currency": "usd"}, **BILL))
    for form in ("parquet", "arrow"):
        file = tmp_path / f"costs.{form}"
        ran = cli("fetch", *DAY_OF_COSTS, "-o", file)
        assert (ran.code, ran.err.count("\n"), file.exists()) == (1, 1, False)
        assert "34 decimal places, and a table has 18: --exact rounds it" in ran.err
        assert cli("fetch", *DAY_OF_COSTS, "-o", file, "--exact").code == 0
        (row,) = rows_of(file)
        assert row["amount"] == row["quantity"] == Decimal("0.123456789012345679")
        assert row["amount_exact"] == row["quantity_exact"] == DIGITS


@pytest.mark.parametrize("exact", [(), ("--exact",)])
def test_csv_has_every_digit_in_full_and_without_padding(cli, replying, tmp_path, exact):
    amounts = {"1e-7": "0.0000001", DIGITS: DIGITS, "0E-20": "0", "2.50": "2.5", "1E+3": "1000"}
    bills = [one_row("costs", amount={"value": each, "currency": "usd"}) for each in amounts]
    replying(*bills, one_row("costs", line_item=""))
    file = tmp_path / "costs.csv"
    assert cli("fetch", *DAY_OF_COSTS, "-o", file, *exact).code == 0
    rows = rows_of(file)
    assert [row["amount"] for row in rows] == [*amounts.values(), ""]
    assert not any(name.endswith("_exact") for name in rows[0])
    # Null is an empty cell, an empty text is quoted.
    assert file.read_text().splitlines()[-1].split(",")[6:8] == ['""', ""]


def test_without_pyarrow_jsonl_is_written_and_tables_say_what_to_install(
    cli, serving, monkeypatch, tmp_path
):
    server = serving(Emulator(now=lambda: NOW))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for form in TABLES:
        file = tmp_path / f"costs.{form}"
        file.write_text("old")
        ran = cli("fetch", *COSTS, "-o", file)
        expected = f"{form} needs pyarrow: pip install 'usage-async[arrow]'; jsonl does not"
        assert (ran.code, ran.err) == (2, f"usage-async: {expected}\n")
        assert file.read_text() == "old"
    assert not server.requests
    assert cli("fetch", *COSTS, "-o", tmp_path / "costs.jsonl").code == 0
    assert cli("total", *COSTS, "--format", "csv").code == 0


# Pipes and terminals


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
@pytest.mark.parametrize("form", ["jsonl", *TABLES])
def test_a_pipe_gets_what_a_file_would_hold(cli, tmp_path, form):
    asked = ("fetch", "completions", "--demo", "--period", "2026-10-05", "--width", "1h")
    pipe, file = tmp_path / f"pipe.{form}", tmp_path / f"file.{form}"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert cli(*asked, "-o", pipe).code == 0
    reader.join()
    assert cli(*asked, "-o", file).code == 0
    assert got == [file.read_bytes()]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_binary_format_is_not_written_onto_a_terminal(cli, serving, form):
    server = serving(Emulator(now=lambda: NOW))
    for output in ((), ("-o", "-")):
        ran = cli("fetch", *COSTS, "--format", form, *output, tty=True)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert f"{form} is not for a terminal: name a file with -o" in ran.err
    assert not server.requests


def test_csv_on_a_terminal_never_steers_it(cli, replying):
    replying(one_row("costs", line_item="\x1b[31mÄ"))
    ran = cli("fetch", *DAY_OF_COSTS, "--format", "csv", tty=True)
    assert ran.code == 0
    assert '"\\x1b[31mÄ"' in ran.out


def test_progress_ends_at_the_number_of_buckets(cli, monkeypatch, tmp_path):
    from contextlib import contextmanager

    shown = []

    @contextmanager
    def progress(_console, what, total, *, quiet):
        shown.append([total, 0])

        def advance(steps=1):
            shown[-1][1] += steps

        yield advance

    monkeypatch.setattr("usage_async.report.terminal.page.progress", progress)
    asked = ("fetch", "completions", "--demo", "--period", "2026-Q3", "--limit", "7")
    for form in ("jsonl", *TABLES):
        assert cli(*asked, "-o", tmp_path / f"table.{form}").code == 0
    assert shown == [[92, 92]] * 4
