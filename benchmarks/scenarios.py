"""Scenarios: each measures some contestants and returns its rows of the table."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks.collect import Work, measure, stores
from benchmarks.contestants import KEY
from benchmarks.data import ENDPOINTS, Dataset
from benchmarks.race import (
    Entry,
    Failed,
    Figures,
    Outcome,
    child_environment,
    middle,
    race,
    ratio,
)
from benchmarks.server import serving

OURS = "usage_async"
TO_ARROW = f"{OURS}, to_arrow"
BATCHES = f"{OURS}, arrow_batches"
OFFICIAL = "openai"
OFFICIAL_PANDAS = "openai + pandas"

MONTH = Dataset(pages=30)
YEAR = Dataset(pages=365)
PAGE_10_MB = Dataset(rows=11)
PAGES_10_MB = Dataset(pages=4, rows=11)
PAGES_60_MB = Dataset(pages=2, rows=65)
COSTS_PAGE = Dataset("costs", "1d", rows=100)
HOURS = Dataset(width="1h", page_buckets=24, rows=50)
"""A day at 1h, 50 groups a bucket."""


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        scenario: Name of the scenario, as `--only` takes it.
        what: The work.
        contestant: Name of the contestant.
        outcome: Its figures.
        ours: Figures of this library in the same rounds, for the comparison; None: no comparison.
        work: Rows of data in the work; 0 if their number says nothing.
    """

    scenario: str
    what: str
    contestant: str
    outcome: Outcome
    ours: Outcome | None
    work: int = 0

    def median(self, name: str) -> float | None:
        return middle(self.outcome, name)

    def against_ours(self, name: str) -> float | None:
        """The figure as a multiple of this library's."""
        return None if self.ours is None else ratio(self.outcome, self.ours, name)


def _rows(
    scenario: str,
    what: str,
    entries: Sequence[Entry],
    rounds: int,
    reference: str,
    *,
    fresh: bool = False,
) -> list[Row]:
    found = race(entries, rounds, fresh=fresh)
    ours = found[[entry.name for entry in entries].index(reference)]
    return [
        Row(scenario, what, entry.name, outcome, ours)
        for entry, outcome in zip(entries, found, strict=True)
    ]


def _one_page(
    scenario: str, what: str, dataset: Dataset, contestants: Sequence[str], rounds: int
) -> list[Row]:
    entries = [Entry(name, (dataset,)) for name in contestants]
    return _rows(scenario, what, entries, rounds, contestants[0])


def decode(*, quick: bool) -> list[Row]:
    """Bytes into values and nothing else: this library, its peers and floors."""
    own = (OURS, f"{OURS}, tolerant", "typed, no probe", "structs")
    everybody = (*own, OFFICIAL, "pydantic", "json", "orjson")
    pages: list[tuple[str, Dataset, tuple[str, ...]]] = [
        ("10 MB page", PAGE_10_MB, everybody),
        ("1 MB page, unknown fields", Dataset(rows=1, novel=True), everybody),
        ("costs, string amounts", COSTS_PAGE, (*own, OFFICIAL, "json", "orjson")),
    ]
    if not quick:
        pages += [
            ("small page", Dataset(page_buckets=10), everybody),
            ("1 MB page", Dataset(rows=1), everybody),
        ]
    rounds = 5 if quick else 9
    return [row for page in pages for row in _one_page("decode", *page, rounds)]


def arrow(*, quick: bool) -> list[Row]:
    """Bytes into a table, of one page that is in memory."""
    peers = (
        "structs",
        f"{OURS}, collect",
        "polars, nested buckets",
        "polars, flat rows",
        "pyarrow.json, nested buckets",
        "orjson + from_pylist",
        OFFICIAL_PANDAS,
    )
    rounds = 5 if quick else 15
    rows = _one_page("arrow", "10 MB page to a table", PAGE_10_MB, (TO_ARROW, *peers), rounds)
    if not quick:
        costs = (TO_ARROW, "structs", f"{OURS}, collect", "orjson + from_pylist")
        rows += _one_page("arrow", "costs page to a table", COSTS_PAGE, costs, rounds)
    return rows


def rows(*, quick: bool) -> list[Row]:
    """Flat rows beside results, of one page that is in memory."""
    contestants = (f"{OURS}, results", f"{OURS}, rows")
    return _one_page("rows", "10 MB page, streamed", PAGE_10_MB, contestants, 5 if quick else 15)


