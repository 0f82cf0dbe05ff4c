"""Files of FOCUS, as polars, DuckDB and pyarrow read them."""

import csv
import json
from decimal import Decimal

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from service import DAY, START, over, page
from values import one_bucket, one_row

from usage_async import ConfigurationError, QueryError, UsageError
from usage_async.emulator import demo
from usage_async.report import focus_file, write_focus
from usage_async.report.answers import Answer
from usage_async.report.focus import COLUMNS, COSTS_COLUMNS

pytestmark = pytest.mark.usefixtures("nothing_left")

BY = ["project_id", "line_item"]
DIGITS = "0.1234567890123456789012345678901234"
HOSTILE = ["=1+1", '</script>"', "a,b\nc", "😀" * 50, "\u202eabc\u2028", "-" * 200]
OF = {"organization_id": "org-1", "project_id": "proj_1", "line_item": "gpt-5, input"}


def bill(value="1.5", **fields):
    return one_row("costs", **{"amount": {"value": value, "currency": "usd"}, **OF, **fields})


def client(*days):
    """A client of a service with these rows, by day from START on."""

    async def transport(path, params, headers):
        buckets = [
            {**one_bucket(*rows), "start_time": START + n * DAY, "end_time": START + (n + 1) * DAY}
            for n, rows in enumerate(days)
            if rows is not None
        ]
        return 200, {}, page(buckets)

    return over(transport, admin_key="sk-admin-0")


def costs(of, days=1, **more):
    return of.costs(start_time=START, end_time=START + days * DAY, **{"group_by": BY, **more})


