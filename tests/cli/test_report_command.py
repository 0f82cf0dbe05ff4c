import csv
import io
import json
import re
from decimal import Decimal

import attrs
import pytest

from usage_async.emulator import Emulator, Faults, Quirks
from usage_async.emulator.organization import organization as dataset
from usage_async.report.insight import total

NOW = 1_795_348_800  # as in conftest.py


@pytest.mark.parametrize("by", ["project", "user", "api-key", "line-item", "model"])
@pytest.mark.parametrize("columns", [60, 80, 160])
def test_a_report_fits_the_terminal_whatever_it_is_split_by(cli, by, columns):
    ran = cli("report", "--demo", "--by", by, columns=columns, tty=True)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= columns
    assert "2026-10-01 to 2026-11-01 UTC" in ran.out
    assert "Total spend" in ran.out
    assert "Spend by " in ran.out
    assert "requests in " in ran.out


def test_no_colour_code_goes_into_a_pipe(cli):
    assert "\x1b" not in cli("report", "--demo").out


def test_a_split_by_model_says_that_it_is_derived_and_names_what_has_no_model(cli):
    out = cli("report", "--demo", "--by", "model", "--top", "0").out
    assert "derived from line items" in out
    assert "no model in" not in out
    assert "file search storage" in out


def test_without_a_key_one_line_says_what_to_set_and_that_there_is_a_demo(cli):
    ran = cli("report")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "OPENAI_ADMIN_KEY" in ran.err
    assert "--demo" in ran.err


