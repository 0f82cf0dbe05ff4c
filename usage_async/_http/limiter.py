"""Limits on requests in flight: one that adapts within a client, one that several clients share.

Every client has an `AdaptiveLimiter`, which learns what one organization's key may send. A
`Limiter` that several clients share is a plain bound on their sum and learns nothing: a 429 of one
organization says nothing about another one, and an adaptive limiter that two throttled
organizations shared with ten healthy ones took these from 0.28 s to 134 s.

Theory of operation. A request first takes a slot of its own client, then sits out the cooldown of
that client, then takes a shared slot, and is sent. If a cooldown began while it waited for the
shared slot, it gives that slot back and starts over. A slot that is held cannot be taken away, so
everything is decided when a slot is given:

1. *At most `maximum` shared slots are held.* `in_flight` grows only where a slot is given, which is
   done only while one is free, and both happen without an `await` between them.
2. *Only a request on the wire holds a shared slot.* Cooldowns, `Retry-After`, the wait for a slot
   of its own and the wait for a page's turn lie outside. Otherwise a client that was told to wait
   a minute would keep its slots for that minute.
3. *A free slot goes to the client that holds fewest.* Equals take turns, and within a client the
   first come is the first served. So while others wait, nobody gets more than a fair share: with as
   many clients as slots, or more, one slot each.
4. *A client takes a further slot only while more slots are free than it holds.* (The rule is that
   of dynamic thresholds for buffers in switches: Choudhury and Hahne, IEEE/ACM Transactions on
   Networking 6 (2), 1998.) One client alone has half of the slots, two have a third each, n have
   1/(n+1) each. Without it, a client that is alone could hold every slot, and when its service then
   hangs, all others would wait for its timeout.
5. *A client begins with one slot in sixteen, at least one, and earns one more with each success.*
   Without it, the first of forty clients that start together would take half of the slots before
   the second one asks, and keep them for its timeout if its service hangs. A healthy client has
   doubled its slots after each round trip, until the fourth rule ends the growth.
6. *No slot is lost.* A request that is cancelled while it waits leaves the queue. One that is
   cancelled after a slot was given to it gives the slot back, and a slot in use is given back in a
   `finally`. Slots are handed out whenever one comes back and whenever a client earns one. So
   between two turns of the event loop no request waits that could have a slot.

Guaranteed: a client whose service never answers holds one slot in sixteen, at least one, and the
others have the rest. A client whose service begins to hang while others are active holds at most
its share. Not guaranteed: a client whose service begins to hang while it is alone may hold half of
the slots until its requests time out. Clients that come meanwhile share the other half.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from usage_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from usage_async._http.runtime import Runtime

_log = logging.getLogger("usage_async")

_SPREAD_S = 0.5
"""After a cooldown requests start spread over this time, so that they do not arrive as one."""

_BEGINNERS = 16
"""Number of clients without any success yet that together may hold every slot."""


@attrs.define(eq=False)
class Share:
    """The part that one client has in a `Limiter`.

    Attributes:
        earned: The most slots it may hold.
        held: The slots that it holds.
        turns: Its requests that wait for a slot, first come first.
    """

    earned: int
    held: int = attrs.field(default=0, init=False)
    turns: deque[asyncio.Future[None]] = attrs.field(factory=deque, init=False, repr=False)

    @classmethod
    def beginning(cls, maximum: int) -> Share:
        """Make the share of a client that has had no success yet."""
        return cls(max(1, maximum // _BEGINNERS))


@attrs.define(eq=False)
class Limiter:
    """A bound on the requests in flight of all clients that share it, in one event loop.

    `UsageClient(limiter=…)`: give the same one to several clients. Slots are shared fairly, and
    some stay free for clients to come: one client alone has at most half of them, n clients have
    1/(n+1) each, and at least one where one is free. It neither slows down nor stops for a 429:
    each client does so for itself.

    Args:
        maximum: The most requests in flight.

    Attributes:
        in_flight: Requests that hold a slot.

    Raises:
        ConfigurationError: The maximum is no int of at least 1.
    """

    maximum: int
    in_flight: int = attrs.field(default=0, init=False)
    _queue: dict[Share, None] = attrs.field(factory=dict, init=False, repr=False)
    """The clients that wait, by how long they have waited since a slot was given to them."""
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.maximum.__class__ is not int or self.maximum < 1:
            raise ConfigurationError(f"Limiter takes an int of at least 1, not {self.maximum!r}")

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return sum(len(share.turns) for share in self._queue)

    async def acquire(self, share: Share) -> None:
        """Take a slot, and wait for it if need be.

        Raises:
            ConfigurationError: The limiter was used in another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise ConfigurationError("this limiter belongs to another event loop; make one a loop")
        self._loop = loop
        if not share.turns and self._may_take(share):
            self._give(share)
            return
        turn: asyncio.Future[None] = loop.create_future()
        share.turns.append(turn)
        self._queue.setdefault(share)
        try:
            await turn
        except BaseException:
            if turn in share.turns:
                share.turns.remove(turn)
                self._forget_if_idle(share)
            elif not turn.cancelled():
                self.release(share)
            raise

    def release(self, share: Share) -> None:
        """Give a slot back."""
        share.held -= 1
        self.in_flight -= 1
        self._hand_out()

    def earn(self, share: Share) -> None:
        """Take note of a success of a client: it may hold one slot more."""
        share.earned += 1
        self._hand_out()

    def _may_take(self, share: Share) -> bool:
        free = self.maximum - self.in_flight
        return free > 0 and (share.held == 0 or share.held < min(free, share.earned))

    def _give(self, share: Share) -> None:
        share.held += 1
        self.in_flight += 1

    def _hand_out(self) -> None:
        """Give free slots to those who wait, one at a time to the client that holds fewest."""
        while (share := self._next()) is not None:
            turn = share.turns.popleft()
            # One that was cancelled in this very turn of the loop takes no slot.
            if not turn.done():
                self._give(share)
                turn.set_result(None)
                self._queue[share] = self._queue.pop(share)
            self._forget_if_idle(share)

    def _next(self) -> Share | None:
        best: Share | None = None
        for share in self._queue:
            if self._may_take(share) and (best is None or share.held < best.held):
                best = share
                if not share.held:
                    break
        return best

    def _forget_if_idle(self, share: Share) -> None:
        if not share.turns:
            del self._queue[share]


