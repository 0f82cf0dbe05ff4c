"""Values of a report: the sections that were read, and the `Report` that is computed from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import attrs

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.interval import DAY_S
from usage_async._api.pages import SETTLES_AFTER, UsageTimeBucket
from usage_async._api.results import UsageResult
from usage_async._query.times import iso
from usage_async.report.budgets import Budget, Projection
from usage_async.report.changes import BillChange
from usage_async.report.details import Stack, TokenKind
from usage_async.report.effects import Cause
from usage_async.report.insight import UnusualDay
from usage_async.report.spec import ReportSpec, day_of

SPEND = "spend"
"""Name of the section of the ungrouped costs."""
SPEND_BY_MODEL = "spend by model"
KEYS = "spend by API key"
"""Name of the section that a key may not be allowed to read."""
PERIOD_BEFORE = "the period before"
"""Start of the names of the sections of the range to compare with."""
WEEKS_BEFORE = "the weeks before the month"
"""Name of the section that is read for the projection of a running month."""
LINES = f"{SPEND} by line item"
LINES_BEFORE = f"{PERIOD_BEFORE} by line item"


@attrs.frozen
class Blank:
    """The reason why a section has no figures.

    Attributes:
        verdict: `refused`: asking again gives the same answer. `failed`: it may not.
        reason: One line.
    """

    verdict: Literal["refused", "failed"]
    reason: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


@attrs.frozen
class Section:
    """Buckets of one query of a report.

    Attributes:
        buckets: All of them; empty where nothing could be read.
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

    def gap(self, now: int, beside: Section | None = None) -> tuple[int, ...]:
        """Give the starts of the days that did not come, although they ended or came elsewhere.

        As long as neither section has the running day, it is not missing.

        Args:
            now: Unix seconds.
            beside: The section of the same days, with or without groups.
        """
        came = {bucket.start_time for bucket in beside.buckets} if beside else ()
        return tuple(start for start in self.missing if start + DAY_S <= now or start in came)

    def overdue(self, now: int) -> tuple[int, ...]:
        """Give the starts of the days that did not come although they ended by `now`."""
        return tuple(start for start in self.missing if start + DAY_S <= now)


@attrs.frozen(kw_only=True)
class Sections:
    """Everything that a report is computed from.

    Attributes:
        costs: Ungrouped costs.
        costs_by: Costs by the dimensions of the report.
        usage: Every usage endpoint by name, grouped by those of the dimensions that it takes.
        costs_before: Ungrouped costs of the range to compare with.
        costs_by_before: The same, by the dimensions of the report.
        costs_weeks: Ungrouped costs of the weeks before a running month.
        costs_by_model: Costs by line item, for a detailed report; None if `costs_by` has them.
        costs_by_item: Costs by project and line item, for a detailed report that is compared.
        costs_by_item_before: The same of the range to compare with.
        costs_by_key: Costs by project and API key, where those by line item are.
        costs_by_key_before: The same of the range to compare with.
        costs_by_line: Costs by line item, where a day is unusual and nothing else tells them.
        movers: Costs of the groups that moved most, by group and line item: of the range to compare
            with, and of the period.
        usage_before: Ungrouped usage of the range to compare with, for a detailed report: of every
            endpoint that counts requests or tokens.
    """

    costs: Section
    costs_by: Section
    usage: Mapping[str, Section]
    costs_before: Section | None = None
    costs_by_before: Section | None = None
    costs_weeks: Section | None = None
    costs_by_model: Section | None = None
    costs_by_item: Section | None = None
    costs_by_item_before: Section | None = None
    costs_by_key: Section | None = None
    costs_by_key_before: Section | None = None
    costs_by_line: Section | None = None
    movers: tuple[Section, Section] | None = None
    usage_before: Mapping[str, Section] = attrs.field(factory=dict)

    def grouped_rows(self) -> Iterator[UsageResult]:
        """Give the rows that hold ids of the report's groups, and of the projects of lines."""
        items = (self.costs_by_item_before, self.costs_by_item)
        for section in (*items, self.costs_by_before, self.costs_by, *self.usage.values()):
            for bucket in () if section is None else section.buckets:
                yield from bucket.results


