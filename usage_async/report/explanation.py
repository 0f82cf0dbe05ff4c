"""Explanation of a bill: its change since the period before, and what stands behind it. Pure.

The whole bill is read beside its lines. What no line accounts for is a line of its own, which is
never explained by the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain
from statistics import median, median_high, median_low
from typing import Any

import attrs

from usage_async._api.exact import EXACT
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import CostsResult
from usage_async._client.names import Names
from usage_async.report.amounts import change
from usage_async.report.arithmetic import ratio, times
from usage_async.report.changes import KEYS_TOLD, BillChange, GroupChange, KeyChange, PriceStep
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
from usage_async.report.insight import unusual_days
from usage_async.report.line_items import line_item_of
from usage_async.report.spec import ReportSpec
from usage_async.report.values import (
    KEYS,
    LINES,
    LINES_BEFORE,
    PERIOD_BEFORE,
    SPEND,
    Explanation,
    OrganizationRef,
    Section,
)

_ZERO = Decimal(0)
_STEP_ITEMS = 5
"""Line items whose prices are looked at by day."""
_STEP_DAYS = 3
"""Days that a price must last, before and after a change of it."""
_STEP_SHARE = 0.02
_STEP_FAR = 4
_STEP_MARGIN = Decimal("0.02")
"""The most by which the price of a project may differ from the common one."""

STEP_RULE = (
    f"the median price a unit differs by more than {_STEP_SHARE:.0%}, and by more than {_STEP_FAR}"
    " times the median deviation before and after; no three days in a row have another price"
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
    present = [
        (name, section, gap)
        for costs, names_of in ((after, (SPEND, LINES)), (before, (PERIOD_BEFORE, LINES_BEFORE)))
        for name, section, gap in (
            (names_of[0], costs.whole, costs.whole.gap(spec.now, costs.lines)),
            (names_of[1], costs.lines, costs.lines.gap(spec.now, costs.whole)),
            (KEYS, costs.keys, () if costs.keys is None else costs.keys.gap(spec.now, costs.whole)),
        )
    ]
    blanks = [(name, section.blank) for name, section, _ in present if section and section.blank]
    gaps = tuple((name, gap) for name, _, gap in present if gap)
    is_explained = all(name == KEYS for name, _ in (*blanks, *gaps))
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
        bill = _bill(currency, lines, sides, names, spec)
        bills.append(attrs.evolve(bill, is_explained=is_explained))
    return Explanation(
        spec=spec,
        organization=_organization((after.whole, before.whole)),
        bills=tuple(sorted(bills, key=lambda bill: (bill.amount.copy_negate(), bill.currency))),
        blanks=tuple(dict.fromkeys(blanks)),
        gaps=gaps,
    )


def naming_rows(*costs: PeriodCosts) -> list[CostsResult]:
    """Give the rows that hold ids and names, those of the newest period last."""
    sections = (section for each in costs for section in (each.lines, each.keys) if section)
    return [row for section in sections for bucket in section.buckets for row in bucket.results]


class _Known:
    """Rows of one period, of the days on which the whole bill is known.

    What was spent on a day whose lines are not known is left to what no line accounts for.
    """

    def __init__(self, costs: PeriodCosts) -> None:
        missing = costs.whole.missing_days

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
        for bucket in costs.whole.buckets:
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
        if change(_middle(paid), wanted).copy_abs() > times(wanted.copy_abs(), _STEP_MARGIN):
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
    parts = [price for _, price in prices[:at]], [price for _, price in prices[at:]]
    old, price = map(_middle, parts)
    noise = max(
        median(abs(float(value) - float(middle)) for value in part)
        for part, middle in zip(parts, (old, price), strict=True)
    )
    moved = abs(float(price) - float(old))
    if moved <= _STEP_FAR * noise or moved <= _STEP_SHARE * abs(float(old)):
        return None
    # With a price that changed again, or twice, "from that day on" would not be true.
    if not all(
        _is_steady(part, middle, noise) for part, middle in zip(parts, (old, price), strict=True)
    ):
        return None
    return prices[at][0], old, price


def _is_steady(prices: Sequence[Decimal], middle: Decimal, noise: float) -> bool:
    """Tell if on no `_STEP_DAYS` days in a row the price was another one, by the same rule."""
    far = max(_STEP_FAR * noise, _STEP_SHARE * abs(float(middle)))
    return all(
        abs(float(_middle(prices[first : first + _STEP_DAYS])) - float(middle)) <= far
        for first in range(len(prices) - _STEP_DAYS + 1)
    )


def _middle(prices: Collection[Decimal]) -> Decimal:
    """Give the median, to 28 digits, whatever the thread's decimal context says."""
    low, high = median_low(prices), median_high(prices)
    return low if low == high else ratio(EXACT.add(low, high), 2)


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
    told = [place for place, each in enumerate(keys) if each.id is not None][:KEYS_TOLD]
    for place in told:
        each = keys[place]
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
