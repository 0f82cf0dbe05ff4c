import csv
import io
import json
import re
from decimal import Decimal

import attrs
import pytest
from rich.console import Console

from usage_async.emulator import Emulator, Faults, Quirks
from usage_async.emulator.organization import organization
from usage_async.report.amounts import total

from .conftest import NOW


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


@pytest.mark.parametrize(("by", "columns"), [("project,model", 60), ("api-key,line-item", 160)])
def test_a_report_by_two_dimensions_fits_the_terminal(cli, by, columns):
    ran = cli("report", "--demo", "--compare", "--by", by, columns=columns, tty=True)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= columns
    assert (
        f"Spend by {by.replace(',', ' and ').replace('api-key', 'API key').replace('-', ' ')}"
        in (ran.out)
    )
    assert " / " in ran.out.partition("Top movers\n")[2].partition("\n")[0]


def test_pairs_that_the_service_refuses_are_a_section_that_says_so_and_the_code_is_1(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(refuse_user_by_project=True)))
    ran = cli("report", "--by", "user,project", "--period", "2026-10-05")
    assert ran.code == 1
    assert "Spend by user and project\nrefused: 400: Grouping costs by user_id" in ran.out
    assert "Total spend  $" in ran.out
    assert "Tokens and requests by user and project" in ran.out


def test_no_colour_code_goes_into_a_pipe(cli):
    assert "\x1b" not in cli("report", "--demo").out


def test_a_split_by_model_says_that_it_is_derived_and_names_what_has_no_model(cli):
    out = cli("report", "--demo", "--by", "model", "--top", "0").out
    assert "derived from line items; one without a model is shown as it is" in " ".join(out.split())
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
        (["--top", "-1"], "0 or more"),
        (["--end", "2026-10-01"], "--end needs --start"),
        (["--period", "yesteryear"], 'period takes "2026-10"'),
        (["--start", "2027-01-01"], "is in the future"),
        (["--by", "planet"], "--by takes one or two of project, user, api-key, line-item, model"),
        (["--by", "project,planet"], "one or two of project, user, api-key, line-item, model; not"),
        (["--by", "project,model,user"], "not 3 of them"),
        (["--by", "project,project_id"], "project stands there twice"),
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


@pytest.mark.parametrize("name", ["october.json", "OCTOBER.CSV", "october.txt --format csv"])
def test_a_file_holds_what_a_pipe_would_get(cli, tmp_path, name):
    name, *given = name.split()
    form = given[1] if given else name.rpartition(".")[2].lower()
    ran = cli("report", "--demo", "-o", tmp_path / name, *given)
    assert (ran.code, ran.out) == (0, "")
    piped = cli("report", "--demo", "--format", form)
    assert (tmp_path / name).read_text() == piped.out


@pytest.mark.parametrize("name", ["october", "october.txt --format text", "october --format text"])
def test_text_goes_to_the_terminal_only(cli, tmp_path, name):
    name, *given = name.split()
    ran = cli("report", "--demo", "-o", tmp_path / name, *given)
    assert (ran.code, ran.out, list(tmp_path.iterdir())) == (2, "", [])
    assert ran.err.endswith(
        "text is drawn on the terminal only; for a file add --format json or csv or xlsx or html\n"
    )
    assert cli("report", "--demo", "-o", "-").out.startswith("Example Labs")


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


_FLOOR = ("report", "--demo", "--by", "api-key", "--period", "2025-12")


def test_groups_that_begin_later_are_told_and_have_no_rate(cli):
    out = cli(*_FLOOR, columns=100).out
    assert "Spend by API key  known from 2025-12-06\n" in out
    assert "spend by API key: known from 2025-12-06; spend before that day is not attributed" in out
    assert "(not attributed)" in out
    assert "per 1k" not in out
    assert "nothing before it was read" not in out


def test_amounts_and_requests_of_different_days_are_never_paired(cli):
    value = json.loads(cli(*_FLOOR, "--format", "json").out)
    (spend,) = value["spend"]
    assert value["groups_from"] == 1_764_979_200
    assert {group["num_model_requests"] for group in spend["groups"]} == {None}
    assert total(Decimal(group["amount"]) for group in spend["groups"]) == Decimal(spend["amount"])
    ran = cli(*_FLOOR, "--format", "csv")
    assert "known from 2025-12-06" in ran.err
    assert not [
        row for row in csv.DictReader(io.StringIO(ran.out)) if row["amount"] and row["requests"]
    ]


def test_groups_of_a_period_before_their_floor_are_blank_and_the_code_is_1(cli):
    ran = cli("report", "--demo", "--by", "api-key", "--start", "2025-11-25", "--end", "2025-12-01")
    assert ran.code == 1
    assert "Spend by API key\nrefused: 400" in ran.out
    assert "Total spend  $" in ran.out


