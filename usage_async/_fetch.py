"""One request, whole: tried again until its page has parsed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from usage_async._codec import Decoded, decode, decode_error
from usage_async._retry import RetryBudget, RetryPolicy, next_delay
from usage_async.errors import (
    APIStatusError,
    AuthenticationError,
    RateLimitError,
    ResponseError,
    UsageError,
    redact,
)
from usage_async.models import UsageResult

if TYPE_CHECKING:
    from usage_async._custody import KeyCustody
    from usage_async._limiter import AdaptiveLimiter
    from usage_async._runtime import Runtime
    from usage_async._transport import Transport

R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

_log = logging.getLogger("usage_async")

_OK = range(200, 300)
_SMALL_BYTES = 1 << 16
"""A page that is read at once: some 3 ms with care, even if several of them arrive together."""


@attrs.frozen(kw_only=True)
class RequestEvent:
    """One try of one request, when it is over.

    Attributes:
        method: Always `GET`.
        path: Below the base URL.
        attempt: Which try it was, from 1.
        seconds: From its start to the last byte; waiting for a slot and decoding not included.
        ended_at: When the last byte came, Unix seconds. The event itself may come later: a page is
            decoded, and so known to be one, shortly before its turn.
        status: The HTTP status; None where there was no reply.
        bytes: Size of the body, decompressed.
        request_id: The service's `x-request-id`.
        error: Class of the error that it ended in.
    """

    method: str = "GET"
    path: str
    attempt: int
    seconds: float
    ended_at: float
    status: int | None = None
    bytes: int = 0
    request_id: str | None = None
    error: str | None = None


async def in_turns(steps: Generator[None, None, T], *, is_small: bool = False) -> T:
    """Take the steps of a reading; the event loop gets a turn before each, unless it is small."""
    while True:
        if not is_small:
            await asyncio.sleep(0)
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


@attrs.frozen(eq=False)
class PageRequest(Generic[R]):
    """What is asked for.

    Attributes:
        path: Below the base URL.
        params: Names and values, as they are sent.
        kind: The class of the endpoint's own rows.
        turn: Until it is set, the page stays as it came.
    """

    path: str
    params: Sequence[tuple[str, str]]
    kind: type[R]
    turn: asyncio.Event


@attrs.frozen
class _Try(Generic[R]):
    """What came of one try.

    Attributes:
        started_at: When its request started, on the runtime's monotonic clock.
        outcome: A page, or what it ended in.
        waited_s: How long the page waited for its turn: no fault of the service's.
    """

    started_at: float
    outcome: Decoded[R] | UsageError
    waited_s: float = 0.0


@attrs.define(eq=False, kw_only=True)
class Fetcher:
    """What all requests of a client share."""

    transport: Transport
    custody: KeyCustody
    limiter: AdaptiveLimiter
    policy: RetryPolicy
    runtime: Runtime
    headers: Mapping[str, str]
    trace: Callable[[RequestEvent], object] | None = None
    budget: RetryBudget = attrs.field(init=False)
    _decoding: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.budget = RetryBudget(self.policy.budget)

    async def fetch(self, asked: PageRequest[R]) -> Decoded[R]:
        """Get one page.

        Raises:
            UsageError: What the last try ended in.
        """
        begun: float | None = None
        attempt, renewed = 1, False
        while True:
            authorization = await self.custody.authorization()
            headers = {**self.headers, **authorization}
            tried = await self._once(asked, headers, attempt)
            outcome = tried.outcome
            if isinstance(outcome, Decoded):
                return outcome
            begun = (tried.started_at if begun is None else begun) + tried.waited_s
            if isinstance(outcome, AuthenticationError) and not renewed:
                renewed = await self.custody.renew(authorization.get("Authorization"))
                if renewed:
                    continue
            delay = next_delay(
                outcome,
                attempt,
                policy=self.policy,
                elapsed_s=self.runtime.monotonic() - begun,
                jitter=self.runtime.random(),
            )
            if delay is None or not self.budget.spend(outcome):
                raise outcome
            if isinstance(outcome, RateLimitError):
                self.limiter.cool_down(delay)
            else:
                await self.runtime.sleep(delay)
            attempt += 1

    async def _once(
        self, asked: PageRequest[R], headers: Mapping[str, str], attempt: int
    ) -> _Try[R]:
        async with self.limiter.slot() as started_at:

            def event(**reply: Any) -> RequestEvent:
                return RequestEvent(
                    path=asked.path,
                    attempt=attempt,
                    seconds=self.runtime.monotonic() - started_at,
                    ended_at=self.runtime.now(),
                    **reply,
                )

            try:
                status, replied, body = await self.transport(asked.path, asked.params, headers)
            except BaseException as error:
                self._observe(event(), error)
                if isinstance(error, UsageError):
                    return _Try(started_at, error)
                raise
            replied = {name.lower(): value for name, value in replied.items()}
            request_id = redact(replied.get("x-request-id", "")) or None
            ended = event(status=status, bytes=len(body), request_id=request_id)
        waited_s = 0.0
        outcome: Decoded[R] | ResponseError | APIStatusError
        if status in _OK:
            self.limiter.succeeded()
            try:
                waited_s = await self._until(asked.turn)
                outcome = await self._page(body, asked.kind)
            except BaseException as error:
                self._observe(ended, error)
                raise
        else:
            outcome = decode_error(status, replied, body, self.runtime.now())
        failure = None if isinstance(outcome, Decoded) else outcome
        if failure is not None:
            failure.request_id = request_id
        self._observe(ended, failure)
        if isinstance(failure, RateLimitError):
            self.limiter.throttled(started_at)
        elif failure is None:
            self.budget.give_back()
        return _Try(started_at, outcome, waited_s)

    async def _until(self, turn: asyncio.Event) -> float:
        """Wait for a page's turn; gives how many seconds it took."""
        since = self.runtime.monotonic()
        await turn.wait()
        return self.runtime.monotonic() - since

    async def _page(self, body: bytes, kind: type[R]) -> Decoded[R] | ResponseError:
        # One page at a time: those that arrive together must not add up to one long turn.
        async with self._decoding:
            try:
                return await in_turns(decode(body, kind), is_small=len(body) <= _SMALL_BYTES)
            except ResponseError as error:
                # Where it came from holds the body, which would live and be shown with it.
                error.__context__ = None
                return error.with_traceback(None)

    def _observe(self, event: RequestEvent, error: BaseException | None) -> None:
        if error is not None:
            event = attrs.evolve(event, error=type(error).__name__)
        _log.debug(
            "GET %s: %s %s, %d bytes, %.3f s, attempt %d, request %s",
            event.path,
            event.status,
            event.error or "OK",
            event.bytes,
            event.seconds,
            event.attempt,
            event.request_id,
        )
        if self.trace is not None:
            self.trace(event)
