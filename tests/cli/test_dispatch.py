import asyncio
import logging
import os
import runpy
import signal
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from usage_async import _cli as room
from usage_async._cli import dispatch
from usage_async._cli.context import Context

from .conftest import environment


def test_help_teaches_and_every_command_has_an_example(cli):
    ran = cli("--help")
    assert (ran.code, ran.err) == (0, "")
    commands = ("report", "fetch", "total", "verify", "serve", "endpoints", "doctor", "emulate")
    for command in commands:
        assert f" {command} " in ran.out
        assert "\nExample: usage-async " in cli(command, "--help").out


def test_without_a_command_there_is_help(cli):
    assert cli().out == cli("--help").out


def test_the_version_names_the_core_dependencies(cli):
    out = cli("--version").out
    for name in ("usage-async ", "aiohttp ", "attrs ", "cattrs ", "msgspec ", "Python "):
        assert name in out


def test_completion_is_installed_by_one_command(cli, bare, tmp_path):
    bare.setenv("HOME", str(tmp_path))
    ran = cli("completion", "--shell", "bash", columns=200)
    assert ran.code == 0
    (script,) = tmp_path.rglob("completions/usage-async")
    assert str(script) in ran.out.replace("\n", "")
    assert "bucket-width" in script.read_text()


@pytest.mark.parametrize("shell", ["sh", None])
def test_completion_of_an_unknown_shell_is_refused(cli, bare, monkeypatch, shell):
    from cyclopts.completion import detect

    def fail():
        raise detect.ShellDetectionError

    monkeypatch.setattr(detect, "detect_shell", fail)
    ran = cli("completion", *(["--shell", shell] if shell else []))
    assert (ran.code, ran.out) == (2, "")
    assert "--shell bash" in ran.err


def test_ctrl_c_is_one_line_and_code_130(cli, monkeypatch):
    monkeypatch.setattr("usage_async.report.terminal.endpoints.draw_endpoints", _interrupt)
    ran = cli("endpoints")
    assert (ran.code, ran.out, ran.err) == (130, "", "usage-async: interrupted\n")


def _interrupt(_console):
    raise KeyboardInterrupt


def test_a_closed_pipe_is_a_quiet_end(cli, monkeypatch):
    def write(_console):
        raise BrokenPipeError

    handed = []
    monkeypatch.setattr("usage_async.report.terminal.endpoints.draw_endpoints", write)
    monkeypatch.setattr(os, "dup2", lambda *numbers: handed.append(numbers))
    ran = cli("endpoints")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert handed[0][1] == 1


def test_a_console_whose_pipe_closes_ends_quietly(cli, monkeypatch):
    def write(_console):
        Context(None, {}).out.on_broken_pipe()

    monkeypatch.setattr("usage_async.report.terminal.endpoints.draw_endpoints", write)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    assert cli("endpoints").code == 0


def test_a_full_disk_behind_standard_output_is_one_line(cli, monkeypatch):
    class Full:
        def flush(self):
            raise OSError(28, "No space left on device")

    def write(_console):
        monkeypatch.setattr(sys, "stdout", Full())

    monkeypatch.setattr("usage_async.report.terminal.endpoints.draw_endpoints", write)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    ran = cli("endpoints")
    assert (ran.code, ran.out, ran.err) == (1, "", "usage-async: No space left on device\n")


