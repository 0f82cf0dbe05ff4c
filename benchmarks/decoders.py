"""Who reads one page that is in memory already: bytes in, rows counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.data import Dataset

Decode = Callable[[bytes], int]
"""Reads a page; gives its rows, since what is not looked at may not be read."""


def usage_async(dataset: Dataset, *, fast: bool = True) -> Decode:
    """This library, as a request runs it: in steps."""
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


def typed(dataset: Dataset) -> Decode:
    """Bare typed decoding into this library's classes, whatever it may miss."""
    import msgspec

    from usage_async import ENDPOINTS, UsageResponse

    kind = ENDPOINTS[dataset.endpoint].result_class
    decode = msgspec.json.Decoder(UsageResponse[kind]).decode  # type: ignore[valid-type] # made here
    return lambda body: _rows(decode(body))


def structs(dataset: Dataset) -> Decode:
    from benchmarks.structs import decoder

    decode = decoder(dataset.endpoint)
    return lambda body: _rows(decode(body))


def openai(dataset: Dataset) -> Decode:
    """The official client's way from a body to its models."""
    from openai._models import construct_type
    from openai.types.admin import organization

    name = "".join(part.capitalize() for part in dataset.endpoint.split("_"))
    model = getattr(organization, f"Usage{name}Response")
    return lambda body: _rows(construct_type(type_=model, value=json.loads(body)))


def pydantic(_: Dataset) -> Decode:
    from benchmarks.hand_written import Page

    return lambda body: _rows(Page.model_validate_json(body))


def json_dicts(_: Dataset) -> Decode:
    return lambda body: _dict_rows(json.loads(body))


def orjson_dicts(_: Dataset) -> Decode:
    import orjson

    return lambda body: _dict_rows(orjson.loads(body))


def _rows(page: Any) -> int:
    return sum(len(bucket.results) for bucket in page.data)


def _dict_rows(page: Any) -> int:
    return sum(len(bucket["results"]) for bucket in page["data"])


DECODERS: dict[str, Callable[[Dataset], Decode]] = {
    "usage_async": usage_async,
    "usage_async, tolerant": tolerant,
    "typed, no probe": typed,
    "structs": structs,
    "openai": openai,
    "pydantic": pydantic,
    "json": json_dicts,
    "orjson": orjson_dicts,
}
