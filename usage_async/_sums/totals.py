"""Exact sums: pure, over buckets as they come.

Sums run in a decimal context of the library's own, which never rounds: a sum is exact, or an
error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any, Generic, TypeVar

import attrs

from usage_async._api.fields import EXACT, NO_EXTRA, Extra, exact_decimal, fields_of, short_repr
from usage_async._api.pages import (
    Notice,
    UsageTimeBucket,
)
from usage_async._api.results import (
    CostsResult,
    CostsResultAmount,
    UnknownResult,
    UsageResult,
)
from usage_async._query.times import TimeRange
from usage_async.errors import IncompleteError, MixedCurrencyError, UsageError

R = TypeVar("R", bound=UsageResult)

_ZERO = Decimal(0)

_NOT_CARRIED = ("object", "extra", "quantity_unit")
"""Notes that have rules of their own."""


def add(one: Decimal, other: Decimal) -> Decimal:
    """Add two Decimals exactly, whatever the thread's context says.

    Raises:
        UsageError: The exact sum is none that `models` accepts.
    """
    try:
        return exact_decimal(EXACT.add(one, other))
    except ValueError:
        raise UsageError("these amounts have no exact sum that is a plain decimal") from None


def _tuple(groups: Iterable[R]) -> tuple[R, ...]:
    return tuple(groups)


@attrs.frozen
class Summary(Generic[R]):
    """A total, its groups, and how far to trust them.

    Attributes:
        total: Everything, in one row.
        groups: One row a group, the largest first; they add up to the total.
        requested: The range that was asked for.
        covered: From the first bucket that came to the end of the last; None if none came.
        settled_through: The figures before this instant are not expected to change any more; None
            if all may.
        as_of: The instant at which the run began.
        notices: What a careful reader should know.
    """

    total: R
    groups: tuple[R, ...] = attrs.field(converter=_tuple)
    requested: TimeRange
    covered: TimeRange | None
    settled_through: datetime | None
    as_of: datetime
    notices: tuple[Notice, ...]

    __repr__ = short_repr


def _names(kind: Any, of: str) -> tuple[str, ...]:
    return tuple(a.name for a in fields_of(kind) if a.metadata["kind"] == of)


_Unit = tuple[str | None, str | None]


@attrs.define(eq=False)
class _Sum:
    """What was added up for one group.

    Attributes:
        flows: Sums by metric; a metric is missing until a row has it.
        levels: Sums by metric within the bucket that starts at `level_start`.
        amounts: Sums by currency.
        quantities: Sums by currency and unit.
        notes: Descriptions that all rows agree on; None where they do not.
    """

    flows: dict[str, int] = attrs.field(factory=dict)
    levels: dict[str, int] = attrs.field(factory=dict)
    level_start: int | None = None
    amounts: dict[str, Decimal] = attrs.field(factory=dict)
    quantities: dict[tuple[str | None, _Unit], Decimal] = attrs.field(factory=dict)
    notes: dict[str, str | None] = attrs.field(factory=dict)

    def add_money(self, row: CostsResult) -> None:
        currency = None
        if row.amount is not None:
            currency, value = row.amount.currency, row.amount.value
            self.amounts[currency] = add(self.amounts.get(currency, _ZERO), value)
        if row.quantity is not None:
            # Without a unit, only what is billed as the same line item surely has the same unit.
            unit = (row.quantity_unit, None if row.quantity_unit else row.line_item)
            key = (currency, unit)
            self.quantities[key] = add(self.quantities.get(key, _ZERO), row.quantity)

    def money(self) -> Iterator[dict[str, Any]]:
        """Give the fields of money, once for each currency."""
        several = len(self.amounts) > 1
        unpaid = [None] if several and any(of is None for of, _ in self.quantities) else []
        for currency in [*self.amounts, *unpaid] or [None]:
            fields: dict[str, Any] = {}
            if currency is not None:
                value = self.amounts[currency]
                fields["amount"] = CostsResultAmount(value=value, currency=currency)
            together = {currency} if several else {currency, None}
            units = {unit for of, unit in self.quantities if of in together}
            if len(units) == 1:
                (unit,) = units
                quantities = (self.quantities.get((of, unit), _ZERO) for of in together)
                fields["quantity"] = reduce(add, quantities)
                fields["quantity_unit"] = unit[0]
            yield fields


class Totals(Generic[R]):
    """Adds buckets up, by time, kept apart by some of their dimensions and, always, by currency.

    Flows are added over all buckets, levels over the rows of one: the last that has ended, or the
    running one where none has. A bucket without rows is a figure, too: nothing was there.

    Args:
        kind: The class of the rows.
        measure: The metric that ranks the groups.
        dimensions: What to keep apart; the rest is added up.
        as_of: Unix seconds at which the figures were asked for: buckets that end later are running.

    Raises:
        IncompleteError: The kind is one whose metrics this release does not know.
    """

    def __init__(
        self, kind: type[R], measure: str, dimensions: Sequence[str] = (), *, as_of: int
    ) -> None:
        if kind is UnknownResult:
            raise IncompleteError("results of an unknown kind have no sum that this release knows")
        known = _names(kind, "dimension")
        self._kind = kind
        self._measure = measure
        self._dimensions = tuple(name for name in dimensions if name in known)
        self._unknown_dimensions = tuple(name for name in dimensions if name not in known)
        self._flows = _names(kind, "flow")
        self._levels = _names(kind, "level")
        self._notes = tuple(name for name in _names(kind, "note") if name not in _NOT_CARRIED)
        required = (a.name for a in fields_of(kind) if a.default is attrs.NOTHING)
        self._zeros = dict.fromkeys(required, 0)
        self._sums: dict[tuple[Any, ...], _Sum] = {}
        self._as_of = as_of
        self._level_start: int | None = None

    def add(self, bucket: UsageTimeBucket[R]) -> None:
        """Add a bucket up.

        Raises:
            IncompleteError: It holds rows of another kind.
        """
        if bucket.other_results:
            # Their kinds are the service's words; the stream's notices quote them with care.
            msg = f"the bucket that starts at {bucket.start} holds rows of another kind"
            raise IncompleteError(msg, differing=[bucket.start_time])
        if self._level_start is None or bucket.end_time <= self._as_of:
            self._level_start = bucket.start_time
        for row in bucket.results:
            key = (
                *(getattr(row, name) for name in self._dimensions),
                *(row.extra.get(name) for name in self._unknown_dimensions),
            )
            group = self._sums.get(key)
            if group is None:
                group = self._sums[key] = _Sum()
            self._add_row(group, row, bucket.start_time)

    def _add_row(self, group: _Sum, row: R, start: int) -> None:
        for name in self._flows:
            value = getattr(row, name)
            if value is not None:
                group.flows[name] = group.flows.get(name, 0) + value
        for name in self._levels if start == self._level_start else ():
            if group.level_start != start:
                group.levels, group.level_start = {}, start
            group.levels[name] = group.levels.get(name, 0) + getattr(row, name)
        for name in self._notes:
            value = getattr(row, name)
            if value is not None and group.notes.setdefault(name, value) != value:
                group.notes[name] = None
        if isinstance(row, CostsResult):
            group.add_money(row)

    def groups(self) -> list[R]:
        """Give one row a group, the largest first."""
        return sorted(
            (row for key, group in self._sums.items() for row in self._rows(key, group)),
            key=self._rank,
        )

    def total(self) -> R:
        """Give everything in one row; zeros where there was nothing.

        Raises:
            MixedCurrencyError: There are amounts in several currencies.
        """
        rows = self.groups() or list(self._rows((), _Sum()))
        if len(rows) > 1:
            currencies = sorted({name for group in self._sums.values() for name in group.amounts})
            msg = f"amounts in {', '.join(currencies)} have no single sum; use totals()"
            raise MixedCurrencyError(msg, currencies=currencies)
        return rows[0]

    def _rank(self, row: R) -> tuple[Decimal, str]:
        value = getattr(row, self._measure)
        size = value.value if isinstance(value, CostsResultAmount) else Decimal(value or 0)
        # The minus sign would round as the thread's context says.
        return size.copy_negate(), repr([getattr(row, name) for name in self._dimensions])

    def _rows(self, key: tuple[Any, ...], group: _Sum) -> Iterator[R]:
        known = len(self._dimensions)
        extra = dict(zip(self._unknown_dimensions, key[known:], strict=False))
        fields: dict[str, Any] = {
            **self._zeros,
            **group.flows,
            **(group.levels if group.level_start == self._level_start else {}),
            **group.notes,
            **dict(zip(self._dimensions, key[:known], strict=False)),
            "extra": Extra(extra) if extra else NO_EXTRA,
        }
        for money in group.money():
            yield self._kind(**fields, **money)
