"""A report: what an organization spent and used, as plain data, summed exactly.

Everything here is pure. `_read` fetches what it is made of, `_draw` and `_machine` show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import attrs

from usage_async._fields import fields_of
from usage_async.cli._insight import Pace, UnusualDay, change, pace, total, unusual_days
from usage_async.endpoints import ENDPOINTS, Endpoint
from usage_async.models import CostsResult, UsageTimeBucket
from usage_async.query import TimeRange
from usage_async.totals import Totals, add

By = Literal["project", "user", "api-key", "line-item", "model"]

_ZERO = Decimal(0)
_REQUESTS = "num_model_requests"
_TOOL_CALLS = "num_requests"


@attrs.frozen
class Grouping:
    """How a report is split.

    Attributes:
        noun: What one group is called.
        costs: The dimension that costs are read by.
        usage: The dimension that usage is read by.
        derived: The groups of costs are derived from line items.
        joined: Groups of costs and of usage are the same things.
    """

    noun: str
    costs: str
    usage: str
    derived: bool = False
    joined: bool = True


GROUPINGS: Mapping[By, Grouping] = {
    "project": Grouping("project", "project_id", "project_id"),
    "user": Grouping("user", "user_id", "user_id"),
    "api-key": Grouping("API key", "api_key_id", "api_key_id"),
    "line-item": Grouping("line item", "line_item", "model", joined=False),
    "model": Grouping("model", "line_item", "model", derived=True),
}


@attrs.frozen
class Plan:
    """What a report is about.

    Attributes:
        by: How it is split.
        period: The range, from one `now`.
        now: Unix seconds.
        before: The range that it is compared with.
        running: Whether the period is the running month.
    """

    by: By
    period: TimeRange
    now: int
    before: TimeRange | None = None
    running: bool = False

    @property
    def today(self) -> date:
        """The day that it is, in UTC."""
        return datetime.fromtimestamp(self.now, UTC).date()

    @property
    def grouping(self) -> Grouping:
        """How it is split."""
        return GROUPINGS[self.by]


@attrs.frozen
class Reading:
    """What one query gave.

    Attributes:
        buckets: Everything; empty where it was refused.
        refusal: Why the service refused it.
    """

    buckets: tuple[UsageTimeBucket[Any], ...] = ()
    refusal: str | None = None


@attrs.frozen(kw_only=True)
class Readings:
    """What a report is made of.

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
        id: Its id, or its line item or model; None where it is not attributed.
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
        total: As billed.
        days: The amount of every day of the period.
        groups: The largest first; together they are the total, exactly.
        before: The total of the range that is compared with.
        pace: Where the month is going, if it is the running one.
        unusual: Days that are far from the usual.
    """

    currency: str
    total: Decimal
    days: tuple[tuple[date, Decimal], ...]
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
    """What was used of one endpoint.

    Attributes:
        name: Of the endpoint.
        requests: To models; None where it does not count them.
        figures: Triples of a metric, its sum (a level: its last one), and its unit.
        refusal: Why the service refused it.
    """

    name: str
    requests: int | None = None
    figures: tuple[tuple[str, int, str], ...] = ()
    refusal: str | None = None


@attrs.frozen(kw_only=True)
class Report:
    """Everything that a report says.

    Attributes:
        plan: What it is about.
        organization: Its name and id, where the service sent them.
        spends: One a currency, the largest first.
        tokens: By group, the most tokens first.
        endpoints: Every usage endpoint.
        refusals: Pairs of a section and why the service refused it.
    """

    plan: Plan
    organization: str | None
    spends: tuple[Spend, ...]
    tokens: tuple[Tokens, ...]
    endpoints: tuple[EndpointUse, ...]
    refusals: tuple[tuple[str, str], ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was used or billed."""
        used = any(value for use in self.endpoints for _, value, _ in use.figures)
        return not self.refusals and not used and not any(spend.total for spend in self.spends)


