"""Places as numbers by name, as a Delta log holds them in its application transactions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import attrs

from usage_async.collect.values import Place

OURS = "usage_async."
"""Prefix of the names that are ours: of numbers in a log, and of properties of a table."""
_PAIRS = (
    ("number", "gaps"),
    ("first_start", "start_time"),
    ("covered_to", "ended_through"),
    ("settled_through", "as_of"),
)
"""Values that share a number, which is named after the first one; `gaps` counts the runs of missing
buckets, and that of the wanted start. deltalake reads the log again for each number, so fewer
numbers take less time."""
_HALF = 32
"""Bits of each of the two values in a number of the log, which has 64."""
_MASK = (1 << _HALF) - 1
_UNREAD = 1 << 31
"""Bit of the length of a run whose buckets were never read."""
_BEFORE_ALL = -(2**30)
"""Unix seconds of an instant in 1935, from which times are counted until 2072. The instant itself
stands for None."""


def _key(name: str, organization: str) -> str:
    return f"{OURS}{name}:{organization}"


def number_key(organization: str) -> str:
    """Give the name under which `number_of` finds the number of a place."""
    return _key("number", organization)


def number_of(found: int | None) -> int:
    """Give the number of a place from what the log holds under `number_key`."""
    return _halves(found or 0)[0]


def numbers_of(organization: str, place: Place, width: int) -> dict[str, int]:
    """Write a place as numbers by name.

    Args:
        organization: Name of the organization.
        place: The place.
        width: Width of a bucket in seconds.
    """
    runs = packed(place.missing, {*place.unread}, width)
    if place.wanted_start is not None:
        # A run without a length, since few places have one and each number costs a reading.
        runs.append(place.wanted_start // width << _HALF)
    made = {_key(f"gap{number}", organization): run for number, run in enumerate(runs)}
    made[number_key(organization)] = (place.number << _HALF) + len(runs)
    for one, other in _PAIRS[1:]:
        values = [getattr(place, name) for name in (one, other)]
        first, second = (0 if value is None else value - _BEFORE_ALL for value in values)
        number = (first << _HALF) + second
        made[_key(one, organization)] = number if number < 2**63 else number - 2**64
    return made


def _halves(number: int) -> tuple[int, int]:
    """Give the two values in a number."""
    return number >> _HALF & _MASK, number & _MASK


def packed(missing: Sequence[int], unread: AbstractSet[int], width: int) -> list[int]:
    """Write rising starts of buckets as runs, each a number.

    The first half is the number of the first bucket, counted from 1970; the second half is the
    length of the run, with `_UNREAD` if its buckets were never read.
    """
    runs: list[list[int]] = []
    for start in missing:
        number, flag = start // width, _UNREAD * (start in unread)
        if runs and runs[-1] == [number - (runs[-1][1] & ~_UNREAD), runs[-1][1] & ~_UNREAD | flag]:
            runs[-1][1] += 1
        else:
            runs.append([number, flag + 1])
    return [(first << _HALF) + count for first, count in runs]


def unpacked(runs: Iterable[int], width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Read the starts of buckets that `packed` has written: all, and those that were never read."""
    missing: list[int] = []
    unread: list[int] = []
    for run in runs:
        first, count = run >> _HALF, run & (_UNREAD - 1)
        starts = [number * width for number in range(first, first + count)]
        missing += starts
        if run & _UNREAD:
            unread += starts
    return tuple(missing), tuple(unread)


def read_places(
    read: Callable[[Sequence[str]], Sequence[int | None]], organizations: Sequence[str], width: int
) -> list[Place]:
    """Read the places of organizations in one table; `Place()` for one that has none.

    Args:
        read: Function that reads the numbers under some names, None where there is none.
        organizations: Names of the organizations.
        width: Width of a bucket in seconds.
    """
    places, gaps = [], []
    pairs = iter(read([_key(name, each) for each in organizations for name, _ in _PAIRS]))
    for organization in organizations:
        number, count = _halves(next(pairs) or 0)
        times = [_halves(next(pairs) or 0) for _ in _PAIRS[1:]]
        values: list[Any] = [
            half + _BEFORE_ALL if half else None for pair in times for half in pair
        ]
        names = [name for pair in _PAIRS[1:] for name in pair]
        places.append(Place(number=number, **dict(zip(names, values, strict=True))))
        gaps.append([_key(f"gap{each}", organization) for each in range(count)])
    runs = iter(read([key for keys in gaps for key in keys]))
    found = []
    for place, keys in zip(places, gaps, strict=True):
        held = [next(runs) or 0 for _ in keys]
        missing, unread = unpacked(held, width)
        wanted = next(((run >> _HALF) * width for run in held if not run & _MASK), None)
        found.append(attrs.evolve(place, missing=missing, unread=unread, wanted_start=wanted))
    return found
