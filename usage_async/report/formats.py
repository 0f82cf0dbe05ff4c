"""The output formats of reports, breakdowns and buckets, a table for each.

A format is one line here, and one function in the module of its format (`csv`, `json`, `terminal`,
...). The terminal derives `--format`, its help, and the endings of `-o` from these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import attrs

from usage_async._api.pages import UsageTimeBucket


@attrs.frozen
class Format:
    """An output format.

    Attributes:
        renders: The function that renders, as `module:name` below this package; imported when it is
            used.
        doc: Its help: who it is for, and how exact it is.
        endings: Endings of the names of files in this format.
        is_drawn: True if it is drawn on a console, for people, and does not give bytes.
        has_notices: True if the output contains the notices; else they go to standard error.
    """

    renders: str
    doc: str
    endings: tuple[str, ...] = ()
    is_drawn: bool = False
    has_notices: bool = True

    def load(self) -> Any:
        """Import the function that renders."""
        module, _, name = self.renders.partition(":")
        return getattr(import_module(f"usage_async.report.{module}"), name)


@attrs.frozen
class BucketEncoder:
    """Encoder of a stream of buckets.

    Attributes:
        head: Written before the first bucket.
        encode: Called with each bucket.
    """

    head: bytes
    encode: Callable[[UsageTimeBucket[Any]], bytes]


REPORT_FORMATS: Mapping[str, Format] = {
    "text": Format("terminal.report:draw_report", "rounded, for people", is_drawn=True),
    "json": Format("json:report_as_json", "exact, for programs", (".json",)),
    "csv": Format(
        "csv:report_as_csv",
        "exact, for spreadsheets (a name that would be a formula begins with an apostrophe)",
        (".csv",),
        has_notices=False,
    ),
}
"""Renderings of a `Report` with its `View`, the default first."""

BREAKDOWN_FORMATS: Mapping[str, Format] = {
    "table": Format("terminal.breakdown:draw_breakdown", "rounded, for people", is_drawn=True),
    "json": Format("json:breakdown_as_json", "exact, for programs", (".json",)),
    "csv": Format(
        "csv:breakdown_as_csv",
        "exact, for programs (cells are not guarded for spreadsheets)",
        (".csv",),
    ),
}
"""Renderings of a `Breakdown`, the default first."""

BUCKET_FORMATS: Mapping[str, Format] = {
    "jsonl": Format(
        "json:bucket_encoder",
        "one bucket a line, complete, as the API sends it",
        (".jsonl", ".ndjson"),
    ),
    "csv": Format(
        "csv:bucket_encoder",
        "one flat row a result, exact, for programs (cells are not guarded for spreadsheets)",
        (".csv",),
    ),
}
"""Encodings of buckets, each a function that gives a `BucketEncoder`; the default first."""