def make_report(plan: Plan, readings: Readings) -> Report:
    """Add up what was read."""
    endpoints = tuple(
        _endpoint_use(ENDPOINTS[name], reading) for name, reading in readings.usage.items()
    )
    names = _names(readings.costs_by.buckets, plan.grouping.costs)
    if readings.costs_by_before is not None:
        names = _names(readings.costs_by_before.buckets, plan.grouping.costs) | names
    tokens = _tokens(plan, readings.usage, names)
    sections = [
        ("spend", readings.costs),
        (f"spend by {plan.grouping.noun}", readings.costs_by),
        ("the period before", readings.costs_before),
        (f"the period before by {plan.grouping.noun}", readings.costs_by_before),
        *readings.usage.items(),
    ]
    return Report(
        plan=plan,
        organization=_organization(readings.costs.buckets),
        spends=_spends(plan, readings, names, tokens),
        tokens=tokens,
        endpoints=endpoints,
        refusals=tuple((name, r.refusal) for name, r in sections if r is not None and r.refusal),
    )


def days_of(period: TimeRange) -> list[date]:
    """Give every day that a range touches, in UTC."""
    first, last = period.start.date(), (period.end - timedelta(seconds=1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _organization(buckets: Iterable[UsageTimeBucket[CostsResult]]) -> str | None:
    for bucket in buckets:
        for row in bucket.results:
            if row.organization_name or row.organization_id:
                parts = (row.organization_name, row.organization_id)
                return "  ".join(part for part in parts if part)
    return None


def _names(buckets: Iterable[UsageTimeBucket[CostsResult]], dimension: str) -> dict[str, str]:
    """Give the names of projects or users, by id, as far as the rows of costs carry them."""
    field = {"project_id": "project_name", "user_id": "user_email"}.get(dimension)
    names = {}
    for bucket in buckets if field else ():
        for row in bucket.results:
            key, name = getattr(row, dimension), getattr(row, field or "")
            if key is not None and name:
                names[key] = name
    return names


Amounts = dict[tuple[str, Any], Decimal]
"""Sums by currency and something else."""


def _sum(buckets: Iterable[UsageTimeBucket[CostsResult]], key: Any) -> Amounts:
    sums: Amounts = {}
    for bucket in buckets:
        for row in bucket.results:
            if row.amount is not None:
                place = row.amount.currency, key(bucket, row)
                sums[place] = add(sums.get(place, _ZERO), row.amount.value)
    return sums


def _group_key(grouping: Grouping) -> Any:
    if grouping.derived:
        return lambda _, row: row.derived_line_item.model
    return lambda _, row: getattr(row, grouping.costs)


def _part(sums: Amounts, currency: str) -> dict[Any, Decimal]:
    return {key: amount for (of, key), amount in sums.items() if of == currency}


def _spends(
    plan: Plan, readings: Readings, names: Mapping[str, str], tokens: Sequence[Tokens]
) -> tuple[Spend, ...]:
    by_day = _sum(readings.costs.buckets, lambda bucket, _: bucket.start.date())
    by_group = _sum(readings.costs_by.buckets, _group_key(plan.grouping))
    before = readings.costs_before
    by_day_before = _sum(before.buckets, lambda *_: None) if before is not None else {}
    before_by = readings.costs_by_before
    by_group_before = _sum(before_by.buckets, _group_key(plan.grouping)) if before_by else {}
    compared = before is not None and before.refusal is None
    compared_by = compared and before_by is not None and before_by.refusal is None
    requests = {row.id: row.requests for row in tokens} if plan.grouping.joined else {}
    spends = []
    for currency in {currency for currency, _ in (*by_day, *by_day_before)}:
        amounts = _part(by_day, currency)
        billed, billed_before = (
            total(amounts.values()),
            total(_part(by_day_before, currency).values()),
        )
        days = tuple((day, amounts.get(day, _ZERO)) for day in days_of(plan.period))
        refused = readings.costs_by.refusal is not None
        groups = _groups(_part(by_group, currency), billed, refused=refused)
        groups_before = _groups(
            _part(by_group_before, currency), billed_before, refused=refused or not compared_by
        )
        spends.append(
            Spend(
                currency=currency,
                total=billed,
                days=days,
                groups=tuple(
                    Group(
                        id=key,
                        name=names.get(key),
                        amount=groups.get(key, _ZERO),
                        before=groups_before.get(key, _ZERO) if compared_by else None,
                        requests=requests.get(key) if key is not None else None,
                    )
                    for key in _ranked(groups, groups_before)
                ),
                before=billed_before if compared else None,
                pace=pace(days, plan.today) if plan.running else None,
                unusual=unusual_days(days, plan.today),
            )
        )
    return tuple(sorted(spends, key=lambda spend: (-spend.total, spend.currency)))


def _groups(sums: dict[Any, Decimal], billed: Decimal, *, refused: bool) -> dict[Any, Decimal]:
    """Complete the groups, so that together they are the total."""
    if refused:
        return {}
    rest = change(billed, total(sums.values()))
    if rest:
        sums[None] = add(sums.get(None, _ZERO), rest)
    return sums


def _ranked(groups: Mapping[Any, Decimal], before: Mapping[Any, Decimal]) -> list[Any]:
    """Order the groups: the largest first, what is not attributed last."""
    keys = dict.fromkeys((*groups, *before))
    rank = {key: (key is None, -groups.get(key, _ZERO), str(key)) for key in keys}
    return sorted(keys, key=rank.__getitem__)


def _totals(endpoint: Endpoint, reading: Reading, dimension: str | None) -> list[Any]:
    totals: Totals[Any] = Totals(
        endpoint.result_class, endpoint.measure, [dimension] if dimension else []
    )
    for bucket in reading.buckets:
        totals.add(attrs.evolve(bucket, other_results=()))
    return totals.groups() if dimension else [totals.total()]


def _endpoint_use(endpoint: Endpoint, reading: Reading) -> EndpointUse:
    if reading.refusal:
        return EndpointUse(name=endpoint.name, refusal=reading.refusal)
    (whole,) = _totals(endpoint, reading, None)
    required = [
        a
        for a in fields_of(endpoint.result_class)
        if a.default is attrs.NOTHING and a.name != _REQUESTS
    ]
    return EndpointUse(
        name=endpoint.name,
        requests=getattr(whole, _REQUESTS, None),
        figures=tuple((a.name, getattr(whole, a.name), a.metadata["unit"]) for a in required),
    )


def _tokens(
    plan: Plan, usage: Mapping[str, Reading], names: Mapping[str, str]
) -> tuple[Tokens, ...]:
    """Add up requests and tokens by group.

    Calls of tools are left out: the requests that they belong to are counted as completions.
    """
    dimension = plan.grouping.usage
    groups: dict[str | None, Tokens] = {}
    for name, reading in usage.items():
        endpoint = ENDPOINTS[name]
        fields = {a.name for a in fields_of(endpoint.result_class)}
        if _REQUESTS not in fields or _TOOL_CALLS in fields or dimension not in endpoint.group_by:
            continue
        for row in _totals(endpoint, reading, dimension):
            key = getattr(row, dimension)
            so_far = groups.get(key) or Tokens(id=key, name=names.get(key))
            groups[key] = attrs.evolve(
                so_far,
                requests=so_far.requests + row.num_model_requests,
                input=so_far.input + getattr(row, "input_tokens", 0),
                cached=so_far.cached + (getattr(row, "input_cached_tokens", 0) or 0),
                output=so_far.output + getattr(row, "output_tokens", 0),
            )
    order = sorted(groups.values(), key=lambda row: (-row.input - row.output, str(row.id)))
    return tuple(row for row in order if row.requests or row.input or row.output)
