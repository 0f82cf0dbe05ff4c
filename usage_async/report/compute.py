"""Computing a report from its sections, exactly. Pure.

The ungrouped costs are the bill. Groups are completed to it: spend that no group accounts for is
the group None, "not attributed", so that the groups of a report always add up to its total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any

import attrs

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.exact import EXACT
from usage_async._api.fields import fields_of
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import CostsResult
from usage_async._client.names import Names
from usage_async._query.times import TimeRange
from usage_async._sums.totals import Totals, add
from usage_async.report.amounts import change, total
from usage_async.report.budgets import budget
from usage_async.report.causes import Path, causes_of, explained_days, movers
from usage_async.report.details import TokenKind, counting, kinds_of, stacks_of
from usage_async.report.dimensions import name_in
from usage_async.report.effects import Cause
from usage_async.report.insight import Days, unusual_days
from usage_async.report.spec import GROUPINGS, Grouping, ReportSpec, day_of
from usage_async.report.values import (
    PERIOD_BEFORE,
    SPEND,
    SPEND_BY_MODEL,
    WEEKS_BEFORE,
    Blank,
    EndpointUse,
    Explanation,
    Group,
    OrganizationRef,
    Report,
    Section,
    Sections,
    Spend,
    Tokens,
    before_by,
    spend_by,
)
from usage_async.report.wording import sum_of

_ZERO = Decimal(0)
_NO_BUCKET: Any = None
"""The bucket of a row whose group does not depend on it."""
_REQUESTS = "num_model_requests"


def compute_report(spec: ReportSpec, sections: Sections, names: Names | None = None) -> Report:
    """Add the sections of a report up.

    Args:
        spec: The report.
        sections: What was read for it.
        names: Names of its groups; by default those that rows of costs carry.
    """
    usage = sections.usage
    counted = _counted(spec)
    if names is None:
        names = Names.from_rows(sections.grouped_rows())
    tokens = _tokens(spec, usage, names)
    uncounted = tuple(name for name in counted if usage[name].blank)
    named = [
        (SPEND, sections.costs),
        (spend_by(spec), sections.costs_by),
        (PERIOD_BEFORE, sections.costs_before),
        (before_by(spec), sections.costs_by_before),
        (SPEND_BY_MODEL, sections.costs_by_model),
        *usage.items(),
    ]
    present = [(name, section) for name, section in named if section is not None]
    beside = {
        SPEND: sections.costs_by,
        spend_by(spec): sections.costs,
        SPEND_BY_MODEL: sections.costs,
        PERIOD_BEFORE: sections.costs_by_before,
        before_by(spec): sections.costs_before,
    }
    money_gaps = sections.costs.missing_days | sections.costs_by.missing_days
    same_days = sections.costs_by.known_from is None and all(
        usage[name].missing_days == money_gaps for name in counted if not usage[name].blank
    )
    # A rate needs all requests of a group: one over a part of them would be too high.
    rated = tokens if same_days and not uncounted else ()
    weeks = _weeks(spec, sections.costs_weeks)
    spends = _spends(spec, sections, names, rated, weeks)
    models = (
        _tokens(attrs.evolve(spec, by="model", then_by=None), usage, names) if spec.detailed else ()
    )
    return Report(
        spec=spec,
        organization=_organization(sections.costs),
        spends=_with_models(spec, sections, _with_stacks(spec, sections, spends), models),
        tokens=tokens,
        uncounted=uncounted,
        endpoints=tuple(
            _endpoint_use(spec, ENDPOINTS[name], section) for name, section in usage.items()
        ),
        blanks=tuple(
            (name, section.blank)
            for name, section in (*present, (WEEKS_BEFORE, sections.costs_weeks))
            if section and section.blank
        ),
        gaps=tuple(
            (name, gap)
            for name, section in present
            if (gap := section.gap(spec.now, beside.get(name)))
        ),
        joined=same_days and all(grouping.joined for grouping in spec.groupings),
        groups_from=sections.costs_by.known_from,
        models=models,
        kinds=_kinds(spec, usage),
        used_before=_used_before(spec, sections),
        weeks=tuple(weeks.items()),
        explanation=_explanation(spec, sections, names),
    )


def _explanation(spec: ReportSpec, sections: Sections, names: Names) -> Explanation | None:
    """Explain the change of the bill, where the lines of both periods were asked for."""
    whole, lines = sections.costs_before, sections.costs_by_item_before
    if whole is None or lines is None or sections.costs_by_item is None:
        return None
    # Most reports have none, and are not kept waiting for the import.
    from usage_async.report.explanation import PeriodCosts, explain

    before = PeriodCosts(whole=whole, lines=lines, keys=sections.costs_by_key_before)
    lines, keys = _of_all_days(sections.costs_by_item), sections.costs_by_key
    after = PeriodCosts(
        whole=sections.costs, lines=lines, keys=None if keys is None else _of_all_days(keys)
    )
    return explain(spec, before, after, names)


def _of_all_days(section: Section) -> Section:
    """Leave out groups that begin after the period: its first days would seem to have no lines."""
    if section.known_from is None:
        return section
    return Section(blank=Blank("refused", f"known from {day_of(section.known_from)}"))


def _weeks(
    spec: ReportSpec, section: Section | None
) -> dict[str, tuple[tuple[date, Decimal | None], ...]]:
    """Give the amounts of the days of the weeks before a running month, by currency."""
    if spec.weeks is None or section is None:
        return {}
    came = {bucket.start.date() for bucket in section.buckets}
    sums = _sum(section.buckets, lambda bucket, _: bucket.start.date())
    amounts = {currency: _of_currency(sums, currency) for currency, _ in sums}
    return {
        currency: tuple(
            (day, of.get(day, _ZERO) if day in came else None) for day in days_in(spec.weeks)
        )
        for currency, of in amounts.items()
    }


def days_in(period: TimeRange) -> list[date]:
    """Give every day that a range touches, in UTC."""
    first, last = period.start.date(), (period.end - timedelta(seconds=1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _organization(section: Section) -> OrganizationRef:
    for bucket in section.buckets:
        for row in bucket.results:
            if row.organization_name or row.organization_id:
                return OrganizationRef(row.organization_id, row.organization_name)
    return OrganizationRef()


Amounts = dict[tuple[str, Any], Decimal]
"""Sums by lowercase currency and a key."""

_Key = Callable[[UsageTimeBucket[CostsResult], CostsResult], Any]


def _sum(buckets: Iterable[UsageTimeBucket[CostsResult]], key: _Key) -> Amounts:
    sums: Amounts = {}
    for bucket in buckets:
        for row in bucket.results:
            if row.amount is not None:
                place = row.amount.currency, key(bucket, row)
                sums[place] = EXACT.add(sums.get(place, _ZERO), row.amount.value)
    # Checked once each: the check takes as long as the addition. However rows write a currency, it
    # is one bill.
    checked: Amounts = {}
    for (currency, of), amount in sums.items():
        place = currency.lower(), of
        checked[place] = add(checked.get(place, _ZERO), amount)
    return checked


_Ids = tuple[str | None, ...]
"""Ids of a group, one for each dimension of the report."""


def _sum_groups(
    spec: ReportSpec, buckets: Iterable[UsageTimeBucket[CostsResult]]
) -> dict[tuple[str, _Ids], Decimal]:
    keys = [_group_key(grouping) for grouping in spec.groupings]
    if len(keys) > 1:
        outer, inner = keys
        return _sum(buckets, lambda bucket, row: (outer(bucket, row), inner(bucket, row)))
    return {(currency, (key,)): v for (currency, key), v in _sum(buckets, keys[0]).items()}


def _group_key(grouping: Grouping) -> _Key:
    if not grouping.derived:
        return lambda _, row: getattr(row, grouping.costs)
    models: dict[str | None, str | None] = {}

    def model_of(_: object, row: CostsResult) -> str | None:
        if row.line_item not in models:
            models[row.line_item] = row.derived_line_item.model or row.line_item
        return models[row.line_item]

    return model_of


def _of_currency(sums: Amounts, currency: str) -> dict[Any, Decimal]:
    return {key: amount for (of, key), amount in sums.items() if of == currency}


def _spends(
    spec: ReportSpec,
    sections: Sections,
    names: Names,
    tokens: Sequence[Tokens],
    weeks: Mapping[str, Days],
) -> tuple[Spend, ...]:
    if sections.costs.blank is not None:
        return ()
    unknown = sections.costs.missing_days
    by_day = _sum(sections.costs.buckets, lambda bucket, _: bucket.start.date())
    # Groups of a day that the total lacks would make the part that is not attributed negative.
    grouped = [bucket for bucket in sections.costs_by.buckets if bucket.start.date() not in unknown]
    by_group = _sum_groups(spec, grouped)
    before = sections.costs_before
    by_day_before = _sum(before.buckets, lambda *_: None) if before is not None else {}
    earlier = sections.costs_by_before
    by_group_before = _sum_groups(spec, earlier.buckets) if earlier else {}
    compared = _are_comparable(spec, sections.costs, before) and not sections.costs.gap(
        spec.now, sections.costs_by
    )
    compared_by = (
        compared
        and _are_comparable(spec, sections.costs_by, earlier)
        and not sections.costs_by.gap(spec.now, sections.costs)
    )
    currencies = {currency for currency, _ in (*by_day, *by_day_before)}
    # No request is of one currency: beside each of several bills it would count again.
    requests = _requests(spec, tokens) if len(currencies) == 1 else {}
    tree = _Tree(spec, names, requests, compared_by)
    lines = _lines(spec, sections)
    keys = [_group_key(grouping) for grouping in spec.groupings]

    def path(row: CostsResult) -> Path:
        return tuple([key(_NO_BUCKET, row) for key in keys])

    spends = []
    for currency in currencies:
        amounts = _of_currency(by_day, currency)
        billed = total(amounts.values())
        billed_before = total(_of_currency(by_day_before, currency).values())
        days = tuple(
            (day, None if day in unknown else amounts.get(day, _ZERO))
            for day in days_in(spec.period)
        )
        blank = sections.costs_by.blank is not None
        nobody = (None,) * len(spec.groupings)
        groups = _completed(_of_currency(by_group, currency), billed, nobody, blank=blank)
        groups_before = _completed(
            _of_currency(by_group_before, currency),
            billed_before,
            nobody,
            blank=blank or not compared_by,
        )
        moved = {
            each: change(groups.get(each, _ZERO), groups_before.get(each, _ZERO))
            for each in (movers(groups_before, groups) if compared_by else [])
        }
        causes = causes_of(moved, *_lines_of_movers(spec, sections), path, currency)
        known = (*weeks.get(currency, ()), *days)
        month = budget(known, spec.today, month=spec.today) if spec.running else None
        spends.append(
            Spend(
                currency=currency,
                total=billed,
                days=days,
                groups=_caused(tree.groups(groups, groups_before), causes),
                before=billed_before if compared else None,
                projection=month.projection if month else None,
                unusual=explained_days(
                    unusual_days(days, spec.today), days, spec.today, lines, currency
                ),
            )
        )
    return tuple(sorted(spends, key=lambda spend: (spend.total.copy_negate(), spend.currency)))


def _lines(spec: ReportSpec, sections: Sections) -> Sequence[UsageTimeBucket[CostsResult]]:
    """Give the costs of the period by line item, as far as they were read."""
    by_line = "line_item" in spec.costs_dimensions
    section = sections.costs_by if by_line else sections.costs_by_model or sections.costs_by_line
    return () if section is None else section.buckets


def _lines_of_movers(
    spec: ReportSpec, sections: Sections
) -> tuple[Sequence[UsageTimeBucket[CostsResult]], Sequence[UsageTimeBucket[CostsResult]]]:
    """Give the costs by group and line item, of the range before and of the period."""
    if sections.movers is not None:
        before, after = sections.movers
        return before.buckets, after.buckets
    if "line_item" in spec.costs_dimensions and sections.costs_by_before is not None:
        return sections.costs_by_before.buckets, sections.costs_by.buckets
    return (), ()


def _caused(
    groups: Iterable[Group], causes: Mapping[Path, Cause], outer: Path = ()
) -> tuple[Group, ...]:
    """Add the causes of groups that moved, or of their parts."""
    return tuple(
        attrs.evolve(
            group,
            cause=causes.get((*outer, group.id)),
            parts=_caused(group.parts, causes, (*outer, group.id)),
        )
        for group in groups
    )


def _with_stacks(
    spec: ReportSpec, sections: Sections, spends: Iterable[Spend]
) -> tuple[Spend, ...]:
    """Add the parts of each day."""
    key = _group_key(spec.grouping)
    sums = _sum(
        sections.costs_by.buckets, lambda bucket, row: (bucket.start.date(), key(bucket, row))
    )
    return tuple(
        attrs.evolve(
            spend, stacks=stacks_of(spend.days, spend.groups, _of_currency(sums, spend.currency))
        )
        for spend in spends
    )


def _with_models(
    spec: ReportSpec, sections: Sections, spends: tuple[Spend, ...], tokens: Sequence[Tokens]
) -> tuple[Spend, ...]:
    """Add the bill by model, where line items were read."""
    section = sections.costs_by_model
    if section is None and "line_item" in spec.costs_dimensions:
        section = sections.costs_by
    if section is None or section.blank or not spec.detailed:
        return spends
    gaps = sections.costs.missing_days
    buckets = [bucket for bucket in section.buckets if bucket.start.date() not in gaps]
    sums = _sum(buckets, _group_key(GROUPINGS["model"]))
    usage = [sections.usage[each.name] for each in counting()]
    is_rated = (
        len(spends) == 1
        and section.known_from is None
        and all(
            not each.blank and each.missing_days == gaps | section.missing_days for each in usage
        )
    )
    requests = {row.id: row.requests for row in tokens if is_rated and row.id is not None}

    def models(spend: Spend) -> tuple[Group, ...]:
        amounts = _of_currency(sums, spend.currency)
        if rest := change(spend.total, total(amounts.values())):
            amounts[None] = add(amounts.get(None, _ZERO), rest)
        return tuple(
            Group(id=key, amount=amounts[key], requests=requests.get(key))
            for key in _ranked(amounts, {})
        )

    return tuple(attrs.evolve(spend, models=models(spend)) for spend in spends)


def _kinds(spec: ReportSpec, usage: Mapping[str, Section]) -> tuple[TokenKind, ...]:
    return kinds_of(
        _totals(spec, endpoint, usage[endpoint.name])[0]
        for endpoint in counting()
        if not usage[endpoint.name].blank
    )


def _used_before(spec: ReportSpec, sections: Sections) -> Tokens | None:
    """Add up the usage of the period before, where that and this one are whole."""
    before = sections.usage_before
    pairs = [(sections.usage[name], section) for name, section in before.items()]
    if not pairs or any(now.blank or not _are_comparable(spec, now, then) for now, then in pairs):
        return None
    whole = [_totals(spec, ENDPOINTS[name], section)[0] for name, section in before.items()]
    return reduce(_plus, whole, Tokens(id=None))


def _are_comparable(spec: ReportSpec, section: Section, before: Section | None) -> bool:
    """Tell if both were read, with every day that has ended.

    `Report` tells of the days that prevent it.
    """
    if before is None or before.blank is not None:
        return False
    return not any(
        each.overdue(spec.now) or each.known_from is not None for each in (section, before)
    )


def _completed(
    sums: dict[_Ids, Decimal], billed: Decimal, nobody: _Ids, *, blank: bool
) -> dict[_Ids, Decimal]:
    """Complete the groups, so that together they are the total; the rest is the group `nobody`."""
    if blank:
        return {}
    rest = change(billed, total(sums.values()))
    if rest:
        sums[nobody] = add(sums.get(nobody, _ZERO), rest)
    return sums


def _requests(spec: ReportSpec, tokens: Iterable[Tokens]) -> dict[_Ids, int]:
    """Give the requests of the groups whose costs and usage are about the same things."""
    outer, *inner = (grouping.joined for grouping in spec.groupings)
    requests: dict[_Ids, int] = {}
    for row in tokens if outer else ():
        if row.id is None:
            continue
        requests[row.id,] = row.requests
        for part in row.parts if all(inner) else ():
            if part.id is not None:
                requests[row.id, part.id] = part.requests
    return requests


@attrs.frozen
class _Tree:
    """Maker of groups and their parts, from sums by all of their ids.

    Attributes:
        spec: The report.
        names: Names of the groups.
        requests: Requests of groups, by their ids.
        is_compared: True if groups have the amount of the period before.
    """

    spec: ReportSpec
    names: Names
    requests: Mapping[_Ids, int]
    is_compared: bool

    def groups(
        self,
        sums: Mapping[_Ids, Decimal],
        before: Mapping[_Ids, Decimal],
        within: _Ids = (),
    ) -> tuple[Group, ...]:
        """Make the groups of these sums.

        Args:
            sums: Amounts by ids.
            before: Amounts of the period before.
            within: The ids that all of them begin with.
        """
        depth = len(within)
        if depth == len(self.spec.groupings):
            return ()
        now, earlier = _split(sums, depth), _split(before, depth)
        amounts = {key: total(part.values()) for key, part in now.items()}
        amounts_before = {key: total(part.values()) for key, part in earlier.items()}
        return tuple(
            Group(
                id=key,
                name=name_in(self.names, self.spec.groupings[depth].costs, key),
                amount=amounts.get(key, _ZERO),
                before=amounts_before.get(key, _ZERO) if self.is_compared else None,
                requests=self.requests.get((*within, key)),
                parts=self.groups(now.get(key, {}), earlier.get(key, {}), (*within, key)),
            )
            for key in _ranked(amounts, amounts_before)
        )


def _split(sums: Mapping[_Ids, Decimal], depth: int) -> dict[str | None, dict[_Ids, Decimal]]:
    """Split sums by the id at a depth."""
    parts: dict[str | None, dict[_Ids, Decimal]] = {}
    for ids, amount in sums.items():
        parts.setdefault(ids[depth], {})[ids] = amount
    return parts


def _ranked(groups: Mapping[Any, Decimal], before: Mapping[Any, Decimal]) -> list[Any]:
    """Order the groups: the largest first, the one that is not attributed last."""
    keys = dict.fromkeys((*groups, *before))
    rank = {key: (key is None, groups.get(key, _ZERO).copy_negate(), str(key)) for key in keys}
    return sorted(keys, key=rank.__getitem__)


def _totals(
    spec: ReportSpec, endpoint: Endpoint, section: Section, dimensions: Sequence[str] = ()
) -> list[Any]:
    totals: Totals[Any] = Totals(
        endpoint.result_class, endpoint.measure, dimensions, as_of=spec.now
    )
    for bucket in section.buckets:
        totals.add(attrs.evolve(bucket, other_results=()))
    return totals.groups() if dimensions else [totals.total()]


def _endpoint_use(spec: ReportSpec, endpoint: Endpoint, section: Section) -> EndpointUse:
    if section.blank:
        return EndpointUse(name=endpoint.name, blank=section.blank)
    (whole,) = _totals(spec, endpoint, section)
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


def _counted(spec: ReportSpec) -> list[str]:
    """Name the endpoints that count requests and tokens by the dimensions of the report."""
    dimensions = {*spec.usage_dimensions}
    return [each.name for each in counting() if dimensions <= {*each.group_by}]


def _tokens(spec: ReportSpec, usage: Mapping[str, Section], names: Names) -> tuple[Tokens, ...]:
    """Add up requests and tokens by group."""
    outer, *inner = spec.usage_dimensions
    groups: dict[str | None, dict[str | None, Tokens]] = {}
    for name in _counted(spec):
        for row in _totals(spec, ENDPOINTS[name], usage[name], spec.usage_dimensions):
            parts = groups.setdefault(getattr(row, outer), {})
            key = getattr(row, inner[0]) if inner else None
            so_far = parts.get(key) or Tokens(
                id=key, name=name_in(names, inner[0], key) if inner else None
            )
            parts[key] = _plus(so_far, row)
    return _most_used(
        attrs.evolve(
            sum_of([*parts.values()]),
            id=key,
            name=name_in(names, outer, key),
            parts=_most_used(parts.values()) if inner else (),
        )
        for key, parts in groups.items()
    )


def _most_used(groups: Iterable[Tokens]) -> tuple[Tokens, ...]:
    """Order groups by their tokens, without those that used nothing."""
    order = sorted(groups, key=lambda row: (-row.input - row.output, str(row.id)))
    return tuple(row for row in order if row.requests or row.input or row.output)


def _plus(so_far: Tokens, row: Any) -> Tokens:
    """Add the requests and tokens of a row."""
    return attrs.evolve(
        so_far,
        requests=so_far.requests + row.num_model_requests,
        input=so_far.input + getattr(row, "input_tokens", 0),
        cached=so_far.cached + (getattr(row, "input_cached_tokens", 0) or 0),
        output=so_far.output + getattr(row, "output_tokens", 0),
    )