@attrs.frozen(kw_only=True)
class Group:
    """A group's part of the bill.

    Attributes:
        id: The group's id, or its model, or its line item where that names no model; None for
            spend that is not attributed.
        name: Its name, where the service sent one.
        amount: Exact.
        before: The exact amount of the range that it is compared with.
        requests: Its requests to models, where they are known and the bill is in one currency.
        cause: The line item that moved it most, for groups that moved most.
        parts: Its groups by the second dimension, the largest first; together they are its amount,
            exactly. Empty where there is one dimension.
    """

    id: str | None
    name: str | None = None
    amount: Decimal
    before: Decimal | None = None
    requests: int | None = None
    cause: Cause | None = None
    parts: tuple[Group, ...] = ()


@attrs.frozen(kw_only=True)
class Spend:
    """The bill in one currency.

    Attributes:
        currency: Lowercase ISO 4217 code.
        total: As billed, over the days that came.
        days: The amount of every day of the period; None where it did not come.
        groups: The largest first; together they are the total, exactly.
        before: The total of the range that it is compared with.
        projection: The projected running month; None for any other period, and where no day that is
            over is known.
        unusual: The days that are far from the usual.
        stacks: Parts of each day by group; together they are the amount of the day.
        models: The bill by model, of a detailed report; what names no model is its line item.
    """

    currency: str
    total: Decimal
    days: tuple[tuple[date, Decimal | None], ...]
    groups: tuple[Group, ...]
    before: Decimal | None = None
    projection: Projection | None = None
    unusual: tuple[UnusualDay, ...] = ()
    stacks: tuple[Stack, ...] = ()
    models: tuple[Group, ...] = ()


@attrs.frozen(kw_only=True)
class Tokens:
    """A group's requests and tokens, over the endpoints that count them.

    Attributes:
        id: The group's id, or its model; None where the service names none.
        name: Its name, where the service sent one.
        requests: Requests to models.
        input: Input tokens.
        cached: Those of them that were read from a cache.
        output: Output tokens.
        parts: Its groups by the second dimension, the most tokens first; together they are its
            figures. Empty where there is one dimension.
    """

    id: str | None
    name: str | None = None
    requests: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    parts: tuple[Tokens, ...] = ()


@attrs.frozen(kw_only=True)
class EndpointUse:
    """Use of one endpoint.

    Attributes:
        name: Name of the endpoint.
        requests: Requests to models; None where it does not count them.
        figures: Triples of a metric, its sum (a level: its last value), and its unit.
        blank: Why there are no figures.
    """

    name: str
    requests: int | None = None
    figures: tuple[tuple[str, int, str], ...] = ()
    blank: Blank | None = None


@attrs.frozen
class OrganizationRef:
    """Id and name of an organization, as far as rows of costs carry them."""

    id: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return "  ".join(filter(None, (self.name, self.id))) or "Organization"


