"""Adding up what was read into a report, exactly. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import attrs

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.fields import fields_of
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import CostsResult
from usage_async._query.times import TimeRange
from usage_async._sums.totals import Totals, add
from usage_async.report.insight import change, pace, total, unusual_days
from usage_async.report.plan import (
    SPEND,
    EndpointUse,
    Group,
    Grouping,
    Organization,
    Plan,
    Reading,
    Readings,
    Report,
    Spend,
    Tokens,
    spend_by,
)
from usage_async.report.sums import NAMED_BY

_ZERO = Decimal(0)
_REQUESTS = "num_model_requests"
_TOOL_CALLS = "num_requests"


def make_report(plan: Plan, readings: Readings) -> Report:
    """Add up what was read."""
    endpoints = tuple(
        _endpoint_use(plan, ENDPOINTS[name], reading) for name, reading in readings.usage.items()
    )
    names = _names(readings.costs_by.buckets, plan.grouping.costs)
    if readings.costs_by_before is not None:
        names = _names(readings.costs_by_before.buckets, plan.grouping.costs) | names
    tokens = _tokens(plan, readings.usage, names)
    uncounted = tuple(name for name in _counted(plan) if readings.usage[name].blank)
    sections = [
        (SPEND, readings.costs),
        (spend_by(plan), readings.costs_by),
        ("the period before", readings.costs_before),
        (f"the period before by {plan.grouping.noun}", readings.costs_by_before),
        *readings.usage.items(),
    ]
    counted = [readings.usage[name] for name in _counted(plan)]
    money = readings.costs.missing_days | readings.costs_by.missing_days
    joined = (
        plan.grouping.joined
        and readings.costs_by.known_from is None
        and all(each.missing_days == money for each in counted if each.blank is None)
    )
    return Report(
        plan=plan,
        organization=_organization(readings.costs.buckets),
        # A rate over a part of the requests would be wrong.
        spends=_spends(plan, readings, names, tokens if joined and not uncounted else ()),
        tokens=tokens,
        uncounted=uncounted,
        endpoints=endpoints,
        blanks=tuple((name, r.blank) for name, r in sections if r is not None and r.blank),
        gaps=tuple(
            (name, r.overdue(plan.now))
            for name, r in sections
            if r is not None and r.overdue(plan.now)
        ),
        joined=joined,
        groups_from=readings.costs_by.known_from,
    )


def days_of(period: TimeRange) -> list[date]:
    """Give every day that a range touches, in UTC."""
    first, last = period.start.date(), (period.end - timedelta(seconds=1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _organization(buckets: Iterable[UsageTimeBucket[CostsResult]]) -> Organization:
    for bucket in buckets:
        for row in bucket.results:
            if row.organization_name or row.organization_id:
                return Organization(row.organization_id, row.organization_name)
    return Organization()


def _names(buckets: Iterable[UsageTimeBucket[CostsResult]], dimension: str) -> dict[str, str]:
    """Give the names of projects or users, by id, as far as the rows of costs carry them."""
    field = NAMED_BY.get(dimension)
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
        return lambda _, row: row.derived_line_item.model or row.line_item
    return lambda _, row: getattr(row, grouping.costs)


def _part(sums: Amounts, currency: str) -> dict[Any, Decimal]:
    return {key: amount for (of, key), amount in sums.items() if of == currency}


def _spends(
    plan: Plan,
    readings: Readings,
    names: Mapping[str, str],
    tokens: Sequence[Tokens],
) -> tuple[Spend, ...]:
    if readings.costs.blank is not None:
        return ()
    unknown = readings.costs.missing_days
    by_day = _sum(readings.costs.buckets, lambda bucket, _: bucket.start.date())
    # Groups of a day that the total is without would make what is not attributed negative.
    grouped = [bucket for bucket in readings.costs_by.buckets if bucket.start.date() not in unknown]
    by_group = _sum(grouped, _group_key(plan.grouping))
    before = readings.costs_before
    by_day_before = _sum(before.buckets, lambda *_: None) if before is not None else {}
    before_by = readings.costs_by_before
    by_group_before = _sum(before_by.buckets, _group_key(plan.grouping)) if before_by else {}
    compared = _are_comparable(plan, readings.costs, before)
    compared_by = compared and _are_comparable(plan, readings.costs_by, before_by)
    requests = {row.id: row.requests for row in tokens}
    spends = []
    for currency in {currency for currency, _ in (*by_day, *by_day_before)}:
        amounts = _part(by_day, currency)
        billed, billed_before = (
            total(amounts.values()),
            total(_part(by_day_before, currency).values()),
        )
        days = tuple(
            (day, None if day in unknown else amounts.get(day, _ZERO))
            for day in days_of(plan.period)
        )
        blank = readings.costs_by.blank is not None
        groups = _groups(_part(by_group, currency), billed, blank=blank)
        groups_before = _groups(
            _part(by_group_before, currency), billed_before, blank=blank or not compared_by
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
    return tuple(sorted(spends, key=lambda spend: (spend.total.copy_negate(), spend.currency)))


def _are_comparable(plan: Plan, reading: Reading, before: Reading | None) -> bool:
    """Tell whether both are there, with every day that has ended."""
    if before is None or before.blank is not None:
        return False
    return not any(
        each.overdue(plan.now) or each.known_from is not None for each in (reading, before)
    )


def _groups(sums: dict[Any, Decimal], billed: Decimal, *, blank: bool) -> dict[Any, Decimal]:
    """Complete the groups, so that together they are the total."""
    if blank:
        return {}
    rest = change(billed, total(sums.values()))
    if rest:
        sums[None] = add(sums.get(None, _ZERO), rest)
    return sums


def _ranked(groups: Mapping[Any, Decimal], before: Mapping[Any, Decimal]) -> list[Any]:
    """Order the groups: the largest first, what is not attributed last."""
    keys = dict.fromkeys((*groups, *before))
    rank = {key: (key is None, groups.get(key, _ZERO).copy_negate(), str(key)) for key in keys}
    return sorted(keys, key=rank.__getitem__)


def _totals(plan: Plan, endpoint: Endpoint, reading: Reading, dimension: str | None) -> list[Any]:
    dimensions = [dimension] if dimension else []
    totals: Totals[Any] = Totals(
        endpoint.result_class, endpoint.measure, dimensions, as_of=plan.now
    )
    for bucket in reading.buckets:
        totals.add(attrs.evolve(bucket, other_results=()))
    return totals.groups() if dimension else [totals.total()]


def _endpoint_use(plan: Plan, endpoint: Endpoint, reading: Reading) -> EndpointUse:
    if reading.blank:
        return EndpointUse(name=endpoint.name, blank=reading.blank)
    (whole,) = _totals(plan, endpoint, reading, None)
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


def _counted(plan: Plan) -> list[str]:
    """Name the endpoints that count requests and tokens.

    Calls of tools are left out: the requests that they belong to are counted as completions.
    """
    counted = []
    for endpoint in ENDPOINTS.values():
        fields = {a.name for a in fields_of(endpoint.result_class)}
        if _REQUESTS in fields and _TOOL_CALLS not in fields:
            counted += [endpoint.name] * (plan.grouping.usage in endpoint.group_by)
    return counted


def _tokens(
    plan: Plan, usage: Mapping[str, Reading], names: Mapping[str, str]
) -> tuple[Tokens, ...]:
    """Add up requests and tokens by group."""
    dimension = plan.grouping.usage
    groups: dict[str | None, Tokens] = {}
    for name in _counted(plan):
        for row in _totals(plan, ENDPOINTS[name], usage[name], dimension):
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
