"""Local application: the routes, the metrics and a page, for one person on one machine.

Theory of operation. A server on loopback is open to every program and every user of the machine,
and every web page that a browser shows can send requests to it. So nothing is answered before three
checks:

- *The name is ours*: `Host` is this address and port. Otherwise a foreign page could point a name
  of its own here (DNS rebinding) and read the replies as its own.
- *No page of others asks*: `Origin` and `Sec-Fetch-Site`, which browsers send and scripts cannot
  forge, name no other origin. Pages on other ports of this machine are others, too, although
  `SameSite` counts them as ours.
- *Somebody has been told the token*: by a cookie, or as `Authorization: Bearer`.

The token is printed as part of a URL. A browser that opens it gets a cookie in its place, and is
sent to the same page without the token, so that the token stays out of the address bar, of
bookmarks and of `Referer`. It can be exchanged as long as the server runs: the printed URL also
opens a second browser, and programs keep using the token. Cookies ignore ports, so a browser shows
ours to whatever else listens on this machine; therefore the cookie is not the token but a random
session id, which dies with the server, and its name contains the port.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode

import attrs
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

from usage_async.errors import UsageError
from usage_async.fastapi.failures import failure_of, install_error_handlers
from usage_async.fastapi.lifespan import Lifespan
from usage_async.fastapi.metrics import metrics_router
from usage_async.fastapi.replies import JSON
from usage_async.fastapi.router import usage_router
from usage_async.fastapi.scope import ALL
from usage_async.report.dimensions import word_of
from usage_async.report.html.charts import charts_of, draw_served
from usage_async.report.html.form import Form, Question, form_of
from usage_async.report.html.page import POLICY, failed_page, report_page
from usage_async.report.json import report_as_json
from usage_async.report.spec import read_by
from usage_async.report.values import Report, View
from usage_async.report.worker import in_worker

_NAMES = ("127.0.0.1", "localhost", "[::1]")
_HTTP_PORT = 80
_MOST_SESSIONS = 100
_TOKEN_BYTES = 32
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every reply that does not say otherwise."""

_SIGN_IN = (
    "Open the URL that usage-async serve has printed, with its token."
    " Programs send the token as `Authorization: Bearer TOKEN`.\n"
)
_FOREIGN_HOST = "This server answers only to the address that usage-async serve has printed.\n"
_FOREIGN_PAGE = (
    "Another site has asked for this. Open the URL that usage-async serve has printed by hand.\n"
)

PAGE_AS_JSON = "/page.json"
"""Path of the figures of the page as JSON."""

Read = Callable[[Question], Awaitable[tuple[Report, View]]]


