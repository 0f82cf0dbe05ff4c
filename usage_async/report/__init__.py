"""Reports: what an organization spent and used, as plain data, and its renderings.

    plan = Plan(by="project_id", period=TimeRange(start_time, end_time), now=now)
    report = make_report(plan, await read(client, plan))

`plan` says what is asked, `reading` asks the service, `make` adds up; `json`, `csv` and `terminal`
are renderings. Before version 1.0, names of this package may change in minor releases.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.report.make import make_report as make_report
    from usage_async.report.plan import Plan as Plan
    from usage_async.report.plan import Report as Report
    from usage_async.report.reading import read as read

_HOMES = {"Plan": "plan", "Report": "plan", "make_report": "make", "read": "reading"}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
