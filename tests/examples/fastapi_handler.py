"""A web application: one cached client serves all requests."""

from fastapi import FastAPI

from usage_async import CostsResult
from usage_async.fastapi import Usage, install_error_handlers, usage_lifespan

app = FastAPI(lifespan=usage_lifespan(ttl_s=60))
install_error_handlers(app)


@app.get("/spend/{period}")
async def spend(period: str, usage: Usage) -> list[CostsResult]:
    return await usage.costs(period=period, group_by=["project_id"]).totals()
