"""The budget of a month: its question, and its report with groups and spend limits. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date
from decimal import Decimal

import attrs

from usage_async._api.interval import DAY_S
from usage_async._api.limits import SpendLimit
from usage_async._api.results import CostsResult
from usage_async._client.names import Names
from usage_async._query.times import TimeRange
from usage_async.errors import QueryError
from usage_async.report.amounts import change
from usage_async.report.budgets import Budget, Verdict, budget
from usage_async.report.compute import days_in
from usage_async.report.dimensions import find_dimension, name_in, word_of
from usage_async.report.effects import sum_exactly
from usage_async.report.insight import Days
from usage_async.report.limits import SpendLimits
from usage_async.report.spec import ReportSpec, check_month, day_of, report_spec
from usage_async.report.values import SPEND, Report, Section, days_not_sent, revised_from

BUDGET_DIMENSIONS = ("project_id", "user_id", "api_key_id", "line_item")
"""Dimensions that a budget can be split by."""

_PROJECT = "project_id"
_ZERO = Decimal(0)

_Amounts = dict[tuple[str, str | None], list[tuple[date, Decimal | None]]]
"""Amounts of days by currency and group."""


@attrs.frozen(kw_only=True)
class BudgetQuestion:
    """A question about a budget.

    Attributes:
        spec: The month, as `month_spec` makes it.
        monthly: The budget.
        currency: Its currency, lowercase.
        by: Dimension to show groups by, as of a report, but no models; None shows none.
        limits: True to read the spend limits of the service, and those of projects if groups are.
    """

    spec: ReportSpec
    monthly: Decimal
    currency: str = "usd"
    by: str | None = None
    limits: bool = True


@attrs.frozen(kw_only=True)
class BudgetCosts:
    """Base of a budget: sections of the month and of the weeks before it.

    Attributes:
        whole: Costs without groups.
        groups: Costs by the dimension; empty without one.
        limits: Spend limits of the service.
    """

    whole: Section = attrs.field(factory=Section)
    groups: Section = attrs.field(factory=Section)
    limits: SpendLimits = attrs.field(factory=SpendLimits)

    def rows(self) -> list[CostsResult]:
        """Give the rows that hold ids of the groups."""
        return [row for bucket in self.groups.buckets for row in bucket.results]


@attrs.frozen(kw_only=True)
class BudgetReport:
    """A budget, the groups of its costs, and the spend limits beside it.

    Attributes:
        spec: The month.
        whole: The budget, and the spend in other currencies beside it.
        groups: The spend by group, the largest first, what is not attributed last; together they
            are what is spent, exactly. Empty if it is not grouped.
        gaps: Starts of the days of the month that were not sent although they ended, or although
            the groups have them; those before the history of the service included.
        group_gaps: The same for the costs by group, beside the whole.
        notices: What was not read, and why.
        billed_in: Currencies of the costs of the month and of the weeks before it.
        unlike_limits: Projects, or `the organization`, whose spend limit is in another currency
            than their costs, so that it stands beside none.
    """

    spec: ReportSpec
    whole: tuple[Budget, ...]
    groups: tuple[Budget, ...] = ()
    gaps: tuple[int, ...] = ()
    group_gaps: tuple[int, ...] = ()
    notices: tuple[str, ...] = ()
    billed_in: tuple[str, ...] = ()
    unlike_limits: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True if no day of the month is missing, and the budget is in a currency of the bill."""
        return not self.gaps and not self.group_gaps and self.not_billed is None

    @property
    def not_billed(self) -> str | None:
        """A sentence, if other currencies than that of the budget are billed, and it is not."""
        return not_billed_text(self.whole[0].currency, self.billed_in)

    @property
    def verdict(self) -> Verdict:
        """Verdict about the budget."""
        return self.whole[0].verdict

    @property
    def remarks(self) -> tuple[str, ...]:
        """Limits of the figures, a sentence each."""
        return (*self._on_days(), *self.remarks_on_budget)

    @property
    def remarks_on_budget(self) -> tuple[str, ...]:
        """Those of `remarks` that a report of the same month does not tell itself."""
        return tuple(self._on_budget())

    def _on_days(self) -> Iterator[str]:
        if (first := revised_from(self.spec)) is not None:
            yield f"figures from {first} on may still be revised"
        if self.gaps:
            first = day_of(self.gaps[0])
            yield f"{days_not_sent(len(self.gaps))}, the first is {first}; the spend lacks them"
        if by_group := [start for start in self.group_gaps if start not in self.gaps]:
            text = f"by group: {days_not_sent(len(by_group))}, the first is {day_of(by_group[0])}"
            yield f"{text}; the spend of these days is not attributed"

    def _on_budget(self) -> Iterator[str]:
        if self.not_billed is not None:
            yield self.not_billed
        elif len(self.whole) > 1:
            yield "the budget is in one currency; spend in others is shown beside it"
        if self.unlike_limits:
            whose, others = self.unlike_limits[0], len(self.unlike_limits) - 1
            more = f" and of {others} more" if others else ""
            yield f"the spend limit of {whose}{more} is in a currency that is not billed"
        yield from self.notices


