"""A report: what an organization spent and used, as plain data.

`reading` fetches what it is made of, `make` adds it up, `terminal`, `json` and `csv` show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import attrs

from usage_async._api.endpoints import DAY_S, ENDPOINTS
from usage_async._api.pages import (
    SETTLES_AFTER,
    UsageTimeBucket,
)
from usage_async._query.times import TimeRange, iso
from usage_async.report.insight import Pace, UnusualDay

By = Literal["project_id", "user_id", "api_key_id", "line_item", "model"]


SPEND = "spend"
"""The section of the ungrouped costs."""


@attrs.frozen
class Grouping:
    """Grouping of a report.

    Attributes:
        noun: What one group is called.
        costs: The dimension that costs are read by.
        usage: The dimension that usage is read by.
        derived: The groups of costs are the models that line items name, else the line items.
        joined: Groups of costs and of usage are the same things.
    """

    noun: str
    costs: str
    usage: str
    derived: bool = False
    joined: bool = True


GROUPINGS: Mapping[By, Grouping] = {
    "project_id": Grouping("project", "project_id", "project_id"),
    "user_id": Grouping("user", "user_id", "user_id"),
    "api_key_id": Grouping("API key", "api_key_id", "api_key_id"),
    "line_item": Grouping("line item", "line_item", "model", joined=False),
    "model": Grouping("model", "line_item", "model", derived=True),
}


@attrs.frozen
class Plan:
    """Subject of a report.

    Attributes:
        by: The dimension that it is split by.
        period: The range that is covered, whole days up to `now`.
        now: Unix seconds.
        before: The range that it is compared with.
        running: Whether the period is the running month.
        requested: The range that was asked for; None is the period itself.
    """

    by: By
    period: TimeRange
    now: int
    before: TimeRange | None = None
    running: bool = False
    requested: TimeRange | None = None

    @property
    def last_day_runs(self) -> bool:
        """True if the last day ends after `now`."""
        end = self.period.end_time
        return end + -end % DAY_S > self.now

    @property
    def today(self) -> date:
        """The day that it is, in UTC."""
        return datetime.fromtimestamp(self.now, UTC).date()

    @property
    def grouping(self) -> Grouping:
        """Its grouping."""
        return GROUPINGS[self.by]


@attrs.frozen
class Blank:
    """The reason why a section has no figures.

    Attributes:
        verdict: The service `refused` it for good; or it `failed`, and may come another time.
        reason: One line.
    """

    verdict: Literal["refused", "failed"]
    reason: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


@attrs.frozen
class Reading:
    """The outcome of one query.

    Attributes:
        buckets: Everything; empty where nothing could be read.
        blank: Why nothing could be read.
        missing: Starts of the days that did not come, Unix seconds: their figures are unknown.
        known_from: Start of the first day that the service offers, Unix seconds, where that lies
            after the start of the period.
    """

    buckets: tuple[UsageTimeBucket[Any], ...] = ()
    blank: Blank | None = None
    missing: tuple[int, ...] = ()
    known_from: int | None = None

    @property
    def missing_days(self) -> frozenset[date]:
        """The days that did not come."""
        return frozenset(map(day_of, self.missing))

    def overdue(self, now: int) -> tuple[int, ...]:
        """Give the starts of the days that did not come although they ended by `now`."""
        return tuple(start for start in self.missing if start + DAY_S <= now)


@attrs.frozen(kw_only=True)
class Readings:
    """Readings that a report is made of.

    Attributes:
        costs: Ungrouped costs.
        costs_by: Costs by the dimension of the report.
        usage: Every usage endpoint, by name, grouped where it can be.
        costs_before: Ungrouped costs of the range that is compared with.
        costs_by_before: The same, by the dimension of the report.
    """

    costs: Reading
    costs_by: Reading
    usage: Mapping[str, Reading]
    costs_before: Reading | None = None
    costs_by_before: Reading | None = None


@attrs.frozen(kw_only=True)
class Group:
    """A group's part of the bill.

    Attributes:
        id: Its id, or its model, or its line item where that names none; None where it is not
            attributed.
        name: Its name, where the service sent one.
        amount: Exact.
        before: The amount of the range that it is compared with.
        requests: Its requests to models, where they are known.
    """

    id: str | None
    name: str | None = None
    amount: Decimal
    before: Decimal | None = None
    requests: int | None = None


@attrs.frozen(kw_only=True)
class Spend:
    """The bill in one currency.

    Attributes:
        currency: Lowercase ISO 4217 code.
        total: As billed, over the days that came.
        days: The amount of every day of the period; None where it did not come.
        groups: The largest first; together they are the total, exactly.
        before: The total of the range that is compared with.
        pace: Where the month is going, if it is the running one.
        unusual: Days that are far from the usual.
    """

    currency: str
    total: Decimal
    days: tuple[tuple[date, Decimal | None], ...]
    groups: tuple[Group, ...]
    before: Decimal | None = None
    pace: Pace | None = None
    unusual: tuple[UnusualDay, ...] = ()


@attrs.frozen(kw_only=True)
class Tokens:
    """A group's requests and tokens, over the endpoints that count them."""

    id: str | None
    name: str | None = None
    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0


