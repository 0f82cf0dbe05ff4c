"""Effects: the change of a bill, divided into volume, price, new, gone and unexplained. Pure.

Theory of operation. A *line* is one line item of one project in one currency. It has an amount, and
a quantity where every row of it has one in the same unit. The change of a line is:

- *new* or *gone*, if only one period has the line;
- *volume* and *price*, if both have it, with quantities of one unit that are not zero. The change
  of the quantity at the old price a unit is volume, all the rest is price;
- *unexplained* otherwise. It is never spread over the others.

The parts of a line add up to its change, to the last digit: price is not computed but left over.
Sums of lines are exact sums of parts, so the same holds for every group and for the whole.

Volume is computed as a fraction, and written as an exact decimal if it has one. Where an old price
is periodic, such as one third of a cent, it is rounded to 40 decimal places, and the rest counts as
price. That changes no zero: a volume that is the whole change, or none of it, is a decimal. Sums of
such fractions would be exact as well, but their denominators grow with every line: one sum of
20,000 lines would hold an event loop for 0.3 s.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import attrs

from usage_async._api.exact import EXACT
from usage_async._api.results import CostsResult
from usage_async.report.amounts import change
from usage_async.report.line_items import line_item_of

K = TypeVar("K", bound=Hashable)

_ZERO = Decimal(0)
_PLACES = 40


@attrs.frozen(kw_only=True)
class Effects:
    """Parts of a change, in the currency of the bill; they add up to the change exactly.

    Attributes:
        volume: More or less of the same, at the old price.
        price: The same at another price.
        new: Lines that the period before lacks.
        gone: Lines that only the period before has; negative for what was billed.
        unexplained: Lines without quantities that can be compared.
    """

    volume: Decimal = _ZERO
    price: Decimal = _ZERO
    new: Decimal = _ZERO
    gone: Decimal = _ZERO
    unexplained: Decimal = _ZERO

    @property
    def total(self) -> Decimal:
        """The change."""
        return sum_exactly(getattr(self, name) for name in PARTS)


PARTS = tuple(a.name for a in attrs.fields(Effects))
"""Names of the parts of a change."""


@attrs.frozen(kw_only=True)
class Cause:
    """The largest part of a change, in the direction of that change.

    Attributes:
        line_item: The line item that changed most in the direction of the whole; None for what no
            line item accounts for.
        effect: Name of its largest effect in that direction, as in `Effects`.
        amount: Amount of that effect.
    """

    line_item: str | None
    effect: str
    amount: Decimal


@attrs.frozen(kw_only=True)
class LineChange:
    """The change of one line item of one project.

    Attributes:
        line_item: Its name, in one spelling; None for what no line item accounts for.
        project_id: Its project.
        unit: Unit of the quantities; None where they are not comparable, or have no unit.
        quantity_before: Quantity of the period before; None where it is not known.
        quantity: Quantity of the period.
        before: Amount of the period before.
        amount: Amount of the period.
        credits: The rows below zero in it, which are part of the amount.
        effects: Parts of the change.
    """

    line_item: str | None
    project_id: str | None
    unit: str | None = None
    quantity_before: Decimal | None = None
    quantity: Decimal | None = None
    before: Decimal = _ZERO
    amount: Decimal = _ZERO
    credits: Decimal = _ZERO
    effects: Effects = Effects()

    @property
    def model(self) -> str | None:
        """The model, or the line item where that names no model."""
        return None if self.line_item is None else line_item_of(self.line_item).subject


Key = tuple[str | None, str | None]
"""Line item and project."""


@attrs.define
class _Line:
    """Sums of one line over one period.

    Attributes:
        amounts: Sum by currency.
        credits: Sum of the amounts below zero by currency.
        quantities: Sum by currency, None for rows without an amount, and unit.
        is_counted: False if a row with an amount has no quantity.
    """

    amounts: dict[str, Decimal] = attrs.field(factory=dict)
    credits: dict[str, Decimal] = attrs.field(factory=dict)
    quantities: dict[tuple[str | None, str | None], Decimal] = attrs.field(factory=dict)
    is_counted: bool = True

    def add(self, row: CostsResult) -> None:
        currency = None
        if row.amount is not None:
            currency = row.amount.currency.lower()
            so_far = self.amounts.get(currency, _ZERO)
            self.amounts[currency] = EXACT.add(so_far, row.amount.value)
            if row.amount.value < 0:
                so_far = self.credits.get(currency, _ZERO)
                self.credits[currency] = EXACT.add(so_far, row.amount.value)
        if row.quantity is not None:
            key = currency, row.quantity_unit
            self.quantities[key] = EXACT.add(self.quantities.get(key, _ZERO), row.quantity)
        elif row.amount_value:
            self.is_counted = False

    def side(self, currency: str) -> Side | None:
        """Give the sums in one currency; None if nothing was billed or counted."""
        of = (currency, None) if set(self.amounts) <= {currency} else (currency,)
        found = {key: value for key, value in self.quantities.items() if key[0] in of and value}
        units = {unit for _, unit in found}
        amount = self.amounts.get(currency, _ZERO)
        if not amount and not found:
            return None
        # A quantity without an amount has no currency: where there are several, it may be of any.
        is_torn = len(self.amounts) > 1 and any(
            key[0] is None and value for key, value in self.quantities.items()
        )
        if not self.is_counted or is_torn or len(units) > 1:
            return Side(amount)
        return Side(amount, sum_exactly(found.values()), next(iter(units), None))


@attrs.frozen
class Side:
    """A line in one period.

    Attributes:
        amount: What was billed.
        quantity: How much of it; None where that is not known.
        unit: Its unit; None where the service sent none.
    """

    amount: Decimal
    quantity: Decimal | None = None
    unit: str | None = None


def split(before: Side | None, after: Side | None) -> Effects:
    """Divide the change of a line.

    Args:
        before: The line in the period before; None where it has none.
        after: The line in the period.
    """
    if before is None or after is None:
        return Effects(
            new=_ZERO if after is None else after.amount,
            gone=_ZERO if before is None else before.amount.copy_negate(),
        )
    whole = change(after.amount, before.amount)
    if not before.quantity or not after.quantity or before.unit != after.unit:
        return Effects(unexplained=whole)
    more = Fraction(after.quantity) - Fraction(before.quantity)
    volume = _decimal(Fraction(before.amount) * more / Fraction(before.quantity))
    return Effects(volume=volume, price=change(whole, volume))


def changes_of(
    before: Iterable[CostsResult], after: Iterable[CostsResult]
) -> dict[str, list[LineChange]]:
    """Divide the change of each line, by currency.

    Args:
        before: Costs of the period before by project and line item, in any number of rows.
        after: Costs of the period.
    """
    old, new = _lines(before), _lines(after)
    found: dict[str, list[LineChange]] = {}
    for key in dict.fromkeys((*new, *old)):
        sides = old.get(key, _Line()), new.get(key, _Line())
        for currency in dict.fromkeys((*sides[1].amounts, *sides[0].amounts)):
            was, is_ = sides[0].side(currency), sides[1].side(currency)
            if was is not None or is_ is not None:
                line = _changed(key, was, is_)
                credits_ = sides[1].credits.get(currency, _ZERO)
                found.setdefault(currency, []).append(attrs.evolve(line, credits=credits_))
    return found


def rest(before: Decimal, amount: Decimal) -> LineChange:
    """Make the line of what no line item accounts for."""
    effects = Effects(unexplained=change(amount, before))
    return LineChange(
        line_item=None, project_id=None, before=before, amount=amount, effects=effects
    )


def grouped(
    lines: Iterable[LineChange], key: Callable[[LineChange], K]
) -> Mapping[K, tuple[Decimal, Decimal, Effects]]:
    """Add lines up by a key: the amount before, the amount, and the effects."""
    found: dict[K, list[LineChange]] = {}
    for line in lines:
        found.setdefault(key(line), []).append(line)
    return {group: summed(of) for group, of in found.items()}


class Changed(Protocol):
    """A line or a sum: its amounts in both periods, and the parts of the change."""

    @property
    def before(self) -> Decimal:
        """Amount of the period before."""
        ...

    @property
    def amount(self) -> Decimal:
        """Amount of the period."""
        ...

    @property
    def effects(self) -> Effects:
        """Parts of the change."""
        ...


def summed(lines: Iterable[Changed]) -> tuple[Decimal, Decimal, Effects]:
    """Add lines up: the amount before, the amount, and the effects."""
    lines = list(lines)
    parts: Any = {
        name: sum_exactly(getattr(line.effects, name) for line in lines) for name in PARTS
    }
    before = sum_exactly(line.before for line in lines)
    return before, sum_exactly(line.amount for line in lines), Effects(**parts)


def sum_exactly(amounts: Iterable[Decimal]) -> Decimal:
    """Add amounts up, to the last digit."""
    result = _ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return change(result, _ZERO)


def _lines(rows: Iterable[CostsResult]) -> dict[Key, _Line]:
    lines: dict[Key, _Line] = {}
    for row in rows:
        name = None if row.line_item is None else line_item_of(row.line_item).name
        lines.setdefault((name, row.project_id), _Line()).add(row)
    return lines


def _changed(key: Key, before: Side | None, after: Side | None) -> LineChange:
    name, project_id = key
    was, is_ = before or Side(_ZERO), after or Side(_ZERO)
    if name is None:
        # Rows without a line item may be of any: they cannot be called new or gone.
        return attrs.evolve(rest(was.amount, is_.amount), project_id=project_id)
    known = [side for side in (before, after) if side is not None]
    units = {side.unit for side in known if side.quantity is not None}
    return LineChange(
        line_item=name,
        project_id=project_id,
        unit=units.pop() if len(units) == 1 else None,
        quantity_before=was.quantity,
        quantity=is_.quantity,
        before=was.amount,
        amount=is_.amount,
        effects=split(before, after),
    )


def _decimal(value: Fraction) -> Decimal:
    """Write a fraction as a decimal: exactly where it has one, else rounded half to even."""
    denominator, fives = value.denominator, 0
    twos = (denominator & -denominator).bit_length() - 1
    denominator >>= twos
    while denominator % 5 == 0:
        denominator //= 5
        fives += 1
    places = max(twos, fives) if denominator == 1 else _PLACES
    return change(EXACT.scaleb(Decimal(round(value * 10**places)), -places), _ZERO)
