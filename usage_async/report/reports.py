"""Reports in one call each: read one, render it, write it to a file."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from usage_async._api.results import UsageResult
from usage_async._client.client import UsageClient
from usage_async._client.files import in_thread, replacing
from usage_async._client.names import Names
from usage_async.errors import ConfigurationError, QueryError, UsageError
from usage_async.report.budgets import Budget
from usage_async.report.compute import compute_report
from usage_async.report.formats import REPORT_FORMATS, Format
from usage_async.report.reading import buckets_of, let_go, naming_rows, read_sections
from usage_async.report.spec import ReportSpec, check_month, report_spec
from usage_async.report.values import Report, View
from usage_async.report.worker import in_worker

if TYPE_CHECKING:
    from usage_async._api.endpoints import Time

_log = logging.getLogger("usage_async")

DEFAULT_PERIOD = "last-month"
"""The newest month that is whole."""


async def read_report(
    client: UsageClient,
    period: str | None = None,
    *,
    start_time: Time | None = None,
    end_time: Time | None = None,
    by: str | Sequence[str] = "project",
    compare: bool = False,
    detailed: bool = False,
    names: bool = True,
) -> Report:
    """Read who spent what, as `usage-async report` shows it.

        report = await read_report(client, "2026-10", by="project,model", compare=True)
        for group in report.spends[0].groups:
            print(group.name or group.id, group.amount, group.before)
            for part in group.parts:
                print("  ", part.name or part.id, part.amount)

    All queries are sent at the same time. Sums are computed in a thread of their own. A part of the
    report that the service refuses or fails to answer is blank, with its reason in
    `report.blanks`; `report.is_whole` tells if every figure is there.

    Args:
        client: Client of the organization.
        period: Period in whole days, such as `"2026-10"` or `"30d"`. By default the last month.
        start_time: Start of the range instead, inclusive; in whole days.
        end_time: End of the range, exclusive; by default now.
        by: `"project"`, `"user"`, `"api-key"`, `"line-item"` or `"model"`, or the API's name such
            as `"project_id"`. Two of them, as `"project,model"` or `("project", "model")`, split
            the groups of the first by the second.
        compare: Compare with the period before.
        detailed: Read also what only a page shows: spend and usage by model, and with `compare` the
            usage of the period before, and why the bill changed.
        names: Read the names of the groups that rows do not name themselves. Names that cannot be
            read are a warning in the log.

    Returns:
        The report. Together its groups are its total, exactly, and the parts of a group the group.

    Raises:
        QueryError: The times make no range, or there is no such grouping.
        RangeUnavailableError: The history begins later.
        AuthenticationError: The key is wrong.
        UsageError: Nothing could be read.
    """
    if period is None and start_time is None and end_time is None:
        period = DEFAULT_PERIOD
    spec = report_spec(
        now_of(client),
        by=by,
        period=period,
        start=start_time,
        end=end_time,
        compare=compare,
        detailed=detailed,
    )
    return await report_of(client, spec, naming(client) if names else None)


def now_of(client: UsageClient) -> int:
    """Give the time of a client's clock, Unix seconds."""
    return int(client._engine.fetcher.runtime.now())  # noqa: SLF001 - the clock of all its runs


NameRows = Callable[[Iterable[UsageResult]], Awaitable[Names | None]]
"""Gives the names of what rows hold by id."""


def naming(client: UsageClient) -> NameRows:
    """Make a function that reads the names of rows; a failure is a warning in the log."""

    async def name(rows: Iterable[UsageResult]) -> Names | None:
        try:
            return await client.names_for(rows)
        except UsageError as error:
            _log.warning("names were not read: %s", error)
            return None

    return name


