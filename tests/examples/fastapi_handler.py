"""A web handler: one client serves all requests."""

from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from usage_async import UsageClient


@asynccontextmanager
async def lifespan(app):
    async with UsageClient() as app.state.usage:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/spend/{period}")
async def spend(period: str, request: Request):
    groups = await request.app.state.usage.costs(period=period, group_by=["project_id"]).totals(
        "project_id"
    )
    return {group.project_id: str(group.amount.value) for group in groups}
