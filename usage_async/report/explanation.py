"""Explanation of a bill: its change since the period before, and what stands behind it. Pure.

The whole bill is read beside its lines. What no line accounts for is a line of its own, which is
never explained by the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from statistics import median
from typing import Any

import attrs

from usage_async._api.exact import EXACT
from usage_async._api.interval import DAY_S
from usage_async._api.pages import SETTLES_AFTER, UsageTimeBucket
from usage_async._api.results import CostsResult
from usage_async._client.names import Names
from usage_async.report.amounts import change
from usage_async.report.arithmetic import ratio, times
from usage_async.report.dimensions import name_in
from usage_async.report.effects import (
    Effects,
    LineChange,
    changes_of,
    grouped,
    rest,
    sum_exactly,
    summed,
)
from usage_async.report.insight import UnusualDay, unusual_days
from usage_async.report.line_items import line_item_of
from usage_async.report.spec import ReportSpec, day_of
from usage_async.report.values import Blank, OrganizationRef, Section, days_not_sent

_ZERO = Decimal(0)
_STEP_ITEMS = 5
"""Line items whose prices are looked at by day."""
_STEP_DAYS = 3
"""Days that a price must last, before and after a change of it."""
_STEP_SHARE = 0.02
_STEP_FAR = 4
_STEP_MARGIN = Decimal("0.02")
"""The most by which the price of a project may differ from the common one."""
_KEYS = 5
"""API keys whose days are looked at."""

STEP_RULE = (
    f"the median price a unit differs by more than {_STEP_SHARE:.0%}, and by more than {_STEP_FAR}"
    " times the median deviation before and after"
)
"""The rule for the day of a price change."""


@attrs.frozen(kw_only=True)
class PeriodCosts:
    """Costs of one period, as sections of days.

    Attributes:
        whole: Costs without groups: the bill.
        lines: Costs by project and line item.
        keys: Costs by project and API key; None if they were not asked for.
    """

    whole: Section
    lines: Section
    keys: Section | None = None

    def buckets(self) -> list[UsageTimeBucket[Any]]:
        """Give the buckets of all sections, for `let_go`."""
        sections = (self.whole, self.lines, self.keys)
        return [bucket for section in sections if section for bucket in section.buckets]

    @property
    def missing_days(self) -> frozenset[date]:
        """The days that are not known by line."""
        return self.whole.missing_days | self.lines.missing_days


@attrs.frozen(kw_only=True)
class GroupChange:
    """The change of a model or a project.

    Attributes:
        id: The model, or the project; None for what is not attributed.
        name: The name of the project.
        before: Amount of the period before.
        amount: Amount of the period.
        effects: Parts of the change.
    """

    id: str | None
    name: str | None = None
    before: Decimal
    amount: Decimal
    effects: Effects


@attrs.frozen(kw_only=True)
class PriceStep:
    """A day from which a line item has another price in all of its projects, by `STEP_RULE`.

    Projects that pay different prices have no common one: a median over them would move whenever
    their shares do.

    Attributes:
        line_item: The line item, over all projects.
        day: First day of the price.
        unit: What the price is for one of; None where the service does not tell.
        before: Median price a unit on the days before, to 28 digits.
        price: Median price a unit from that day on.
        effect: The price effect of the line item on the whole bill.
    """

    line_item: str
    day: date
    unit: str | None
    before: Decimal
    price: Decimal
    effect: Decimal


@attrs.frozen(kw_only=True)
class KeyChange:
    """The change of an API key.

    Attributes:
        id: The API key; None for what no key accounts for.
        name: Its name.
        project_id: Its project.
        project_name: The name of the project.
        before: Amount of the period before.
        amount: Amount of the period.
        days: Days of the period on which it spent unusually much, for the keys that moved most.
    """

    id: str | None
    name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    before: Decimal
    amount: Decimal
    days: tuple[UnusualDay, ...] = ()


@attrs.frozen(kw_only=True)
class BillChange:
    """The change of the bill in one currency.

    Attributes:
        currency: Lowercase ISO 4217 code.
        before: The bill of the period before.
        amount: The bill.
        effects: Parts of the change.
        lines: The change of every line, the largest first; they add up to the whole.
        models: The same by model, or by line item where that names no model.
        projects: The same by project.
        steps: Days on which prices changed.
        keys: The change by API key, the largest first; empty where it is not known.
    """

    currency: str
    before: Decimal
    amount: Decimal
    effects: Effects
    lines: tuple[LineChange, ...]
    models: tuple[GroupChange, ...]
    projects: tuple[GroupChange, ...]
    steps: tuple[PriceStep, ...] = ()
    keys: tuple[KeyChange, ...] = ()


@attrs.frozen(kw_only=True)
class Explanation:
    """The reasons why a bill is not what it was.

    Attributes:
        spec: The period, and the one before.
        organization: Whose bill it is.
        bills: The change of the bill, one for each currency, the largest bill first.
        blanks: Pairs of a section's name and why it has no figures.
        gaps: Pairs of a section's name and the starts of its days that ended and were not sent.
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
        if self.gaps:
            yield "days are missing, so that the change is that of other days"


