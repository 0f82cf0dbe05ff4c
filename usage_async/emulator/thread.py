"""`running`: an emulator in a thread, for code that does not run on its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

from usage_async.emulator.service.server import Emulator


@contextmanager
def running(emulator: Emulator) -> Iterator[Emulator]:
    """Run an emulator on an event loop of its own, in a thread, while the `with` block lasts.

    Args:
        emulator: The emulator, not started.
    """
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        try:
            async with emulator:
                ready.set_result((asyncio.get_running_loop(), stop))
                await stop.wait()
        except OSError as error:
            ready.set_exception(error)

    thread = Thread(target=lambda: asyncio.run(run()), name="usage-emulator", daemon=True)
    thread.start()
    try:
        loop, stop = ready.result()
    except OSError:
        thread.join()
        raise
    try:
        yield emulator
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
