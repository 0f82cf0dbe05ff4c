"""Delta Lake: what its tables hold, who may write at once, what is left of a run that was killed.

What every store must do is tested in `test_conformance.py`.
"""

import json
import os
import re
import shutil
import sys
import time
from itertools import count
from pathlib import Path

import attrs
import deltalake
import duckdb
import lake
import polars as pl
import pytest
from collecting import (
    COMPLETIONS,
    COSTS,
    HOUR,
    ORGANIZATION,
    START,
    ToyShelf,
    cost,
    ordered,
    put,
    snapshot,
    usage,
)

from usage_async import ENDPOINTS, CostsResultAmount
from usage_async._codec.redactor import MARK
from usage_async.collect import Feed, Place, default_feeds, open_store, snapshots
from usage_async.collect.delta import backend as module
from usage_async.collect.delta.folder import Folder
from usage_async.collect.rows import figures_of
from usage_async.emulator import demo
from usage_async.errors import ConfigurationError, StoreError, StoreMovedError

DAY = 86_400


@pytest.fixture
def shelf(tmp_path):
    return lake.DeltaShelf(str(tmp_path / "lake"))


@pytest.fixture
def backend(shelf):
    opened = shelf.open()
    yield opened
    opened.close()


@pytest.fixture
def log(shelf):
    return Path(shelf.where, COMPLETIONS.table, "_delta_log")


def files(shelf, feed=COMPLETIONS):
    """The files of a table that are part of it."""
    return [Path(each) for each in shelf.table(feed.table).file_uris()]


def figures(shelf, organization=ORGANIZATION):
    return [
        row["num_model_requests"]
        for row in sorted(shelf.rows(COMPLETIONS), key=lambda row: row["start_time"])
        if row["organization"] == organization
    ]


def age(*paths, days=2.0):
    then = time.time() - days * DAY
    for path in paths:
        os.utime(path, (then, then))


def test_a_place_outlives_checkpoints_and_the_clean_up_of_the_log(shelf, backend, log):
    held = snapshot(Place(), [[usage(1)], None, [usage(2)]])
    backend.apply(held, 0)
    for number in range(45):
        put(backend, [[usage(number)]], organization="other")
        if number == 30:
            age(*log.glob("*.json"))
    backend.close()
    assert not (log / f"{1:020}.json").exists()
    assert shelf.open().place(ORGANIZATION, COMPLETIONS) == held.next_place()


def test_hourly_runs_leave_one_file_a_month(shelf, backend):
    for hour in range(12):
        buckets = [[usage(hour)]] * min(hour + 1, 5)
        put(backend, buckets, start=START + max(hour - 4, 0) * HOUR)
    assert len(files(shelf)) == 1
    put(backend, [[usage(1)]] * 60, start=START + 700 * HOUR)
    assert len(files(shelf)) == 3


def test_every_other_bucket_that_is_missing_is_kept(backend, shelf):
    put(backend, [[usage(1)] for _ in range(600)])
    given = snapshot(
        backend.place(ORGANIZATION, COMPLETIONS),
        [None if number % 2 else [usage(2)] for number in range(600)],
    )
    backend.apply(given, 0)
    assert figures(shelf) == [2, 1] * 300
    backend.close()
    assert shelf.open().place(ORGANIZATION, COMPLETIONS) == given.next_place()


async def summed(client, feed):
    """The sums of a feed's figures, as the client adds them; None where there is none."""
    query = client.query(feed.endpoint, start_time=START, **feed.parameters())
    made = dict.fromkeys(figures_of(feed.described.result_class))
    for total in await query.totals():
        for name in made:
            value = getattr(total, name)
            value = value.value if isinstance(value, CostsResultAmount) else value
            if value is not None:
                made[name] = (made[name] or 0) + value
    return made


