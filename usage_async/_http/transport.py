"""Transport: one GET over the network. Only this file knows aiohttp's client.

A transport is one coroutine over plain data, so that a fake or a recording can replace it.

aiohttp's exceptions carry the headers of the request, and so the key. None of them leaves this
file, not even as a `__context__`: an error of ours takes over the message, and is raised outside of
the `except` block. Tracebacks are dropped, because their frames hold the reply.
"""

from __future__ import annotations

import asyncio
import re
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from io import BytesIO
from typing import TypeAlias
from urllib.parse import quote

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
"""Session of aiohttp, which a caller may pass."""

Reply = tuple[int, Mapping[str, str], bytes]
"""HTTP status; headers, whose names may have any case; the whole body."""

Transport = Callable[[str, Sequence[tuple[str, str]], Mapping[str, str]], Awaitable[Reply]]
"""`(path, params, headers) -> (status, headers, body)`: one GET below the base URL. It returns any
status, and raises `APIConnectionError`, `APITimeoutError` or `ResponseError`."""

_KEY_IN_PATH = re.compile(r"/(?:sk|sess)-[^/]{16,}")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

MAX_PAGE_BYTES = 64 << 20
"""Default of the largest body, after decompression."""

_JOINED_BYTES = 1 << 22
"""Largest body whose chunks are joined at its end, which is fastest. The chunks of a larger body
are copied into a buffer as they come: joining 60 MB would block the event loop for 25 ms."""


@attrs.frozen(kw_only=True)
class Timeout:
    """Time limits of one request in seconds. `RetryPolicy` limits all its tries together.

    Attributes:
        total_s: From the start to the last byte of the body.
        connect_s: For opening a connection, including TLS.
        read_s: Between two reads of the reply.
    """

    total_s: float = 120.0
    connect_s: float = 10.0
    read_s: float = 60.0


def check_base_url(text: str, redactor: Redactor) -> URL:
    """Check a base URL, to which the key is sent. Messages do not quote it: it may hold the key.

    Args:
        text: The URL.
        redactor: Redactor of the client, which knows the key.

    Raises:
        ConfigurationError: The URL is not https (http is allowed to loopback), or has a user, a
            query, a fragment or a key.
    """
    # No frame of the error has the URL as a local, which a printed traceback could show.
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
    # Host names are sent to DNS in the clear, and in any case.
    host = (url.host or "").lower()
    return Redactor(tuple(map(str.lower, redactor.keys))).text(host) != host


def check_proxy(text: str) -> URL:
    """Check the URL of a proxy. Messages do not quote it: it may hold a password.

    Raises:
        ConfigurationError: It is not an http or https URL.
    """
    if not _parsed(text).host or _parsed(text).scheme not in ("http", "https"):
        raise ConfigurationError("proxy is not a URL such as http://proxy.example:3128")
    return _parsed(text)


def _parsed(text: str) -> URL:
    try:
        return URL(text)
    except ValueError:
        return URL()


def _query_string(params: Sequence[tuple[str, str]]) -> str:
    return "&".join([f"{_quoted(name)}={_quoted(value)}" for name, value in params])


def _quoted(text: str) -> str:
    # Nearly all texts are names or numbers, and `quote` takes long to find that out.
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")


def open_session() -> Session:
    """Open a session that keeps no cookies, reads no environment, and bounds no connections.

    Several transports may share it. Their limiters bound the requests.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def _is_unbounded(session: Session) -> bool:
    connector = session.connector
    return connector is not None and connector.limit == connector.limit_per_host == 0


class AiohttpTransport:
    """Transport over an aiohttp session.

    If a reused connection ends before any header of the reply, aiohttp sends the request once more
    by itself. So a connection that the service closed while it was idle is no failure.

    Args:
        base_url: Base URL, as `check_base_url` gives it.
        timeout: Time limits of each request.
        max_page_bytes: Size limit of a body, after decompression.
        proxy: URL of an HTTP proxy for https. Plain http goes to loopback only, without a proxy.
        ssl: TLS context; by default certificates are verified against those of the system.
        session: The caller's session, which is used but never closed or configured.

    Raises:
        ConfigurationError: The session has an `auth` of its own, or the proxy is not a URL.
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
        self._base_text = str(base_url).rstrip("/")
        self._limits = timeout
        self._timeout = aiohttp.ClientTimeout(
            total=timeout.total_s,
            # It includes the wait for a free connection, of which a caller's session may have few.
            connect=timeout.connect_s if session is None or _is_unbounded(session) else None,
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
        url = URL(f"{self._base_text}{path}?{_query_string(params)}", encoded=True)
        failure: BaseException
        try:
            return await self._get(session, url, headers)
        except UsageError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - no exception of aiohttp may leave this file
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
        while chunk := await response.content.readany():
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
        """Translate an exception of aiohttp into an error of ours."""
        place = f"{self._base_url.host}:{self._base_url.port}"
        failure: UsageError
        match error:
            case aiohttp.ClientSSLError():
                msg = f"the TLS connection to {place} cannot be trusted"
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
                failure = ResponseError(
                    f"the reply from {place} is not in the Content-Encoding that it names"
                )
            case aiohttp.ClientResponseError():
                failure = ResponseError(f"{place} replied, but not in valid HTTP")
            case aiohttp.InvalidURL():
                failure = ConfigurationError("the session's proxy is not a URL")
            case ValueError():
                msg = f"aiohttp will not send the key to {place}: {_what(error)}"
                failure = ConfigurationError(f"{msg} (such as those of a netrc file)")
            case aiohttp.ClientError() | OSError():
                failure = APIConnectionError(f"no complete reply from {place}: {_what(error)}")
            case _:
                msg = f"the request to {place} failed: {type(error).__name__}: {_what(error)}"
                failure = APIConnectionError(msg, retryable=False)
        return failure

    def _lateness(self, error: TimeoutError) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"did not accept a connection within {self._limits.connect_s:g} s"
        if isinstance(error, aiohttp.SocketTimeoutError):
            return f"sent nothing for {self._limits.read_s:g} s"
        return f"did not reply completely within {self._limits.total_s:g} s"

    def _session(self) -> Session:
        if self._given_session is not None:
            if self._given_session.closed:
                raise ConfigurationError("the session that was passed to the client is closed")
            return self._given_session
        if self._own_session is None:
            self._own_session = open_session()
        return self._own_session

    async def close(self) -> None:
        """Close the session, unless the caller passed it."""
        if self._own_session is not None:
            await self._own_session.close()


def _what(error: Exception) -> str:
    # The connector's message names host and port, as ours does; only its cause is added.
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return redact(str(reason)) or type(reason).__name__


def _is_wrongly_encoded(error: aiohttp.ClientPayloadError) -> bool:
    return isinstance(error.__cause__, http_exceptions.ContentEncodingError)
