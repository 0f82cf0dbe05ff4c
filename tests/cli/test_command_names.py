"""Names in the terminal: beside every id, kept in a file, and never in the way of figures."""

import csv
import io
import json
import stat
import sys

import attrs
import pytest

from usage_async import ApiKey, Names, UsageError
from usage_async._cli.names_file import KeptNames, NamesFile, names_file
from usage_async._client.names_book import NamesBook
from usage_async.emulator import Emulator, Organization, Quirks

ORGANIZATION = Organization()
DELETED = next(key for key in ORGANIZATION.keys if key.deleted)
DAY = 86_400
NOW = 1_795_348_800
"""The time of the `cli` fixture."""


@pytest.fixture
def cache(bare, tmp_path):
    """The folder of the files that keep names."""
    bare.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "usage-async" / "names"


@pytest.fixture
def server(serving, cache):
    return serving(Emulator(ORGANIZATION, now=lambda: NOW))


def lists_read(server):
    """The lists that were asked for since the last time."""
    paths = [request.path.removeprefix("/v1/organization/") for request in server.requests]
    server.requests.clear()
    return [path for path in paths if not path.startswith(("usage/", "costs"))]


def names_in(rows, field):
    return {row[field] for row in rows} - {"", None}


def test_a_report_names_api_keys_beside_their_ids(cli, server):
    ran = cli("report", "--by", "api-key", "--format", "json")
    assert ran.code == 0
    (spend,) = json.loads(ran.out)["spend"]
    found = {group["group"]: group["name"] for group in spend["groups"] if group["group"]}
    known = {key.id: None if key.deleted else key.name for key in ORGANIZATION.keys}
    assert found.items() <= known.items()
    assert None in found.values()
    assert len(set(found.values())) > 5


def test_a_report_by_api_key_adds_up_to_the_same_with_and_without_names(cli, server):
    with_names = json.loads(cli("report", "--by", "api-key", "--format", "json").out)
    without = json.loads(cli("report", "--by", "api-key", "--format", "json", "--no-names").out)
    for report in (with_names, without):
        for rows in (report["tokens"], *(spend["groups"] for spend in report["spend"])):
            for row in rows:
                del row["name"]
    assert with_names == without


def test_a_report_by_project_reads_no_list_since_costs_carry_the_names(cli, server):
    assert cli("report").code == 0
    assert lists_read(server) == []


def test_a_service_account_is_named_where_its_project_is_known(cli, server):
    asked = ("--period", "7d", "--by", "user_id,project_id", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(cli("total", "completions", *asked).out)))
    assert {"Nightly", "Ada"} <= names_in(rows, "user_name")
    assert list(rows[0])[:4] == ["user_id", "project_id", "user_name", "project_name"]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_total_shows_ids_and_names(cli, server, form):
    asked = ("--period", "7d", "--by", "project_id,api_key_id", "--format", form)
    ran = cli("total", "completions", *asked, columns=160)
    key = ORGANIZATION.keys[0]
    assert key.id in ran.out
    assert key.name in ran.out
    assert key.project.name in ran.out
    assert DELETED.name not in ran.out
    bare = cli("total", "completions", *asked, "--no-names", columns=160).out
    assert key.id in bare
    assert key.name not in bare


def test_a_total_of_costs_keeps_the_names_that_it_carries_without_names_read(cli, server):
    asked = ("--period", "7d", "--by", "project_id", "--format", "json", "--no-names")
    groups = json.loads(cli("total", "costs", *asked).out)["groups"]
    assert names_in(groups, "project_name")
    assert "user_name" not in groups[0]


def test_fetched_buckets_have_names_beside_their_ids_in_json_lines(cli, server):
    asked = ("--period", "3d", "--by", "project_id,api_key_id")
    named, plain = (
        [json.loads(line) for line in cli("fetch", "completions", *asked, *more).out.splitlines()]
        for more in (["--names"], [])
    )
    rows = [row for bucket in named for row in bucket["results"]]
    names = {key.id: key.name for key in ORGANIZATION.keys if not key.deleted}
    assert {row["api_key_id"]: row["api_key_name"] for row in rows}.items() <= {
        **names,
        DELETED.id: None,
    }.items()
    for row in rows:
        del row["api_key_name"], row["project_name"]
    assert named == plain


