"""Times of events: seeded mixing, rhythms of the week and the day, and exact splitting.

A figure is never made for a minute: the day's figure is, and a cumulative share of it is read at
two instants. What lies between is their difference, so any way of cutting a day adds up to it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import accumulate

import attrs

_MASK = (1 << 64) - 1

DAY_MINUTES = 1440
RHYTHMS = 6
"""Number of different rhythms that the leaves of an organization have."""
_SIZES = 1024
_FIRST_DAY = 20089
"""2025-01-01 in days since the epoch: the growth is measured from there."""
_QUIET_PERCENT = (0, 0, 0, 0, 0, 6, 22)
"""Of a hundred Mondays, …, Sundays, how many are quiet for the whole organization."""
_WEEKDAY_PERCENT = (104, 110, 108, 102, 88, 34, 24)
_NIGHT = frozenset((0, 1, 2, 3, 4, 23))
"""The hours, UTC, in which nothing happens."""


def mix(*parts: int) -> int:
    """Mix integers into 64 well-spread bits (splitmix64, https://prng.di.unimi.it)."""
    state = 0
    for part in parts:
        z = (state ^ part) + 0x9E3779B97F4A7C15 & _MASK
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        state = z ^ z >> 31
    return state


def text_bits(text: str) -> int:
    """Give 64 bits that stand for a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def weekday(day: int) -> int:
    """Give the weekday of a day since the epoch; Monday is 0."""
    return (day + 3) % 7


@lru_cache(maxsize=1024)
def pace(seed: int, day: int) -> int:
    """Give how busy the whole organization is on a day; an ordinary first day has 100,000.

    It grows over the years and follows the week. Nobody works (0) on some weekend days and on every
    364th day.
    """
    percent = _QUIET_PERCENT[weekday(day)]
    if day % 364 == 0 or (percent and mix(seed, day) % 100 < percent):
        return 0
    return max(200, 1000 + (day - _FIRST_DAY) * 8 // 5) * _WEEKDAY_PERCENT[weekday(day)]


def volume(requests: int, pace: int, noise: int) -> int:
    """Give the requests of a leaf on a day, at least 1.

    Args:
        requests: Hundredths of the requests at a pace of 100,000.
        pace: How busy the day is.
        noise: Any integer; it moves the figure between half and one and a half.
    """
    return max(1, requests * pace * (500 + noise % 1000) // 10_000_000_000)


@attrs.frozen
class Rhythm:
    """Spread of the requests of a day over its minutes.

    Attributes:
        before: For each minute, and for the end of the day, the weight that lies before it.
        ends: The minutes after which `before` has grown: the only ones in which things happen.
    """

    before: tuple[int, ...]
    ends: tuple[int, ...]

    @classmethod
    def make(cls, seed: int, number: int) -> Rhythm:
        """Make the rhythm with a number: a working day around its own busiest hour."""
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
    """Relative sizes of the single requests of a leaf; they repeat."""

    before: tuple[int, ...]

    @classmethod
    def make(cls, seed: int) -> Sizes:
        """Make sizes from 2 to 16, small ones more often."""
        sizes = [
            2 + (b % 15) * ((b >> 8) % 15) // 14 for b in (mix(seed, n) for n in range(_SIZES))
        ]
        return cls((0, *accumulate(sizes)))

    def until(self, request: int) -> int:
        """Give the size of all requests before the one with a number."""
        rounds, rest = divmod(request, _SIZES)
        return rounds * self.before[_SIZES] + self.before[rest]


def partly(total: int, count: int, of: int, size: int, of_size: int) -> int:
    """Give how much of a day's total the first requests of the day take.

    Rises from 0 to `total` with the requests. Every request takes at least one where there is
    enough; the rest follows the requests' sizes.

    Args:
        total: The figure of the day.
        count: Requests so far.
        of: Requests of the day, at least 1.
        size: The size of the requests so far.
        of_size: The size of the requests of the day, at least 1.
    """
    each = total >= of
    return count * each + (total - of * each) * size // of_size
