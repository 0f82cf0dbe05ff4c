"""Windows: the parts of a range that are requested concurrently. Pure.

A cursor is known only after the page before it, but times are known from the start. So the range is
cut into windows of at most one full page. Windows are cut one by one, as they are needed: with
`limit=1`, a year of minutes has 525,600 of them.
"""

from __future__ import annotations

import attrs

YEAR_10000 = 253_402_300_800
"""Start of the first year that a datetime cannot have."""


@attrs.frozen
class Window:
    """Part of a range that is read by one request and the cursors that follow from it.

    Attributes:
        start: Unix seconds, inclusive; a multiple of the bucket's width.
        end: Unix seconds, exclusive.
        width_s: Seconds of a bucket; None if they are unknown.
    """

    start: int
    end: int
    width_s: int | None

    def ended(self, now: int) -> range:
        """Give the starts of buckets that ended by `now`, which are sent even if they are empty."""
        if self.width_s is None:
            return range(0)
        return range(self.start, min(self.end, now - self.width_s + 1), self.width_s)

    def after(self, floor: int) -> Window | None:
        """Give the part from `floor` on, rounded up to a bucket; None if nothing is left."""
        start = round_up(max(self.start, floor), self.width_s)
        return attrs.evolve(self, start=start) if start < self.end else None


@attrs.frozen
class UncutRange:
    """Part of a range that has not been cut into windows.

    Attributes:
        start: Unix seconds, inclusive; a multiple of the bucket's width.
        end: Unix seconds, exclusive; nothing is left if it is not after the start.
        width_s: Seconds of a bucket; None if they are unknown.
        step_s: Seconds of a window; None for a single window, which is read by cursors.
        now: Unix seconds. Later buckets should not exist, and share one window. They are requested
            nevertheless, because the clock may be wrong.
    """

    start: int
    end: int
    width_s: int | None
    step_s: int | None
    now: int

    def cut(self) -> tuple[Window, UncutRange] | None:
        """Cut the earliest window off; give it and the rest, or None if nothing is left."""
        if self.start >= self.end:
            return None
        end = self.end
        if self.step_s is not None and self.start <= self.now:
            end = min(self.start + self.step_s, end)
        rest = UncutRange(end, self.end, self.width_s, self.step_s, self.now)
        return Window(self.start, end, self.width_s), rest

    def after(self, floor: int) -> UncutRange:
        """Drop everything before `floor`, rounded up to a bucket."""
        return attrs.evolve(self, start=round_up(max(self.start, floor), self.width_s))


def round_up(instant: int, width_s: int | None) -> int:
    """Round an instant up to the start of a bucket; leave it if the width is unknown."""
    return -(-instant // (width_s or 1)) * (width_s or 1)
