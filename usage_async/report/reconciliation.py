"""Reconciliation: what was billed beside what usage reports, for each day and model. Pure.

A line item names a model and a direction, such as `gpt-5.2, cached input`. `_METERS` has the fields
of usage for each direction. Where usage does not divide its tokens by modality, `input` is the
input that was neither cached nor written to the cache. Both sides are counted in the unit of usage:
billed minutes become seconds. A quantity in any other unit has no partner, and no sum holds two
units.

Differences are normal: the service revises both sides, at different times, and counts some calls on
one side only. They are shown, and never corrected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import attrs

from usage_async._api.exact import EXACT
from usage_async._api.results import CostsResult
from usage_async._query.times import TimeRange
from usage_async.report.amounts import change
from usage_async.report.arithmetic import times
from usage_async.report.effects import sum_exactly
from usage_async.report.line_items import LineItem, line_item_of
from usage_async.report.spec import ReportSpec, day_of
from usage_async.report.values import Blank, Section, days_not_sent, revised_from

_ZERO = Decimal(0)

_METERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "input": (
        ("input_text_tokens",),
        ("input_uncached_tokens", "input_audio_tokens", "input_image_tokens"),
        (
            "input_tokens",
            "input_cached_tokens",
            "input_cache_write_tokens",
            "input_audio_tokens",
            "input_image_tokens",
        ),
    ),
    "cached input": (
        ("input_cached_text_tokens",),
        ("input_cached_tokens", "input_cached_audio_tokens", "input_cached_image_tokens"),
    ),
    "cache write": (
        ("input_cache_write_30m_tokens",),
        ("input_cache_write_tokens", "input_cache_write_12h_tokens"),
    ),
    "cache write 12h": (("input_cache_write_12h_tokens",),),
    "output": (
        ("output_text_tokens",),
        ("output_tokens", "output_audio_tokens", "output_image_tokens"),
    ),
    "audio input": (("input_audio_tokens",),),
    "cached audio input": (("input_cached_audio_tokens",),),
    "audio output": (("output_audio_tokens",),),
    "image input": (("input_image_tokens",),),
    "cached image input": (("input_cached_image_tokens",),),
    "image output": (("output_image_tokens",),),
    "images": (("images",),),
    "characters": (("characters",),),
    "duration": (("seconds",),),
}
"""The usage for each direction of a line item. Each way names a metric, and those to take off it;
the first way whose metric a row has is taken."""
_SPELLINGS = {"cache write 30m": "cache write", "seconds": "duration", "image": "images"}

_MULTIPLES: Mapping[str | None, tuple[str, int]] = {
    "1000_tokens": ("tokens", 1000),
    "duration_minutes": ("duration_seconds", 60),
    "duration_hours": ("duration_seconds", 3600),
}
"""Units of bills, in units of usage."""
_UNITS: Mapping[str, str] = {
    "images": "images",
    "characters": "characters",
    "duration": "duration_seconds",
}
"""The unit of usage for each direction that is not counted in tokens."""
_MEASURES = frozenset({"tokens", "gibibyte_hours", *_UNITS.values()})
"""Units that are no calls or sessions."""

_TOOLS: Mapping[str, tuple[str, str]] = {
    "web search tool calls": ("web_search_calls", "num_requests"),
    "file search tool calls": ("file_search_calls", "num_requests"),
    "code interpreter sessions": ("code_interpreter_sessions", "num_sessions"),
}
"""Line items without a model: the endpoint that counts them, and its metric."""

MODEL_ENDPOINTS = (
    "completions",
    "decisions",
    "embeddings",
    "moderations",
    "images",
    "audio_speeches",
    "audio_transcriptions",
)
"""Endpoints whose figures are billed by model."""
TOOL_ENDPOINTS = tuple(endpoint for endpoint, _ in _TOOLS.values())
"""Endpoints whose figures are billed as calls and sessions."""


@attrs.frozen(kw_only=True)
class Pair:
    """One line of the bill on one day, beside what usage reports of it.

    Attributes:
        day: The day, UTC.
        line_item: The line item, in one spelling; for what is reported only, as it would be called.
        unit: Unit of the billed quantity: tokens rather than thousands of them, and seconds rather
            than minutes; None where nothing is billed, or it has none.
        billed: Billed quantity; None where nothing is billed, or the quantity is not known.
        reported: What usage reports; None where it reports nothing of this kind.
        amounts: What was billed, by currency.
    """

    day: date
    line_item: str
    unit: str | None = None
    billed: Decimal | None = None
    reported: Decimal | None = None
    amounts: tuple[tuple[str, Decimal], ...] = ()

    @property
    def model(self) -> str:
        """The model, or the line item where that names no model."""
        return line_item_of(self.line_item).subject

    @property
    def has_partner(self) -> bool:
        """True if both sides know it."""
        return self.billed is not None and self.reported is not None

    @property
    def difference(self) -> Decimal | None:
        """The billed quantity less the reported one; None without a partner."""
        if self.billed is None or self.reported is None:
            return None
        return change(self.billed, self.reported)


@attrs.frozen(kw_only=True)
class LineSum:
    """All days of one line item in one unit.

    Attributes:
        line_item: The line item.
        unit: Unit of the quantities; None where the bill has none.
        billed: Billed quantity of the days on which both sides know it.
        reported: Reported quantity of these days.
        days: The number of these days.
        differing: The number of these days on which the sides differ.
    """

    line_item: str
    unit: str | None
    billed: Decimal
    reported: Decimal
    days: int
    differing: int

    @property
    def difference(self) -> Decimal:
        """The billed quantity less the reported one."""
        return change(self.billed, self.reported)


@attrs.frozen(kw_only=True)
class Reconciliation:
    """Billed quantities beside reported usage.

    Attributes:
        spec: The period.
        pairs: Every line of every day, by day and line item.
        blanks: Pairs of a section's name and why it has no figures.
        gaps: Pairs of a section's name and the starts of its days that ended and were not sent.
        unsent: The same with the running day, where that was not sent. On these days the lines that
            the section counts are not compared, and without the costs of a day no line is.
    """

    spec: ReportSpec
    pairs: tuple[Pair, ...]
    blanks: tuple[tuple[str, Blank], ...] = ()
    gaps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    unsent: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def period(self) -> TimeRange:
        """The range that the figures cover."""
        return self.spec.period

    @property
    def sums(self) -> tuple[LineSum, ...]:
        """The line items that both sides know, those with the largest differences first."""
        found: dict[tuple[str, str | None], list[Pair]] = {}
        for pair in self.pairs:
            if pair.has_partner:
                found.setdefault((pair.line_item, pair.unit), []).append(pair)
        sums = [
            LineSum(
                line_item=name,
                unit=unit,
                billed=sum_exactly(pair.billed or _ZERO for pair in pairs),
                reported=sum_exactly(pair.reported or _ZERO for pair in pairs),
                days=len(pairs),
                differing=sum(bool(pair.difference) for pair in pairs),
            )
            for (name, unit), pairs in found.items()
        ]
        sums.sort(key=lambda each: (each.difference.copy_abs().copy_negate(), each.line_item))
        return tuple(sums)

    @property
    def differing(self) -> tuple[Pair, ...]:
        """The lines of single days on which the sides differ."""
        return tuple(pair for pair in self.pairs if pair.difference)

    @property
    def only_billed(self) -> tuple[Pair, ...]:
        """The lines that usage does not report, or not in a unit that can be compared."""
        return tuple(pair for pair in self.pairs if pair.reported is None)

    @property
    def only_reported(self) -> tuple[Pair, ...]:
        """The usage that is not billed, or not with a quantity that can be compared."""
        return tuple(
            pair for pair in self.pairs if pair.reported is not None and pair.billed is None
        )

    @property
    def is_whole(self) -> bool:
        """True if every figure is there; refused usage may be absent."""
        return not self.gaps and all(
            blank.verdict == "refused" and name != COSTS for name, blank in self.blanks
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Limits of the figures, a sentence each."""
        return tuple(self._remarks())

    def _not_over(self) -> dict[int, list[str]]:
        """Give the sections that lack a day that has not ended, by the start of that day."""
        overdue = dict(self.gaps)
        lacking: dict[int, list[str]] = {}
        for name, starts in self.unsent:
            for start in starts:
                if start not in overdue.get(name, ()):
                    lacking.setdefault(start, []).append(name)
        return lacking

    def _remarks(self) -> Iterator[str]:
        for name, blank in self.blanks:
            yield f"{name}: {blank}; what it counts has no partner"
        for name, starts in self.gaps:
            told = f"{days_not_sent(len(starts))}, the first is {day_of(starts[0])}"
            days = "that day" if len(starts) == 1 else "these days"
            yield f"{name}: {told}; {_uncompared([name])} on {days}"
        for start, names in self._not_over().items():
            told = f"{day_of(start)} is not over and was not sent"
            yield f"{', '.join(names)}: {told}; {_uncompared(names)} on that day"
        if (begin := revised_from(self.spec)) is not None:
            yield f"figures from {begin} on may still be revised, on either side"


