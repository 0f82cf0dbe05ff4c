"""`Emulator`: a local HTTP server that speaks the API for a made-up organization."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self

import attrs
import msgspec
from aiohttp import web

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async.emulator.faults import Fault, Faults
from usage_async.emulator.organization.organization import Organization
from usage_async.emulator.quirks import Quirks
from usage_async.emulator.service import lists, refusals
from usage_async.emulator.service.breakage import cut, refusal_of, reset, spoil
from usage_async.emulator.service.page import make_page
from usage_async.emulator.service.query import parse

ADMIN_KEY = "sk-admin-emulator-0000-not-a-real-key"
"""The only key that an emulator accepts. It is valid nowhere else."""

_PREFIX = "/v1"
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")
_KEPT_REQUESTS = 100_000
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_encode = msgspec.json.Encoder(decimal_format="number").encode


@attrs.frozen(kw_only=True)
class Request:
    """A request that reached an emulator.

    Attributes:
        method: HTTP method.
        path: Decoded path, with the leading `/v1`.
        query: Decoded parameters, in order.
        headers: Headers by lowercase name, without those that carry secrets.
        status: Status of the reply; 0 if none was sent.
        fault: Failure that was produced on purpose.
        request_id: `x-request-id` of the reply.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    status: int
    fault: Fault
    request_id: str


