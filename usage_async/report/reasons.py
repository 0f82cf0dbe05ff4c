"""Reading for the questions after "how much": why, does it match, and where is it going.

Each function here reads, and calls a pure one: `explain`, `reconcile`, `budget`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import attrs

from usage_async._api.interval import DAY_S
from usage_async._api.limits import SpendLimit
from usage_async._client.client import UsageClient
from usage_async._client.names import Names
from usage_async._engine.engine import together
from usage_async._query.times import TimeRange
from usage_async.errors import QueryError, ScopeError
from usage_async.report.budgets import WEEK, WEEKS, Budget, budget
from usage_async.report.compute import days_in
from usage_async.report.dimensions import name_in
from usage_async.report.effects import sum_exactly
from usage_async.report.explanation import Explanation, PeriodCosts, explain
from usage_async.report.insight import Days
from usage_async.report.limits import SpendLimits, read_spend_limits
from usage_async.report.reading import read_section
from usage_async.report.reconciliation import (
    MODEL_ENDPOINTS,
    TOOL_ENDPOINTS,
    Reconciliation,
    reconcile,
)
from usage_async.report.spec import By, ReportSpec, day_of, report_spec
from usage_async.report.values import Blank, Section

Advance = Callable[[], object]

EXPLAIN_QUERIES = 6
RECONCILE_QUERIES = 1 + len(MODEL_ENDPOINTS) + len(TOOL_ENDPOINTS)

_PROJECT = "project_id"
_ZERO = Decimal(0)


def now_of(client: UsageClient) -> int:
    """Give the time of a client's clock, Unix seconds."""
    return int(client._engine.fetcher.runtime.now())  # noqa: SLF001 - the clock of all its runs


def explain_spec(now: int, *, period: str = "last-month", against: str | None = None) -> ReportSpec:
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
    return attrs.evolve(spec, before=report_spec(now, period=against).period)


async def read_costs_to_explain(
    client: UsageClient, spec: ReportSpec, advance: Advance = lambda: None
) -> tuple[PeriodCosts, PeriodCosts]:
    """Read the costs of a period, and of the one that it is compared with.

    Costs by API key may be refused; they are a section without figures then.

    Returns:
        The costs of the period before, and those of the period.

    Raises:
        UsageError: The costs could not be read.
    """
    read = partial(_read_costs, client, advance=advance)
    before, after = await together([read(spec.before or spec.period), read(spec.period)])
    return before, after


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
        return Section(blank=Blank("refused", "API keys are outside of the scope"))


async def read_explanation(
    client: UsageClient,
    period: str = "last-month",
    *,
    against: str | None = None,
    names: Names | None = None,
) -> Explanation:
    """Read and explain the change of a bill.

    Args:
        client: Client of the organization.
        period: As `period=` of a query.
        against: The period to compare with, in the same words; by default the one before.
        names: Names of projects and API keys; by default those that rows of costs carry.

    Raises:
        QueryError: A period is none.
        UsageError: The costs could not be read.
    """
    spec = explain_spec(now_of(client), period=period, against=against)
    before, after = await read_costs_to_explain(client, spec)
    return explain(spec, before, after, names)


async def read_reconciliation(
    client: UsageClient, period: str = "last-month", *, advance: Advance = lambda: None
) -> Reconciliation:
    """Read what was billed and what usage reports, for each day and model.

    Args:
        client: Client of the organization.
        period: As `period=` of a query.
        advance: Called after every query, `RECONCILE_QUERIES` times.

    Raises:
        QueryError: The period is none.
        UsageError: The costs could not be read. Usage that is refused or fails is told.
    """
    spec = report_spec(now_of(client), by="line_item", period=period)
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
    return reconcile(spec, costs, dict(zip(endpoints, usage, strict=True)))


@attrs.frozen(kw_only=True)
class BudgetReport:
    """A budget, the groups of its costs, and the spend limits beside it.

    Attributes:
        spec: The month.
        whole: The budget: one for each currency, that of the budget first.
        groups: The same by group, the largest first; empty if it is not grouped.
        gaps: Starts of the days of the month that ended and were not sent.
        notices: What was not read, and why.
    """

    spec: ReportSpec
    whole: tuple[Budget, ...]
    groups: tuple[Budget, ...] = ()
    gaps: tuple[int, ...] = ()
    notices: tuple[str, ...] = ()


