import json

import pytest

from usage_async import ENDPOINTS, loads
from usage_async._api.pages import UsageTimeBucket
from usage_async.emulator import Emulator, Faults, Quirks
from usage_async.report.dimensions import word_of
from usage_async.report.formats import BUCKET_FORMATS

from .conftest import NOW


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_endpoint_takes_every_parameter_of_its_table(cli, endpoint):
    help_ = cli("fetch", endpoint, "--help", columns=200).out
    described = ENDPOINTS[endpoint]
    shared = ["period", "start", "end", "clamp", "by", "bucket_width", "limit", "page"]
    for name in [*described.filters, *shared]:
        assert f"--{name.replace('_', '-')}" in help_
    assert ", ".join(map(word_of, described.group_by)) in help_


def test_json_lines_are_buckets_in_the_shape_of_the_api(cli):
    ran = cli("fetch", "costs", "--demo", "--period", "2026-10", "--by", "project_id")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) == 31
    kind = ENDPOINTS["costs"].result_class
    buckets = [loads(line, UsageTimeBucket[kind]) for line in lines]
    assert {row.project_id is None for bucket in buckets for row in bucket.results} == {False}
    assert json.loads(lines[0])["object"] == "bucket"


def test_a_file_holds_what_a_pipe_would_get(cli, tmp_path):
    asked = ["fetch", "completions", "--demo", "--period", "2026-10-05", "--width", "1h"]
    file = tmp_path / "out.jsonl"
    ran = cli(*asked, "-o", file)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert file.read_text() == cli(*asked, "-o", "-").out


@pytest.mark.parametrize(
    ("name", "said", "first"),
    [
        ("q3.csv", [], '"start_time",'),
        ("Q3.CSV", [], '"start_time",'),
        ("q3.jsonl", [], "{"),
        ("q3.ndjson", [], "{"),
        ("q3.ndjson", ["--format", "jsonl"], "{"),
        ("q3.csv", ["--format", "csv"], '"start_time",'),
        ("q3.txt", ["--format", "csv"], '"start_time",'),
        ("q3.2026", ["--format", "jsonl"], "{"),
        ("q3", [], "{"),
        ("q3", ["--format", "csv"], '"start_time",'),
    ],
)
def test_a_file_is_what_its_name_says(cli, tmp_path, name, said, first):
    file = tmp_path / name
    ran = cli("fetch", "costs", "--demo", "--period", "2026-10-05", "-o", file, *said)
    assert (ran.code, ran.err) == (0, "")
    assert file.read_text().startswith(first)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("q3.txt", "the ending .txt names no format: add --format"),
        ("q3.csv.gz", "the ending .gz names no format: add --format"),
        ("q3.parquet --format csv", "the name means parquet, but --format says csv"),
        ("q3.arrows --format jsonl", "the name means arrow, but --format says jsonl"),
        ("q3.csv --format jsonl", "the name means csv, but --format says jsonl"),
        ("q3.jsonl --format csv", "the name means jsonl, but --format says csv"),
    ],
)
def test_a_file_that_would_not_be_what_its_name_says_is_refused(
    cli, serving, tmp_path, output, says
):
    server = serving(Emulator(now=lambda: NOW))
    name, *said = output.split()
    file = tmp_path / name
    file.write_text("old")
    ran = cli("fetch", "costs", "--period", "2026-10-05", "-o", file, *said)
    assert (ran.code, ran.out, file.read_text()) == (2, "", "old")
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert not server.requests


def test_filters_lists_and_unix_seconds_reach_the_service(cli, serving):
    server = serving(Emulator(now=lambda: NOW))
    ran = cli(
        *("fetch", "completions", "--start", "1790812800", "--end", "2026-10-02", "--batch"),
        *("--models", "gpt-5.2,gpt-5.2-mini", "--by", "model", "batch", "--limit", "5"),
    )
    assert ran.code == 0
    query = server.requests[0].query
    assert [value for name, value in query if name == "group_by"] == ["model", "batch"]
    assert [value for name, value in query if name == "models"] == ["gpt-5.2", "gpt-5.2-mini"]
    assert {("start_time", "1790812800"), ("batch", "true"), ("limit", "5")} <= set(query)


def test_a_line_item_may_hold_a_comma(cli, serving):
    server = serving(Emulator(now=lambda: NOW))
    cli("fetch", "costs", "--period", "2026-10", "--line-items", "gpt-5.2, input")
    assert ("line_items", "gpt-5.2, input") in server.requests[0].query


def test_parameters_and_endpoints_newer_than_this_program_are_sent(cli, serving):
    server = serving(Emulator(now=lambda: NOW))
    newer = ["--set", "tag=a", "--set", "tag=b=c"]
    ran = cli("fetch", "costs", "--period", "2026-10", *newer)
    assert (ran.code, "Unknown parameter" in ran.err) == (1, True)
    assert [pair for pair in server.requests[0].query if pair[0] == "tag"] == [
        ("tag", "a"),
        ("tag", "b=c"),
    ]
    newer = ["--set", "group_by=planet", "--set", "bucket_width=5m"]
    cli("fetch", "costs", "--period", "2026-10", *newer)
    assert {("group_by", "planet"), ("bucket_width", "5m")} <= set(server.requests[-1].query)
    ran = cli("fetch", "path", "/organization/usage/brand_new", "--period", "7d")
    assert (ran.code, "404" in ran.err) == (1, True)
    assert server.requests[-1].path == "/v1/organization/usage/brand_new"


