"""The errors: their tree, what they carry, and what they never tell."""

import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    IncompleteError,
    MixedCurrencyError,
    PaginationError,
    PermissionDeniedError,
    QueryError,
    RangeUnavailableError,
    RateLimitError,
    ResponseError,
    UsageError,
    errors,
)
from usage_async.errors import redact, snippet

STATUS = {"status": 400, "code": "c", "param": "p", "request_id": "req_1", "retry_after": 1.5}

MADE = [
    UsageError("text"),
    ConfigurationError("text"),
    QueryError("text"),
    APIConnectionError("text", retryable=False),
    APITimeoutError("text"),
    APIStatusError("text", **STATUS),
    BadRequestError("text", **STATUS),
    RangeUnavailableError("text", earliest=datetime(2026, 1, 1, tzinfo=UTC), **STATUS),
    PermissionDeniedError("text", missing_scopes=["api.usage.read"], **STATUS),
    RateLimitError("text", **STATUS),
    ResponseError("text", path="$.data", snippet="{", request_id="req_1", retryable=False),
    PaginationError("text"),
    IncompleteError("text", missing=[1], differing=[2]),
    MixedCurrencyError("text", currencies=["eur", "usd"]),
]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_a_pickled_error_keeps_all_that_it_carries(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == copy.message == "text"
    assert vars(copy) == vars(error)


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn, above = {}, ["UsageError"]
    for line in re.findall(r"^ {4}(.*[├└].*)$", errors.__doc__, re.MULTILINE):
        depth = re.search(r"\w", line).start() // 4
        name = re.search(r"\w+", line)[0]
        above[depth:] = [name]
        drawn[name] = above[depth - 1]
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    made = {cls.__name__: cls.__base__.__name__ for cls in classes if issubclass(cls, UsageError)}
    del made["UsageError"]
    assert drawn == made


@pytest.mark.parametrize("error", [ConfigurationError, QueryError])
def test_what_the_caller_gave_wrong_is_a_value_error_too(error):
    assert issubclass(error, ValueError)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        pytest.param("no key here", "no key here", id="nothing"),
        pytest.param("sk-admin-abc_D-9 is wrong", "sk-… is wrong", id="admin key"),
        pytest.param("Incorrect: sk-admin-****wxyz.", "Incorrect: sk-….", id="masked"),
        pytest.param("sk-a,sk-proj-b", "sk-…,sk-…", id="two"),
        pytest.param("task-1", "task-…", id="within a word"),
        pytest.param("it begins with sk-admin-", "it begins with sk-admin-", id="a prefix alone"),
        pytest.param("a key (sk-admin-…)", "a key (sk-admin-…)", id="a prefix as an example"),
    ],
)
def test_whatever_looks_like_a_key_is_redacted(text, redacted):
    assert redact(text) == redacted


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param(b'{"a": 1}', '{"a": 1}', id="plain"),
        pytest.param(b"<html>\n\x1b[31m", "<html>\\n\\x1b[31m", id="control characters"),
        pytest.param(b"\xff", "\\\\xff", id="not UTF-8"),
        pytest.param("é\u2028".encode(), "\\xe9\\u2028", id="beyond ASCII"),
        pytest.param(b"sk-admin-" + b"x" * 300, "sk-\\u2026", id="a long key"),
    ],
)
def test_a_snippet_is_escaped_and_redacted(body, shown):
    assert snippet(body) == shown


@given(st.binary(max_size=600))
def test_a_snippet_is_short_printable_ascii(body):
    text = snippet(body)
    assert len(text) <= 200
    assert text.isascii()
    assert text.isprintable()


@given(st.integers(0, 500))
def test_a_snippet_never_holds_a_part_of_a_key(before):
    assert "canary" not in snippet(b"x" * before + b"sk-admin-canary-" * 20)
