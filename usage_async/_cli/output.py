"""Output: standard output, or a file that is only replaced when the new one is whole."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from usage_async.report.text import clean


class Sink(Protocol):
    """Receiver of bytes."""

    def write(self, data: bytes, /) -> object:
        """Take them all."""


class _Stdout:
    """Standard output, without a wait: what reads the pipe gets every piece at once."""

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class _Screen:
    """A terminal: what could steer it is written out, whatever the data hold."""

    def write(self, data: bytes) -> None:
        sys.stdout.write("\n".join(map(clean, data.decode().split("\n"))))


@contextmanager
def destination(path: Path | None) -> Iterator[Sink]:
    """Open where to write.

    A file is written beside the old one and then renamed, so that there is the old file or the
    whole new one, whatever happens. What is no file (a device, a named pipe) is written to.

    Args:
        path: None, or `-`, is standard output.

    Raises:
        OSError: It cannot be written; what was there is intact.
    """
    if path is None or str(path) == "-":
        yield _Screen() if sys.stdout.isatty() else _Stdout()
        return
    # A link stays a link: what it points at is replaced.
    target = Path(os.path.realpath(path))
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        with target.open("wb", buffering=0) as device:
            yield device
        return
    with _beside(target) as file:
        yield file


@contextmanager
def _beside(target: Path) -> Iterator[Sink]:
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        error.filename = str(target)  # the one that was asked for
        raise
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(_mode(target))
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _mode(target: Path) -> int:
    """Give the permissions of the old file, or those that a new one gets."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask
