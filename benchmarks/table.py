"""The table, and the file."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from benchmarks.scenarios import Row
from benchmarks.targets import Target

_HEADS = ("scenario", "contestant", "wall, ms", "CPU, ms", "wall, x ours", "stall, ms", "peak, MB")
_PACKAGES = (
    "usage-async",
    "aiohttp",
    "attrs",
    "cattrs",
    "httpx",
    "msgspec",
    "openai",
    "orjson",
    "pydantic",
)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        row.contestant,
        _number(row.median("wall_s"), 1e3),
        _number(row.median("cpu_s"), 1e3),
        f"{row.against_ours('wall_s'):.2f}",
        _number(row.median("stall_s"), 1e3),
        _number(row.median("rss_mb")),
    )


def _number(value: float | None, scale: float = 1) -> str:
    if value is None:
        return ""
    value *= scale
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table as Markdown, which a terminal shows as well."""
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


def target_lines(targets: Sequence[Target]) -> Iterator[str]:
    for target in targets:
        bound = f"{'>=' if target.at_least else '<='} {target.bound:g}"
        verdict = "met" if target.met else "MISSED"
        yield f"{verdict:6}  {target.found:8.2f}  {bound:7}  {target.text}"


def about() -> dict[str, Any]:
    """The machine, the versions, the date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
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


def document(rows: Sequence[Row], targets: Sequence[Target]) -> dict[str, Any]:
    """Everything that was measured, round by round."""
    return {
        **about(),
        "targets": [{**attrs.asdict(target), "met": target.met} for target in targets],
        "rows": [
            {
                "scenario": row.scenario,
                "what": row.what,
                "contestant": row.contestant,
                "rounds": [attrs.asdict(figures) for figures in row.rounds],
            }
            for row in rows
        ],
    }
