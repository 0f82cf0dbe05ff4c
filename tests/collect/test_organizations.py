"""Organizations: their values, their file, their shards."""

import pickle
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from service import KEY

from usage_async.collect import Feed, Organization, default_feeds, load_organizations
from usage_async.collect.organizations import distinct, in_shard
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
    "an endpoint that is a list": (
        ONE + 'feeds = [{ endpoint = ["costs"] }]',
        "endpoint of a feed must be a text",
    ),
    "a width that is a number": (
        ONE + 'feeds = [{ endpoint = "costs", bucket_width = 1 }]',
        "bucket_width of a feed must be a text",
    ),
    "a table that is a number": (
        ONE + 'feeds = [{ endpoint = "costs", table = 5 }]',
        "table of a feed must be a text",
    ),
    "no feeds": (ONE + "feeds = []", "feeds is empty: leave it out for the default ones"),
    "no time": (ONE + 'settle_after = "0d"', 'settle_after takes a length of time such as "3d"'),
    "seconds": (ONE + 'settle_after = "1s"', 'settle_after takes a length of time such as "3d"'),
    "a name in two lines": (
        ONE.replace("acme", "acme\\n"),
        "organization 1: 'acme\\n' cannot be the name of an organization",
    ),
    "lists in lists": ("a = " + 9_999 * "[", "is not TOML: maximum recursion depth exceeded"),
    "the same key for the URL that is the default": (
        ONE + ONE.replace("acme", "other") + 'base_url = "https://api.openai.com/v1/"',
        "'acme' and 'other' have the same key",
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
