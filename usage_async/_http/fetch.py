"""Fetch: one request, tried again until its reply has been read completely.

Text of the service may echo the key, and is redacted before it leaves this file. It is redacted
before it is shortened, because a part of a key cannot be recognized: an error reply as a whole, a
page only if it is not exactly as declared. Every error then passes `Fetcher.told`, because a
caller's transport raises errors of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

import attrs

from usage_async._api.exact import short_repr
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._codec.redactor import shortened
from usage_async._codec.replies import decode_error
from usage_async._http.retry import RetryBudget, RetryPolicy, next_delay
from usage_async._query.paths import is_allowed
from usage_async.errors import (
    APIStatusError,
    AuthenticationError,
    QueryError,
    RateLimitError,
    ResponseError,
    UsageError,
    redact,
)

if TYPE_CHECKING:
    from usage_async._codec.redactor import Redactor
    from usage_async._http.key import KeyCustody
    from usage_async._http.limiter import AdaptiveLimiter
    from usage_async._http.runtime import Runtime
    from usage_async._http.transport import Transport

E = TypeVar("E", bound=UsageError)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_log = logging.getLogger("usage_async")

_OK = range(200, 300)
_LONGEST_TEXT = 4096
_TINY_BYTES = 1 << 14
"""Largest reply that is decoded when it arrives. That takes less time than to receive it."""
_SMALL_BYTES = 1 << 16
"""Largest reply that is decoded without giving the event loop turns, and the most of several that
are decoded within one turn. It takes up to 3 ms."""


@attrs.frozen(kw_only=True)
class RequestEvent:
    """One finished try of a request.

    Attributes:
        method: Always `GET`.
        path: Path below the base URL.
        attempt: Number of the try, from 1.
        seconds: Time from its start to the last byte, without the wait for a slot and decoding.
        ended_at: Unix seconds at which the last byte came. The event itself may come later, because
            a page of more than 16 KiB is decoded shortly before its turn, and is not known to be
            complete before.
        status: The HTTP status; None if there was no reply.
        bytes: Size of the body after decompression.
        request_id: The `x-request-id` of the reply.
        error: Name of the class of the error that the try ended in.
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
    __get_pydantic_core_schema__ = pydantic_schema


async def in_turns(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end, and return its value; give the event loop a turn a step."""
    while True:
        await asyncio.sleep(0)
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


def _at_once(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end, and return its value; give the event loop no turns."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


@attrs.define(eq=False)
class _Decoding:
    """Bound of what all clients of an event loop decode within one turn of it.

    Replies that arrive together must not add up to one long turn.

    Attributes:
        lock: Lets one client at a time decode what does not fit into this turn.
        spent: Bytes that were decoded since the loop's last turn.
    """

    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    spent: int = 0

    def spend(self, size: int) -> bool:
        """Count a reply, if it may be decoded within this turn of the loop."""
        if not self.spent:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        elif self.spent + size > _SMALL_BYTES:
            return False
        self.spent += size
        return True

    def _begin_turn(self) -> None:
        self.spent = 0


_DECODING: WeakKeyDictionary[asyncio.AbstractEventLoop, _Decoding] = WeakKeyDictionary()


def _decoding() -> _Decoding:
    """Give the bound of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _DECODING.get(loop)
    if found is None:
        found = _DECODING[loop] = _Decoding()
    return found


def _with_lowercase_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class Decoder(Protocol[T_co]):
    """Reader of the bodies of replies, such as pages of usage, lists of names, or one object."""

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:
        """Check a body at once, without reading all of it.

        Returns:
            The error that `decode` would raise; None if there is none, or only `decode` can tell.
        """
        ...

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, T_co]:
        """Read a body step by step.

        Raises:
            ResponseError: The body is not what the request asked for.
        """
        ...


