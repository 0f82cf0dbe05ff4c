"""Sentences about the change of a bill, as a person would say them, each with its figure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Context, Decimal

from usage_async._api.exact import plain
from usage_async.report.amounts import change, total
from usage_async.report.arithmetic import times
from usage_async.report.changes import BillChange, GroupChange, KeyChange, PriceStep
from usage_async.report.effects import Effects, LineChange
from usage_async.report.formatting import clean, legible, money, percent
from usage_async.report.insight import UnusualDay
from usage_async.report.line_items import line_item_of
from usage_async.report.values import Explanation
from usage_async.report.wording import NOT_ATTRIBUTED

MOST = 5
"""The most sentences about one bill."""

_ZERO = Decimal(0)
_HALF_CENT = Decimal("0.005")
_FOUR_DIGITS = Context(prec=4, Emax=10**6, Emin=-(10**6), rounding=ROUND_HALF_EVEN, traps=[])

_PRICED = {
    "tokens": (10**6, "million tokens"),
    "1000_tokens": (10**3, "million tokens"),
    "duration_seconds": (1, "second"),
    "duration_minutes": (1, "minute"),
    "duration_hours": (1, "hour"),
}
"""Units of quantities whose prices are of another number, or have another name."""

_PARTS = {
    "volume": "volume",
    "price": "price",
    "new": "new lines",
    "gone": "gone lines",
    "unexplained": "unexplained",
}


def sentences(explanation: Explanation) -> list[str]:
    """Tell in at most five sentences for each currency why the bill changed.

    Control characters in names are escaped, since people print sentences.
    """
    return [line for bill in explanation.bills for line in sentences_on(bill)]


def sentences_on(bill: BillChange) -> list[str]:
    """Tell in at most five sentences why the bill changed."""
    if not bill.is_explained:
        return [f"{_change_text(bill)}."]
    found = [_headline(bill), *_on_price(bill), *_on_models(bill), *_on_keys(bill)]
    return [legible(each) for each in [*found, *_on_volume(bill)][:MOST]]


def parts_text(effects: Effects, currency: str) -> str:
    """Write the parts of a change that are not zero: `volume +$2.00, price -$1.00`."""
    return ", ".join(
        f"{word} {money(part, currency, sign=True)}"
        for name, word in _PARTS.items()
        if (part := getattr(effects, name))
    )


def _headline(bill: BillChange) -> str:
    of = bill.currency
    if bill.amount == bill.before:
        parts = parts_text(bill.effects, of)
        return f"{_change_text(bill)}, with {parts}." if parts else f"{_change_text(bill)}."
    return f"{_change_text(bill)}: {parts_text(bill.effects, of)}."


def _change_text(bill: BillChange) -> str:
    """Tell how much a bill changed."""
    of = bill.currency
    if bill.amount == bill.before:
        return f"The bill is what it was: {money(bill.amount, of)}"
    verb = "rose" if bill.amount > bill.before else "fell"
    size = change(bill.amount, bill.before).copy_abs()
    share = percent(size, bill.before.copy_abs())
    figures = f"{money(size, of)} ({share})" if share else money(size, of)
    return (
        f"The bill {verb} by {figures}, from {money(bill.before, of)} to {money(bill.amount, of)}"
    )


def _on_price(bill: BillChange) -> Iterator[str]:
    models = [each for each in bill.models if each.id is not None and _is_told(each.effects.price)]
    if not models:
        return
    most = max(models, key=lambda each: each.effects.price.copy_abs())
    effect = most.effects.price
    steps = [
        each
        for each in bill.steps
        if line_item_of(each.line_item).subject == most.id
        # A step that is less than half of the effect would not tell it.
        and change(effect, each.effect).copy_abs() <= each.effect.copy_abs()
    ]
    if steps:
        step = max(steps, key=lambda each: each.effect.copy_abs())
        yield f"{step.line_item} {_step_text(step, bill.currency)}."
        return
    lines = [line for line in bill.lines if line.model == most.id and line.effects.price]
    is_one_way = all(
        (line.effects.price > 0) is (effect > 0) and min(line.before, line.amount) >= 0
        for line in lines
    )
    word = ("A higher" if effect > 0 else "A lower") if is_one_way else "Another"
    yield f"{word} price a unit of {most.id} {_adds(effect, bill.currency)}."


def _step_text(step: PriceStep, currency: str) -> str:
    share = percent(change(step.price, step.before).copy_abs(), step.before)
    word = "more" if step.price > step.before else "less"
    # A price that was zero has no share.
    moved = f"{share} {word}" if share else word
    figures = f"{price_text(step.before, step.unit, currency)} to"
    return (
        f"costs {moved} from {step.day} on ({figures}"
        f" {price_text(step.price, step.unit, currency)}), which {_adds(step.effect, currency)}"
    )


def price_text(price: Decimal, unit: str | None, currency: str) -> str:
    """Write a price a unit; tokens are priced by the million."""
    count, name = _PRICED.get(unit or "", (1, (unit or "unit").removesuffix("s").replace("_", " ")))
    return f"{_price(times(price, count), currency)} per {name}"


def _price(price: Decimal, currency: str) -> str:
    """Write a price with four digits, but not less than cents."""
    rounded = _FOUR_DIGITS.plus(price)
    if not rounded or rounded.copy_abs() >= 1:
        return money(price, currency)
    text = plain(rounded)
    text = text.ljust(text.index(".") + 3, "0")
    return f"${text}" if currency == "usd" else f"{text} {clean(currency.upper())}"


def _adds(effect: Decimal, currency: str) -> str:
    size = money(effect.copy_abs(), currency)
    return f"adds {size}" if effect > 0 else f"takes {size} off"


def _on_models(bill: BillChange) -> Iterator[str]:
    """Tell of what is wholly new and wholly gone, the largest of each."""
    named = [each for each in bill.models if each.id is not None]
    new = [each for each in named if each.effects.new and each.effects.new == each.amount]
    gone = [
        each
        for each in named
        if each.effects.gone and each.effects.gone.copy_negate() == each.before
    ]
    new = [each for each in new if not each.before]
    gone = [each for each in gone if not each.amount]
    told = [
        f"{most.id} is {word} {money(getattr(most, field), bill.currency)}"
        for word, field, groups in (("new with", "amount", new), ("gone with", "before", gone))
        if (most := max(groups, key=_size, default=None)) is not None
    ]
    if told:
        yield f"{', and '.join(told)}{_others(len(new) + len(gone) - len(told))}."


def _size(group: GroupChange) -> Decimal:
    return max(group.amount.copy_abs(), group.before.copy_abs())


def _others(count: int) -> str:
    return f"; {count} more came or went" if count else ""


def _on_keys(bill: BillChange) -> Iterator[str]:
    keys = [each for each in bill.keys if each.id is not None and each.amount != each.before]
    if not keys:
        return
    # A key that ran away in the period is news; one that did so before it is only less.
    key = next((each for each in keys if each.days and each.amount > each.before), keys[0])
    size = money(change(key.amount, key.before).copy_abs(), bill.currency)
    word = "more" if key.amount > key.before else "less"
    where = f" of {key.project_name or key.project_id}" if key.project_id else ""
    yield f"The API key {key.name or key.id}{where} spent {size} {word}{_on_days(key, bill)}."


def _on_days(key: KeyChange, bill: BillChange) -> str:
    if not key.days or key.amount < key.before:
        return ""
    over = total(change(day.amount, day.usual) for day in key.days)
    above = money(over, bill.currency)
    if over > change(key.amount, key.before):
        return f", with {above} above the usual on {_days_text(key.days)}"
    return f", {above} of it above the usual on {_days_text(key.days)}"


def _days_text(days: Iterable[UnusualDay]) -> str:
    dates = [each.day for each in days]
    if len(dates) == 1:
        return str(dates[0])
    if (dates[-1] - dates[0]).days == len(dates) - 1:
        return f"{dates[0]} to {dates[-1]}"
    return f"{len(dates)} days, the first of them {dates[0]}"


def _on_volume(bill: BillChange) -> Iterator[str]:
    models = [each for each in bill.models if _is_told(each.effects.volume)]
    if not models:
        return
    most = max(models, key=lambda each: each.effects.volume.copy_abs())
    effect = most.effects.volume
    busiest = max(bill.projects, key=lambda each: each.effects.volume.copy_abs())
    where = ""
    if len(bill.projects) > 1 and busiest.effects.volume:
        name = busiest.name or busiest.id or NOT_ATTRIBUTED
        figure = money(busiest.effects.volume, bill.currency, sign=True)
        where = f"; the largest volume effect of a project is that of {name} ({figure})"
    told = _use_text([line for line in bill.lines if line.model == most.id], most, effect)
    yield f"{told} {_adds(effect, bill.currency)}{where}."


def _use_text(lines: Iterable[LineChange], model: GroupChange, effect: Decimal) -> str:
    """Name the use of a model: more or less of it only where its quantities say so as well.

    A model that is used more can cost less, such as with more of its cheap cached input.
    """
    moved: dict[str | None, Decimal] = {}
    for line in lines:
        if not line.effects.unexplained:
            more = change(line.quantity or _ZERO, line.quantity_before or _ZERO)
            moved[line.unit] = total((moved.get(line.unit, _ZERO), more))
    signs = {more > 0 for more in moved.values() if more}
    word = ("More" if effect > 0 else "Less") if signs == {effect > 0} else "Other"
    return f"{word} use of {model.id or NOT_ATTRIBUTED}"


def _is_told(effect: Decimal) -> bool:
    """Tell if an effect is not zero as sentences write it."""
    return effect.copy_abs() >= _HALF_CENT
