import io
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from usage_async.report.formatting import clean
from usage_async.report.terminal.page import Page, progress, shorten


class Terminal(io.StringIO):
    def isatty(self):
        return True


def _page(width: int = 80, file: type[io.StringIO] = Terminal, **about) -> Page:
    return Page(Console(file=file(), width=width, color_system=None, **about))


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


def test_a_pipe_is_never_cut():
    page = _page(30, file=io.StringIO)
    rows = [["a very long name of a project", "another very long name", "$1,234,567.89"]]
    page.table(["name", "other", "spend"], rows, names=2, shares=[Decimal(1)])
    page.table(["name", "spend"], [["x", "1"]], words=[Text("many words that are not wrapped")])
    page.drawing(Text("=" * 50))
    printed = _printed(page).splitlines()
    assert printed[1].split("  ") == rows[0]
    assert printed[3].rstrip().endswith("many words that are not wrapped")
    assert printed[4] == "=" * 50


def test_a_drawing_is_cut_where_a_terminal_is_too_narrow():
    page = _page(30)
    page.drawing(Text("=" * 50))
    assert _printed(page) == "=" * 30 + "\n"


def test_columns_of_names_give_way_together_and_stay_different():
    rows = [
        ["proj_0123456789abcdef", "gpt-5.2-2026-01-01, cached input", "$1.00"],
        ["proj_0123456789abcdeX", "gpt-5.2-2026-01-01, cached output", "$2.00"],
    ]
    page = _page(40)
    page.table(["project_id", "line_item", "amount"], rows, names=2)
    assert [line.rstrip() for line in _printed(page).splitlines()] == [
        "project_id       line_item        amount",
        "proj_01…9abcdef  gpt-5.2…d input   $1.00",
        "proj_01…9abcdeX  gpt-5.2… output   $2.00",
    ]


def test_names_that_cannot_be_told_apart_when_they_are_short_are_wrapped():
    middle = [f"{'a' * 40}{n}{'b' * 40}" for n in range(3)]
    page = _page(30)
    page.table(["name", "n"], [[name, "1"] for name in middle])
    printed = _printed(page).splitlines()
    assert max(map(len, printed)) <= 30
    joined = "".join(line[:27].strip() for line in printed[1:])
    assert joined == "".join(middle)


def test_names_without_room_stand_above_their_figures():
    page = _page(40)
    page.table(["one", "two", "n"], [["first name", "second name", "1" * 25]], names=2)
    assert [line.rstrip() for line in _printed(page).splitlines()] == [
        "one, two",
        " " * 26 + "n",
        "first name, second name",
        "  " + "1" * 25,
    ]


# Names are cleaned before they are drawn; rich drops carriage returns.
@given(st.lists(st.text(min_size=1).map(clean), unique=True, max_size=8), st.integers(1, 30))
@example(cells=[clean("0"), clean("0\r")], width=1)
def test_shortened_cells_fit_and_stay_as_different_as_they_were(cells, width):
    cut = shorten(cells, width)
    if cut is not None:
        assert all(text.cell_len <= width for text in cut)
        assert len({text.plain for text in cut}) == len(cells)
    elif cells:
        assert max(map(cell_len, cells)) > width


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
