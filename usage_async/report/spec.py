"""Specification of a report: its grouping, its period in whole days, and its comparison. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import attrs

from usage_async._api.endpoints import Time
from usage_async._api.interval import DAY_S
from usage_async._query.request import build
from usage_async._query.times import TimeRange, period_before
from usage_async.errors import QueryError
from usage_async.report.dimensions import find_dimension, word_of

By = Literal["project_id", "user_id", "api_key_id", "line_item", "model"]


@attrs.frozen
class Grouping:
    """Grouping of a report.

    Attributes:
        noun: Name of one group, such as `project`.
        costs: The dimension that costs are read by.
        usage: The dimension that usage is read by.
        derived: True if groups of costs are the models that line items name; a line item without a
            model is a group of its own.
        joined: True if groups of costs and groups of usage are the same things.
        located_by: A dimension that usage is read by as well, since the names of groups are listed
            by it; empty where they have one list.
    """

    noun: str
    costs: str
    usage: str
    derived: bool = False
    joined: bool = True
    located_by: str = ""


GROUPINGS: Mapping[By, Grouping] = {
    "project_id": Grouping("project", "project_id", "project_id"),
    "user_id": Grouping("user", "user_id", "user_id"),
    "api_key_id": Grouping("API key", "api_key_id", "api_key_id", located_by="project_id"),
    "line_item": Grouping("line item", "line_item", "model", joined=False),
    "model": Grouping("model", "line_item", "model", derived=True),
}
WEEK = 7
WEEKS = 8
"""The most weeks that the range of a projected month is taken of."""
_NUMBERS = (1, 2)


@attrs.frozen
class ReportSpec:
    """Specification of a report; `report_spec` makes one from words such as `last-month`.

    Attributes:
        by: The dimension that it is split by.
        period: The range that it covers: whole days, the last one up to `now`.
        now: Unix seconds.
        before: The range that it is compared with; None compares with nothing.
        running: True if the period is the running month, so that its end is projected.
        requested: The range that was asked for; None is the period itself.
        then_by: The dimension that each group is split by; None splits no further.
        detailed: True to read also what only a page shows: spend and usage by model, and the usage
            of the range to compare with, and the lines of both bills.
    """

    by: By
    period: TimeRange
    now: int
    before: TimeRange | None = None
    running: bool = False
    requested: TimeRange | None = None
    then_by: By | None = None
    detailed: bool = attrs.field(default=False, kw_only=True)

    @property
    def weeks(self) -> TimeRange | None:
        """The days before a running month of which its end is projected; None for any other."""
        if not self.running:
            return None
        begin = self.now - self.now % DAY_S - WEEK * WEEKS * DAY_S
        return TimeRange(begin, self.period.start_time)

    @property
    def last_day_runs(self) -> bool:
        """True if the last day ends after `now`."""
        return day_end(self.period.end_time) > self.now

    @property
    def today(self) -> date:
        """The day of `now`, in UTC."""
        return day_of(self.now)

    @property
    def grouping(self) -> Grouping:
        """Its grouping; of a pair the outer one."""
        return GROUPINGS[self.by]

    @property
    def groupings(self) -> tuple[Grouping, ...]:
        """Its one or two groupings, the outer one first."""
        return tuple(GROUPINGS[by] for by in (self.by, self.then_by) if by is not None)

    @property
    def noun(self) -> str:
        """Name of one group, such as `project`; of a pair `project and model`."""
        return " and ".join(grouping.noun for grouping in self.groupings)

    @property
    def costs_dimensions(self) -> tuple[str, ...]:
        """The dimensions that costs are read by; models and line items are one of them."""
        return tuple(dict.fromkeys(grouping.costs for grouping in self.groupings))

    @property
    def usage_dimensions(self) -> tuple[str, ...]:
        """The dimensions that requests and tokens are added up by."""
        return tuple(dict.fromkeys(grouping.usage for grouping in self.groupings))


def read_by(by: str | Sequence[str], name: str = "by") -> tuple[By, ...]:
    """Read the grouping of a report: one dimension or two.

    Args:
        by: Dimensions as people or the API write them: `"project"`, `"project_id"`,
            `"project,model"` or `("project", "model")`.
        name: Name of the option, for errors.

    Raises:
        QueryError: There is no such dimension, or they are not one or two different ones.
    """
    allowed = f"{name} takes one or two of {', '.join(map(word_of, GROUPINGS))}"
    found: list[By] = []
    for word in by.split(",") if isinstance(by, str) else by:
        dimension = find_dimension(word.strip(), GROUPINGS)
        if dimension is None:
            raise QueryError(f"{allowed}; not {word.strip()!r}")
        if dimension in found:
            raise QueryError(f"{allowed}; {word_of(dimension)} stands there twice")
        found.append(dimension)
    if len(found) not in _NUMBERS:
        raise QueryError(f"{allowed}; not {len(found)} of them")
    return tuple(found)


def report_spec(
    now: int,
    *,
    by: str | Sequence[str] = "project_id",
    period: str | None = None,
    start: Time | None = None,
    end: Time | None = None,
    compare: bool = False,
    detailed: bool = False,
) -> ReportSpec:
    """Specify a report; days that are asked for in part are covered whole.

    Args:
        now: Unix seconds.
        by: The dimension to split it by, such as `"project"`; or two, such as `"project,model"`
            or `("project", "model")`: the groups of the first are split by the second.
        period: As `period=` of a query; instead of start and end.
        start: As `start_time=` of a query.
        end: As `end_time=` of a query.
        compare: Compare with the period before.
        detailed: Read also what only a page shows, which takes further queries.

    Raises:
        QueryError: The times make no range, or one in the future; or there is no such grouping.
    """
    dimensions = read_by(by)
    params = {"start_time": start, "end_time": end, "period": period}
    requested = build("costs", params).resolve(now)
    # Costs come by the day. A day in part would pair the costs of a whole day with partial usage.
    first = requested.start_time - requested.start_time % DAY_S
    covered = TimeRange(first, min(day_end(requested.end_time), now))
    month = day_of(now).replace(day=1)
    return ReportSpec(
        by=dimensions[0],
        period=covered,
        now=now,
        before=period_before(covered, period) if compare else None,
        running=day_of(first) == month and covered.end_time == now,
        requested=requested,
        then_by=dimensions[1] if len(dimensions) > 1 else None,
        detailed=detailed,
    )


def day_of(instant: int) -> date:
    """Give the day of an instant in Unix seconds, in UTC."""
    return datetime.fromtimestamp(instant, UTC).date()


def day_end(instant: int) -> int:
    """Give the first midnight that is not before an instant, both in Unix seconds."""
    return instant + -instant % DAY_S


def check_month(spec: ReportSpec) -> None:
    """Check that a period is a calendar month, or the running one.

    Raises:
        QueryError: It is none.
    """
    asked = spec.requested or spec.period
    first = day_of(asked.start_time)
    is_whole = first.day == 1 and day_of(asked.end_time) == _next_month(first)
    if not (is_whole or spec.running):
        raise QueryError("period takes a month beside a budget: this-month, last-month or 2026-10")


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)
