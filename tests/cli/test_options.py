"""Every command takes the same words, and ends with the same codes."""

import json
import re
from pathlib import Path

import pytest

from usage_async._cli.exit_codes import ExitCode
from usage_async.emulator import Emulator

from .conftest import NOW

README = Path(__file__).parents[2] / "README.md"
COMMANDS = ("report", "fetch costs", "total costs", "verify costs")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("project", "project_id"),
        ("project_id", "project_id"),
        ("project-id", "project_id"),
        ("user", "user_id"),
        ("user_id", "user_id"),
        ("api-key", "api_key_id"),
        ("api_key", "api_key_id"),
        ("api_key_id", "api_key_id"),
        ("line-item", "line_item"),
        ("line_item", "line_item"),
    ],
)
def test_every_command_takes_every_word_for_a_dimension(cli, serving, command, word, dimension):
    server = serving(Emulator(now=lambda: NOW))
    ran = cli(*command.split(), "--period", "2026-10-05", "--by", word)
    assert ran.code == 0
    asked = [request for request in server.requests if request.path.endswith("costs")]
    groups = {value for each in asked for name, value in each.query if name == "group_by"}
    assert groups == {dimension}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_word_for_no_dimension_with_those_that_there_are(cli, command):
    ran = cli(*command.split(), "--demo", "--period", "2026-10-05", "--by", "planet")
    assert (ran.code, ran.out) == (2, "")
    assert re.search("--by takes (one or two of )?project, user, ", ran.err)
    assert "not 'planet'" in ran.err


def test_dimensions_are_given_once_by_commas_blanks_or_options(cli, serving):
    server = serving(Emulator(now=lambda: NOW))
    by = ["--by", "project,user", "line-item", "--by", "project_id"]
    assert cli("total", "costs", "--period", "2026-10-05", *by).code == 0
    groups = [value for name, value in server.requests[0].query if name == "group_by"]
    assert groups == ["project_id", "user_id", "line_item"]


def test_an_endpoint_that_is_not_known_takes_any_dimension(cli, serving):
    server = serving(Emulator(now=lambda: NOW))
    path = "/organization/usage/brand_new"
    cli("fetch", "path", path, "--period", "7d", "--by", "api-key,planet")
    groups = [value for name, value in server.requests[0].query if name == "group_by"]
    assert groups == ["api_key_id", "planet"]
    ran = cli("fetch", "path", path, "--period", "7d", "--set", "group_by=planet")
    assert (ran.code, ran.err) == (2, "usage-async: --set group_by: use --by instead\n")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("time", "read"),
    [
        ("--period 2026-10", ("2026-10-01", "2026-11-01")),
        ("--period 2026-W40", ("2026-09-28", "2026-10-05")),
        ("--period last-quarter", ("2026-07-01", "2026-10-01")),
        ("--start 2026-10-01 --end 20261003", ("2026-10-01", "2026-10-03")),
    ],
)
def test_every_command_takes_the_same_times(cli, serving, command, time, read):
    server = serving(Emulator(now=lambda: NOW))
    assert cli(*command.split(), *time.split()).code == 0
    start, end = read
    costs = [dict(each.query) for each in server.requests if each.path.endswith("costs")]
    assert min(int(each["start_time"]) for each in costs) == _seconds(start)
    assert max(int(each["end_time"]) for each in costs) == _seconds(end)


def _seconds(day):
    from datetime import UTC, datetime

    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("gone", ["--month", "--days", "--group-by"])
def test_there_is_one_option_for_one_thing(cli, command, gone):
    ran = cli(*command.split(), "--demo", "--period", "2026-10", gone, "7")
    assert (ran.code, ran.out) == (2, "")
    help_ = cli(*command.split(), "--help", columns=200).out
    for option in ("--period", "--start", "--end", "--by"):
        assert re.search(rf"{option}\b", help_)


def test_exit_codes_are_one_table():
    rows = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    assert "\n".join(["| exit code | means |", "|---|---|", *rows, ""]) in README.read_text()


def test_help_tells_the_exit_codes(cli):
    out = cli("--help").out
    for code in ExitCode:
        assert re.search(rf"(?m)^ *{code.value}  ", out)
        assert code.meaning in " ".join(out.split())


def test_json_tells_the_organization_in_parts(cli):
    value = json.loads(cli("report", "--demo", "--format", "json").out)
    assert value["organization"] == {"id": "org-b1fcceea722d8a66", "name": "Example Labs"}