@pytest.mark.parametrize(
    ("arguments", "period"),
    [
        (["--period", "2026-09"], "2026-09-01 to 2026-10-01 UTC"),
        (["--period", "this-month"], "2026-11-01 to 2026-11-22 12:00 UTC (still running)"),
        (["--period", "30d"], "2026-10-23 to 2026-11-22 12:00 UTC (still running)"),
        (["--start", "2026-10-05", "--end", "2026-10-07"], "2026-10-05 to 2026-10-07 UTC"),
        (["--start", "2026-11-20"], "2026-11-20 to 2026-11-22 12:00 UTC (still running)"),
    ],
)
def test_the_period_is_as_asked_for(cli, arguments, period):
    assert period in cli("report", "--demo", *arguments).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--period", "2026-09", "--start", "3d"], "period gives both ends"),
        (["--period", "2026-09", "--end", "3d"], "period gives both ends"),
        (["--month", "2026-09"], "--month"),
        (["--days", "3"], "--days"),
        (["--top", "-1"], "at least 0"),
        (["--end", "2026-10-01"], "--end needs --start"),
        (["--period", "yesteryear"], 'period takes "2026-10"'),
        (["--start", "2027-01-01"], "is in the future"),
        (["--by", "planet"], "planet"),
        (["--byy", "project"], "--by"),
        (["--base-url", "https://example.com"], "leave --base-url"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_code_2(cli, arguments, says):
    ran = cli("report", "--demo", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err


def test_json_and_csv_are_for_programs(cli):
    value = json.loads(cli("report", "--demo", "--compare", "--format", "json").out)
    assert value["by"] == "project_id"
    assert value["compared_with"]["end_time"] == value["start_time"]
    rows = list(csv.DictReader(io.StringIO(cli("report", "--demo", "--format", "csv").out)))
    assert {row["name"] for row in rows} >= {"Web app", "Research"}
    (spend,) = value["spend"]
    assert total(Decimal(row["amount"]) for row in rows) == Decimal(spend["amount"])


@pytest.mark.parametrize("by", ["project", "user", "api-key", "line-item", "model"])
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_comparison_fits_its_terminal(cli, by, columns):
    asked = ("report", "--demo", "--period", "this-month", "--compare", "--by", by, "--top", "3")
    ran = cli(*asked, columns=columns, tty=True)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= columns
    assert "against 2026-10-01 to 2026-10-23" in " ".join(ran.out.split())
    assert "Top movers" in ran.out
    assert "Month's end  about $" in ran.out


def test_a_clamped_grouping_says_so_and_still_adds_up(cli):
    out = cli("report", "--demo", "--by", "api-key", "--period", "2025-12").out
    assert "Notices" in out
    assert "2025-12-06" in out
    assert "(not attributed)" in out


def test_a_period_before_the_history_is_an_error_with_a_hint(cli):
    ran = cli("report", "--demo", "--period", "2025-10")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert "begin at 2025-11-22 or later" in ran.err


def test_a_comparison_that_goes_back_too_far_is_blank_with_its_reason(cli):
    ran = cli("report", "--demo", "--period", "2025-12", "--compare")
    assert ran.code == 0
    assert "The period before\nrefused: " in ran.out
    assert "against" not in ran.out


def test_nothing_at_all_hints_at_another_organization(cli, monkeypatch):
    from usage_async._http.transport import AiohttpTransport

    async def reply(_self, _path, params, _headers):
        start, end = (int(dict(params)[name]) for name in ("start_time", "end_time"))
        buckets = [
            {"object": "bucket", "start_time": at, "end_time": at + 86400, "results": []}
            for at in range(start, end, 86400)
        ]
        page = {"object": "page", "data": buckets, "has_more": False, "next_page": None}
        return 200, {}, json.dumps(page).encode()

    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-ordinary")
    monkeypatch.setattr(AiohttpTransport, "__call__", reply)
    out = cli("report").out
    assert "nothing was billed" in out
    assert "another organization" in out
    assert "does not start with sk-admin-" in out


def _answering(monkeypatch, status, body, *, to):
    """Let the service answer so to requests whose path, or path and grouping, holds a text."""
    from usage_async._http.transport import AiohttpTransport

    ask = AiohttpTransport.__call__

    async def reply(self, path, params, headers):
        if re.search(to, f"{path}?{dict(params).get('group_by', '')}"):
            return status, {}, body
        return await ask(self, path, params, headers)

    monkeypatch.setattr(AiohttpTransport, "__call__", reply)


_DENIED = b'{"error": {"message": "You may not read costs"}}'


@pytest.mark.parametrize("status", [403, 404, 500, 429])
@pytest.mark.parametrize("compare", [[], ["--compare"]])
def test_spend_that_could_not_be_read_is_unknown_and_not_nothing(cli, monkeypatch, status, compare):
    _answering(monkeypatch, status, _DENIED, to="costs")
    verdict = "refused" if status in (403, 404) else "failed"
    ran = cli("report", "--demo", *compare)
    assert ran.code == 1
    assert f"spend unknown: {verdict}: {status}" in ran.out
    assert "nothing was" not in ran.out
    assert "completions" in ran.out
    ran = cli("report", "--demo", *compare, "--format", "json")
    value = json.loads(ran.out)
    assert (ran.code, value["spend"]) == (1, None)
    assert value[verdict][0]["section"] == "spend"
    assert "You may not read costs" in value[verdict][0]["reason"]
    assert value["tokens"]
    ran = cli("report", "--demo", *compare, "--format", "csv")
    assert ran.code == 1
    assert f"note: spend: {verdict}: {status}" in ran.err


def test_spend_of_the_groups_alone_is_no_total(cli, monkeypatch):
    _answering(monkeypatch, 500, b"", to=r"costs\?$")
    ran = cli("report", "--demo", "--compare")
    assert ran.code == 1
    assert "spend unknown: failed: 500" in ran.out
    assert "Spend by" not in ran.out


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_an_endpoint_that_fails_leaves_its_section_blank_and_the_code_is_1(cli, monkeypatch, form):
    _answering(monkeypatch, 503, b'{"error": {"message": "Down"}}', to="embeddings")
    ran = cli("report", "--demo", "--format", form, columns=200)
    assert ran.code == 1
    shown = ran.err if form == "csv" else ran.out
    assert "503: Down" in shown
    if form == "text":
        assert "$5,597.60" in shown
        assert "Tokens and requests by project  without embeddings" in shown
        assert "per 1k" not in shown
    if form == "json":
        value = json.loads(ran.out)
        assert [each["section"] for each in value["failed"]] == ["embeddings"]
        assert value["spend"][0]["groups"][0]["num_model_requests"] is None


def test_an_endpoint_that_is_refused_for_good_may_be_absent(cli, monkeypatch):
    _answering(monkeypatch, 404, b"{}", to="images")
    ran = cli("report", "--demo")
    assert ran.code == 0
    assert "refused: 404" in ran.out


def test_where_nothing_can_be_read_there_is_one_line(cli, monkeypatch):
    _answering(monkeypatch, 503, b"", to="organization")
    ran = cli("report", "--demo")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1


def test_names_never_steer_the_terminal(cli, monkeypatch):
    evil = "[red]x[/red]\x1b[31m=1+1\u202e,\n"
    made = dataset.make_members

    def make_members(seed):
        projects, *others = made(seed)
        return tuple(attrs.evolve(project, name=evil) for project in projects), *others

    monkeypatch.setattr(dataset, "make_members", make_members)
    for columns in (60, 200):
        ran = cli("report", "--demo", columns=columns)
        assert ran.code == 0
        assert "\x1b" not in ran.out
        assert "\u202e" not in ran.out
    assert "[red]x[/red]\\x1b[31m=1+1\\u202e,\\n" in ran.out


def test_csv_tells_on_the_side_what_was_refused_and_what_was_odd(cli, serving):
    serving(Emulator(now=lambda: NOW, faults=Faults(script=("not_found",))))
    ran = cli("report", "--period", "2026-10", "--format", "csv")
    assert ran.code == 1
    assert re.search(r"(?m)^usage-async: note: spend: refused: 404: ", ran.err)
    serving(Emulator(now=lambda: NOW, quirks=Quirks(unknown_fields=True)))
    ran = cli("report", "--period", "2026-10", "--format", "csv")
    assert "usage-async: note: " in ran.err


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_figures_that_may_be_revised_are_told_in_every_form(cli, form):
    out = cli("report", "--demo", "--period", "this-month", "--format", form)
    said = out.err if form == "csv" else out.out
    assert said.count("may still be revised") == 1
    assert "lies inside the bucket" not in out.out + out.err
