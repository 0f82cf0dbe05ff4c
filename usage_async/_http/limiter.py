"""Limits on requests in flight: an adaptive one for each client, a plain one for several clients.

Every client has an `AdaptiveLimiter`. It learns what the key of one organization may send. A
`Limiter` bounds the sum of several clients and learns nothing, because a 429 of one organization
says nothing about another. Sharing an adaptive limiter was measured: two throttled organizations
slowed ten healthy ones down from 0.28 s to 134 s.

Theory of operation. A request takes a slot of its own client, waits until the client's cooldown is
over, takes a shared slot, and is sent. If a cooldown began while it waited for the shared slot, it
gives that slot back and waits again. A slot that is held cannot be taken away, so everything is
decided when a slot is given. The invariants:

1. *At most `maximum` shared slots are held.* `in_flight` grows only where a slot is given. The
   check for a free slot and the increment have no `await` between them.
2. *Only a request on the wire holds a shared slot.* Cooldowns, `Retry-After`, the wait for a slot
   of the client and the wait for a page's turn lie outside. Otherwise a client that was told to
   wait for a minute would keep its slots for that minute.
3. *A free slot goes to the client that holds fewest.* Clients that hold equally many take turns.
   While others wait, no client gets more than a fair share: with as many clients as slots, or more,
   one slot each.
4. *A client takes a further slot only while more slots are free than it holds.* (This is the rule
   of dynamic thresholds for buffers in switches: Choudhury and Hahne, IEEE/ACM Transactions on
   Networking 6 (2), 1998.) A single client has half of the slots, two clients have a third each,
   n clients have 1/(n+1) each. Without this rule, a client that is alone could hold every slot.
   When its service then hangs, all others would wait for its timeout.
5. *A client begins with one slot in sixteen, at least one, and earns one more with each success.*
   Without this rule, the first of forty clients that start together would take half of the slots
   before the second one asks. If its service hangs, it would keep them until its timeout. A healthy
   client doubles its slots with each round trip, until the fourth rule ends the growth.
6. *The requests of a client start in the order in which they asked*, except after a cooldown, which
   spreads the starts at random. A request that was given a slot runs in the next turn of the event
   loop. Until then it counts as waking, and requests of the same client queue up behind it, even
   if a slot is free for them.
7. *No slot is lost.* A request that is cancelled while it waits leaves the queue. One that is
   cancelled after a slot was given to it gives the slot back. A slot in use is given back in a
   `finally`. Slots are handed out whenever one comes back and whenever a client earns one. So
   between two turns of the event loop no request waits for a slot that it could have, except
   behind one that is waking.

Guaranteed: a client whose service never answers holds one slot in sixteen, at least one, and the
others have the rest. A client whose service begins to hang while others are active holds at most
its share. Not guaranteed: a client whose service begins to hang while it is alone may hold half of
the slots until its requests time out. Clients that start meanwhile share the other half.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import attrs

from usage_async._http.runtime import running_loop
from usage_async.errors import ConfigurationError

if TYPE_CHECKING:
    from usage_async._http.runtime import Runtime

_log = logging.getLogger("usage_async")

_SPREAD_S = 0.5
"""Starts after a cooldown are spread at random over this time, to avoid a burst."""

_BEGINNERS = 16
"""Number of clients that together may hold every slot before their first success."""


def check_count(name: str, value: object) -> None:
    """Check the most requests in flight.

    Raises:
        ConfigurationError: It is not an int of at least 1.
    """
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} takes an int of at least 1, not {value!r}")


@attrs.define(eq=False)
class Share:
    """One client's share of a `Limiter`.

    Attributes:
        earned: The most slots it may hold.
        held: Number of slots it holds.
        waking: Number of its requests that were given a slot and have not run since.
        is_followed: True if a request queued up behind them although there is a slot for it.
        turns: Its requests that wait for a slot, in the order in which they asked.
    """

    earned: int
    held: int = attrs.field(default=0, init=False)
    waking: int = attrs.field(default=0, init=False)
    is_followed: bool = attrs.field(default=False, init=False)
    turns: deque[asyncio.Future[None]] = attrs.field(factory=deque, init=False, repr=False)

    @classmethod
    def beginning(cls, maximum: int) -> Share:
        """Make the share of a client before its first success."""
        return cls(max(1, maximum // _BEGINNERS))


@attrs.define(eq=False)
class Limiter:
    """Bound on the requests in flight of all clients that share it, in one event loop.

    Pass the same one to several clients: `UsageClient(limiter=…)`. Slots are shared fairly, and
    some stay free for further clients: a single client has at most half of them, n clients have
    1/(n+1) each, and every client has at least one while one is free. The limiter neither slows
    down nor stops after a 429; each client does so for itself.

    Args:
        maximum: The most requests in flight.

    Attributes:
        in_flight: Number of requests that hold a slot.

    Raises:
        ConfigurationError: The maximum is not an int of at least 1.
    """

    maximum: int
    in_flight: int = attrs.field(default=0, init=False)
    _queue: dict[Share, None] = attrs.field(factory=dict, init=False, repr=False)
    """The clients that wait; the one that has not been given a slot for longest comes first."""
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_count("Limiter", self.maximum)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        return sum(len(share.turns) for share in self._queue)

    async def acquire(self, share: Share) -> None:
        """Take a slot; wait until there is one.

        Raises:
            ConfigurationError: The limiter was used in another event loop.
        """
        loop = self._loop = running_loop(self._loop, "limiter")
        if not share.turns and self._may_take(share):
            if not share.waking:
                self._give(share)
                return
            share.is_followed = True
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
                share.waking -= 1
                self.release(share)
            raise
        share.waking -= 1
        if share.is_followed:
            share.is_followed = False
            self._hand_out()

    def release(self, share: Share) -> None:
        """Give a slot back."""
        share.held -= 1
        self.in_flight -= 1
        self._hand_out()

    def earn(self, share: Share) -> None:
        """Record a success of a client, which may then hold one slot more."""
        share.earned += 1
        self._hand_out()

    def _may_take(self, share: Share) -> bool:
        free = self.maximum - self.in_flight
        return free > 0 and (share.held == 0 or share.held < min(free, share.earned))

    def _give(self, share: Share) -> None:
        share.held += 1
        self.in_flight += 1

    def _hand_out(self) -> None:
        """Give free slots to waiting requests, one at a time to the client that holds fewest."""
        while (share := self._next()) is not None:
            turn = share.turns.popleft()
            # A request that was cancelled in this turn of the loop takes no slot.
            if not turn.done():
                self._give(share)
                share.waking += 1
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
    """Limit of one client: additive increase, halved on a 429, one cooldown for all requests.

    Requests start in the order in which they asked, except after a cooldown, which spreads the
    starts at random.

    Attributes:
        maximum: The most requests in flight, ever.
        limit: The most requests in flight at present. It grows by one for as many successes.
        in_flight: Number of requests that hold a slot, including those that wait for the end of a
            cooldown or for a slot of `shared`.
        cooldown_until: Reading of the runtime's monotonic clock before which no request starts.
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
    _waking: int = attrs.field(default=0, init=False, repr=False)
    """Number of requests that were given a slot and have not run since."""
    _is_followed: bool = attrs.field(default=False, init=False, repr=False)
    """True if a request queued up behind them although there is a slot for it."""

    def __attrs_post_init__(self) -> None:
        self.limit = float(self.maximum)
        # A likely mistake is to pass `client.limiter`, which is an AdaptiveLimiter.
        if self.shared is not None and not isinstance(self.shared, Limiter):
            raise ConfigurationError(f"limiter takes a Limiter, not {self.shared!r}")
        self._share = Share.beginning(self.maximum if self.shared is None else self.shared.maximum)

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot of this client."""
        return len(self._waiting)

    def slot(self) -> AbstractAsyncContextManager[float]:
        """Hold a slot of this client, and one of the shared bound, for one request.

        Returns:
            A context manager that gives the start of the request on the runtime's monotonic clock.

        Raises:
            ConfigurationError: The shared limiter was used in another event loop.
        """
        return _Slot(self)

    def succeeded(self) -> None:
        """Record a success: the limit grows by one for as many successes as it allows."""
        self.limit = min(self.limit + 1 / self.limit, float(self.maximum))
        self._wake()
        if self.shared is not None:
            self.shared.earn(self._share)

    def throttled(self, started_at: float) -> None:
        """Record a 429: the limit is halved, once for requests that were in flight together.

        Args:
            started_at: Start of the request, as `slot` gave it.
        """
        if started_at > self._halved_at:
            self.limit = max(self.limit / 2, 1.0)
            self._halved_at = self._runtime.monotonic()
            _log.debug("throttled: %r", self)

    def cool_down(self, delay_s: float) -> None:
        """Let no request start for `delay_s` seconds."""
        until = self._runtime.monotonic() + delay_s
        self.cooldown_until = max(self.cooldown_until, until)
        _log.debug("cooling down for %.2f s: %r", delay_s, self)

    async def _enter(self) -> float:
        await self._acquire()
        try:
            await self._start()
        except BaseException:
            self._free()
            raise
        return self._runtime.monotonic()

    def _leave(self) -> None:
        if self.shared is not None:
            self.shared.release(self._share)
        self._free()

    def _free(self) -> None:
        self.in_flight -= 1
        self._wake()

    async def _start(self) -> None:
        """Wait for the end of the cooldown and, if there is a shared bound, for a slot of it."""
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
        loop = asyncio.get_running_loop()
        if self.in_flight < int(self.limit) and not self._waiting:
            if not self._waking:
                self.in_flight += 1
                return
            self._is_followed = True
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._waking -= 1
                self.in_flight -= 1
                self._wake()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        self._waking -= 1
        if self._is_followed:
            self._is_followed = False
            self._wake()

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                self._waking += 1
                turn.set_result(None)


@attrs.define(eq=False)
class _Slot(AbstractAsyncContextManager[float]):
    """A slot as a context manager. A generator would cost several times as much a request."""

    _limiter: AdaptiveLimiter

    async def __aenter__(self) -> float:
        return await self._limiter._enter()  # noqa: SLF001 - part of the limiter

    async def __aexit__(self, *_: object) -> None:
        self._limiter._leave()  # noqa: SLF001 - part of the limiter
