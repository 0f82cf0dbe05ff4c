"""Runtime: clocks, sleep and chance, which tests replace; and the event loop of an owner."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import attrs

from usage_async.errors import ConfigurationError


@attrs.frozen(kw_only=True)
class Runtime:
    """Clocks, sleep and chance of a client.

    Attributes:
        now: Gives the time in Unix seconds.
        monotonic: Gives seconds that never decrease.
        sleep: Waits for a number of seconds.
        random: Gives a uniform random number, at least 0 and below 1.
    """

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random


def running_loop(first: asyncio.AbstractEventLoop | None, owner: str) -> asyncio.AbstractEventLoop:
    """Give the running event loop; refuse any but the loop of the owner's first use.

    Args:
        first: The loop of the first use; None if there was none yet.
        owner: Noun for the message, such as `client`.

    Raises:
        ConfigurationError: The owner was used in another event loop.
    """
    loop = asyncio.get_running_loop()
    if first not in (None, loop):
        msg = f"this {owner} belongs to another event loop; make one for each loop"
        raise ConfigurationError(msg)
    return loop
