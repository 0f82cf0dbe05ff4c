"""Readers of one page that is in memory: from its bytes to values, objects or a table."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.data import Dataset, page

Decode = Callable[[bytes], int]
"""Reads a page and returns the number of its rows, which proves that the rows were read."""


def usage_async(dataset: Dataset, *, fast: bool = True) -> Decode:
    """This library: the decoding of a request, in all its steps."""
    from usage_async import ENDPOINTS
    from usage_async._codec.converter import make_converter
    from usage_async._codec.pages import decode

    kind, converter = ENDPOINTS[dataset.endpoint].result_class, make_converter(fast=fast)

    def run(body: bytes) -> int:
        steps = decode(body, kind, converter)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return _rows(done.value.page)

    return run


def tolerant(dataset: Dataset) -> Decode:
    """This library, its tolerant reader alone: cattrs."""
    return usage_async(dataset, fast=False)


def _through_a_client(dataset: Dataset, read: Callable[[Any], Awaitable[int]]) -> Decode:
    """Run a query of this library whose only reply is at hand, as a program would."""
    from usage_async import UsageClient

    loop = asyncio.Runner()
    bodies = [b""]

    async def transport(
        _path: str, _params: Sequence[tuple[str, str]], _headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {}, bodies[0]

    client = UsageClient("sk-admin-benchmark", transport=transport)
    query = client.query(
        dataset.endpoint,
        start_time=dataset.start,
        end_time=dataset.end,
        bucket_width=dataset.width,
        limit=dataset.limit,
    )

    async def once() -> int:
        return await read(query)

    def run(body: bytes) -> int:
        bodies[0] = body
        return loop.run(once())

    return run


def to_arrow(dataset: Dataset) -> Decode:
    """This library: `query.to_arrow()`."""

    async def read(query: Any) -> int:
        return (await query.to_arrow()).num_rows  # type: ignore[no-any-return] # any query

    return _through_a_client(dataset, read)


def collect(dataset: Dataset) -> Decode:
    """This library: `query.collect()`, every result as an object."""

    async def read(query: Any) -> int:
        return sum(len(bucket.results) for bucket in await query.collect())

    return _through_a_client(dataset, read)


def rows(dataset: Dataset) -> Decode:
    """This library: `query.rows()`."""

    async def read(query: Any) -> int:
        return sum([1 async for _ in query.rows()])

    return _through_a_client(dataset, read)


def results(dataset: Dataset) -> Decode:
    """This library: `query.results()`."""

    async def read(query: Any) -> int:
        return sum([1 async for _ in query.results()])

    return _through_a_client(dataset, read)


def typed(dataset: Dataset) -> Decode:
    """Bare typed decoding into this library's classes, without any check."""
    import msgspec

    from usage_async import ENDPOINTS, UsageResponse

    kind = ENDPOINTS[dataset.endpoint].result_class
    decode = msgspec.json.Decoder(UsageResponse[kind]).decode  # type: ignore[valid-type] # made here
    return lambda body: _rows(decode(body))


def structs(dataset: Dataset) -> Decode:
    """Bare msgspec structs, the floor of decoding."""
    from benchmarks.structs import decoder

    decode = decoder(dataset.endpoint)
    return lambda body: _rows(decode(body))


def openai(dataset: Dataset) -> Decode:
    """The official client, from a body to its models."""
    model = _official_model(dataset)
    return lambda body: _rows(model(body))


def openai_pandas(dataset: Dataset) -> Decode:
    """The official client's models, then a pandas data frame."""
    from benchmarks.tables import data_frame

    model = _official_model(dataset)
    return lambda body: len(data_frame(model(body).data))


def _official_model(dataset: Dataset) -> Callable[[bytes], Any]:
    from openai._models import construct_type
    from openai.types.admin import organization

    name = "".join(part.capitalize() for part in dataset.endpoint.split("_"))
    model = getattr(organization, f"Usage{name}Response")
    return lambda body: construct_type(type_=model, value=json.loads(body))


def pydantic(_: Dataset) -> Decode:
    from benchmarks.hand_written import Page

    return lambda body: _rows(Page.model_validate_json(body))


def json_dicts(_: Dataset) -> Decode:
    return lambda body: _dict_rows(json.loads(body))


def orjson_dicts(_: Dataset) -> Decode:
    import orjson

    return lambda body: _dict_rows(orjson.loads(body))


def orjson_pylist(_: Dataset) -> Decode:
    """orjson, then `pyarrow.Table.from_pylist` over the flat rows."""
    import orjson
    import pyarrow as pa

    def run(body: bytes) -> int:
        flat = list(_flat(orjson.loads(body)["data"]))
        return pa.Table.from_pylist(flat).num_rows

    return run


def polars_nested(dataset: Dataset) -> Decode:
    """`polars.read_ndjson` of the buckets, one a line. Their rows stay nested."""
    import polars as pl

    lines = _lines(_buckets(dataset))
    return lambda _: int(pl.read_ndjson(lines)["results"].list.len().sum())


def polars_flat(dataset: Dataset) -> Decode:
    """`polars.read_ndjson` of rows that are already flat, one a line."""
    import polars as pl

    lines = _lines(_flat(_buckets(dataset)))
    return lambda _: pl.read_ndjson(lines).height


def pyarrow_nested(dataset: Dataset) -> Decode:
    """`pyarrow.json.read_json` of the buckets, one a line. Their rows stay nested."""
    import pyarrow.compute
    import pyarrow.json

    lines = _lines(_buckets(dataset))

    def run(_: bytes) -> int:
        table = pyarrow.json.read_json(io.BytesIO(lines))
        return int(pyarrow.compute.sum(pyarrow.compute.list_value_length(table["results"])).as_py())

    return run


def _buckets(dataset: Dataset) -> list[dict[str, Any]]:
    return list(json.loads(page(dataset))["data"])


def _flat(buckets: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for bucket in buckets:
        times = {"start_time": bucket["start_time"], "end_time": bucket["end_time"]}
        for row in bucket["results"]:
            yield {**times, **row}


def _lines(values: Iterator[Any] | Sequence[Any]) -> bytes:
    return "\n".join(json.dumps(value, separators=(",", ":")) for value in values).encode()


def _rows(page: Any) -> int:
    return sum(len(bucket.results) for bucket in page.data)


def _dict_rows(page: Any) -> int:
    return sum(len(bucket["results"]) for bucket in page["data"])


DECODERS: dict[str, Callable[[Dataset], Decode]] = {
    "usage_async": usage_async,
    "usage_async, tolerant": tolerant,
    "usage_async, to_arrow": to_arrow,
    "usage_async, collect": collect,
    "usage_async, rows": rows,
    "usage_async, results": results,
    "typed, no probe": typed,
    "structs": structs,
    "openai": openai,
    "openai + pandas": openai_pandas,
    "pydantic": pydantic,
    "json": json_dicts,
    "orjson": orjson_dicts,
    "orjson + from_pylist": orjson_pylist,
    "polars, nested buckets": polars_nested,
    "polars, flat rows": polars_flat,
    "pyarrow.json, nested buckets": pyarrow_nested,
}
