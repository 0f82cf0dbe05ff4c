"""How many requests are in flight, for all queries of a client together."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from usage_async._runtime import Runtime

_log = logging.getLogger("usage_async")

_SPREAD_S = 0.5
"""After a cooldown requests start spread over this time, so that they do not arrive as one."""


@attrs.define(eq=False)
class Limiter:
    """Additive increase, halved on a 429, one cooldown; first come, first served.

    Attributes:
        maximum: The most requests in flight, ever.
        limit: The most requests in flight at present; grows by one a full round of successes.
        in_flight: Requests that hold a slot.
        cooldown_until: On the runtime's monotonic clock: no request starts before it.
    """

    maximum: int
    _runtime: Runtime = attrs.field(repr=False)
    limit: float = attrs.field(init=False)
    in_flight: int = attrs.field(default=0, init=False)
    cooldown_until: float = attrs.field(default=0.0, init=False)
    _halved_at: float = attrs.field(default=float("-inf"), init=False, repr=False)
    _waiting: deque[asyncio.Future[None]] = attrs.field(factory=deque, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.limit = float(self.maximum)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold a slot for one request; gives the instant at which it started."""
        await self._acquire()
        try:
            while (left := self.cooldown_until - self._runtime.monotonic()) > 0:
                await self._runtime.sleep(left + self._runtime.random() * _SPREAD_S)
            yield self._runtime.monotonic()
        finally:
            self.in_flight -= 1
            self._wake()

    def succeeded(self) -> None:
        """Take note of a success: the limit grows by one in as many successes as it allows."""
        self.limit = min(self.limit + 1 / self.limit, float(self.maximum))
        self._wake()

    def throttled(self, started_at: float) -> None:
        """Take note of a 429: the limit is halved.

        Args:
            started_at: When the request started: requests that were in flight together when the
                service had enough count as one.
        """
        if started_at > self._halved_at:
            self.limit = max(self.limit / 2, 1.0)
            self._halved_at = self._runtime.monotonic()
            _log.debug("throttled: %r", self)

    def cool_down(self, delay_s: float) -> None:
        """Let nothing start for so many seconds."""
        until = self._runtime.monotonic() + delay_s
        self.cooldown_until = max(self.cooldown_until, until)
        _log.debug("cooling down for %.2f s: %r", delay_s, self)

    async def _acquire(self) -> None:
        if self.in_flight < int(self.limit) and not self._waiting:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.in_flight -= 1
                self._wake()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