_WINDOWED = {OURS, TO_ARROW, BATCHES, "floor: bytes", "floor: dicts", "floor: structs"}
"""The contestants that make several requests at a time."""


def _at(
    url: str, latency_ms: int, entries: Sequence[tuple[str, int]], **how: object
) -> list[Entry]:
    """Make the entries of `(contestant, concurrency)` at one latency."""
    return [
        Entry(
            name,
            url=f"{url}/{latency_ms}",
            concurrency=concurrency,
            label=f"{name} x{concurrency}" if name in _WINDOWED else name,
            **how,  # type: ignore[arg-type] # passed through
        )
        for name, concurrency in entries
    ]


_PEERS = [(OFFICIAL, 1), ("httpx + pydantic", 1), ("aiohttp + json", 1)]
_FLOORS = [("floor: bytes", 1), ("floor: bytes", 16), ("floor: structs", 16)]


def month(*, quick: bool) -> list[Row]:
    """30 days at 1m: 43,200 buckets, 86,400 results, 57 MB."""
    ours = [(OURS, concurrency) for concurrency in ((1, 16) if quick else (1, 4, 8, 16, 32))]
    rows = []
    with serving([MONTH]) as url:
        for latency_ms in (0, 100) if quick else (0, 20, 100, 300):
            contestants = [*ours, *_PEERS, *_FLOORS]
            if latency_ms == 100:
                contestants += [(TO_ARROW, 16), (OFFICIAL_PANDAS, 1)]
            elif quick:
                contestants = [*ours, ("aiohttp + json", 1)]
            entries = _at(url, latency_ms, contestants, datasets=(MONTH,))
            what = f"30 days at 1m, {latency_ms} ms"
            rows += _rows("month", what, entries, 1 if quick else 5, f"{OURS} x16")
    return rows


def year(*, quick: bool) -> list[Row]:
    """365 days at 1m: 525,600 buckets, 1,051,200 results, 700 MB."""
    peers = [] if quick else [*_PEERS, *_FLOORS]
    with serving([YEAR]) as url:
        entries = _at(url, 20, [(OURS, 16), *peers], datasets=(YEAR,), warm=False)
        return _rows("year", "365 days at 1m, 20 ms", entries, 1, f"{OURS} x16")


def endpoints(*, quick: bool) -> list[Row]:
    """All 12 endpoints at once: 91 days at 1h, costs by day."""
    datasets = tuple(
        Dataset(name, "1d", pages=3, rows=20) if name == "costs" else Dataset(name, "1h", pages=13)
        for name in ENDPOINTS
    )
    contestants = [(OURS, 8), (OURS, 16), (OFFICIAL, 1), ("aiohttp + json", 1)]
    with serving(datasets) as url:
        entries = _at(url, 100, contestants, datasets=datasets)
        what = "12 endpoints, 91 days at 1h, 100 ms"
        return _rows("endpoints", what, entries, 1 if quick else 3, f"{OURS} x16")


def clients(*, quick: bool) -> list[Row]:
    """100 clients, as for 100 organizations, in one process: 35 days at 1h each."""
    dataset = Dataset(width="1h", pages=5)
    with serving([dataset]) as url:
        entries = _at(
            url,
            100,
            [(OURS, 8), (OFFICIAL, 1), ("aiohttp + json", 1)],
            datasets=(dataset,),
            clients=10 if quick else 100,
        )
        what = f"{entries[0].clients} clients, 35 days at 1h, 100 ms"
        return _rows("clients", what, entries, 1 if quick else 3, f"{OURS} x8")


def small(*, quick: bool) -> list[Row]:
    """Pages of one bucket: the cost of a request beside aiohttp and JSON."""
    rows = []
    for clients, pages in [(1, 2000), (100, 20)]:
        dataset = Dataset(pages=pages, page_buckets=1)
        contestants = [(OURS, 16), ("floor: dicts", 16)]
        if clients == 1:
            contestants += _PEERS
        with serving([dataset]) as url:
            entries = _at(url, 0, contestants, datasets=(dataset,), clients=clients)
            what = f"{pages} small pages, 0 ms"
            what = what if clients == 1 else f"{clients} x {what}"
            rows += _rows("small", what, entries, 3 if quick else 11, f"{OURS} x16")
    return rows


