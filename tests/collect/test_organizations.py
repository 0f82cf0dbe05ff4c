"""Organizations: their file, the sources of their keys, their shards."""

import asyncio
import pickle
import stat
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from asking import until
from service import KEY

from usage_async.collect import Feed, Organization, default_feeds, load_organizations
from usage_async.collect import organizations as module
from usage_async.collect.organizations import distinct, in_shard, read_key
from usage_async.errors import ConfigurationError, QueryError

FILE = """
feeds = ["costs:1d:project"]
settle_after = "2d"

[[organizations]]
name = "acme"
key_variable = "ACME_KEY"

[[organizations]]
name = "globex.eu"
key_command = ["pass", "show", "globex"]
settle_after = "5d"
organization_id = "org-1"
base_url = "https://globex.example/v1"
feeds = [
  "completions:1h:project+model",
  { endpoint = "images", bucket_width = "1h", filters = { sizes = ["1024x1024"] }, table = "big" },
]

[[organizations]]
name = "initech"
key_file = "keys/initech"
"""


@pytest.fixture
def written(tmp_path):
    """A function that loads a file with a text."""

    def load(text):
        file = tmp_path / "organizations.toml"
        file.write_text(text, "utf-8")
        return load_organizations(file)

    return load


def test_a_file_gives_organizations_with_the_defaults_at_its_top(written, tmp_path):
    acme, globex, initech = written(FILE)
    assert acme == Organization(
        "acme", key_variable="ACME_KEY", feeds=["costs:1d:project"], settle_after="2d"
    )
    assert globex.key_command == ("pass", "show", "globex")
    assert globex.settle_after == timedelta(days=5)
    assert (globex.organization_id, globex.base_url) == ("org-1", "https://globex.example/v1")
    assert [feed.table for feed in globex.feeds] == ["completions_by_project_model_1h", "big"]
    assert initech.key_file == str(tmp_path / "keys" / "initech")
    assert initech.settle_after == timedelta(days=2)


def test_an_organization_is_a_plain_value_without_a_key(written):
    for each in written(FILE):
        assert pickle.loads(pickle.dumps(each)) == each
        assert "globex.example" not in repr(each)
    assert Organization("acme").feeds == default_feeds()


ONE = '[[organizations]]\nname = "acme"\nkey_variable = "ACME_KEY"\n'
TWO = ONE + '[[organizations]]\nname = "{}"\n'

WRONG = {
    "no TOML": ("name = ", "is not TOML: Invalid value (at end of document)"),
    "no organizations": ("", "there are no [[organizations]]"),
    "one organization": ("organizations = 'acme'", "there are no [[organizations]]"),
    "no table": ("organizations = [1]", "organization 1: it must be a table"),
    "an unknown entry at the top": ("feed = []\n" + ONE, "there is no entry feed; there are"),
    "an unknown entry": (ONE + "colour = 1", "organization acme: there is no entry colour"),
    "a key": (ONE + 'admin_key = "abc"', "this file takes no key: name the variable"),
    "no name": ("[[organizations]]\nkey_variable = 'A'", "organization 1: name is missing"),
    "a name that is no text": (
        "[[organizations]]\nname = 1",
        "organization 1: name must be a text",
    ),
    "a name with a slash": (
        ONE.replace("acme", "a/b"),
        "'a/b' cannot be the name of an organization",
    ),
    "an empty name": (ONE.replace("acme", ""), "'' cannot be the name of an organization"),
    "a doubled name": (TWO.format("ACME") + 'key_file = "a"', "two organizations 'ACME'"),
    "a doubled key": (
        TWO.format("b") + 'key_variable = "ACME_KEY"',
        "'acme' and 'b' have the same key, so their figures would count twice",
    ),
    "no source": (
        '[[organizations]]\nname = "a"',
        "the key is missing: add key_variable, key_file",
    ),
    "two sources": (ONE + 'key_file = "a"', "there are several sources of the key"),
    "a variable that is none": (
        ONE.replace("ACME_KEY", "a b"),
        "not the name of an environment variable",
    ),
    "a command that is a text": (
        ONE.replace("key_variable", "key_command"),
        "key_command must be a list such as",
    ),
    "a command of numbers": (
        '[[organizations]]\nname = "a"\nkey_command = [1]',
        "key_command takes a list such as",
    ),
    "a URL with a password": (
        ONE + 'base_url = "https://me:secret@x.example"',
        "base_url holds a user or a password",
    ),
    "plain http": (
        ONE + 'base_url = "http://x.example"',
        "base_url would send the key",
    ),
    "an instant": (ONE + 'settle_after = "2026-10-01"', "settle_after takes a length of time"),
    "a feed that is none": (ONE + 'feeds = ["cost"]', "there is no endpoint 'cost'"),
    "feeds as a text": (ONE + 'feeds = "costs"', "feeds takes a list"),
    "a number as a feed": (ONE + "feeds = [1]", 'a feed is written "costs:1d"'),
    "an unknown entry of a feed": (
        ONE + 'feeds = [{ endpoint = "costs", by = 1 }]',
        "a feed has no by; it has endpoint",
    ),
    "a grouping that is a text": (
        ONE + 'feeds = [{ endpoint = "costs", group_by = "project_id" }]',
        "group_by of a feed must be a list",
    ),
    "filters that are a list": (
        ONE + 'feeds = [{ endpoint = "costs", filters = [] }]',
        "filters of a feed must be a table",
    ),
    "a feed twice": (
        ONE + 'feeds = ["costs:1d", "costs"]',
        "the feeds costs:1d and costs:1d have the same table, costs_1d",
    ),
    "a table of two feeds": (
        ONE
        + 'feeds = [{ endpoint = "costs", table = "t" }]\n'
        + '[[organizations]]\nname = "b"\nkey_file = "f"\n'
        + 'feeds = [{ endpoint = "images", table = "t" }]',
        "two different feeds have the table t",
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(written, text, says):
    with pytest.raises(ConfigurationError) as caught:
        written(text)
    assert says in caught.value.message
    assert caught.value.message.startswith(str(Path(caught.value.message.split(".toml")[0])))
    assert "organizations.toml" in caught.value.message
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "line",
    [
        f'key_variable = "{KEY}"',
        f'key_command = ["echo", "{KEY}"]',
        f"# {KEY}",
        f"{KEY}",
        f'"{KEY}" = 1',
        f'base_url = "https://x.example/{KEY}"',
    ],
)
def test_a_key_in_the_file_is_refused_by_its_line_and_shown_nowhere(written, line):
    with pytest.raises(
        ConfigurationError, match=r"organizations\.toml, line 4 holds a key"
    ) as caught:
        written(f'[[organizations]]\nname = "acme"\nkey_file = "a"\n{line}\n')
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "usage_async" in Path(frame.filename).parts]
    assert ours
    assert not any(KEY[:24] in text for frame in ours for text in frame.locals.values())
    assert KEY not in str(caught.value)


