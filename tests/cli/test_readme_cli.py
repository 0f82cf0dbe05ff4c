"""Every block of the README that begins with `$ usage-async …` shows what the command prints.

The commands run in an empty folder, 80 columns wide, at the time of the tests. `0.3 s` and a
port may differ, a line `…` stands for the rest. Run as a program, this file writes them anew.
"""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"

_BLOCK = re.compile(r"^```\w*\n(\$ usage-async .*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ usage-async (.*)\n", re.MULTILINE)
_REST = "…"


def _blocks(text: str) -> list[str]:
    return [match[1] for match in _BLOCK.finditer(text)]


def _parts(block: str) -> list[tuple[str, str]]:
    """Give the commands of a block, each with the output below it."""
    _, *parts = _COMMAND.split(block)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _normal(text: str) -> str:
    text = re.sub(r"\b\d+\.\d s\b", "0.3 s", text)
    text = re.sub(r"\b127\.0\.0\.1:\d+", "127.0.0.1:8089", text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _shown(printed: str, wanted: str) -> str:
    """Cut what is printed where the README cuts it."""
    printed, wanted = _normal(printed), _normal(wanted)
    if not wanted.endswith(f"{_REST}\n"):
        return printed
    length = len(wanted.splitlines()) - 1
    return "".join(f"{line}\n" for line in [*printed.splitlines()[:length], _REST])


@pytest.mark.parametrize(
    "block", _blocks(README.read_text()), ids=lambda block: block.partition("\n")[0]
)
def test_a_block_shows_what_its_command_prints(cli, tmp_path, monkeypatch, block):
    monkeypatch.chdir(tmp_path)
    for command, wanted in _parts(block):
        ran = cli(*shlex.split(command))
        assert _shown(ran.out + ran.err, wanted) == _normal(wanted)


def test_a_block_is_cut_where_it_says_so():
    block = "$ usage-async a b\none  \ntwo\n$ usage-async c\n…\n"
    assert _blocks(f"text\n```console\n{block}```\n```sh\nother\n```\n") == [block]
    assert _parts(block) == [("a b", "one  \ntwo\n"), ("c", "…\n")]
    assert _shown("one\ntwo in 9.9 s\nthree\n", "one\n…\n") == "one\n…\n"
    assert _shown("one in 9.9 s \n", "one in 0.1 s\n") == "one in 0.3 s\n"


def _rewrite() -> None:
    import os
    import subprocess
    import sys
    import tempfile

    from conftest import NOW

    program = (
        "import sys; from usage_async import Runtime;"
        "from usage_async._cli.dispatch import run_command;"
        f"sys.exit(run_command(sys.argv[1:], runtime=Runtime(now=lambda: {NOW})))"
    )
    with tempfile.TemporaryDirectory() as folder:

        def fresh(match: re.Match[str]) -> str:
            block = match[0].partition("\n")[0] + "\n"
            for command, wanted in _parts(match[1]):
                ran = subprocess.run(  # noqa: S603 - this very Python
                    [sys.executable, "-c", program, *shlex.split(command)],
                    cwd=folder,
                    env=os.environ | {"COLUMNS": "80", "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                block += f"$ usage-async {command}\n{_shown(ran.stdout, wanted)}"
            return f"{block}```"

        README.write_text(_BLOCK.sub(fresh, README.read_text()))


if __name__ == "__main__":
    _rewrite()