def test_fetch_reads_each_list_once_while_buckets_come(cli, server):
    asked = ("--period", "30d", "--by", "project_id,api_key_id", "--names")
    assert cli("fetch", "completions", *asked).code == 0
    read = lists_read(server)
    assert "projects" in read
    assert len(read) == len(set(read))


@pytest.mark.parametrize(
    "command",
    [
        ("report", "--by", "api-key"),
        ("total", "completions", "--period", "7d", "--by", "project_id"),
        ("fetch", "completions", "--period", "7d", "--by", "project_id", "--names"),
    ],
    ids=lambda command: command[0],
)
def test_a_key_that_may_not_read_names_gets_one_line_and_every_figure(cli, serving, cache, command):
    with_names = cli(*command, "--demo")
    server = serving(Emulator(ORGANIZATION, now=lambda: NOW, quirks=Quirks(refuse_names=True)))
    ran = cli(*command)
    said = [line for line in (ran.out + ran.err).splitlines() if "not read" in line]
    assert len(said) == 1
    assert "api.management.read" in (ran.out + ran.err)
    assert ran.code == with_names.code == 0
    assert len(lists_read(server)) <= 8
    assert not cache.exists()


def test_names_that_fail_are_one_line_and_every_figure_is_there(cli, server, monkeypatch):
    tried = []

    async def update(_book, _rows):
        tried.append(1)
        raise UsageError("the service is gone")

    monkeypatch.setattr(NamesBook, "update", update)
    ran = cli("fetch", "completions", "--period", "7d", "--by", "project_id", "--names")
    assert ran.code == 0
    assert ran.err.count("note: names were not read: the service is gone") == 1
    assert len(ran.out.splitlines()) == 8
    assert len(tried) == 1


# The file


BY_KEY = ("total", "completions", "--period", "7d", "--by", "project_id,api_key_id")


def test_names_are_kept_in_one_file_that_only_its_owner_may_read(cli, server, cache):
    for _ in range(2):
        assert cli(*BY_KEY).code == 0
    (file,) = cache.iterdir()
    assert server.admin_key not in file.name
    text = file.read_text()
    assert "indexer" in text
    assert server.admin_key not in text
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_names_are_read_again_after_a_day_only(cli, server):
    cli(*BY_KEY)
    first = lists_read(server)
    assert "projects" in first
    cli(*BY_KEY, now=NOW + DAY - 1)
    # The project of the deleted key is asked again: it may have a name the next time.
    assert lists_read(server) == [f"projects/{DELETED.project.id}/api_keys"]
    cli(*BY_KEY, now=NOW + DAY)
    assert set(lists_read(server)) == set(first)


def test_a_deleted_key_keeps_its_name(cli, server):
    file = names_file(server.url, server.admin_key)
    older = Names(api_keys=[ApiKey(id=DELETED.id, name=DELETED.name)])
    file.save(KeptNames(recent=older, since=NOW - 40 * DAY))
    assert DELETED.name in cli(*BY_KEY, columns=160).out
    assert DELETED.name in cli(*BY_KEY, columns=160).out
    kept = file.load()
    assert kept.since == NOW
    assert kept.older == older
    assert kept.recent.label("api_key_id", ORGANIZATION.keys[0].id) == "production"


def test_without_names_nothing_is_read_or_written(cli, server, cache, monkeypatch):
    for name in ("load", "save"):
        monkeypatch.setattr(NamesFile, name, lambda *_: pytest.fail("the file was used"))
    for command in (BY_KEY, ("report", "--by", "api-key")):
        assert cli(*command, "--no-names").code == 0
    cli("fetch", *BY_KEY[1:])
    assert lists_read(server) == []
    assert not cache.exists()


def test_a_demonstration_keeps_nothing(cli, cache):
    ran = cli(*BY_KEY, "--demo", columns=160)
    assert "production" in ran.out
    assert not cache.exists()


def test_what_has_not_changed_is_not_written_again(cli, server, monkeypatch):
    cli(*BY_KEY)
    monkeypatch.setattr(NamesFile, "save", lambda *_: pytest.fail("the file was written"))
    assert cli(*BY_KEY).code == 0


def test_a_broken_file_is_one_line_and_is_replaced(cli, server, cache):
    cli(*BY_KEY)
    (file,) = cache.iterdir()
    file.write_text("{")
    ran = cli(*BY_KEY)
    assert ran.code == 0
    assert ran.err.count("are not used: it is not what this program writes") == 1
    assert NamesFile(file).load() == attrs.evolve(NamesFile(file).load(), since=NOW)