@attrs.frozen(kw_only=True)
class View:
    """Choices of whoever looks at a report; each rendering takes what it needs.

    Attributes:
        notices: The library's warnings about the figures.
        footer: The last line of a drawing.
        budget: The budget of the report's month.
        top: The most groups to draw; 0 draws all.
    """

    notices: Sequence[str] = ()
    footer: str = ""
    budget: Budget | None = None
    top: int = 0

    def has_projection(self, currency: str) -> bool:
        """Tell if the budget projects the month in a currency.

        A report then shows none of its own: a budget of another reading may project otherwise, and
        two projections of one month would contradict each other.
        """
        planned = self.budget
        return (
            planned is not None and planned.currency == currency and planned.projection is not None
        )

    def projection_of(self, spend: Spend) -> Projection | None:
        """Give the one projection of a bill: that of the budget, or else its own."""
        planned = self.budget
        if planned is not None and self.has_projection(spend.currency):
            return planned.projection
        return spend.projection

    @property
    def top_parts(self) -> int:
        """The most parts to draw of each group: a third of the most groups, at least 3; 0: all."""
        return max(3, self.top // 3) if self.top else 0


@attrs.frozen(kw_only=True)
class Explanation:
    """The reasons why a bill is not what it was.

    Attributes:
        spec: The period, and the one before.
        organization: Whose bill it is.
        bills: The change of the bill, one for each currency, the largest bill first.
        blanks: Pairs of a section's name and why it has no figures.
        gaps: Pairs of a section's name and the starts of its days that were not sent although they
            ended, or although the bill has them, or of the bill its lines.
    """

    spec: ReportSpec
    organization: OrganizationRef
    bills: tuple[BillChange, ...]
    blanks: tuple[tuple[str, Blank], ...] = ()
    gaps: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def is_whole(self) -> bool:
        """True if every figure is there; those by API key may be refused."""
        return not self.gaps and all(
            name == KEYS and blank.verdict == "refused" for name, blank in self.blanks
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Limits of the figures, a sentence each."""
        return tuple(self._remarks())

    def _remarks(self) -> Iterator[str]:
        spec = self.spec
        before = spec.before or spec.period
        days, days_before = (
            -(-(each.end_time - each.start_time) // DAY_S) for each in (spec.period, before)
        )
        if days != days_before:
            is_ = "1 day is" if days == 1 else f"{days} days are"
            yield f"{is_} compared with {'1 day' if days_before == 1 else f'{days_before} days'}"
        if spec.last_day_runs:
            yield "the last day is still running, and is compared with a whole day"
        of_before = attrs.evolve(spec, period=before)
        if of_before.last_day_runs and spec.before is not None:
            yield "the last day of the period to compare with is still running"
        if (first := revised_from(spec)) is not None:
            yield f"figures from {first} on may still be revised"
        if (first := revised_from(of_before)) is not None and spec.before is not None:
            yield f"figures to compare with from {first} on may still be revised"
        for name, blank in self.blanks:
            yield f"{name}: {blank}"
        for name, starts in self.gaps:
            first = day_of(starts[0])
            yield f"{name}: {days_not_sent(len(starts))}, the first is {first}"
        lacking = {name for name, _ in self.gaps}
        if lacking & {SPEND, PERIOD_BEFORE}:
            yield "days are missing, so that the change is that of other days"
        if lacking & {LINES, LINES_BEFORE}:
            yield "what was spent without line items is unexplained, and volumes lack it"


@attrs.frozen(kw_only=True)
class Report:
    """Everything that a report says.

    Attributes:
        spec: The question that it answers.
        organization: Whose report it is.
        spends: The bill, one for each currency, the largest first.
        tokens: Requests and tokens by group, the most tokens first.
        uncounted: Endpoints whose requests and tokens are missing in `tokens`.
        endpoints: The use of every usage endpoint.
        blanks: Pairs of a section's name and why it has no figures.
        gaps: Pairs of a section's name and the starts of its days that were not sent although they
            ended, or although the spend has them.
        joined: True if groups of money and of tokens are the same things over the same days.
        groups_from: Start of the first day whose spend is known by group, Unix seconds, where that
            lies after the start of the period.
        models: Requests and tokens by model, of a detailed report.
        kinds: Tokens by kind, over all endpoints that count them; empty where there are none.
        used_before: Requests and tokens of the range that it is compared with, of a detailed
            report; None where they are not known or not comparable.
        weeks: Pairs of a currency and the amounts of the days of the weeks before a running month,
            None for those that did not come.
        explanation: The reasons why the bill changed, of a detailed report that is compared. API
            keys that may be told have names, others only where the report is split by them: their
            lists take a request for each project.
    """

    spec: ReportSpec
    organization: OrganizationRef
    spends: tuple[Spend, ...]
    tokens: tuple[Tokens, ...]
    uncounted: tuple[str, ...]
    endpoints: tuple[EndpointUse, ...]
    blanks: tuple[tuple[str, Blank], ...]
    gaps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    joined: bool = True
    groups_from: int | None = None
    models: tuple[Tokens, ...] = ()
    kinds: tuple[TokenKind, ...] = ()
    used_before: Tokens | None = None
    weeks: tuple[tuple[str, tuple[tuple[date, Decimal | None], ...]], ...] = ()
    explanation: Explanation | None = None

    @property
    def spend_blank(self) -> Blank | None:
        """The reason why the spend is not known; None where it is."""
        return dict(self.blanks).get(SPEND)

    @property
    def is_whole(self) -> bool:
        """True if every figure that was asked for is there; refused usage may be absent."""
        lacking = (
            blank
            for name, blank in self.blanks
            if blank.verdict == "failed" or not self._may_be_refused(name)
        )
        return not self.gaps and next(lacking, None) is None and not self._lacks_reasons

    @property
    def _lacks_reasons(self) -> bool:
        """True if asking again may tell more of the change; what is refused stays refused."""
        made = self.explanation
        return made is not None and (
            bool(made.gaps) or any(blank.verdict == "failed" for _, blank in made.blanks)
        )

    def _may_be_refused(self, section: str) -> bool:
        # A page adds these sections unasked, and the history of the service may begin after them.
        added = section == SPEND_BY_MODEL or section.startswith(PERIOD_BEFORE)
        is_aside = section in ENDPOINTS or section == WEEKS_BEFORE
        return is_aside or (added and self.spec.detailed)

    @property
    def missing_days(self) -> int:
        """The number of days that ended and that the total spend lacks."""
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
        """Limits of the figures, a sentence each."""
        return (*self._on_times(), *self._on_gaps())

    def _on_times(self) -> Iterator[str]:
        spec = self.spec
        yield from _on_days_in_part(spec)
        if (first := revised_from(spec)) is not None:
            yield f"figures from {first} on may still be revised"
        compared = any(spend.before is not None for spend in self.spends)
        if compared and spec.last_day_runs:
            yield "the last day is still running, and is compared with a whole day"
        if self.is_empty:
            yield "nothing was used or billed; check that the key is of the right organization"

    def _on_gaps(self) -> Iterator[str]:
        section = spend_by(self.spec)
        if self.groups_from is not None:
            yield (
                f"{section}: known from {day_of(self.groups_from)}; spend before that day is not"
                " attributed"
            )
        effects = {
            SPEND: "; the total is incomplete, and every group lacks these days",
            section: "; the spend of these days is not attributed",
        }
        gaps = {name: starts for name, starts in self.gaps if name not in ENDPOINTS}
        lacking: dict[tuple[int, ...], list[str]] = {}
        for name, starts in self.gaps:
            if name in ENDPOINTS:
                lacking.setdefault(starts, []).append(name)
        unknown = gaps.get(SPEND, ())
        if section in gaps:
            gaps[section] = tuple(start for start in gaps[section] if start not in unknown)
        for name, starts in gaps.items():
            if starts:
                first = day_of(starts[0])
                effect = effects.get(name, "")
                yield f"{name}: {days_not_sent(len(starts))}, the first is {first}{effect}"
        for starts, names in lacking.items():
            first = day_of(starts[0])
            yield (
                f"{', '.join(names)}: {days_not_sent(len(starts))}, the first is {first}; their"
                " figures lack these days"
            )
        if self.spec.before is not None:
            yield from self._on_comparison()

    def _on_comparison(self) -> Iterator[str]:
        """Tell what `compute_report` does not compare because days are missing."""
        gaps, blanks = dict(self.gaps), dict(self.blanks)
        for noun, names in (
            ("nothing is", (SPEND, PERIOD_BEFORE)),
            ("groups are not", (spend_by(self.spec), before_by(self.spec))),
        ):
            if any(name in blanks for name in names):
                return
            if any(name in gaps for name in names):
                yield f"{noun} compared, because days are missing"
                return


def _on_days_in_part(spec: ReportSpec) -> Iterator[str]:
    requested, period = spec.requested or spec.period, spec.period
    if period.start_time < requested.start_time:
        yield f"start {iso(requested.start_time)} lies inside a day, which is given whole"
    if period.end_time > requested.end_time:
        yield f"end {iso(requested.end_time)} lies inside a day, which is given whole"


def revised_from(spec: ReportSpec) -> date | None:
    """Give the first day of a period whose figures may still be revised; None if all are final."""
    settled = (datetime.fromtimestamp(spec.now, UTC) - SETTLES_AFTER).date()
    if spec.period.end.date() <= settled:
        return None
    return max(settled, spec.period.start.date())


def spend_by(spec: ReportSpec) -> str:
    """Name the section of the grouped costs."""
    return f"spend by {spec.noun}"


def before_by(spec: ReportSpec) -> str:
    """Name the section of the grouped costs of the range to compare with."""
    return f"{PERIOD_BEFORE} by {spec.noun}"


def days_not_sent(number: int) -> str:
    """Write a number of days that the service did not send."""
    return "1 day was not sent" if number == 1 else f"{number} days were not sent"
