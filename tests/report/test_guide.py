"""The guide in the docstring of the package: its programs run, and print what it says."""

import ast
import inspect
import re
import textwrap
from decimal import Decimal

import usage_async.report
from usage_async.emulator import Emulator
from usage_async.emulator.demonstration import client_of

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z


def blocks():
    """The blocks of the guide that are set off: if it is an output, and its text."""
    found = re.findall(r"(prints:)?\n\n((?:    .*\n|\n(?=    ))+)", usage_async.report.__doc__)
    return [(bool(prints), textwrap.dedent(text)) for prints, text in found]


async def test_every_program_of_the_guide_prints_what_stands_below_it(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    names = {name: getattr(usage_async.report, name) for name in usage_async.report.__all__}
    printed, compared = "", 0
    async with Emulator(now=lambda: NOW) as server, client_of(server) as client:
        names |= {"client": client, "Decimal": Decimal}
        for is_output, text in blocks():
            if is_output:
                assert text == printed
                compared += 1
                continue
            code = compile(text, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            done = eval(code, names)  # noqa: S307 - as a reader would
            if inspect.isawaitable(done):
                await done
            printed = capsys.readouterr().out
    assert compared == 4
    assert (tmp_path / "october.xlsx").stat().st_size
