"""Retries: whether, when, and how many in all."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    IncompleteError,
    InternalServerError,
    PaginationError,
    ResponseError,
    RetryPolicy,
    UsageError,
)
from usage_async._codec.replies import retry_after
from usage_async._http.retry import RetryBudget, is_retryable, next_delay
from usage_async.errors import STATUS_ERRORS

NOW = 1_795_348_800
POLICY = RetryPolicy()


def status(code, /, **data):
    kind = STATUS_ERRORS.get(code, InternalServerError if code >= 500 else APIStatusError)
    return kind("text", status=code, **data)


def delay(failure, attempt=1, *, policy=POLICY, elapsed_s=0.0, jitter=0.5):
    return next_delay(failure, attempt, policy=policy, elapsed_s=elapsed_s, jitter=jitter)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        pytest.param(APIConnectionError("text"), 5, id="connection"),
        pytest.param(APIConnectionError("text", retryable=False), 1, id="wrong certificate"),
        pytest.param(APITimeoutError("text"), 5, id="timeout"),
        *[pytest.param(status(code), 5, id=str(code)) for code in (408, 409, 429, 500, 503, 599)],
        *[pytest.param(status(code), 1, id=str(code)) for code in (301, 400, 401, 403, 404, 418)],
        pytest.param(status(429, code="insufficient_quota"), 1, id="no quota"),
        pytest.param(status(429, code="rate_limit_exceeded"), 5, id="rate limit"),
        pytest.param(ResponseError("text"), 3, id="not a page"),
        pytest.param(ResponseError("text", retryable=False), 1, id="too large"),
        pytest.param(PaginationError("text"), 1, id="contradiction"),
        pytest.param(IncompleteError("text"), 1, id="not of a request"),
        pytest.param(UsageError("text"), 1, id="unknown"),
    ],
)
def test_a_failure_is_tried_so_many_times(failure, tries):
    assert sum(delay(failure, attempt) is not None for attempt in range(1, 10)) == tries - 1
    assert is_retryable(failure, 1) is (tries > 1)


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (6, 16), (7, 20), (2000, 20)]
)
def test_delays_double_up_to_the_cap_and_are_drawn_evenly_from_zero(attempt, longest):
    policy = RetryPolicy(attempts=9999, deadline_s=1e9)
    for jitter in (0.0, 0.25, 0.999):
        assert delay(status(500), attempt, policy=policy, jitter=jitter) == jitter * longest


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        pytest.param(0, 0, id="none"),
        pytest.param(1.5, 1.5, id="exactly as asked"),
        pytest.param(60, 60, id="the longest"),
        pytest.param(60.1, None, id="longer: raised at once"),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured_up_to_a_cap(code, asked, waited):
    assert delay(status(code, retry_after=asked)) == waited


def test_nothing_is_tried_again_after_the_deadline():
    assert delay(status(500), 4, elapsed_s=298) == 2
    assert delay(status(500), 4, elapsed_s=298.1) is None
    assert delay(status(429, retry_after=30), elapsed_s=270) == 30
    assert delay(status(429, retry_after=30), elapsed_s=271) is None


def test_a_policy_of_one_attempt_never_retries():
    assert delay(status(500), policy=RetryPolicy(attempts=1)) is None
    with pytest.raises(ValueError, match="must be >= 1"):
        RetryPolicy(attempts=0)


@given(
    st.integers(1, 50),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 400),
    st.none() | st.floats(0, 1000),
)
def test_a_delay_is_never_negative_nor_beyond_what_the_policy_says(attempt, jitter, spent, asked):
    waited = delay(status(429, retry_after=asked), attempt, elapsed_s=spent, jitter=jitter)
    if waited is not None:
        assert 0 <= waited <= (POLICY.cap_s if asked is None else POLICY.retry_after_cap_s)
        assert spent + waited <= POLICY.deadline_s
        assert attempt < POLICY.attempts


def test_a_retry_costs_five_and_a_timeout_ten_and_a_success_gives_one_back():
    budget = RetryBudget(20)
    assert budget.spend(status(500))
    assert budget.spend(APITimeoutError("text"))
    assert budget.left == 5
    assert not budget.spend(APITimeoutError("text"))
    assert budget.spend(status(429))
    assert not budget.spend(status(429))
    budget.give_back()
    assert budget.left == 1


@given(st.lists(st.sampled_from(["retry", "timeout", "success"])), st.integers(0, 60))
def test_a_budget_bounds_the_retries_of_all_requests(events, full):
    budget, retries = RetryBudget(full), 0
    for event in events:
        if event == "success":
            budget.give_back()
        else:
            failure = APITimeoutError("text") if event == "timeout" else status(500)
            retries += budget.spend(failure)
        assert 0 <= budget.left <= full
    assert retries <= (full + events.count("success")) / 5


# Retry-After


def date(seconds):
    return formatdate(seconds, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="no header"),
        pytest.param({"retry-after": "20"}, 20, id="seconds"),
        pytest.param({"retry-after": "0"}, 0, id="now"),
        pytest.param({"retry-after": " 1.5 "}, 1.5, id="a fraction, and blanks"),
        pytest.param({"retry-after-ms": "250"}, 0.25, id="milliseconds"),
        pytest.param({"retry-after-ms": "250", "retry-after": "9"}, 0.25, id="both"),
        pytest.param({"retry-after-ms": "soon", "retry-after": "9"}, 9, id="malformed ms"),
        pytest.param({"retry-after-ms": "-1", "retry-after": "9"}, 9, id="negative ms"),
        pytest.param({"retry-after": "nan"}, None, id="nan"),
        pytest.param({"retry-after": "inf"}, None, id="inf"),
        pytest.param({"retry-after": "-inf"}, None, id="minus inf"),
        pytest.param({"retry-after": "1e999"}, None, id="overflow"),
        pytest.param({"retry-after": "-5"}, None, id="negative"),
        pytest.param({"retry-after": ""}, None, id="empty"),
        pytest.param({"retry-after": "soon"}, None, id="a word"),
        pytest.param({"retry-after": date(NOW + 30)}, 30, id="date"),
        pytest.param({"retry-after": date(NOW)}, 0, id="date of now"),
        pytest.param({"retry-after": date(NOW - 1)}, None, id="past date"),
        pytest.param(
            {"retry-after": date(NOW + 3630), "date": date(NOW + 3600)}, 30, id="skewed clock"
        ),
        pytest.param({"retry-after": date(NOW + 30), "date": "today"}, 30, id="malformed date"),
        pytest.param({"retry-after": "Sun, 22 Nov 2026 12:00:30"}, 30, id="no zone is UTC"),
        pytest.param({"retry-after": "Sun, 22 Nov 2026 13:00:30 +0100"}, 30, id="offset"),
        pytest.param({"retry-after": "Sun, 22 Nov 100000 12:00:00 GMT"}, None, id="year 100000"),
        pytest.param({"retry-after": "Sun, 31 Feb 2026 12:00:00 GMT"}, None, id="no such day"),
        pytest.param({"retry-after": "Sun, 22 Nov 2026 12:00:00 +9999"}, None, id="no such offset"),
    ],
)
def test_retry_after_is_read_in_all_its_forms_and_what_is_malformed_is_ignored(headers, seconds):
    assert retry_after(headers, NOW) == seconds


header_texts = st.text() | st.integers().map(str) | st.floats().map(str)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["retry-after", "retry-after-ms", "date"], header_texts)
    )
)
def test_whatever_a_header_says_is_a_sensible_delay_or_ignored(headers):
    seconds = retry_after(headers, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


numbers = st.integers(-1, 10**20).map(str)


@given(st.lists(numbers, min_size=7, max_size=7), st.sampled_from(["GMT", "+0100", "-9999", ""]))
def test_whatever_a_date_says_is_a_sensible_delay_or_ignored(parts, zone):
    day, year, hour, minute, second, *_ = parts
    text = f"Sun, {day} Nov {year} {hour}:{minute}:{second} {zone}"
    seconds = retry_after({"retry-after": text}, NOW)
    assert seconds is None or seconds >= 0
