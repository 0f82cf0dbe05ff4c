"""`Faults`: failures between service and client, produced on purpose and repeatably.

`service/breakage.py` sends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import attrs

from usage_async.emulator.organization.chance import mix, text_bits

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
"""A failure of one request. Every fault except `none` has its rate in `Faults`."""

_CHANCES = 1_000_000


def _rate() -> Any:
    return attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)])


@attrs.frozen(kw_only=True)
class Faults:
    """Failures to produce. By default there are none.

    A `…_rate` is the share of requests that meet a fault, from 0 to 1. All rates together are at
    most 1. The draw depends on the seed, the request and the number of its repetitions. It does not
    depend on the order in which different requests arrive, so a run with concurrent requests can be
    repeated.

    Attributes:
        seed: Seed of the draw.
        script: Faults of the first requests, in order of arrival, whatever the rates.
        error_rate: 500 with an error object.
        bad_gateway_rate: 502 with HTML, as a proxy sends it.
        unavailable_rate: 503 with an error object.
        throttle_rate: 429, with a retry header as `retry_after` says.
        quota_rate: 429 `insufficient_quota`, which does not pass with time.
        unauthorized_rate: 401, as for a revoked key, whatever the key.
        forbidden_rate: 403, as for a key without the scope, whatever the key.
        not_found_rate: 404, as the live costs endpoint once answered for a day.
        reset_rate: The connection is reset before any header.
        cut_rate: The connection is closed in the middle of the body.
        truncate_rate: The body is cut short, and its Content-Length agrees.
        html_rate: 200 with HTML.
        empty_rate: 200 with an empty body.
        gzip_rate: The headers say gzip, the body is plain.
        hang_rate: No reply until one side gives up.
        delay_rate: The reply comes after `delay_s`.
        delay_s: Seconds before a delayed reply.
        throttle: Maximum of requests in flight; each one above it gets a 429. None: no maximum.
        retry_after: Form in which a 429 says when to retry: `seconds` or `date` (Retry-After),
            `milliseconds` (retry-after-ms), `none`, or any other text, which is sent as
            Retry-After.
        retry_after_s: Seconds after which to retry.
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
            raise ValueError("the rates of all faults add up to more than 1")

    def _rates(self) -> Iterator[tuple[Fault, float]]:
        for fault in get_args(Fault)[1:]:
            yield fault, getattr(self, f"{fault}_rate")

    def draw(self, target: str, attempt: int, number: int) -> Fault:
        """Draw the fault of a request.

        Args:
            target: Path and query of the request.
            attempt: Number of earlier requests for the same target.
            number: Number of all earlier requests.
        """
        if number < len(self.script):
            return self.script[number]
        chance = mix(self.seed, text_bits(target), attempt) % _CHANCES
        for fault, rate in self._rates():
            chance -= round(rate * _CHANCES)
            if chance < 0:
                return fault
        return "none"
