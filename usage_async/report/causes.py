"""Causes: the line item, and the effect, behind an unusual day or a group that moved. Pure.

An unusual day is compared with the usual day of its kind whose amount is closest to the median. A
group is compared with itself in the period before. Both are divided as `effects` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

import attrs

from usage_async._api.exact import EXACT
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import CostsResult
from usage_async.report.amounts import change
from usage_async.report.changes import KEYS_TOLD
from usage_async.report.effects import PARTS, Cause, LineChange, changes_of, grouped
from usage_async.report.insight import Days, UnusualDay, is_weekend, unusual_days
from usage_async.report.spec import ReportSpec
from usage_async.report.values import Section, Sections

K = TypeVar("K")

MOVERS = 3
"""Groups whose movement is explained: those that reports show as movers."""

Buckets = Iterable[UsageTimeBucket[CostsResult]]
FILTERS = {"project_id": "project_ids", "api_key_id": "api_key_ids"}
"""Dimensions that costs can be filtered by, with their filters."""
Path = tuple[str | None, ...]
"""Id of a group, and that of its part where there are two dimensions."""
_ZERO = Decimal(0)


def cause_of(lines: Iterable[LineChange], moved: Decimal) -> Cause | None:
    """Give the line item that changed most in one direction, and its largest effect in it.

    What went the other way is no cause: it made the change smaller.

    Args:
        lines: The lines of what changed.
        moved: The change, whose sign is the direction; there is no cause of a change of 0.
    """
    items = grouped(lines, lambda line: line.line_item)
    along = {
        name: effects
        for name, (_, _, effects) in items.items()
        if effects.total and (effects.total > 0) is (moved > 0)
    }
    if not moved or not along:
        return None
    name = max(along, key=lambda each: (along[each].total.copy_abs(), str(each)))
    # Not the largest of either sign: a price can rise more than the whole line item.
    parts = {part: getattr(along[name], part) for part in PARTS}
    effect = (max if moved > 0 else min)(parts, key=lambda part: parts[part])
    return Cause(line_item=name, effect=effect, amount=parts[effect])


def explained_days(
    unusual: Sequence[UnusualDay], days: Days, today: date, buckets: Buckets, currency: str
) -> tuple[UnusualDay, ...]:
    """Add the cause of each unusual day on which something was billed.

    Args:
        unusual: The days.
        days: Amounts of all days.
        today: The running day, which is no usual day.
        buckets: Costs by line item.
        currency: Lowercase ISO 4217 code.
    """
    odd = {each.day for each in unusual}
    rows: dict[date, list[CostsResult]] = {}
    for bucket in buckets:
        rows.setdefault(bucket.start.date(), []).extend(bucket.results)
    usual = [(day, amount) for day, amount in days if amount and day < today and day not in odd]

    def explained(each: UnusualDay) -> UnusualDay:
        kind = [pair for pair in usual if is_weekend(pair[0]) is is_weekend(each.day)]
        if not kind or not each.amount or each.day not in rows:
            return each
        like = min(kind, key=lambda pair: (change(pair[1], each.usual).copy_abs(), pair[0]))[0]
        lines = changes_of(rows.get(like, ()), rows[each.day]).get(currency, ())
        return attrs.evolve(each, cause=cause_of(lines, change(each.amount, each.usual)))

    return tuple(map(explained, unusual))


def movers(
    before: Mapping[Path, Decimal], after: Mapping[Path, Decimal], most: int = MOVERS
) -> list[Path]:
    """Give the groups that moved most; the one without any id is left out."""
    moves = {
        key: change(after.get(key, _ZERO), before.get(key, _ZERO)).copy_abs()
        for key in dict.fromkeys((*after, *before))
        if any(part is not None for part in key)
    }
    moved = [key for key in moves if moves[key]]
    return sorted(moved, key=lambda key: (moves[key].copy_negate(), str(key)))[:most]


def causes_of(
    moves: Mapping[Path, Decimal],
    before: Buckets,
    after: Buckets,
    key: Callable[[CostsResult], Path],
    currency: str,
) -> dict[Path, Cause]:
    """Give the cause of each group that moved.

    Args:
        moves: The changes of the groups, as `key` gives these.
        before: Costs of the period before by group and line item.
        after: Costs of the period.
        key: Gives the group of a row.
        currency: Lowercase ISO 4217 code.
    """
    sides: list[dict[Path, list[CostsResult]]] = []
    for buckets in (before, after):
        rows: dict[Path, list[CostsResult]] = {}
        for bucket in buckets:
            for row in bucket.results:
                if (path := key(row)) in moves:
                    rows.setdefault(path, []).append(row)
        sides.append(rows)
    causes = {
        path: cause_of(changes_of(*(rows.get(path, ()) for rows in sides)).get(currency, ()), moved)
        for path, moved in moves.items()
    }
    return {path: cause for path, cause in causes.items() if cause is not None}


def standing_out(spec: ReportSpec, sections: Sections) -> tuple[bool, list[str]]:
    """Tell what needs line items that were not read, to be explained.

    Returns:
        True if a day is unusual, and the ids of the groups that moved most.
    """
    came = [bucket.start.date() for bucket in sections.costs.buckets]
    has_lines = "line_item" in spec.costs_dimensions or sections.costs_by_model is not None
    days = not has_lines and any(
        each.amount
        for amounts in _sums(sections.costs, lambda day, _: day).values()
        for each in unusual_days([(day, amounts.get(day, _ZERO)) for day in came], spec.today)
    )
    before = sections.costs_by_before
    if before is None or spec.costs_dimensions not in {(name,) for name in FILTERS}:
        return days, []

    def group(_: date, row: CostsResult) -> Path:
        return (getattr(row, spec.costs_dimensions[0]),)

    old, new = (_sums(section, group) for section in (before, sections.costs_by))
    found = (path for of in new for path in movers(old.get(of, {}), new[of]))
    return days, list(dict.fromkeys(path[0] for path in found if path[0] is not None))


def told_keys(sections: Sections) -> list[CostsResult]:
    """Give a row of each API key that the reasons of a change may tell of, for its name."""
    before, after = sections.costs_by_key_before, sections.costs_by_key
    if before is None or after is None:
        return []

    def path(_: date, row: CostsResult) -> Path:
        return row.project_id, row.api_key_id

    def of_keys(amounts: Mapping[Path, Decimal]) -> dict[Path, Decimal]:
        return {each: amount for each, amount in amounts.items() if each[1] is not None}

    old, new = (_sums(section, path) for section in (before, after))
    told = {
        each
        for of in {*old, *new}
        for each in movers(of_keys(old.get(of, {})), of_keys(new.get(of, {})), KEYS_TOLD)
    }
    buckets = (*before.buckets, *after.buckets)
    rows = {path(each.start.date(), row): row for each in buckets for row in each.results}
    return [row for each, row in rows.items() if each in told]


def _sums(section: Section, key: Callable[[date, CostsResult], K]) -> dict[str, dict[K, Decimal]]:
    sums: dict[str, dict[K, Decimal]] = {}
    for bucket in section.buckets:
        day = bucket.start.date()
        for row in bucket.results:
            if row.amount is not None:
                of = sums.setdefault(row.amount.currency.lower(), {})
                place = key(day, row)
                of[place] = EXACT.add(of.get(place, _ZERO), row.amount.value)
    return sums
