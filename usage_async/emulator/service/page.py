"""Pages in the words of the service: buckets and rows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact
from functools import lru_cache

import attrs

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.fields import FIGURES, fields_of
from usage_async.emulator.organization.bill import Charge, bill
from usage_async.emulator.organization.chance import mix
from usage_async.emulator.organization.organization import GroupKey, Organization, Span
from usage_async.emulator.quirks import Quirks
from usage_async.emulator.service.oddities import WIDE, Json, apply_quirks
from usage_async.emulator.service.query import ParsedQuery

_DIGITS = 34
"""Significant digits of the service's amounts: those of an IEEE 754 decimal128."""
_DECIMAL128 = Context(prec=_DIGITS, traps=[Inexact])
_ZERO = "0E-6176"
_TENTH = Decimal("0.1")
_PLAIN_QUIRKS = Quirks()


def make_page(organization: Organization, query: ParsedQuery, now: int, quirks: Quirks) -> Json:
    """Make the page that answers a query.

    Args:
        organization: Owner of the figures.
        query: The checked query.
        now: Unix seconds; later usage is not reported.
        quirks: Differences from the documentation.
    """
    width = query.width
    end = min(query.end, now)
    left = max(0, -(-(end - query.next_start) // width))
    count = min(left, query.limit)
    if query.endpoint.name == "costs":
        count = min(count, quirks.costs_page_buckets)
    if quirks.short_pages and count > 1:
        count = 1 + mix(query.digest, query.next_start) % (count - 1)
    if query.hollow:
        count = 0
    span = Span(
        start=query.next_start,
        width=width,
        count=count,
        until=now - now % 60,
        settling_days=quirks.settling_days,
        cut=query.end - query.end % 60 if quirks.cut_buckets else None,
    )
    data = _buckets(organization, query, span, quirks)
    next_page = _next_page(query, count, left, quirks)
    page: Json = {
        "object": "page",
        "has_more": next_page is not None,
        "next_page": None if quirks.cursors == "missing" else next_page,
        "data": data,
    }
    if quirks == _PLAIN_QUIRKS:
        return page

    def bucket_before() -> Json:
        before = attrs.evolve(span, start=query.start - width, count=1)
        return _buckets(organization, query, before, quirks)[0]

    other = _other_row(query.endpoint)
    apply_quirks(quirks, page, other, bucket_before, is_grouped=bool(query.group_by))
    return page


def _next_page(query: ParsedQuery, count: int, left: int, quirks: Quirks) -> str | None:
    start = query.next_start + count * query.width
    if quirks.cursors == "repeated":
        second = query.start + count * query.width
        return query.cursor(second if query.next_start == query.start else query.next_start)
    if quirks.cursors == "looping":
        page_seconds = query.limit * query.width
        number = (query.next_start - query.start) // page_seconds
        return query.cursor(query.start + (number + 1) % 3 * page_seconds)
    if left > count:
        return query.cursor(start, hollow=query.hollow - 1 if query.hollow else quirks.hollow_pages)
    return query.cursor(start) if quirks.extra_empty_page and count else None


def _buckets(
    organization: Organization, query: ParsedQuery, span: Span, quirks: Quirks
) -> list[Json]:
    is_money = bool(fields_of(query.endpoint.result_class, "money"))
    make_rows = _cost_rows if is_money else _usage_rows
    buckets = []
    for index, rows in enumerate(make_rows(organization, query, span, quirks)):
        bucket_start = span.start + index * span.width
        bucket: Json = {
            "object": "bucket",
            "start_time": bucket_start,
            "end_time": bucket_start + span.width,
        }
        if quirks.iso_fields:
            # Live bodies have the offset on buckets without rows only.
            offset = "" if rows else "+00:00"
            bucket["start_time_iso"] = _iso(bucket_start) + offset
            bucket["end_time_iso"] = _iso(bucket_start + span.width) + offset
        bucket["results"] = rows
        buckets.append(bucket)
    return buckets


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def _usage_rows(
    organization: Organization, query: ParsedQuery, span: Span, _quirks: Quirks
) -> list[list[Json]]:
    endpoint = query.endpoint
    layout = organization.layout(endpoint)
    blank = _blank(endpoint)
    single = [(name, columns[0]) for name, columns in layout.fields.items() if len(columns) == 1]
    sums = [(name, columns) for name, columns in layout.fields.items() if len(columns) > 1]
    usage = organization.usage(endpoint, span, group_by=query.group_by, filters=query.filters)

    def row(key: GroupKey, figures: list[int]) -> Json:
        values = blank.copy()
        for name, column in single:
            values[name] = figures[column]
        for name, columns in sums:
            values[name] = sum([figures[column] for column in columns])
        values.update(zip(query.group_by, key, strict=True))
        return values

    return [[row(key, figures) for key, figures in groups.items()] for groups in usage]


def _cost_rows(
    organization: Organization, query: ParsedQuery, span: Span, quirks: Quirks
) -> list[list[Json]]:
    blank = _blank(query.endpoint)
    write = _number if quirks.number_amounts else _digits
    names = {
        "project_name": ("project_id", {p.id: p.name for p in organization.projects}),
        "user_email": ("user_id", {u.id: u.email for u in organization.users}),
    }

    blank |= {"organization_id": organization.id, "organization_name": organization.name}
    no_names = dict.fromkeys(names)
    by_line_item = "line_item" in query.group_by

    def row(key: GroupKey, charge: Charge, *, is_first: bool) -> Json:
        values = blank.copy()
        values["amount"] = {"value": write(charge.amount), "currency": "usd"}
        values.update(zip(query.group_by, key, strict=True))
        if by_line_item:
            values["quantity"] = _number(charge.quantity)
            values["quantity_unit"] = charge.unit
        # Live bodies have null names in the first row and no names in the others.
        if is_first:
            values.update(no_names)
        for name, (dimension, known) in names.items():
            if values[dimension] in known:
                values[name] = known[values[dimension]]
        return values

    days = bill(organization, span, group_by=query.group_by, filters=query.filters)
    return [
        [row(key, charge, is_first=n == 0) for n, (key, charge) in enumerate(groups.items())]
        for groups in days
    ]


def _digits(amount: Decimal) -> str:
    """Write an amount with all the digits that the service sends."""
    if not amount:
        return _ZERO
    return str(amount.quantize(_last_digit(amount.adjusted()), context=_DECIMAL128))


@lru_cache(maxsize=64)
def _last_digit(first: int) -> Decimal:
    """Find the unit in which an amount is written, given the exponent of its first digit."""
    return Decimal((0, (1,), first - _DIGITS + 1))


def _number(amount: Decimal) -> Decimal:
    """Write a number as the service does: without exponent, and always with a decimal point."""
    tenths = amount.quantize(_TENTH, context=WIDE)
    return tenths if tenths == amount else Decimal(f"{amount.normalize(_DECIMAL128):f}")


def _blank(endpoint: Endpoint) -> Json:
    """Make a row with zero usage and no dimensions."""
    result_class = endpoint.result_class
    zeros = fields_of(result_class, "flow", "level")
    fields = fields_of(result_class, *FIGURES, "dimension")
    blank: Json = {"object": endpoint.object}
    blank |= {a.name: 0 if a in zeros else None for a in fields}
    if "quantity" in blank:
        blank["quantity_unit"] = None
    return blank


def _other_row(endpoint: Endpoint) -> Json:
    """Make a row of another endpoint that could be mistaken for one of this endpoint."""
    other = next(other for other in ENDPOINTS.values() if other.object != endpoint.object)
    row = _blank(other)
    return {name: 1 if value == 0 else value for name, value in row.items()}
