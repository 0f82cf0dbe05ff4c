"""Reading for the reasons of a bill: its change, its match with usage, and the budget of a month.

Each function here reads, and calls a pure one: `explain`, `reconcile`, `budget`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial

import attrs

from usage_async._client.client import UsageClient
from usage_async._engine.engine import together
from usage_async._query.times import TimeRange
from usage_async.errors import QueryError, ScopeError
from usage_async.report.explanation import PeriodCosts, explain, naming_rows
from usage_async.report.limits import read_spend_limits
from usage_async.report.monthly import (
    BudgetCosts,
    BudgetQuestion,
    BudgetReport,
    budget_question,
    budget_report,
)
from usage_async.report.reading import OUT_OF_SCOPE, let_go, read_section
from usage_async.report.reconciliation import (
    MODEL_ENDPOINTS,
    TOOL_ENDPOINTS,
    Reconciliation,
    reconcile,
)
from usage_async.report.reports import DEFAULT_PERIOD, NameRows, naming, now_of
from usage_async.report.spec import ReportSpec, report_spec
from usage_async.report.values import Explanation, Section
from usage_async.report.worker import in_worker

Advance = Callable[[], object]

EXPLAIN_QUERIES = 6
RECONCILE_QUERIES = 1 + len(MODEL_ENDPOINTS) + len(TOOL_ENDPOINTS)

_PROJECT, _API_KEY = "project_id", "api_key_id"


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
    period = TimeRange((spec.weeks or spec.period).start_time, spec.period.end_time)
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
