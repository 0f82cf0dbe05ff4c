"""Faults on the wire: error replies, broken bodies and broken connections."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web

from usage_async.emulator.faults import Fault, Faults
from usage_async.emulator.service.refusals import Refusal, error, missing_scope, unauthorized

_HTML = b"<!DOCTYPE html><html><body><h1>Just a moment...</h1></body></html>"
_ERRORS: Mapping[Fault, tuple[int, str, dict[str, str]]] = {
    "error": (
        500,
        "The server had an error while processing your request.",
        {"kind": "server_error"},
    ),
    "unavailable": (503, "The service is overloaded.", {"kind": "server_error"}),
    "throttle": (
        429,
        "Rate limit reached. Please try again later.",
        {"code": "rate_limit_exceeded", "kind": "requests"},
    ),
    "quota": (
        429,
        "You exceeded your current quota, please check your plan.",
        {"code": "insufficient_quota", "kind": "insufficient_quota"},
    ),
    "not_found": (404, "Not found.", {}),
}
"""Status, message and details of each fault that is a plain error object."""


def refusal_of(fault: Fault, faults: Faults, now: float, *, scope: str) -> Refusal | None:
    """Make the error reply of a fault; None for a fault that is not an error reply.

    Args:
        fault: The fault of this request.
        faults: The options, for the retry header.
        now: Unix seconds.
        scope: The scope that a 403 reports as missing.
    """
    if fault == "unauthorized":
        return unauthorized("sk-admin-")
    if fault == "forbidden":
        return missing_scope(scope)
    if fault not in _ERRORS:
        return None
    status, message, details = _ERRORS[fault]
    headers = _retry_headers(faults, now) if fault == "throttle" else None
    return error(status, message, headers=headers, **details)


def _retry_headers(faults: Faults, now: float) -> dict[str, str]:
    match faults.retry_after:
        case "none":
            return {}
        case "seconds":
            return {"Retry-After": f"{faults.retry_after_s:g}"}
        case "milliseconds":
            return {"retry-after-ms": f"{1000 * faults.retry_after_s:g}"}
        case "date":
            at = datetime.fromtimestamp(now + faults.retry_after_s, UTC)
            return {"Retry-After": format_datetime(at, usegmt=True)}
        case text:
            return {"Retry-After": text}


def spoil(response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    """Break a reply as its fault says; most faults leave it as it is."""
    match fault:
        case "html":
            return web.Response(body=_HTML, content_type="text/html")
        case "bad_gateway":
            return web.Response(status=502, body=_HTML, content_type="text/html")
        case "empty":
            return web.Response(content_type="application/json")
        case "truncate" if isinstance(response, web.Response):
            body = _body(response)
            response.body = body[: len(body) // 2]
        case "gzip":
            response.headers["Content-Encoding"] = "gzip"
    return response


def _body(response: web.StreamResponse) -> bytes:
    body = response.body if isinstance(response, web.Response) else b""
    return body if isinstance(body, bytes) else b""


async def cut(request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
    """Send half of a body under the Content-Length of the whole, and close the connection."""
    body = _body(whole)
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return response


def reset(request: web.Request) -> web.Response:
    """Drop the connection at once. A linger time of zero makes the peer see a reset.

    Returns:
        A response that can no longer be sent. An exception here would be logged by aiohttp.
    """
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()
