"""Readers of pages over the network: this library, its peers, and floors.

Each contestant is an async context manager. It opens a client and yields a function that reads a
dataset and returns its sums. A floor does part of the work only; no client can be faster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import Any

from benchmarks.data import Dataset, Sums, measure

KEY = "sk-admin-benchmark"

Read = Callable[[Dataset], Coroutine[Any, Any, Sums]]
Open = Callable[[str, int], AbstractAsyncContextManager[Read]]
"""`(url, concurrency)`; contestants that follow cursors ignore the concurrency."""


@asynccontextmanager
async def usage_async(url: str, concurrency: int) -> AsyncIterator[Read]:
    from usage_async import UsageClient

    async with UsageClient(KEY, base_url=url, concurrency=concurrency) as client:

        async def read(dataset: Dataset) -> Sums:
            name = measure(dataset.endpoint)
            rows, total = 0, Decimal(0) if name == "amount" else 0
            async for bucket in client.query(dataset.endpoint, **_params(dataset)):
                rows += len(bucket.results)
                for row in bucket.results:
                    figure = getattr(row, name)
                    total += figure.value if name == "amount" else figure
            return Sums(rows, total)

        yield read


@asynccontextmanager
async def usage_async_to_arrow(url: str, concurrency: int) -> AsyncIterator[Read]:
    """This library: one Arrow table."""
    from usage_async import UsageClient

    async with UsageClient(KEY, base_url=url, concurrency=concurrency) as client:

        async def read(dataset: Dataset) -> Sums:
            query = client.query(dataset.endpoint, **_params(dataset))
            return _table_sums(await query.to_arrow(), dataset)

        yield read


@asynccontextmanager
async def usage_async_arrow_batches(url: str, concurrency: int) -> AsyncIterator[Read]:
    """This library: record batches as pages come, none of which is kept."""
    from usage_async import UsageClient

    async with UsageClient(KEY, base_url=url, concurrency=concurrency) as client:

        async def read(dataset: Dataset) -> Sums:
            found = Sums()
            query = client.query(dataset.endpoint, **_params(dataset))
            async for batch in query.arrow_batches():
                found += _table_sums(batch, dataset)
            return found

        yield read


def _table_sums(table: Any, dataset: Dataset) -> Sums:
    import pyarrow.compute

    total = pyarrow.compute.sum(table.column(measure(dataset.endpoint))).as_py()
    return Sums(table.num_rows, total or 0)


@asynccontextmanager
async def openai(url: str, _: int) -> AsyncIterator[Read]:
    """The official client, with the loop that its users write."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key="", admin_api_key=KEY, base_url=url) as client:

        async def read(dataset: Dataset) -> Sums:
            name = measure(dataset.endpoint)
            rows, total = 0, 0.0 if name == "amount" else 0
            async for page in _official_pages(client, dataset):
                for bucket in page.data:
                    rows += len(bucket.results)
                    for row in bucket.results:
                        figure = getattr(row, name)
                        total += float(figure.value) if name == "amount" else figure
            return Sums(rows, total)

        yield read


@asynccontextmanager
async def openai_pandas(url: str, _: int) -> AsyncIterator[Read]:
    """The official client, and a pandas data frame of all its results."""
    from openai import AsyncOpenAI

    from benchmarks.tables import data_frame

    async with AsyncOpenAI(api_key="", admin_api_key=KEY, base_url=url) as client:

        async def read(dataset: Dataset) -> Sums:
            pages = [page async for page in _official_pages(client, dataset)]
            frame = data_frame(bucket for page in pages for bucket in page.data)
            return Sums(len(frame), int(frame[measure(dataset.endpoint)].sum()))

        yield read


async def _official_pages(client: Any, dataset: Dataset) -> AsyncIterator[Any]:
    get = getattr(client.admin.organization.usage, dataset.endpoint)
    params = _params(dataset)
    while True:
        page = await get(**params)
        yield page
        if not page.has_more:
            return
        params["page"] = page.next_page


