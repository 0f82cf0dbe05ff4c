"""Runs that are killed at any moment, and what their stores hold after the next run.

    python -m tests.killing --kills 200 --store duckdb --store postgresql

kills runs at random times and prints where the kills have hit. Each store must then hold what a
prefix of the run leaves, and after the next run what an undisturbed one leaves.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, Self

import attrs

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from collecting import (
    COMPLETIONS,
    HOUR,
    ORGANIZATION,
    START,
    DuckDBShelf,
    PostgresServer,
    Shelf,
    Toy,
    ToyShelf,
    forget_duckdb,
    ordered,
    snapshot,
    usage,
)

from usage_async._codec.tables import table_of_texts
from usage_async.collect import OtherRow, Run
from usage_async.collect.sql import duckdb as duckdb_module
from usage_async.collect.sql import postgresql as postgresql_module
from usage_async.collect.store import Backend
from usage_async.errors import StoreMovedError

RUNS = 4
"""Runs of the scenario, three hours apart."""
STEP = 16
"""Buckets of a snapshot."""
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "adbc_driver_postgresql.dbapi",
        "deltalake",
        "duckdb",
        "pyarrow.compute",
        "usage_async._codec.tables",
        "usage_async.collect.sql.duckdb",
        "usage_async.collect.sql.postgresql",
        "usage_async.collect.reading",
        "usage_async.emulator",
    ]
)
"""Installed modules, which a process would import in a second."""


def figures(bucket: int, run: int) -> list[Any] | None:
    """The rows of a bucket at a run: some are revised, some emptied, filled or not sent."""
    draw = random.Random(f"{bucket} {run // 2}")  # noqa: S311 - repeatable on purpose
    if draw.random() < 0.1:
        return None
    models = [name for name in ("a", "b", None) if draw.random() < 0.7]
    return [usage(draw.randrange(1, 4), draw.randrange(10), model=name) for name in models]


def collect(backend: Backend, run: int) -> None:
    """One run of the scenario."""
    now = START + (24 + 3 * run) * HOUR
    place = backend.place(ORGANIZATION, COMPLETIONS)
    for start in range(START, now, STEP * HOUR):
        numbers = range(
            (start - START) // HOUR, min((now - START) // HOUR, (start - START) // HOUR + STEP)
        )
        rows = [figures(number, run) for number in numbers]
        first = next((n for n, each in zip(numbers, rows, strict=True) if each is not None), 0)
        bucket = START + first * HOUR
        other = [OtherRow(start_time=bucket, end_time=bucket + HOUR, row=f'{{"run": {run // 2}}}')]
        made = snapshot(place, rows, start=start, as_of=now, begun=START, other=other)
        backend.apply(made, now)
        place = made.next_place()
    names = {"dimension": ["project_id"], "id": [f"p{run}"], "name": ["P"]}
    backend.remember(ORGANIZATION, table_of_texts(names), now)
    backend.record(Run(organization=ORGANIZATION, feed=COMPLETIONS, started_at=now, seconds=1.0))


def contents(shelf: Shelf) -> Any:
    """Read the rows that a store holds; revisions and other rows where it keeps them."""
    found: dict[str, Any] = {"rows": shelf.rows(COMPLETIONS)}
    if "revisions" in shelf.keeps:
        found["revisions"] = ordered(shelf.revisions())
    if "other" in shelf.keeps:
        found["other"] = ordered(shelf.other())
    return found


@cache
def undisturbed() -> tuple[list[Any], Any]:
    """Give the contents of a store after each snapshot of undisturbed runs, and its last names."""
    shelf, after = ToyShelf(), []

    class Noted(Toy):
        def apply(self, snapshot: Any, seen_at: int) -> Any:
            applied = super().apply(snapshot, seen_at)
            after.append(deepcopy(contents(shelf)))
            return applied

    after.append(deepcopy(contents(shelf)))
    backend = Noted(shelf.memory)
    for run in range(RUNS):
        collect(backend, run)
    return after, shelf.names()


def _label(sql: str) -> str:
    words = sql.replace('"', "").split()
    return (
        words[0] if words[0] in ("SELECT", "BEGIN", "ATTACH", "DESCRIBE") else " ".join(words[:3])
    )


class Watched:
    """A connection or a cursor whose calls are announced."""

    def __init__(self, inner: Any, watch: Callable[[str], None]) -> None:
        self._inner, self._watch = inner, watch

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *raised: object) -> Any:
        return self._inner.__exit__(*raised)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("begin", "commit", "close", "execute", "register", "adbc_ingest", "cursor"):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            step = _label(arguments[0]) if name == "execute" else name
            self._watch(f"before {step}")
            result = found(*arguments, **options)
            self._watch(f"after {step}")
            return Watched(result, self._watch) if name == "cursor" else result

        return call


def watch_duckdb(watch: Callable[[str], None]) -> None:
    """Announce each step of DuckDB in this process."""
    _watch(duckdb_module.duckdb(), watch)


def watch_delta(watch: Callable[[str], None]) -> None:
    """Announce each step of Delta Lake in this process."""
    import deltalake

    def watched(home: Any, name: str) -> None:
        work = getattr(home, name)

        def call(*arguments: Any, **options: Any) -> Any:
            watch(f"before {name}")
            result = work(*arguments, **options)
            watch(f"after {name}")
            return result

        setattr(home, name, call)

    watched(deltalake, "write_deltalake")
    watched(deltalake.DeltaTable, "create")
    watched(deltalake.DeltaTable, "vacuum")


def watch_postgresql(watch: Callable[[str], None]) -> None:
    """Announce each step of PostgreSQL in this process."""
    _watch(postgresql_module.dbapi(), watch)


def _watch(library: Any, watch: Callable[[str], None]) -> None:
    connected = library.connect

    def connect(*arguments: Any, **options: Any) -> Any:
        watch("before connect")
        connection = connected(*arguments, **options)
        watch("after connect")
        return Watched(connection, watch)

    library.connect = connect


@attrs.frozen
class Kind:
    """A kind of store.

    Attributes:
        watch: Announces each step in this process.
        shelves: A context manager that gives a function that makes empty databases.
    """

    watch: Callable[[Callable[[str], None]], None]
    shelves: Callable[[], Any]


@contextmanager
def duckdb_shelves() -> Iterator[Callable[[], Shelf]]:
    """Give DuckDB files."""
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: DuckDBShelf(f"{folder}/{random.getrandbits(64):x}.duckdb")
    forget_duckdb()


@contextmanager
def postgresql_shelves() -> Iterator[Callable[[], Shelf]]:
    """Give schemas of a PostgreSQL server."""
    with PostgresServer() as server:
        yield server.shelf


@contextmanager
def delta_shelves() -> Iterator[Callable[[], Shelf]]:
    """Give folders of Delta tables."""
    from lake import DeltaShelf

    with tempfile.TemporaryDirectory() as folder:
        yield lambda: DeltaShelf(f"{folder}/{random.getrandbits(64):x}")


KINDS = {
    "delta": Kind(watch_delta, delta_shelves),
    "duckdb": Kind(watch_duckdb, duckdb_shelves),
    "postgresql": Kind(watch_postgresql, postgresql_shelves),
}


def work(kind: str, shelf: Shelf, killed_at: tuple[str, int, int] | None, where: Any) -> None:
    """Do all runs, in a process of its own.

    Args:
        kind: Kind of the store.
        shelf: The store.
        killed_at: Step at which this process kills itself: its text, the run, and how often it has
            come in this run.
        where: Shared text: the run and the step.
    """
    run, seen = 0, 0

    def watch(step: str) -> None:
        nonlocal seen
        where.value = f"{run} {step}".encode()[:100]
        if killed_at is not None and killed_at[1] == run and step.startswith(killed_at[0]):
            if seen == killed_at[2]:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    KINDS[kind].watch(watch)
    backend = shelf.open()
    for run in range(RUNS):
        collect(backend, run)
    backend.close()
    where.value = b"- after the end"


def killed(
    kind: str,
    shelf: Shelf,
    *,
    at: tuple[str, int, int] | None = None,
    after_s: float | None = None,
) -> tuple[str, float]:
    """Let a process do all runs, kill it, and check the store, then after further runs once more.

    Args:
        kind: Kind of the store.
        shelf: An empty store.
        at: See `work`.
        after_s: Seconds after which it is killed.

    Returns:
        The step that the kill has hit, and the seconds until then.
    """
    # Without a lock: a process that is killed while it holds one would keep this one waiting.
    where = PROCESSES.RawArray("c", 101)
    process = PROCESSES.Process(target=work, args=(kind, shelf, at, where))
    process.start()
    # The first connection takes half of the time, and is not worth half of the kills.
    while (not where.value or where.value.endswith(b"connect")) and process.is_alive():
        process.join(0.001)
    begun = monotonic()
    process.join(after_s)
    process.kill()
    process.join()
    took = monotonic() - begun
    run, _, step = where.value.decode().partition(" ")
    assert at is None or process.exitcode == -signal.SIGKILL, f"never came to {at}"
    process.close()
    check(shelf, 0 if run == "-" else int(run))
    return step, took


def check(shelf: Shelf, run: int) -> None:
    """Check a store whose run was killed.

    Args:
        shelf: The store.
        run: The run that was killed.
    """
    after, names = undisturbed()
    backend = shelf.open()
    place = backend.place(ORGANIZATION, COMPLETIONS)
    expected = dict(after[place.number])
    found = contents(shelf)
    if "revisions" not in shelf.keeps:
        # Without a transaction over tables these are written before.
        found.pop("other", None)
    assert found == {name: expected[name] for name in found}, f"half a snapshot, {place.number}"
    if place.number == len(after) - 1 and run == 0:
        run = RUNS
    for number in range(run, RUNS):
        try:
            collect(backend, number)
        except StoreMovedError:
            # The server has ended the killed run's transaction only now.
            collect(backend, number)
    found = contents(shelf)
    assert found == {name: after[-1][name] for name in found}
    if "names" in shelf.keeps:
        assert ordered(shelf.names()) == ordered(names)
    backend.close()


def main() -> None:
    """Kill runs at random times, and print a histogram."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--store", action="append", choices=sorted(KINDS))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # servers are stopped first
    for kind in given.store or sorted(KINDS):
        draw, hits = random.Random(given.seed), Counter[str]()  # noqa: S311 - repeatable
        with KINDS[kind].shelves() as new_shelf:
            whole = [killed(kind, new_shelf())[1] for _ in range(3)]
            while sum(hits.values()) < given.kills:
                # The latest runs say how long one takes while the machine is as busy as it is.
                step, took = killed(kind, new_shelf(), after_s=draw.random() * median(whole[-5:]))
                if step == "after the end":
                    whole.append(took)
                else:
                    hits[step] += 1
                print(f"\r{kind}: {sum(hits.values())} kills", end="", file=sys.stderr, flush=True)
        print(f"\n{kind}: {sum(hits.values())} kills; a run takes {whole[-1]:.2f} s")
        for step, count in hits.most_common():
            print(f"{count:5}  {step}")


if __name__ == "__main__":
    main()
