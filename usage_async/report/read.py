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
"""What concerns every query; after any other error its section is blank, and the rest comes."""


@attrs.define
class _Section:
    query: UsageQuery[Any]
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

    def section(period: TimeRange, **params: Any) -> _Section:
        return _Section(client.query("costs", **_whole_days(period), **params))

    sections = {
        "costs": section(plan.period),
        "costs_by": section(plan.period, group_by=by, clamp=True),
    }
    if plan.before is not None:
        sections["costs_before"] = section(plan.before)
        sections["costs_by_before"] = section(plan.before, group_by=by)
    return sections


def _usage(client: UsageClient, plan: Plan) -> dict[str, _Section]:
    dimension = plan.grouping.usage
    return {
        endpoint.name: _Section(
            client.query(
                endpoint.name,
                **_whole_days(plan.period),
                group_by=[dimension] if dimension in endpoint.group_by else None,
            )
        )
        for endpoint in ENDPOINTS.values()
        if endpoint.name != "costs"
    }


def _whole_days(period: TimeRange) -> dict[str, Any]:
    """Give the times to ask for; the day that still runs is part of the report."""
    end = period.end_time
    return {"start_time": period.start_time, "end_time": end + -end % DAY_S}


async def _fill(section: _Section, advance: Callable[[], object]) -> None:
    try:
        section.reading = Reading(tuple(await section.query.collect()))
    except _OF_ALL:
        raise
    except UsageError as error:
        section.error = error
        verdict: Literal["refused", "failed"] = (
            "refused" if isinstance(error, _REFUSALS) else "failed"
        )
        section.reading = Reading(blank=Blank(verdict, error.message))
    advance()