_MONDAY, _SUNDAY = 1_791_158_400, 1_791_072_000  # 2026-10-05, 2026-10-04


@pytest.fixture
def lossy(serving):
    """A service that leaves two days of October out."""

    def start(missing_in="all", starts=(_SUNDAY, _MONDAY)):
        quirks = Quirks(missing_starts=starts, missing_in=missing_in)
        serving(Emulator(now=lambda: NOW, quirks=quirks))

    return start


@pytest.mark.parametrize("compare", [[], ["--compare"]])
def test_days_that_were_not_sent_are_unknown_and_not_zero(cli, lossy, compare):
    lossy()
    ran = cli("report", "--period", "2026-10", *compare, columns=200)
    assert ran.code == 1
    assert "incomplete: 2 days were not sent" in ran.out
    assert "spend: 2 days were not sent, the first is 2026-10-04" in ran.out
    assert "not attributed" not in ran.out
    assert "2 days were not sent, the first is 2026-10-04; their figures lack" in ran.out
    assert "buckets were not sent" not in ran.out
    assert "2026-10-04  $0.00: unusual" not in ran.out
    assert "2026-10-05  $0.00: unusual" not in ran.out
    assert "against" not in ran.out
    assert ("nothing is compared" in ran.out) is bool(compare)
    ran = cli("report", "--period", "2026-10", *compare, "--format", "json")
    value = json.loads(ran.out)
    (spend,) = value["spend"]
    assert ran.code == 1
    assert {day["date"] for day in spend["days"] if day["amount"] is None} == {
        "2026-10-04",
        "2026-10-05",
    }
    assert not {"2026-10-04", "2026-10-05"} & set(spend["unusual_days"])
    missing = {each["section"]: each["days"] for each in value["missing"]}
    assert missing["spend"] == missing["completions"] == ["2026-10-04", "2026-10-05"]
    assert spend["amount_before"] is None


def test_with_a_gap_in_the_period_before_nothing_is_compared(cli, lossy):
    lossy()
    ran = cli("report", "--period", "this-month", "--compare", columns=200)
    assert ran.code == 1
    assert "the period before: 2 days were not sent, the first is 2026-10-04" in ran.out
    assert "nothing is compared" in ran.out
    assert "compared with a whole day" not in ran.out
    assert "against" not in ran.out


def test_a_day_that_was_not_sent_is_a_gap(cli, lossy, monkeypatch):
    lossy()
    days = cli("report", "--period", "2026-10").out.partition("\n2026-10  ")[2]
    assert (days[2] != " ", days[3:5], days[5] != " ") == (True, "  ", True)
    monkeypatch.setattr(Console, "encoding", "ascii")
    days = cli("report", "--period", "2026-10").out.partition("\n2026-10  ")[2]
    assert (days[2] != "?", days[3:5], days[5] != "?") == (True, "??", True)


@pytest.mark.parametrize(
    ("missing_in", "told"),
    [
        ("ungrouped", "the total is incomplete, and every group lacks these days"),
        ("grouped", "the spend of these days is not attributed"),
    ],
)
def test_what_is_not_attributed_is_never_negative(cli, lossy, missing_in, told):
    lossy(missing_in, (_MONDAY,))
    ran = cli("report", "--period", "2026-10", "--format", "json")
    value = json.loads(ran.out)
    (spend,) = value["spend"]
    assert ran.code == 1
    assert told in " ".join(value["notices"])
    amounts = [Decimal(group["amount"]) for group in spend["groups"]]
    assert min(amounts) > 0
    assert total(amounts) == Decimal(spend["amount"])
    # Usage is grouped as well, so it lacks the days that grouped costs lack.
    rated = any(group["num_model_requests"] for group in spend["groups"])
    assert rated is (missing_in == "grouped")


def test_a_projection_is_without_the_days_that_were_not_sent(cli, lossy):
    lossy(starts=(1_795_132_800,))  # 2026-11-20
    out = cli("report", "--period", "this-month").out
    assert "a day: 10 days at the mean" in out
    lossy(starts=())
    assert "a day: 9 days at the mean" in cli("report", "--period", "this-month").out


def test_where_no_day_was_sent_nothing_is_drawn(cli, lossy):
    lossy(starts=(_MONDAY,))
    ran = cli("report", "--period", "2026-10-05", "--compare")
    assert ran.code == 1
    assert "Total spend unknown: failed: no day was sent" in ran.out
    assert "Day by day" not in ran.out
    assert "check that the key" not in ran.out
    assert " 0 input tokens" not in ran.out
    ran = cli("report", "--period", "2026-10-05", "--format", "json")
    assert (ran.code, json.loads(ran.out)["spend"]) == (1, None)


