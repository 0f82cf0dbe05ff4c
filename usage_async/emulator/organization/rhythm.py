"""Times of events: rhythms of the week and of the day, and the exact division of a day.

Only the figure of a whole day is drawn. A cumulative share of it is computed at any two instants,
and the usage between them is the difference. So the parts of a day always add up to the day.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

import attrs

from usage_async.emulator.organization.chance import mix

DAY_MINUTES = 1440
RHYTHMS = 6
"""Number of different rhythms among the leaves of an organization."""
_SIZES = 1024
_FIRST_DAY = 20089
"""2025-01-01 in days since the epoch: the start of the growth."""
_QUIET_PERCENT = (0, 0, 0, 0, 0, 6, 22)
"""Percent of the Mondays, …, Sundays on which the whole organization has no usage."""
_WEEKDAY_PERCENT = (104, 110, 108, 102, 88, 34, 24)
_NIGHT = frozenset((0, 1, 2, 3, 4, 23))
"""Hours without usage, UTC."""


def weekday(day: int) -> int:
    """Compute the weekday of a day since the epoch; Monday is 0."""
    return (day + 3) % 7


@lru_cache(maxsize=1024)
def activity(seed: int, day: int) -> int:
    """Compute the activity of the whole organization on a day; 100,000 on an ordinary first day.

    It grows over the years and follows the week. It is 0 on some weekend days and on every 364th
    day.
    """
    percent = _QUIET_PERCENT[weekday(day)]
    if day % 364 == 0 or (percent and mix(seed, day) % 100 < percent):
        return 0
    return max(200, 1000 + (day - _FIRST_DAY) * 8 // 5) * _WEEKDAY_PERCENT[weekday(day)]


def volume(requests: int, activity: int, noise: int) -> int:
    """Compute the requests of a leaf on a day, at least 1.

    Args:
        requests: Requests at an activity of 100,000, in hundredths.
        activity: Activity of the organization on that day.
        noise: Any integer; it scales the figure by 0.5 to 1.5.
    """
    return max(1, requests * activity * (500 + noise % 1000) // 10_000_000_000)


@attrs.frozen
class Rhythm:
    """Distribution of the requests of a day over its minutes.

    Attributes:
        before: Cumulative weight before each minute, and before the end of the day.
        ends: End of each minute with a weight; the other minutes have no usage.
    """

    before: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def make(cls, seed: int, number: int) -> Rhythm:
        """Make the rhythm of a number: a working day around a busiest hour of its own."""
        peak = 10 + number
        weights = []
        for minute in range(DAY_MINUTES):
            hour = minute // 60
            bits = mix(seed, number, minute)
            busy = hour not in _NIGHT and bits % 100 < 38
            weights.append((12 - min(10, abs(hour - peak))) * (1 + (bits >> 8) % 5) * busy)
        ends = tuple(minute + 1 for minute, weight in enumerate(weights) if weight)
        return cls((0, *accumulate(weights)), ends)


@attrs.frozen
class Sizes:
    """Relative sizes of the single requests of a leaf. They repeat after 1,024 requests."""

    before: tuple[int, ...]

    @classmethod
    def make(cls, seed: int) -> Sizes:
        """Make sizes from 2 to 16; small ones are more frequent."""
        sizes = [
            2 + (b % 15) * ((b >> 8) % 15) // 14 for b in (mix(seed, n) for n in range(_SIZES))
        ]
        return cls((0, *accumulate(sizes)))

    def until(self, request: int) -> int:
        """Add up the sizes of all requests before the one with this number."""
        rounds, rest = divmod(request, _SIZES)
        return rounds * self.before[_SIZES] + self.before[rest]


def partly(total: int, count: int, of: int, size: int, of_size: int) -> int:
    """Compute the share of the first requests of a day in the day's total.

    The share rises from 0 to `total`. If the total allows it, each request has at least one; the
    rest is distributed by size.

    Args:
        total: Figure of the day.
        count: Requests so far.
        of: Requests of the day, at least 1.
        size: Size of the requests so far.
        of_size: Size of the requests of the day, at least 1.
    """
    each = total >= of
    return count * each + (total - of * each) * size // of_size
