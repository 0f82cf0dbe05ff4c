"""Connection of a command: its options, and a client of the service or of the demonstration."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from ssl import SSLContext

    from usage_async._cli.context import Context
    from usage_async._cli.names import CommandNames
    from usage_async._client.client import UsageClient
    from usage_async._http.fetch import RequestEvent
    from usage_async._http.key import Secret

_GROUP = Group("Connection", sort_key=90)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Connection:
    """Connection options of a command. The key is never an argument."""

    demo: Annotated[
        bool,
        Parameter(
            group=_GROUP,
            negative="",
            show_default=False,
            help="Read a made-up organization; no key is needed.",
        ),
    ] = False
    base_url: Annotated[
        str | None,
        Parameter(
            group=_GROUP,
            help="Address of the API. Default: USAGE_ASYNC_BASE_URL, else https://api.openai.com/v1.",
        ),
    ] = None
    proxy: Annotated[
        str | None,
        Parameter(group=_GROUP, help="URL of an HTTP proxy. Default: HTTPS_PROXY, else ALL_PROXY."),
    ] = None
    debug: Annotated[
        bool,
        Parameter(
            group=_GROUP, negative="", show_default=False, help="Show the traceback of an error."
        ),
    ] = False


@attrs.frozen(kw_only=True)
class Target:
    """Address of the API, the key for it, and the way there.

    Attributes:
        base_url: Address of the API.
        key: Admin key of the organization.
        proxy: URL of an HTTP proxy.
        ssl: Certificates to trust; None takes those of the system.
    """

    base_url: str
    key: Secret = attrs.field(repr=False)
    proxy: str | None = None
    ssl: SSLContext | None = None


@asynccontextmanager
async def open_target(connection: Connection, context: Context) -> AsyncIterator[Target]:
    """Find the target of a command; the server of a demonstration runs as long as the block.

    Args:
        connection: Options of the command.
        context: Its clocks.

    Raises:
        ConfigurationError: There is no key, or `SSL_CERT_FILE` has no certificates.
        QueryError: The options contradict each other.
    """
    from usage_async._http.key import Secret, find_key
    from usage_async.errors import QueryError

    if not connection.demo:
        base_url = base_url_of(connection)
        yield Target(
            base_url=base_url,
            key=find_key(),
            proxy=connection.proxy or environment_proxy(base_url),
            ssl=environment_certificates(),
        )
        return
    if connection.base_url or connection.proxy:
        raise QueryError("--demo reads a server of its own: leave --base-url and --proxy out")
    from usage_async.emulator import Emulator

    async with Emulator(now=context.runtime.now) as server:
        yield Target(base_url=server.url, key=Secret(server.admin_key))


@asynccontextmanager
async def open_client(
    connection: Connection,
    context: Context,
    *,
    trace: Callable[[RequestEvent], object] | None = None,
) -> AsyncIterator[UsageClient]:
    """Open a client.

    Args:
        connection: Options of the command.
        context: Its clocks.
        trace: Called after every try of a request.
    """
    async with (
        open_target(connection, context) as target,
        client_of(target, context, trace=trace) as client,
    ):
        yield client


@asynccontextmanager
async def open_client_and_names(
    connection: Connection,
    context: Context,
    *,
    with_names: bool,
    trace: Callable[[RequestEvent], object] | None = None,
) -> AsyncIterator[tuple[UsageClient, CommandNames | None]]:
    """Open a client, and the names that are kept for its key; a demonstration keeps none.

    Args:
        connection: Options of the command.
        context: Its clocks and warnings.
        with_names: False opens no names, and gives None for them.
        trace: Called after every try of a request.
    """
    if not with_names:
        async with open_client(connection, context, trace=trace) as client:
            yield client, None
        return
    from usage_async._cli.names import open_names
    from usage_async._cli.names_file import names_file

    async with open_target(connection, context) as target:
        file = None if connection.demo else names_file(target.base_url, target.key)
        async with (
            client_of(target, context, trace=trace) as client,
            open_names(client, file, context) as names,
        ):
            yield client, names


def base_url_of(connection: Connection, own: str | None = None) -> str:
    """Find the address of the API.

    Args:
        connection: Options of the command.
        own: Address that the organization has for itself.
    """
    from usage_async._client.client import BASE_URL, BASE_URL_VARIABLE

    return own or connection.base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL


def client_of(target: Target, context: Context, **options: Any) -> UsageClient:
    """Make the client of a target.

    Args:
        target: The target.
        context: Clocks of the command.
        options: Further options of the client.
    """
    from usage_async._client.client import UsageClient

    return UsageClient(
        target.key,
        base_url=target.base_url,
        proxy=target.proxy,
        ssl=target.ssl,
        runtime=context.runtime,
        **options,
    )


def environment_proxy(base_url: str) -> str | None:
    """Give the proxy that the environment names for an address, unless `NO_PROXY` exempts it.

    None for plain http, which goes to this machine only: a proxy would read the key.
    """
    from urllib.request import getproxies_environment, proxy_bypass

    scheme, _, rest = base_url.partition("://")
    proxies = getproxies_environment()
    proxy = proxies.get("https") or proxies.get("all")
    if scheme.lower() != "https" or proxy is None or proxy_bypass(rest.partition("/")[0]):
        return None
    return proxy


def environment_certificates() -> SSLContext | None:
    """Load the certificates that `SSL_CERT_FILE` names; None where it is not set.

    Raises:
        ConfigurationError: The file holds no certificates, or cannot be read.
    """
    file = os.environ.get("SSL_CERT_FILE")
    if not file:
        return None
    from ssl import create_default_context

    from usage_async.errors import ConfigurationError

    try:
        return create_default_context(cafile=file)
    except OSError as error:
        reason = error.strerror or "it holds no certificates"
    raise ConfigurationError(f"SSL_CERT_FILE names {file}, which cannot be read: {reason}")
