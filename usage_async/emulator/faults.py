"""Faults: what goes wrong between a service and its client, on purpose and repeatably."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Literal, get_args

import attrs

from usage_async.emulator._refusals import Refusal, error
from usage_async.emulator._rhythm import mix, text_bits

Fault = Literal[
    "none",
    "error",
    "bad_gateway",
    "unavailable",
    "throttle",
    "quota",
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
"""What can happen to a request; each has its rate in `Faults`."""

_CHANCES = 1_000_000


def _rate() -> Any:
    return attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])


@attrs.frozen(kw_only=True)
class Faults:
    """What goes wrong; by default nothing.

    A `…_rate` is the share of requests, from 0 to 1, that meet a fault; together at most 1. The
    draw depends on the seed, the request and how often it was made, not on the order in which
    different requests arrive: a run with concurrent requests can be repeated.

    Attributes:
        seed: Another seed draws other requests.
        script: What the first requests meet, in order of arrival, whatever the rates.
        error_rate: 500 with an error object.
        bad_gateway_rate: 502 with HTML, as a proxy sends it.
        unavailable_rate: 503 with an error object.
        throttle_rate: 429, with Retry-After as `retry_after` says.
        quota_rate: 429 `insufficient_quota`, which no waiting mends.
        not_found_rate: 404, as costs once gave for a day.
        reset_rate: The connection is reset before any header.
        cut_rate: The connection is reset in the middle of the body.
        truncate_rate: The body is cut, and its length agrees.
        html_rate: HTML with 200.
        empty_rate: Nothing with 200.
        gzip_rate: A body that says gzip and is not.
        hang_rate: No answer until one side gives up.
        delay_rate: An answer after `delay_s`.
        delay_s: Seconds.
        throttle: The most requests in flight; what comes beyond gets a 429. None: any number.
        retry_after: How a 429 tells when to come back: `seconds` or `date` (Retry-After),
            `milliseconds` (retry-after-ms), `none`, or any other text, sent as Retry-After.
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
        """Decide what happens to a request.

        Args:
            target: Its path and query.
            attempt: How often the same was requested before.
            number: How many requests came before it.
        """
        if number < len(self.script):
            return self.script[number]
        chance = mix(self.seed, text_bits(target), attempt) % _CHANCES
        for fault, rate in self._rates():
            chance -= round(rate * _CHANCES)
            if chance < 0:
                return fault
        return "none"

    def refusal(self, fault: Fault, now: float) -> Refusal | None:
        """Give the error answer of a fault, None where it is not an error answer."""
        match fault:
            case "error":
                message = "The server had an error while processing your request."
                return error(500, message, kind="server_error")
            case "unavailable":
                return error(503, "The service is overloaded.", kind="server_error")
            case "throttle":
                message = "Rate limit reached. Please try again later."
                return error(
                    429,
                    message,
                    code="rate_limit_exceeded",
                    kind="requests",
                    headers=self._retry_headers(now),
                )
            case "quota":
                message = "You exceeded your current quota, please check your plan."
                return error(429, message, code="insufficient_quota", kind="insufficient_quota")
            case "not_found":
                return error(404, "Not found.")
            case _:
                return None

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