def new_token() -> str:
    """Make a random token."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


@attrs.define(eq=False)
class LocalGuard:
    """An application behind the checks of a local server.

    Args:
        app: The application.
        port: Port on which it is served.
        token: The token.
        on_bug: Called with each error that the application does not answer.
    """

    app: ASGIApp
    port: int
    token: str = attrs.field(repr=False)
    on_bug: Callable[[Exception], object]
    _sessions: dict[bytes, None] = attrs.field(factory=dict, init=False, repr=False)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await (self._refusal(scope) or self._exchange(scope) or self._allowed(scope))(
                # The server sends no body in reply to HEAD, whatever the application gives it.
                {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope,
                receive,
                send_guarded,
            )
        except Exception as error:
            self.on_bug(error)
            raise

    @property
    def cookie(self) -> str:
        """Name of the cookie."""
        return f"usage_async_{self.port}"

    def _refusal(self, scope: ASGIScope) -> Response | None:
        """Refuse a request that names another host, or that a page of another origin sends."""
        hosts = [f"{name}:{self.port}" for name in _NAMES]
        hosts += _NAMES if self.port == _HTTP_PORT else ()
        named = [value.lower() for value in _values(scope, b"host")]
        if len(named) != 1 or named[0] not in hosts:
            return PlainTextResponse(_FOREIGN_HOST, HTTPStatus.MISDIRECTED_REQUEST)
        origins = set(_values(scope, b"origin")) - {f"http://{named[0]}"}
        if origins or {*_values(scope, b"sec-fetch-site")} - {"same-origin", "none"}:
            return PlainTextResponse(_FOREIGN_PAGE, HTTPStatus.FORBIDDEN)
        return None

    def _exchange(self, scope: ASGIScope) -> Response | None:
        """Exchange the token of a URL for a cookie; None where the URL has none."""
        query = scope["query_string"].decode("latin-1")
        pairs = parse_qsl(query, encoding="latin-1")
        given = [value.encode("latin-1") for name, value in pairs if name == "token"]
        if scope["path"] != "/" or not given:
            return None
        if not self._is_token(given[-1]):
            return _unknown()
        session = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[session.encode()] = None
        if len(self._sessions) > _MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        reply = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        reply.set_cookie(self.cookie, session, httponly=True, samesite="strict")
        return reply

    def _allowed(self, scope: ASGIScope) -> ASGIApp:
        known = [self._is_token(given) for given in _bearers(scope)]
        known += [self._is_session(given) for given in _cookies(scope, self.cookie)]
        return self.app if any(known) else _unknown()

    def _is_token(self, given: bytes) -> bool:
        return secrets.compare_digest(given, self.token.encode())

    def _is_session(self, given: bytes) -> bool:
        # Each is compared: the time tells neither which one it is nor how much of it is right.
        found = [secrets.compare_digest(given, session) for session in self._sessions]
        return any(found)


def _unknown() -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="usage-async"'}
    return PlainTextResponse(_SIGN_IN, HTTPStatus.UNAUTHORIZED, headers)


def _values(scope: ASGIScope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _bearers(scope: ASGIScope) -> Iterator[bytes]:
    for value in _values(scope, b"authorization"):
        scheme, _, given = value.partition(" ")
        if scheme.lower() == "bearer":
            yield given.strip().encode("latin-1")


def _cookies(scope: ASGIScope, wanted: str) -> Iterator[bytes]:
    """Give every value of a cookie: a page on another port may have set one of the same name."""
    for header in _values(scope, b"cookie"):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted:
                yield value.encode("latin-1")


def local_app(
    lifespan: Lifespan,
    *,
    question: Question,
    read: Read,
    explain: Callable[[Exception], str],
) -> FastAPI:
    """Make the application, without its guard.

    Args:
        lifespan: Gives the client of `usage_router` and `metrics_router`.
        question: The report that the page shows where it is not asked for another.
        read: Reads a report, compared with the period before, and what to say beside it.
        explain: Tells a person of an error, in one line.
    """
    # The pages of the documentation would load scripts from elsewhere.
    app = FastAPI(title="usage-async serve", docs_url=None, redoc_url=None, lifespan=lifespan)

    async def everything() -> Any:
        return ALL

    async def page(request: Request) -> Response:
        asked, status = question, HTTPStatus.OK
        try:
            asked = _asked(request, question)
            report, view = await read(asked)
            drawings = await draw_served(await in_worker(charts_of, report))
            body = await in_worker(report_page, report, view, drawings, _form(asked))
        except UsageError as error:
            status = HTTPStatus(failure_of(error).status)
            body = failed_page(_form(asked), explain(error))
        return HTMLResponse(body, status, {"Content-Security-Policy": POLICY})

    async def same_as_json(request: Request) -> Response:
        body = await in_worker(report_as_json, *await read(_asked(request, question)))
        return Response(body, media_type=JSON)

    install_error_handlers(app)
    app.add_api_route("/", page, include_in_schema=False)
    # Unlike /report.json it has the names, the notices and the service's words that the page has.
    app.add_api_route(PAGE_AS_JSON, same_as_json, include_in_schema=False)
    app.include_router(usage_router(scope=everything))
    app.include_router(metrics_router(scope=everything))
    return app


def _asked(request: Request, question: Question) -> Question:
    """Read what is asked for; what is left out is as in the page's own question.

    Raises:
        QueryError: There is no such dimension.
    """
    by = request.query_params.get("by", question.by)
    read_by(by)
    return Question(request.query_params.get("period") or question.period, by)


def _form(asked: Question) -> Form:
    words = urlencode({"period": asked.period, "by": asked.by})
    return form_of(asked, word_of, json=f"{PAGE_AS_JSON.removeprefix('/')}?{words}")
