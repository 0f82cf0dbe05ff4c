"""Pages and buckets as the API sends them, and notices. Times are Unix seconds, UTC."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar

import attrs

from usage_async._api.codegen import on_the_wire
from usage_async._api.exact import NO_EXTRA, Extra, short_repr
from usage_async._api.interval import Interval
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._api.results import UsageResult, UsageRow, flat_rows

R = TypeVar("R", bound=UsageResult)

SETTLES_AFTER = timedelta(days=3)
"""Time after its end in which a bucket may still be revised. Hours to days were observed."""


@on_the_wire
@attrs.frozen(kw_only=True)
class UsageTimeBucket(Interval, Generic[R]):
    """Usage between two instants.

    Attributes:
        start_time: Unix seconds, inclusive.
        end_time: Unix seconds, exclusive.
        results: Rows of the endpoint's own kind. Empty means that nothing was used.
        other_results: Rows of another or an unknown kind.
        start_time_iso: Start as the service writes it. Undocumented, and used for nothing.
        end_time_iso: End as the service writes it. Undocumented, and used for nothing.
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
    __get_pydantic_core_schema__ = pydantic_schema

    def is_settled(self, now: datetime, *, after: timedelta = SETTLES_AFTER) -> bool:
        """Tell if this bucket is old enough to be final.

        Args:
            now: Instant to compare with, an aware datetime.
            after: Time after its end in which a bucket may still be revised.
        """
        return self.end + after <= now

    def rows(self) -> list[UsageRow]:
        """Give all results of the bucket as flat rows, those of other kinds included."""
        results: tuple[UsageResult, ...] = self.results
        if self.other_results:
            results += self.other_results
        return list(flat_rows(results, self.start_time, self.end_time))


@on_the_wire
@attrs.frozen(kw_only=True)
class UsageResponse(Generic[R]):
    """A page, as the API sends it.

    Attributes:
        data: Buckets by rising start.
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
    __get_pydantic_core_schema__ = pydantic_schema


@attrs.frozen(kw_only=True)
class Notice:
    """Remark on the figures that a reader should know.

    Attributes:
        code: Kind of remark, for programs: `clamped`, `start-aligned`, `end-aligned`,
            `missing-bucket`, `repeated-bucket`, `bucket-outside-range`, `unsettled`, `resumed`,
            `other-results`, `unknown-field`, `unknown-value`, `names-skipped`; of a file of FOCUS
            `left-out`, `no-account`.
        message: One sentence for a person.
        endpoint: Name of the endpoint concerned.
        starts: Starts of all buckets concerned, in rising Unix seconds; empty if the remark is not
            about particular buckets.
    """

    code: str
    message: str
    endpoint: str = ""
    starts: tuple[int, ...] = ()

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema
