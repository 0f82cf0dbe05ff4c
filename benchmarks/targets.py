"""What the library promises of itself, told beside the table: met, or missed by how much."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence

import attrs

from benchmarks.scenarios import OFFICIAL, OURS, Row

Compare = Callable[[float, float], bool]


@attrs.frozen
class Target:
    """A promise.

    Attributes:
        text: What it is about.
        wanted: The bound.
        found: The figure.
        at_least: Whether the figure is to be no smaller than the bound, else no larger.
    """

    text: str
    wanted: float
    found: float
    at_least: bool

    @property
    def met(self) -> bool:
        return (operator.ge if self.at_least else operator.le)(self.found, self.wanted)


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Judge whatever was measured."""
    by = {(row.what, row.contestant): row for row in rows}

    def times(
        text: str, wanted: float, what: str, one: str, other: str, name: str = "wall_s"
    ) -> Iterator[Target]:
        """At least so many times more than another, or, for a bound with a minus, at most."""
        some, others = by.get((what, one)), by.get((what, other))
        if some is not None and others is not None:
            found = attrs.evolve(some, ours=others.rounds).against_ours(name)
            yield Target(text, abs(wanted), found, at_least=wanted > 0)

    month, page = "30 days at 1m, 100 ms", "10 MB page"
    x1, x16 = f"{OURS} x1", f"{OURS} x16"
    yield from times("month, 100 ms: wall of openai / ours x16", 20, month, OFFICIAL, x16)
    yield from times("month, 100 ms: CPU of openai / ours x16", 15, month, OFFICIAL, x16, "cpu_s")
    yield from times("month, 100 ms: ours x16 / bytes x16", -1.8, month, x16, "floor: bytes x16")
    yield from times(f"{page}: ours / typed, no probe", -1.7, page, OURS, "typed, no probe")
    yield from times(f"{page}: openai / ours", 12, page, OFFICIAL, OURS)
    yield from times(f"{page}: openai / careful lane", 2, page, OFFICIAL, "usage_async, careful")
    yield from times(
        "month, 0 ms: ours x1 / aiohttp + json", -1, "30 days at 1m, 0 ms", x1, "aiohttp + json"
    )
    for name in (f"{OURS} x8", x16):
        short, long = by.get(("30 days at 1m, peak", name)), by.get(("365 days at 1m, peak", name))
        if short is not None and long is not None:
            found = attrs.evolve(long, ours=short.rounds).against_ours("rss_mb")
            yield Target(f"memory: {name}, 365 days / 30 days", 1.1, found, at_least=False)
    for row in rows:
        longest = row.median("stall_s")
        if row.scenario == "stall" and row.contestant.startswith(OURS) and longest is not None:
            yield Target(
                f"stall, ms: {row.what}, {row.contestant}", 50, longest * 1e3, at_least=False
            )
    yield from times("import usage_async / aiohttp", -1.3, "import", OURS, "aiohttp")
