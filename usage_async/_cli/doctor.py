"""The checks of `usage-async doctor`; drawing them is the command's part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

import attrs

from usage_async._api.endpoints import DAY_S, ENDPOINTS, Endpoint
from usage_async._api.pages import Notice
from usage_async._cli.connect import Connection, Place, place
from usage_async._cli.context import Context
from usage_async._cli.errors import explain
from usage_async._client.client import UsageClient
from usage_async._http.key import KeyCustody
from usage_async._http.limiter import AdaptiveLimiter
from usage_async._http.retry import RetryPolicy
from usage_async._http.transport import AiohttpTransport, Reply, Timeout, check_base_url
from usage_async.errors import APIConnectionError, ConfigurationError, UsageError

Verdict = Literal["ok", "note", "bad"]

_MAX_SKEW_S = 60
_MAX_BYTES = 64 * 1024 * 1024
_DRIFT = ("unknown-field", "other-results")
_PERIOD = "7d"
_HOUR_S = 3600


@attrs.frozen
class Check:
    """Result of one check.

    Attributes:
        name: What was looked at.
        verdict: `bad` is not well; a `note` is for the person to judge.
        says: One line.
    """

    name: str
    verdict: Verdict
    says: str


@attrs.frozen
class _Seen:
    """Answer of one endpoint: the age of its newest figures, or its error."""

    name: str
    age_s: int | None = None
    error: UsageError | None = None


class _Listening:
    """A transport that remembers the clock of the service, and when it was told the time."""

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


async def examine(connection: Connection, context: Context) -> list[Check]:
    """Look at everything between here and the figures."""
    try:
        async with place(connection, context) as there:
            return [_key(there), *await _visit(there, connection, context)]
    except ConfigurationError as error:
        return [Check("setup", "bad", explain(error))]


def _key(there: Place) -> Check:
    if there.key.startswith("sk-admin-"):
        return Check("key", "ok", "there is one, and it looks like an admin key")
    return Check("key", "bad", "it does not begin with sk-admin-: usage needs an admin key")


async def _visit(there: Place, connection: Connection, context: Context) -> list[Check]:
    url = check_base_url(there.base_url, KeyCustody(there.key).redactor)
    transport = AiohttpTransport(
        url, timeout=Timeout(), max_page_bytes=_MAX_BYTES, proxy=there.proxy, ssl=there.ssl
    )
    listening, drift = _Listening(transport, context.runtime.now), list[Notice]()
    now = context.runtime.now()
    client = UsageClient(
        there.key,
        transport=listening,
        on_notice=drift.append,
        retry=RetryPolicy(attempts=2),
        runtime=context.runtime,
    )
    try:
        seen = await asyncio.gather(
            *(_look(client, endpoint, int(now)) for endpoint in ENDPOINTS.values())
        )
    finally:
        await client.close()
        await transport.close()
    checks = [
        _host(f"{url.host}:{url.port}", listening, seen),
        _tls(url.scheme, there, seen),
        _proxy(there),
    ]
    if not listening.was_reached:
        return checks
    return [
        *checks,
        _clock(listening.date, listening.heard_at, is_demo=connection.demo),
        *map(_endpoint, seen),
        _drift(drift),
        _limiter(client.limiter),
    ]


async def _look(client: UsageClient, endpoint: Endpoint, now: int) -> _Seen:
    width = "1h" if "1h" in endpoint.limits else endpoint.bucket_widths[-1]
    try:
        query = client.query(endpoint.name, period=_PERIOD, bucket_width=width)
        ends = [bucket.end_time async for bucket in query if bucket.results]
    except UsageError as error:
        return _Seen(endpoint.name, error=error)
    return _Seen(endpoint.name, age_s=max(now - ends[-1], 0) if ends else None)


def _host(place_name: str, listening: _Listening, seen: Sequence[_Seen]) -> Check:
    if listening.was_reached:
        return Check("host", "ok", f"{place_name} answers")
    return Check("host", "bad", next(each.error.message for each in seen if each.error))


def _tls(scheme: str, there: Place, seen: Sequence[_Seen]) -> Check:
    if scheme == "http":
        return Check("TLS", "ok", "not used: the host is this machine")
    errors = [each.error for each in seen]
    refused = [e for e in errors if isinstance(e, APIConnectionError) and e.is_untrusted]
    if refused:
        return Check("TLS", "bad", f"{refused[0].message}; SSL_CERT_FILE names other certificates")
    if all(isinstance(error, APIConnectionError) for error in errors):
        return Check("TLS", "note", "the host was not reached")
    return Check("TLS", "ok", "by SSL_CERT_FILE" if there.ssl else "by this machine's certificates")


def _proxy(there: Place) -> Check:
    if there.proxy is None:
        return Check("proxy", "ok", "none")
    # It may hold a user and a password.
    return Check("proxy", "ok", there.proxy.rpartition("@")[2].removeprefix("http://"))


def _clock(date: str | None, now: float, *, is_demo: bool) -> Check:
    if is_demo:
        return Check("clock", "ok", "the built-in organization goes by this one")
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return Check("clock", "note", "the service told no time")
    skew_s = round(now - told.replace(tzinfo=told.tzinfo or UTC).timestamp())
    if abs(skew_s) > _MAX_SKEW_S:
        side = "fast" if skew_s > 0 else "slow"
        return Check("clock", "bad", f"{abs(skew_s)} s {side}: relative times are off by as much")
    return Check("clock", "ok", f"within {_MAX_SKEW_S} s of the service's")


def _endpoint(seen: _Seen) -> Check:
    if seen.error is not None:
        return Check(seen.name, "bad", explain(seen.error))
    if seen.age_s is None:
        return Check(seen.name, "note", "allowed; nothing in the last 7 days")
    return Check(seen.name, "ok", f"allowed; newest figures {_age(seen.age_s)}")


def _age(seconds: int) -> str:
    if seconds < _HOUR_S:
        return "of this hour"
    if seconds < DAY_S:
        return f"{seconds // _HOUR_S} h old"
    return f"{seconds // DAY_S} d old"


def _drift(notices: Sequence[Notice]) -> Check:
    messages = dict.fromkeys(each.message for each in notices if each.code in _DRIFT)
    if not messages:
        return Check("wire", "ok", "every field and kind is known")
    return Check("wire", "bad", f"newer than this release: {'; '.join(messages)}")


def _limiter(limiter: AdaptiveLimiter) -> Check:
    says = f"{int(limiter.limit)} of {limiter.maximum} requests at a time"
    if int(limiter.limit) < limiter.maximum:
        return Check("limiter", "note", f"{says}: the service asked for fewer")
    return Check("limiter", "ok", says)
