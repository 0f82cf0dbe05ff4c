"""Bill of an organization: its usage times the prices of the catalog, exactly."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from decimal import Decimal, localcontext

import attrs

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.interval import DAY_S
from usage_async.emulator.organization import catalog, story
from usage_async.emulator.organization.leaves import Layout, Leaf
from usage_async.emulator.organization.organization import (
    Filters,
    GroupKey,
    Organization,
    Span,
    matches,
)

_MILLION_PERCENT = 10**8


@attrs.define
class Charge:
    """Cost of one group of a day.

    Attributes:
        amount: Dollars.
        quantity: Billed quantity in `unit`; meaningless over several line items.
        unit: The `quantity_unit`.
    """

    amount: Decimal
    quantity: Decimal
    unit: str


@attrs.frozen
class _Line:
    """A line item of a leaf.

    Attributes:
        line_item: Its name on the bill.
        column: The billed column of the layout.
        unit: The `quantity_unit`.
        units: Units of quantity for one in the column.
        dollars: Dollars for one in the column, at its ordinary price.
    """

    line_item: str
    column: int
    unit: str
    units: Decimal
    dollars: Decimal


def bill(
    organization: Organization, span: Span, *, group_by: Collection[str] = (), filters: Filters
) -> list[dict[GroupKey, Charge]]:
    """Charge each day of a span, by group.

    Args:
        organization: Owner of the usage.
        span: The days; its `width` is 86400.
        group_by: Dimensions of the groups; `line_item` is possible, too.
        filters: Accepted values by dimension; a dimension without a filter accepts all.

    Returns:
        For each day the charge of each group, by the group's values of `group_by`.
    """
    days: list[dict[GroupKey, Charge]] = [{} for _ in range(span.count)]
    line_items = filters.get("line_item")
    others = {name: values for name, values in filters.items() if name != "line_item"}
    with localcontext(catalog.EXACT):
        for name, profile in catalog.PROFILES.items():
            if name not in ENDPOINTS:
                continue
            layout = organization.layout(ENDPOINTS[name])
            for leaf in layout.leaves:
                if not matches(leaf, others):
                    continue
                lines = [
                    (line, tuple(_value(leaf, line, dimension) for dimension in group_by))
                    for line in _lines(profile, layout, leaf)
                    if line_items is None or line.line_item in line_items
                ]
                for index, figures in organization.leaf_usage(layout, leaf, span):
                    _charge(days[index], lines, dict(figures), span.start // DAY_S + index)
    return days


def _charge(
    day: dict[GroupKey, Charge],
    lines: list[tuple[_Line, GroupKey]],
    figures: dict[int, int],
    number: int,
) -> None:
    for line, key in lines:
        figure = figures.get(line.column, 0)
        dollars = line.dollars
        if line.line_item == story.DEARER_LINE_ITEM:
            dollars = dollars * story.price_percent(line.line_item, number) / 100
        charge = day.get(key)
        if charge is None:
            day[key] = Charge(figure * dollars, figure * line.units, line.unit)
        elif figure:
            charge.amount += figure * dollars
            charge.quantity += figure * line.units


def _value(leaf: Leaf, line: _Line, dimension: str) -> str | None:
    if dimension == "line_item":
        return line.line_item
    value = leaf.dimensions.get(dimension)
    return "unlabeled" if value is None and dimension == "api_source" else value


def _lines(profile: catalog.Profile, layout: Layout, leaf: Leaf) -> Iterator[_Line]:
    columns = layout.columns
    if leaf.model.dollars:
        name = leaf.model.line_item or leaf.dimensions["model"]
        percent = catalog.TIER_PERCENT.get(leaf.dimensions.get("service_tier", "default"), 100)
        if leaf.dimensions.get("batch"):
            percent //= 2
        for part, dollars in leaf.model.dollars.items():
            direction, unit = catalog.BILLED_AS[part]
            price = Decimal(dollars) * percent / _MILLION_PERCENT
            yield _Line(f"{name}, {direction}", columns.index(part), unit, Decimal(1), price)
    for item in profile.prices:
        price = item.units * item.dollars
        yield _Line(item.line_item, columns.index(item.part), item.unit, item.units, price)
