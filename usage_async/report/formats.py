"""The output formats of reports, breakdowns and buckets, a table for each.

A format is one line here, and one function in the module of its format (`csv`, `json`, `terminal`,
...). The terminal derives `--format`, its help, and the endings of `-o` from these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs


@attrs.frozen
class Format:
    """An output format.

    Attributes:
        renders: The function that renders, or the class of a writer, as `module:name` below this
            package; imported when it is used. Empty for a format of tables.
        doc: Its help: who it is for, and how exact it is.
        endings: Endings of the names of files in this format.
        is_drawn: True if it is drawn on a console, for people, and does not give bytes.
        has_notices: True if the output contains the notices; else they go to standard error.
        writer: For a format of tables, its name in `_codec.formats.WRITERS`.
        is_binary: True if it is nothing for a terminal.
        renders_many: The function that renders `Answer`s of several organizations instead of one
            value; empty where there is none.
        is_detailed: True if it shows what further queries give: the period before, and the bill and
            the usage by model.
        top: The most groups that it shows where nothing else is asked for; 0 shows all.
        has_budget: True if it shows the budget of a report; else a notice tells it.
    """

    renders: str
    doc: str
    endings: tuple[str, ...] = ()
    is_drawn: bool = False
    has_notices: bool = True
    writer: str | None = None
    is_binary: bool = False
    renders_many: str = ""
    is_detailed: bool = False
    top: int = 0
    has_budget: bool = False

    def load(self) -> Any:
        """Import the function that renders."""
        return _loaded(self.renders)

    def load_many(self) -> Any:
        """Import the function that renders answers of several organizations."""
        return _loaded(self.renders_many)


def _loaded(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"usage_async.report.{module}"), name)


REPORT_FORMATS: Mapping[str, Format] = {
    "text": Format(
        "terminal.report:draw_report",
        "rounded, for people",
        is_drawn=True,
        has_budget=True,
        renders_many="terminal.report:draw_reports",
        top=15,
    ),
    "json": Format(
        "json:report_as_json",
        "exact, for programs",
        (".json",),
        has_budget=True,
        renders_many="json:reports_as_json",
    ),
    "csv": Format(
        "csv:report_as_csv",
        "exact, for spreadsheets (a name that would be a formula begins with an apostrophe)",
        (".csv",),
        has_notices=False,
        renders_many="csv:reports_as_csv",
    ),
    "xlsx": Format(
        "xlsx:report_as_xlsx",
        "a workbook, with exact amounts as texts beside the numbers",
        (".xlsx",),
        is_binary=True,
        renders_many="xlsx:reports_as_xlsx",
    ),
    "html": Format(
        "html.page:report_as_html",
        "a page with charts, compared with the period before, in one file",
        (".html", ".htm"),
        renders_many="html.page:reports_as_html",
        is_detailed=True,
        has_budget=True,
        top=50,
    ),
}
"""Renderings of a `Report` with its `View`, the default first."""

BREAKDOWN_FORMATS: Mapping[str, Format] = {
    "table": Format(
        "terminal.breakdown:draw_breakdown",
        "rounded, for people",
        is_drawn=True,
        renders_many="terminal.breakdown:draw_breakdowns",
    ),
    "json": Format(
        "json:breakdown_as_json",
        "exact, for programs",
        (".json",),
        renders_many="json:breakdowns_as_json",
    ),
    "csv": Format(
        "csv:breakdown_as_csv",
        "exact, for programs (cells are not guarded for spreadsheets)",
        (".csv",),
        renders_many="csv:breakdowns_as_csv",
    ),
}
"""Renderings of a `Breakdown`, the default first."""

EXPLAIN_FORMATS: Mapping[str, Format] = {
    "text": Format("terminal.reasons:draw_explanation", "rounded, for people", is_drawn=True),
    "json": Format("reasons_json:explanation_as_json", "exact, for programs", (".json",)),
}
"""Renderings of an `Explanation` with an `InvoiceGap` or None, the default first."""

RECONCILE_FORMATS: Mapping[str, Format] = {
    "text": Format("terminal.reasons:draw_reconciliation", "rounded, for people", is_drawn=True),
    "json": Format("reasons_json:reconciliation_as_json", "exact, for programs", (".json",)),
}
"""Renderings of a `Reconciliation`, the default first."""

BUDGET_FORMATS: Mapping[str, Format] = {
    "text": Format("terminal.reasons:draw_budget", "rounded, for people", is_drawn=True),
    "json": Format("reasons_json:budget_as_json", "exact, for programs", (".json",)),
}
"""Renderings of a `BudgetReport`, the default first."""

BUCKET_FORMATS: Mapping[str, Format] = {
    "jsonl": Format(
        "json:bucket_as_json",
        "one bucket a line, complete, as the API sends it",
        (".jsonl", ".ndjson"),
    ),
    "csv": Format(
        "",
        "one row a result, exact, for programs (cells are not guarded for spreadsheets)",
        (".csv",),
        writer="csv",
    ),
    "parquet": Format(
        "", "the same rows, typed and compressed", (".parquet",), writer="parquet", is_binary=True
    ),
    "arrow": Format(
        "", "Arrow's IPC stream", (".arrow", ".arrows"), writer="arrow", is_binary=True
    ),
}
"""Formats of buckets, the default first: a function that gives the line of a bucket, and tables."""

FOCUS_FORMATS: Mapping[str, Format] = {
    "csv": Format("focus_file:CsvWriter", "every digit", (".csv",)),
    "parquet": Format("focus_file:ParquetWriter", "typed", (".parquet",), is_binary=True),
}
"""Formats of files of FOCUS, the default first: the class of the writer of each."""
