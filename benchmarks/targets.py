"""Targets of the library, judged below the table: met, missed, or not measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from benchmarks import web
from benchmarks.race import ratio
from benchmarks.scenarios import (
    ALONE,
    BACK_FILL,
    BATCHES,
    BESIDE,
    DISTURBED,
    MANY,
    OFFICIAL,
    OFFICIAL_PANDAS,
    OURS,
    TO_ARROW,
    Row,
)

_Place = tuple[str, str]
"""Work and contestant: a row of the table."""
_Places = dict[_Place, Row]

_X16 = f"{OURS} x16"
_MONTH = "30 days at 1m, 100 ms"
_PAGE = "10 MB page"
_TABLE = "10 MB page to a table"
_HOURS = "{} days at 1h, 50 groups, {}"
_FETCH = "fetch of 30 days at 1m"


@attrs.frozen(kw_only=True)
class Target:
    """A target.

    Attributes:
        scenario: Scenario that measures it.
        text: The measured figure.
        bound: Limit of the figure.
        at_least: The figure must not be below the bound; otherwise not above it.
        measure: Computes the figure from the rows; None if something is missing.
    """

    scenario: str
    text: str
    bound: float
    at_least: bool = False
    measure: Callable[[_Places], float | None] = attrs.field(repr=False)


@attrs.frozen
class Verdict:
    """A target and the figure that was found; None if it was not measured."""

    target: Target
    found: float | None

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        bound = self.target.bound
        return self.found >= bound if self.target.at_least else self.found <= bound


def _ratio(one: _Place, other: _Place, figure: str = "cpu_s") -> Callable[[_Places], float | None]:
    """Measure how many times the figure of the other row a figure is, round by round."""

    def measure(places: _Places) -> float | None:
        if one not in places or other not in places:
            return None
        return ratio(places[one].outcome, places[other].outcome, figure)

    return measure


def _stall_ms(place: _Place) -> Callable[[_Places], float | None]:
    def measure(places: _Places) -> float | None:
        stall_s = places[place].median("stall_s") if place in places else None
        return None if stall_s is None else stall_s * 1e3

    return measure


def _p99_of_median(place: _Place) -> Callable[[_Places], float | None]:
    """Measure how many times the median the 99th percentile is."""

    def measure(places: _Places) -> float | None:
        if place not in places:
            return None
        p99_s, p50_s = places[place].median("p99_s"), places[place].median("wall_s")
        return None if p99_s is None or p50_s is None else p99_s / p50_s

    return measure


def _runs(place: _Place) -> Callable[[_Places], float | None]:
    return lambda places: places[place].median("runs") if place in places else None


def _rows_a_second(place: _Place, figure: str = "cpu_s") -> Callable[[_Places], float | None]:
    def measure(places: _Places) -> float | None:
        seconds = places[place].median(figure) if place in places else None
        return None if seconds is None else places[place].work / seconds

    return measure


def _peak_mb(place: _Place) -> Callable[[_Places], float | None]:
    def measure(places: _Places) -> float | None:
        return places[place].median("rss_mb") if place in places else None

    return measure


TARGETS = (
    Target(
        scenario="month",
        text="month at 100 ms, wall: openai / ours x16",
        measure=_ratio((_MONTH, OFFICIAL), (_MONTH, _X16), "wall_s"),
        bound=20,
        at_least=True,
    ),
    Target(
        scenario="month",
        text="month at 100 ms, CPU: openai / ours x16",
        measure=_ratio((_MONTH, OFFICIAL), (_MONTH, _X16)),
        bound=15,
        at_least=True,
    ),
    Target(
        scenario="month",
        text="month at 100 ms, wall: ours x16 / bytes only x16",
        measure=_ratio((_MONTH, _X16), (_MONTH, "floor: bytes x16"), "wall_s"),
        bound=1.8,
    ),
    Target(
        scenario="month",
        text="month at 100 ms, wall: openai + pandas / to_arrow x16",
        measure=_ratio((_MONTH, OFFICIAL_PANDAS), (_MONTH, f"{TO_ARROW} x16"), "wall_s"),
        bound=20,
        at_least=True,
    ),
    Target(
        scenario="month",
        text="month at 0 ms, wall: ours x1 / aiohttp + json",
        measure=_ratio(
            ("30 days at 1m, 0 ms", f"{OURS} x1"),
            ("30 days at 1m, 0 ms", "aiohttp + json"),
            "wall_s",
        ),
        bound=1,
    ),
    # Decoding never waits, so CPU time is wall time on an idle machine, and steadier on a busy one.
    Target(
        scenario="decode",
        text="10 MB page, CPU: ours / bare typed decoding into the same classes",
        measure=_ratio((_PAGE, OURS), (_PAGE, "typed, no probe")),
        bound=1.7,
    ),
    Target(
        scenario="decode",
        text="10 MB page, CPU: openai / ours",
        measure=_ratio((_PAGE, OFFICIAL), (_PAGE, OURS)),
        bound=12,
        at_least=True,
    ),
    Target(
        scenario="decode",
        text="10 MB page, CPU: openai / ours, tolerant reader",
        measure=_ratio((_PAGE, OFFICIAL), (_PAGE, f"{OURS}, tolerant")),
        bound=2,
        at_least=True,
    ),
    Target(
        scenario="decode",
        text="costs page, CPU: openai / ours",
        measure=_ratio(("costs, string amounts", OFFICIAL), ("costs, string amounts", OURS)),
        bound=7,
        at_least=True,
    ),
    Target(
        scenario="decode",
        text="page with an unknown field on each row, CPU: openai / ours",
        measure=_ratio(
            ("1 MB page, unknown fields", OFFICIAL), ("1 MB page, unknown fields", OURS)
        ),
        bound=9,
        at_least=True,
    ),
    *(
        Target(
            scenario="arrow",
            text=f"10 MB page, CPU: to_arrow / {text}",
            measure=_ratio((_TABLE, TO_ARROW), (_TABLE, contestant)),
            bound=bound,
        )
        for text, contestant, bound in (
            ("bare structs", "structs", 1.8),
            ("polars.read_ndjson, nested buckets", "polars, nested buckets", 0.5),
            ("polars.read_ndjson, flat rows", "polars, flat rows", 1.35),
            ("our objects", f"{OURS}, collect", 1.0),
        )
    ),
    Target(
        scenario="rows",
        text="10 MB page, CPU: rows() / results()",
        measure=_ratio(
            ("10 MB page, streamed", f"{OURS}, rows"), ("10 MB page, streamed", f"{OURS}, results")
        ),
        bound=2,
    ),
    Target(
        scenario="fetch",
        text="fetch to Parquet, rows a second of CPU",
        measure=_rows_a_second((_FETCH, "parquet")),
        bound=250_000,
        at_least=True,
    ),
    Target(
        scenario="fetch",
        text="fetch to CSV, rows a second of CPU",
        measure=_rows_a_second((_FETCH, "csv")),
        bound=200_000,
        at_least=True,
    ),
    *(
        Target(
            scenario="small",
            text=f"{pages}, CPU: ours x16 / {text}",
            measure=_ratio((pages, _X16), (pages, contestant)),
            bound=1.1,
        )
        for pages, text, contestant in (
            ("2000 small pages, 0 ms", "aiohttp + json, one at a time", "aiohttp + json"),
            ("2000 small pages, 0 ms", "aiohttp + json x16", "floor: dicts x16"),
            ("100 x 20 small pages, 0 ms", "aiohttp + json x16", "floor: dicts x16"),
        )
    ),
    *(
        Target(
            scenario="memory",
            text=f"peak memory, {name}: 365 days / 30 days",
            measure=_ratio(("365 days at 1m, peak", name), ("30 days at 1m, peak", name), "rss_mb"),
            bound=1.1,
        )
        for name in (f"{OURS} x8", _X16)
    ),
    *(
        Target(
            scenario="memory",
            text=f"{text}, arrow_batches x8: 365 days / 30 days",
            measure=_ratio(
                (_HOURS.format(365, how), f"{BATCHES} x8"),
                (_HOURS.format(30, how), f"{BATCHES} x8"),
                figure,
            ),
            bound=1.1,
        )
        for text, how, figure in (
            ("peak memory of the process", "peak", "rss_mb"),
            ("peak of allocated memory", "allocated", "held_mb"),
        )
    ),
    *(
        Target(
            scenario="stall",
            text=f"longest stall, ms: {pages}, {contestant} x{concurrency}",
            measure=_stall_ms((f"{pages}, 0 ms", f"{contestant} x{concurrency}")),
            bound=50,
        )
        for pages in ("4 10 MB pages", "2 60 MB pages")
        for contestant in (OURS, TO_ARROW)
        for concurrency in (1, 8)
    ),
    Target(
        scenario="import",
        text="import usage_async / import aiohttp, wall",
        measure=_ratio(("import", OURS), ("import", "aiohttp"), "wall_s"),
        bound=1.3,
    ),
    Target(
        scenario="import",
        text="from usage_async import UsageClient / import aiohttp, wall",
        measure=_ratio(("import", f"{OURS}, its client"), ("import", "aiohttp"), "wall_s"),
        bound=1.2,
    ),
    *(
        Target(
            scenario="collect",
            text=f"{BACK_FILL} into {store}, rows a second of wall",
            measure=_rows_a_second((BACK_FILL, store), "wall_s"),
            bound=bound,
            at_least=True,
        )
        for store, bound in (("DuckDB", 150_000), ("PostgreSQL", 120_000), ("Delta Lake", 100_000))
    ),
    Target(
        scenario="collect",
        text=f"{BACK_FILL} into DuckDB, peak of the process in MB",
        measure=_peak_mb((BACK_FILL, "DuckDB, a first run")),
        bound=300,
    ),
    Target(
        scenario="collect",
        text="500 organizations / 50, wall",
        measure=_ratio((MANY.format(500), OURS), (MANY.format(50), OURS), "wall_s"),
        bound=11,
    ),
    Target(
        scenario="collect",
        text="500 organizations / 50, peak of the process",
        measure=_ratio((MANY.format(500), OURS), (MANY.format(50), OURS), "rss_mb"),
        bound=1.2,
    ),
    Target(
        scenario="collect",
        text=f"10 organizations {DISTURBED} / {ALONE}, wall",
        measure=_ratio((BESIDE, DISTURBED), (BESIDE, ALONE), "wall_s"),
        bound=1.2,
    ),
    *(
        Target(
            scenario="web",
            text=f"{web.AT_RATE}, p50: {ours} / {text}",
            measure=_ratio((web.AT_RATE, ours), (web.AT_RATE, constant), "wall_s"),
            bound=1.5,
        )
        for ours, constant, text in (
            (web.HANDLER, web.CONSTANT, "constant rows"),
            (web.SUMMARY, web.SUMMARY_TEXT, "constant text"),
        )
    ),
    *(
        Target(
            scenario="web",
            text=f"{web.AT_RATE}, {ours}: p99 / p50",
            measure=_p99_of_median((web.AT_RATE, ours)),
            bound=5,
        )
        for ours in (web.HANDLER, web.SUMMARY)
    ),
    *(
        Target(
            scenario="web",
            text=f"longest stall, ms: {what}",
            measure=_stall_ms((web.BESIDE.format(what), OURS)),
            bound=50,
        )
        for what in web.STALLS
    ),
    Target(
        scenario="web",
        text=f"runs in a ttl: {web.WORKERS}",
        measure=_runs((web.WORKERS, OURS)),
        bound=4,
    ),
)


def judge(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Judge the targets of the scenarios that ran."""
    places = {(row.what, row.contestant): row for row in rows}
    ran = {row.scenario for row in rows}
    for target in TARGETS:
        if target.scenario in ran:
            yield Verdict(target, target.measure(places))
