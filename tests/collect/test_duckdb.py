"""DuckDB: a file that others read, too, that may be damaged, and whose disk may be full."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import duckdb
import pytest
from collecting import (
    COMPLETIONS,
    COSTS,
    ORGANIZATION,
    DuckDBShelf,
    cost,
    put,
    rows_of,
    snapshot,
    usage,
)
from service import Clock

from usage_async.collect import Place, Store, open_store
from usage_async.collect.sql.duckdb import DuckDB
from usage_async.errors import ConfigurationError, StoreError, StoreMovedError


@pytest.fixture
def shelf(tmp_path, duckdb_closed):
    return DuckDBShelf(str(tmp_path / "usage.duckdb"))


class Waiting(Clock):
    """Time that passes by sleeping; after some sleeps something happens."""

    def __init__(self, sleeps=None, then=None):
        super().__init__(0.0)
        self.left, self.then = sleeps, then

    async def sleep(self, seconds):
        await super().sleep(seconds)
        if len(self.slept) == self.left:
            self.then()


@pytest.fixture
def holder(shelf):
    """Another process that has the file open, until it is told to end."""
    backend = shelf.open()
    put(backend, [[usage(1)]])
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", code, shelf.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"open\n"
        yield process
        end(process)


def end(process):
    if process.poll() is None:
        process.communicate(b"\n")


@pytest.mark.parametrize("work", ["place", "apply"])
@pytest.mark.slow
async def test_a_file_that_another_program_has_open_is_waited_for(shelf, holder, work):
    waiting = Waiting(5, lambda: end(holder))
    async with Store(shelf.open(), runtime=waiting.runtime) as store:
        if work == "place":
            assert (await store.resume_from(ORGANIZATION, COMPLETIONS)).number == 1
        else:
            await store.apply(snapshot(Place(number=1), [[usage(2)]]))
    assert waiting.slept == [0.05] * 5


@pytest.mark.slow
async def test_a_file_that_stays_open_elsewhere_is_an_error_after_ten_seconds(shelf, holder):
    waiting = Waiting()
    async with Store(shelf.open(), runtime=waiting.runtime) as store:
        for work in (store.states, lambda: store.apply(snapshot(Place(), [[]]))):
            waiting.now = 0.0
            with pytest.raises(
                StoreError, match=f"another program .*PID {holder.pid}.*; waited for 10 s$"
            ) as raised:
                await work()
            assert "\n" not in str(raised.value)
            assert type(raised.value) is StoreError
            assert waiting.now == pytest.approx(10, abs=0.1)


async def test_a_connection_of_this_process_is_waited_for_as_well(shelf):
    put(shelf.open(), [[usage(1)]])
    reader = duckdb.connect(shelf.path, read_only=True)
    waiting = Waiting(3, reader.close)
    async with Store(shelf.open(), runtime=waiting.runtime) as store:
        await store.apply(snapshot(Place(number=1), [[usage(2)]]))
    assert len(waiting.slept) == 3


def test_between_transactions_the_file_is_free(shelf):
    backend = shelf.open()
    put(backend, [[usage(1)]])
    with duckdb.connect(shelf.path, config={"threads": 1}) as other:
        other.execute("CREATE TABLE mine (a int)")
    put(backend, [[usage(2)]])
    assert [row["num_model_requests"] for row in shelf.rows(COMPLETIONS)] == [2]


def test_threads_with_stores_of_their_own_wait_for_each_other(shelf):
    moved = []

    def work(name):
        backend = shelf.open()
        for number in range(1, 5):
            try:
                put(backend, [[usage(number)]], organization=name)
                put(backend, [[usage(number)]], organization="shared")
            except StoreMovedError:
                moved.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = {state.organization: state.place.number for state in shelf.open().states()}
    assert states["a"] + states["b"] + states["c"] <= 12
    assert states["shared"] == 12 - len(moved)


def test_reading_makes_no_file(shelf):
    backend = shelf.open()
    assert backend.place(ORGANIZATION, COMPLETIONS) == Place()
    assert backend.states() == []
    assert backend.named_at(ORGANIZATION) is None
    assert not Path(shelf.path).exists()


def test_a_new_file_is_whole_before_it_has_its_name(shelf, monkeypatch):
    made = []
    link = os.link
    monkeypatch.setattr(os, "link", lambda one, other: (made.append(one), link(one, other)))
    put(shelf.open(), [[usage(1)]])
    folder = Path(shelf.path).parent
    assert made[0].startswith(str(folder / ".usage-async-"))
    assert [path.name for path in folder.iterdir()] == ["usage.duckdb"]


def test_a_file_system_without_links_is_written_to_directly(shelf, monkeypatch):
    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    put(shelf.open(), [[usage(1)]])
    assert len(shelf.rows(COMPLETIONS)) == 1


def test_a_file_that_another_run_has_made_in_the_meantime_is_kept(shelf, monkeypatch):
    link = os.link

    def late(one, other):
        with duckdb.connect(other) as connection:
            connection.execute("CREATE TABLE mine (a int)")
        link(one, other)

    monkeypatch.setattr(os, "link", late)
    put(shelf.open(), [[usage(1)]])
    assert shelf.select("SELECT * FROM mine") == []
    assert len(shelf.rows(COMPLETIONS)) == 1


def test_a_link_to_a_file_is_the_file(shelf, tmp_path):
    put(shelf.open(), [[usage(1)]])
    (tmp_path / "link").symlink_to(shelf.path)
    put(DuckDB(str(tmp_path / "link")), [[usage(2)]])
    assert [row["num_model_requests"] for row in shelf.rows(COMPLETIONS)] == [2]


@pytest.mark.parametrize("damage", ["text", "empty", "folder", "cut"])
def test_what_is_no_database_is_an_error_in_one_line_and_stays(shelf, damage):
    path = Path(shelf.path)
    if damage == "folder":
        path.mkdir()
    elif damage == "cut":
        put(shelf.open(), [[usage(1)]])
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.write_text("no database\n" * 1000 if damage == "text" else "")
    before = path.stat().st_size
    backend = shelf.open()
    for work in (backend.states, lambda: backend.apply(snapshot(Place(), [[usage(1)]]), 0)):
        with pytest.raises(StoreError, match=f"^{path}: ") as raised:
            work()
        assert "\n" not in str(raised.value)
        assert raised.value.__context__ is None
    assert path.stat().st_size == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_no_file(shelf):
    os.mkfifo(shelf.path)
    backend = shelf.open()
    for work in (backend.states, lambda: backend.apply(snapshot(Place(), [[]]), 0)):
        # Opening a pipe waits for its other end.
        with pytest.raises(StoreError, match=f"^{shelf.path}: it is no file$"):
            work()


def test_a_path_that_the_locale_cannot_write_is_an_error_of_the_store(shelf, monkeypatch):
    def run(self, sql):
        raise RuntimeError("std::bad_cast")

    monkeypatch.setattr(DuckDB, "_run", run)
    with pytest.raises(StoreError, match=f"^{shelf.path}: std::bad_cast$"):
        put(shelf.open(), [[usage(1)]])


def test_a_name_may_be_as_long_as_that_of_a_file_with_its_log(tmp_path):
    shelf = DuckDBShelf(str(tmp_path / f"{'n' * 243}.duckdb"))
    put(shelf.open(), [[usage(1)]])
    assert len(shelf.rows(COMPLETIONS)) == 1


def test_a_folder_that_is_not_there_is_told_before_anything_is_read(tmp_path):
    backend = DuckDB(str(tmp_path / "no" / "x.duckdb"))
    for work in (backend.states, lambda: backend.apply(snapshot(Place(), [[]]), 0)):
        with pytest.raises(StoreError, match="there is no folder"):
            work()


def in_a_process(shelf, code):
    """Run a test in a process of its own, whose limits can be changed."""
    given = textwrap.dedent(code)
    header = "import os, resource, signal, sys\nsys.path[:0] = ['tests', '.']\n"
    header += "from collecting import *\nshelf = DuckDBShelf(sys.argv[1])\n"
    root = Path(__file__).parents[2]
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", header + given, shelf.path],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_the_next_run_mends_it(shelf):
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        backend = shelf.open()
        put(backend, [[usage(1)], [usage(2)]])
        rows = [usage(n, model=f"model {n}") for n in range(5_000)]
        size = os.path.getsize(shelf.path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))
        try:
            put(backend, [rows, [usage(3)]])
        except StoreError as error:
            assert chr(10) not in str(error)
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        assert backend.place("acme", COMPLETIONS).number == 1
        assert [row["num_model_requests"] for row in shelf.rows(COMPLETIONS)] == [1, 2]
        put(backend, [rows, [usage(3)]])
        assert len(shelf.rows(COMPLETIONS)) == 5_001
        assert len(os.listdir(os.path.dirname(shelf.path))) <= 2
    """
    assert "File too large" in in_a_process(shelf, code)


