import asyncio
import os
import sys
from collections.abc import Callable, Iterator

import attrs
import pytest

from usage_async import Runtime
from usage_async._cli.dispatch import run_command
from usage_async.emulator import Emulator, running

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z, a Sunday

_SETTINGS = ("OPENAI_", "USAGE_ASYNC_", "SSL_CERT")
_SET = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FORCE_COLOR", "NO_COLOR", "TERM")


@attrs.frozen
class Ran:
    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


def environment(**settings: str) -> dict[str, str]:
    """The environment without a key, and without what makes Python itself write to stderr."""
    unwanted = ("OPENAI_", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONWARNINGS")
    return {k: v for k, v in os.environ.items() if not k.startswith(unwanted)} | settings


@attrs.define
class Clock:
    """Time passes only by sleeping."""

    seconds: float = 0.0

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def bare(monkeypatch) -> pytest.MonkeyPatch:
    """An environment without a setting that the terminal reads."""
    for name in list(os.environ):
        if name.upper().startswith(_SETTINGS) or name.upper() in _SET:
            monkeypatch.delenv(name)
    # A terminal without colours, of as many columns as a test says.
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("LINES", "50")
    # cyclopts asks pydantic where somebody has imported it, which the program never does.
    monkeypatch.delitem(sys.modules, "pydantic", raising=False)
    return monkeypatch


@pytest.fixture
def cli(bare, capsys) -> Cli:
    """Run `usage-async` in this process, at a fixed time, without a real wait."""

    def cli(*tokens: object, columns: int = 80, now: float = NOW, tty: bool = False) -> Ran:
        bare.setenv("COLUMNS", str(columns))
        bare.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
        clock = Clock()
        runtime = Runtime(now=lambda: now, monotonic=lambda: clock.seconds, sleep=clock.sleep)
        code = run_command([str(token) for token in tokens], runtime=runtime)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return cli


@pytest.fixture
def serving(bare) -> Iterator[Callable[[Emulator], Emulator]]:
    """Run an emulator that the environment points at."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(emulator: Emulator) -> Emulator:
            server = stack.enter_context(running(emulator))
            bare.setenv("USAGE_ASYNC_BASE_URL", server.url)
            bare.setenv("OPENAI_ADMIN_KEY", server.admin_key)
            return server

        yield start
