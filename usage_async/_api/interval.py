"""Time between two instants, in Unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime

DAY_S = 86400
"""Seconds of a day."""


class Interval:
    """Base of classes with a `start_time` and an `end_time` in Unix seconds."""

    __slots__ = ()

    start_time: int
    end_time: int

    @property
    def start(self) -> datetime:
        """Start, inclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.start_time, UTC)

    @property
    def end(self) -> datetime:
        """End, exclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.end_time, UTC)