@asynccontextmanager
async def httpx_pydantic(url: str, _: int) -> AsyncIterator[Read]:
    """A careful script: validated models of its own."""
    import httpx

    from benchmarks.hand_written import Page

    async with httpx.AsyncClient(timeout=120) as client:

        async def read(dataset: Dataset) -> Sums:
            params = _params(dataset)
            rows, total = 0, 0
            while True:
                reply = await client.get(url + dataset.path, params=params, headers=_headers())
                reply.raise_for_status()
                page = Page.model_validate_json(reply.content)
                for bucket in page.data:
                    rows += len(bucket.results)
                    for row in bucket.results:
                        total += row.input_tokens
                if not page.has_more:
                    return Sums(rows, total)
                params["page"] = page.next_page

        yield read


@asynccontextmanager
async def aiohttp_json(url: str, _: int) -> AsyncIterator[Read]:
    """A quick script: dicts."""
    import aiohttp

    async with aiohttp.ClientSession(headers=_headers()) as session:

        async def read(dataset: Dataset) -> Sums:
            name = measure(dataset.endpoint)
            params = _params(dataset)
            rows, total = 0, 0.0 if name == "amount" else 0
            while True:
                async with session.get(url + dataset.path, params=params) as reply:
                    reply.raise_for_status()
                    page = json.loads(await reply.read())
                for bucket in page["data"]:
                    rows += len(bucket["results"])
                    for row in bucket["results"]:
                        figure = row[name]
                        total += float(figure["value"]) if name == "amount" else figure
                if not page["has_more"]:
                    return Sums(rows, total)
                params["page"] = page["next_page"]

        yield read


@asynccontextmanager
async def floor_bytes(url: str, concurrency: int) -> AsyncIterator[Read]:
    """The bytes of all windows, not decoded."""

    async def count(body: bytes, _: Dataset) -> Sums:
        return Sums(bytes=len(body))

    async with _windows(url, concurrency, count) as read:
        yield read


@asynccontextmanager
async def floor_dicts(url: str, concurrency: int) -> AsyncIterator[Read]:
    """All windows, decoded with `json.loads`."""

    async def add(body: bytes, dataset: Dataset) -> Sums:
        rows, total = 0, 0
        name = measure(dataset.endpoint)
        for bucket in json.loads(body)["data"]:
            rows += len(bucket["results"])
            for row in bucket["results"]:
                total += row[name]
        return Sums(rows, total)

    async with _windows(url, concurrency, add) as read:
        yield read


@asynccontextmanager
async def floor_structs(url: str, concurrency: int) -> AsyncIterator[Read]:
    """All windows, decoded into bare msgspec structs."""
    from benchmarks.structs import decoder

    async def add(body: bytes, dataset: Dataset) -> Sums:
        rows, total = 0, 0
        name = measure(dataset.endpoint)
        for bucket in decoder(dataset.endpoint)(body).data:
            rows += len(bucket.results)
            for row in bucket.results:
                total += getattr(row, name)
        return Sums(rows, total)

    async with _windows(url, concurrency, add) as read:
        yield read


@asynccontextmanager
async def _windows(
    url: str, concurrency: int, use: Callable[[bytes, Dataset], Awaitable[Sums]]
) -> AsyncIterator[Read]:
    """Read all windows of a dataset, one for each connection at a time."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=_headers()) as session:

        async def window(dataset: Dataset, begin: int, end: int) -> Sums:
            params = {**_params(dataset), "start_time": begin, "end_time": end}
            async with session.get(url + dataset.path, params=params) as reply:
                return await use(await reply.read(), dataset)

        async def read(dataset: Dataset) -> Sums:
            windows = (window(dataset, begin, end) for begin, end in dataset.windows())
            return sum(await asyncio.gather(*windows), Sums())

        yield read


def _params(dataset: Dataset) -> dict[str, Any]:
    return {
        "start_time": dataset.start,
        "end_time": dataset.end,
        "bucket_width": dataset.width,
        "limit": dataset.limit,
    }


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


OPEN: dict[str, Open] = {
    "usage_async": usage_async,
    "usage_async, to_arrow": usage_async_to_arrow,
    "usage_async, arrow_batches": usage_async_arrow_batches,
    "openai": openai,
    "openai + pandas": openai_pandas,
    "httpx + pydantic": httpx_pydantic,
    "aiohttp + json": aiohttp_json,
    "floor: bytes": floor_bytes,
    "floor: dicts": floor_dicts,
    "floor: structs": floor_structs,
}