def revised_from(spec: ReportSpec) -> date | None:
    """Give the first day of a period whose figures may still be revised; None if all are final."""
    settled = (datetime.fromtimestamp(spec.now, UTC) - SETTLES_AFTER).date()
    if spec.period.end.date() <= settled:
        return None
    return max(settled, spec.period.start.date())


KEYS = "spend by API key"
"""Name of the section that a key may not be allowed to read."""


def explain(
    spec: ReportSpec, before: PeriodCosts, after: PeriodCosts, names: Names | None = None
) -> Explanation:
    """Explain the change of a bill.

    Args:
        spec: The period, and the one before.
        before: Costs of the period before.
        after: Costs of the period.
        names: Names of projects and API keys; by default those that rows carry.
    """
    if names is None:
        names = Names.from_rows(naming_rows(before, after))
    sides = [_Known(before), _Known(after)]
    changes = changes_of(*(side.lines for side in sides))
    bills = []
    for currency in dict.fromkeys(of for side in reversed(sides) for of in (*side.whole, *changes)):
        lines = changes.get(currency, [])
        listed = (
            sum_exactly(line.before for line in lines),
            sum_exactly(line.amount for line in lines),
        )
        left = [
            change(side.whole.get(currency, _ZERO), of)
            for side, of in zip(sides, listed, strict=True)
        ]
        if any(left):
            lines = [*lines, rest(*left)]
        bills.append(_bill(currency, lines, sides, names, spec))
    sections = (
        ("spend", after.whole),
        ("spend by line item", after.lines),
        (KEYS, after.keys),
        ("the period before", before.whole),
        ("the period before by line item", before.lines),
        (KEYS, before.keys),
    )
    present = [(name, section) for name, section in sections if section is not None]
    return Explanation(
        spec=spec,
        organization=_organization((after.whole, before.whole)),
        bills=tuple(sorted(bills, key=lambda bill: (bill.amount.copy_negate(), bill.currency))),
        blanks=tuple(
            dict.fromkeys((name, section.blank) for name, section in present if section.blank)
        ),
        gaps=tuple(
            (name, overdue) for name, section in present if (overdue := section.overdue(spec.now))
        ),
    )


def naming_rows(*costs: PeriodCosts) -> list[CostsResult]:
    """Give the rows that hold ids and names, those of the newest period last."""
    sections = (section for each in costs for section in (each.lines, each.keys) if section)
    return [row for section in sections for bucket in section.buckets for row in bucket.results]


class _Known:
    """Rows of one period, of the days whose lines and whole are both known."""

    def __init__(self, costs: PeriodCosts) -> None:
        missing = costs.missing_days

        def known(section: Section | None) -> list[UsageTimeBucket[CostsResult]]:
            buckets = () if section is None else section.buckets
            return [bucket for bucket in buckets if bucket.start.date() not in missing]

        self.buckets = known(costs.lines)
        self.lines = [row for bucket in self.buckets for row in bucket.results]
        self.keys = known(costs.keys)
        # With a day less, a key would seem to have spent less.
        self.has_keys = (
            costs.keys is not None
            and costs.keys.blank is None
            and costs.keys.missing_days <= missing
        )
        amounts: dict[str, list[Decimal]] = {}
        for bucket in known(costs.whole):
            for row in bucket.results:
                if row.amount is not None:
                    amounts.setdefault(row.amount.currency.lower(), []).append(row.amount.value)
        self.whole = {currency: sum_exactly(of) for currency, of in amounts.items()}