def _uncompared(sections: Sequence[str]) -> str:
    if COSTS in sections:
        return "nothing is compared"
    return f"what {'it counts' if len(sections) == 1 else 'they count'} is not compared"


NO_MODEL = "(no model)"
"""Model of usage that names none."""
NO_LINE_ITEM = "(no line item)"
"""Line item of costs that name none."""
COSTS = "costs by line item"
"""Name of the section of the bill."""


@attrs.define
class _Day:
    billed: dict[str, Decimal] = attrs.field(factory=dict)
    units: dict[str, set[str | None]] = attrs.field(factory=dict)
    unknown: set[str] = attrs.field(factory=set)
    amounts: dict[str, dict[str, Decimal]] = attrs.field(factory=dict)
    reported: dict[str, Decimal] = attrs.field(factory=dict)


def reconcile(spec: ReportSpec, costs: Section, usage: Mapping[str, Section]) -> Reconciliation:
    """Set what was billed beside what usage reports.

    Args:
        spec: The period.
        costs: Costs by line item.
        usage: Usage by endpoint: those of `MODEL_ENDPOINTS` by model, those of `TOOL_ENDPOINTS`
            without groups.
    """
    sections = [(COSTS, costs), *usage.items()]
    days: dict[date, _Day] = {}
    counters: dict[str, set[str]] = {}
    for name, section in sections:
        for bucket in section.buckets:
            day = days.setdefault(bucket.start.date(), _Day())
            if section is costs:
                _add_billed(day, bucket.results)
                continue
            for item in _add_reported(day, bucket.results, name):
                counters.setdefault(item, set()).add(name)
    pairs = (
        pair
        for day in sorted(days.keys() - costs.missing_days)
        for pair in _pairs(day, days[day])
        # A day that one side lacks would show its lines without a partner.
        if not any(
            day in section.missing_days and _may_count(name, pair.line_item, counters)
            for name, section in usage.items()
        )
    )
    return Reconciliation(
        spec=spec,
        pairs=tuple(pairs),
        blanks=tuple((name, section.blank) for name, section in sections if section.blank),
        gaps=tuple(
            (name, overdue) for name, section in sections if (overdue := section.overdue(spec.now))
        ),
        unsent=tuple((name, section.missing) for name, section in sections if section.missing),
    )


