"""Seeded chance: integers that look random and are the same in every process."""

from __future__ import annotations

import hashlib

_MASK = (1 << 64) - 1


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
    """Hash a text to 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