def of_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("rows", [1, 1 << 14])
async def test_every_reader_finds_the_total(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(focus_file, "_ROWS", rows)
    texts, table = tmp_path / "focus.csv", tmp_path / "FOCUS.PARQUET"
    async with demo(now=lambda: 1_795_348_800) as of:
        query = of.costs(period="2026-W41", group_by=BY)
        total = (await query.total()).amount_value
        assert await write_focus(query, texts) == await write_focus(query, str(table)) == ()
    polars, duck = pl.read_parquet(table), duckdb.read_parquet(str(table))
    read = pl.read_csv(texts, infer_schema=False)
    # Numbers are no texts in quotes, which readers would not take for numbers.
    found = duckdb.read_csv(str(texts))
    guessed = dict(zip(found.columns, found.types, strict=True))
    for name in COSTS_COLUMNS:
        assert polars[name].sum() == sum(map(Decimal, read[name])) == total
        assert duck.sum(name).fetchall() == [(total,)]
        assert guessed[name] == "DOUBLE"
    assert list(COLUMNS) == polars.columns == read.columns
    assert {str(guessed[name]) for name, kind in COLUMNS.items() if kind == "time"} <= {
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
    }
    assert polars.height == len(of_csv(texts)) > 7
    facts = pq.read_metadata(table).metadata
    assert facts[b"usage_async.notices"] == b"[]"
    assert b"line_item" in facts[b"usage_async.query"]


async def test_both_files_say_the_same(tmp_path):
    rows = [bill(line_item=name, project_name=name, quantity=3) for name in HOSTILE]
    async with client([*rows, bill("-2", quantity="0.5", quantity_unit="tokens")], [], []) as of:
        for name in ("focus.csv", "focus.parquet"):
            await write_focus(costs(of, 3), tmp_path / name)
    table = pq.read_table(tmp_path / "focus.parquet").to_pylist()
    assert len(table) == len(HOSTILE) + 1
    for row, texts in zip(table, of_csv(tmp_path / "focus.csv"), strict=True):
        for name, kind in COLUMNS.items():
            value, text = row[name], texts[name]
            if value is None:
                assert text == ""
            elif kind == "time":
                assert text == f"{value:%Y-%m-%dT%H:%M:%SZ}"
            else:
                assert text == value if kind == "text" else Decimal(text) == value
    # Exact for programs: a name is as it is, whatever a spreadsheet would make of it.
    assert {row["x_LineItem"] for row in table} >= set(HOSTILE)


async def test_a_19th_decimal_place_is_an_error_in_parquet_or_kept_as_text(tmp_path):
    more = {"quantity": "1." + "0" * 17 + "1", "quantity_unit": "tokens"}
    file, texts = tmp_path / "focus.parquet", tmp_path / "focus.csv"
    file.write_bytes(b"old")
    async with client([bill(DIGITS, **more), bill(line_item="b")]) as of:
        with pytest.raises(UsageError, match=r"BilledCost .* has 34 decimal places, .* exact=True"):
            await write_focus(costs(of), file)
        assert file.read_bytes() == b"old"
        await write_focus(costs(of), texts, exact=True)
        await write_focus(costs(of), file, exact=True)
    assert of_csv(texts)[1]["BilledCost"] == DIGITS
    other, row = pq.read_table(file).to_pylist()
    assert {row[name] for name in COSTS_COLUMNS} == {Decimal("0.123456789012345679")}
    assert row["x_BilledCostExact"] == DIGITS
    assert row["x_ConsumedQuantityExact"] == more["quantity"]
    assert row["x_PricingQuantityExact"] == "0.000001" + "0" * 17 + "1"
    assert (other["x_BilledCostExact"], other["x_PricingQuantityExact"]) == ("1.5", None)


@pytest.mark.parametrize("exact", [False, True])
async def test_more_digits_than_a_column_has_are_an_error(tmp_path, exact):
    async with client([bill("123456789012345678901")]) as of:
        with pytest.raises(UsageError, match="more than 20 digits before the point"):
            await write_focus(costs(of), tmp_path / "focus.parquet", exact=exact)
        await write_focus(costs(of), tmp_path / "focus.csv", exact=exact)
    assert [path.name for path in tmp_path.iterdir()] == ["focus.csv"]
    assert of_csv(tmp_path / "focus.csv")[0]["ListCost"] == "123456789012345678901"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
async def test_what_is_missing_is_told(tmp_path, caplog, ending):
    file = tmp_path / f"focus.{ending}"
    free = one_row("costs", **{**OF, "line_item": "free"})
    async with client([bill(), free, bill(organization_id=None)], None, []) as of:
        notices = await write_focus(costs(of, 3), file)
    assert [notice.code for notice in notices] == ["missing-bucket", "left-out"]
    assert notices[1].endpoint == "costs"
    assert "costs: 1 row without an amount left out" in caplog.text
    if ending == "parquet":
        told = json.loads(pq.read_metadata(file).metadata[b"usage_async.notices"])
        assert [each["code"] for each in told] == ["missing-bucket", "left-out"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
async def test_where_nothing_was_billed_there_are_no_rows(tmp_path, ending):
    file = tmp_path / f"focus.{ending}"
    for days in ([], [[]]):
        async with client(*days) as of:
            await write_focus(costs(of), file)
        read = pl.read_csv(file) if ending == "csv" else pl.read_parquet(file)
        assert (read.height, read.columns) == (0, list(COLUMNS))


async def test_another_query_or_ending_is_refused_before_any_request(tmp_path):
    async def transport(*_):
        raise AssertionError

    async with over(transport, admin_key="sk-admin-0") as of:
        with pytest.raises(QueryError, match=r"files of FOCUS end with .csv or .parquet"):
            await write_focus(costs(of), tmp_path / "focus.json")
        for query in (costs(of, group_by=["project_id"]), of.completions(period="2025-10")):
            with pytest.raises(QueryError, match="FOCUS takes costs by project and line item"):
                await write_focus(query, tmp_path / "focus.csv")
    assert not list(tmp_path.iterdir())


async def test_without_pyarrow_csv_is_written_and_parquet_says_what_to_install(
    tmp_path, monkeypatch
):
    def missing():
        raise ConfigurationError("tables need pyarrow: pip install 'usage-async[arrow]'")

    monkeypatch.setattr("usage_async._codec.plain_columns.pyarrow", missing)
    async with client([bill()]) as of:
        with pytest.raises(ConfigurationError, match="pip install"):
            await write_focus(costs(of), tmp_path / "focus.parquet")
        await write_focus(costs(of), tmp_path / "focus.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["focus.csv"]


async def test_a_file_of_several_that_cannot_be_begun_is_the_fault_of_no_organization():
    async def answers():
        yield Answer(name="acme")

    async def write(*_):
        raise ConfigurationError("no pyarrow")

    with pytest.raises(ConfigurationError, match=r"^no pyarrow$"):
        await focus_file.write_charged(write, answers(), object)
