"""The proof that a result is whole: pure, over two readings of the same range."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from usage_async._fields import fields_of
from usage_async._plan import Window
from usage_async.errors import IncompleteError
from usage_async.models import CostsResult, UsageResult, UsageTimeBucket
from usage_async.totals import add

Figures = dict[str, int | Decimal]
"""The sums of one bucket, by metric; amounts by currency."""


@attrs.frozen(kw_only=True)
class Verification:
    """What of a range is proven; each attribute holds starts of buckets, Unix seconds, rising.

    Attributes:
        checked: Settled buckets that came exactly once and whose groups add up to the service's own
            ungrouped figure.
        unsettled: Buckets that may still be revised, and were not compared.
        missing: Buckets that ended, and never came.
        differing: Settled buckets whose groups did not add up, twice.
    """

    checked: tuple[int, ...]
    unsettled: tuple[int, ...]
    missing: tuple[int, ...]
    differing: tuple[int, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing and nothing differs."""
        return not self.missing and not self.differing

    def raise_if_incomplete(self) -> None:
        """Insist on the proof.

        Raises:
            IncompleteError: Buckets are missing, or differ.
        """
        if not self.ok:
            msg = (
                f"{len(self.missing)} buckets are missing and the groups of"
                f" {len(self.differing)} do not add up"
            )
            raise IncompleteError(msg, missing=self.missing, differing=self.differing)


@attrs.define
class Reading:
    """What is kept of a reading of a range, to compare it: a few figures a bucket.

    Attributes:
        as_of: Unix seconds at which it began.
        figures: The sums of each settled bucket, by its start.
        unsettled: The starts of the others.
    """

    as_of: int
    figures: dict[int, Figures] = attrs.field(factory=dict)
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
        if bucket.is_settled(datetime.fromtimestamp(self.as_of, UTC)):
            self.figures[bucket.start_time] = _figures(bucket.results)
        else:
            self.unsettled.append(bucket.start_time)

    def missing(self, read: Window) -> tuple[int, ...]:
        """Give the starts of what was read whose buckets are over and did not come."""
        came = self.figures.keys() | set(self.unsettled)
        return tuple(start for start in read.ended(self.as_of) if start not in came)

    def differing(self, other: Reading) -> tuple[int, ...]:
        """Give the starts at which two readings contradict each other, or only one has figures."""
        return tuple(
            start
            for start in sorted(self.figures.keys() | other.figures.keys())
            if not _agree(self.figures.get(start), other.figures.get(start))
        )


def _figures(rows: Iterable[UsageResult]) -> Figures:
    sums: Figures = {}
    for row in rows:
        for attribute in fields_of(type(row)):
            value = getattr(row, attribute.name)
            if attribute.metadata["kind"] in ("flow", "level") and value is not None:
                sums[attribute.name] = sums.get(attribute.name, 0) + value
        if isinstance(row, CostsResult) and row.amount is not None:
            key = f"amount {row.amount.currency}"
            sums[key] = add(Decimal(sums.get(key, 0)), row.amount.value)
    return sums


def _agree(one: Figures | None, other: Figures | None) -> bool:
    """Whether figures are equal; a quiet bucket equals zeros.

    An optional metric that only one of them has does not count: the service leaves some out.
    """
    if one is None or other is None:
        return False
    either, both = one.keys() | other.keys(), one.keys() & other.keys()
    names = {name for name in either if name in both or name.startswith("amount ")}
    if not one or not other:
        names = set(either)
    return all(one.get(name, 0) == other.get(name, 0) for name in names)
