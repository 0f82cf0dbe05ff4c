"""Checks of `usage-async doctor`: key, host, TLS, proxy, clock, endpoints, fields, limiter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

import attrs

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.interval import DAY_S
from usage_async._api.pages import Notice
from usage_async._cli.connection import Connection, Target, open_target
from usage_async._cli.context import Context
from usage_async._cli.hints import explain
from usage_async._client.client import UsageClient
from usage_async._http.key import KeyCustody
from usage_async._http.limiter import AdaptiveLimiter
from usage_async._http.retry import RetryPolicy
from usage_async._http.transport import AiohttpTransport, Reply, Timeout, check_base_url
from usage_async.errors import APIConnectionError, ConfigurationError, UsageError

Verdict = Literal["ok", "note", "bad"]

_MAX_SKEW_S = 60
_DRIFT = ("unknown-field", "other-results")
_PERIOD = "7d"
_HOUR_S = 3600


@attrs.frozen
class Check:
    """Result of one check.

    Attributes:
        name: Subject of the check.
        verdict: `ok`; `bad` for what has to be mended; `note` for the person to judge.
        says: One line.
    """

    name: str
    verdict: Verdict
    says: str


@attrs.frozen
class _Answer:
    """Answer of one endpoint: the age of its newest figures, or its error."""

    name: str
    age_s: int | None = None
    error: UsageError | None = None


class _ListeningTransport:
    """Transport that remembers the `Date` of the latest reply, and when that reply came."""

    def __init__(self, transport: AiohttpTransport, now: Callable[[], float]) -> None:
        self._transport = transport
        self._now = now
        self.heard_at = now()
        self.date: str | None = None
        self.was_reached = False

    async def __call__(
        self, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> Reply:
        reply = await self._transport(path, params, headers)
        self.was_reached = True
        if "date" in reply[1]:
            self.heard_at, self.date = self._now(), reply[1]["date"]
        return reply


async def run_checks(connection: Connection, context: Context) -> list[Check]:
    """Check everything between this machine and the figures."""
    try:
        async with open_target(connection, context) as target:
            return [_key(target), *await _visit(target, connection, context)]
    except ConfigurationError as error:
        return [Check("setup", "bad", explain(error))]


def _key(target: Target) -> Check:
    if target.key.startswith("sk-admin-"):
        return Check("key", "ok", "found; it looks like an admin key")
    return Check(
        "key", "bad", "it does not begin with sk-admin-, and only admin keys may read usage"
    )


async def _visit(target: Target, connection: Connection, context: Context) -> list[Check]:
    url = check_base_url(target.base_url, KeyCustody(target.key).redactor)
    transport = AiohttpTransport(url, timeout=Timeout(), proxy=target.proxy, ssl=target.ssl)
    listening, drift = _ListeningTransport(transport, context.runtime.now), list[Notice]()
    now = context.runtime.now()
    client = UsageClient(
        target.key,
        transport=listening,
        on_notice=drift.append,
        retry=RetryPolicy(attempts=2),
        runtime=context.runtime,
    )
    try:
        answers = await asyncio.gather(
            *(_look(client, endpoint, int(now)) for endpoint in ENDPOINTS.values())
        )
    finally:
        await client.close()
        await transport.close()
    checks = [
        _host(f"{url.host}:{url.port}", listening, answers),
        _tls(url.scheme, target, answers),
        _proxy(target),
    ]
    if not listening.was_reached:
        return checks
    return [
        *checks,
        _clock(listening.date, listening.heard_at, is_demo=connection.demo),
        *_endpoints(answers),
        _drift(drift),
        _limiter(client.limiter),
    ]


async def _look(client: UsageClient, endpoint: Endpoint, now: int) -> _Answer:
    width = "1h" if "1h" in endpoint.limits else endpoint.bucket_widths[-1]
    try:
        query = client.query(endpoint.name, period=_PERIOD, bucket_width=width)
        ends = [bucket.end_time async for bucket in query if bucket.results]
    except UsageError as error:
        return _Answer(endpoint.name, error=error)
    return _Answer(endpoint.name, age_s=max(now - ends[-1], 0) if ends else None)


def _host(host: str, listening: _ListeningTransport, answers: Sequence[_Answer]) -> Check:
    if listening.was_reached:
        return Check("host", "ok", f"{host} answers")
    return Check("host", "bad", next(each.error.message for each in answers if each.error))


def _tls(scheme: str, target: Target, answers: Sequence[_Answer]) -> Check:
    if scheme == "http":
        return Check("TLS", "ok", "not used, because the host is this machine")
    errors = [each.error for each in answers]
    refused = [e for e in errors if isinstance(e, APIConnectionError) and e.is_untrusted]
    if refused:
        return Check(
            "TLS", "bad", f"{refused[0].message}; SSL_CERT_FILE can name other certificates"
        )
    if all(isinstance(error, APIConnectionError) for error in errors):
        return Check("TLS", "note", "the host was not reached")
    return Check(
        "TLS",
        "ok",
        "trusted by SSL_CERT_FILE" if target.ssl else "trusted by this machine's certificates",
    )


def _proxy(target: Target) -> Check:
    if target.proxy is None:
        return Check("proxy", "ok", "none")
    # Its URL may hold a user and a password.
    return Check("proxy", "ok", target.proxy.rpartition("@")[2].removeprefix("http://"))


def _clock(date: str | None, now: float, *, is_demo: bool) -> Check:
    if is_demo:
        return Check("clock", "ok", "the demonstration uses this machine's clock")
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return Check("clock", "note", "the service sent no Date")
    skew_s = round(now - told.replace(tzinfo=told.tzinfo or UTC).timestamp())
    if abs(skew_s) > _MAX_SKEW_S:
        side = "fast" if skew_s > 0 else "slow"
        return Check(
            "clock", "bad", f"{abs(skew_s)} s {side}; relative times such as 7d are off by as much"
        )
    return Check("clock", "ok", f"within {_MAX_SKEW_S} s of the service's clock")


def _endpoints(answers: Sequence[_Answer]) -> list[Check]:
    """Check each endpoint; one error that they all have is told once."""
    lines = {answer.error and explain(answer.error) for answer in answers}
    if len(lines) == 1 and (line := lines.pop()):
        return [Check("endpoints", "bad", f"all {len(answers)} fail: {line}")]
    return list(map(_endpoint, answers))


def _endpoint(answer: _Answer) -> Check:
    if answer.error is not None:
        return Check(answer.name, "bad", explain(answer.error))
    if answer.age_s is None:
        return Check(answer.name, "note", "allowed; no figures in the last 7 days")
    return Check(answer.name, "ok", f"allowed; newest figures {_age(answer.age_s)}")


def _age(seconds: int) -> str:
    if seconds < _HOUR_S:
        return "of this hour"
    if seconds < DAY_S:
        return f"{seconds // _HOUR_S} h old"
    return f"{seconds // DAY_S} d old"


def _drift(notices: Sequence[Notice]) -> Check:
    messages = dict.fromkeys(each.message for each in notices if each.code in _DRIFT)
    if not messages:
        return Check("fields", "ok", "this release knows every field and kind of row")
    return Check("fields", "bad", f"newer than this release: {'; '.join(messages)}")


def _limiter(limiter: AdaptiveLimiter) -> Check:
    says = f"{int(limiter.limit)} of {limiter.maximum} requests at a time"
    if int(limiter.limit) < limiter.maximum:
        return Check("limiter", "note", f"{says}, because the service asked for fewer")
    return Check("limiter", "ok", says)
