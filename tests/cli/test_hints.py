import pytest

from usage_async import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    IncompleteError,
    MixedCurrencyError,
    PaginationError,
    QueryError,
    UsageError,
)
from usage_async._cli.hints import explain
from usage_async._http.transport import AiohttpTransport

KEY = "sk-admin-canary-0123456789"

_SCOPES = b'{"error": "You have insufficient permissions. Missing scopes: api.usage.read. Ask."}'
_LOOKBACK = (
    b'{"error": {"code": "reporting_lookback_exceeded", "message": "Usage and cost data are'
    b' available for the past year. Earliest supported start date: 2025-11-22 (UTC)."}}'
)


def _error(message: str, code: str | None = None) -> bytes:
    return f'{{"error": {{"message": "{message}", "code": "{code}"}}}}'.encode()


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ((401, _error(f"Incorrect key: {KEY}")), 1, "usage needs an admin key"),
        ((403, _SCOPES), 1, "the key lacks api.usage.read"),
        ((403, _error("You must be an owner")), 1, "usage needs an admin key"),
        ((400, _LOOKBACK), 1, "begin at 2025-11-22 or later"),
        ((400, _error("No such value")), 1, "No such value"),
        ((404, _error("Nothing here")), 1, "--base-url"),
        ((429, _error("Slow down")), 1, "try again in a minute"),
        ((429, _error("No", "insufficient_quota")), 1, "no credit left"),
        ((500, _error("Oops")), 1, "try again in a minute"),
        ((418, _error("Teapot")), 1, "Teapot"),
        ((302, b""), 1, "302"),
        ((200, b"<html>"), 1, "may have changed the reply"),
        ((200, b'{"object": "page", "data": [], "has_more": true}'), 1, "doctor"),
        (APITimeoutError("no answer in time"), 1, "a shorter range"),
        (APIConnectionError("no connection"), 1, "--proxy"),
        (ConfigurationError("impossible"), 2, "impossible"),
        (QueryError("not taken"), 2, "not taken"),
        (PermissionError(13, "Permission denied", "out.csv"), 1, "out.csv: Permission denied"),
        (OSError("odd"), 1, "odd"),
        (OSError(9, "Bad file descriptor"), 1, "standard output is closed"),
        (IncompleteError("not whole"), 1, "usage-async fetch"),
        (MixedCurrencyError("usd, eur"), 1, "keep currencies apart"),
        (UsageError("some\nthing"), 1, "some\\nthing"),
        (ZeroDivisionError("by\x1b[31m"), 1, "ZeroDivisionError: by\\x1b[31m: this is a bug"),
    ],
    ids=str,
)
def test_an_error_is_one_line_with_a_hint_and_its_code(cli, bare, answer, code, says):
    async def reply(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer[0], {}, answer[1]

    bare.setenv("OPENAI_ADMIN_KEY", KEY)
    bare.setattr(AiohttpTransport, "__call__", reply)
    ran = cli("total", "completions", "--period", "2026-10")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err
    assert KEY[-8:] not in ran.err


def test_a_repeated_cursor_is_explained():
    assert explain(PaginationError("repeated")).startswith("repeated: try again")


@pytest.mark.parametrize(("status", "body"), [(429, _error("Slow")), (503, _error("Down"))])
def test_the_seconds_that_the_service_asks_for_are_told(cli, bare, status, body):
    async def reply(*_):
        return status, {"retry-after": "100"}, body

    bare.setenv("OPENAI_ADMIN_KEY", KEY)
    bare.setattr(AiohttpTransport, "__call__", reply)
    ran = cli("total", "completions", "--period", "2026-10")
    assert ran.err.endswith(": try again in 100 s\n")


def test_debug_shows_a_traceback_without_the_key(cli, bare):
    async def reply(*_):
        return 401, {}, b"{}"

    bare.setenv("OPENAI_ADMIN_KEY", KEY)
    bare.setattr(AiohttpTransport, "__call__", reply)
    ran = cli("total", "costs", "--period", "2026-10", "--debug")
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "AuthenticationError" in ran.err
    assert KEY[-8:] not in ran.err
