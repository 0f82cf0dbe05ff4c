import os
from collections.abc import Callable, Sequence

import attrs
import pytest

from usage_async import Runtime
from usage_async.cli._run import run

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z, a Sunday


@attrs.frozen
class Ran:
    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(monkeypatch, capsys) -> Cli:
    """Run `usage-async` in this process, at a fixed time, 80 columns wide, with no settings."""
    for name in list(os.environ):
        if name.upper().startswith(("OPENAI_", "USAGE_ASYNC_", "SSL_CERT")) or name.upper() in (
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "FORCE_COLOR",
            "TERM",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")

    def cli(*tokens: str, columns: int = 80, now: float = NOW) -> Ran:
        monkeypatch.setenv("COLUMNS", str(columns))
        code = run(_texts(tokens), runtime=Runtime(now=lambda: now))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return cli


def _texts(tokens: Sequence[object]) -> list[str]:
    return [str(token) for token in tokens]
