"""Exact sums: `python -m pytest benchmarks/test_totals.py`."""

from typing import Any

import pytest

from benchmarks.data import Dataset, measure, page
from usage_async import ENDPOINTS, UsageResponse, loads
from usage_async._sums.totals import Totals


@pytest.mark.parametrize("dimensions", [(), ("project_id",)], ids=["total", "by project"])
@pytest.mark.parametrize(
    "dataset",
    [Dataset(), Dataset("costs", "1d", rows=100)],
    ids=["completions, a day at 1m", "costs, a month"],
)
def test_totals(benchmark: Any, dataset: Any, dimensions: Any) -> None:
    endpoint = ENDPOINTS[dataset.endpoint]
    read: Any = loads(page(dataset), UsageResponse[endpoint.result_class])  # type: ignore[name-defined] # chosen while running
    buckets = read.data

    def add() -> Any:
        totals = Totals(endpoint.result_class, endpoint.measure, dimensions, as_of=2**40)
        for bucket in buckets:
            totals.add(bucket)
        return totals.groups()

    figures = [getattr(row, measure(dataset.endpoint)) for row in benchmark(add)]
    assert sum(getattr(figure, "value", figure) for figure in figures) == dataset.sums().total