BY_OF_BUDGETS: tuple[By, ...] = ("project_id", "user_id", "api_key_id", "line_item")
"""Dimensions that a budget can be split by."""


async def read_budget(
    client: UsageClient,
    monthly: Decimal,
    *,
    period: str = "this-month",
    by: By | None = None,
    currency: str = "usd",
    names: Names | None = None,
    limits: bool = True,
    advance: Advance = lambda: None,
) -> BudgetReport:
    """Read the spend of a month, and set it beside its budget.

    Args:
        client: Client of the organization.
        monthly: The budget of a month.
        period: The month: `this-month`, `last-month`, or such as `2026-10`.
        by: Dimension to show groups by, as `By` of a report, without models.
        currency: Currency of the budget, lowercase.
        names: Names of groups; by default those that rows of costs carry.
        limits: Read the spend limits of the service, and those of projects where they are groups.
        advance: Called after every query.

    Raises:
        QueryError: The period is not a month.
        UsageError: The costs could not be read. Limits that are refused are told.
    """
    spec = month_spec(now_of(client), period)
    days = (spec.period.start_time, spec.now - spec.now % DAY_S - WEEK * WEEKS * DAY_S)
    read = TimeRange(min(days), spec.period.end_time)
    groupings: list[list[str] | None] = [None] if by is None else [None, [by]]
    sections = await together(
        read_section(client, "costs", read, dimensions, advance, clamp=True)
        for dimensions in groupings
    )
    rows = (row for bucket in sections[-1].buckets for row in bucket.results)
    wanted = [row.project_id for row in rows] if by == "project_id" else ()
    found = await read_spend_limits(client, wanted) if limits else SpendLimits()
    return budget_report(
        spec,
        monthly,
        sections[0],
        groups=None if by is None else (by, sections[1]),
        currency=currency,
        names=names,
        limits=found,
    )


def month_spec(now: int, period: str = "this-month") -> ReportSpec:
    """Specify a month.

    Raises:
        QueryError: The period is not a month.
    """
    spec = report_spec(now, period=period)
    requested = spec.requested or spec.period
    first = day_of(requested.start_time)
    is_month = first.day == 1 and (
        day_of(requested.end_time) == _next_month(first) or period == "this-month"
    )
    if not is_month:
        raise QueryError(f"a budget is for a month; {period!r} is none: take this-month or 2026-10")
    return spec


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def budget_report(
    spec: ReportSpec,
    monthly: Decimal,
    costs: Section,
    *,
    groups: tuple[By, Section] | None = None,
    currency: str = "usd",
    names: Names | None = None,
    limits: SpendLimits | None = None,
) -> BudgetReport:
    """Set the spend of a month beside its budget. Pure.

    Args:
        spec: The month.
        monthly: The budget.
        costs: Costs without groups, of the month and of the weeks before it.
        groups: A dimension, and the same costs by it.
        currency: Currency of the budget.
        names: Names of groups; by default those that rows carry.
        limits: Spend limits of the service.
    """
    limits = limits or SpendLimits()
    whole = [
        _budget(spec, days, of, monthly if of == currency else None, limits.organization)
        for (of, _), days in _days(spec, costs, None, (currency,)).items()
    ]
    by, section = groups or ("project_id", Section())
    if names is None:
        names = Names.from_rows(row for bucket in section.buckets for row in bucket.results)
    made = [
        attrs.evolve(
            _budget(
                spec, days, of, None, limits.projects.get(key) if key and by == _PROJECT else None
            ),
            id=key,
            name=name_in(names, by, key),
        )
        for (of, key), days in _days(spec, section, by, ()).items()
    ]
    made = [each for each in made if each.spent or each.projection]
    return BudgetReport(
        spec=spec,
        whole=tuple(sorted(whole, key=lambda each: (each.currency != currency, each.currency))),
        groups=tuple(sorted(made, key=lambda each: (each.spent.copy_negate(), str(each.id)))),
        gaps=tuple(s for s in costs.overdue(spec.now) if s >= spec.period.start_time),
        notices=limits.notices,
    )


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
