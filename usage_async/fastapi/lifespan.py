"""Clients of an application: they live as long as it does, and handlers get them as dependencies.

Theory of operation. The clients are in the state of the lifespan, which the server puts into the
scope of each request. Therefore mounted applications have them, too. But a second lifespan would
take the place of the first one in the state, or would never begin, and handlers would read another
organization's figures. So it is known which application each lifespan is open for:

- *One an application*: FastAPI runs the lifespans of included routers with that of the application,
  and merges their states. A second one of ours is an error at the start.
- *One's own before that of others*: nobody runs the lifespan of a mounted application, unless the
  application around it does so by hand. Then handlers within get the clients of their own lifespan.
- *None in place of one's own*: a mounted application or router with a lifespan gets no clients of
  the application around it while a lifespan of ours exists that was not begun.
"""

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Annotated, Any
from weakref import WeakSet

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
        app: The application that they were opened for.
    """

    by_name: Mapping[str, UsageClient]
    sent: Counter[tuple[str, str]]
    app: Any = attrs.field(repr=False)


_idle: WeakSet[Lifespan] = WeakSet()
"""Lifespans of ours that are not open."""
_open: dict[int, list[tuple[Lifespan, Clients]]] = {}
"""Lifespans that are open, by the id of their application, which lives longer than they are."""


@contextmanager
def _opening(lifespan: Lifespan, clients: Clients) -> Iterator[None]:
    """Open a lifespan for an application, which several servers may run at the same time.

    Raises:
        ConfigurationError: Another one is open for it.
    """
    key, entry = id(clients.app), (lifespan, clients)
    beside = _open.setdefault(key, [])
    if any(other is not lifespan for other, _ in beside):
        raise ConfigurationError(
            "a usage_lifespan within another one, or of an included router beside the"
            " application's: give one usage_lifespan all organizations=…"
        )
    beside.append(entry)
    _idle.discard(lifespan)
    try:
        yield
    finally:
        _open[key] = [each for each in beside if each is not entry]
        if not _open[key]:
            del _open[key]
        _idle.add(lifespan)


def usage_lifespan(
    lifespan: Lifespan | None = None,
    /,
    *,
    organizations: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Lifespan:
    """Make a lifespan that opens one cached client an organization, and closes it at the end.

    An application has one, its own or that of a router that it includes. A mounted application
    without a lifespan has the clients of the application around it. If it has a `usage_lifespan`,
    nobody begins it: the lifespan of the application around it must do so, by
    `async with inner.router.lifespan_context(inner)`.

    Args:
        lifespan: The application's own lifespan, which runs within this one.
        organizations: Options of each organization's client, by name; by default there is one
            organization.
        options: Options of `UsageClient` and of `UsageClient.cached`, for every client.

    Raises:
        ConfigurationError: There is no such option. At the start of the application: there is no
            key, an option is invalid, or the application has two such lifespans. In a handler of a
            mounted application: its own was not begun.
            Starlette prints an error of the start behind a traceback, unless
            `install_error_handlers` has made it one line.
    """
    given = {_ONLY: options} if organizations is None else organizations
    made = {name: _concealed({**options, **own}) for name, own in given.items()}
    # A traceback shows locals.
    organizations = options = given = {}
    if inspect.isasyncgenfunction(lifespan):
        lifespan = asynccontextmanager(lifespan)

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        by_name: dict[str, UsageClient] = {}
        clients = Clients(by_name, Counter(), app)
        async with AsyncExitStack() as stack:
            stack.enter_context(_opening(run, clients))
            for name, each in made.items():
                by_name[name] = await _opened(stack, name, each, clients.sent)
            state = await stack.enter_async_context(lifespan(app)) if lifespan else None
            yield {**(state or {}), _STATE: clients}

    _idle.add(run)
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
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        yield {_STATE: Clients({_ONLY: client}, sent, app)}

    return run


def counter_of(sent: Counter[tuple[str, str]]) -> Callable[[RequestEvent], None]:
    """Make the `trace` of a client that counts its requests for `lifespan_of`."""
    return partial(_count, _ONLY, sent, None)


def clients_of(connection: HTTPConnection) -> Clients:
    """Give the clients of the application.

    Raises:
        ConfigurationError: It has no `usage_lifespan`, or one that was not begun.
    """
    found = _find(connection)
    if found is None:
        raise ConfigurationError(
            "this application has no client: FastAPI(lifespan=usage_lifespan())"
        )
    if _idle and any(_not_begun(connection.scope.get("app"), found.app)):
        raise ConfigurationError(
            "the lifespan of a mounted application, or of a router, was not begun: let that of the"
            " application around it begin it, or mount it without one"
        )
    return found


def _find(connection: HTTPConnection) -> Clients | None:
    app = connection.scope.get("app")
    found: Clients | None = connection.scope.get("state", {}).get(_STATE)
    if found is not None and found.app is app:
        return found
    for _, own in _open.get(id(app), ()):
        return own
    return found


def _not_begun(app: Any, begun: Any) -> Iterator[bool]:
    """Tell of each lifespan that may concern an application if it can be an idle one of ours.

    Args:
        app: The application of the request, whose own lifespan is not open if it is mounted.
        begun: The application whose lifespan is open.
    """
    if app is not begun and hasattr(app, "router"):
        yield any(_parts(app.router.lifespan_context))
    yield from _not_begun_within(getattr(app, "routes", ()))


def _not_begun_within(routes: Iterable[Any]) -> Iterator[bool]:
    """Do so for routers, whose requests show the application around them as their own."""
    for route in routes:
        mounted: Any = getattr(route, "app", None)
        included: Any = getattr(route, "original_router", None)
        if hasattr(mounted, "lifespan_context"):
            # It may hold one of ours in any way.
            yield any(_parts(mounted.lifespan_context))
            yield from _not_begun_within(mounted.routes)
        if included is not None:
            # It is open, unless it was included in a router after that one was included.
            yield any(part in _idle for part in _parts(included.lifespan_context))
            yield from _not_begun_within(included.routes)


def _parts(lifespan: Any) -> Iterator[Lifespan]:
    """Give the lifespans that FastAPI merged to one, without the default ones."""
    merged = inspect.unwrap(lifespan)
    if getattr(merged, "__qualname__", "").startswith("_merge_lifespan_context."):
        for part in inspect.getclosurevars(merged).nonlocals.values():
            yield from _parts(part)
    elif type(lifespan).__name__ != "_DefaultLifespan":
        yield lifespan


def sent_by(connection: HTTPConnection, client: UsageClient) -> Mapping[str, int]:
    """Count the tries of requests of a client of the application, by outcome."""
    clients = _find(connection)
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
        organization: Dependency that returns the name of the organization. An unknown name, or
            what is no name, is answered by a 404.
    """

    async def pick(
        connection: HTTPConnection, name: Annotated[Any, Depends(organization)]
    ) -> UsageClient:
        clients = clients_of(connection).by_name
        if not isinstance(name, str) or name not in clients:
            told = {"type": "no_organization", "loc": [], "msg": "there is no such organization"}
            raise HTTPException(404, [told])
        return clients[name]

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
