"""Cutting a range into windows: `python -m pytest benchmarks/test_plan.py`."""

from typing import Any

import pytest

from benchmarks.data import START, Dataset, page
from usage_async import UsageCompletionsResult, UsageResponse, loads
from usage_async._engine.window import WindowReading
from usage_async._query.request import build
from usage_async._query.times import TimeRange
from usage_async._query.windows import plan

DAY = 86_400


@pytest.mark.parametrize(("days", "width"), [(30, "1m"), (365, "1m"), (365, "1h"), (365, "1d")])
def test_plan(benchmark: Any, days: Any, width: Any) -> None:
    end = START + days * DAY
    query = build("completions", {"start_time": START, "end_time": end, "bucket_width": width})
    windows = benchmark(plan, query, TimeRange(START, end), now=end, concurrency=8)
    assert (windows[0].start, windows[-1].end) == (START, end)


def test_check_a_page_of_a_day(benchmark: Any) -> None:
    dataset = Dataset()
    read = loads(page(dataset), UsageResponse[UsageCompletionsResult])
    query = build("completions", {"start_time": START, "bucket_width": "1m"})
    (window,) = plan(query, TimeRange(START, dataset.end), now=dataset.end, concurrency=8)

    def accept() -> Any:
        reading: WindowReading[Any] = WindowReading(window=window, now=dataset.end)
        return reading.accept(read)

    assert benchmark(accept) == (read, [])