def _bill(
    currency: str,
    lines: Sequence[LineChange],
    sides: Sequence[_Known],
    names: Names,
    spec: ReportSpec,
) -> BillChange:
    before, amount, effects = summed(lines)
    return BillChange(
        currency=currency,
        before=before,
        amount=amount,
        effects=effects,
        lines=tuple(sorted(lines, key=_size_of_line)),
        models=_groups(grouped(lines, lambda line: line.model), {}),
        projects=_groups(
            grouped(lines, lambda line: line.project_id),
            {line.project_id: name_in(names, "project_id", line.project_id) for line in lines},
        ),
        steps=tuple(_steps(currency, lines, sides)) if _are_in_order(spec) else (),
        keys=_keys(currency, sides, names, spec),
    )


def _are_in_order(spec: ReportSpec) -> bool:
    """Tell if the period follows the one before, as the days of a price change do."""
    return spec.before is not None and spec.before.end_time <= spec.period.start_time


def _groups(
    found: Mapping[str | None, tuple[Decimal, Decimal, Effects]],
    names: Mapping[str | None, str | None],
) -> tuple[GroupChange, ...]:
    groups = [
        GroupChange(id=key, name=names.get(key), before=before, amount=amount, effects=effects)
        for key, (before, amount, effects) in found.items()
    ]
    return tuple(sorted(groups, key=lambda each: _size(each.before, each.amount, str(each.id))))


def _size(before: Decimal, amount: Decimal, name: str) -> tuple[Decimal, str]:
    return change(before, amount).copy_abs().copy_negate(), name


def _size_of_line(line: LineChange) -> tuple[Decimal, str]:
    return _size(line.before, line.amount, f"{line.line_item} {line.project_id}")


def _steps(
    currency: str, lines: Sequence[LineChange], sides: Sequence[_Known]
) -> Iterator[PriceStep]:
    """Find the days of the largest price effects."""
    effects = [
        (name, effects.price)
        for name, (_, _, effects) in grouped(lines, lambda line: line.line_item).items()
        if name is not None and effects.price
    ]
    effects.sort(key=lambda pair: (pair[1].copy_abs().copy_negate(), pair[0]))
    wanted = dict(effects[:_STEP_ITEMS])
    days = _days_of(currency, wanted, sides)
    for name, effect in wanted.items():
        of_item = days.get(name, {})
        units = {unit for unit, _, _ in of_item}
        sums: dict[date, tuple[Decimal, Decimal]] = {}
        for (_, _, day), of in of_item.items():
            sums[day] = _added(sums.get(day, _NONE), of)
        step = _step(sorted((day, ratio(*of)) for day, of in sums.items() if of[1]))
        # Prices in several units cannot be compared.
        if step is None or len(units) != 1 or not _is_common(step, of_item):
            continue
        begin, old, price = step
        if min(old, price) >= 0 and (price > old) is (effect > 0):
            yield PriceStep(
                line_item=name, day=begin, unit=units.pop(), before=old, price=price, effect=effect
            )


_Step = tuple[date, Decimal, Decimal]
"""A day, and the median prices before it and from it on."""
_Days = dict[tuple[str | None, str | None, date], tuple[Decimal, Decimal]]
"""Amounts and quantities by unit, project and day."""
_NONE = (_ZERO, _ZERO)


def _added(one: tuple[Decimal, Decimal], other: tuple[Decimal, Decimal]) -> tuple[Decimal, Decimal]:
    return EXACT.add(one[0], other[0]), EXACT.add(one[1], other[1])