@pytest.mark.slow
async def test_tables_add_up_to_the_sums_of_the_client_read_by_polars_and_by_duckdb(shelf):
    now = START + 3 * DAY + HOUR / 2
    async with demo(now=lambda: now) as client, open_store(f"delta:{shelf.where}") as store:
        for feed in default_feeds():
            async for each in snapshots(client, "demo", feed, Place(), START):
                await store.apply(each)
            expected = await summed(client, feed)
            frame = pl.read_delta(f"{shelf.where}/{feed.table}")
            if feed.is_level:
                # The last bucket that has ended.
                frame = frame.filter(pl.col("end_time").dt.epoch("s") == START + 3 * DAY)
            found = frame.select(pl.sum(*expected)).row(0, named=True)
            assert found == {name: value or 0 for name, value in expected.items()}
            with duckdb.connect() as database:
                database.register("rows", frame.to_arrow())
                listed = ", ".join(f"sum({name})" for name in expected)
                row = database.execute(f"SELECT {listed} FROM rows").fetchone()
                assert row == tuple(expected.values())
        assert len(await store.states()) == len(ENDPOINTS)


async def test_a_store_is_opened_by_its_url(shelf):
    async with open_store(f"delta:{shelf.where}") as store:
        await store.apply(snapshot(Place(), [[usage(5)]]))
        assert (await store.resume_from(ORGANIZATION, COMPLETIONS)).number == 1
        assert [state.rows for state in await store.states()] == [1]
    assert figures(shelf) == [5]


def test_a_path_may_be_relative_to_the_folder_or_to_the_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert module.delta_backend("lake").root == str(tmp_path / "lake")
    assert module.delta_backend("~/lake").root == str(tmp_path / "lake")
    assert module.delta_backend("~nobody-of-this-name/lake").root == str(
        tmp_path / "~nobody-of-this-name/lake"
    )
    assert module.delta_backend("s3a://bucket/a/b/").root == "s3://bucket/a/b"


@pytest.mark.parametrize(
    "where",
    [
        "",
        "gs://bucket/folder",
        "http://host/folder",
        "s3:///folder",
        "s3://[CANARY/folder",
        "s3://key:CANARY@bucket/folder",
        "s3://CANARY@bucket/folder",
        "s3://bucket/folder?X-Amz-Signature=CANARY",
        "s3://bucket/folder#CANARY",
        "s3://bucket/a%20b",
        "a/CANARY%41",
        "a/[CANARY]",
        "a/CANARY\n",
    ],
)
def test_what_is_no_folder_is_refused_without_being_shown(where):
    with pytest.raises(ConfigurationError, match=r"delta: |deltalake") as raised:
        module.delta_backend(where)
    assert "CANARY" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_deltalake_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'usage-async\[delta\]'"):
        module.delta_backend("lake")


@pytest.mark.parametrize("name", ["", "ä" * 41, "a" * 243])
def test_a_name_that_no_folder_can_have_is_refused(name, backend):
    with pytest.raises(StoreError, match="1 to 242 bytes"):
        backend.place(name, COMPLETIONS)
    with pytest.raises(StoreError, match="1 to 242 bytes"):
        backend.apply(snapshot(Place(), [[]], organization=name), 0)


@pytest.mark.parametrize("name", ["ä" * 40, "a" * 242])
def test_the_longest_name_is_taken(name, backend, shelf):
    put(backend, [[usage(1)]], organization=name)
    assert figures(shelf, name) == [1]


def test_names_are_not_kept(backend):
    assert not backend.keeps_names
    assert backend.named_at(ORGANIZATION) is None


def test_rows_of_other_kinds_go_with_their_bucket_only(shelf, backend):
    backend.apply(lake.made(Place(), "a", 0, 1), 0)
    version = shelf.table("usage_other").version()
    put(backend, [[usage(1)]], organization="b")
    assert shelf.table("usage_other").version() == version
    put(backend, [[usage(1)]], organization="a", start=START + HOUR)
    assert [row["row"] for row in shelf.other()] == ['{"n": 1}']
    put(backend, [[usage(1)]], organization="a")
    assert shelf.other() == []


