"""Reading for the reasons of a bill: its change, its match with usage, and the budget of a month.

Each function here reads, and calls a pure one: `explain`, `reconcile`, `budget`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial

import attrs

from usage_async._api.interval import DAY_S
from usage_async._api.limits import SpendLimit
from usage_async._api.results import CostsResult
from usage_async._client.client import UsageClient
from usage_async._client.names import Names
from usage_async._engine.engine import together
from usage_async._query.times import TimeRange
from usage_async.errors import QueryError, ScopeError
from usage_async.report.budgets import WEEK, WEEKS, Budget, Verdict, budget
from usage_async.report.compute import days_in
from usage_async.report.dimensions import find_dimension, name_in, word_of
from usage_async.report.effects import sum_exactly
from usage_async.report.explanation import PeriodCosts, explain, naming_rows
from usage_async.report.insight import Days
from usage_async.report.limits import SpendLimits, read_spend_limits
from usage_async.report.reading import OUT_OF_SCOPE, let_go, read_section
from usage_async.report.reconciliation import (
    MODEL_ENDPOINTS,
    TOOL_ENDPOINTS,
    Reconciliation,
    reconcile,
)
from usage_async.report.reports import DEFAULT_PERIOD, NameRows, naming, now_of
from usage_async.report.spec import ReportSpec, check_month, day_of, report_spec
from usage_async.report.values import Explanation, Report, Section, days_not_sent, revised_from
from usage_async.report.worker import in_worker

Advance = Callable[[], object]

BUDGET_DIMENSIONS = ("project_id", "user_id", "api_key_id", "line_item")
"""Dimensions that a budget can be split by."""
EXPLAIN_QUERIES = 6
RECONCILE_QUERIES = 1 + len(MODEL_ENDPOINTS) + len(TOOL_ENDPOINTS)

_PROJECT, _API_KEY = "project_id", "api_key_id"
_ZERO = Decimal(0)


def explain_spec(
    now: int, *, period: str = DEFAULT_PERIOD, against: str | None = None
) -> ReportSpec:
    """Specify an explanation.

    Args:
        now: Unix seconds.
        period: As `period=` of a query.
        against: The period to compare with, in the same words; by default the one before.

    Raises:
        QueryError: A period is none.
    """
    spec = report_spec(now, by="line_item", period=period, compare=against is None)
    if against is None:
        return spec
    try:
        before = report_spec(now, period=against).period
    except QueryError as error:
        message = f"against {against!r}: {error.message}"
    else:
        return attrs.evolve(spec, before=before)
    raise QueryError(message)


async def explanation_of(
    client: UsageClient,
    spec: ReportSpec,
    name: NameRows | None = None,
    advance: Advance = lambda: None,
) -> Explanation:
    """Read and explain the change of a bill; costs by API key may be refused.

    Args:
        client: Client of the organization.
        spec: The period, and the one before.
        name: Gives the names of projects and API keys; None takes those that rows carry.
        advance: Called after every query, `EXPLAIN_QUERIES` times.

    Raises:
        UsageError: The costs could not be read.
    """
    read = partial(_read_costs, client, advance=advance)
    before, after = await together([read(spec.before or spec.period), read(spec.period)])
    known = None if name is None else await name(await in_worker(naming_rows, before, after))
    buckets = [*before.buckets(), *after.buckets()]
    made = await in_worker(explain, spec, before, after, known)
    del before, after
    await let_go(buckets)
    return made


async def _read_costs(client: UsageClient, period: TimeRange, *, advance: Advance) -> PeriodCosts:
    whole, lines, keys = await together(
        [
            read_section(client, "costs", period, None, advance),
            read_section(client, "costs", period, ["project_id", "line_item"], advance),
            _read_keys(client, period, advance),
        ]
    )
    return PeriodCosts(whole=whole, lines=lines, keys=keys)


async def _read_keys(client: UsageClient, period: TimeRange, advance: Advance) -> Section:
    by = ["project_id", "api_key_id"]
    try:
        return await read_section(client, "costs", period, by, advance, optional=True)
    except ScopeError:
        advance()
        return Section(blank=OUT_OF_SCOPE)


async def read_explanation(
    client: UsageClient,
    period: str = DEFAULT_PERIOD,
    *,
    against: str | None = None,
    names: bool = True,
) -> Explanation:
    """Read and explain the change of a bill, as `usage-async explain` shows it.

        explanation = await read_explanation(client, "2026-10")
        for sentence in sentences(explanation):
            print(sentence)

    Args:
        client: Client of the organization.
        period: Period in whole days, such as `"2026-10"` or `"30d"`. By default the last month.
        against: The period to compare with, in the same words. By default the one before, cut to as
            many whole days while the period still runs.
        names: Read the names of API keys and projects that rows do not name themselves.

    Raises:
        QueryError: A period is none.
        UsageError: The costs could not be read. Those by API key may be refused; that is told.
    """
    spec = explain_spec(now_of(client), period=period, against=against)
    return await explanation_of(client, spec, naming(client) if names else None)


async def read_reconciliation(
    client: UsageClient, period: str = DEFAULT_PERIOD, *, advance: Advance = lambda: None
) -> Reconciliation:
    """Read what was billed and what usage reports, for each day and model.

        found = await read_reconciliation(client, "2026-10")
        for each in found.sums:                         # the largest differences first
            print(each.line_item, each.billed, each.reported, each.difference)

    Args:
        client: Client of the organization.
        period: Period in whole days. By default the last month.
        advance: Called after every query, `RECONCILE_QUERIES` times.

    Raises:
        QueryError: The period is none.
        UsageError: The costs could not be read. Usage that is refused or fails is told.
    """
    spec = report_spec(now_of(client), by="line_item", period=period)
    return await reconciliation_of(client, spec, advance)


async def reconciliation_of(
    client: UsageClient, spec: ReportSpec, advance: Advance = lambda: None
) -> Reconciliation:
    """Read what was billed and what usage reports, and set one beside the other.

    Args:
        client: Client of the organization.
        spec: The period.
        advance: Called after every query, `RECONCILE_QUERIES` times.

    Raises:
        UsageError: The costs could not be read. Usage that is refused or fails is told.
    """
    endpoints = (*MODEL_ENDPOINTS, *TOOL_ENDPOINTS)
    costs, *usage = await together(
        [
            read_section(client, "costs", spec.period, ["line_item"], advance),
            *(
                read_section(
                    client,
                    name,
                    spec.period,
                    ["model"] if name in MODEL_ENDPOINTS else None,
                    advance,
                    optional=True,
                )
                for name in endpoints
            ),
        ]
    )
    buckets = [bucket for section in (costs, *usage) for bucket in section.buckets]
    made = await in_worker(reconcile, spec, costs, dict(zip(endpoints, usage, strict=True)))
    del costs, usage
    await let_go(buckets)
    return made


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

    whole: Section
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
        groups: The spend by group, the largest first; empty if it is not grouped.
        gaps: Starts of the days of the month that ended and were not sent, those before the history
            of the service included.
        group_gaps: The same for the costs by group.
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
        return tuple(self._remarks())

    def _remarks(self) -> Iterator[str]:
        if (first := revised_from(self.spec)) is not None:
            yield f"figures from {first} on may still be revised"
        if self.gaps:
            first = day_of(self.gaps[0])
            yield f"{days_not_sent(len(self.gaps))}, the first is {first}; the spend lacks them"
        if self.group_gaps and self.group_gaps != self.gaps:
            first = day_of(self.group_gaps[0])
            text = days_not_sent(len(self.group_gaps))
            yield f"by group: {text}, the first is {first}; the groups lack them"
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


async def budget_of(
    client: UsageClient, question: BudgetQuestion, name: NameRows | None = None
) -> BudgetReport:
    """Read the spend of a month, and set it beside its budget.

    Args:
        client: Client of the organization.
        question: The question.
        name: Gives the names of groups; None takes those that rows carry.

    Raises:
        UsageError: The costs could not be read. Limits that are refused are told.
    """
    spec, by = question.spec, question.by
    weeks_ago = spec.now - spec.now % DAY_S - WEEK * WEEKS * DAY_S
    period = TimeRange(min(spec.period.start_time, weeks_ago), spec.period.end_time)
    # The names of API keys are listed by project.
    dimensions = [_PROJECT, by] if by == _API_KEY else [by] if by else []
    groupings = [None, dimensions] if by else [None]
    sections = await together(
        read_section(client, "costs", period, each, clamp=True) for each in groupings
    )
    costs = BudgetCosts(whole=sections[0], groups=Section() if by is None else sections[1])
    rows = await in_worker(costs.rows)
    if question.limits:
        projects = {row.project_id: None for row in rows} if by == _PROJECT else ()
        costs = attrs.evolve(costs, limits=await read_spend_limits(client, projects))
    known = None if name is None else await name(rows)
    buckets = [bucket for section in sections for bucket in section.buckets]
    made = await in_worker(budget_report, question, costs, known)
    del costs, rows, sections
    await let_go(buckets)
    return made


async def read_budget(
    client: UsageClient,
    monthly: Decimal,
    *,
    period: str = "this-month",
    by: str | None = None,
    currency: str = "usd",
    limits: bool = True,
    names: bool = True,
) -> BudgetReport:
    """Read the spend of a month, and set it beside its budget, as `usage-async budget` shows it.

        found = await read_budget(client, Decimal(6000), by="project")
        print(found.verdict, found.whole[0].projection)

    Args:
        client: Client of the organization.
        monthly: The budget.
        period: The month: `this-month`, `last-month`, or such as `2026-10`.
        by: Show groups, too: `"project"`, `"user"`, `"api-key"` or `"line-item"`.
        currency: Currency of the budget.
        limits: Read the spend limits of the service, and those of projects where they are groups.
        names: Read the names of the groups that rows do not name themselves.

    Raises:
        QueryError: The period is not a month, or there is no such grouping.
        UsageError: The costs could not be read. Limits that are refused are told.
    """
    question = budget_question(
        now_of(client), monthly, period=period, by=by, currency=currency, limits=limits
    )
    return await budget_of(client, question, naming(client) if names and by else None)


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
    by_currency = _days(spec, costs.whole, None, (currency,))
    whole = [
        _budget(spec, days, of, question.monthly if of == currency else None, limits.organization)
        for (of, _), days in by_currency.items()
    ]
    billed_in = {of for (of, _), days in by_currency.items() if any(amount for _, amount in days)}
    if names is None:
        names = Names.from_rows(costs.rows())
    by_group = _days(spec, costs.groups, by, ())
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
    made = [each for each in made if each.spent or each.projection]
    return BudgetReport(
        spec=spec,
        whole=tuple(sorted(whole, key=lambda each: (each.currency != currency, each.currency))),
        groups=tuple(sorted(made, key=lambda each: (each.spent.copy_negate(), str(each.id)))),
        gaps=_gaps(spec, costs.whole),
        group_gaps=_gaps(spec, costs.groups),
        notices=limits.notices,
        billed_in=tuple(sorted(billed_in)),
        unlike_limits=tuple(_unlike(limits, whole, by_group)),
    )


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


def _gaps(spec: ReportSpec, section: Section) -> tuple[int, ...]:
    """Give the starts of the days of the month that ended and did not come."""
    start = spec.period.start_time
    known_from = min(section.known_from or start, spec.period.end_time)
    return (
        *range(start, known_from, DAY_S),
        *(each for each in section.overdue(spec.now) if each >= start),
    )


def budget_of_report(report: Report, monthly: Decimal, currency: str = "usd") -> Budget | None:
    """Set the spend of a report's month beside a budget; None if the spend is not known. Pure.

    Without the weeks before the month, its pace and its range are of its own days.

    Args:
        report: The report.
        monthly: The budget.
        currency: Its currency.

    Raises:
        QueryError: The report is not of a month.
    """
    spec = report.spec
    check_month(spec)
    if report.spend_blank is not None:
        return None
    days = next((spend.days for spend in report.spends if spend.currency == currency), ())
    return _budget(spec, days, currency, monthly, None)


def _days(
    spec: ReportSpec, section: Section, by: str | None, currencies: Iterable[str]
) -> dict[tuple[str, str | None], list[tuple[date, Decimal | None]]]:
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
    first = min([spec.period.start.date(), *came])
    start = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
    every = days_in(TimeRange(start, spec.period.end_time))
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
