"""What the library promises of itself, told below the table: met, or missed by how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from benchmarks.race import ratio
from benchmarks.scenarios import OFFICIAL, OURS, Row

_Place = tuple[str, str]
"""What is read, and by whom: a row of the table."""

_X16 = f"{OURS} x16"
_MONTH = "30 days at 1m, 100 ms"
_PAGE = "10 MB page"


@attrs.frozen(kw_only=True)
class _Promise:
    """How two rows of the table are to compare, in one figure: the first divided by the other."""

    text: str
    one: _Place
    other: _Place
    figure: str = "wall_s"
    bound: float
    at_least: bool = False


_PROMISES = (
    _Promise(
        text="month, 100 ms, wall: openai / ours x16",
        one=(_MONTH, OFFICIAL),
        other=(_MONTH, _X16),
        bound=20,
        at_least=True,
    ),
    _Promise(
        text="month, 100 ms, CPU: openai / ours x16",
        one=(_MONTH, OFFICIAL),
        other=(_MONTH, _X16),
        figure="cpu_s",
        bound=15,
        at_least=True,
    ),
    _Promise(
        text="month, 100 ms, wall: ours x16 / bytes only x16",
        one=(_MONTH, _X16),
        other=(_MONTH, "floor: bytes x16"),
        bound=1.8,
    ),
    # Decoding waits for nothing: its CPU time is its wall time on a machine that is left alone.
    _Promise(
        text="10 MB page, CPU: ours / bare typed decoding into the same classes",
        one=(_PAGE, OURS),
        other=(_PAGE, "typed, no probe"),
        figure="cpu_s",
        bound=1.7,
    ),
    _Promise(
        text="10 MB page, CPU: openai / ours",
        one=(_PAGE, OFFICIAL),
        other=(_PAGE, OURS),
        figure="cpu_s",
        bound=12,
        at_least=True,
    ),
    _Promise(
        text="10 MB page, CPU: openai / ours, tolerant reader",
        one=(_PAGE, OFFICIAL),
        other=(_PAGE, f"{OURS}, tolerant"),
        figure="cpu_s",
        bound=2,
        at_least=True,
    ),
    _Promise(
        text="month, 0 ms: ours x1 / aiohttp + json",
        one=("30 days at 1m, 0 ms", f"{OURS} x1"),
        other=("30 days at 1m, 0 ms", "aiohttp + json"),
        bound=1,
    ),
    *(
        _Promise(
            text=f"peak memory, {name}: 365 days / 30 days",
            one=("365 days at 1m, peak", name),
            other=("30 days at 1m, peak", name),
            figure="rss_mb",
            bound=1.1,
        )
        for name in (f"{OURS} x8", _X16)
    ),
    _Promise(
        text="import usage_async / import aiohttp",
        one=("import", OURS),
        other=("import", "aiohttp"),
        bound=1.3,
    ),
)
_LONGEST_STALL_MS = 50


@attrs.frozen
class Target:
    """A promise, and what was found.

    Attributes:
        text: What it is about.
        bound: What was promised.
        found: What was measured.
        at_least: Whether the figure is to be no smaller than the bound; else no larger.
    """

    text: str
    bound: float
    found: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Judge what was measured."""
    places = {(row.what, row.contestant): row.rounds for row in rows}
    for promise in _PROMISES:
        one, other = places.get(promise.one), places.get(promise.other)
        if one is not None and other is not None:
            found = ratio(one, other, promise.figure)
            yield Target(promise.text, promise.bound, found, promise.at_least)
    for row in rows:
        longest = row.median("stall_s")
        if row.scenario == "stall" and row.contestant.startswith(OURS) and longest is not None:
            text = f"longest stall, ms: {row.what}, {row.contestant}"
            yield Target(text, _LONGEST_STALL_MS, longest * 1e3, at_least=False)