# Several writers


class Between:
    """Something that happens after a run has read the place and before it writes."""

    def __init__(self, backend, monkeypatch):
        self.work = []
        replace = Folder.replace

        def replaced(one, *args):
            if one is backend.folder and self.work:
                self.work.pop(0)()
            replace(one, *args)

        monkeypatch.setattr(Folder, "replace", replaced)


@pytest.fixture
def between(backend, monkeypatch):
    return Between(backend, monkeypatch).work


@pytest.mark.parametrize("organization", [ORGANIZATION, "it's\n\\ \u2028 ä/=%41"])
@pytest.mark.parametrize("late", [[[usage(7)], [usage(8)]], [None, None], [[], []]])
def test_a_run_that_loses_a_race_changes_nothing(late, organization, shelf, backend, between):
    put(backend, [[usage(1)], [usage(2)]], organization=organization)
    second = shelf.open()
    between.append(lambda: put(second, [[usage(3)], [usage(4)]], organization=organization))
    with pytest.raises(StoreMovedError, match="another run"):
        put(backend, late, organization=organization)
    assert figures(shelf, organization) == [3, 4]
    assert backend.place(organization, COMPLETIONS).number == 2


def test_other_organizations_are_written_at_the_same_time(shelf, backend, between):
    second = shelf.open()
    for number in range(3):
        between.append(lambda: put(second, [[usage(3)], [usage(4)]], organization="other"))
        put(backend, [[usage(number)]])
        assert not between
    assert (figures(shelf), figures(shelf, "other")) == ([2], [3, 4])


def test_a_run_goes_on_after_a_change_of_the_columns(shelf, backend, between):
    put(backend, [[usage(1)]])
    between.append(lambda: shelf.add_column(COMPLETIONS, "reasoning_tokens"))
    put(backend, [[usage(2)]])
    assert figures(shelf) == [2]
    assert "reasoning_tokens" in shelf.columns(COMPLETIONS)


def test_files_that_another_tool_joins_are_no_duplicates(shelf, backend, between):
    put(backend, [[usage(1)]])
    put(backend, [[usage(2)]], start=START + HOUR)
    assert len(files(shelf)) == 2
    between.append(shelf.table(COMPLETIONS.table).optimize.compact)
    put(backend, [[usage(3)], [usage(4)]])
    assert figures(shelf) == [3, 4]


def test_a_table_that_changes_all_the_time_is_an_error_at_last(shelf, backend, between):
    put(backend, [[usage(1)]])
    names = count()
    between += [lambda: shelf.add_column(COMPLETIONS, f"c{next(names)}")] * 20
    with pytest.raises(StoreError, match="all the time") as raised:
        put(backend, [[usage(2)]])
    assert not isinstance(raised.value, StoreMovedError)
    assert figures(shelf) == [1]


def test_two_runs_may_make_the_tables_at_once(shelf, backend, monkeypatch):
    create = deltalake.DeltaTable.create
    second = shelf.open()

    def slow(*args, **options):
        monkeypatch.setattr(deltalake.DeltaTable, "create", create)
        put(second, [[usage(2)]], organization="other")
        raise deltalake.exceptions.DeltaError("there is a table")

    monkeypatch.setattr(deltalake.DeltaTable, "create", slow)
    put(backend, [[usage(1)]])
    assert (figures(shelf), figures(shelf, "other")) == ([1], [2])


def test_a_new_table_may_turn_out_to_be_of_another_feed(shelf, backend, monkeypatch):
    create = deltalake.DeltaTable.create
    second, mine = shelf.open(), Feed("completions", "1h", table="mine")

    def slow(*args, **options):
        monkeypatch.setattr(deltalake.DeltaTable, "create", create)
        put(second, [[usage(2)]], feed=attrs.evolve(mine, bucket_width="1d"))
        return create(*args, **options)

    monkeypatch.setattr(deltalake.DeltaTable, "create", slow)
    with pytest.raises(StoreError, match="the table mine holds completions:1d"):
        put(backend, [[usage(1)]], feed=mine)
    assert [state.feed.bucket_width for state in backend.states()] == ["1d"]


