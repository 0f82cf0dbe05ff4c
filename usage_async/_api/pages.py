"""Pages and buckets as the API sends them, and notices. Times are Unix seconds, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Generic, Literal, TypeVar

import attrs

from usage_async._api.fields import NO_EXTRA, Extra, on_the_wire, short_repr
from usage_async._api.results import UsageResult, UsageRow, flat_row

R = TypeVar("R", bound=UsageResult)

SETTLES_AFTER = timedelta(days=3)
"""Time after its end for which a bucket may still be revised. Hours to days were seen."""


@on_the_wire
@attrs.frozen(kw_only=True)
class UsageTimeBucket(Generic[R]):
    """The usage between two instants.

    Attributes:
        start_time: Unix seconds, inclusive.
        end_time: Unix seconds, exclusive.
        results: Rows of the endpoint's own kind. Empty means that nothing was used.
        other_results: Rows of another or an unknown kind.
        start_time_iso: As sent; undocumented, and never used instead of `start_time`.
        end_time_iso: As sent; undocumented, and never used instead of `end_time`.
        extra: Fields of the reply that this release does not know, by name.
    """

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: tuple[R, ...] = ()
    other_results: tuple[UsageResult, ...] = ()
    start_time_iso: str | None = attrs.field(default=None, eq=False, repr=False)
    end_time_iso: str | None = attrs.field(default=None, eq=False, repr=False)
    extra: Extra = NO_EXTRA

    __repr__ = short_repr

    @property
    def start(self) -> datetime:
        """The start, inclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.start_time, UTC)

    @property
    def end(self) -> datetime:
        """The end, exclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.end_time, UTC)

    def is_settled(self, now: datetime, *, after: timedelta = SETTLES_AFTER) -> bool:
        """Tell if this bucket is old enough to be final.

        Args:
            now: The instant to judge from, aware.
            after: Time after its end for which a bucket may still change.
        """
        return self.end + after <= now

    def rows(self) -> list[UsageRow]:
        """Give every result of the bucket, including those of other kinds, as a flat row."""
        results: tuple[UsageResult, ...] = (*self.results, *self.other_results)
        return [flat_row(result, self.start_time, self.end_time) for result in results]


@on_the_wire
@attrs.frozen(kw_only=True)
class UsageResponse(Generic[R]):
    """A page, as the API sends it.

    Attributes:
        data: The buckets, by rising start.
        has_more: True if more pages follow.
        next_page: Cursor of the next page.
        extra: Fields of the reply that this release does not know, by name.
    """

    object: Literal["page"] = "page"
    data: tuple[UsageTimeBucket[R], ...]
    has_more: bool
    next_page: str | None = None
    extra: Extra = NO_EXTRA

    __repr__ = short_repr


@attrs.frozen(kw_only=True)
class Notice:
    """Something that a careful reader of the figures should know.

    Attributes:
        code: Kind, for programs: `clamped`, `start-aligned`, `end-aligned`, `missing-bucket`,
            `repeated-bucket`, `bucket-outside-range`, `unsettled`, `resumed`, `other-results`,
            `unknown-field`, `unknown-value`.
        message: One sentence for a person.
        endpoint: Name of the endpoint concerned.
        starts: Starts of all buckets concerned, Unix seconds, rising; empty if it concerns no
            bucket in particular.
    """

    code: str
    message: str
    endpoint: str = ""
    starts: tuple[int, ...] = ()

    __repr__ = short_repr