def not_billed_text(currency: str, billed_in: Collection[str]) -> str | None:
    """Tell that a budget is in a currency that is not billed; None where it is, or nothing is."""
    if not billed_in or currency in billed_in:
        return None
    return f"nothing is billed in {currency}, but in {', '.join(billed_in)}: no spend can reach it"


def budget_question(
    now: int,
    monthly: Decimal,
    *,
    period: str = "this-month",
    by: str | None = None,
    currency: str = "usd",
    limits: bool = True,
) -> BudgetQuestion:
    """Make a question about a budget.

    Args:
        now: Unix seconds.
        monthly: The budget.
        period: The month.
        by: Dimension to show groups by; None shows none.
        currency: Currency of the budget.
        limits: True to read spend limits.

    Raises:
        QueryError: The period is not a month, or there is no such grouping.
    """
    dimension = None if by is None else find_dimension(by, BUDGET_DIMENSIONS)
    if by is not None and dimension is None:
        known = ", ".join(map(word_of, BUDGET_DIMENSIONS))
        raise QueryError(f"by takes one of {known}; not {by!r}")
    return BudgetQuestion(
        spec=month_spec(now, period),
        monthly=monthly,
        currency=currency.lower(),
        by=dimension,
        limits=limits,
    )


def month_spec(now: int, period: str = "this-month") -> ReportSpec:
    """Specify a month.

    At its first instant no time of it has passed. It is then taken as one second old, so that what
    runs at the start of every month is answered.

    Args:
        now: Unix seconds.
        period: `this-month`, `last-month`, or such as `2026-10`.

    Raises:
        QueryError: The period is not a month.
    """
    begins = now % DAY_S == 0 and day_of(now).day == 1
    spec = report_spec(now + begins, period=period)
    check_month(spec)
    return spec


def budget_report(
    question: BudgetQuestion, costs: BudgetCosts, names: Names | None = None
) -> BudgetReport:
    """Set the spend of a month beside its budget. Pure.

    Args:
        question: The question.
        costs: What was read for it.
        names: Names of groups; by default those that rows carry.
    """
    spec, by, currency, limits = question.spec, question.by, question.currency, costs.limits
    by_currency = _days(spec.period, costs.whole, None, (currency,))
    whole = [
        _budget(spec, days, of, question.monthly if of == currency else None, limits.organization)
        for (of, _), days in by_currency.items()
    ]
    billed_in = {of for (of, _), days in by_currency.items() if any(amount for _, amount in days)}
    if names is None:
        names = Names.from_rows(costs.rows())
    by_group: _Amounts = {}
    if by is not None:
        by_group = _completed(by_currency, _days(spec.period, costs.groups, by, ()), currency)
    made = [
        attrs.evolve(
            _budget(
                spec, days, of, None, limits.projects.get(key) if key and by == _PROJECT else None
            ),
            id=key,
            name=name_in(names, by or "", key),
        )
        for (of, key), days in by_group.items()
    ]
    if _lacks_days(costs):
        # Days without groups belong to the named ones, which are projected as if they knew them.
        made = [attrs.evolve(each, projection=None) if each.id is None else each for each in made]
    made = [each for each in made if each.spent or each.projection]
    return BudgetReport(
        spec=spec,
        whole=tuple(sorted(whole, key=lambda each: (each.currency != currency, each.currency))),
        groups=tuple(sorted(made, key=_rank)),
        gaps=_gaps(spec, costs.whole, costs.groups),
        group_gaps=_gaps(spec, costs.groups, costs.whole),
        notices=limits.notices,
        billed_in=tuple(sorted(billed_in)),
        unlike_limits=tuple(_unlike(limits, whole, by_group)),
    )


def _rank(group: Budget) -> tuple[bool, Decimal, str]:
    return group.id is None, group.spent.copy_negate(), str(group.id)


