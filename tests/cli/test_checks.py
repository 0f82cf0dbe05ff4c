import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from usage_async import ENDPOINTS, APIConnectionError, Runtime
from usage_async._cli import checks
from usage_async._cli.connection import Target
from usage_async._http.key import Secret
from usage_async._http.limiter import AdaptiveLimiter
from usage_async._http.transport import AiohttpTransport
from usage_async.emulator import Emulator, Quirks

from .conftest import NOW

PAGE = b'{"object": "page", "data": [], "has_more": false, "next_page": null}'


def _answering(monkeypatch, answer):
    async def reply(_self, path, _params, _headers):
        answered = answer(path)
        if isinstance(answered, Exception):
            raise answered
        return answered

    monkeypatch.setattr(AiohttpTransport, "__call__", reply)


def _verdicts(out: str) -> dict[str, str]:
    return {words[1]: words[0] for line in out.splitlines() if len(words := line.split()) > 2}


def test_all_is_well_with_the_built_in_organization(cli):
    ran = cli("doctor", "--demo")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\nall is well\n")
    assert set(_verdicts(ran.out).values()) == {"ok", "all"}


def test_without_a_key_it_says_so(cli):
    ran = cli("doctor")
    assert ran.code == 1
    assert "bad   setup  no admin key" in ran.out


def test_everything_that_is_wrong_is_told(cli, bare, monkeypatch):
    bare.setenv("OPENAI_ADMIN_KEY", "sk-proj-ordinary")
    bare.setenv("HTTPS_PROXY", "http://user:secret@proxy.test:3128")
    early = format_datetime(datetime.fromtimestamp(NOW - 120, UTC), usegmt=True)

    def answer(path):
        if path.endswith("costs"):
            return 403, {}, b'{"error": "Missing scopes: api.usage.read. Ask."}'
        return 200, {"date": early}, PAGE

    _answering(monkeypatch, answer)
    ran = cli("doctor")
    assert ran.code == 1
    verdicts = _verdicts(ran.out)
    bad = {name for name, verdict in verdicts.items() if verdict == "bad"}
    assert bad == {"key", "clock", "costs"}
    assert verdicts["images"] == "note"
    assert "120 s fast" in ran.out
    assert "api.usage.read" in ran.out
    assert "proxy.test:3128" in ran.out
    assert "secret" not in ran.out
    assert f"3 of {7 + len(ENDPOINTS)} checks are bad" in ran.out


def test_an_error_of_all_endpoints_is_told_once(cli, bare, monkeypatch):
    bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-some")
    _answering(monkeypatch, lambda _: (401, {}, b'{"error": {"message": "No such key"}}'))
    out = cli("doctor").out
    assert out.count("No such key") == 1
    assert f"bad   endpoints  all {len(ENDPOINTS)} fail: 401: No such key" in out


def test_a_host_that_is_not_reached_ends_the_visit(cli, bare, monkeypatch):
    bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-some")
    _answering(monkeypatch, lambda _: APIConnectionError("no connection"))
    ran = cli("doctor")
    assert ran.code == 1
    assert "bad   host   no connection" in ran.out
    assert "note  TLS    the host was not reached" in ran.out
    assert "completions" not in ran.out


def test_a_certificate_that_is_not_trusted_is_told(cli, bare, monkeypatch):
    bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-some")
    msg = "the TLS certificate is not to be trusted"
    failure = APIConnectionError(msg, retryable=False, is_untrusted=True)
    _answering(monkeypatch, lambda _: failure)
    assert "SSL_CERT_FILE can name other" in cli("doctor").out


def test_a_proxy_that_refuses_is_not_taken_for_a_certificate(cli, bare, monkeypatch):
    bare.setenv("OPENAI_ADMIN_KEY", "sk-admin-some")
    failure = APIConnectionError("the proxy refuses to connect: 407", retryable=False)
    _answering(monkeypatch, lambda _: failure)
    out = cli("doctor").out
    assert "the proxy refuses to connect: 407" in out
    assert "SSL_CERT_FILE" not in out


def test_a_wire_that_is_newer_than_this_release_is_told(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(unknown_fields=True)))
    ran = cli("doctor")
    assert ran.code == 1
    assert "newer than this release" in ran.out
    assert "compute_units" in ran.out


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        (None, "note"),
        ("soon", "note"),
        (format_datetime(datetime.fromtimestamp(NOW, UTC), usegmt=True), "ok"),
        ("Sun, 22 Nov 2026 12:00:00 -0000", "ok"),
        (format_datetime(datetime.fromtimestamp(NOW + 3600, UTC), usegmt=True), "bad"),
    ],
)
def test_the_clock_is_compared_with_that_of_the_service(date, verdict):
    assert checks._clock(date, NOW, is_demo=False).verdict == verdict


@pytest.mark.parametrize(
    ("age", "says"),
    [(0, "of this hour"), (7200, "2 h old"), (3 * 86400, "3 d old")],
)
def test_an_age_is_told_roughly(age, says):
    assert checks._age(age) == says


def test_fewer_requests_than_there_may_be_are_a_note():
    limiter = AdaptiveLimiter(8, Runtime())
    assert checks._limiter(limiter).verdict == "ok"
    limiter.throttled(time.monotonic())
    assert checks._limiter(limiter).verdict == "note"


def test_certificates_of_the_environment_are_named():
    there = Target(base_url="https://x.test", key=Secret("sk"), ssl=object())
    assert checks._tls("https", there, [checks._Answer("costs")]).says == "trusted by SSL_CERT_FILE"
