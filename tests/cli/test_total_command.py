import csv
import io
import json
import re
from decimal import Decimal

import pytest

from usage_async import UsageEmbeddingsResult
from usage_async._api.fields import fields_of
from usage_async.emulator import Emulator, Quirks

from .conftest import NOW


@pytest.mark.parametrize("columns", [60, 80, 160])
@pytest.mark.parametrize(
    "asked",
    [
        ["costs", "--by", "project_id"],
        ["costs", "--by", "user_id,line_item"],
        ["completions", "--by", "model", "project_id"],
        ["vector_stores", "--by", "project_id"],
        ["completions"],
        ["audio_speeches", "--by", "model,user", "--by", "user_id"],
    ],
    ids=" ".join,
)
def test_a_table_fits_its_terminal(cli, asked, columns):
    ran = cli("total", *asked, "--demo", "--period", "2026-10", columns=columns, tty=True)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= columns


_DIMENSIONS = "project_id,user_id,line_item"


@pytest.mark.parametrize("columns", [40, 60, 80, 160])
def test_rows_of_several_dimensions_can_be_told_apart(cli, columns):
    asked = ("total", "costs", "--demo", "--period", "2026-10", "--by", _DIMENSIONS)
    keys = json.loads(cli(*asked, "--format", "json").out)["groups"]
    shown = cli(*asked, columns=columns, tty=True).out
    assert max(map(len, shown.splitlines())) <= columns
    table = shown.partition("\nBy ")[2].partition("amount\n")[2]
    # A wrapped row has its figure in its first line; where names stand above, in its last.
    ends = r"(?m)^ *\$[\d.,]+ *$" if columns < 60 else r"(?m)^(?=.*\$[\d.,]+ *$)"
    rows = [" ".join(row.split()) for row in re.split(ends, table)]
    assert len(set(rows) - {""}) == len(keys)


def test_a_pipe_gets_every_dimension_whole(cli):
    asked = ("total", "costs", "--demo", "--period", "2026-10", "--by", _DIMENSIONS)
    groups = json.loads(cli(*asked, "--format", "json").out)["groups"]
    lines = cli(*asked).out.splitlines()
    for group in groups:
        parts = [group.get("project_id"), group.get("user_id"), group.get("line_item")]
        assert any(all((part or "(none)") in line for part in parts) for line in lines)
    assert "…" not in "".join(lines)


def test_groups_are_the_total_exactly(cli):
    out = cli(
        "total", "costs", "--demo", "--period", "2026-10", "--by", "user_id", "--format", "json"
    )
    value = json.loads(out.out)
    total = Decimal(value["totals"][0]["amount"]["value"])
    assert sum(Decimal(row["amount"]["value"]) for row in value["groups"]) == total
    assert value["group_by"] == ["user_id"]


def test_csv_has_the_groups_or_the_total(cli):
    asked = ["--demo", "--period", "2026-10", "--format", "csv"]
    by = list(csv.DictReader(io.StringIO(cli("total", "costs", *asked, "--by", "project_id").out)))
    (whole,) = csv.DictReader(io.StringIO(cli("total", "costs", *asked).out))
    assert sum(Decimal(row["amount"]) for row in by) == Decimal(whole["amount"])
    money = {"amount", "quantity", "quantity_unit", "currency"}
    assert by[0].keys() == {"project_id", "project_name", *money}
    (tokens,) = csv.DictReader(io.StringIO(cli("total", "embeddings", *asked).out))
    flows = [a.name for a in fields_of(UsageEmbeddingsResult) if a.metadata["kind"] == "flow"]
    assert set(tokens) == set(flows)


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_a_file_is_what_its_name_says(cli, tmp_path, ending):
    asked = ("total", "costs", "--demo", "--period", "2026-10", "--by", "project")
    file = tmp_path / f"total.{ending}"
    assert cli(*asked, "-o", file).out == ""
    assert file.read_text() == cli(*asked, "--format", ending).out