def _completed(whole: _Amounts, groups: _Amounts, currency: str) -> _Amounts:
    """Complete groups, so that on every day they add up to what is spent.

    What no named group accounts for is the group None. A day that the whole lacks is left out of
    the groups: with it they would add up to more than is spent, and nobody could tell which is
    right. So a budget and its groups lack the same days, as those of a report do.

    Args:
        whole: Amounts of the whole; those in `currency` are there.
        groups: Amounts of the groups.
        currency: Currency of the budget.
    """
    known = {day for day, amount in whole[currency, None] if amount is not None}
    completed: _Amounts = {}
    rest = {of: dict(days) for (of, _), days in whole.items()}
    for (of, key), days in groups.items():
        left = rest.setdefault(of, {day: _ZERO if day in known else None for day in rest[currency]})
        if key is not None:
            completed[of, key] = [(day, each if day in known else None) for day, each in days]
            for day, amount in days:
                so_far = left.get(day)
                if amount is not None and so_far is not None:
                    left[day] = change(so_far, amount)
    nobody = {(of, None): [*left.items()] for of, left in rest.items() if any(left.values())}
    return completed | nobody


def _lacks_days(costs: BudgetCosts) -> bool:
    """Tell if the groups lack days that the whole has."""
    came, of_groups = (
        {bucket.start_time for bucket in section.buckets} for section in (costs.whole, costs.groups)
    )
    return not came <= of_groups


def _unlike(
    limits: SpendLimits, whole: Iterable[Budget], groups: Iterable[tuple[str, str | None]]
) -> Iterator[str]:
    """Yield whose limits stand beside no costs, because those are in other currencies."""
    found: dict[str | None, set[str]] = {}
    for currency, identity in groups:
        found.setdefault(identity, set()).add(currency)
    found[None] = {each.currency for each in whole}
    for whose, limit in ((None, limits.organization), *limits.projects.items()):
        if limit is not None and limit.currency not in found.get(whose, {limit.currency}):
            yield whose or "the organization"


def _gaps(spec: ReportSpec, section: Section, beside: Section) -> tuple[int, ...]:
    """Give the starts of the days of the month that a section lacks."""
    start = spec.period.start_time
    known_from = min(section.known_from or start, spec.period.end_time)
    gap = section.gap(spec.now, beside)
    return (*range(start, known_from, DAY_S), *(each for each in gap if each >= start))


def budget_of_report(
    report: Report, question: BudgetQuestion, limits: SpendLimits
) -> BudgetReport | None:
    """Set the spend of a report's month beside a budget; None if the spend is not known. Pure.

    Args:
        report: The report.
        question: The question, without groups.
        limits: Spend limits of the service.
    """
    if report.spend_blank is not None:
        return None
    spec, currency = report.spec, question.currency
    missing = {*map(day_of, dict(report.gaps).get(SPEND, ()))}
    nothing = tuple((day, None if day in missing else _ZERO) for day in days_in(spec.period))
    weeks, month = dict(report.weeks), {spend.currency: spend.days for spend in report.spends}
    days = (*weeks.get(currency, ()), *month.get(currency, nothing))
    made = _budget(spec, days, currency, question.monthly, limits.organization)
    every = (*weeks.items(), *month.items())
    return BudgetReport(
        spec=spec,
        whole=(made,),
        gaps=dict(report.gaps).get(SPEND, ()),
        notices=limits.notices,
        billed_in=tuple(sorted({of for of, days in every if any(amount for _, amount in days)})),
        unlike_limits=tuple(_unlike(limits, [made], ())),
    )


def _days(
    period: TimeRange, section: Section, by: str | None, currencies: Iterable[str]
) -> _Amounts:
    """Give the amounts of every day by currency and group."""
    sums: dict[tuple[str, str | None], dict[date, Decimal]] = {
        (currency, None): {} for currency in currencies
    }
    came: dict[date, None] = {}
    for bucket in section.buckets:
        day = bucket.start.date()
        came[day] = None
        for row in bucket.results:
            if row.amount is not None:
                key = row.amount.currency.lower(), getattr(row, by) if by else None
                of = sums.setdefault(key, {})
                of[day] = sum_exactly((of.get(day, _ZERO), row.amount.value))
    starts = [bucket.start_time for bucket in section.buckets]
    every = days_in(TimeRange(min([period.start_time, *starts]), period.end_time))
    return {
        key: [(day, of.get(day, _ZERO) if day in came else None) for day in every]
        for key, of in sums.items()
    }


def _budget(
    spec: ReportSpec,
    days: Days,
    currency: str,
    amount: Decimal | None,
    limit: SpendLimit | None,
) -> Budget:
    made = budget(
        days, spec.today, month=spec.period.start.date(), amount=amount, currency=currency
    )
    is_same = limit is not None and limit.currency == currency
    return attrs.evolve(made, limit=limit if is_same else None)
