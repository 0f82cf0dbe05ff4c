"""A client for a command: of the service, or of the built-in organization."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from ssl import SSLContext

    from usage_async._cli.context import Context
    from usage_async._client.client import UsageClient
    from usage_async._http.fetch import RequestEvent
    from usage_async._http.key import Secret

_GROUP = Group("Connection", sort_key=90)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Connection:
    """Source of the figures. The key is never an argument."""

    demo: Annotated[
        bool,
        Parameter(
            group=_GROUP,
            negative="",
            show_default=False,
            help="Use a made-up organization; needs no key.",
        ),
    ] = False
    base_url: Annotated[
        str | None,
        Parameter(group=_GROUP, help="Another address than https://api.openai.com/v1."),
    ] = None
    proxy: Annotated[
        str | None,
        Parameter(group=_GROUP, help="URL of an HTTP proxy, instead of HTTPS_PROXY."),
    ] = None
    debug: Annotated[
        bool,
        Parameter(
            group=_GROUP, negative="", show_default=False, help="Show the traceback of an error."
        ),
    ] = False


@attrs.frozen(kw_only=True)
class Place:
    """Address of the figures, and the way there.

    Attributes:
        base_url: The address.
        key: Opens it.
        proxy: URL of an HTTP proxy.
        ssl: Other certificates than those of the system.
    """

    base_url: str
    key: Secret = attrs.field(repr=False)
    proxy: str | None = None
    ssl: SSLContext | None = None


@asynccontextmanager
async def place(connection: Connection, context: Context) -> AsyncIterator[Place]:
    """Find where the figures are; a built-in organization is there for as long as the block.

    Args:
        connection: What the command line says.
        context: The clocks.

    Raises:
        ConfigurationError: There is no key, or no certificates where the environment says.
    """
    from usage_async._client.client import BASE_URL, BASE_URL_VARIABLE
    from usage_async._http.key import Secret, find_key
    from usage_async.errors import QueryError

    if not connection.demo:
        base_url = connection.base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL
        yield Place(
            base_url=base_url,
            key=find_key(),
            proxy=connection.proxy or environment_proxy(base_url),
            ssl=environment_certificates(),
        )
        return
    if connection.base_url or connection.proxy:
        raise QueryError("--demo goes nowhere: leave --base-url and --proxy out")
    from usage_async.emulator import Emulator

    async with Emulator(now=context.runtime.now) as server:
        yield Place(base_url=server.url, key=Secret(server.admin_key))


@asynccontextmanager
async def connect(
    connection: Connection,
    context: Context,
    *,
    trace: Callable[[RequestEvent], object] | None = None,
) -> AsyncIterator[UsageClient]:
    """Open a client.

    Args:
        connection: What the command line says.
        context: The clocks.
        trace: Called after every try of a request.
    """
    from usage_async._client.client import UsageClient

    async with (
        place(connection, context) as there,
        UsageClient(
            there.key,
            base_url=there.base_url,
            proxy=there.proxy,
            ssl=there.ssl,
            runtime=context.runtime,
            trace=trace,
        ) as client,
    ):
        yield client


def environment_proxy(base_url: str) -> str | None:
    """Give the proxy that the environment names for an address, honouring `NO_PROXY`.

    None for plain http, which only goes to this machine: a proxy would read the key.
    """
    from urllib.request import getproxies_environment, proxy_bypass

    scheme, _, rest = base_url.partition("://")
    proxies = getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all")
    if scheme.lower() != "https" or proxy is None or proxy_bypass(rest.partition("/")[0]):
        return None
    return proxy


def environment_certificates() -> SSLContext | None:
    """Give the certificates that `SSL_CERT_FILE` names; None for those of the system.

    Raises:
        ConfigurationError: It names no file of certificates.
    """
    file = os.environ.get("SSL_CERT_FILE")
    if not file:
        return None
    from ssl import create_default_context

    from usage_async.errors import ConfigurationError

    try:
        return create_default_context(cafile=file)
    except OSError as error:
        reason = error.strerror or "no certificates"
    raise ConfigurationError(f"SSL_CERT_FILE names {file}, which cannot be read: {reason}")