@pytest.mark.slow
def test_six_processes_lose_no_row(shelf, runs):
    steps = [(hour, value) for value in (1, 2) for hour in range(3)]
    jobs = [
        {"where": shelf.where, "organization": name, "steps": steps}
        for name in ("a", "b", "c", "d", "same", "same")
    ]
    said = runs.run(*jobs)
    assert all("moved" in each for each in said), said
    expected = {name: _undisturbed(name, *steps) for name in ("a", "b", "c", "d", "same")}
    assert shelf.rows(COMPLETIONS) == ordered(row for rows, _ in expected.values() for row in rows)
    numbers = {state.organization: state.place.number for state in shelf.open().states()}
    assert numbers == {"a": 6, "b": 6, "c": 6, "d": 6, "same": 12}


def _undisturbed(organization, *steps):
    """Rows, and rows of other kinds, after snapshots that nothing has disturbed."""
    import lake

    model = ToyShelf()
    backend = model.open()
    for start, value in steps:
        place = backend.place(organization, COMPLETIONS)
        backend.apply(lake.made(place, organization, start, value), 0)
    return model.rows(COMPLETIONS), ordered(model.other())


# Killed runs


# The first step makes the tables. The second one, a day later, replaces, and tidies two of them.
STEPS = [[0, 1], [1, 2]]


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "calls"), [(STEPS[:1], range(12)), (STEPS, range(12, 24))])
def test_after_a_kill_at_any_step_the_next_run_ends_with_the_rows_of_an_undisturbed_one(
    steps, calls, runs, tmp_path
):
    job = {"organization": "a", "steps": steps}
    assert runs.run({**job, "where": str(tmp_path / "whole")})[0]["calls"] == calls.stop
    for kill_at in calls:
        shelf = lake.DeltaShelf(str(tmp_path / str(kill_at)))
        assert runs.run({**job, "where": shelf.where, "kill_at": kill_at})[0]["signal"] == 9
        backend = shelf.open()
        start, value = steps[-1]
        backend.apply(lake.made(backend.place("a", COMPLETIONS), "a", start, value), 0)
        assert (shelf.rows(COMPLETIONS), ordered(shelf.other())) == _undisturbed("a", *steps)
        assert [state.rows for state in backend.states()] == [len(shelf.rows(COMPLETIONS))]


FILE, COMMIT = r"PUT \S+month\S+parquet", rf"PUT \S+{COMPLETIONS.table}/_delta_log/\d+.json"
POINTS = {
    "before the first data file": (FILE, "before"),
    "after the first data file": (FILE, "after"),
    "before the commit": (COMMIT, "before"),
    "after the commit": (COMMIT, "after"),
    "before old files go": (r"POST \S+delete", "before"),
    "after old files have gone": (r"POST \S+delete", "after"),
}


BEFORE = list(POINTS)[:3]


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_commit_to_s3_is_made_good(s3, runs, tmp_path):
    shelf, pid_file = lake.DeltaShelf(s3.bucket()), tmp_path / "pid"
    backend, steps, applied = shelf.open(), [(0, 1)], 1
    backend.apply(lake.made(Place(), "a", *steps[0]), 0)
    shelf.set_property(COMPLETIONS.table, "delta.deletedFileRetentionDuration", "interval 0 days")
    with lake.Gate(s3.address) as gate:
        job = {"where": shelf.where, "organization": "a", "pid_file": str(pid_file)}
        job["variables"] = lake.environment(gate.server_address)
        for number, (point, (pattern, when)) in enumerate(POINTS.items(), 1):
            gate.pattern, gate.before, gate.after = pattern, None, None
            setattr(gate, when, lambda: lake.kill(pid_file))
            steps.append((number, number + 1))
            (said,) = runs.run({**job, "steps": steps[-1:]})
            assert said["signal"] == 9, point
            place = backend.place("a", COMPLETIONS)
            assert place.number == applied + (point not in BEFORE), point
            backend.apply(lake.made(place, "a", *steps[-1]), 0)
            applied = place.number + 1
            found = shelf.rows(COMPLETIONS), ordered(shelf.other())
            assert found == _undisturbed("a", *steps), point