def memory(*, quick: bool) -> list[Row]:
    """The peak of a fresh process that reads a month or a year and keeps nothing.

    The peak of a process includes its modules, which hide a growth. Therefore batches are also
    measured by what Python and Arrow have allocated since the start of the work.
    """
    rows = []
    rounds = 1 if quick else 5
    ours = [(OURS, 8), (OURS, 16)]
    for span, dataset in [("30 days", MONTH), ("365 days", YEAR)]:
        with serving([dataset]) as url:
            entries = _at(url, 0, ours, datasets=(dataset,), warm=False)
            what = f"{span} at 1m, peak"
            rows += _rows("memory", what, entries, rounds, f"{OURS} x16", fresh=True)
    for days in (30, 365):
        dataset = attrs.evolve(HOURS, pages=days)
        with serving([dataset]) as url:
            for tracing in (False, True):
                entries = _at(url, 0, [(BATCHES, 8)], datasets=(dataset,), tracing=tracing)
                what = f"{days} days at 1h, 50 groups, {'allocated' if tracing else 'peak'}"
                rows += _rows("memory", what, entries, rounds, f"{BATCHES} x8", fresh=True)
    return rows


def stall(*, quick: bool) -> list[Row]:
    """The longest time for which nothing else could run on the event loop."""
    rows = []
    contestants = [(OURS, 1), (OURS, 8), (TO_ARROW, 1), (TO_ARROW, 8)]
    contestants += [(OFFICIAL, 1), ("aiohttp + json", 1)]
    for size, dataset in [("10 MB pages", PAGES_10_MB), ("60 MB pages", PAGES_60_MB)]:
        with serving([dataset]) as url:
            entries = _at(url, 0, contestants, datasets=(dataset,), ticking=True)
            what = f"{dataset.pages} {size}, 0 ms"
            rows += _rows("stall", what, entries, 1 if quick else 5, f"{OURS} x8")
    return rows


def fetch(*, quick: bool) -> list[Row]:
    """`usage-async fetch` of a month at 1m to a file: 216,000 rows, without the process's start.

    The start is measured by a run over one bucket, in the same round, and subtracted.
    """
    dataset = attrs.evolve(MONTH, rows=5)
    one = Dataset(page_buckets=1)
    formats = ("parquet", "csv", "jsonl")
    found: dict[str, list[Figures] | Failed] = {name: [] for name in formats}
    with serving([dataset, one]) as url, tempfile.TemporaryDirectory() as folder:

        def run(dataset: Dataset, ending: str) -> Figures:
            file = Path(folder, f"figures.{ending}")
            command = ["fetch", dataset.endpoint, "--width", dataset.width, "-o", str(file)]
            command += ["--limit", str(dataset.limit)]
            command += ["--start", str(dataset.start), "--end", str(dataset.end)]
            return _child(["-c", "from usage_async._cli import main; main()", *command], url)

        # The first round only fills the caches of the machine: its starts take longer.
        for number in range(3 if quick else 6):
            for name in formats:
                outcome = found[name]
                if isinstance(outcome, Failed):
                    continue
                try:
                    start, whole = run(one, name), run(dataset, name)
                except subprocess.CalledProcessError as error:
                    found[name] = Failed(" ".join(error.stderr.split()[:40]))
                    continue
                wall_s, cpu_s = whole.wall_s - start.wall_s, whole.cpu_s - start.cpu_s
                if number:
                    outcome.append(Figures(wall_s, cpu_s))
    work = dataset.sums().rows
    return [
        Row("fetch", "fetch of 30 days at 1m", name, outcome, None, work)
        for name, outcome in found.items()
    ]


