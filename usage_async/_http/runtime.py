"""Clocks, sleep and chance, in one place, so that tests can hand in their own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import attrs


@attrs.frozen(kw_only=True)
class Runtime:
    """Clocks, sleep and chance.

    Attributes:
        now: Unix seconds.
        monotonic: Seconds that only grow.
        sleep: Waits so many seconds.
        random: An even random number, at least 0 and below 1.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random