def test_a_name_that_only_resembles_a_key_is_none(written):
    (found,) = written(ONE.replace("acme", "task-force-of-many-people"))
    assert found.name == "task-force-of-many-people"


@pytest.mark.parametrize(
    "given", [{"key_variable": KEY}, {"key_file": KEY}, {"key_command": ["echo", KEY]}]
)
def test_an_organization_takes_no_key(given):
    with pytest.raises(ConfigurationError, match="holds a key") as caught:
        Organization("acme", **given)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("given", [{"name": None}, {"name": "a", "key_file": 1}])
def test_what_is_no_text_is_refused(given):
    with pytest.raises(ConfigurationError, match="must be a text"):
        Organization(**given)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"gone\.toml: No such file or directory"):
        load_organizations(tmp_path / "gone.toml")
    file = tmp_path / "latin.toml"
    file.write_bytes(b"\xe9")
    with pytest.raises(ConfigurationError, match=r"latin\.toml is not UTF-8 text"):
        load_organizations(file)


def test_feeds_are_given_as_values_or_texts_but_each_once():
    assert distinct(["costs", Feed("images")]) == (Feed("costs"), Feed("images"))
    with pytest.raises(ConfigurationError, match="have the same table"):
        distinct(["costs", "costs:1d"])
    with pytest.raises(QueryError):
        distinct(["cost"])


def test_each_organization_is_in_one_shard_on_every_machine():
    names = [f"organization-{n}" for n in range(1000)]
    shards = [[name for name in names if in_shard(name, n, 5)] for n in range(1, 6)]
    assert sorted(name for shard in shards for name in shard) == sorted(names)
    assert all(150 < len(shard) < 250 for shard in shards)
    assert [n for n in range(1, 6) if in_shard("acme", n, 5)] == [ACMES]


ACMES = 3
"""Computed once: another one would collect an organization twice, or not at all."""


# The sources of keys


async def refusal(organization):
    with pytest.raises(ConfigurationError) as caught:
        await read_key(organization)
    return caught.value.message


async def test_a_key_comes_from_a_variable(monkeypatch):
    organization = Organization("acme", key_variable="ACME_KEY")
    monkeypatch.setenv("ACME_KEY", f" {KEY}\n")
    key = await read_key(organization)
    assert (str(key), repr(key)) == (KEY, "<secret>")
    monkeypatch.delenv("ACME_KEY")
    assert await refusal(organization) == "ACME_KEY, the variable of the key, is not set"
    assert "abc" not in await refusal(Organization("acme", key_variable="abc"))


async def test_a_key_comes_from_a_file(tmp_path):
    file = tmp_path / "key"
    organization = Organization("acme", key_file=str(file))
    assert str(file) not in await refusal(organization)
    file.write_text(KEY + "\n")
    assert await read_key(organization) == KEY
    file.write_bytes(b"\xff")
    assert str(file) in await refusal(organization)


async def test_a_key_comes_from_where_a_client_finds_it(monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    assert await read_key(Organization("acme")) == KEY


@pytest.fixture
def command(tmp_path):
    """A function that makes an organization whose key a script prints."""
    script = tmp_path / "key"

    def made(text):
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return Organization("acme", key_command=[str(script), "a b"])

    return made


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_key_comes_from_a_command_that_no_shell_runs(command):
    assert await read_key(command(f'[ "$1" = "a b" ] && echo {KEY}; echo {KEY} >&2')) == KEY


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_command_that_fails_says_nothing_of_its_output(command, capfd):
    said = await refusal(command(f"echo {KEY}; echo {KEY} >&2; exit 3"))
    assert said == "the command of the key failed with exit code 3; run it by hand to see why"
    assert "cannot be run: No such file" in await refusal(
        Organization("acme", key_command=["/nowhere/at-all"])
    )
    assert "its arguments are wrong" in await refusal(Organization("a", key_command=["a\0b"]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_command_that_hangs_is_ended_with_its_children(command, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_COMMAND_S", 0.2)
    note = tmp_path / "child"
    said = await refusal(command(f"sleep 60 & echo $! > {note}; wait"))
    assert said == "the command of the key printed no key within 0.2 s"
    child = int(await asyncio.to_thread(note.read_text))
    await until(lambda: not is_running(child))


def is_running(number):
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
