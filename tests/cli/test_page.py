import io
from decimal import Decimal

import pytest
from rich.console import Console
from rich.text import Text

from usage_async.cli._page import Page, progress


def _page(width: int = 80, **about) -> Page:
    return Page(Console(file=io.StringIO(), width=width, **about))


def _printed(page: Page) -> str:
    return page.console.file.getvalue()


def _ascii() -> Page:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    return Page(Console(file=file, width=80))


@pytest.mark.parametrize(
    ("share", "bar"),
    [
        ("0", ""),
        ("-1", ""),
        ("0.5", "████"),
        ("0.51", "████"),
        ("0.55", "████▍"),
        ("7", "████████"),
    ],
)
def test_a_bar_has_eighths(share, bar):
    assert _page().bar(Decimal(share), 8).plain == bar


def test_without_unicode_a_bar_is_of_ascii():
    assert _ascii().bar(Decimal("0.55"), 8).plain == "####"
    assert _ascii().bars.isascii()


def test_names_give_way_and_then_bars_but_never_figures():
    rows = [["a very long name of a project", "$1,234,567.89"]]
    for width, expected in [
        (60, "a very long name of a project  $1,234,567.89  ██████"),
        (45, "a very long name of a…  $1,234,567.89  ██████"),
        (30, "a very long na…  $1,234,567.89"),
    ]:
        page = _page(width)
        page.table(["name", "spend"], rows, shares=[Decimal(1)])
        line = _printed(page).splitlines()[1].rstrip()
        assert line.rstrip("█") == expected.rstrip("█")
        assert len(line) <= width


def test_words_wrap_beside_their_names():
    page = _page(30)
    page.table(["endpoint", "n"], [["completions", "1"]], words=[Text("many words to be wrapped")])
    assert "completions" in _printed(page)
    assert len(_printed(page).splitlines()) > 2


def test_progress_is_one_line_on_a_terminal_that_goes_away():
    page = _page(force_terminal=True)
    with progress(page.console, "reading", 3) as advance:
        advance()
    printed = _printed(page)
    assert "reading" in printed
    assert printed.endswith("\x1b[2K")
    assert "\x1b[?25h" in printed


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_progress_is_silent_elsewhere(terminal, quiet):
    page = _page(force_terminal=terminal)
    with progress(page.console, "reading", 3, quiet=quiet) as advance:
        advance()
    assert _printed(page) == ""
