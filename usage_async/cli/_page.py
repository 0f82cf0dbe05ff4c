"""What is drawn on: a terminal, or text in a pipe, of some width and encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MAX_WIDTH = 140
_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_GAP = 2
_MIN_BAR = 6
_MAX_BAR = 30
_MIN_NAME = 20
_PARTS = ("", *"▏▎▍▌▋▊▉")


@contextmanager
def progress(
    console: Console, what: str, total: int | None, *, quiet: bool = False
) -> Iterator[Callable[[], object]]:
    """Show one live line on a terminal, which goes away at the end; nothing elsewhere."""
    if quiet or not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda: shown.advance(task)


class Page:
    """Where a report is drawn: the console, its width and what its encoding can show."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = min(console.width, _MAX_WIDTH)
        self.unicode = console.encoding.lower().startswith("utf")
        self.bars = _BARS if self.unicode else _ASCII_BARS

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Write a line, cut at the width of the page."""
        text = Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
        self.console.print(text, width=self.width, crop=True)

    def title(self, text: str, note: str = "") -> None:
        """Begin a section."""
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
        eighths = int(max(Decimal(0), min(share, Decimal(1))) * width * 8)
        if not self.unicode:
            return Text("#" * (eighths // 8), style="cyan")
        return Text("█" * (eighths // 8) + _PARTS[eighths % 8], style="cyan")

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str | Text]],
        *,
        shares: Sequence[Decimal] = (),
        words: Sequence[Text] = (),
    ) -> None:
        """Draw a table without lines: names, then figures.

        Args:
            headers: Of the columns.
            rows: The cells; names give way where the page is narrow, figures never do.
            shares: Bars to draw behind the figures, from 0 to 1.
            words: Texts to write behind the figures; names do not give way to them.
        """
        cells = [headers, *rows]
        names, *figures = (max(cell_len(str(row[n])) for row in cells) for n in range(len(headers)))
        room = self.width - sum(figures) - _GAP * (len(headers) - (not shares and not words))
        last = 0
        if words:
            last = max(_MIN_BAR, room - names)
        elif shares:
            last = max(_MIN_BAR, min(_MAX_BAR, room - names))
            if room - last < min(names, _MIN_NAME):
                last, shares, room = 0, (), room + _GAP
        table = Table(
            box=None,
            pad_edge=False,
            padding=(0, _GAP, 0, 0),
            header_style="dim",
            show_header=any(headers),
        )
        table.add_column(
            headers[0], width=min(names, room - last), no_wrap=True, overflow="ellipsis"
        )
        for header, width in zip(headers[1:], figures, strict=True):
            table.add_column(header, width=width, justify="right", no_wrap=True)
        if last:
            table.add_column("", width=last)
        bars = [self.bar(share, last) for share in shares]
        for row, end in zip_longest(rows, bars or words):
            table.add_row(*row, *([end] if last else []))
        self.console.print(table, width=self.width, crop=True)
