"""The network: the only room that knows aiohttp.

The seam is one coroutine over plain data, so that tests and recordings can stand in for it.
aiohttp's exceptions carry the request's headers, and so the key: none of them leaves this room, not
even as a `__context__`. What an exception says is kept, the error is raised after its block, and
without the frames that it or a cancellation went through, since these hold the reply.
"""

from __future__ import annotations

import asyncio
import re
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import TypeAlias

import aiohttp
import attrs
from aiohttp import http_exceptions
from yarl import URL

from usage_async._codec.redactor import Redactor
from usage_async.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ResponseError,
    UsageError,
    redact,
)

Session: TypeAlias = aiohttp.ClientSession
"""A caller's own session."""

Reply = tuple[int, Mapping[str, str], bytes]
"""HTTP status, headers (their names in any case), the whole body."""

Transport = Callable[[str, Sequence[tuple[str, str]], Mapping[str, str]], Awaitable[Reply]]
"""`(path, params, headers) -> (status, headers, body)`: one GET below the base URL. It raises
`APIConnectionError`, `APITimeoutError` or `ResponseError`, and returns any status."""

_KEY_IN_PATH = re.compile(r"/(?:sk|sess)-[^/]{16,}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

MAX_PAGE_BYTES = 64 << 20
"""Default limit of a body, after decompression."""

_JOINED_BYTES = 1 << 22
"""A reply that is joined at its end, which is fastest. A larger one is written together as it
comes, since joining 60 MB takes 25 ms, and gives its bytes without a copy."""


@attrs.frozen(kw_only=True)
class Timeout:
    """Limits of one request in seconds; retries have a deadline of their own.

    Attributes:
        total_s: From its start to the last byte of the body.
        connect_s: To open a connection, TLS included.
        read_s: Between two reads of the reply.
    """

    total_s: float = 120.0
    connect_s: float = 10.0
    read_s: float = 60.0


def check_base_url(text: str, redactor: Redactor) -> URL:
    """Check where the key may go; what is wrong is told without the URL, which may hold it.

    Args:
        text: The URL.
        redactor: Knows the key.

    Raises:
        ConfigurationError: Not an https URL (http only to this machine), or one with a user, a
            query, a fragment or a key.
    """
    # No frame of an error holds the URL, since what prints locals would tell it.
    if reason := _wrong_with(_parsed(text.rstrip("/")), redactor):
        raise ConfigurationError(f"base_url {reason}")
    return _parsed(text.rstrip("/"))


def _wrong_with(url: URL, redactor: Redactor) -> str | None:
    if url.user or url.password:
        return "holds a user or a password; pass the key as admin_key"
    if not url.host or url.scheme not in ("http", "https") or url.query_string or url.fragment:
        return "is not a URL such as https://api.openai.com/v1, without a query"
    if _tells_key(url, redactor):
        # Servers log URLs.
        return "holds a key; pass it as admin_key only"
    if url.scheme == "http" and url.host not in _LOOPBACK:
        return "would send the key unencrypted: http goes to loopback only, use https"
    return None


def _tells_key(url: URL, redactor: Redactor) -> bool:
    if redactor.text(str(url)) != str(url) or _KEY_IN_PATH.search(url.path):
        return True
    # Names of hosts have no case, and are asked for in the clear.
    host = (url.host or "").lower()
    return Redactor(tuple(map(str.lower, redactor.keys))).text(host) != host


def check_proxy(text: str) -> URL:
    """Check a proxy; what is wrong with it is told without its password.

    Raises:
        ConfigurationError: Not an http or https URL.
    """
    if not _parsed(text).host or _parsed(text).scheme not in ("http", "https"):
        raise ConfigurationError("proxy is not a URL such as http://proxy.example:3128")
    return _parsed(text)


def _parsed(text: str) -> URL:
    try:
        return URL(text)
    except ValueError:
        return URL()


class AiohttpTransport:
    """Sends GET requests below one base URL over an aiohttp session.

    aiohttp itself sends a request once more, at once, where the connection ends before any header:
    a kept connection that the service has closed meanwhile is no failure.

    Args:
        base_url: As `check_base_url` gives it.
        timeout: Of each request.
        max_page_bytes: The most bytes of a body, after decompression.
        proxy: URL of an HTTP proxy, for https; http goes to loopback, which needs none.
        ssl: A context with other certificates; the default verifies against the system's.
        session: The caller's session: used, never closed or reconfigured.

    Raises:
        ConfigurationError: The session has its own `auth`, or the proxy is no URL.
    """

    def __init__(
        self,
        base_url: URL,
        *,
        timeout: Timeout,
        max_page_bytes: int = MAX_PAGE_BYTES,
        proxy: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        session: Session | None = None,
    ) -> None:
        if session is not None and session.auth is not None:
            msg = "the session has its own auth, which would be sent instead of the key"
            raise ConfigurationError(msg)
        proxy_url = None if proxy is None else check_proxy(proxy)
        self._base_url = base_url
        self._limits = timeout
        self._timeout = aiohttp.ClientTimeout(
            total=timeout.total_s,
            # It counts the wait for a free connection, and a caller's session may have few.
            connect=timeout.connect_s if session is None else None,
            sock_connect=timeout.connect_s,
            sock_read=timeout.read_s,
        )
        self._max_page_bytes = max_page_bytes
        self._proxy = proxy_url if base_url.scheme == "https" else None
        self._ssl = ssl
        self._given_session = session
        self._own_session: Session | None = None

    async def __call__(
        self, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> Reply:
        """Send one GET."""
        session = self._session()
        url = self._base_url.joinpath(path.removeprefix("/")).with_query(list(params))
        failure: BaseException
        try:
            return await self._get(session, url, headers)
        except UsageError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - none of aiohttp's may leave this room
            failure = self._failure(error)
        except asyncio.CancelledError as error:
            failure = error
        failure.__context__ = failure.__cause__ = None
        raise failure.with_traceback(None)

    async def _get(self, session: Session, url: URL, headers: Mapping[str, str]) -> Reply:
        async with session.get(
            url,
            headers=headers,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            timeout=self._timeout,
            proxy=self._proxy,
            ssl=self._ssl or True,
        ) as response:
            body = await self._read(response)
            return response.status, response.headers, body

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        large, size = BytesIO(), 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_page_bytes:
                response.close()
                msg = f"the reply is larger than max_page_bytes ({self._max_page_bytes})"
                raise ResponseError(msg, retryable=False)
            if size > _JOINED_BYTES:
                large.writelines(chunks)
                chunks.clear()
        return large.getvalue() if size > _JOINED_BYTES else b"".join(chunks)

    def _failure(self, error: Exception) -> UsageError:
        """Say in our words what aiohttp raised."""
        place = f"{self._base_url.host}:{self._base_url.port}"
        failure: UsageError
        match error:
            case aiohttp.ClientSSLError():
                msg = f"the TLS certificate or connection of {place} is not to be trusted"
                failure = APIConnectionError(
                    f"{msg}: {_what(error)}", retryable=False, is_untrusted=True
                )
            case aiohttp.ClientHttpProxyError():
                msg = f"the proxy refuses to connect to {place}: {error.status}"
                failure = APIConnectionError(
                    msg, retryable=error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                )
            case TimeoutError():
                failure = APITimeoutError(f"{place} {self._lateness(error)}")
            case aiohttp.ClientPayloadError() if _is_wrongly_encoded(error):
                failure = ResponseError(f"{place} replied in another encoding than it claims")
            case aiohttp.ClientResponseError():
                failure = ResponseError(f"{place} did not reply in readable HTTP")
            case aiohttp.InvalidURL():
                failure = ConfigurationError("the session's proxy is not a URL")
            case ValueError():
                msg = f"aiohttp will not send the key to {place}: {_what(error)}"
                failure = ConfigurationError(f"{msg} (such as those of a netrc file)")
            case aiohttp.ClientError() | OSError():
                failure = APIConnectionError(f"no whole answer from {place}: {_what(error)}")
            case _:
                msg = f"the request to {place} failed: {type(error).__name__}: {_what(error)}"
                failure = APIConnectionError(msg, retryable=False)
        return failure

    def _lateness(self, error: TimeoutError) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"took no connection within {self._limits.connect_s:g} s"
        if isinstance(error, aiohttp.SocketTimeoutError):
            return f"was silent for {self._limits.read_s:g} s"
        return f"gave no whole answer within {self._limits.total_s:g} s"

    def _session(self) -> Session:
        if self._given_session is not None:
            if self._given_session.closed:
                raise ConfigurationError("the session that was handed in is closed")
            return self._given_session
        if self._own_session is None:
            self._own_session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._own_session

    async def close(self) -> None:
        """Close the session, unless it is the caller's."""
        if self._own_session is not None:
            await self._own_session.close()


def _what(error: Exception) -> str:
    # What says that there is no connection says twice where to.
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return redact(str(reason)) or type(reason).__name__


def _is_wrongly_encoded(error: aiohttp.ClientPayloadError) -> bool:
    return isinstance(error.__cause__, http_exceptions.ContentEncodingError)
