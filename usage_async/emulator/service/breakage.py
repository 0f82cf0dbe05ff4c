"""Answers and connections, broken on purpose."""

from __future__ import annotations

import socket
import struct

from aiohttp import web

from usage_async.emulator.faults import Fault

_HTML = b"<!DOCTYPE html><html><body><h1>Just a moment...</h1></body></html>"


def spoil(response: web.StreamResponse, fault: Fault) -> web.StreamResponse:
    """Give the answer that is sent in place of a whole one."""
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
    """Send half of a body, say that it is whole, and close the connection."""
    body = _body(whole)
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    response.force_close()
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return response


def reset(request: web.Request) -> web.Response:
    """Drop the connection at once: with no time to linger, the peer sees a reset.

    Returns:
        A response that can no longer be sent: aiohttp would log an exception as an error.
    """
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()
