"""Retry policy. Pure functions."""

from __future__ import annotations

from http import HTTPStatus

import attrs

from usage_async.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    PaginationError,
    RateLimitError,
    ResponseError,
    UsageError,
)

_RETRIED_STATUSES = {408, 409, 429}
_RESPONSE_ERROR_RETRIES = 2


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Limits of retrying. All times are seconds.

    Retried are: no connection, a broken or late reply, 408, 409, 429 unless the quota is used up,
    5xx, and a successful reply that is not the expected JSON.

    Attributes:
        attempts: The most tries of one request; 1 never retries.
        base_s: Upper bound of the first delay. It doubles with each try, up to `cap_s`. Each delay
            is drawn uniformly between zero and its bound (full jitter).
        cap_s: Upper bound of every delay.
        deadline_s: Time after its first try within which a request may be tried again.
        retry_after_cap_s: The longest Retry-After that is waited for. After a longer one,
            `RateLimitError` is raised, so that the caller can reschedule.
        budget: Retry tokens of one client, which bound the load on a broken service. A retry costs
            5 tokens, a retry after a timeout 10; a success gives 1 back.
    """

    attempts: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    base_s: float = 0.5
    cap_s: float = 20.0
    deadline_s: float = 300.0
    retry_after_cap_s: float = 60.0
    budget: int = 500


@attrs.define
class RetryBudget:
    """Retry tokens that a client has left."""

    left: int
    full: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.full = self.left

    def spend(self, failure: UsageError) -> bool:
        """Pay for one retry; False if too few tokens are left."""
        cost = 10 if isinstance(failure, APITimeoutError) else 5
        if cost > self.left:
            return False
        self.left -= cost
        return True

    def give_back(self) -> None:
        """Record a success, which gives one token back."""
        self.left = min(self.left + 1, self.full)


def is_retryable(failure: UsageError, attempt: int) -> bool:
    """Tell if the same request may succeed later."""
    match failure:
        case APIConnectionError():
            return failure.retryable
        case RateLimitError(code="insufficient_quota"):
            return False
        case APIStatusError():
            return (
                failure.status in _RETRIED_STATUSES
                or failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            )
        case PaginationError():
            return False
        case ResponseError():
            return failure.retryable and attempt <= _RESPONSE_ERROR_RETRIES
    return False


def next_delay(
    failure: UsageError, attempt: int, *, policy: RetryPolicy, elapsed_s: float, jitter: float
) -> float | None:
    """Decide if and when a request is tried again.

    Args:
        failure: Error of the last try.
        attempt: Number of the last try, from 1.
        policy: The client's policy.
        elapsed_s: Seconds since the first try began.
        jitter: A uniform random number, at least 0 and below 1.

    Returns:
        Seconds to wait before the next try; None to give up.
    """
    if attempt >= policy.attempts or not is_retryable(failure, attempt):
        return None
    delay = jitter * min(policy.cap_s, policy.base_s * 2.0 ** min(attempt - 1, 60))
    asked = failure.retry_after if isinstance(failure, APIStatusError) else None
    if asked is not None:
        if asked > policy.retry_after_cap_s:
            return None
        delay = asked
    return delay if elapsed_s + delay <= policy.deadline_s else None
