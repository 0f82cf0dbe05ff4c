"""A query and an instant give the windows that are read: pure.

A cursor is opaque, time is not: the range is cut into windows of at most one full page, which can
be asked for at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from usage_async.query import Query, TimeRange

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
        width = self.width_s or 1
        start = max(self.start, -(-floor // width) * width)
        return attrs.evolve(self, start=start) if start < self.end else None


def plan(query: Query, times: TimeRange, *, now: int, concurrency: int) -> list[Window]:
    """Cut a range into windows, earliest first, that tile it without gap or overlap.

    Args:
        query: Its width, limit and cursor decide how large a window may be.
        times: The range; its start is floored to a bucket.
        now: Unix seconds; no window starts after it.
        concurrency: With 1 there is one window, and cursors do the rest.
    """
    width = query.width_s
    if width is None:
        return [Window(times.start_time, times.end_time, None)]
    start, end = times.start_time - times.start_time % width, times.end_time
    full = FULL_PAGE[query.bucket_width or ""]
    step = min(query.page_limit or full, full) * width
    if concurrency == 1 or query.page is not None:
        step = end - start
    return [
        Window(cut, min(cut + step, end), width) for cut in range(start, min(end, now + 1), step)
    ]
