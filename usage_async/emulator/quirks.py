"""Quirks: oddities that the service has been seen to send, or might, and a reader must survive."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Literal

import attrs

_WIDE = Context(prec=60)

Json = dict[str, Any]


_MOST_HOLLOW = (1 << 16) - 1
"""As many as a cursor can count."""


@attrs.frozen(kw_only=True)
class Quirks:
    """Differences of the emulated service from the documentation.

    The defaults are those of the live service. Any of them can be combined. However pages are cut,
    every bucket that has begun is sent once, unless a quirk says that it is left out or repeated.

    Attributes:
        result_key: The field of a bucket that holds its rows; once it was `result`.
        number_amounts: Amounts are JSON numbers instead of strings; both forms are live.
        iso_fields: Buckets carry `start_time_iso` and `end_time_iso`, with or without an offset.
        unknown_fields: Pages, buckets and rows carry fields that nobody knows.
        other_kinds: Buckets with rows carry a row of another kind, and one of an unknown kind.
        repeated_rows: A row comes as two rows with equal dimensions, which add up to it.
        string_batch: `batch` is `"true"` or `"false"`.
        legacy_sessions: `num_sessions` is called `sessions`.
        short_pages: A page has fewer buckets than `limit`, and a cursor.
        extra_empty_page: The last page has a cursor, to a page with an empty `data`.
        hollow_pages: The number of pages with an empty `data` and a cursor between two pages.
        missing_buckets: Every n-th bucket, counted from the epoch, is left out; 0: none.
        missing_starts: Buckets that start then are left out, Unix seconds.
        missing_in: The answers in which buckets are left out: `all`, only `grouped` ones, or only
            `ungrouped` ones.
        lossy_groups: In grouped answers every n-th bucket, counted from the epoch, lacks its last
            row; 0: none.
        cut_buckets: The bucket in which `end_time` lies has only the figures before it. The live
            service sends it whole.
        repeated_buckets: The first bucket of a page comes twice.
        contradicting_buckets: The first bucket of a page comes twice, with different rows.
        foreign_buckets: A page begins with the bucket before the range.
        cursors: `missing`: `has_more` without `next_page`. `repeated`: the second page's cursor
            leads to itself. `looping`: the third page's cursor leads to the first one.
        refuse_user_by_project: Costs refuse to be grouped by `user_id` together with `project_id`.
        refuse_archived_projects: The key list of an archived project is refused.
        hide_enabled_keys: Without `owner_project_access`, a key list has only keys whose owners
            have lost access to the project.
        lookback_days: The length of the history in days.
        api_key_floor: Costs by `api_key_id` are refused before it, Unix seconds.
        costs_page_buckets: The most buckets of a page of costs, whatever its `limit`.
        settling_days: The number of days for which the figures of a day still grow.
        compress: Replies are compressed where the client accepts it.
    """

    result_key: str = "results"
    number_amounts: bool = False
    iso_fields: bool = True
    unknown_fields: bool = False
    other_kinds: bool = False
    repeated_rows: bool = False
    string_batch: bool = False
    legacy_sessions: bool = False
    short_pages: bool = False
    extra_empty_page: bool = False
    hollow_pages: int = attrs.field(
        default=0, validator=[attrs.validators.ge(0), attrs.validators.le(_MOST_HOLLOW)]
    )
    missing_buckets: int = 0
    missing_starts: tuple[int, ...] = ()
    missing_in: Literal["all", "grouped", "ungrouped"] = "all"
    lossy_groups: int = 0
    cut_buckets: bool = False
    repeated_buckets: bool = False
    contradicting_buckets: bool = False
    foreign_buckets: bool = False
    cursors: Literal["good", "missing", "repeated", "looping"] = "good"
    refuse_user_by_project: bool = False
    refuse_archived_projects: bool = False
    hide_enabled_keys: bool = False
    lookback_days: int = 365
    api_key_floor: int = 1764979200
    costs_page_buckets: int = 31
    settling_days: int = 0
    compress: bool = False

    def bend_row(self, row: Json) -> list[Json]:
        """Give what is sent in place of a row."""
        rows = _halves(row) if self.repeated_rows else [row]
        for each in rows:
            if self.string_batch and isinstance(each.get("batch"), bool):
                each["batch"] = str(each["batch"]).lower()
            if self.legacy_sessions and "num_sessions" in each:
                each["sessions"] = each.pop("num_sessions")
            if self.unknown_fields:
                each["compute_units"] = 1.5
                each["labels"] = {"team": None, "steps": [1, 2]}
        return rows

    def bend_bucket(self, bucket: Json, other: Json) -> Json:
        """Give what is sent in place of a bucket; `other` is a row of another kind."""
        rows = [bent for row in bucket.pop("results") for bent in self.bend_row(row)]
        if self.other_kinds and rows:
            unknown = {"object": "organization.usage.teleports.result", "num_teleports": 3}
            rows += [dict(other), {**unknown, "distance": 1.25, "project_id": None}]
        if self.unknown_fields:
            bucket["granularity"] = "exact"
        bucket[self.result_key] = rows
        return bucket

    def bend_page(
        self, page: Json, other: Json, bucket_before: Callable[[], Json], *, is_grouped: bool
    ) -> Json:
        """Give what is sent in place of a page.

        Args:
            page: The page as it should be; it is changed.
            other: A row of another kind.
            bucket_before: Makes the bucket before the range.
            is_grouped: Whether the query groups by anything.
        """
        buckets: list[Json] = page["data"]
        if self.missing_in in ("all", "grouped" if is_grouped else "ungrouped"):
            buckets[:] = [bucket for bucket in buckets if not self._is_missing(bucket)]
        for bucket in buckets:
            if is_grouped and _is_nth(bucket, self.lossy_groups):
                del bucket["results"][-1:]
        if self.foreign_buckets and buckets:
            buckets.insert(0, bucket_before())
        position = 1 if self.foreign_buckets else 0
        if self.repeated_buckets and buckets:
            first = buckets[position]
            buckets.insert(position, {**first, "results": [dict(row) for row in first["results"]]})
        if self.contradicting_buckets and buckets:
            first = buckets[position]
            rows = [dict(row) for row in first["results"][1:]] or [dict(other)]
            buckets.insert(position + 1, {**first, "results": rows})
        for bucket in buckets:
            self.bend_bucket(bucket, other)
        if self.unknown_fields:
            page["generated_by"] = {"version": 7}
        return page

    def _is_missing(self, bucket: Json) -> bool:
        is_named = bucket["start_time"] in self.missing_starts
        return is_named or _is_nth(bucket, self.missing_buckets)


def _is_nth(bucket: Json, n: int) -> bool:
    """Tell an n-th bucket, counted from the epoch; there is none where n is 0."""
    start, end = int(bucket["start_time"]), int(bucket["end_time"])
    return n > 0 and start // (end - start) % n == 0


def _halves(row: Json) -> list[Json]:
    """Split a row in two that add up to it."""
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
    half = _WIDE.quantize(_WIDE.divide(value, 2), value)
    return half, _WIDE.subtract(value, half)