def test_a_running_day_that_was_not_sent_is_no_failure(cli, lossy):
    lossy(starts=(1_795_305_600,))
    ran = cli("report", "--period", "today", "--compare")
    assert ran.code == 0
    assert "Day by day" not in ran.out


@pytest.mark.parametrize("command", ["total costs", "fetch costs"])
def test_buckets_that_were_not_sent_make_the_code_1(cli, lossy, command):
    lossy()
    ran = cli(*command.split(), "--period", "2026-10")
    assert ran.code == 1
    assert "2 buckets were not sent, the first starts at 2026-10-04" in ran.err
    assert cli(*command.split(), "--period", "2026-09").code == 0


@pytest.mark.parametrize(
    ("now", "head", "runs"),
    [
        (1_795_305_600, "2026-11-21 to 2026-11-22 UTC\n", False),
        (1_795_305_601, "2026-11-21 to 2026-11-22 00:00:01 UTC (still running)\n", True),
    ],
)
def test_a_period_runs_while_its_last_day_ends_later(cli, now, head, runs):
    out = cli("report", "--demo", "--start", "2026-11-21", "--compare", now=now).out
    assert f"\n{head}" in out
    assert ("the last day is still running" in out) is runs


def test_days_that_are_asked_for_in_part_are_told(cli):
    asked = ("report", "--demo", "--start", "2026-10-01T09:00Z", "--end", "2026-10-03T12:00Z")
    out = cli(*asked).out
    assert "- start 2026-10-01T09:00:00Z lies inside a day, which is given whole" in out
    assert "- end 2026-10-03T12:00:00Z lies inside a day, which is given whole" in out
    value = json.loads(cli(*asked, "--format", "json").out)
    assert value["requested"] == {"start_time": 1_790_845_200, "end_time": 1_791_028_800}
    assert (value["start_time"], value["end_time"]) == (1_790_812_800, 1_791_072_000)


def test_days_that_are_told_to_be_revised_lie_in_the_period(cli):
    out = cli("report", "--demo", "--start", "2026-11-21").out
    assert "figures from 2026-11-21 on may still be revised" in out


def _name_all_projects(monkeypatch, name):
    make_members = organization.make_members

    def renamed(seed):
        projects, *others = make_members(seed)
        return tuple(attrs.evolve(project, name=name) for project in projects), *others

    monkeypatch.setattr(organization, "make_members", renamed)


def test_movers_that_are_named_alike_are_told_apart(cli, monkeypatch):
    _name_all_projects(monkeypatch, "Web app")
    movers = cli("report", "--demo", "--compare").out.partition("Top movers\n")[2].splitlines()
    assert len({line.partition("Web app  proj_")[2] for line in movers[:3]}) == 3


def test_a_period_before_the_history_is_an_error_with_a_hint(cli):
    ran = cli("report", "--demo", "--period", "2025-10")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert "begin at 2025-11-22 or later" in ran.err


def test_a_comparison_that_goes_back_too_far_is_blank_with_its_reason(cli):
    ran = cli("report", "--demo", "--period", "2025-12", "--compare")
    assert ran.code == 1
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
    assert "check that the key is of the right organization" in out
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


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_a_spend_that_could_not_be_read_is_beside_no_budget(cli, monkeypatch, form):
    _answering(monkeypatch, 403, _DENIED, to="costs")
    ran = cli("report", "--demo", "--budget", "6000", "--format", form)
    assert ran.code == 1
    assert "budget: not compared, the spend is unknown" in ran.out + ran.err
    assert "within" not in ran.out + ran.err
    assert '"budget":{' not in ran.out


@pytest.mark.slow
def test_a_page_has_the_budget_and_the_reasons(cli, tmp_path):
    file = tmp_path / "october.html"
    ran = cli("report", "--demo", "--period", "2026-10", "--budget", "6000", "-o", str(file))
    page = file.read_text()
    assert ran.code == 5
    assert "budget" not in ran.err
    assert "over by" in page.partition("Budget of the month")[2]
    asked = ("explain", "--demo", "--period", "2026-10", "--format", "json")
    told = json.loads(cli(*asked).out)
    (bill,) = told["bills"]
    assert bill["sentences"]
    for sentence in bill["sentences"]:
        assert f"<li>{sentence}</li>" in page
    for group in (*bill["models"][:5], *bill["projects"]):
        parts = (group["amount"], group["change"], *group["effects"].values())
        assert all(f'<data value="{part}">' in page for part in parts if part != "0")
    assert len(page) < 500_000


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
        assert "$6,015.53" in shown
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
    _name_all_projects(monkeypatch, evil)
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
