"""Bytes into pages, and values into bytes: `python -m pytest benchmarks/test_codec.py`."""

from typing import Any

import pytest

from benchmarks.data import Dataset, page
from benchmarks.decoders import DECODERS
from usage_async import UsageCompletionsResult, UsageResponse, converter, dumps, loads, to_dict

PAGES = {
    "small": Dataset(page_buckets=10),
    "a day at 1m": Dataset(),
    "10 MB": Dataset(rows=11),
    "a new field": Dataset(novel=True),
    "costs": Dataset("costs", "1d", rows=100),
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("decoder", ["usage_async", "usage_async, tolerant", "typed, no probe"])
def test_decode(benchmark: Any, decoder: Any, name: Any) -> None:
    dataset = PAGES[name]
    body, decode = page(dataset), DECODERS[decoder](dataset)
    assert benchmark(decode, body) == dataset.sums().rows


@pytest.fixture
def read() -> UsageResponse[UsageCompletionsResult]:
    return loads(page(Dataset()), UsageResponse[UsageCompletionsResult])


def test_dumps(benchmark: Any, read: Any) -> None:
    assert loads(benchmark(dumps, read), UsageResponse[UsageCompletionsResult]) == read


def test_to_dict(benchmark: Any, read: Any) -> None:
    assert len(benchmark(to_dict, read)["data"]) == len(read.data)


def test_from_dict(benchmark: Any, read: Any) -> None:
    structure, values = converter.structure, to_dict(read)
    assert benchmark(structure, values, UsageResponse[UsageCompletionsResult]) == read
