"""What is measured: each scenario gives its rows of the table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import attrs

from benchmarks.data import ENDPOINTS, Dataset
from benchmarks.race import Entry, Figures, child_environment, middle, race, ratio
from benchmarks.server import serving

OURS = "usage_async"
OFFICIAL = "openai"

MONTH = Dataset(pages=30)
YEAR = Dataset(pages=365)
PAGES_10_MB = Dataset(pages=4, rows=11)
PAGES_60_MB = Dataset(pages=2, rows=65)


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        scenario: Its name, as `--only` takes it.
        what: What is read, and how.
        contestant: Who reads it.
        rounds: Its figures.
        ours: Those of this library in the same rounds, to compare with.
    """

    scenario: str
    what: str
    contestant: str
    rounds: Sequence[Figures]
    ours: Sequence[Figures]

    def median(self, name: str) -> float | None:
        return middle(self.rounds, name)

    def against_ours(self, name: str) -> float:
        """How many times this library's figure it is."""
        return ratio(self.rounds, self.ours, name)


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
        Row(scenario, what, entry.name, figures, ours)
        for entry, figures in zip(entries, found, strict=True)
    ]


def _decode(what: str, dataset: Dataset, contestants: Sequence[str], *, quick: bool) -> list[Row]:
    entries = [Entry(name, (dataset,)) for name in contestants]
    return _rows("decode", what, entries, 3 if quick else 9, OURS)


def decode(*, quick: bool) -> list[Row]:
    """Bytes into values, nothing else: this library, peers and floors."""
    lanes = (OURS, "usage_async, tolerant", "typed, no probe", "structs")
    everybody = (*lanes, OFFICIAL, "pydantic", "json", "orjson")
    pages: list[tuple[str, Dataset, tuple[str, ...]]] = [
        ("10 MB page", Dataset(rows=11), everybody),
        ("1 MB page, unknown fields", Dataset(rows=1, novel=True), everybody),
    ]
    if not quick:
        pages += [
            ("small page", Dataset(page_buckets=10), everybody),
            ("1 MB page", Dataset(rows=1), everybody),
            (
                "costs, string amounts",
                Dataset("costs", "1d", rows=100),
                (*lanes, OFFICIAL, "json", "orjson"),
            ),
        ]
    return [row for page in pages for row in _decode(*page, quick=quick)]


def _at(
    url: str, latency_ms: int, entries: Sequence[tuple[str, int]], **how: object
) -> list[Entry]:
    """The entries of (contestant, concurrency) at one latency."""
    return [
        Entry(
            name,
            url=f"{url}/{latency_ms}",
            concurrency=concurrency,
            label=f"{name} x{concurrency}" if name == OURS or name.startswith("floor") else name,
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
            entries = _at(url, latency_ms, [*ours, *_PEERS, *_FLOORS], datasets=(MONTH,))
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
    """100 clients, so 100 organizations, in one process: 35 days at 1h each."""
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


def requests(*, quick: bool) -> list[Row]:
    """Pages of one bucket: what a request costs."""
    dataset = Dataset(pages=500 if quick else 2000, page_buckets=1)
    with serving([dataset]) as url:
        contestants = [(OURS, 1), (OURS, 16), *_PEERS, *_FLOORS]
        entries = _at(url, 0, contestants, datasets=(dataset,))
        what = f"{dataset.pages} tiny pages, 0 ms"
        return _rows("requests", what, entries, 1 if quick else 5, f"{OURS} x1")


def memory(*, quick: bool) -> list[Row]:
    """The peak of a fresh process that reads a month, or a year, and keeps nothing."""
    rows = []
    ours = [(OURS, 8), (OURS, 16)]
    spans = [("30 days", MONTH, [*ours, (OFFICIAL, 1)])]
    if not quick:
        spans.append(("365 days", YEAR, ours))
    for span, dataset, contestants in spans:
        with serving([dataset]) as url:
            entries = _at(url, 0, contestants, datasets=(dataset,), warm=False)
            what = f"{span} at 1m, peak"
            rows += _rows("memory", what, entries, 1 if quick else 5, f"{OURS} x16", fresh=True)
    return rows


def stall(*, quick: bool) -> list[Row]:
    """The longest time for which nothing else on the event loop had its turn."""
    rows = []
    sizes = [("10 MB pages", PAGES_10_MB)] + ([] if quick else [("60 MB pages", PAGES_60_MB)])
    for size, dataset in sizes:
        with serving([dataset]) as url:
            contestants = [(OURS, 1), (OURS, 8), (OFFICIAL, 1), ("aiohttp + json", 1)]
            entries = _at(url, 0, contestants, datasets=(dataset,), ticking=True)
            what = f"{dataset.pages} {size}, 0 ms"
            rows += _rows("stall", what, entries, 1 if quick else 5, f"{OURS} x8")
    return rows


def imports(*, quick: bool) -> list[Row]:
    """What a program waits for before its first line, compiled modules kept."""
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
        [once(statement) for statement in statements.values()] for _ in range(3 if quick else 15)
    ]
    found = list(zip(*turns, strict=True))
    return [
        Row("import", "import", name, rounds, found[0])
        for name, rounds in zip(statements, found, strict=True)
    ]


SCENARIOS: dict[str, Callable[..., list[Row]]] = {
    "import": imports,
    "decode": decode,
    "requests": requests,
    "month": month,
    "endpoints": endpoints,
    "clients": clients,
    "stall": stall,
    "memory": memory,
    "year": year,
}