@attrs.define(eq=False)
class AdaptiveLimiter:
    """The limit of one client: additive increase, halved on a 429, one cooldown for all requests.

    First come, first served.

    Attributes:
        maximum: The most requests in flight, ever.
        limit: The most requests in flight at present; grows by one a full round of successes.
        in_flight: Requests that hold a slot, those included that sit out a cooldown or wait for a
            slot of `shared`.
        cooldown_until: On the runtime's monotonic clock: no request starts before it.
        shared: The bound that this client shares with others.
    """

    maximum: int
    _runtime: Runtime = attrs.field(repr=False)
    shared: Limiter | None = attrs.field(default=None, repr=False)
    limit: float = attrs.field(init=False)
    in_flight: int = attrs.field(default=0, init=False)
    cooldown_until: float = attrs.field(default=0.0, init=False)
    _share: Share = attrs.field(init=False, repr=False)
    _halved_at: float = attrs.field(default=float("-inf"), init=False, repr=False)
    _waiting: deque[asyncio.Future[None]] = attrs.field(factory=deque, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.limit = float(self.maximum)
        # The limiter of another client is easily taken for one to share.
        if self.shared is not None and not isinstance(self.shared, Limiter):
            raise ConfigurationError(f"limiter takes a Limiter, not {self.shared!r}")
        self._share = Share.beginning(self.maximum if self.shared is None else self.shared.maximum)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot of this client."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold a slot for one request, and one of the shared bound; gives the instant of its start.

        Raises:
            ConfigurationError: The shared limiter was used in another event loop.
        """
        await self._acquire()
        try:
            await self._start()
            try:
                yield self._runtime.monotonic()
            finally:
                if self.shared is not None:
                    self.shared.release(self._share)
        finally:
            self.in_flight -= 1
            self._wake()

    def succeeded(self) -> None:
        """Take note of a success: the limit grows by one in as many successes as it allows."""
        self.limit = min(self.limit + 1 / self.limit, float(self.maximum))
        self._wake()
        if self.shared is not None:
            self.shared.earn(self._share)

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

    async def _start(self) -> None:
        """Wait until nothing cools down and, where a bound is shared, a slot of it is held."""
        while True:
            while (left := self.cooldown_until - self._runtime.monotonic()) > 0:
                await self._runtime.sleep(left + self._runtime.random() * _SPREAD_S)
            if self.shared is None:
                return
            await self.shared.acquire(self._share)
            if self._runtime.monotonic() >= self.cooldown_until:
                return
            self.shared.release(self._share)

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
