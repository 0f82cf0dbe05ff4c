"""The proof that a result is whole: pure, over two readings of the same range."""

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
from usage_async._api.results import (
    CostsResult,
    UsageResult,
)
from usage_async._query.windows import Window
from usage_async._sums.totals import add
from usage_async.errors import IncompleteError

_STEP = 5000
"""Buckets that are compared in one turn of the event loop: some 12 ms."""

BucketFigures = dict[str, int | Decimal]
"""The sums of one bucket, by metric; amounts by currency."""


@attrs.frozen(kw_only=True)
class Verification:
    """Proof of a range. Each attribute but `compared` holds starts of buckets, rising.

    Attributes:
        checked: Settled buckets that came and, where there was something to compare, whose groups
            add up to the service's own ungrouped figure. A bucket that is sent again as it was
            counts once, and is a notice.
        unsettled: Buckets that may still be revised, and were not compared.
        missing: Buckets that ended, and never came.
        differing: Settled buckets that did not add up or were not there, in two readings.
        compared: Dimensions of the groups that were added up and compared with the ungrouped
            figure; empty where the query has no groups, so that only presence was checked.
    """

    checked: tuple[int, ...]
    unsettled: tuple[int, ...]
    missing: tuple[int, ...]
    differing: tuple[int, ...]
    compared: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if something was checked, nothing is missing and nothing differs."""
        return bool(self.checked) and not self.missing and not self.differing

    def raise_if_incomplete(self) -> None:
        """Insist on the proof.

        Raises:
            IncompleteError: Buckets are missing or differ, or there was nothing to check.
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
    """Figures of a range, kept to be compared: a few figures a bucket.

    Attributes:
        as_of: Unix seconds at which it began.
        settle_after: Time after its end for which a bucket may still be revised.
        figures: The sums of each settled bucket, by its start.
        unsettled: The starts of the others.
    """

    as_of: int
    settle_after: timedelta = SETTLES_AFTER
    figures: dict[int, BucketFigures] = attrs.field(factory=dict)
    unsettled: list[int] = attrs.field(factory=list)

    def add(self, bucket: UsageTimeBucket[Any]) -> None:
        """Take note of a bucket.

        Raises:
            IncompleteError: It holds rows of another kind, which cannot be compared.
        """
        if bucket.other_results:
            start = bucket.start_time
            msg = f"the bucket that starts at {bucket.start} holds rows of another kind"
            raise IncompleteError(msg, differing=[start])
        if bucket.is_settled(datetime.fromtimestamp(self.as_of, UTC), after=self.settle_after):
            self.figures[bucket.start_time] = _figures(bucket.results)
        else:
            self.unsettled.append(bucket.start_time)

    def missing(self, read: Window) -> tuple[int, ...]:
        """Give the starts of what was read whose buckets are over and did not come."""
        came = self.figures.keys() | set(self.unsettled)
        return tuple(start for start in read.ended(self.as_of) if start not in came)

    def differing(self, other: RangeFigures) -> Generator[None, None, tuple[int, ...]]:
        """Find the starts at which two readings contradict each other, or only one has figures.

        A step compares some of them, since a month of minutes would hold the event loop.
        """
        starts = sorted(self.figures.keys() | other.figures.keys())
        found: list[int] = []
        for begin in range(0, len(starts), _STEP):
            yield
            some = starts[begin : begin + _STEP]
            found += [start for start in some if not self.agrees(other, start)]
        return tuple(found)

    def agrees(self, other: RangeFigures, start: int) -> bool:
        """Tell whether two readings have the bucket of a start, with the same figures."""
        return _agree(self.figures.get(start), other.figures.get(start))


def _figures(rows: Iterable[UsageResult]) -> BucketFigures:
    sums: BucketFigures = {}
    for row in rows:
        for attribute in fields_of(type(row)):
            value = getattr(row, attribute.name)
            if attribute.metadata["kind"] in ("flow", "level") and value is not None:
                sums[attribute.name] = sums.get(attribute.name, 0) + value
        if isinstance(row, CostsResult) and row.amount is not None:
            key = f"amount {row.amount.currency.lower()}"
            sums[key] = add(Decimal(sums.get(key, 0)), row.amount.value)
    return sums


def _agree(one: BucketFigures | None, other: BucketFigures | None) -> bool:
    """Tell whether figures are equal; a quiet bucket equals zeros.

    An optional metric that only one of them has does not count: the service leaves some out.
    """
    if one is None or other is None:
        return False
    either, both = one.keys() | other.keys(), one.keys() & other.keys()
    names = {name for name in either if name in both or name.startswith("amount ")}
    if not one or not other:
        names = set(either)
    return all(one.get(name, 0) == other.get(name, 0) for name in names)
