"""Values of the change of a bill. Pure."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import attrs

from usage_async.report.effects import Effects, LineChange
from usage_async.report.insight import UnusualDay

KEYS_TOLD = 5
"""API keys that moved most, whose days are looked at, and of which one may be told."""


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
        is_explained: False if days of it, or their line items, are not known. What seems gone, or
            less, may then be on these days, and sentences tell the change alone.
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
    is_explained: bool = True
