"""Clients of an application: they live as long as it does, and handlers get them as dependencies.

The clients are in the state of the lifespan, which the server puts into the scope of each request.
Therefore mounted applications have them, too, and nothing is global.
"""

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any

import attrs
from fastapi import Depends, HTTPException
from starlette.requests import HTTPConnection

from usage_async._client.client import UsageClient
from usage_async._http.fetch import RequestEvent
from usage_async._http.key import conceal_key
from usage_async.errors import ConfigurationError
from usage_async.fastapi.scope import narrowed

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

_STATE = "usage_async"
"""Name of the clients in the state of the lifespan."""
_ONLY = ""
"""Name of the organization of an application that has one."""


@attrs.frozen
class Clients:
    """Cached clients of an application.

    Attributes:
        by_name: Clients by the name of their organization.
        sent: Tries of requests, by client and outcome.
    """

    by_name: Mapping[str, UsageClient]
    sent: Counter[tuple[str, str]]


def usage_lifespan(
    lifespan: Lifespan | None = None,
    /,
    *,
    organizations: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Lifespan:
    """Make a lifespan that opens one cached client an organization, and closes it at the end.

    Args:
        lifespan: The application's own lifespan, which runs within this one.
        organizations: Options of each organization's client, by name; by default there is one
            organization.
        options: Options of `UsageClient` and of `UsageClient.cached`, for every client.

    Raises:
        ConfigurationError: There is no such option. At the start of the application: there is no
            key, or an option is invalid.
    """
    given = {_ONLY: options} if organizations is None else organizations
    made = {name: _concealed({**options, **own}) for name, own in given.items()}
    # A traceback shows locals.
    organizations = options = given = {}
    if inspect.isasyncgenfunction(lifespan):
        lifespan = asynccontextmanager(lifespan)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        sent: Counter[tuple[str, str]] = Counter()
        async with AsyncExitStack() as stack:
            clients = {}
            for name, each in made.items():
                clients[name] = await _opened(stack, name, each, sent)
            state = await stack.enter_async_context(lifespan(app)) if lifespan else None
            yield {**(state or {}), _STATE: Clients(clients, sent)}

    return run


def _concealed(options: dict[str, Any]) -> dict[str, Any]:
    if unknown := options.keys() - _CLIENT - _CACHE:
        raise ConfigurationError(
            f"there is no option {', '.join(sorted(unknown))}; there are"
            f" {', '.join([*_CLIENT, *_CACHE])}"
        )
    return {**options, "admin_key": conceal_key(options.get("admin_key"))}


def _options_of(function: Callable[..., Any]) -> dict[str, None]:
    return dict.fromkeys(list(inspect.signature(function).parameters))


_CLIENT = _options_of(UsageClient).keys()
_CACHE = _options_of(UsageClient.cached).keys() - {"self"}


async def _opened(
    stack: AsyncExitStack, name: str, options: Mapping[str, Any], sent: Counter[tuple[str, str]]
) -> UsageClient:
    own = {each: value for each, value in options.items() if each in _CLIENT}
    own["trace"] = partial(_count, name, sent, own.get("trace"))
    try:
        client = await stack.enter_async_context(UsageClient(**own))
        return client.cached(**{each: options[each] for each in _CACHE & options.keys()})
    except ConfigurationError as error:
        place = f"organization {name!r}: " if name else ""
        failure = ConfigurationError(f"{place}{error}")
    raise failure


def _count(
    name: str,
    sent: Counter[tuple[str, str]],
    trace: Callable[[RequestEvent], object] | None,
    event: RequestEvent,
) -> None:
    sent[name, event.error or str(event.status)] += 1
    if trace is not None:
        trace(event)


def lifespan_of(client: UsageClient, sent: Counter[tuple[str, str]]) -> Lifespan:
    """Make a lifespan of one cached client, which its owner opens and closes.

    Args:
        client: The cached client.
        sent: Tries of its requests, which `counter_of` counts.
    """

    @asynccontextmanager
    async def run(_app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {_STATE: Clients({_ONLY: client}, sent)}

    return run


def counter_of(sent: Counter[tuple[str, str]]) -> Callable[[RequestEvent], None]:
    """Make the `trace` of a client that counts its requests for `lifespan_of`."""
    return partial(_count, _ONLY, sent, None)


def clients_of(connection: HTTPConnection) -> Clients:
    """Give the clients of the application.

    Raises:
        ConfigurationError: It has no `usage_lifespan`.
    """
    found: Clients | None = connection.scope.get("state", {}).get(_STATE)
    if found is None:
        raise ConfigurationError(
            "this application has no client: FastAPI(lifespan=usage_lifespan())"
        )
    return found


def sent_by(connection: HTTPConnection, client: UsageClient) -> Mapping[str, int]:
    """Count the tries of requests of a client of the application, by outcome."""
    clients: Clients | None = connection.scope.get("state", {}).get(_STATE)
    if clients is None:
        return {}
    names = {name for name, each in clients.by_name.items() if each is client}
    return {outcome: count for (name, outcome), count in clients.sent.items() if name in names}


async def usage_client(connection: HTTPConnection) -> UsageClient:
    """Give the cached client of the application; tests override this dependency.

    Raises:
        ConfigurationError: There is no `usage_lifespan`, or it has several organizations.
    """
    clients = clients_of(connection).by_name
    if len(clients) != 1:
        raise ConfigurationError("there are several organizations: pick one by usage_of(…)")
    return next(iter(clients.values()))


Usage = Annotated[UsageClient, Depends(usage_client)]
"""The cached client of the application, as the type of a handler's parameter."""


def usage_of(organization: Callable[..., Any]) -> Any:
    """Make the dependency on the client of one of several organizations.

        AcmeUsage = Annotated[UsageClient, usage_of(organization)]

    Args:
        organization: Dependency that returns the name of the organization. An unknown name is
            answered by a 404.
    """

    async def pick(connection: HTTPConnection, name: str = Depends(organization)) -> UsageClient:
        client = clients_of(connection).by_name.get(name)
        if client is None:
            raise HTTPException(404)
        return client

    return Depends(pick)


def source_of(organization: Callable[..., Any] | None) -> Any:
    """Give the dependency on the client of the organization, or of the only one."""
    return Depends(usage_client) if organization is None else usage_of(organization)


def scoped_usage(
    tenant: Callable[..., Any], *, organization: Callable[..., Any] | None = None
) -> Any:
    """Make the dependency on a client that reads the projects of a tenant only.

        TenantUsage = Annotated[UsageClient, scoped_usage(tenant)]

    Args:
        tenant: Dependency that returns a `Scope` or `ALL`; it refuses who is not signed in.
        organization: As for `usage_of`, if there are several.
    """
    source = source_of(organization)

    # In this order a stranger does not learn which organizations there are.
    async def narrow(
        scope: Annotated[Any, Depends(tenant)], client: Annotated[UsageClient, source]
    ) -> UsageClient:
        return narrowed(client, scope)

    return Depends(narrow)
