"""The commands in a real pseudo-terminal, 80 columns wide."""

import os
import re
import sys

import pytest

from usage_async.emulator import Emulator, Faults
from usage_async.report.formats import BUCKET_FORMATS

pexpect = pytest.importorskip("pexpect")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals"),
]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _spawn(*tokens: str, **settings: str):
    kept = ("PATH", "HOME", "PYTHONPATH", "SYSTEMROOT", "COVERAGE_PROCESS_START")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return pexpect.spawn(
        sys.executable,
        ["-m", "usage_async._cli", *tokens],
        env=environment
        | {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
        | settings,
        dimensions=(50, 80),
        encoding="utf-8",
        timeout=60,
    )


def _screen(child) -> str:
    child.expect(pexpect.EOF)
    child.close()
    return child.before


@pytest.mark.parametrize(
    "tokens",
    [
        "report --demo --by user --compare",
        "total completions --demo --period last-month --by model",
        "endpoints",
        "verify costs --demo --period last-month --by project_id",
        "doctor --demo",
        "fetch --help",
    ],
)
def test_a_screen_has_colours_and_fits(tokens):
    child = _spawn(*tokens.split())
    screen = _screen(child)
    assert child.exitstatus == 0
    lines = [_ESCAPES.sub("", line.rpartition("\r\x1b[2K")[2]) for line in screen.split("\r\n")]
    assert max(map(len, lines)) <= 80


def test_colours_are_there_and_no_color_takes_them_away():
    assert "\x1b[1;32m$" in _screen(_spawn("report", "--demo"))
    screen = _screen(_spawn("report", "--demo", NO_COLOR="1"))
    assert not re.search(r"\x1b\[(\d+;)*3\d", screen)


def test_ctrl_c_leaves_the_terminal_clean(serving, tmp_path):
    server = serving(Emulator(faults=Faults(hang_rate=1.0)))
    file = tmp_path / "out.jsonl"
    file.write_text("old")
    child = _spawn(
        *("fetch", "completions", "--period", "7d", "-o", str(file)),
        USAGE_ASYNC_BASE_URL=server.url,
        OPENAI_ADMIN_KEY=server.admin_key,
    )
    child.expect("completions")
    child.sendintr()
    screen = _screen(child)
    assert child.exitstatus == 130
    assert screen.endswith("usage-async: interrupted\r\n")
    assert "\x1b[?25h" in screen
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("form", BUCKET_FORMATS)
def test_a_termination_leaves_no_partial_file(serving, tmp_path, form):
    import signal

    server = serving(Emulator(faults=Faults(script=["none"], hang_rate=1.0)))
    child = _spawn(
        *("fetch", "completions", "--start", "60d", "-o", str(tmp_path / f"out.{form}")),
        USAGE_ASYNC_BASE_URL=server.url,
        OPENAI_ADMIN_KEY=server.admin_key,
    )
    child.expect("completions")
    assert list(tmp_path.iterdir())
    child.kill(signal.SIGTERM)
    _screen(child)
    assert child.exitstatus == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
