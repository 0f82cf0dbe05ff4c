"""Reading the sections of a report: all of its queries, at the same time.

A query that the service refuses or fails to answer leaves its own section blank. Only what concerns
every query, such as a wrong key, ends the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.interval import DAY_S
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import UsageResult
from usage_async._client.client import UsageClient
from usage_async._client.query import UsageQuery
from usage_async._engine.engine import together
from usage_async._query.times import TimeRange
from usage_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    QueryError,
    RangeUnavailableError,
    ScopeError,
    UsageError,
)
from usage_async.report.causes import FILTERS, standing_out, told_keys
from usage_async.report.details import counting
from usage_async.report.spec import ReportSpec, day_end
from usage_async.report.values import Blank, Section, Sections
from usage_async.report.worker import in_worker

_REFUSALS = (AuthenticationError, BadRequestError, NotFoundError, PermissionDeniedError)
"""Answers that asking again would not change."""
_CONCERN_ALL = (AuthenticationError, ConfigurationError, QueryError)
"""Errors that every query would meet; after any other, one section is blank and the rest comes."""

OUT_OF_SCOPE = Blank("refused", "API keys are outside of the scope")
"""The spend by API key in a scope, for which the service is not asked."""

_REASONS = {
    "costs_by_item": ("project_id", "line_item"),
    "costs_by_key": ("project_id", "api_key_id"),
}
"""Costs that an explanation takes, as for `explanation_of`, by their names in `Sections`."""
_NAMING = ("project_id", "project_name", "user_id", "user_email", "api_key_id")


@attrs.define(eq=False)
class _Task:
    """A section to read.

    Attributes:
        query_from: Makes its query, which begins at the given start.
        period: The days that it is about.
        clamp: True if a later start will do where the service offers no earlier one.
        may_be_out_of_scope: True if it is left out where the scope of the client does not allow it.
        section: The outcome.
        error: Why there is none.
    """

    query_from: Callable[[int], UsageQuery[Any]]
    period: TimeRange
    clamp: bool = False
    may_be_out_of_scope: bool = False
    section: Section = attrs.field(factory=Section)
    error: UsageError | None = None


async def read_sections(
    client: UsageClient, spec: ReportSpec, advance: Callable[[], object] = lambda: None
) -> Sections:
    """Read everything that a report is computed from.

    Args:
        client: Client of the organization.
        spec: The report.
        advance: Called after every query, `query_count(spec)` times.

    Raises:
        UsageError: Nothing could be read; or the key, or the range, is refused.
    """
    costs, usage = _costs(client, spec), _usage(client, spec)
    usage_before = _usage_before(client, spec)
    reasons = _reasons(client, spec, costs)
    tasks = [*costs.values(), *usage.values(), *usage_before.values()]
    tasks += [task for task in reasons.values() if task not in costs.values()]
    await together(_run(task, advance) for task in tasks)
    errors = [task.error for task in tasks]
    if errors[0] is not None and (
        isinstance(errors[0], RangeUnavailableError) or None not in errors
    ):
        raise errors[0]
    read: dict[str, Any] = {name: task.section for name, task in (costs | reasons).items()}
    sections = Sections(
        **read,
        usage={name: task.section for name, task in usage.items()},
        usage_before={name: task.section for name, task in usage_before.items()},
    )
    return await _with_lines(client, spec, sections)


async def _with_lines(client: UsageClient, spec: ReportSpec, sections: Sections) -> Sections:
    """Read the line items of what stands out; a report in which nothing does is not kept waiting.

    They are an addition: where they cannot be read, days and groups are shown without a cause.
    """
    has_days, movers = await in_worker(standing_out, spec, sections)
    asked: list[tuple[TimeRange, list[str], dict[str, list[str]]]] = []
    if has_days:
        asked.append((spec.period, ["line_item"], {}))
    if movers and spec.before is not None:
        (dimension,) = spec.costs_dimensions
        filters = {FILTERS[dimension]: movers}
        asked += [(each, [dimension, "line_item"], filters) for each in (spec.before, spec.period)]
    tasks = [
        _task(client, "costs", period, by, clamp=True, filters=filters)
        for period, by, filters in asked
    ]
    await together(_run(task, lambda: None) for task in tasks)
    found = [task.section for task in tasks]
    return attrs.evolve(
        sections,
        costs_by_line=found[0] if has_days else None,
        movers=(found[-2], found[-1]) if movers else None,
    )


def naming_rows(sections: Sections) -> list[UsageResult]:
    """Give the last row of each combination of ids and names; a day's rows repeat those before."""
    found: dict[tuple[str | None, ...], UsageResult] = {}
    for row in (*told_keys(sections), *sections.grouped_rows()):
        key = tuple([getattr(row, name, None) for name in _NAMING])
        found.pop(key, None)  # of names that differ, the one that came last counts
        found[key] = row
    return list(found.values())


