"""Faults: failures between a service and its client, produced on purpose and repeatably."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal, get_args

import attrs

from usage_async.emulator.organization.rhythm import mix, text_bits
from usage_async.emulator.service.refusals import Refusal, error, missing_scope, unauthorized

Fault = Literal[
    "none",
    "error",
    "bad_gateway",
    "unavailable",
    "throttle",
    "quota",
    "unauthorized",
    "forbidden",
    "not_found",
    "reset",
    "cut",
    "truncate",
    "html",
    "empty",
    "gzip",
    "hang",
    "delay",
]
"""A failure of one request. Each but `none` has its rate in `Faults`."""

_ERRORS: Mapping[Fault, tuple[int, str, dict[str, str]]] = {
    "error": (
        500,
        "The server had an error while processing your request.",
        {"kind": "server_error"},
    ),
    "unavailable": (503, "The service is overloaded.", {"kind": "server_error"}),
    "throttle": (
        429,
        "Rate limit reached. Please try again later.",
        {"code": "rate_limit_exceeded", "kind": "requests"},
    ),
    "quota": (
        429,
        "You exceeded your current quota, please check your plan.",
        {"code": "insufficient_quota", "kind": "insufficient_quota"},
    ),
    "not_found": (404, "Not found.", {}),
}
"""Status, message and details of the faults that are plain error objects."""

_CHANCES = 1_000_000


def _rate() -> Any:
    return attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])


@attrs.frozen(kw_only=True)
class Faults:
    """Failures to produce; by default none.

    A `…_rate` is the share of requests, from 0 to 1, that meet a fault; together at most 1. The
    draw depends on the seed, the request and how often it was made, not on the order in which
    different requests arrive: a run with concurrent requests can be repeated.

    Attributes:
        seed: Another seed draws other requests.
        script: The faults of the first requests, in order of arrival, whatever the rates.
        error_rate: 500 with an error object.
        bad_gateway_rate: 502 with HTML, as a proxy sends it.
        unavailable_rate: 503 with an error object.
        throttle_rate: 429, with Retry-After as `retry_after` says.
        quota_rate: 429 `insufficient_quota`, which no waiting mends.
        unauthorized_rate: 401, as for a key that was revoked, whatever the key.
        forbidden_rate: 403, as for a key that lacks a scope, whatever the key.
        not_found_rate: 404, as costs once gave for a day.
        reset_rate: The connection is reset before any header.
        cut_rate: The connection is reset in the middle of the body.
        truncate_rate: The body is cut, and its length agrees.
        html_rate: HTML with 200.
        empty_rate: Nothing with 200.
        gzip_rate: A body that says gzip and is not.
        hang_rate: No answer until one side gives up.
        delay_rate: An answer after `delay_s`.
        delay_s: Seconds before an answer that is delayed.
        throttle: The most requests in flight; those beyond it get a 429. None: any number.
        retry_after: The form in which a 429 tells when to come back: `seconds` or `date`
            (Retry-After), `milliseconds` (retry-after-ms), `none`, or any other text, which is sent
            as Retry-After.
        retry_after_s: Seconds until then.
    """

    seed: int = 0
    script: tuple[Fault, ...] = attrs.field(
        default=(),
        validator=attrs.validators.deep_iterable(attrs.validators.in_(get_args(Fault))),
    )
    error_rate: float = _rate()
    bad_gateway_rate: float = _rate()
    unavailable_rate: float = _rate()
    throttle_rate: float = _rate()
    quota_rate: float = _rate()
    unauthorized_rate: float = _rate()
    forbidden_rate: float = _rate()
    not_found_rate: float = _rate()
    reset_rate: float = _rate()
    cut_rate: float = _rate()
    truncate_rate: float = _rate()
    html_rate: float = _rate()
    empty_rate: float = _rate()
    gzip_rate: float = _rate()
    hang_rate: float = _rate()
    delay_rate: float = _rate()
    delay_s: float = 0.05
    throttle: int | None = None
    retry_after: str = "seconds"
    retry_after_s: float = 1.0

    def __attrs_post_init__(self) -> None:
        if sum(rate for _, rate in self._rates()) > 1:
            raise ValueError("the rates of all faults together are more than 1")

    def _rates(self) -> Iterator[tuple[Fault, float]]:
        for fault in get_args(Fault)[1:]:
            yield fault, getattr(self, f"{fault}_rate")

    def draw(self, target: str, attempt: int, number: int) -> Fault:
        """Draw the fault of a request.

        Args:
            target: Its path and query.
            attempt: The number of times that the same was requested before.
            number: The number of requests that came before it.
        """
        if number < len(self.script):
            return self.script[number]
        chance = mix(self.seed, text_bits(target), attempt) % _CHANCES
        for fault, rate in self._rates():
            chance -= round(rate * _CHANCES)
            if chance < 0:
                return fault
        return "none"

    def refusal(self, fault: Fault, now: float, *, scope: str) -> Refusal | None:
        """Give the error answer of a fault, None where it is not an error answer.

        Args:
            fault: The fault.
            now: Unix seconds.
            scope: The scope that a 403 finds missing.
        """
        if fault == "unauthorized":
            return unauthorized("sk-admin-")
        if fault == "forbidden":
            return missing_scope(scope)
        if fault not in _ERRORS:
            return None
        status, message, details = _ERRORS[fault]
        headers = self._retry_headers(now) if fault == "throttle" else None
        return error(status, message, headers=headers, **details)

    def _retry_headers(self, now: float) -> dict[str, str]:
        match self.retry_after:
            case "none":
                return {}
            case "seconds":
                return {"Retry-After": f"{self.retry_after_s:g}"}
            case "milliseconds":
                return {"retry-after-ms": f"{1000 * self.retry_after_s:g}"}
            case "date":
                at = datetime.fromtimestamp(now + self.retry_after_s, UTC)
                return {"Retry-After": format_datetime(at, usegmt=True)}
            case text:
                return {"Retry-After": text}
