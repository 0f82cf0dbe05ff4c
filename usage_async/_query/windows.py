"""Windows: the parts of a range that are read concurrently. Pure.

A cursor is opaque, time is not. So the range is cut into windows of at most one full page, which
can be requested at the same time. Windows are cut one by one, as they are needed: at `limit=1`, a
year of minutes has 525,600 of them.
"""

from __future__ import annotations

import attrs

LAST_SECOND = 253_402_300_800
"""End of the year 9999, the last that a service may know."""


@attrs.frozen
class Window:
    """A part of the range, read by one request and the cursors that follow from it.

    Attributes:
        start: Unix seconds, inclusive; a multiple of the bucket's width.
        end: Unix seconds, exclusive.
        width_s: Seconds of a bucket; None if unknown.
    """

    start: int
    end: int
    width_s: int | None

    def ended(self, now: int) -> range:
        """Give the starts of buckets that ended by now; the service sends them even if empty."""
        if self.width_s is None:
            return range(0)
        return range(self.start, min(self.end, now - self.width_s + 1), self.width_s)

    def after(self, floor: int) -> Window | None:
        """Give the part from `floor` on, rounded up to a bucket; None if it is empty."""
        start = round_up(max(self.start, floor), self.width_s)
        return attrs.evolve(self, start=start) if start < self.end else None


@attrs.frozen
class UncutRange:
    """The part of a range that has not been cut into windows yet.

    Attributes:
        start: Unix seconds, inclusive; a multiple of the bucket's width.
        end: Unix seconds, exclusive; nothing is left if it is not after the start.
        width_s: Seconds of a bucket; None if unknown.
        step_s: Seconds of a window; None for a single window, read by cursors.
        now: Unix seconds. Buckets after it should not exist yet, and share one window. They are
            requested nevertheless, because the clock may be wrong.
    """

    start: int
    end: int
    width_s: int | None
    step_s: int | None
    now: int

    def cut(self) -> tuple[Window, UncutRange] | None:
        """Split the earliest window from the rest; None if nothing is left."""
        if self.start >= self.end:
            return None
        end = self.end
        if self.step_s is not None and self.start <= self.now:
            end = min(self.start + self.step_s, end)
        return Window(self.start, end, self.width_s), attrs.evolve(self, start=end)

    def after(self, floor: int) -> UncutRange:
        """Drop everything before `floor`, rounded up to a bucket."""
        return attrs.evolve(self, start=round_up(max(self.start, floor), self.width_s))


def round_up(instant: int, width_s: int | None) -> int:
    """Round an instant up to the start of a bucket; leave it if the width is unknown."""
    return -(-instant // (width_s or 1)) * (width_s or 1)
