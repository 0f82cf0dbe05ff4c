"""FastAPI: the figures of an organization for many browsers, each within its scope.

    from hashlib import sha256
    from typing import Annotated

    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.security import APIKeyHeader

    from usage_async import CostsResult, UsageClient
    from usage_async.fastapi import (
        ALL, Scope, install_error_handlers, metrics_router, scoped_usage, usage_lifespan,
        usage_router,
    )

    def digest(token: str) -> bytes:
        return sha256(token.encode()).digest()

    SCOPES = {digest("boss-token"): ALL, digest("team-token"): Scope(["proj_search"])}

    async def tenant(token: Annotated[str, Depends(APIKeyHeader(name="x-token"))]):
        if digest(token) not in SCOPES:
            raise HTTPException(401)
        return SCOPES[digest(token)]

    app = FastAPI(lifespan=usage_lifespan(ttl_s=60))
    install_error_handlers(app)
    app.include_router(usage_router(scope=tenant), prefix="/api")
    app.include_router(metrics_router(scope=tenant))

    TenantUsage = Annotated[UsageClient, scoped_usage(tenant)]

    @app.get("/spend/{period}")
    async def spend(period: str, usage: TenantUsage) -> list[CostsResult]:
        return await usage.costs(period=period, group_by=["project_id"]).totals()

`usage_lifespan` opens one cached client an application: equal questions of any number of browsers
are one reading. Handlers get it within a scope by `scoped_usage`, or whole as `Usage`. A handler
returns our values as they are if it is annotated with them: money as exact strings. Without the
annotation FastAPI cannot write them, and fails. `ndjson` and `arrow_stream` send rows while they
are read.

Each worker process has a client, a cache and a limit of its own: four workers read at most four
times a `ttl_s`, and have at most four times `concurrency` requests in flight. One worker is enough
for most: an answer of the cache takes less than the rest of a request. Counters of the metrics are
those of the process that was scraped. Python's garbage collector stops the event loop to look at
all objects; `gc.freeze()` after the imports spares it those of FastAPI, which take some 50 ms.

Signing in is the application's: `scope` and `tenant` are its dependencies. Tokens are looked up by
their digests, since the time that this takes tells nothing about the tokens. In front belongs what
any application needs: TLS, and a limit on the connections and requests of one address.

Before version 1.0, names of this package may change in minor releases.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

try:
    import fastapi as _fastapi  # noqa: F401 - tells whether the extra is installed
except ImportError:
    _MISSING = "usage_async.fastapi needs the extra: pip install 'usage-async[fastapi]'"
    raise ImportError(_MISSING) from None

if TYPE_CHECKING:
    from usage_async.fastapi.failures import install_error_handlers as install_error_handlers
    from usage_async.fastapi.lifespan import (
        Usage as Usage,
        scoped_usage as scoped_usage,
        usage_client as usage_client,
        usage_lifespan as usage_lifespan,
        usage_of as usage_of,
    )
    from usage_async.fastapi.metrics import metrics_router as metrics_router
    from usage_async.fastapi.router import usage_router as usage_router
    from usage_async.fastapi.scope import ALL as ALL, Scope as Scope
    from usage_async.fastapi.streaming import arrow_stream as arrow_stream, ndjson as ndjson

_HOMES = {
    "ALL": "scope",
    "Scope": "scope",
    "Usage": "lifespan",
    "arrow_stream": "streaming",
    "install_error_handlers": "failures",
    "metrics_router": "metrics",
    "ndjson": "streaming",
    "scoped_usage": "lifespan",
    "usage_client": "lifespan",
    "usage_lifespan": "lifespan",
    "usage_of": "lifespan",
    "usage_router": "router",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