def buckets_of(sections: Sections) -> list[UsageTimeBucket[Any]]:
    """Give the buckets of all sections, for `let_go`."""
    costs = (sections.costs_before, sections.costs_by_before, sections.costs, sections.costs_by)
    usage = (*sections.usage_before.values(), *sections.usage.values())
    lines = (sections.costs_by_model, sections.costs_by_line, *(sections.movers or ()))
    weeks = (sections.costs_weeks,)
    items = (sections.costs_by_item_before, sections.costs_by_item)
    keys = (sections.costs_by_key_before, sections.costs_by_key)
    every = (*costs, *weeks, *lines, *items, *keys, *usage)
    present = (section for section in every if section is not None)
    return [bucket for section in present for bucket in section.buckets]


async def let_go(buckets: list[UsageTimeBucket[Any]]) -> None:
    """Empty a list that holds buckets last; freeing 300,000 rows at once takes some 60 ms."""
    while buckets:
        buckets.pop()
        await asyncio.sleep(0)


def query_count(spec: ReportSpec) -> int:
    """Give the number of queries that a report takes."""
    compared = spec.before is not None
    details = _reads_models(spec) + len(counting()) * compared if spec.detailed else 0
    if _explains(spec):
        details += sum({*by} != {*spec.costs_dimensions} for by in _REASONS.values()) * 2
    return len(ENDPOINTS) + (3 if compared else 1) + spec.running + details


def _reads_models(spec: ReportSpec) -> bool:
    """Tell if the bill by model is another query than that by the groups of the report."""
    return spec.detailed and "line_item" not in spec.costs_dimensions


def _explains(spec: ReportSpec) -> bool:
    """Tell if the report says why the bill changed."""
    return spec.detailed and spec.before is not None


def _costs(client: UsageClient, spec: ReportSpec) -> dict[str, _Task]:
    by = [*spec.costs_dimensions]
    tasks = {
        "costs": _task(client, "costs", spec.period),
        # Not `clamp=True` of the query: its notice would say that costs are missing, but the
        # ungrouped query reads them; only their groups are missing.
        "costs_by": _task(client, "costs", spec.period, by, clamp=True),
    }
    if _reads_models(spec):
        tasks["costs_by_model"] = _task(client, "costs", spec.period, ["line_item"], clamp=True)
    if spec.weeks is not None:
        tasks["costs_weeks"] = _task(client, "costs", spec.weeks, clamp=True)
    if spec.before is not None:
        tasks["costs_before"] = _task(client, "costs", spec.before)
        tasks["costs_by_before"] = _task(client, "costs", spec.before, by)
    return tasks


def _reasons(client: UsageClient, spec: ReportSpec, costs: Mapping[str, _Task]) -> dict[str, _Task]:
    """Give the tasks of an explanation; groups of the report itself are read once."""
    tasks: dict[str, _Task] = {}
    if spec.before is None or not _explains(spec):
        return tasks
    for name, by in _REASONS.items():
        if {*by} == {*spec.costs_dimensions}:
            tasks |= {name: costs["costs_by"], f"{name}_before": costs["costs_by_before"]}
            continue
        for place, period in ((name, spec.period), (f"{name}_before", spec.before)):
            tasks[place] = _task(client, "costs", period, [*by])
            tasks[place].may_be_out_of_scope = "api_key_id" in by
    return tasks


