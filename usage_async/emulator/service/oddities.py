"""Quirks, applied to a page that is otherwise as documented."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any

from usage_async.emulator.quirks import Quirks

Json = dict[str, Any]

WIDE = Context(prec=60)
"""Context that holds every amount of the service without rounding."""


def apply_quirks(
    quirks: Quirks,
    page: Json,
    other: Json,
    bucket_before: Callable[[], Json],
    *,
    is_grouped: bool,
) -> None:
    """Change a page as the quirks say.

    Args:
        quirks: The differences to apply.
        page: The page as documented; it is changed in place.
        other: A row of another kind.
        bucket_before: Makes the bucket before the range.
        is_grouped: The query has a `group_by`.
    """
    buckets: list[Json] = page["data"]
    if quirks.missing_in in ("all", "grouped" if is_grouped else "ungrouped"):
        buckets[:] = [bucket for bucket in buckets if not _is_missing(quirks, bucket)]
    for bucket in buckets:
        if bucket["start_time"] in quirks.empty_starts:
            bucket["results"] = []
        if is_grouped and _is_nth(bucket, quirks.lossy_groups):
            del bucket["results"][-1:]
    if quirks.foreign_buckets and buckets:
        buckets.insert(0, bucket_before())
    position = 1 if quirks.foreign_buckets else 0
    if quirks.repeated_buckets and buckets:
        first = buckets[position]
        buckets.insert(position, {**first, "results": [dict(row) for row in first["results"]]})
    if quirks.contradicting_buckets and buckets:
        first = buckets[position]
        rows = [dict(row) for row in first["results"][1:]] or [dict(other)]
        buckets.insert(position + 1, {**first, "results": rows})
    for bucket in buckets:
        _bend_bucket(quirks, bucket, other)
    if quirks.unknown_fields:
        page["generated_by"] = {"version": 7}


def _bend_bucket(quirks: Quirks, bucket: Json, other: Json) -> None:
    """Change a bucket as the quirks say; `other` is a row of another kind."""
    rows = [odd for row in bucket.pop("results") for odd in _odd_rows(quirks, row)]
    if quirks.other_kinds and rows:
        unknown = {"object": "organization.usage.teleports.result", "num_teleports": 3}
        rows += [dict(other), {**unknown, "distance": 1.25, "project_id": None}]
    if quirks.unknown_fields:
        bucket["granularity"] = "exact"
    bucket[quirks.result_key] = rows


def _odd_rows(quirks: Quirks, row: Json) -> list[Json]:
    """Make the rows that are sent in place of a row."""
    rows = _halves(row) if quirks.repeated_rows else [row]
    for each in rows:
        if quirks.string_batch and isinstance(each.get("batch"), bool):
            each["batch"] = str(each["batch"]).lower()
        if quirks.legacy_sessions and "num_sessions" in each:
            each["sessions"] = each.pop("num_sessions")
        if quirks.unknown_fields:
            each["compute_units"] = 1.5
            each["labels"] = {"team": None, "steps": [1, 2]}
    return rows


def _is_missing(quirks: Quirks, bucket: Json) -> bool:
    is_named = bucket["start_time"] in quirks.missing_starts
    return is_named or _is_nth(bucket, quirks.missing_buckets)


def _is_nth(bucket: Json, n: int) -> bool:
    """Check that a bucket is an n-th one, counted from the epoch; with n = 0 none is."""
    start, end = int(bucket["start_time"]), int(bucket["end_time"])
    return n > 0 and start // (end - start) % n == 0


def _halves(row: Json) -> list[Json]:
    """Split a row into two that add up to it."""
    first, second = dict(row), dict(row)
    for name, value in row.items():
        match value:
            case bool():
                continue
            case int():
                first[name], second[name] = value // 2, value - value // 2
            case Decimal():
                first[name], second[name] = _half(value)
            case {"value": amount}:
                parts = map(type(amount), _half(Decimal(amount)))
                first[name], second[name] = ({**value, "value": part} for part in parts)
    return [first, second]


def _half(value: Decimal) -> tuple[Decimal, Decimal]:
    half = WIDE.quantize(WIDE.divide(value, 2), value)
    return half, WIDE.subtract(value, half)