@pytest.mark.slow
def test_s3_holds_what_the_store_in_memory_holds(s3):
    shelf, model = lake.DeltaShelf(s3.bucket()), ToyShelf()
    backends = shelf.open(), model.open()
    for one in backends:
        put(one, [[usage(1)], [usage(2, model="a"), usage(3)], [usage(4)]])
        put(one, [[usage(5)]], organization="it's ä/%41")
        put(one, [[usage(6)], None, []])
        put(one, [[cost("0.1")], [cost("1e-30", "eur")]], feed=COSTS)
        with pytest.raises(StoreMovedError):
            one.apply(snapshot(Place(), [[usage(7)]]), 0)
    for feed in (COMPLETIONS, COSTS):
        assert shelf.rows(feed) == model.rows(feed)
    backends[0].close()
    found = [attrs.evolve(state, revisions=0) for state in shelf.open().states()]
    assert found == [attrs.evolve(state, revisions=0) for state in backends[1].states()]


@pytest.mark.slow
def test_two_processes_in_s3_lose_no_row(s3, runs):
    shelf = lake.DeltaShelf(s3.bucket())
    steps = [(0, 1), (1, 2), (2, 3)]
    variables = lake.environment(s3.address)
    job = {"where": shelf.where, "steps": steps, "variables": variables}
    said = runs.run({**job, "organization": "same"}, {**job, "organization": "same"})
    assert all("moved" in each for each in said), said
    assert shelf.rows(COMPLETIONS) == _undisturbed("same", *steps)[0]
    assert shelf.open().place("same", COMPLETIONS).number == 6


# Damage


def test_a_temporary_file_in_the_log_is_ignored(shelf, backend, log):
    put(backend, [[usage(1)]])
    (log / f"{2:020}.json#1").write_text('{"commitInf')
    (log / f"_commit_{2:020}.json.tmp").write_text('{"commitInf')
    put(backend, [[usage(2)]])
    assert figures(shelf) == [2]


