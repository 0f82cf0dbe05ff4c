"""`python -m benchmarks.readme`: write the figures of `results.json` into the README.

They must come from one whole run of `python -m benchmarks`, so that they can be compared.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import attrs

from benchmarks.scenarios import OFFICIAL, OFFICIAL_PANDAS, OURS, TO_ARROW

_HERE = Path(__file__).parent
_MEASURED = re.compile(r"(<!-- measured: speed -->\n).*?(<!-- end -->)", re.DOTALL)
_COLUMNS = ("usage_async", "openai", "httpx + pydantic", "aiohttp + json", "bytes only")
_MONTH = "30 days at 1m, 100 ms"
_PEERS = {
    "openai": OFFICIAL,
    "httpx + pydantic": "httpx + pydantic",
    "aiohttp + json": "aiohttp + json",
}
_READERS = {
    "usage_async": OURS,
    "openai": OFFICIAL,
    "httpx + pydantic": "pydantic",
    "aiohttp + json": "json",
}
"""The parts of the contestants that read a page which is in memory."""
_COSTS_READERS = {name: reader for name, reader in _READERS.items() if reader != "pydantic"}
_LOOPS = {
    "usage_async": f"{OURS} x8",
    "openai": OFFICIAL,
    "aiohttp + json": "aiohttp + json",
}
"""The contestants whose stalls are measured."""


@attrs.frozen
class _Line:
    """A line of the table.

    Attributes:
        text: The figure and its unit.
        what: The work.
        contestants: The contestant of each column.
        figure: The measured figure.
        scale: Factor from the measured unit to that of the table.
    """

    text: str
    what: str
    contestants: Mapping[str, str]
    figure: str = "cpu_s"
    scale: float = 1e3


_LINES = (
    _Line(
        "month, ms: one page at a time",
        _MONTH,
        {"usage_async": f"{OURS} x1", **_PEERS, "bytes only": "floor: bytes x1"},
        "wall_s",
    ),
    _Line(
        "month, ms: 16 at a time",
        _MONTH,
        {"usage_async": f"{OURS} x16", "bytes only": "floor: bytes x16"},
        "wall_s",
    ),
    _Line(
        "month to a table, ms: 16 at a time; `openai` with pandas",
        _MONTH,
        {"usage_async": f"{TO_ARROW} x16", "openai": OFFICIAL_PANDAS},
        "wall_s",
    ),
    _Line(
        "month, ms of CPU",
        _MONTH,
        {"usage_async": f"{OURS} x16", **_PEERS, "bytes only": "floor: bytes x16"},
    ),
    _Line(
        "month, peak MB",
        _MONTH,
        {"usage_async": f"{OURS} x16", **_PEERS, "bytes only": "floor: bytes x16"},
        "rss_mb",
        1,
    ),
    _Line("year, peak MB", "365 days at 1m, peak", {"usage_async": f"{OURS} x16"}, "rss_mb", 1),
    _Line("10 MB page, ms of CPU", "10 MB page", _READERS),
    _Line(
        "10 MB page to a table, ms of CPU; `openai` with pandas",
        "10 MB page to a table",
        {"usage_async": TO_ARROW, "openai": OFFICIAL_PANDAS},
    ),
    _Line("1 MB page with unknown fields, ms of CPU", "1 MB page, unknown fields", _READERS),
    _Line("page of costs, ms of CPU", "costs, string amounts", _COSTS_READERS),
    _Line(
        "2,000 small pages, ms of CPU: 16 at a time",
        "2000 small pages, 0 ms",
        {"usage_async": f"{OURS} x16", "aiohttp + json": "floor: dicts x16"},
    ),
    _Line(
        "longest stall of the event loop, 10 MB pages, ms",
        "4 10 MB pages, 0 ms",
        _LOOPS,
        "stall_s",
    ),
    _Line(
        "longest stall of the event loop, 60 MB pages, ms",
        "2 60 MB pages, 0 ms",
        _LOOPS,
        "stall_s",
    ),
    _Line(
        "import of the client, ms",
        "import",
        {
            "usage_async": f"{OURS}, its client",
            "openai": f"{OFFICIAL}, its client",
            "aiohttp + json": "aiohttp",
        },
        "wall_s",
    ),
)


def _cell(line: _Line, column: str, measured: Mapping[tuple[str, str], Any]) -> str:
    rounds = measured.get((line.what, line.contestants.get(column, "")))
    if not rounds:
        return ""
    value = line.scale * median(figures[line.figure] for figures in rounds)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(document: Mapping[str, Any]) -> Iterator[str]:
    """Make the lines of the README's table, and of the sentence that says where it was measured."""
    versions = dict(document["versions"])
    python = versions.pop("python")
    del versions["usage-async"]
    others = ", ".join(f"{name} {version}" for name, version in versions.items())
    options = " --quick" if document["quick"] else ""
    machine = document["machine"]
    yield (
        f"The figures are medians of one run of `python -m benchmarks{options}`"
        f" ({document['date'][:10]}, {machine['cores']} cores, load {machine['load']},"
        f" CPython {python}; {others})."
    )
    yield ""
    yield f"| measured | {' | '.join(_COLUMNS)} |"
    yield "|---" * (1 + len(_COLUMNS)) + "|"
    measured = {
        (row["what"], row["contestant"]): row["rounds"]
        for row in document["rows"]
        if "rounds" in row
    }
    for line in _LINES:
        cells = [_cell(line, column, measured) for column in _COLUMNS]
        yield f"| {line.text} | {' | '.join(cells)} |"


def missing(document: Mapping[str, Any]) -> list[str]:
    """Name the rows that the table needs and that were not measured."""
    measured = {(row["what"], row["contestant"]) for row in document["rows"] if "rounds" in row}
    needed = {(line.what, name) for line in _LINES for name in line.contestants.values()}
    return [f"{what}: {contestant}" for what, contestant in sorted(needed - measured)]


def main() -> None:
    document = json.loads((_HERE / "results.json").read_text("utf-8"))
    if lacking := missing(document):
        sys.exit("results.json is not of a whole run; it lacks\n  " + "\n  ".join(lacking))
    readme = _HERE.parent / "README.md"
    text = "".join(f"{line}\n" for line in table(document))
    written = _MEASURED.sub(lambda match: match[1] + text + match[2], readme.read_text("utf-8"))
    readme.write_text(written, "utf-8")


if __name__ == "__main__":
    main()
