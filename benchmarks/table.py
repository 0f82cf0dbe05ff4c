"""The table of the figures, and the file `results.json`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from benchmarks.race import Failed
from benchmarks.scenarios import Row
from benchmarks.targets import Verdict

_HEADS = (
    "work",
    "contestant",
    "wall, ms",
    "CPU, ms",
    "wall, x ours",
    "CPU, x ours",
    "stall, ms",
    "stall CPU, ms",
    "peak, MB",
    "allocated, MB",
    "p99, ms",
    "runs",
)
_PACKAGES = (
    "usage-async",
    "aiohttp",
    "async-lru",
    "attrs",
    "cashews",
    "cattrs",
    "fastapi",
    "httpx",
    "msgspec",
    "openai",
    "orjson",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "uvicorn",
)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        row.contestant,
        _number(row.median("wall_s"), 1e3),
        _number(row.median("cpu_s"), 1e3),
        _number(row.against_ours("wall_s")),
        _number(row.against_ours("cpu_s")),
        _number(row.median("stall_s"), 1e3),
        _number(row.median("stall_cpu_s"), 1e3),
        _number(row.median("rss_mb")),
        _number(row.median("held_mb")),
        _number(row.median("p99_s"), 1e3),
        _number(row.median("runs")),
    )


def _number(value: float | None, scale: float = 1) -> str:
    if value is None:
        return ""
    value *= scale
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Format the table as Markdown, which a terminal can show."""
    cells = [_HEADS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for index, line in enumerate(cells):
        texts = [
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield f"| {' | '.join(texts)} |"
        if index == 0:
            rules = (
                "-" * width if column < 2 else "-" * (width - 1) + ":"
                for column, width in enumerate(widths)
            )
            yield f"| {' | '.join(rules)} |"


def failure_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Name the contestants that could not be measured, and the reasons."""
    for row in rows:
        if isinstance(row.outcome, Failed):
            yield f"FAILED  {row.what}: {row.contestant}: {row.outcome.reason}"


def target_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Format one line for each target."""
    words = {True: "met", False: "MISSED", None: "ABSENT"}
    for verdict in verdicts:
        target = verdict.target
        bound = f"{'>=' if target.at_least else '<='} {target.bound:,g}"
        found = "" if verdict.found is None else _found(verdict.found)
        yield f"{words[verdict.met]:6}  {found:>10}  {bound:>10}  {target.text}"


def _found(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def about() -> dict[str, Any]:
    """Describe the machine, its load, the versions and the date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2] for line in text.splitlines() if line.startswith("model name"))
    return next(names, platform.processor()).strip()


def document(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """List all figures, round by round, for `results.json`."""
    return {
        "targets": [
            {
                "text": verdict.target.text,
                "bound": verdict.target.bound,
                "at_least": verdict.target.at_least,
                "found": verdict.found,
                "met": verdict.met,
            }
            for verdict in verdicts
        ],
        "rows": [
            {
                "scenario": row.scenario,
                "what": row.what,
                "contestant": row.contestant,
                **_outcome(row),
            }
            for row in rows
        ],
    }


def _outcome(row: Row) -> dict[str, Any]:
    if isinstance(row.outcome, Failed):
        return {"failed": row.outcome.reason}
    return {"rounds": [attrs.asdict(figures) for figures in row.outcome]}
