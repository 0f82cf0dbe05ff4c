"""`usage-async total costs --focus`: charges in the columns of FOCUS."""

import csv
import io
import json
import sys
from decimal import Decimal

import polars as pl
import pytest

from usage_async.emulator import Emulator, Organization, Quirks
from usage_async.report.focus import COLUMNS

from .conftest import NOW

WEEK = ("costs", "--demo", "--period", "2026-W41")
FOCUS = ("total", *WEEK, "--focus")


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_file_holds_the_total_and_what_a_pipe_gets(cli, tmp_path):
    total = json.loads(cli("total", *WEEK, "--format", "json").out)["totals"][0]["amount"]
    piped = cli(*FOCUS)
    assert (piped.code, piped.err) == (0, "")
    rows = read(piped.out)
    assert list(rows[0]) == list(COLUMNS)
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(total["value"])
    texts, table = tmp_path / "focus.csv", tmp_path / "focus.parquet"
    for file in (texts, table):
        ran = cli(*FOCUS, "-o", file)
        assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert texts.read_text() == piped.out
    assert pl.read_parquet(table)["BilledCost"].sum() == Decimal(total["value"])


def test_the_grouping_is_set_and_by_adds_to_it(cli):
    plain = read(cli(*FOCUS).out)
    users = read(cli(*FOCUS, "--by", "user,line-item").out)
    assert {row["x_UserId"] for row in plain} == {""}
    assert len({row["x_UserId"] for row in users}) > 2
    assert len(users) > len(plain)
    assert sum(Decimal(row["BilledCost"]) for row in users) == sum(
        Decimal(row["BilledCost"]) for row in plain
    )


def test_unsettled_and_missing_days_are_told(cli, serving):
    ran = cli("total", "costs", "--demo", "--period", "5d", "--focus")
    assert ran.code == 0
    assert ran.err.count("costs: figures from 2026-11-19T00:00:00Z on may still be revised") == 1
    settled = {row["ChargePeriodStart"]: row["x_SettledAt"] for row in read(ran.out)}
    assert settled["2026-11-18T00:00:00Z"] == "2026-11-22T00:00:00Z"
    assert settled["2026-11-19T00:00:00Z"] == ""
    serving(Emulator(Organization(), now=lambda: NOW, quirks=Quirks(missing_buckets=1)))
    ran = cli("total", "costs", "--period", "2026-10-05", "--focus")
    assert (ran.code, read(ran.out)) == (1, [])
    assert "costs" in ran.err


def test_rows_without_a_known_sum_are_an_error_and_leave_the_old_file(cli, serving, tmp_path):
    serving(Emulator(Organization(), now=lambda: NOW, quirks=Quirks(other_kinds=True)))
    file = tmp_path / "focus.csv"
    file.write_text("old")
    ran = cli("total", "costs", "--period", "2026-10", "--focus", "-o", file)
    assert (ran.code, ran.err.count("\n"), file.read_text()) == (1, 1, "old")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("costs", "--focus", "--format", "json"), "--focus writes csv or parquet, not json"),
        (("costs", "--focus", "-o", "focus.json"), "known endings are .csv, .parquet"),
        (("costs", "--focus", "-o", "f.parquet", "--format", "csv"), "change one of them"),
        (("costs", "--focus", "--set", "group_by=team"), "FOCUS has no column for team"),
        (("costs", "--exact"), "--exact is about --focus"),
        (("completions", "--focus"), "Unknown option: --focus"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_code_2(cli, bare, tmp_path, arguments, says):
    bare.chdir(tmp_path)
    endpoint, *more = arguments
    ran = cli("total", endpoint, "--demo", "--period", "2026-10-05", *more)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert says in ran.err
    assert not list(tmp_path.iterdir())


def test_a_19th_decimal_place_names_the_option(cli, bare, tmp_path):
    from usage_async._http.transport import AiohttpTransport

    async def reply(_self, _path, params, _headers):
        start, end = (int(dict(params)[name]) for name in ("start_time", "end_time"))
        amount = {"value": "0.1234567890123456789", "currency": "usd"}
        row = {"object": "organization.costs.result", "amount": amount, "line_item": "a"}
        bucket = {"object": "bucket", "start_time": start, "end_time": end, "results": [row]}
        page = {"object": "page", "data": [bucket], "has_more": False, "next_page": None}
        return 200, {}, json.dumps(page).encode()

    bare.setattr(AiohttpTransport, "__call__", reply)
    bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-0123456789")
    file = tmp_path / "focus.parquet"
    asked = ("total", "costs", "--period", "2026-10-05", "--focus", "-o", file)
    ran = cli(*asked)
    assert (ran.code, ran.err.count("\n"), file.exists()) == (1, 1, False)
    assert "--exact rounds it" in ran.err
    ran = cli(*asked, "--exact")
    assert ran.code == 0
    assert "1 row without an organization id: BillingAccountId is null there" in ran.err
    assert pl.read_parquet(file)["x_BilledCostExact"].to_list() == ["0.1234567890123456789"]


def test_without_pyarrow_parquet_says_what_to_install_before_any_request(
    cli, serving, bare, tmp_path
):
    from usage_async._codec.schemas import pyarrow

    server = serving(Emulator(Organization(), now=lambda: NOW))
    pyarrow.cache_clear()
    bare.setitem(sys.modules, "pyarrow", None)
    file = tmp_path / "focus.parquet"
    ran = cli("total", "costs", "--period", "2026-10-05", "--focus", "-o", file)
    assert (ran.code, ran.err.count("\n"), file.exists()) == (2, 1, False)
    assert "pip install 'usage-async[arrow]'" in ran.err
    assert not server.requests
    texts = tmp_path / "focus.csv"
    assert cli("total", "costs", "--period", "2026-10-05", "--focus", "-o", texts).code == 0