def test_the_package_is_a_program(monkeypatch, bare, capsys):
    program = str(Path(room.__file__).with_name("__main__.py"))
    monkeypatch.setattr(sys, "argv", ["usage-async", "endpoints"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(program, run_name="__main__")
    assert exit_.value.code == 0
    assert "completions" in capsys.readouterr().out
    runpy.run_path(program, run_name="imported")


def test_handlers_are_taken_off_again(cli):
    before = list(logging.getLogger("usage_async").handlers)
    cli("endpoints")
    assert logging.getLogger("usage_async").handlers == before


def test_a_stream_that_cannot_be_reconfigured_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", object())
    dispatch._replace_odd_characters()  # raises nothing


def test_main_says_what_to_install_where_the_extra_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(
        room, "find_spec", lambda name: None if name == "rich" else util.find_spec(name)
    )
    with pytest.raises(SystemExit) as exit_:
        room.main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err == (
        'usage-async: the extra `cli` is missing: pip install "usage-async[cli]"\n'
    )


def test_main_exits_with_the_code_of_the_command(monkeypatch, bare, capsys):
    handlers = []
    monkeypatch.setattr(signal, "signal", lambda *given: handlers.append(given))
    monkeypatch.setattr(sys, "argv", ["usage-async", "report", "--top", "-1"])
    with pytest.raises(SystemExit) as exit_:
        room.main()
    assert exit_.value.code == 2
    assert "--top takes 0 or more" in capsys.readouterr().err
    ((number, handler),) = handlers
    with pytest.raises(SystemExit) as exit_:
        handler(number, None)
    assert exit_.value.code == 128 + signal.SIGTERM


async def _wait_for_ever(first):
    first()
    await asyncio.Event().wait()


def test_a_termination_ends_a_run_by_a_cancellation():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_:
        Context(None, {}).run(_wait_for_ever(lambda: signal.raise_signal(signal.SIGTERM)))
    assert exit_.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cancellation_without_a_termination_is_no_exit():
    with pytest.raises(asyncio.CancelledError):
        Context(None, {}).run(_wait_for_ever(lambda: asyncio.current_task().cancel()))


def _process(*tokens: str, **settings: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-m", "usage_async._cli", *tokens],
        env=environment(**settings),
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_terminal_of_any_encoding_shows_the_report(encoding):
    ran = _process("report", "--demo", PYTHONIOENCODING=encoding)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ("#".encode(encoding) in ran.stdout) is (encoding != "utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no shell that closes descriptors")
@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("endpoints >&-", 1, b"usage-async: standard output is closed\n"),
        ("total costs --demo --period 2026-10-05 --format json >&-", 1, b"is closed\n"),
        ("fetch costs --demo --period 2026-10-05 -o out.csv >&- <&-", 0, b""),
        ("fetch costs --demo --period 2026-10-05 -o out.csv >&- 2>&- <&-", 0, b""),
        ("endpoints --nonsense 2>&-", 2, b""),
    ],
)
def test_a_standard_stream_may_be_closed(tmp_path, command, code, says):
    ran = subprocess.run(  # noqa: S602 - the shell is the point
        f"{sys.executable} -m usage_async._cli {command}",
        shell=True,
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (code, b"")
    assert ran.stderr.endswith(says)
    assert ran.stderr.count(b"\n") == says.count(b"\n")
    if "-o" in command:
        assert (tmp_path / "out.csv").read_text().startswith('"start_time",')


def test_a_stream_that_is_closed_is_replaced(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given))
    monkeypatch.setattr("builtins.open", lambda number, mode, **_: (number, mode))
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    room._replace_closed_streams()
    replaced = sys.stdin, sys.stdout, sys.stderr
    monkeypatch.undo()
    assert replaced == ((0, "r"), (1, "w"), (2, "w"))
    assert [flags for _, flags in opened] == [os.O_RDONLY, os.O_RDONLY, os.O_WRONLY]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from usage_async._cli.dispatch import run_command; run_command(['--help']);"
        "heavy = {'aiohttp', 'cattrs', 'msgspec', 'usage_async._client', 'usage_async.emulator',"
        " 'usage_async._api.results'};"
        "sys.exit(', '.join(heavy & sys.modules.keys()) or 0)"
    )
    ran = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="no shell with `head`")
@pytest.mark.parametrize("form", ["jsonl", "csv", "arrow"])
def test_a_pipe_that_closes_early_is_no_error(tmp_path, form):
    command = (
        f"{sys.executable} -m usage_async._cli fetch completions --demo --start 60d --width 1h"
        f" --by model,project_id --format {form} 2>{tmp_path}/err"
        f" | head -c 100; echo $?; cat {tmp_path}/err"
    )
    ran = subprocess.run(  # noqa: S602 - the shell is the point
        command, shell=True, env=environment(), capture_output=True, check=False, timeout=60
    )
    assert ran.stdout[100:].strip() == b"0"
