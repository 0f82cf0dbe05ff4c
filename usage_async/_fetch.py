"""One request, whole: tried again until its page has parsed.

What a service says may echo the key, and leaves this room without it. A reply is redacted before
anything is cut from it: an error's whole, a page's where it is not just what is declared. What a
request then ends in passes `Fetcher._told`, since transports raise errors of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from usage_async._codec import Decoded, decode, decode_error, probe
from usage_async._fields import short_repr
from usage_async._redactor import shortened
from usage_async._retry import RetryBudget, RetryPolicy, next_delay
from usage_async.errors import (
    APIStatusError,
    AuthenticationError,
    QueryError,
    RateLimitError,
    ResponseError,
    UsageError,
    redact,
)
from usage_async.models import UsageResult
from usage_async.query import PATH

if TYPE_CHECKING:
    from usage_async._custody import KeyCustody
    from usage_async._limiter import AdaptiveLimiter
    from usage_async._runtime import Runtime
    from usage_async._transport import Transport

E = TypeVar("E", bound=UsageError)
R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

_log = logging.getLogger("usage_async")

_OK = range(200, 300)
_LONGEST_TEXT = 4096
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
            decoded, and so known to be whole, shortly before its turn.
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

    __repr__ = short_repr


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


def _lowercase(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@attrs.frozen(eq=False)
class _Reply:
    """What a transport gave; what prints it does not tell what the service said."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False, converter=_lowercase)
    body: bytes = attrs.field(repr=False)


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
            QueryError: The path is none below `/organization/`; nothing was sent.
            UsageError: What the last try ended in.
        """
        if not PATH.fullmatch(asked.path):
            raise QueryError(f"{shortened(redact(asked.path))!r} is no path below /organization/")
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
                reply = _Reply(*await self.transport(asked.path, asked.params, headers))
            except BaseException as error:
                self._observe(event(), error)
                if isinstance(error, UsageError):
                    return _Try(started_at, self._told(error))
                raise
            request_id = self._text(reply.headers.get("x-request-id", "")) or None
            ended = event(status=reply.status, bytes=len(reply.body), request_id=request_id)
        waited_s = 0.0
        outcome: Decoded[R] | ResponseError | APIStatusError | None
        if reply.status in _OK:
            self.limiter.succeeded()
            outcome = self._probed(reply, asked)
            if outcome is None:
                try:
                    waited_s = await self._until(asked.turn)
                    outcome = await self._page(reply, asked.kind)
                except BaseException as error:
                    self._observe(ended, error)
                    raise
        else:
            outcome = self._failure(reply)
        failure = None if isinstance(outcome, Decoded) else self._told(outcome)
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

    def _probed(self, reply: _Reply, asked: PageRequest[R]) -> ResponseError | None:
        """Tell what is no page before its turn, so that it is tried again meanwhile."""
        if asked.turn.is_set():
            return None
        return probe(reply.body, asked.kind, redactor=self.custody.redactor)

    async def _page(self, reply: _Reply, kind: type[R]) -> Decoded[R] | ResponseError:
        # One page at a time: those that arrive together must not add up to one long turn.
        async with self._decoding:
            steps = decode(reply.body, kind, redactor=self.custody.redactor)
            try:
                return await in_turns(steps, is_small=len(reply.body) <= _SMALL_BYTES)
            except ResponseError as error:
                return error

    def _failure(self, reply: _Reply) -> APIStatusError:
        now, redactor = self.runtime.now(), self.custody.redactor
        return decode_error(reply.status, reply.headers, reply.body, now, redactor)

    def _text(self, text: str) -> str:
        return shortened(redact(self.custody.redactor.text(text)))

    def _told(self, error: E) -> E:
        """Make an error fit to leave: without the key, bounded, its origin forgotten."""

        def fit(value: Any) -> Any:
            if isinstance(value, str):
                return shortened(self.custody.redactor.text(value), _LONGEST_TEXT)
            return type(value)(map(fit, value)) if type(value) in (tuple, list) else value

        error.args = fit(error.args)
        vars(error).update({name: fit(value) for name, value in vars(error).items()})
        # Where it came from holds the reply, which would live and be shown with it.
        error.__context__ = error.__cause__ = None
        return error.with_traceback(None)

    def _observe(self, event: RequestEvent, error: BaseException | None) -> None:
        if error is not None:
            event = attrs.evolve(event, error=type(error).__name__)
        if _log.isEnabledFor(logging.DEBUG):
            self._log(event)
        if self.trace is not None:
            self.trace(event)

    def place(self, endpoint: str) -> str:
        """Name an endpoint and, where it is known, the organization, for log lines."""
        organization = self.headers.get("OpenAI-Organization")
        return f"{endpoint} of {self._text(organization)}" if organization else endpoint

    def _log(self, event: RequestEvent) -> None:
        _log.debug(
            "%s: GET %s: %s %s, %d bytes, %.3f s, attempt %d, request %s",
            self.place(event.path.rpartition("/")[2] or event.path),
            event.path,
            event.status,
            event.error or "OK",
            event.bytes,
            event.seconds,
            event.attempt,
            event.request_id,
        )
