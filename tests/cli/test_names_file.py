import logging
import os
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from values import any_of

from usage_async import ApiKey, ApiKeyOwner, Extra, Names, Notice, Project, User, dumps, loads
from usage_async._cli.names_file import KeptNames, NamesFile, cache_folder, names_file

KEY = "sk-admin-canary-0123456789"
URL = "https://api.openai.com/v1"
NOW = 1_795_348_800
SEARCH = Names(projects=[Project(id="p", name="Search")])

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@pytest.fixture
def file(tmp_path):
    return NamesFile(tmp_path / "cache" / "names" / "a.json")


def test_what_is_kept_is_read_again(file):
    kept = KeptNames(recent=SEARCH, since=NOW, older=Names(api_keys=[ApiKey(id="k", name="Old")]))
    file.save(kept)
    assert file.load() == kept


def test_nothing_is_kept_before_the_first_time(file, caplog):
    assert file.load() == KeptNames()
    assert not caplog.records


def test_only_ids_names_and_addresses_are_kept(file):
    user = User(id="u", name="Ada", email="ada@example.com", role="owner", extra=Extra({"x": 1}))
    key = ApiKey(
        id="k", name="key", project_id="p", owner=ApiKeyOwner(user=user), extra=Extra({"y": 2})
    )
    notice = Notice(code="names-skipped", message="no")
    names = Names(
        projects=[Project(id="p", name="Search", status="active")],
        users=[user],
        api_keys=[key],
        notices=(notice,),
    )
    file.save(KeptNames(recent=names))
    assert file.load().recent == Names(
        projects=SEARCH.projects,
        users=[User(id="u", name="Ada", email="ada@example.com")],
        api_keys=[ApiKey(id="k", name="key", project_id="p")],
    )


@posix_only
def test_only_the_owner_may_read_file_and_folder(file):
    file.save(KeptNames())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(file):
    for name in ("Search", "Find"):
        file.save(KeptNames(recent=Names(projects=[Project(id="p", name=name)])))
    assert file.load().recent.label("project_id", "p") == "Find"
    assert list(file.path.parent.iterdir()) == [file.path]


@pytest.mark.parametrize(
    ("other_s", "since", "is_recent"),
    [
        pytest.param(0, NOW, True, id="at once"),
        pytest.param(60, NOW, True, id="later"),
        pytest.param(-60, NOW - 60, True, id="before"),
        pytest.param(-86_400, NOW, False, id="a day before"),
        pytest.param(86_400, NOW, False, id="by a clock that was wrong"),
    ],
)
def test_two_terminals_lose_no_name_of_each_other(file, other_s, since, is_recent):
    users, keys = [User(id="u", name="Ada")], [ApiKey(id="k", name="Old")]
    before = Project(id="p", name="Find")
    file.save(KeptNames(Names(projects=[before], users=users), NOW + other_s))
    file.save(KeptNames(SEARCH, NOW, Names(api_keys=keys)))
    kept = file.load()
    assert kept.since == since
    assert kept.recent == (Names(projects=SEARCH.projects, users=users) if is_recent else SEARCH)
    assert kept.recent.merged(kept.older) == Names(
        projects=SEARCH.projects, users=users, api_keys=keys
    )


def test_a_file_is_on_the_disk_before_it_takes_its_name(file, monkeypatch):
    synced = []

    def sync(handle):
        synced.append((os.fstat(handle).st_size, file.path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    file.save(KeptNames(recent=SEARCH))
    assert synced == [(file.path.stat().st_size, False)]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recent": 5}', '{"since": "x"}', "\x00"])
def test_a_broken_file_is_told_ignored_and_replaced(file, caplog, text):
    file.save(KeptNames(recent=SEARCH))
    file.path.write_text(text)
    assert file.load() == KeptNames()
    (record,) = caplog.records
    assert "are not used: it is not what this program writes" in record.getMessage()
    file.save(KeptNames(recent=SEARCH))
    assert file.load().recent == SEARCH


def test_a_file_that_cannot_be_read_is_told_and_ignored(file, caplog):
    file.path.mkdir(parents=True)
    assert file.load() == KeptNames()
    assert caplog.records[0].levelno == logging.WARNING


def test_a_folder_that_cannot_be_written_to_loses_nothing_but_the_file(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "names").write_text("in the way")
    file = NamesFile(tmp_path / "names" / "a.json")
    file.save(KeptNames(recent=SEARCH))
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "are not kept" in record.getMessage()


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(file, caplog):
    caplog.set_level(logging.INFO)
    file.path.mkdir(parents=True)
    file.save(KeptNames(recent=SEARCH))
    assert list(file.path.parent.iterdir()) == [file.path]
    assert "are not kept" in caplog.text


@pytest.mark.parametrize(
    ("after_s", "is_read_again"),
    [(0, False), (86_399, False), (86_400, True), (-1, True)],
    ids=["at once", "within a day", "a day later", "by a clock that was wrong"],
)
def test_names_are_read_again_after_a_day_and_old_ones_are_kept(after_s, is_read_again):
    kept = KeptNames(recent=SEARCH, since=NOW, older=Names(users=[User(id="u", name="Ada")]))
    then = kept.at(NOW + after_s)
    assert (then.recent == Names()) == is_read_again
    assert then.since == (NOW + after_s if is_read_again else NOW)
    everything = then.recent.merged(then.older)
    assert everything.label("project_id", "p") == "Search"
    assert everything.label("user_id", "u") == "Ada"


@given(any_of(KeptNames))
def test_kept_names_are_written_and_read_whole(kept):
    assert loads(dumps(kept), KeptNames) == kept


def test_the_name_of_the_file_tells_no_key_and_differs_by_key_and_address(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path)}
    files = [
        names_file(url, key, home).path
        for url in (URL, "http://localhost:1/v1")
        for key in (KEY, KEY + "x")
    ]
    assert len(set(files)) == 4
    assert names_file(URL + "/", KEY, home).path == files[0]
    for path in files:
        assert path.parent == tmp_path / "usage-async" / "names"
        assert not any(part in path.name for part in (KEY, "sk-", "canary", "0123456789"))


@pytest.mark.parametrize(
    ("environment", "platform", "folder"),
    [
        pytest.param({"XDG_CACHE_HOME": "/x"}, "linux", "/x", id="XDG"),
        pytest.param({"XDG_CACHE_HOME": "/x"}, "darwin", "/x", id="XDG counts everywhere"),
        pytest.param({"XDG_CACHE_HOME": "x"}, "linux", "/home/ada/.cache", id="relative"),
        pytest.param({}, "linux", "/home/ada/.cache", id="Linux"),
        pytest.param({}, "darwin", "/home/ada/Library/Caches", id="macOS"),
        pytest.param({"LOCALAPPDATA": "/l"}, "win32", "/l", id="Windows"),
        pytest.param({}, "win32", None, id="Windows without a folder"),
    ],
)
@posix_only
def test_the_cache_folder_is_that_of_the_platform(environment, platform, folder, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    assert cache_folder(environment, platform) == (folder and Path(folder))


def test_who_has_no_home_has_no_file(monkeypatch):
    def homeless():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder({}, "linux") is None
    assert names_file(URL, KEY, {}) is None