@pytest.fixture
def teams(monkeypatch):
    """A service that groups by a dimension that nobody knows."""
    from usage_async._http.transport import AiohttpTransport

    async def reply(_self, _path, params, _headers):
        start, end = (int(dict(params)[name]) for name in ("start_time", "end_time"))
        assert ("group_by", "team") in params
        rows = [
            {
                "object": "organization.costs.result",
                "amount": {"value": 1.5, "currency": "usd"},
                "team": team,
            }
            for team in ("red", "blue, dark", None)
        ]
        buckets = [{"object": "bucket", "start_time": start, "end_time": end, "results": rows}]
        page = {"object": "page", "data": buckets, "has_more": False, "next_page": None}
        return 200, {}, json.dumps(page).encode()

    monkeypatch.setattr(AiohttpTransport, "__call__", reply)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-0123456789")


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_dimension_newer_than_this_program_tells_groups_apart(cli, teams, form):
    asked = ["--period", "2026-10-05", "--set", "group_by=team", "--by", "team"]
    ran = cli("total", "costs", *asked, "--format", form)
    assert ran.code == 0
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(ran.out)))
        assert {row["team"]: row["amount"] for row in rows} == {
            "red": "1.5",
            "blue, dark": "1.5",
            "": "1.5",
        }
    else:
        assert "blue, dark" in ran.out


def test_what_is_printed_is_what_the_figures_cover(cli):
    inside = ["--start", "2026-10-05T12:00Z", "--end", "2026-10-05T12:00:01Z"]
    ran = cli("total", "costs", "--demo", *inside)
    assert ran.code == 0
    assert "\n2026-10-05 00:00 to 2026-10-06 00:00 UTC\n" in ran.out
    assert "start_time" in ran.err
    assert "end_time" in ran.err
    value = json.loads(cli("total", "costs", "--demo", *inside, "--format", "json").out)
    assert value["requested"] == {"start_time": 1_791_201_600, "end_time": 1_791_201_601}
    assert value["covered"] == {"start_time": 1_791_158_400, "end_time": 1_791_244_800}


def test_what_still_runs_is_told(cli):
    out = cli("total", "costs", "--demo", "--period", "today").out
    assert "\n2026-11-22 00:00 to 2026-11-23 00:00 UTC  (still running)\n" in out


def test_where_no_bucket_came_nothing_is_covered(cli, monkeypatch):
    from usage_async._http.transport import AiohttpTransport

    async def reply(*_):
        page = {"object": "page", "data": [], "has_more": False, "next_page": None}
        return 200, {}, json.dumps(page).encode()

    monkeypatch.setattr(AiohttpTransport, "__call__", reply)
    asked = ("total", "costs", "--demo", "--period", "2026-10-05")
    assert "2026-10-06 00:00 UTC  nothing was sent\n" in cli(*asked).out
    assert json.loads(cli(*asked, "--format", "json").out)["covered"] is None


def test_nothing_is_zero(cli):
    ran = cli("total", "costs", "--demo", "--period", "2026-10", "--project-ids", "proj_none")
    assert ran.code == 0
    assert "amount" not in ran.out


def test_rows_without_a_known_sum_are_an_error(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(other_kinds=True)))
    ran = cli("total", "costs", "--period", "2026-10")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1


def test_what_each_endpoint_takes_and_gives_is_shown(cli):
    ran = cli("endpoints", columns=60)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 60
    assert "/organization/usage/completions" in ran.out
    assert "num_model_requests" in ran.out


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_sums_that_may_be_revised_are_told_in_every_form(cli, form):
    out = cli("total", "costs", "--demo", "--period", "7d", "--format", form)
    assert out.err.count("costs: figures from 2026-11-19T00:00:00Z on may still be revised") == 1
    if form == "json":
        assert "may still be revised" in " ".join(json.loads(out.out)["notices"])


@pytest.mark.parametrize("command", [("report",), ("total", "costs", "--period", "7d")])
def test_a_text_is_never_written_into_a_file_that_readers_take_for_a_table(cli, tmp_path, command):
    for name in ("q3.parquet", "q3.arrow"):
        ran = cli(*command, "--demo", "--format", "csv", "-o", tmp_path / name)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "files cannot be written; known endings are .json, .csv" in ran.err
    assert not list(tmp_path.iterdir())