def _child(arguments: Sequence[str], url: str) -> Figures:
    """Run Python as a child, and measure the child alone.

    Raises:
        CalledProcessError: It failed; its `stderr` says why.
    """
    settings = {"OPENAI_ADMIN_KEY": KEY, "USAGE_ASYNC_BASE_URL": f"{url}/0"}
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        env={**child_environment(), **settings},
        check=True,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Figures(wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def imports(*, quick: bool) -> list[Row]:
    """The wait before the first line of a program, with compiled modules."""
    statements = {
        OURS: "import usage_async",
        f"{OURS}, its client": "from usage_async import UsageClient",
        "aiohttp": "import aiohttp",
        "aiohttp, attrs, cattrs, msgspec": "import aiohttp, attrs, cattrs.preconf.msgspec",
        OFFICIAL: "import openai",
        f"{OFFICIAL}, its client": "from openai import AsyncOpenAI",
    }
    code = (
        "import time; wall, cpu = time.perf_counter(), time.process_time(); {};"
        "print(time.perf_counter() - wall, time.process_time() - cpu)"
    )

    def once(statement: str) -> Figures:
        command = [sys.executable, "-c", code.format(statement)]
        done = subprocess.run(
            command, env=child_environment(), check=True, capture_output=True, text=True
        )
        return Figures(*map(float, done.stdout.split()))

    for statement in statements.values():
        once(statement)
    turns = [
        [once(statement) for statement in statements.values()] for _ in range(5 if quick else 15)
    ]
    found = list(zip(*turns, strict=True))
    return [
        Row("import", "import", name, rounds, found[0])
        for name, rounds in zip(statements, found, strict=True)
    ]


def web(*, quick: bool) -> list[Row]:
    """Cached answers at a steady rate, stalls beside large readings, runs of several workers."""
    from benchmarks.web import web as all_of

    return all_of(quick=quick)


BACK_FILL = "365 days at 1h, 20 groups"
HOURLY = "{} organizations x 12 endpoints, hourly, 100 ms"
MANY = "{} organizations x 2 endpoints, hourly"
BESIDE = "10 organizations x 4 endpoints, 100 ms"
ALONE, DISTURBED = "alone", "beside 2 throttled and 2 hanging"
FLOOR = "floor: INSERT into {}"


def collect(*, quick: bool) -> list[Row]:
    """Collecting into stores: a back-fill, hourly runs of many, and the bad beside the good.

    Floors: the same pages as bytes, and the same rows inserted by the driver alone.
    """
    rounds = 1 if quick else 5
    with stores() as urls:
        rows = _back_fill(urls, rounds)
        duckdb = urls["DuckDB"]
        days = tuple(
            # Three days: all of them may still be revised, so that each run reads all.
            Dataset(name, "1d", rows=20, page_buckets=3)
            if name == "costs"
            else Dataset(name, "1h", rows=3, page_buckets=72)
            for name in ENDPOINTS
        )
        with serving(days) as url:
            few = 4 if quick else 40
            work = Work(
                store=duckdb, url=f"{url}/100", datasets=days, organizations=few, is_later=True
            )
            what = HOURLY.format(few)
            rows.append(Row("collect", what, OURS, measure(work, rounds), None, work.requests))
            entry = _at(url, 100, [("floor: bytes", 8)], datasets=days, clients=few)
            rows += _rows("collect", what, entry, rounds, entry[0].name)
            two = attrs.evolve(work, url=f"{url}/0", datasets=days[:2])
            for number in (50, 500):
                one = attrs.evolve(two, organizations=number)
                outcome = measure(one, 1 if quick else 3)
                what = MANY.format(number)
                rows.append(Row("collect", what, OURS, outcome, None, one.requests))
            four = attrs.evolve(work, organizations=10, datasets=days[:4])
            for name, bad in ((ALONE, 0), (DISTURBED, 2)):
                one = attrs.evolve(four, throttled=bad, hanging=bad)
                rows.append(Row("collect", BESIDE, name, measure(one, rounds), None, one.requests))
    return rows


def _back_fill(urls: Mapping[str, str], rounds: int) -> list[Row]:
    year = Dataset(width="1h", pages=52, rows=20)
    found = []
    with serving([year]) as url:
        for name, store in urls.items():
            work = Work(store=store, url=f"{url}/0", datasets=(year,))
            for contestant, one in (
                (name, attrs.evolve(work, warm=store)),
                (f"{name}, a first run", work),
                (FLOOR.format(name), attrs.evolve(work, is_floor=True)),
            ):
                outcome = measure(one, rounds)
                found.append(Row("collect", BACK_FILL, contestant, outcome, None, work.rows))
        entries = _at(url, 0, [("floor: bytes", 8)], datasets=(year,))
        found += _rows("collect", BACK_FILL, entries, rounds, entries[0].name)
    return found


SCENARIOS: dict[str, Callable[..., list[Row]]] = {
    "import": imports,
    "decode": decode,
    "arrow": arrow,
    "rows": rows,
    "small": small,
    "month": month,
    "fetch": fetch,
    "endpoints": endpoints,
    "clients": clients,
    "collect": collect,
    "stall": stall,
    "memory": memory,
    "year": year,
    "web": web,
}