async def report_of(
    client: UsageClient,
    spec: ReportSpec,
    name: NameRows | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Report:
    """Read and compute a report.

    Args:
        client: Client of the organization.
        spec: The report.
        name: Gives the names of its groups; None takes those that rows carry.
        advance: Called after every query, `query_count(spec)` times.

    Raises:
        UsageError: As for `read_sections`.
    """
    sections = await read_sections(client, spec, advance)
    known = None if name is None else await name(await in_worker(naming_rows, sections))
    buckets = buckets_of(sections)
    report = await in_worker(compute_report, spec, sections, known)
    del sections
    await let_go(buckets)
    return report


def render_report(
    report: Report,
    format: str = "text",  # noqa: A002 - the name of the option
    *,
    top: int | None = None,
    width: int = 100,
    notices: Sequence[str] = (),
    budget: Budget | None = None,
) -> bytes:
    """Render a report; equal reports give equal bytes.

        print(render_report(report).decode())

    Args:
        report: The report.
        format: `"text"`, as the terminal shows it without colours, in UTF-8; `"json"` or `"csv"`,
            with every digit; or another format of `usage-async report`. `"html"` takes a second or
            two, in which a program of its own draws the charts.
        top: The most groups that a rendering for people shows; 0 shows all. By default as many as
            `usage-async report` shows in this format.
        width: Columns that a text is laid out for; what is longer is not cut.
        notices: Remarks to show beside those of the report.
        budget: Budget of the report's month to show in texts, pages and JSON, such as
            `(await read_budget(client, Decimal(6000))).whole[0]`.

    Raises:
        ConfigurationError: The extra that the format needs is not installed.
        QueryError: There is no such format, or the budget is of another month.
    """
    if format not in REPORT_FORMATS:
        raise QueryError(f"format takes {', '.join(REPORT_FORMATS)}; not {format!r}")
    form = REPORT_FORMATS[format]
    view = _view(report, form, top, notices, budget)
    if not form.is_drawn:
        rendered: bytes = form.load()(report, view)
        return rendered
    try:
        from usage_async.report.terminal.page import make_text_console
    except ImportError:
        raise ConfigurationError("text needs rich: pip install 'usage-async[cli]'") from None
    text = StringIO()
    form.load()(make_text_console(text, width), report, view)
    return text.getvalue().encode()


async def write_report(
    report: Report,
    path: str | PathLike[str],
    *,
    top: int | None = None,
    notices: Sequence[str] = (),
    budget: Budget | None = None,
) -> None:
    """Write a report to a file, in the format that the ending of its name means.

    The event loop goes on meanwhile. The file appears when it is whole; an old one is replaced only
    then. A cancellation ends the program that draws the charts of a page.

    Args:
        report: The report.
        path: The file, such as `october.xlsx`; the endings are those of `usage-async report -o`.
        top: As for `render_report`.
        notices: As for `render_report`.
        budget: As for `render_report`.

    Raises:
        ConfigurationError: The extra that the format needs is not installed.
        QueryError: The ending means no format, or the budget is of another month.
        OSError: The file cannot be written.
    """
    file = Path(path)
    formats = {ending: name for name, form in REPORT_FORMATS.items() for ending in form.endings}
    found = formats.get(file.suffix.lower())
    if found is None:
        raise QueryError(f"{path}: files of reports end with {', '.join(formats)}")
    if found == "html":
        data = await _page(report, _view(report, REPORT_FORMATS[found], top, notices, budget))
    else:
        data = await in_worker(
            render_report, report, found, top=top, notices=notices, budget=budget
        )
    await in_thread(_replace, file, data)


def _view(
    report: Report, form: Format, top: int | None, notices: Sequence[str], budget: Budget | None
) -> View:
    if budget is not None:
        check_month(report.spec)
        if budget.month != report.spec.period.start.date():
            raise QueryError(f"the budget is of {budget.month:%Y-%m}, and the report is not")
    return View(notices=notices, top=form.top if top is None else top, budget=budget)


async def _page(report: Report, view: View) -> bytes:
    """Write a page; its charts are drawn outside of the worker, which others need meanwhile."""
    await in_worker(REPORT_FORMATS["html"].load)
    from usage_async.report.html.charts import charts_of, draw_served
    from usage_async.report.html.page import report_page

    drawings = await draw_served(await in_worker(charts_of, report))
    return await in_worker(report_page, report, view, drawings)


def _replace(file: Path, data: bytes) -> None:
    with replacing(file) as opened:
        opened.write(data)