def _usage(client: UsageClient, spec: ReportSpec) -> dict[str, _Task]:
    by = spec.usage_dimensions
    located_by = [grouping.located_by for grouping in spec.groupings]
    located_by += ["model"] * spec.detailed
    with_lists = list(dict.fromkeys((*by, *filter(None, located_by))))
    return {
        endpoint.name: _task(
            client,
            endpoint.name,
            spec.period,
            [each for each in with_lists if each in endpoint.group_by]
            if any(each in endpoint.group_by for each in by)
            else None,
        )
        for endpoint in ENDPOINTS.values()
        if endpoint.name != "costs"
    }


def _usage_before(client: UsageClient, spec: ReportSpec) -> dict[str, _Task]:
    if spec.before is None or not spec.detailed:
        return {}
    return {each.name: _task(client, each.name, spec.before) for each in counting()}


def _task(
    client: UsageClient,
    name: str,
    period: TimeRange,
    by: list[str] | None = None,
    *,
    clamp: bool = False,
    filters: Mapping[str, Any] = MappingProxyType({}),
) -> _Task:
    end = day_end(period.end_time)  # a running day is part of the report

    def query_from(start: int) -> UsageQuery[Any]:
        return client.query(name, start_time=start, end_time=end, group_by=by, **filters)

    return _Task(query_from, period, clamp)


async def read_section(
    client: UsageClient,
    name: str,
    period: TimeRange,
    by: list[str] | None = None,
    advance: Callable[[], object] = lambda: None,
    *,
    clamp: bool = False,
    optional: bool = False,
) -> Section:
    """Read one section of whole days.

    Args:
        client: Client of the organization.
        name: Name of the endpoint.
        period: The range; its last day is read whole, even if it is still running.
        by: Dimensions to group by.
        advance: Called at its end.
        clamp: True if a later start will do where the service offers no earlier one.
        optional: True to give a blank section where the service refuses or fails.

    Raises:
        UsageError: The section could not be read.
    """
    task = _task(client, name, period, by, clamp=clamp)
    await _run(task, advance)
    if task.error is not None and not optional:
        raise task.error
    return task.section


async def _run(task: _Task, advance: Callable[[], object]) -> None:
    try:
        task.section = await _section(task)
    except ScopeError:
        if not task.may_be_out_of_scope:
            raise
        task.section = Section(blank=OUT_OF_SCOPE)
    except _CONCERN_ALL:
        raise
    except UsageError as error:
        task.error = error
        task.section = Section(blank=blank_of(error, error.message))
    advance()


def blank_of(error: UsageError, reason: str) -> Blank:
    """Make what stands in place of figures that an error keeps away.

    Args:
        error: The error.
        reason: One line about it.
    """
    return Blank("refused" if isinstance(error, _REFUSALS) else "failed", reason)


async def _section(task: _Task) -> Section:
    period = task.period
    try:
        return await _read(task.query_from(period.start_time))
    except RangeUnavailableError as error:
        begin = day_end(int(error.earliest.timestamp()))
        if not task.clamp or not period.start_time < begin < period.end_time:
            raise
    return attrs.evolve(await _read(task.query_from(begin)), known_from=begin)


async def _read(query: UsageQuery[Any]) -> Section:
    async with query.stream() as stream:
        buckets = tuple([bucket async for bucket in stream])
    came = {bucket.start_time for bucket in buckets}
    due = range(stream.start_time, stream.end_time, DAY_S)
    section = Section(buckets, missing=tuple(start for start in due if start not in came))
    if not buckets and section.overdue(stream.as_of):
        return Section(blank=Blank("failed", "no day was sent"))
    return section
