"""Reports: the spending and usage of an organization as exact values, and their renderings.

    report = await read_report(client, "last-month", by="project,model", compare=True)
    for group in report.spends[0].groups:           # one of `spends` for each currency
        print(group.name, group.amount, [part.amount for part in group.parts])
    print(render_report(report).decode())           # as `usage-async report` shows it
    await write_report(report, "october.xlsx")      # or .csv, .json

A `Report` is a value: its groups are its total, exactly, and the parts of a group are the group.
`report.blanks` are the sections that the service refused or failed to answer, each with its reason.
`write_focus` writes costs as a file of FOCUS 1.2.

`read_report` is three steps, for programs that read at one place and compute at another:
`report_spec` makes the question, a `ReportSpec`; `read_sections` sends its queries, all at the same
time; `compute_report` adds the answers up, without any I/O.

Before version 1.0, names of this package may change in minor releases.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.report.compute import compute_report as compute_report
    from usage_async.report.focus_file import write_focus as write_focus
    from usage_async.report.reading import read_sections as read_sections
    from usage_async.report.reports import (
        read_report as read_report,
        render_report as render_report,
        write_report as write_report,
    )
    from usage_async.report.spec import ReportSpec as ReportSpec, report_spec as report_spec
    from usage_async.report.values import Report as Report

_HOMES = {
    "Report": "values",
    "ReportSpec": "spec",
    "compute_report": "compute",
    "read_report": "reports",
    "read_sections": "reading",
    "render_report": "reports",
    "report_spec": "spec",
    "write_focus": "focus_file",
    "write_report": "reports",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
