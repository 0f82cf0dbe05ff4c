"""Bill of an organization: its usage, priced by the catalog, exactly."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Context, Decimal, Inexact, localcontext

import attrs

from usage_async._api.endpoints import ENDPOINTS
from usage_async.emulator.organization import catalog
from usage_async.emulator.organization.leaves import Leaf, Sheet
from usage_async.emulator.organization.organization import Filters, Key, Organization, Span, matches

_EXACT = Context(prec=60, traps=[Inexact])
_MILLION_PERCENT = 10**8


@attrs.define
class Charge:
    """Cost of one group of a day.

    Attributes:
        amount: Dollars.
        quantity: Billed quantity in `unit`; without a meaning over several line items.
        unit: The `quantity_unit`.
    """

    amount: Decimal
    quantity: Decimal
    unit: str


@attrs.frozen
class _Line:
    """A line item of a leaf: the column that it bills, and what one of it is and costs."""

    line_item: str
    column: int
    unit: str
    units: Decimal
    dollars: Decimal


def bill(
    organization: Organization, span: Span, *, group_by: Collection[str] = (), filters: Filters
) -> list[dict[Key, Charge]]:
    """Give what each day costs, by group.

    Args:
        organization: Who pays.
        span: The days; their `width` is 86400.
        group_by: The dimensions to keep apart, `line_item` among them.
        filters: The only values that count, by dimension.
    """
    days: list[dict[Key, Charge]] = [{} for _ in range(span.count)]
    line_items = filters.get("line_item")
    others = {name: values for name, values in filters.items() if name != "line_item"}
    with localcontext(_EXACT):
        for name, use in catalog.USES.items():
            if name not in ENDPOINTS:
                continue
            sheet = organization.sheet(ENDPOINTS[name])
            for leaf in sheet.leaves:
                if not matches(leaf, others):
                    continue
                lines = [
                    (line, tuple(_value(leaf, line, dimension) for dimension in group_by))
                    for line in _lines(use, sheet, leaf)
                    if line_items is None or line.line_item in line_items
                ]
                for index, figures in organization.leaf_usage(sheet, leaf, span):
                    _charge(days[index], lines, dict(figures))
    return days


def _charge(
    day: dict[Key, Charge], lines: list[tuple[_Line, Key]], figures: dict[int, int]
) -> None:
    for line, key in lines:
        figure = figures.get(line.column, 0)
        charge = day.get(key)
        if charge is None:
            day[key] = Charge(figure * line.dollars, figure * line.units, line.unit)
        elif figure:
            charge.amount += figure * line.dollars
            charge.quantity += figure * line.units


def _value(leaf: Leaf, line: _Line, dimension: str) -> str | None:
    if dimension == "line_item":
        return line.line_item
    value = leaf.dimensions.get(dimension)
    return "unlabeled" if value is None and dimension == "api_source" else value


def _lines(use: catalog.Use, sheet: Sheet, leaf: Leaf) -> Iterator[_Line]:
    columns = sheet.columns
    if leaf.model.dollars:
        name = leaf.model.line_item or leaf.dimensions["model"]
        percent = catalog.TIER_PERCENT.get(leaf.dimensions.get("service_tier", "default"), 100)
        if leaf.dimensions.get("batch"):
            percent //= 2
        for part, dollars in leaf.model.dollars.items():
            direction, unit = catalog.BILLED_AS[part]
            price = Decimal(dollars) * percent / _MILLION_PERCENT
            yield _Line(f"{name}, {direction}", columns.index(part), unit, Decimal(1), price)
    for item in use.prices:
        price = item.units * item.dollars
        yield _Line(item.line_item, columns.index(item.part), item.unit, item.units, price)
