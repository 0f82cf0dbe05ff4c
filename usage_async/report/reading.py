"""Reading everything that a report is made of, at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from usage_async._api.endpoints import DAY_S, ENDPOINTS
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
    UsageError,
)
from usage_async.report.plan import Blank, Plan, Reading, Readings

_REFUSALS = (BadRequestError, NotFoundError, PermissionDeniedError)
"""Final answers that concern one query only."""
_OF_ALL = (AuthenticationError, ConfigurationError, QueryError)
"""Errors that concern every query; after any other, one section is blank and the rest comes."""


@attrs.define
class _Section:
    """A part of a report, and what came of it.

    Attributes:
        ask: Makes its query, from a start on.
        period: The days that it is about.
        clamp: Whether a later start will do, where the service offers no earlier one.
        reading: The outcome.
        error: Why there is none.
    """

    ask: Callable[[int], UsageQuery[Any]]
    period: TimeRange
    clamp: bool = False
    reading: Reading = attrs.field(factory=Reading)
    error: UsageError | None = None


async def read(client: UsageClient, plan: Plan, advance: Callable[[], object]) -> Readings:
    """Read what a report is made of.

    Args:
        client: Of the organization.
        plan: What the report is about.
        advance: Called after every query, `queries(plan)` times.

    Raises:
        UsageError: Nothing could be read; or the key, or the range, is refused.
    """
    costs, usage = _costs(client, plan), _usage(client, plan)
    sections = [*costs.values(), *usage.values()]
    await together(_fill(section, advance) for section in sections)
    errors = [section.error for section in sections]
    if errors[0] is not None and (
        isinstance(errors[0], RangeUnavailableError) or None not in errors
    ):
        raise errors[0]
    return Readings(
        **{name: section.reading for name, section in costs.items()},
        usage={name: section.reading for name, section in usage.items()},
    )


def queries(plan: Plan) -> int:
    """Give the number of queries that a report takes."""
    return len(ENDPOINTS) + (1 if plan.before is None else 3)


def _costs(client: UsageClient, plan: Plan) -> dict[str, _Section]:
    by = [plan.grouping.costs]
    sections = {
        "costs": _section(client, "costs", plan.period),
        # A clamp of the library would tell of costs that were not read; only their groups are not.
        "costs_by": _section(client, "costs", plan.period, by, clamp=True),
    }
    if plan.before is not None:
        sections["costs_before"] = _section(client, "costs", plan.before)
        sections["costs_by_before"] = _section(client, "costs", plan.before, by)
    return sections


def _usage(client: UsageClient, plan: Plan) -> dict[str, _Section]:
    dimension = plan.grouping.usage
    return {
        endpoint.name: _section(
            client,
            endpoint.name,
            plan.period,
            [dimension] if dimension in endpoint.group_by else None,
        )
        for endpoint in ENDPOINTS.values()
        if endpoint.name != "costs"
    }


def _section(
    client: UsageClient,
    name: str,
    period: TimeRange,
    by: list[str] | None = None,
    *,
    clamp: bool = False,
) -> _Section:
    # The day that still runs is part of the report.
    end = period.end_time + -period.end_time % DAY_S

    def ask(start: int) -> UsageQuery[Any]:
        return client.query(name, start_time=start, end_time=end, group_by=by)

    return _Section(ask, period, clamp)


async def _fill(section: _Section, advance: Callable[[], object]) -> None:
    try:
        section.reading = await _outcome(section)
    except _OF_ALL:
        raise
    except UsageError as error:
        section.error = error
        verdict: Literal["refused", "failed"] = (
            "refused" if isinstance(error, _REFUSALS) else "failed"
        )
        section.reading = Reading(blank=Blank(verdict, error.message))
    advance()


async def _outcome(section: _Section) -> Reading:
    period = section.period
    try:
        return await _read(section.ask(period.start_time))
    except RangeUnavailableError as error:
        earliest = int(error.earliest.timestamp())
        begin = earliest + -earliest % DAY_S
        if not section.clamp or not period.start_time < begin < period.end_time:
            raise
    return attrs.evolve(await _read(section.ask(begin)), known_from=begin)


async def _read(query: UsageQuery[Any]) -> Reading:
    async with query.stream() as stream:
        buckets = tuple([bucket async for bucket in stream])
    came = {bucket.start_time for bucket in buckets}
    due = range(stream.start_time, stream.end_time, DAY_S)
    reading = Reading(buckets, missing=tuple(start for start in due if start not in came))
    if not buckets and reading.overdue(stream.as_of):
        return Reading(blank=Blank("failed", "no day was sent"))
    return reading