@attrs.frozen(kw_only=True)
class EndpointUse:
    """Use of one endpoint.

    Attributes:
        name: Of the endpoint.
        requests: To models; None where it does not count them.
        figures: Triples of a metric, its sum (a level: its last one), and its unit.
        blank: Why there are no figures.
    """

    name: str
    requests: int | None = None
    figures: tuple[tuple[str, int, str], ...] = ()
    blank: Blank | None = None


@attrs.frozen
class Organization:
    """An organization, as far as rows of costs tell it."""

    id: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return "  ".join(filter(None, (self.name, self.id))) or "Organization"


@attrs.frozen(kw_only=True)
class Report:
    """Everything that a report says.

    Attributes:
        plan: What it is about.
        organization: Whose report it is.
        spends: One a currency, the largest first.
        tokens: By group, the most tokens first.
        uncounted: Endpoints whose requests and tokens are missing there.
        endpoints: Every usage endpoint.
        blanks: Pairs of a section and why it has no figures.
        gaps: Pairs of a section and the starts of its days that ended and were not sent.
        joined: Groups of money and of tokens are the same things over the same days.
        groups_from: Start of the first day whose spend is known by group, Unix seconds, where that
            lies after the start of the period.
    """

    plan: Plan
    organization: Organization
    spends: tuple[Spend, ...]
    tokens: tuple[Tokens, ...]
    uncounted: tuple[str, ...]
    endpoints: tuple[EndpointUse, ...]
    blanks: tuple[tuple[str, Blank], ...]
    gaps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    joined: bool = True
    groups_from: int | None = None

    @property
    def spend_blank(self) -> Blank | None:
        """The reason why the spend is not known; None where it is."""
        return dict(self.blanks).get(SPEND)

    @property
    def is_whole(self) -> bool:
        """Every figure that was asked for is there; usage that is refused may be absent."""
        lacking = (
            blank
            for name, blank in self.blanks
            if blank.verdict == "failed" or name not in ENDPOINTS
        )
        return not self.gaps and next(lacking, None) is None

    @property
    def missing_days(self) -> int:
        """The number of days that ended, and that the total spend is without."""
        return len(dict(self.gaps).get(SPEND, ()))

    @property
    def is_empty(self) -> bool:
        """True if nothing was used or billed."""
        used = any(value for use in self.endpoints for _, value, _ in use.figures)
        return (
            not self.blanks
            and not self.gaps
            and not used
            and not any(spend.total for spend in self.spends)
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for a careful reader of the figures, a sentence each."""
        return (*self._of_times(), *self._of_gaps())

    def _of_times(self) -> Iterator[str]:
        plan = self.plan
        yield from _floored(plan)
        settled = (datetime.fromtimestamp(plan.now, UTC) - SETTLES_AFTER).date()
        if plan.period.end.date() > settled:
            yield f"figures from {max(settled, plan.period.start.date())} on may still be revised"
        compared = any(spend.before is not None for spend in self.spends)
        if compared and plan.last_day_runs:
            yield "the last day still runs, and is compared with a whole one"
        if self.is_empty:
            yield "nothing was used or billed: is this the key of another organization?"

    def _of_gaps(self) -> Iterator[str]:
        section = spend_by(self.plan)
        if self.groups_from is not None:
            yield (
                f"{section}: known from {day_of(self.groups_from)}; what was spent before is not"
                " attributed"
            )
        follows = {
            SPEND: "; the total is incomplete, and every group is without these days",
            section: "; what was spent then is not attributed",
        }
        # Gaps of usage are told by the library, endpoint by endpoint.
        gaps = {name: starts for name, starts in self.gaps if name not in ENDPOINTS}
        unknown = gaps.get(SPEND, ())
        if section in gaps:
            gaps[section] = tuple(start for start in gaps[section] if start not in unknown)
        for name, starts in gaps.items():
            if starts:
                days = "1 day was" if len(starts) == 1 else f"{len(starts)} days were"
                told = f"{name}: {days} not sent, the first is {day_of(starts[0])}"
                yield told + follows.get(name, "")
        if self.plan.before is not None and gaps:
            yield "where days are missing, nothing is compared"


def spend_by(plan: Plan) -> str:
    """Name the section of the grouped costs."""
    return f"spend by {plan.grouping.noun}"


def day_of(start: int) -> date:
    """Give the day of an instant, in UTC."""
    return datetime.fromtimestamp(start, UTC).date()


def _floored(plan: Plan) -> Iterator[str]:
    """Tell of days that were asked for in part."""
    asked, period = plan.requested or plan.period, plan.period
    if period.start_time < asked.start_time:
        yield f"start {iso(asked.start_time)} lies inside a day, which is given whole"
    if period.end_time > asked.end_time:
        yield f"end {iso(asked.end_time)} lies inside a day, which is given whole"
