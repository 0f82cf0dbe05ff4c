"""The windows of a run: pure.

A cursor is opaque, time is not: the range is cut into windows of at most one full page, which can
be asked for at the same time. They are cut one by one, as they are needed: a year of minutes has
525,600 of them at `limit=1`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from usage_async._query.request import Query
    from usage_async._query.times import TimeRange

FULL_PAGE = {"1m": 1440, "1h": 168, "1d": 31}
"""Buckets that the service puts into one page. It takes `limit` up to 180 for costs, but was seen
to send 31 even then."""


@attrs.frozen
class Window:
    """A part of the range that is read by one request and its cursors.

    Attributes:
        start: Unix seconds, inclusive; a multiple of the bucket's width.
        end: Unix seconds, exclusive.
        width_s: Seconds of a bucket; None where they are not known.
    """

    start: int
    end: int
    width_s: int | None

    def ended(self, now: int) -> range:
        """The starts of its buckets that are over: whatever their use, they have to come."""
        if self.width_s is None:
            return range(0)
        return range(self.start, min(self.end, now - self.width_s + 1), self.width_s)

    def after(self, floor: int) -> Window | None:
        """Give what is left of it from `floor`, rounded up to a bucket; None if nothing is."""
        start = _ceil(max(self.start, floor), self.width_s)
        return attrs.evolve(self, start=start) if start < self.end else None


@attrs.frozen
class Plan:
    """The part of a range that has not been cut into windows yet.

    Attributes:
        start: Unix seconds, inclusive; a multiple of the bucket's width.
        end: Unix seconds, exclusive; nothing is left where it is not after the start.
        width_s: Seconds of a bucket; None where they are not known.
        step_s: Seconds of a window; None where cursors do it all.
        now: Unix seconds. The clock may be wrong, so nothing is left out for it: it only decides
            that the buckets after it, which should not be there yet, share one window.
    """

    start: int
    end: int
    width_s: int | None
    step_s: int | None
    now: int

    def cut(self) -> tuple[Window, Plan] | None:
        """Part the earliest window from the rest; None where nothing is left."""
        if self.start >= self.end:
            return None
        end = self.end
        if self.step_s is not None and self.start <= self.now:
            end = min(self.start + self.step_s, end)
        return Window(self.start, end, self.width_s), attrs.evolve(self, start=end)

    def after(self, floor: int) -> Plan:
        """Leave out all that lies before `floor`, rounded up to a bucket."""
        return attrs.evolve(self, start=_ceil(max(self.start, floor), self.width_s))


def plan(query: Query, times: TimeRange, *, now: int, concurrency: int) -> Plan:
    """Make the plan of a run.

    Args:
        query: Its width, limit and cursor decide how large a window may be.
        times: The range. Where it begins or ends inside a bucket, that bucket is asked for whole:
            the service gives no part of one, and a cursor is bound to the very range.
        now: Unix seconds.
        concurrency: With 1 there is one window, and cursors do the rest.
    """
    width = query.width_s
    start, end = times.start_time, times.end_time
    if width is None:
        return Plan(start, end, None, None, now)
    if isinstance(query.end, int):
        end = _ceil(end, width)
    step = None
    if concurrency > 1 and query.page is None:
        full = FULL_PAGE[query.bucket_width or ""]
        step = min(query.page_limit or full, full) * width
    return Plan(start - start % width, end, width, step, now)


def _ceil(instant: int, width_s: int | None) -> int:
    return -(-instant // (width_s or 1)) * (width_s or 1)
