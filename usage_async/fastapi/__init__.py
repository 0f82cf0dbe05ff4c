"""FastAPI: one cached client an application, and its figures for many browsers.

    app = FastAPI(lifespan=usage_lifespan(ttl_s=60))
    install_error_handlers(app)

    @app.get("/spend/{period}")
    async def spend(period: str, usage: Usage) -> list[CostsResult]:
        return await usage.costs(period=period, group_by=["project_id"]).totals()

A handler returns our values as they are, if it is annotated with them. Without the annotation
FastAPI cannot write them, and fails.

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