@pytest.mark.parametrize(
    "known",
    [
        *("clamp=true", "start_time=7d", "end_time=1d", "period=7d", "limit=5", "page=x"),
        *("batch=true", "project_ids=a", "models=gpt-5.2"),
    ],
)
def test_what_has_an_option_is_not_set_past_it(cli, serving, known):
    server = serving(Emulator(now=lambda: NOW))
    time = [] if known == "start_time=7d" else ["--start", "2026-10-05"]
    ran = cli("fetch", "completions", *time, "--set", known)
    assert (ran.code, ran.out) == (2, "")
    assert not server.requests


@pytest.mark.parametrize(
    ("known", "option"),
    [
        ("clamp=true", "--clamp instead"),
        ("limit=5", "--limit instead"),
        ("project_ids=a", "--project-ids instead"),
        ("project_ids[]=a", "--project-ids instead, without brackets"),
        ("group_by[]=planet", "--by instead, without brackets"),
        ("group_by[0]=planet", "--by instead, without brackets"),
    ],
)
def test_what_has_an_option_is_refused_with_it(cli, known, option):
    ran = cli("fetch", "costs", "--demo", "--period", "7d", "--set", known)
    assert f"use {option}\n" in ran.err


def test_an_argument_of_the_client_is_no_parameter(cli):
    ran = cli("fetch", "costs", "--demo", "--period", "7d", "--set", "unchecked=1h")
    assert (ran.code, ran.out) == (2, "")
    assert "--set unchecked: not a parameter of the API" in ran.err


@pytest.mark.parametrize(
    ("endpoint", "option"),
    [
        (endpoint.name, name)
        for endpoint in ENDPOINTS.values()
        for name, entry in endpoint.filters.items()
        if entry.is_open
    ],
)
def test_a_filter_that_may_grow_takes_values_that_this_release_does_not_know(
    cli, serving, endpoint, option
):
    server = serving(Emulator(now=lambda: NOW))
    known = ENDPOINTS[endpoint].filters[option].choices[0]
    flag = f"--{option.replace('_', '-')}"
    ran = cli("fetch", endpoint, "--period", "7d", flag, f"{known},newer")
    assert ran.code in (0, 1)  # as the service says
    assert f"{option} holds 'newer', a value that this release does not know" in ran.err
    sent = [value for name, value in server.requests[-1].query if name == option]
    assert sent == [known, "newer"]
    assert known in cli("fetch", endpoint, "--help", columns=200).out


def test_values_newer_than_this_program_go_with_those_that_it_knows(cli, serving):
    server = serving(Emulator(now=lambda: NOW))
    newer = ["--set", "group_by=planet", "--sizes", "9x9"]
    cli("fetch", "images", "--period", "7d", "--by", "size", "--sizes", "512x512", *newer)
    sent = server.requests[-1].query
    assert [value for name, value in sent if name == "group_by"] == ["size", "planet"]
    assert [value for name, value in sent if name == "sizes"] == ["512x512", "9x9"]
    ran = cli(
        "fetch", "costs", "--demo", "--period", "7d", "--width", "1d", "--set", "bucket_width=5m"
    )
    assert (ran.code, "use --bucket-width instead" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["costs"], "the time is missing: add --period"),
        (["costs", "--end", "2026-10-01"], "--end needs --start"),
        (
            ["costs", "--period", "2026-10", "--by", "planet"],
            "--by takes project, user, line-item",
        ),
        (["costs", "--period", "2026-10", "--set", "x"], "--set takes NAME=VALUE"),
        (["costs", "--period", "2026-10", "--set", "=x"], "--set takes NAME=VALUE"),
        (["costs", "--period", "2026-10", "--set", "period=7d"], "use --period instead"),
        (["cost", "--period", "2026-10"], 'Did you mean "costs"?'),
        (["costs", "--period", "2026-10", "--bucket-width", "1h"], "1h"),
    ],
)
def test_what_an_endpoint_does_not_take_is_refused(cli, arguments, says):
    ran = cli("fetch", *arguments, "--demo")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err


@pytest.mark.parametrize("form", BUCKET_FORMATS)
def test_a_run_that_fails_leaves_the_old_file(cli, serving, tmp_path, form):
    serving(Emulator(now=lambda: NOW, faults=Faults(script=["none", *["error"] * 50])))
    file = tmp_path / f"out.{form}"
    file.write_text("old")
    ran = cli("fetch", "completions", "--start", "300d", "-o", file)
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{form}"]
    assert file.read_text() == "old"


def test_notices_are_lines_on_standard_error(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(unknown_fields=True)))
    ran = cli("fetch", "costs", "--period", "2026-10")
    assert ran.code == 0
    assert ran.err.startswith("usage-async: note: costs: ")
    assert json.loads(ran.out.splitlines()[0])["granularity"] == "exact"


@pytest.mark.parametrize("start", ["2026-10-01", "20261001", "2026-W40-4", "1790812800"])
def test_a_time_means_the_same_as_in_the_library(cli, start):
    ran = cli("total", "costs", "--demo", "--start", start, "--end", "2026-10-02", "--format=json")
    assert json.loads(ran.out)["requested"]["start_time"] == 1_790_812_800


@pytest.mark.parametrize(
    ("period", "buckets"),
    [("2026-W40", 7), ("2026-Q3", 92), ("2026-10-05", 1), ("last-quarter", 92), ("last-week", 7)],
)
def test_a_period_is_read_whole(cli, period, buckets):
    ran = cli("fetch", "costs", "--demo", "--period", period)
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == buckets


def test_what_is_written_and_may_be_revised_is_told_on_the_side(cli):
    out = cli("fetch", "costs", "--demo", "--period", "yesterday")
    assert out.err.count("may still be revised") == 1
