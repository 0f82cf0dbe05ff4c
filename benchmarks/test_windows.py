"""Windows and the check of their pages: `python -m pytest benchmarks/test_windows.py`."""

from typing import Any

import pytest

from benchmarks.data import START, Dataset, page
from usage_async import UsageCompletionsResult, UsageResponse, loads
from usage_async._engine.progress import WindowProgress
from usage_async._query.request import build
from usage_async._query.times import TimeRange
from usage_async._query.windows import Window

DAY = 86_400


@pytest.mark.parametrize(("days", "width"), [(30, "1m"), (365, "1m"), (365, "1h"), (365, "1d")])
def test_cut(benchmark: Any, days: Any, width: Any) -> None:
    end = START + days * DAY
    query = build("completions", {"start_time": START, "end_time": end, "bucket_width": width})

    def cut_all() -> list[Window]:
        left = query.uncut(TimeRange(START, end), now=end, concurrency=8)
        windows = []
        while (cut := left.cut()) is not None:
            window, left = cut
            windows.append(window)
        return windows

    windows = benchmark(cut_all)
    assert (windows[0].start, windows[-1].end) == (START, end)


def test_check_a_page_of_a_day(benchmark: Any) -> None:
    dataset = Dataset()
    read = loads(page(dataset), UsageResponse[UsageCompletionsResult])
    query = build("completions", {"start_time": START, "bucket_width": "1m"})
    window = Window(START, dataset.end, query.width_s)

    def accept() -> Any:
        progress: WindowProgress[Any] = WindowProgress(window=window, now=dataset.end)
        return progress.accept(read, ())

    assert benchmark(accept) == (read, [])
