"""Worker: one thread for work on values that takes too long for a turn of the event loop.

Threads of Python take turns of 5 ms. With one worker the event loop waits for one such turn; with
eight, which is what eight reports at once get of the loop's own executor, it waited for up to 190
ms. Further work is queued. Work that is cancelled before its turn leaves the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_WORKER = ThreadPoolExecutor(1, "usage_async")
"""Its thread starts with the first work: a process that is forked after the imports has its own."""


def in_worker(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Call a pure function in the worker.

    The worker drops its references to the arguments before the value is given, so that the caller
    decides when large ones are freed.
    """
    work = [partial(function, *args, **kwargs)]
    return asyncio.get_running_loop().run_in_executor(_WORKER, _value_of, work)


def _value_of(work: list[partial[T]]) -> T:
    return work.pop()()
