"""Verification: the proof that the figures of a range are complete. Pure."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs

from usage_async._api.fields import fields_of
from usage_async._api.pages import (
    SETTLES_AFTER,
    UsageTimeBucket,
)
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._api.results import (
    CostsResult,
    UsageResult,
)
from usage_async._query.windows import Window
from usage_async._sums.totals import add, check_kinds
from usage_async.errors import IncompleteError

_STEP = 5000
"""Buckets that are compared in one step: some 12 ms."""

BucketFigures = dict[str, int | Decimal]
"""Sums of one bucket, by metric; amounts by currency."""


@attrs.frozen(kw_only=True)
class Verification:
    """Result of `verify`. All attributes but `compared` hold rising starts of buckets.

    Attributes:
        checked: Settled buckets that came. If the query has groups, they add up to the figures that
            the service gives without groups.
        unsettled: Buckets that may still be revised, and were not compared.
        missing: Buckets that ended, and were not sent.
        differing: Settled buckets whose groups did not add up or that were not sent, when read
            twice.
        compared: Dimensions of the groups that were added up and compared with figures without
            groups. Empty if the query has no groups: then only the presence of buckets was checked.
    """

    checked: tuple[int, ...]
    unsettled: tuple[int, ...]
    missing: tuple[int, ...]
    differing: tuple[int, ...]
    compared: tuple[str, ...] = ()

    __get_pydantic_core_schema__ = pydantic_schema

    @property
    def ok(self) -> bool:
        """True if something was checked, nothing is missing and nothing differs."""
        return bool(self.checked) and not self.missing and not self.differing

    def raise_if_incomplete(self) -> None:
        """Raise unless `ok` is true.

        Raises:
            IncompleteError: Buckets are missing or differ, or none was checked.
        """
        if self.ok:
            return
        if self.missing or self.differing:
            msg = (
                f"{len(self.missing)} buckets are missing and the groups of"
                f" {len(self.differing)} do not add up"
            )
        else:
            msg = f"nothing was checked: {len(self.unsettled)} buckets may still be revised"
        raise IncompleteError(msg, missing=self.missing, differing=self.differing)


@attrs.define
class RangeFigures:
    """Figures of a range, bucket by bucket, to be compared with those of another reading.

    Attributes:
        as_of: Unix seconds at which the reading began.
        settle_after: Time after its end in which a bucket may still be revised.
        figures: Sums of each settled bucket, by its start.
        unsettled: Starts of the other buckets.
    """

    as_of: int
    settle_after: timedelta = SETTLES_AFTER
    figures: dict[int, BucketFigures] = attrs.field(factory=dict)
    unsettled: list[int] = attrs.field(factory=list)

    def add(self, bucket: UsageTimeBucket[Any]) -> None:
        """Add a bucket.

        Raises:
            IncompleteError: The bucket holds rows of another kind.
        """
        check_kinds(bucket)
        if bucket.is_settled(datetime.fromtimestamp(self.as_of, UTC), after=self.settle_after):
            self.figures[bucket.start_time] = _figures(bucket.results)
        else:
            self.unsettled.append(bucket.start_time)

    def missing(self, read: Window) -> tuple[int, ...]:
        """Give the starts of ended buckets of a range that did not come."""
        came = self.figures.keys() | set(self.unsettled)
        return tuple(start for start in read.ended(self.as_of) if start not in came)

    def differing(self, other: RangeFigures) -> Generator[None, None, tuple[int, ...]]:
        """Find the starts at which two readings differ, or only one has figures, step by step."""
        starts = sorted(self.figures.keys() | other.figures.keys())
        found: list[int] = []
        for begin in range(0, len(starts), _STEP):
            yield
            some = starts[begin : begin + _STEP]
            found += [start for start in some if not self.agrees(other, start)]
        return tuple(found)

    def agrees(self, other: RangeFigures, start: int) -> bool:
        """Tell if both readings have a bucket with this start and the same figures."""
        return _agree(self.figures.get(start), other.figures.get(start))


def _figures(rows: Iterable[UsageResult]) -> BucketFigures:
    sums: BucketFigures = {}
    for row in rows:
        for attribute in fields_of(type(row), "flow", "level"):
            value = getattr(row, attribute.name)
            if value is not None:
                sums[attribute.name] = sums.get(attribute.name, 0) + value
        if isinstance(row, CostsResult) and row.amount is not None:
            key = f"amount {row.amount.currency.lower()}"
            sums[key] = add(Decimal(sums.get(key, 0)), row.amount.value)
    return sums


def _agree(one: BucketFigures | None, other: BucketFigures | None) -> bool:
    """Tell if the figures of two buckets are equal; an empty bucket equals zeros.

    A metric that only one of them has is not compared, because the service omits some metrics.
    """
    if one is None or other is None:
        return False
    either, both = one.keys() | other.keys(), one.keys() & other.keys()
    names = {name for name in either if name in both or name.startswith("amount ")}
    if not one or not other:
        names = set(either)
    return all(one.get(name, 0) == other.get(name, 0) for name in names)
