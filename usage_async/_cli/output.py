"""Output of a command: its format, and standard output or a file that is replaced as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from usage_async._client.files import replacing
from usage_async.errors import QueryError
from usage_async.report.formats import BUCKET_FORMATS, REPORT_FORMATS, Format
from usage_async.report.formatting import clean

if TYPE_CHECKING:
    from usage_async._cli.context import Context

_STDOUT = "-"
_BINARY = {
    ending
    for form in (*BUCKET_FORMATS.values(), *REPORT_FORMATS.values())
    if form.is_binary
    for ending in form.endings
}
"""Endings of binary formats: a text in such a file would only fail when it is read."""


def choose_format(formats: Mapping[str, Format], given: str | None, output: Path | None) -> Format:
    """Choose the format: as `--format` says, else by the ending of the file, else the first.

    Args:
        formats: The formats of the command.
        given: The value of `--format`.
        output: The value of `--output`.

    Raises:
        QueryError: `--format` and the file contradict each other, the ending names no format, or
            the format cannot be written to a file or onto a terminal.
    """
    ending = "" if output is None else output.suffix.lower()
    named = next((name for name, each in formats.items() if ending in each.endings), None)
    known = ", ".join(known for each in formats.values() for known in each.endings)
    if named is None and ending in _BINARY:
        raise QueryError(f"{output}: {ending} files cannot be written; known endings are {known}")
    if given is not None and named not in (None, given):
        raise QueryError(
            f"{output}: the name means {named}, but --format says {given}; change one of them"
        )
    if given is None and named is None and ending:
        raise QueryError(
            f"{output}: the ending {ending} names no format: add --format; known endings are"
            f" {known}"
        )
    chosen = given or named or next(iter(formats))
    if formats[chosen].is_binary and is_shown(output):
        raise QueryError(f"{chosen} is not for a terminal: name a file with -o, or write to a pipe")
    if formats[chosen].is_drawn and not is_stdout(output):
        others = " or ".join(name for name, each in formats.items() if not each.is_drawn)
        raise QueryError(
            f"{output}: {chosen} is drawn on the terminal only; for a file add --format {others}"
        )
    return formats[chosen]


def render(
    form: Format, context: Context, output: Path | None, *given: Any, many: bool = False
) -> None:
    """Draw on standard output, or write to the output.

    Args:
        form: The format; its function gets the other arguments.
        context: The command's context.
        output: The value of `--output`.
        given: The value to render, and how.
        many: True if the value is answers of several organizations.
    """
    renderer = form.load_many() if many else form.load()
    if form.is_drawn:
        renderer(context.out, *given)
        return
    with destination(output) as sink:
        sink.write(renderer(*given))


def is_stdout(output: Path | None) -> bool:
    """Tell if a value of `--output` means standard output."""
    return output is None or str(output) == _STDOUT


def is_shown(output: Path | None) -> bool:
    """Tell if a value of `--output` means a terminal."""
    return is_stdout(output) and sys.stdout.isatty()


class Sink(Protocol):
    """Receiver of bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of the bytes."""


class _Stdout:
    """Standard output, flushed after every write: the reader of a pipe gets each bucket at once."""

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class _Screen:
    """Terminal; control characters in the data are escaped."""

    def write(self, data: bytes) -> None:
        sys.stdout.write("\n".join(map(clean, bytes(data).decode().split("\n"))))


@contextmanager
def destination(path: Path | None) -> Iterator[Sink]:
    """Open the output.

    Args:
        path: A file, opened by `replacing`; None and `-` are standard output.

    Raises:
        OSError: The file cannot be written; the old one is intact.
    """
    if path is None or is_stdout(path):
        yield _Screen() if is_shown(path) else _Stdout()
        return
    with replacing(path) as file:
        yield file