@pytest.mark.parametrize("rest", [0, 60, -30], ids=["empty", "a few bytes", "nearly all"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_torn_commit_has_not_happened(rest, is_open, shelf, backend, log):
    put(backend, [[usage(1)], [usage(2)]])
    put(backend, [[usage(3)], [usage(4)]])
    commit = log / f"{2:020}.json"
    torn = commit.read_bytes()[:rest]
    commit.unlink()
    backend = shelf.open()
    if is_open:
        assert backend.place(ORGANIZATION, COMPLETIONS).number == 1
    commit.write_bytes(torn)
    if rest:
        # Somebody may still be writing it.
        with pytest.raises(StoreError):
            backend.place(ORGANIZATION, COMPLETIONS)
    age(commit)
    assert backend.place(ORGANIZATION, COMPLETIONS).number == 1
    assert figures(shelf) == [1, 2]
    put(backend, [[usage(5)], [usage(6)]])
    assert figures(shelf) == [5, 6]


def test_a_torn_checkpoint_is_done_without(shelf, backend, log):
    for number in range(21):
        put(backend, [[usage(number)]])
    (checkpoint,) = log.glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    age(checkpoint, log / "_last_checkpoint")
    backend = shelf.open()
    assert backend.place(ORGANIZATION, COMPLETIONS).number == 21
    put(backend, [[usage(50)]])
    assert figures(shelf) == [50]


def test_a_damaged_log_that_nothing_mends_is_an_error(shelf, backend, log):
    put(backend, [[usage(1)]])
    put(backend, [[usage(2)]])
    commit = log / f"{1:020}.json"
    commit.write_text('{"torn')
    age(commit)
    with pytest.raises(StoreError, match=re.escape(shelf.where)):
        shelf.open().place(ORGANIZATION, COMPLETIONS)
    assert commit.exists()


@pytest.mark.parametrize("rest", [None, 0, 100], ids=["gone", "empty", "cut"])
def test_the_months_of_a_lost_file_are_read_again(rest, shelf, backend, caplog):
    june, july = START, START + 30 * DAY
    for organization in ("a", "b"):
        put(backend, [[usage(1)]] * 3, start=june, organization=organization)
        put(backend, [[usage(2)]] * 3, start=july, organization=organization)
        put(backend, [[usage(3)]], start=july + 9 * DAY, organization=organization)
    for file in files(shelf):
        if "a/month=2026-07" in str(file):
            file.unlink() if rest is None else file.write_bytes(file.read_bytes()[:rest])
    place = backend.place("a", COMPLETIONS)
    assert place.start_time > july
    late = snapshot(place, [[usage(4)]], start=july + HOUR, organization="a")
    with pytest.raises(StoreMovedError, match="another run"):
        backend.apply(late, 0)
    assert "were lost" in caplog.text
    moved = backend.place("a", COMPLETIONS)
    assert (moved.number, moved.start_time) == (place.number + 1, july)
    assert attrs.evolve(moved, number=0, start_time=0) == attrs.evolve(
        place, number=0, start_time=0
    )
    again = {july + n * HOUR: [usage(2)] for n in range(3)} | {july + 9 * DAY: [usage(3)]}
    backend.apply(snapshot(moved, again, start=july, organization="a"), 0)
    assert figures(shelf, "a") == figures(shelf, "b") == [1, 1, 1, 2, 2, 2, 3]
    assert backend.place("b", COMPLETIONS).number == 3


@pytest.mark.parametrize("name", ["usage_feeds", "usage_other"])
def test_a_lost_file_of_another_table_stops_no_run(name, shelf, backend):
    backend.apply(lake.made(Place(), "a", 0, 1), 0)
    backend.close()
    for file in Path(shelf.where, name).rglob("*.parquet"):
        file.unlink()
    backend = shelf.open()
    place = backend.place("a", COMPLETIONS)
    backend.apply(lake.made(place, "a", 0, 2), 0)
    assert [state.organization for state in backend.states()] == ["a"]
    assert [row["row"] for row in shelf.other()] == ['{"n": 2}']


def test_a_file_that_is_damaged_inside_is_an_error(shelf, backend):
    put(backend, [[usage(1)], [usage(2)]])
    (file,) = files(shelf)
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(StoreError, match=re.escape(shelf.where)) as raised:
        put(backend, [[usage(3)]])
    assert not isinstance(raised.value, StoreMovedError)


def test_a_folder_that_is_removed_under_an_open_store_is_made_again(shelf, backend):
    put(backend, [[usage(1)], [usage(2)]])
    place = backend.place(ORGANIZATION, COMPLETIONS)
    second = shelf.open()
    assert second.place(ORGANIZATION, COMPLETIONS) == place
    shutil.rmtree(shelf.where)
    with pytest.raises(StoreMovedError):
        backend.apply(snapshot(place, [[usage(3)]]), 0)
    assert second.place(ORGANIZATION, COMPLETIONS) == Place()
    assert backend.states() == []
    put(backend, [[usage(4)]])
    assert figures(shelf) == [4]
    assert [state.rows for state in backend.states()] == [1]


def test_a_table_that_is_removed_is_in_no_state(shelf, backend):
    put(backend, [[usage(1)]])
    put(backend, [[cost("1")]], feed=COSTS)
    shutil.rmtree(Path(shelf.where, COMPLETIONS.table))
    assert [state.feed for state in shelf.open().states()] == [COSTS]


# Errors


def one_line(raised, shelf):
    text = str(raised.value)
    assert shelf.where in text
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) < 400
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    return text


def test_a_table_of_someone_else_is_refused(shelf, backend):
    import pyarrow as pa

    deltalake.write_deltalake(f"{shelf.where}/{COMPLETIONS.table}", pa.table({"a": [1]}))
    with pytest.raises(StoreError, match="did not make") as raised:
        backend.place(ORGANIZATION, COMPLETIONS)
    one_line(raised, shelf)


@pytest.mark.parametrize(
    "feed",
    ["", "{}", "[]", '{"filters": []}', '{"endpoint": "new", "filters": []}'],
)
def test_a_feed_of_a_later_release_is_refused(feed, shelf, backend):
    put(backend, [[usage(1)]])
    shelf.set_property(COMPLETIONS.table, "usage_async.feed", feed)
    with pytest.raises(StoreError, match="later release") as raised:
        backend.states()
    one_line(raised, shelf)


@pytest.mark.parametrize("path", ["/proc/lake", "/dev/null/lake"])
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_folder_that_cannot_be_written_is_one_line(path):
    shelf = lake.DeltaShelf(path)
    with pytest.raises(StoreError, match=r"No such file|Not a directory") as raised:
        shelf.open().apply(snapshot(Place(), [[usage(1)]]), 0)
    one_line(raised, shelf)


@pytest.mark.slow
def test_a_disk_that_takes_no_more_leaves_everything_as_it_was(shelf, backend, runs):
    backend.apply(lake.made(Place(), "a", 0, 1), 0)
    before = shelf.rows(COMPLETIONS), backend.states()
    job = {"where": shelf.where, "organization": "a", "steps": [(0, 2)]}
    for most in (100, 2000, 3000):
        (said,) = runs.run({**job, "most_bytes": most})
        assert said["error"] == f"StoreError: {shelf.where}: File too large"
        assert (shelf.rows(COMPLETIONS), backend.states()) == before
    assert "error" not in runs.run(job)[0]
    assert shelf.rows(COMPLETIONS) == _undisturbed("a", (0, 1), (0, 2))[0]


@pytest.fixture
def canary(monkeypatch):
    for name, value in lake.environment(("127.0.0.1", 9)).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "_S3_OPTIONS", {"max_retries": "0"})
    return lake.CANARY