def _may_count(endpoint: str, line_item: str, counters: Mapping[str, Collection[str]]) -> bool:
    """Tell if a line item may be one that an endpoint counts.

    A line item of a model is counted where it was on other days. One that no endpoint has reported
    may be of any.

    Args:
        endpoint: The endpoint.
        line_item: The line item, in one spelling.
        counters: The endpoints that reported a line item, by its name.
    """
    if line_item in _TOOLS or endpoint in TOOL_ENDPOINTS:
        return line_item in _TOOLS and _TOOLS[line_item][0] == endpoint
    if line_item_of(line_item).direction not in _METERS:
        return False
    return endpoint in counters.get(line_item, (endpoint,))


def _add_billed(day: _Day, rows: Iterable[CostsResult]) -> None:
    for row in rows:
        item = NO_LINE_ITEM if row.line_item is None else row.line_item
        _add_line(day, row, line_item_of(item))


def _add_line(day: _Day, row: CostsResult, item: LineItem) -> None:
    name = item.name
    if item.model and item.direction:
        name = f"{item.model}, {_SPELLINGS.get(item.direction, item.direction)}"
    amounts = day.amounts.setdefault(name, {})
    if row.amount is not None:
        currency = row.amount.currency.lower()
        amounts[currency] = EXACT.add(amounts.get(currency, _ZERO), row.amount.value)
    if row.quantity is not None:
        unit, factor = _MULTIPLES.get(row.quantity_unit, (row.quantity_unit, 1))
        day.billed[name] = EXACT.add(day.billed.get(name, _ZERO), times(row.quantity, factor))
        day.units.setdefault(name, set()).add(unit)
    elif row.amount_value:
        day.unknown.add(name)


def _add_reported(day: _Day, rows: Iterable[Any], endpoint: str) -> set[str]:
    """Add rows of usage; give the line items that they report."""
    found = set()
    for row in rows:
        for item, value in _reported(row, endpoint):
            day.reported[item] = EXACT.add(day.reported.get(item, _ZERO), Decimal(value))
            found.add(item)
    return found


def _reported(row: Any, endpoint: str) -> Iterator[tuple[str, int]]:
    if endpoint in TOOL_ENDPOINTS:
        item, metric = next((item, of[1]) for item, of in _TOOLS.items() if of[0] == endpoint)
        yield item, getattr(row, metric)
        return
    for direction, ways in _METERS.items():
        if value := _read(row, ways):
            yield f"{row.model or NO_MODEL}, {direction}", value


def _read(row: Any, ways: Iterable[Sequence[str]]) -> int:
    for metric, *less in ways:
        value: int | None = getattr(row, metric, None)
        if value is not None:
            return value - sum(getattr(row, name, None) or 0 for name in less)
    return 0


def _pairs(date_: date, day: _Day) -> Iterator[Pair]:
    for name in sorted({*day.amounts, *day.reported}):
        units = day.units.get(name, set())
        unit = next(iter(units)) if len(units) == 1 else None
        # Quantities in several units have no sum.
        is_known = name not in day.unknown and len(units) == 1
        billed = change(day.billed[name], _ZERO) if is_known else None
        amounts = {of: change(value, _ZERO) for of, value in day.amounts.get(name, {}).items()}
        reported = day.reported.get(name)
        if reported and billed is not None and not _is_counted_in(unit, name):
            yield Pair(day=date_, line_item=name, reported=reported)
            reported = None
        if reported or billed or any(amounts.values()):
            yield Pair(
                day=date_,
                line_item=name,
                unit=unit,
                billed=billed,
                reported=reported,
                amounts=tuple(amounts.items()),
            )


def _is_counted_in(unit: str | None, name: str) -> bool:
    """Tell if usage counts a line item in a unit; a bill without a unit is taken at its word."""
    if name in _TOOLS:
        return unit not in _MEASURES
    direction = line_item_of(name).direction or ""
    return unit in (None, _UNITS.get(direction, "tokens"))
