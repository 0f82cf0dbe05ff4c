"""Reports: the spending and usage of an organization as exact values, and their renderings.

    spec = report_spec(int(time.time()), by="project_id", period="last-month")
    report = compute_report(spec, await read_sections(client, spec))

`ReportSpec` is the question. `read_sections` sends its queries, all at the same time.
`compute_report` adds the answers up to a `Report`, a value without any I/O. `formats` lists the
renderings. `write_focus` writes costs as a file of FOCUS 1.2.

Before version 1.0, names of this package may change in minor releases.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.report.compute import compute_report as compute_report
    from usage_async.report.focus_file import write_focus as write_focus
    from usage_async.report.reading import read_sections as read_sections
    from usage_async.report.spec import ReportSpec as ReportSpec, report_spec as report_spec
    from usage_async.report.values import Report as Report

_HOMES = {
    "Report": "values",
    "ReportSpec": "spec",
    "compute_report": "compute",
    "read_sections": "reading",
    "report_spec": "spec",
    "write_focus": "focus_file",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
