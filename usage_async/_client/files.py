"""Files that are whole or not there at all, and record batches written into them."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import tempfile
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import attrs

from usage_async._query.times import iso

if TYPE_CHECKING:
    from usage_async._api.pages import Notice
    from usage_async._codec.formats import Writer
    from usage_async._codec.schemas import Schema
    from usage_async._engine.stream import Stream

T = TypeVar("T")

_NEXT_TRY_S = 0.01
"""Seconds after which a named pipe without a reader is tried again."""


async def write_file(
    path: str | os.PathLike[str],
    batches: AsyncIterable[Any],
    schema: Schema,
    metadata: Callable[[], Mapping[str, str]],
    open_writer: Callable[[IO[bytes], Schema], Writer],
) -> None:
    """Write record batches into a file that takes its name when it is whole.

    Args:
        path: The file; an old one is replaced.
        batches: As for `write_batches`.
        schema: As for `write_batches`.
        metadata: As for `write_batches`.
        open_writer: As for `write_batches`.

    Raises:
        OSError: It cannot be written; an old file is intact.
    """
    opened = await _open_pipe(Path(path)) or replacing(Path(path))
    ended = asyncio.CancelledError()
    file = await in_thread(
        opened.__enter__, undo=lambda _: opened.__exit__(type(ended), ended, None)
    )
    try:
        await write_batches(file, batches, schema, metadata, open_writer)
    except BaseException as error:
        await in_thread(opened.__exit__, type(error), error, error.__traceback__)
        raise
    await in_thread(opened.__exit__, None, None, None)


async def write_batches(
    file: IO[bytes],
    batches: AsyncIterable[Any],
    schema: Schema,
    metadata: Callable[[], Mapping[str, str]],
    open_writer: Callable[[IO[bytes], Schema], Writer],
) -> None:
    """Write record batches into an open file, one after another, in a thread.

    Args:
        file: The file, which stays open.
        batches: The batches.
        schema: Their schema.
        metadata: Gives what the file says about its rows, after the last batch.
        open_writer: Opens the writer of a format.

    Raises:
        OSError: It cannot be written.
    """
    outlet: Any = _Outlet(file)

    def abandon(writer: Writer) -> None:
        outlet.is_shut = True
        writer.close({})

    writer = await in_thread(open_writer, outlet, schema, undo=abandon)
    try:
        async for batch in batches:
            await in_thread(writer.write, batch)
    except BaseException:
        outlet.is_shut = True
        raise
    finally:
        # Also after a failure: a writer that is dropped would write into a closed file.
        await in_thread(writer.close, metadata())


@attrs.define(eq=False)
class _Outlet:
    """Way into a file, shut after a failure: without its end no reader takes a stream for whole."""

    _file: Any
    is_shut: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    """Never; the writers ask."""

    def write(self, data: Any) -> None:
        rest = memoryview(data)
        while rest and not self.is_shut:
            # A device takes as much as it can.
            written: int | None = self._file.write(rest)
            rest = rest[len(rest) if written is None else written :]

    def flush(self) -> None:
        """The file is flushed by who has opened it."""


def facts(query: object, stream: Stream[Any], *more: Notice) -> dict[str, str]:
    """Give what a table or a file says about its rows.

    Args:
        query: The query.
        stream: Its run, which has ended.
        more: Notices of the file, beside those of the run.
    """
    return joint_facts(query, stream, (*stream.notices, *more))


def joint_facts(query: object, stream: Stream[Any], notices: Iterable[Notice]) -> dict[str, str]:
    """Give what a file of several runs says about its rows.

    Args:
        query: The query of each.
        stream: One of the runs, which has ended.
        notices: Notices of all runs, and of the file.
    """
    from usage_async._codec.tables import about

    return about(
        notices,
        start_time=iso(stream.requested.start_time),
        end_time=iso(stream.requested.end_time),
        as_of=iso(stream.as_of),
        query=repr(query),
    )


async def _open_pipe(path: Path) -> IO[bytes] | None:
    """Open a named pipe as soon as it has a reader; None if the path is no pipe.

    A thread that opens it waits for the reader, and could not be broken off.
    """
    if not await in_thread(path.is_fifo):
        return None
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            await asyncio.sleep(_NEXT_TRY_S)
        else:
            os.set_blocking(handle, True)
            return os.fdopen(handle, "wb", buffering=0)


async def in_thread(
    work: Callable[..., T], *args: Any, undo: Callable[[T], object] | None = None
) -> T:
    """Run in a thread what cannot be broken off: a cancellation waits for its end.

    Args:
        work: The work.
        args: Its arguments.
        undo: Closes what the work has opened, if the cancellation keeps it from the caller.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # Asking for the error keeps asyncio from logging it.
        if running.exception() is None and undo is not None:
            await in_thread(undo, running.result())
        raise cancelled
    return running.result()


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file to write, which takes its name when it is whole.

    It is written beside the old one and then renamed, so that there is always the old file or the
    whole new one. Devices and named pipes are written to directly.

    Args:
        path: The file.
        mode: Its permissions; by default those of the old file, or those that the umask leaves.

    Raises:
        OSError: The file cannot be written; the old one is intact.
    """
    # The target of a link is replaced, and the link stays.
    target = Path(os.path.realpath(path))
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with target.open("wb", buffering=0) as device:
            yield device
        return
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        error.filename = str(target)  # instead of the temporary name
        raise
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(_mode(target) if mode is None else mode)
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _mode(target: Path) -> int:
    """Give the permissions of the old file, or those that the umask leaves to a new one."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask
