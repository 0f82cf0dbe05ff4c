"""Exact sums over buckets. Pure.

Sums are computed in a decimal context of this library, which never rounds: a sum is exact, or it is
an error. The decimal context of the thread does not matter.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from copy import copy
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from usage_async._api.codegen import maker, reader
from usage_async._api.exact import EXACT, NO_EXTRA, Extra, exact_decimal, short_repr
from usage_async._api.fields import FIGURES, fields_of
from usage_async._api.pages import (
    Notice,
    UsageTimeBucket,
)
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._api.results import (
    CostsResult,
    CostsResultAmount,
    UnknownResult,
    UsageResult,
)
from usage_async._query.times import TimeRange, iso
from usage_async.errors import IncompleteError, MixedCurrencyError, QueryError, UsageError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

R = TypeVar("R", bound=UsageResult)

_ZERO = Decimal(0)

_MONEY = ("amount", "quantity", "quantity_unit")
"""Fields of money, whose sums have rules of their own."""

_STEP_ROWS = 1000
"""Rows that are added up in one step: some 3 ms."""


def add(one: Decimal, other: Decimal) -> Decimal:
    """Add two Decimals exactly.

    Raises:
        UsageError: The exact sum is outside of the range of an amount.
    """
    return _checked(EXACT.add(one, other))


def _checked(value: Decimal) -> Decimal:
    try:
        return exact_decimal(value)
    except ValueError:
        raise UsageError("these amounts have no exact sum that is a plain decimal") from None


def check_kinds(bucket: UsageTimeBucket[Any]) -> None:
    """Check that a bucket holds rows of its own kind only.

    Raises:
        IncompleteError: It holds rows of another kind, whose figures cannot be added or compared.
    """
    if bucket.other_results:
        # The kinds are text of the service, which only the notices of the stream redact and quote.
        msg = f"the bucket that starts at {bucket.start} holds rows of another kind"
        raise IncompleteError(msg, differing=[bucket.start_time])


def _tuple(groups: Iterable[R]) -> tuple[R, ...]:
    return tuple(groups)


@attrs.frozen
class Summary(Generic[R]):
    """A total, its groups, and how far to trust them.

    Attributes:
        total: Sum of all rows.
        groups: Sum of each group, the largest first. They add up to the total.
        requested: Range that was asked for.
        covered: Range from the first bucket that came to the end of the last; None if none came.
        settled_through: Instant before which no figure is expected to change; None if all may.
        as_of: Instant at which the run began.
        notices: Facts about the figures that a careful reader should know.
    """

    total: R
    groups: tuple[R, ...] = attrs.field(converter=_tuple)
    requested: TimeRange
    covered: TimeRange | None
    settled_through: datetime | None
    as_of: datetime
    notices: tuple[Notice, ...]

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    def _repr_html_(self) -> str:
        """Show the groups, the total, the range and the notices in a notebook."""
        from html import escape

        from usage_async._api.notebook import html_of_results

        told = "".join(f"<li>{escape(notice.message)}</li>" for notice in self.notices)
        when = "no figures"
        if self.covered is not None:
            when = f"{iso(self.covered.start_time)} to {iso(self.covered.end_time)}"
        table = html_of_results(self.groups, self.total)
        return f"<p>{when}</p>{table}" + (f"<ul>{told}</ul>" if told else "")

    def to_arrow(self, *, exact: bool = False) -> Table:
        """Make an Arrow table of the groups, without times; its metadata name the notices.

        Args:
            exact: As in `UsageQuery.to_arrow`.

        Raises:
            ConfigurationError: pyarrow is not installed.
            UsageError: A figure does not fit into its column.
        """
        from usage_async._codec.tables import about, to_arrow

        facts = about(
            self.notices,
            start_time=iso(self.requested.start_time),
            end_time=iso(self.requested.end_time),
            as_of=iso(int(self.as_of.timestamp())),
        )
        return to_arrow(self.groups, type(self.total), exact=exact).replace_schema_metadata(facts)


_Unit = tuple[str | None, str | None]
_UNKNOWN_UNIT: _Unit = (None, None)
_DIFFERENT = object()
"""Value of a note on which the rows of a group differ."""


@attrs.define(eq=False)
class _Sum:
    """Sums of one group, in the order in which `Totals` names the fields.

    Attributes:
        flows: Sum of each flow; None until a row has it.
        notes: Value of each note on which all rows that have it agree; else `_DIFFERENT`.
        levels: Sum of each level within the bucket that starts at `level_start`.
        amounts: Sum of the amounts by currency.
        quantities: Sum of the quantities by currency and unit; None if their units are unknown.
    """

    flows: tuple[int | None, ...]
    notes: tuple[Any, ...]
    levels: tuple[int | None, ...] = ()
    level_start: int | None = None
    amounts: dict[str, Decimal] = attrs.field(factory=dict)
    quantities: dict[tuple[str | None, _Unit], Decimal | None] = attrs.field(factory=dict)

    def add_levels(self, levels: tuple[int | None, ...], start: int) -> None:
        fresh = self.level_start != start
        self.levels, self.level_start = levels if fresh else _added(self.levels, levels), start

    def add_money(self, row: CostsResult) -> None:
        currency = None
        if row.amount is not None:
            # `USD` and `usd` are the same currency.
            currency = row.amount.currency.lower()
            so_far = self.amounts.get(currency, _ZERO)
            self.amounts[currency] = EXACT.add(so_far, row.amount.value)
        if row.quantity is not None:
            # Quantities without a unit are known to have the same one only within a line item.
            unit = (row.quantity_unit, None if row.quantity_unit else row.line_item)
            self.add_quantity(currency, unit, row.quantity)

    def add_quantity(self, currency: str | None, unit: _Unit, value: Decimal | None) -> None:
        key = (currency, unit)
        so_far = self.quantities.get(key)
        if key not in self.quantities:
            self.quantities[key] = value
        elif unit == _UNKNOWN_UNIT or so_far is None or value is None:
            self.quantities[key] = None
        else:
            self.quantities[key] = EXACT.add(so_far, value)

    def without_zeros(self) -> _Sum:
        """Drop amounts of zero, which add nothing to others; keep one of them if all are zero."""
        amounts = {currency: value for currency, value in self.amounts.items() if value}
        if not amounts and self.amounts:
            amounts = {min(self.amounts): _ZERO}
        bare = attrs.evolve(self, amounts=amounts, quantities={})
        for (currency, unit), value in self.quantities.items():
            bare.add_quantity(currency if currency in amounts else None, unit, value)
        return bare

    def money(self) -> Iterator[_Money]:
        """Give amount, quantity and unit, once for each currency."""
        several = len(self.amounts) > 1
        unpaid = _NO_AMOUNT if several and any(of is None for of, _ in self.quantities) else ()
        for currency, value in [*self.amounts.items(), *unpaid] or _NO_AMOUNT:
            yield _amount(currency, value), *self._quantity({currency} if several else None)

    def _quantity(self, of: set[str | None] | None) -> tuple[Decimal | None, str | None]:
        """Give the quantity of some currencies, or of all, and its unit."""
        if not self.quantities:
            return None, None
        found = [(u, q) for (key, u), q in self.quantities.items() if of is None or key in of]
        units = {unit for unit, _ in found}
        if len(units) != 1 or (len(found) > 1 and _UNKNOWN_UNIT in units):
            return None, None
        values = [value for _, value in found if value is not None]
        return _checked(reduce(EXACT.add, values)) if values else None, found[0][0][0]


_Money = tuple[CostsResultAmount | None, Decimal | None, str | None]
_NO_AMOUNT = ((None, _ZERO),)
_make_amount = maker(CostsResultAmount, ("value", "currency"))


def _amount(currency: str | None, value: Decimal) -> CostsResultAmount | None:
    return None if currency is None else _make_amount(_checked(value), currency)


def _added(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> tuple[int | None, ...]:
    return tuple(
        [a if b is None else b if a is None else a + b for a, b in zip(one, other, strict=True)]
    )


def _agreed(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        a if b is None or a == b else b if a is None else _DIFFERENT
        for a, b in zip(one, other, strict=True)
    )


class Totals(Generic[R]):
    """Sums of buckets that are added by rising start, grouped by dimensions and by currency.

    Flows are added up over all buckets. Levels are added up over the rows of a single bucket: the
    last bucket that has ended, or the running one if none has. A bucket without rows counts as
    zero.

    Quantities are added up within one unit. Quantities without a unit are added up within one line
    item; several of them without a line item have no sum. A note is kept if all rows that have it
    agree, and if the groups keep apart what it describes: `project_name` is kept in the sum of one
    project. Currencies become lowercase.

    Args:
        kind: Class of the rows.
        measure: Metric by which the groups are ranked.
        dimensions: Dimensions to group by. One that is not a field of the class is looked up in
            `extra`.
        as_of: Unix seconds at which the run began. Buckets that end later are running.

    Raises:
        IncompleteError: This release does not know the metrics of the kind.
        QueryError: A dimension is a metric, by which rows cannot be grouped.
    """

    def __init__(
        self, kind: type[R], measure: str, dimensions: Sequence[str] = (), *, as_of: int
    ) -> None:
        if kind is UnknownResult:
            raise IncompleteError(
                "this release does not know how to add up results of an unknown kind"
            )
        fields = {a.name: a for a in fields_of(kind) if a.name != "extra"}
        figures = {a.name for a in fields_of(kind, *FIGURES)}
        for name in dimensions:
            if name in figures:
                raise QueryError(f"{name!r} is a metric, which is added up; group by a dimension")
        known = [name for name in dict.fromkeys(dimensions) if name in fields]
        flows = [a.name for a in fields_of(kind, "flow")]
        levels = [a.name for a in fields_of(kind, "level")]
        notes = {
            a.name: a.metadata["describes"]
            for a in fields_of(kind, "note")
            if a.name not in ("object", "extra", *known)
        }
        notes = {name: of for name, of in notes.items() if not of or of in known}
        money = [name for name in _MONEY if name in fields and name not in known]
        zeros: dict[str, Any] = {
            name: 0 for name, a in fields.items() if a.default is attrs.NOTHING
        }
        self._measure = measure
        self._unknown_dimensions = [n for n in dict.fromkeys(dimensions) if n not in fields]
        self._read_key, self._read_flows = reader(known), reader(flows)
        self._read_levels, self._read_notes = reader(levels), reader(notes)
        self._no_levels = tuple(zeros.get(name) for name in levels)
        self._described = [known.index(of) if of else None for of in notes.values()]
        self._key_width, self._money_width = len(known), len(money)
        made: Any = kind
        self._make = maker(made, (*known, *flows, *levels, *notes, *money, "extra"))
        self._nothing: R = kind(**zeros)
        self._sums: dict[tuple[Any, ...], _Sum] = {}
        self._as_of = as_of
        self._level_start: int | None = None

    def emptied(self) -> Totals[R]:
        """Give sums of the same kind to which nothing was added, without compiling anything."""
        other = copy(self)
        vars(other).update(_sums={}, _level_start=None)
        return other

    def add(self, bucket: UsageTimeBucket[R]) -> None:
        """Add a bucket.

        Raises:
            IncompleteError: The bucket holds rows of another kind.
        """
        for _ in self.add_in_steps(bucket):
            pass

    def add_in_steps(self, bucket: UsageTimeBucket[R]) -> Generator[None, None, None]:
        """Add a bucket step by step, since a large one would block an event loop.

        Raises:
            IncompleteError: The bucket holds rows of another kind.
        """
        check_kinds(bucket)
        if self._level_start is None or bucket.end_time <= self._as_of:
            self._level_start = bucket.start_time
        for start in range(0, len(bucket.results), _STEP_ROWS):
            if start:
                yield
            self._add_rows(bucket.results[start : start + _STEP_ROWS], bucket.start_time)

    def _add_rows(self, rows: Sequence[R], start: int) -> None:
        has_levels = bool(self._no_levels) and start == self._level_start
        unknown = self._unknown_dimensions
        for row in rows:
            key = self._read_key(row)
            if unknown:
                key = (*key, *[row.extra.get(name) for name in unknown])
            flows, notes = self._read_flows(row), self._read_notes(row)
            group = self._sums.get(key)
            if group is None:
                group = self._sums[key] = _Sum(flows, notes)
            else:
                group.flows = _added(group.flows, flows)
                if notes != group.notes:
                    group.notes = _agreed(group.notes, notes)
            if has_levels:
                group.add_levels(self._read_levels(row), start)
            if isinstance(row, CostsResult):
                group.add_money(row)

    def groups(self) -> list[R]:
        """Give the sum of each group, the largest first."""
        steps = self.groups_in_steps()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                groups: list[R] = done.value
                return groups

    def groups_in_steps(self) -> Generator[None, None, list[R]]:
        """Give the sum of each group, the largest first, step by step."""
        rows: list[R] = []
        ranks: list[tuple[Any, ...]] = []
        for number, (key, group) in enumerate(self._sums.items(), 1):
            for row in self._rows(key, group):
                rows.append(row)
                ranks.append((*self._rank(row), repr(key)))
            if number % _STEP_ROWS == 0:
                yield
        order = sorted(range(len(rows)), key=ranks.__getitem__)
        yield
        return [rows[number] for number in order]

    def total(self) -> R:
        """Give the sum of all rows; zeros if there were none.

        Amounts of zero do not count as amounts in another currency.

        Raises:
            MixedCurrencyError: There are amounts in several currencies.
        """
        sums = {key: group.without_zeros() for key, group in self._sums.items()}
        rows = [row for key, group in sums.items() for row in self._rows(key, group)]
        if len(rows) > 1:
            currencies = sorted({name for group in sums.values() for name in group.amounts})
            msg = f"amounts in {', '.join(currencies)} have no single sum; use totals()"
            raise MixedCurrencyError(msg, currencies=currencies)
        return rows[0] if rows else self._nothing

    def _rank(self, row: R) -> tuple[Any, ...]:
        value = getattr(row, self._measure)
        if not isinstance(value, CostsResultAmount):
            return -(value or 0), 0
        # `-value` would round in the thread's context. Floats sort four times as fast as Decimals,
        # which only break ties; 40,000 groups would block an event loop.
        exact = value.value.copy_negate()
        return float(exact), exact

    def _rows(self, key: tuple[Any, ...], group: _Sum) -> Iterator[R]:
        width = self._key_width
        levels = group.levels if group.level_start == self._level_start else self._no_levels
        notes = [
            None if note is _DIFFERENT or (of is not None and key[of] is None) else note
            for note, of in zip(group.notes, self._described, strict=True)
        ]
        extra = NO_EXTRA
        if self._unknown_dimensions:
            extra = Extra(dict(zip(self._unknown_dimensions, key[width:], strict=True)))
        for money in group.money():
            made: R = self._make(
                *key[:width], *group.flows, *levels, *notes, *money[: self._money_width], extra
            )
            yield made