def test_a_server_that_is_not_there_is_one_line_without_credentials(canary):
    shelf = lake.DeltaShelf("s3://bucket/folder")
    with pytest.raises(StoreError) as raised:
        shelf.open().place(ORGANIZATION, COMPLETIONS)
    assert one_line(raised, shelf) == "s3://bucket/folder: Connection refused"
    assert canary not in repr(raised.value) + repr(shelf.open())


def test_a_bucket_that_is_not_there_is_one_line(s3):
    shelf = lake.DeltaShelf("s3://no-such-bucket/folder")
    with pytest.raises(StoreError, match="S3 answers NoSuchBucket") as raised:
        shelf.open().place(ORGANIZATION, COMPLETIONS)
    one_line(raised, shelf)


REFUSALS = {
    "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{}</AWSAccessKeyId></Error>": (
        "S3 answers SignatureDoesNotMatch"
    ),
    "Server returned non-2xx status code\n403 Forbidden\n{}": "S3 answers 403 Forbidden",
    "Error performing PUT http://169.254.169.254/latest/api/token {}": "there are no credentials:",
    "builder error\nURL scheme is not allowed {}": "AWS_ALLOW_HTTP=true",
    "\x1b[31msomething with {}\x1b[0m\nand more": f"something with {MARK}",
    "": "unknown error",
}