@attrs.define(eq=False)
class Request(Generic[T]):
    """One request, over all its tries.

    Attributes:
        path: Path below the base URL.
        params: Names and values of the query string.
        decoder: Reader of its reply.
        turn: Event that is set when the caller waits for the reply, which stays bytes until then if
            it is larger than 16 KiB.
        attempt: Number of the current try, from 1.
        begun: Start of the first try on the runtime's monotonic clock, None before it. It is moved
            on by the time that replies waited for their turn, so that the retry deadline does not
            include it.
    """

    path: str
    params: Sequence[tuple[str, str]]
    decoder: Decoder[T]
    turn: asyncio.Event = attrs.field(factory=asyncio.Event)
    attempt: int = attrs.field(default=1, init=False)
    begun: float | None = attrs.field(default=None, init=False)


@attrs.define(eq=False)
class _Reply:
    """Reply of a transport. Its repr shows no text of the service.

    Attributes:
        status: The HTTP status.
        headers: Headers; their names may have any case.
        body: The whole body.
        started_at: Start of the request on the runtime's monotonic clock.
        seconds: Time from its start to the last byte.
        ended_at: Unix seconds at which the last byte came.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    started_at: float
    seconds: float
    ended_at: float


@attrs.define(eq=False, kw_only=True)
class Fetcher:
    """Sender of all requests of a client: it authorizes, limits, traces and retries them.

    Attributes:
        transport: Sends one request.
        custody: Holds the key.
        limiter: Bounds the requests in flight.
        policy: Limits of retrying.
        runtime: Clocks, sleep and chance.
        headers: Headers of every request, without the key.
        trace: Hook that is called with every finished try.
        budget: Retry tokens that are left.
    """

    transport: Transport
    custody: KeyCustody
    limiter: AdaptiveLimiter
    policy: RetryPolicy
    runtime: Runtime
    headers: Mapping[str, str]
    trace: Callable[[RequestEvent], object] | None = None
    budget: RetryBudget = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.budget = RetryBudget(self.policy.budget)

    async def fetch(self, request: Request[T]) -> T:
        """Send a request until its reply has been read, or no further try is allowed.

        Raises:
            QueryError: The path is not below `/organization/`, or the URL would hold the key.
                Nothing was sent.
            UsageError: The last try failed.
        """
        if not is_allowed(request.path):
            raise QueryError(f"{self._text(request.path)!r} is not a path below /organization/")
        renewed = False
        while True:
            authorization = await self.custody.authorization()
            if self._holds_key(request):
                # Proxies and servers log URLs.
                raise QueryError("the path or a parameter holds the key; pass it as admin_key only")
            try:
                return await self._try(request, {**self.headers, **authorization})
            except UsageError as error:
                # The frames of its traceback hold the reply.
                failure = error.with_traceback(None)
            if isinstance(failure, AuthenticationError) and not renewed:
                renewed = await self.custody.renew(authorization.get("Authorization"))
                if renewed:
                    continue
            await self._wait_to_retry(request, failure)

    def _holds_key(self, request: Request[Any]) -> bool:
        # No key holds a line end, so none is found across two texts.
        texts = "\n".join([request.path, *[value for _, value in request.params]])
        return any(key in texts for key in self.custody.redactor.keys)

    async def _wait_to_retry(self, request: Request[Any], failure: UsageError) -> None:
        """Wait until a request may be tried again; raise its failure if it may not."""
        now = self.runtime.monotonic()
        delay = next_delay(
            failure,
            request.attempt,
            policy=self.policy,
            elapsed_s=now - (now if request.begun is None else request.begun),
            jitter=self.runtime.random(),
        )
        if delay is None or not self.budget.spend(failure):
            raise failure
        if isinstance(failure, RateLimitError):
            self.limiter.cool_down(delay)
        else:
            await self.runtime.sleep(delay)
        request.attempt += 1

    async def _try(self, request: Request[T], headers: Mapping[str, str]) -> T:
        reply = await self._send(request, headers)
        failure: ResponseError | APIStatusError
        if reply.status in _OK:
            try:
                value = await self._decoded(request, reply)
            except ResponseError as error:
                failure = error
            except BaseException as error:
                self._observe(request, reply, error)
                raise
            else:
                self._observe(request, reply, None)
                self.budget.give_back()
                return value
        else:
            now, redactor = self.runtime.now(), self.custody.redactor
            headers = _with_lowercase_names(reply.headers)
            failure = decode_error(reply.status, headers, reply.body, now, redactor)
        self._observe(request, reply, failure)
        if isinstance(failure, RateLimitError):
            self.limiter.throttled(reply.started_at)
        failure.request_id = self._request_id(reply)
        raise self.told(failure)

    async def _send(self, request: Request[Any], headers: Mapping[str, str]) -> _Reply:
        async with self.limiter.slot() as started_at:
            if request.begun is None:
                request.begun = started_at
            try:
                status, named, body = await self.transport(request.path, request.params, headers)
            except BaseException as error:
                self._observe(request, started_at, error)
                if not isinstance(error, UsageError):
                    raise
                failure = error
            else:
                runtime = self.runtime
                seconds = runtime.monotonic() - started_at
                return _Reply(status, named, body, started_at, seconds, runtime.now())
        raise self.told(failure)

    async def _decoded(self, request: Request[T], reply: _Reply) -> T:
        decoder, redactor = request.decoder, self.custody.redactor
        size, bound = len(reply.body), _decoding()
        is_tiny = size <= _TINY_BYTES
        if is_tiny and bound.spend(size):
            value = _at_once(decoder.decode(reply.body, redactor))
            self.limiter.succeeded()
            return value
        is_early = not is_tiny and not request.turn.is_set()
        if is_early:
            # A reply that is no page is asked for again before its turn comes.
            failure = decoder.probe(reply.body, redactor)
            if failure is not None:
                raise failure
            self.limiter.succeeded()
            since = self.runtime.monotonic()
            await request.turn.wait()
            request.begun = (request.begun or since) + self.runtime.monotonic() - since
        async with bound.lock:
            steps = decoder.decode(reply.body, redactor)
            if size > _SMALL_BYTES:
                value = await in_turns(steps)
            else:
                # One turn is enough: waiting for room could last while tiny replies take it.
                if not bound.spend(size):
                    await asyncio.sleep(0)
                    bound.spend(size)
                value = _at_once(steps)
        if not is_early:
            self.limiter.succeeded()
        return value

    def _text(self, text: str) -> str:
        return shortened(redact(self.custody.redactor.text(text)))

    def told(self, error: E) -> E:
        """Remove the key, long texts and the traceback from an error that leaves the library."""

        def fit(value: Any) -> Any:
            if isinstance(value, str):
                return shortened(self.custody.redactor.text(value), _LONGEST_TEXT)
            return type(value)(map(fit, value)) if type(value) in (tuple, list) else value

        error.args = fit(error.args)
        vars(error).update({name: fit(value) for name, value in vars(error).items()})
        # The frames of its origin hold the reply.
        error.__context__ = error.__cause__ = None
        return error.with_traceback(None)

    def _request_id(self, reply: _Reply) -> str | None:
        return self._text(_with_lowercase_names(reply.headers).get("x-request-id", "")) or None

    def _observe(
        self, request: Request[Any], reply: _Reply | float, error: BaseException | None
    ) -> None:
        """Log and trace the end of a try.

        Args:
            request: The request.
            reply: Its reply; without one, its start on the runtime's monotonic clock.
            error: The error that the try ended in.
        """
        is_logged = _log.isEnabledFor(logging.DEBUG)
        if self.trace is None and not is_logged:
            return
        event = RequestEvent(
            path=request.path,
            attempt=request.attempt,
            error=None if error is None else type(error).__name__,
            **self._seen(reply),
        )
        if is_logged:
            self._log(event)
        if self.trace is not None:
            self.trace(event)

    def _seen(self, reply: _Reply | float) -> dict[str, Any]:
        if not isinstance(reply, _Reply):
            now = self.runtime.now()
            return {"seconds": self.runtime.monotonic() - reply, "ended_at": now}
        return {
            "seconds": reply.seconds,
            "ended_at": reply.ended_at,
            "status": reply.status,
            "bytes": len(reply.body),
            "request_id": self._request_id(reply),
        }

    def place(self, endpoint: str) -> str:
        """Name an endpoint and, if it is known, the organization, for log lines."""
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
