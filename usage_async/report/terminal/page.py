"""Page: a drawing surface with the width and the encoding of a terminal or a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import accumulate
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from usage_async.report.formatting import clean

__all__ = [
    "Console",
    "Page",
    "Text",
    "heading",
    "make_console",
    "make_text_console",
    "progress",
]

_MAX_WIDTH = 140
_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_GAP = 2
_MIN_BAR = 6
_MAX_BAR = 30
_MIN_NAME = 20
_MIN_COLUMN = 10
_UNLIMITED = 100_000
_RULE = "=" * 8
_PARTS = ("", *"▏▎▍▌▋▊▉")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # rich would end the process here; the caller decides.
        raise BrokenPipeError


def make_console(*, stderr: bool) -> Console:
    """Make a console that prints text as it is, without markup."""
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def make_text_console(file: TextIO, width: int) -> Console:
    """Make a console that writes plain text of this width to a file."""
    return Console(
        file=file, width=width, color_system=None, highlight=False, markup=False, emoji=False
    )


def heading(name: str) -> str:
    """Give the title of an organization's part of a page."""
    return f"{_RULE} {clean(name)} {_RULE}"


@contextmanager
def progress(
    console: Console, what: str, total: int | None, *, quiet: bool = False
) -> Iterator[Callable[..., object]]:
    """Show a progress bar on a terminal, and erase it at the end; elsewhere show nothing.

    Yields:
        A function that is called after one step, or with the number of steps.
    """
    if quiet or not console.is_terminal:
        yield lambda _steps=1: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda steps=1: shown.advance(task, steps)