@attrs.define(eq=False)
class Emulator:
    """A local organization that speaks the API, on a port of its own.

    Use it as `async with Emulator() as server:`. The figures depend only on the organization and
    the time, so two emulators with equal seeds give equal replies. The options can be replaced
    while the server runs (`server.quirks = Quirks(…)`); they hold from the next request on.

    Args:
        organization: Owner of the usage and the costs.
        now: Clock: a function that returns Unix seconds. There is no usage after it. Default: the
            system clock.
        latency_s: Seconds before every reply.
        faults: Failures to produce.
        quirks: Differences from the documentation.
        host: Address to listen on.
        port: Port to listen on; 0: any free port.

    Attributes:
        requests: Requests in the order of their replies, at most the latest 100,000.
    """

    organization: Organization = attrs.field(factory=Organization)
    now: Callable[[], float] | None = attrs.field(default=None, kw_only=True)
    latency_s: float = attrs.field(default=0.0, kw_only=True)
    faults: Faults = attrs.field(factory=Faults, kw_only=True)
    quirks: Quirks = attrs.field(factory=Quirks, kw_only=True)
    host: str = attrs.field(default="127.0.0.1", kw_only=True)
    port: int = attrs.field(default=0, kw_only=True)
    requests: list[Request] = attrs.field(init=False, factory=list, repr=False)
    _runner: web.AppRunner | None = attrs.field(init=False, default=None, repr=False)
    _closing: asyncio.Event = attrs.field(init=False, factory=asyncio.Event, repr=False)
    _in_flight: int = attrs.field(init=False, default=0, repr=False)
    _arrived: int = attrs.field(init=False, default=0, repr=False)
    _attempts: Counter[str] = attrs.field(init=False, factory=Counter, repr=False)

    @property
    def url(self) -> str:
        """The `base_url` for a client."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{_PREFIX}"

    @property
    def admin_key(self) -> str:
        """The key that the emulator accepts, an obvious fake."""
        return ADMIN_KEY

    async def start(self) -> None:
        """Start to listen, and set `port` to the port in use."""
        self._closing.clear()
        runner = web.AppRunner(
            self.build_app(), access_log=None, shutdown_timeout=1, handler_cancellation=True
        )
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except BaseException:
            await self.close()
            raise
        self.port = runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, and abort the requests in flight."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        # Stop listening first: the client of an aborted request would connect again.
        for site in list(runner.sites):
            await site.stop()
        self._closing.set()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def build_app(self) -> web.Application:
        """Make the aiohttp application, with a route for every endpoint of the table."""
        app = web.Application(middlewares=[self._answer])
        for endpoint in ENDPOINTS.values():
            app.router.add_get(_PREFIX + endpoint.path, self._page_of(endpoint), allow_head=False)
        for path, make in lists.LISTS.items():
            app.router.add_get(_PREFIX + path, self._list_of(make), allow_head=False)
        return app

    def _time(self) -> float:
        return time.time() if self.now is None else self.now()

    def _page_of(self, endpoint: Endpoint) -> _Handler:
        async def answer(request: web.Request) -> web.Response:
            now = int(self._time())
            query = parse(endpoint, _pairs(request), now, self.quirks)
            return _json(200, make_page(self.organization, query, now, self.quirks))

        return answer

    def _list_of(self, make: Callable[[lists.ListRequest], Any]) -> _Handler:
        async def answer(request: web.Request) -> web.Response:
            if self.quirks.refuse_names:
                raise refusals.missing_scope(_scope(request))
            project_id = _text(request.match_info.get("project_id", ""))
            asked = lists.ListRequest(self.organization, _pairs(request), self.quirks, project_id)
            return _json(200, make(asked))

        return answer

    @web.middleware
    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer a request. Its fault comes first, then the check of its key, then its route."""
        number, self._arrived = self._arrived, self._arrived + 1
        fault = self._draw(_text(request.path_qs), number)
        request_id = f"req_{number:032x}"
        status = 0
        self._in_flight += 1
        try:
            if fault == "hang":
                await self._closing.wait()
            if fault in ("hang", "reset"):
                return reset(request)
            response = await self._respond(request, handler, fault)
            response.headers["x-request-id"] = request_id
            if self.quirks.compress and "Content-Encoding" not in response.headers:
                response.enable_compression()
            if fault == "cut":
                response = await cut(request, response)
            status = response.status
        finally:
            self._in_flight -= 1
            self._record(request, status, fault, request_id)
        return response

    def _draw(self, target: str, number: int) -> Fault:
        if len(self._attempts) >= _KEPT_REQUESTS:
            self._attempts.clear()
        fault = self.faults.draw(target, self._attempts[target], number)
        self._attempts[target] += 1
        most = self.faults.throttle
        return "throttle" if most is not None and self._in_flight >= most else fault

    async def _respond(
        self, request: web.Request, handler: _Handler, fault: Fault
    ) -> web.StreamResponse:
        delay_s = self.latency_s + self.faults.delay_s * (fault == "delay")
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            failure = refusal_of(fault, self.faults, self._time(), scope=_scope(request))
            if failure is not None:
                raise failure
            _check_key(request)
            response: web.StreamResponse = await handler(request)
        except refusals.Refusal as refusal:
            response = _refuse(refusal)
        except web.HTTPNotFound:
            response = _refuse(refusals.not_found(_text(request.path)))
        except web.HTTPMethodNotAllowed:
            not_allowed = refusals.method_not_allowed(request.method, _text(request.path))
            response = _refuse(not_allowed)
        return spoil(response, fault)

    def _record(self, request: web.Request, status: int, fault: Fault, request_id: str) -> None:
        headers = {
            name.lower(): value
            for name, value in request.headers.items()
            if name.lower() not in _SECRET_HEADERS
        }
        if len(self.requests) >= _KEPT_REQUESTS:
            del self.requests[: _KEPT_REQUESTS // 10]
        self.requests.append(
            Request(
                method=request.method,
                path=_text(request.path),
                query=_pairs(request),
                headers=MappingProxyType(headers),
                status=status,
                fault=fault,
                request_id=request_id,
            )
        )


def _pairs(request: web.Request) -> tuple[tuple[str, str], ...]:
    return tuple((_text(name), _text(value)) for name, value in request.query.items())


def _text(sent: str) -> str:
    """Escape bytes that are not UTF-8, so that the text can be encoded again."""
    return sent.encode("utf-8", "backslashreplace").decode()


def _scope(request: web.Request) -> str:
    is_usage = "/usage/" in request.path or request.path.endswith("/costs")
    return "api.usage.read" if is_usage else "api.management.read"


def _json(
    status: int, value: Any, headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    return web.Response(
        status=status, body=_encode(value), content_type="application/json", headers=headers
    )


def _refuse(refusal: refusals.Refusal) -> web.Response:
    return _json(refusal.status, refusal.body, refusal.headers)


def _check_key(request: web.Request) -> None:
    """Check the key of a request.

    Raises:
        Refusal: 401 for an unknown key, 403 for a key that is not an admin key.
    """
    scheme, _, key = _text(request.headers.get("Authorization", "")).partition(" ")
    key = key.strip() if scheme.lower() == "bearer" else ""
    if hmac.compare_digest(key.encode(), ADMIN_KEY.encode()):
        return
    if key.startswith(("sk-", "sess-")) and not key.startswith("sk-admin-"):
        raise refusals.forbidden(key, _scope(request))
    raise refusals.unauthorized(key)


async def serve(emulator: Emulator, *, started: Callable[[Emulator], object] | None = None) -> None:
    """Run an emulator until the task is cancelled.

    Args:
        emulator: The emulator, not started.
        started: Called with the emulator as soon as it listens.
    """
    async with emulator:
        if started is not None:
            started(emulator)
        await asyncio.Event().wait()