@pytest.mark.slow
def test_a_disk_that_has_room_for_the_log_alone_loses_nothing(shelf):
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        backend = shelf.open()
        put(backend, [[usage(1)], [usage(2)]])
        resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(shelf.path), -1))
        for number in (2, 3):
            rows = [usage(n, model=f"model {n} {number} " * 20) for n in range(300)]
            assert put(backend, [rows, [usage(3)]]).rows == 301
            assert backend.place("acme", COMPLETIONS).number == number
        print(os.listdir(os.path.dirname(shelf.path)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        assert len(shelf.rows(COMPLETIONS)) == 301
        put(backend, [[usage(1)], [usage(2)]])
        assert len(shelf.rows(COMPLETIONS)) == 2
    """
    assert "usage.duckdb.wal" in in_a_process(shelf, code)


def test_a_file_that_cannot_be_closed_keeps_what_was_committed(shelf, monkeypatch):
    backend = shelf.open()
    put(backend, [[usage(1)]])
    run = DuckDB._run

    def without_room(self, sql):
        if sql.startswith("DETACH"):
            raise duckdb.Error("No space left on device")
        run(self, sql)

    monkeypatch.setattr(DuckDB, "_run", without_room)
    assert put(backend, [[usage(2)]]).rows == 1
    monkeypatch.undo()
    assert backend.place("acme", COMPLETIONS).number == 2
    put(backend, [[usage(3)]])
    assert [row["num_model_requests"] for row in shelf.rows(COMPLETIONS)] == [3]


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_leaves_no_file(shelf):
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, -1))
        try:
            put(shelf.open(), [[usage(1)]])
        except StoreError as error:
            print(error)
        print(os.listdir(os.path.dirname(shelf.path)))
    """
    told = in_a_process(shelf, code)
    assert "File too large" in told
    assert told.endswith("[]\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_to_can_be_read(shelf):  # pragma: no cover - skipped as root
    put(shelf.open(), [[usage(1)]])
    Path(shelf.path).chmod(0o400)
    assert shelf.open().states()[0].rows == 1
    with pytest.raises(StoreError, match=r"usage\.duckdb"):
        put(shelf.open(), [[usage(2)]])


async def test_a_url_names_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for url, path in [
        ("duckdb:a.duckdb", tmp_path / "a.duckdb"),
        ("DuckDB:./b.duckdb", tmp_path / "b.duckdb"),
        ("duckdb:~/c.duckdb", tmp_path / "home" / "c.duckdb"),
        ("duckdb:md:remote", tmp_path / "md:remote"),
        (f"duckdb:{tmp_path}/it's \U0001f980?a=b", tmp_path / "it's \U0001f980?a=b"),
    ]:
        async with open_store(url) as store:
            given = snapshot(Place(), [[cost("1")]], feed=COSTS)
            assert (await store.apply(given)).rows == 1
        assert DuckDBShelf(str(path)).rows(COSTS) == rows_of(given)
    assert repr(DuckDB("a.duckdb")) == f"DuckDB({str(tmp_path / 'a.duckdb')!r})"


def test_a_missing_library_is_one_line_with_the_command(monkeypatch):
    from usage_async.collect.sql import duckdb as module

    module.duckdb.cache_clear()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'usage-async\[collect\]'"):
        DuckDB("x.duckdb")
    module.duckdb.cache_clear()