class Page:
    """Drawing surface: a console, its width and the characters of its encoding.

    Output into a pipe or a file is laid out for this width, but never cut to it.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width: int = min(console.width, _MAX_WIDTH)
        self.is_cut: bool = console.file.isatty()
        # The page cuts and wraps; a console with a width of its own would do it again.
        console.width = _UNLIMITED
        self.unicode: bool = console.encoding.lower().startswith("utf")
        self.bars = _BARS if self.unicode else _ASCII_BARS

    def line(self, *parts: str | Text | tuple[str, str]) -> None:
        """Write a line; one that is too long is wrapped."""
        self.console.print(Text.assemble(*parts), width=self.width)

    def drawing(self, text: Text) -> None:
        """Write a line that must not be wrapped; a terminal that is too narrow cuts it."""
        width = self.width if self.is_cut else None
        self.console.print(text, width=width, no_wrap=True, overflow="crop")

    def title(self, text: str, note: str = "") -> None:
        """Begin a section, with an optional note beside its title."""
        self.console.print()
        self.line((text, "bold"), (f"  {note}" if note else "", "dim"))

    def wrapped(self, text: str, style: str = "") -> None:
        """Write a paragraph."""
        self.console.print(Text(text, style=style), width=self.width)

    def hanging(self, label: str, text: str, style: str = "dim") -> None:
        """Write a label, and a paragraph beside it."""
        width = self.width - len(label)
        for line in Text(text).wrap(self.console, width):
            self.line(label, (line.plain, style))
            label = " " * len(label)

    def bar(self, share: Decimal, width: int) -> Text:
        """Draw a share, from 0 to 1, as a bar."""
        eighths = int(max(0.0, min(float(share), 1.0)) * width * 8)
        if not self.unicode:
            return Text("#" * (eighths // 8), style="cyan")
        return Text("█" * (eighths // 8) + _PARTS[eighths % 8], style="cyan")

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str | Text]],
        *,
        names: int = 1,
        shares: Sequence[Decimal] = (),
        words: Sequence[Text] = (),
    ) -> None:
        """Draw a table without lines: columns of names, then columns of figures.

        On a narrow terminal bars are left out first, then names are shortened, then names stand
        above their figures. Figures are never cut.

        Args:
            headers: Headers of the columns.
            rows: Cells of the rows.
            names: The number of columns that are names.
            shares: Bars to draw behind the figures, from 0 to 1.
            words: Texts to write behind the figures; they are wrapped before names are shortened.
        """
        natural = [
            max(cell_len(str(row[n])) for row in (headers, *rows)) for n in range(len(headers))
        ]
        left = self.width - sum(natural) - _GAP * (len(headers) - 1)
        last, ends = self._last(left, natural[0], shares, words)
        room = sum(natural[:names]) + min(0, left - bool(last) * (last + _GAP))
        widths = _fitted(natural[:names], room) if self.is_cut else natural[:names]
        narrow = (w < min(_MIN_COLUMN, own) for w, own in zip(widths, natural, strict=False))
        if any(narrow) and not words:
            self._stack([headers, *rows], names, natural[names:])
            return
        table = Table(
            box=None,
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
            header_style="dim",
            show_header=any(headers),
        )
        columns: list[Sequence[str | Text]] = [
            [row[n] for row in rows] for n in range(len(headers))
        ]
        for n, width in enumerate(widths):
            table.add_column(*(shorten([headers[n]], width) or ()), width=width, overflow="fold")
            # Names that cannot be shortened and stay different are wrapped.
            columns[n] = shorten(columns[n], width) or columns[n]
        for title, width in zip(headers[names:], natural[names:], strict=True):
            table.add_column(title, width=width, justify="right", no_wrap=True)
        if last:
            table.add_column("", width=last)
            columns.append(ends)
        for row in zip(*columns, strict=True):
            table.add_row(*row)
        self.console.print(table)

    def _stack(
        self, rows: Sequence[Sequence[str | Text]], names: int, widths: Sequence[int]
    ) -> None:
        """Draw a table whose names stand above their figures."""
        style = "dim"
        for row in rows:
            self.console.print(
                Text(", ").join(map(_text, row[:names])), width=self.width, style=style
            )
            figures = zip(row[names:], widths, strict=True)
            line = (" " * _GAP + str(cell).rjust(width) for cell, width in figures)
            self.console.print(Text("".join(line)), width=self.width, style=style)
            style = ""

    def _last(
        self, left: int, name: int, shares: Sequence[Decimal], words: Sequence[Text]
    ) -> tuple[int, Sequence[Text]]:
        """Give the width of the column behind the figures, and its cells.

        Args:
            left: The width that is left; less than 0 where names must be shortened.
            name: The width of the widest name.
            shares: Bars; left out where the names would have no room.
            words: Texts; wrapped.
        """
        if words:
            longest = max(text.cell_len for text in words)
            return (max(_MIN_BAR, min(left - _GAP, longest)) if self.is_cut else longest), words
        width = max(_MIN_BAR, min(_MAX_BAR, left - _GAP))
        kept = min(name, _MIN_NAME) if self.is_cut else name
        if shares and left - width - _GAP + name >= kept:
            return width, [self.bar(share, width) for share in shares]
        return 0, ()


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """Narrow the widest columns until all fit."""
    fitted = list(widths)
    while sum(fitted) > max(room, len(fitted)):
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def shorten(cells: Sequence[str | Text], width: int) -> list[Text] | None:
    """Shorten cells to a width, at the end or else inside, so that different cells stay different.

    Returns:
        The cells; None if this width is too small to tell them apart.
    """
    texts = list(map(_text, cells))
    different = len({text.plain for text in texts})
    for tail in (0, (width - 1) // 2, width - 1):
        cut = [_cut(text, width, tail) for text in texts]
        if len({text.plain for text in cut}) == different:
            return cut
    return None


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _cut(text: Text, width: int, tail: int) -> Text:
    """Replace the part that does not fit by an ellipsis, and keep the last `tail` cells."""
    if text.cell_len <= width:
        return text
    sizes = list(map(cell_len, text.plain))
    begin = _fitting(sizes, width - 1 - tail)
    end = len(sizes) - _fitting(sizes[::-1], tail)
    return Text.assemble(text[:begin], "…", text[end:])


def _fitting(sizes: Sequence[int], width: int) -> int:
    """Count the first characters that fit."""
    return sum(total <= width for total in accumulate(sizes))