@pytest.mark.parametrize("text", REFUSALS)
@pytest.mark.parametrize("kind", [OSError, ValueError, "panic"])
def test_no_error_shows_credentials(text, kind, canary, monkeypatch):
    class PanicException(BaseException):
        pass

    def failing(*_, **__):
        raise (PanicException if kind == "panic" else kind)(text.format(canary))

    shelf = lake.DeltaShelf("s3://bucket/folder")
    monkeypatch.setattr(deltalake, "DeltaTable", failing)
    with pytest.raises(StoreError) as raised:
        shelf.open().place(ORGANIZATION, COMPLETIONS)
    assert REFUSALS[text] in one_line(raised, shelf)
    assert canary not in str(raised.value)


def test_an_interruption_is_not_taken_for_an_error(backend, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(deltalake, "DeltaTable", interrupted)
    with pytest.raises(KeyboardInterrupt):
        backend.place(ORGANIZATION, COMPLETIONS)


# Tidying


def commits(log):
    return [
        json.loads(path.read_text().splitlines()[0])["commitInfo"]["operation"]
        for path in sorted(log.glob("*.json"))
    ]


def orphan(shelf, name="part-killed.parquet", days=2.0):
    file = Path(shelf.where, COMPLETIONS.table, f"organization={ORGANIZATION}", name)
    file.write_bytes(b"what a killed run has left")
    age(file, days=days)
    return file


def at(day):
    return {"as_of": START + int(DAY * day) + HOUR}


def test_old_files_go_once_a_day_and_young_ones_stay(shelf, backend, log):
    put(backend, [[usage(1)]], **at(0))
    old, young = orphan(shelf), orphan(shelf, "part-written.parquet", days=0)
    put(backend, [[usage(2)]], **at(0.9))
    assert old.exists()
    put(backend, [[usage(3)]], **at(1.1))
    assert not old.exists()
    assert young.exists()
    assert commits(log).count("VACUUM START") == 1
    for one in (backend, shelf.open()):
        put(one, [[usage(4)]], **at(1.5))
    assert commits(log).count("VACUUM START") == 1
    orphan(shelf)
    put(backend, [[usage(5)]], **at(2.3))
    assert commits(log).count("VACUUM START") == 2
    assert figures(shelf) == [5]


def test_a_clock_that_is_set_back_tidies_nothing_again(shelf, backend, log):
    put(backend, [[usage(1)]], **at(1))
    put(shelf.open(), [[usage(2)]], **at(0.5))
    assert "VACUUM START" not in commits(log)


def test_of_two_runs_one_tidies(shelf, backend, log, monkeypatch):
    put(backend, [[usage(1)]], **at(0))
    orphan(shelf)
    second, read = shelf.open(), deltalake.DeltaTable.transaction_version

    def slow(table, name):
        found = read(table, name)
        if name == "usage_async.tidied":
            monkeypatch.setattr(deltalake.DeltaTable, "transaction_version", read)
            put(second, [[usage(2)]], organization="other", **at(2))
        return found

    monkeypatch.setattr(deltalake.DeltaTable, "transaction_version", slow)
    put(backend, [[usage(3)]], **at(2))
    assert commits(log).count("VACUUM START") == 1
    assert (figures(shelf), figures(shelf, "other")) == ([3], [2])


def test_tidying_that_fails_fails_no_run(shelf, backend, monkeypatch):
    def failing(*_, **__):
        raise OSError("Permission denied (os error 13)")

    put(backend, [[usage(1)]], **at(0))
    monkeypatch.setattr(deltalake.DeltaTable, "vacuum", failing)
    put(backend, [[usage(2)]], **at(2))
    assert figures(shelf) == [2]


def test_the_list_of_feeds_stays_short(shelf, backend):
    for number in range(45):
        put(backend, [[usage(number)]], organization=f"o{number:02}")
    assert len(shelf.table("usage_feeds").file_uris()) <= 20
    assert [state.organization for state in backend.states()] == [
        f"o{number:02}" for number in range(45)
    ]