def _is_common(step: _Step, days: _Days) -> bool:
    """Tell if every project pays the prices of a step, before it and from it on."""
    begin, old, price = step
    prices: dict[tuple[str | None, bool], list[Decimal]] = {}
    counted = (each for each in days.items() if each[1][1])
    for (_, project, day), of in counted:
        prices.setdefault((project, day >= begin), []).append(ratio(*of))
    for (_, is_later), paid in prices.items():
        wanted = price if is_later else old
        if change(median(paid), wanted).copy_abs() > times(wanted.copy_abs(), _STEP_MARGIN):
            return False
    return True


def _days_of(currency: str, wanted: Collection[str], sides: Sequence[_Known]) -> dict[str, _Days]:
    """Add amounts and quantities of line items up, by unit, project and day."""
    days: dict[str, _Days] = {}
    for bucket in chain.from_iterable(side.buckets for side in sides):
        for row in bucket.results:
            name = line_item_of(row.line_item or "").name
            if name not in wanted or row.amount is None or row.quantity is None:
                continue
            if row.amount.currency.lower() == currency:
                of = days.setdefault(name, {})
                key = row.quantity_unit, row.project_id, bucket.start.date()
                of[key] = _added(of.get(key, _NONE), (row.amount.value, row.quantity))
    return days


def _step(prices: Sequence[tuple[date, Decimal]]) -> _Step | None:
    """Find the day that divides prices best, and the medians of both parts."""
    values = [float(price) for _, price in prices]
    count, whole, left = len(values), sum(values), 0.0
    best, at = 0.0, 0
    for number, value in enumerate(values[:-1], 1):
        left += value
        away = left / number - (whole - left) / (count - number)
        spread = away * away * number * (count - number)
        if _STEP_DAYS <= number <= count - _STEP_DAYS and spread > best:
            best, at = spread, number
    if not at:
        return None
    old, price = (median(price for _, price in part) for part in (prices[:at], prices[at:]))
    noise = max(
        median(abs(value - float(middle)) for value in part)
        for part, middle in ((values[:at], old), (values[at:], price))
    )
    moved = abs(float(price) - float(old))
    if moved <= _STEP_FAR * noise or moved <= _STEP_SHARE * abs(float(old)):
        return None
    return prices[at][0], old, price


def _keys(
    currency: str, sides: Sequence[_Known], names: Names, spec: ReportSpec
) -> tuple[KeyChange, ...]:
    if not all(side.has_keys for side in sides):
        return ()
    old, new = (_days_of_keys(currency, side.keys) for side in sides)
    keys = [
        KeyChange(
            id=key,
            name=name_in(names, "api_key_id", key),
            project_id=project,
            project_name=name_in(names, "project_id", project),
            before=sum_exactly(old.get((key, project), {}).values()),
            amount=sum_exactly(new.get((key, project), {}).values()),
        )
        for key, project in dict.fromkeys((*new, *old))
    ]
    keys.sort(key=lambda each: _size(each.before, each.amount, f"{each.id} {each.project_id}"))
    every = [bucket.start.date() for bucket in sides[1].keys]
    for place, each in enumerate(keys[:_KEYS]):
        spent = new.get((each.id, each.project_id), {})
        found = unusual_days([(day, spent.get(day, _ZERO)) for day in every], spec.today)
        more = tuple(day for day in found if day.amount > day.usual)
        keys[place] = attrs.evolve(each, days=more)
    return tuple(keys)


def _days_of_keys(
    currency: str, buckets: Iterable[UsageTimeBucket[CostsResult]]
) -> dict[tuple[str | None, str | None], dict[date, Decimal]]:
    """Add amounts up by API key and project, and by day."""
    sums: dict[tuple[str | None, str | None], dict[date, Decimal]] = {}
    for bucket in buckets:
        day = bucket.start.date()
        for row in bucket.results:
            if row.amount is not None and row.amount.currency.lower() == currency:
                days = sums.setdefault((row.api_key_id, row.project_id), {})
                days[day] = EXACT.add(days.get(day, _ZERO), row.amount.value)
    return sums


def _organization(sections: Iterable[Section]) -> OrganizationRef:
    rows = (row for section in sections for bucket in section.buckets for row in bucket.results)
    named = (row for row in rows if row.organization_name or row.organization_id)
    row = next(named, CostsResult())
    return OrganizationRef(row.organization_id, row.organization_name)
