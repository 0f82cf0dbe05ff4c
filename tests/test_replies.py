"""Error replies: each becomes an error that carries what it says, and no key."""

import json
import logging
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import (
    ERRORS,
    decoded,
    sample,
)

from usage_async import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    CostsResult,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RangeUnavailableError,
    RateLimitError,
    UsageError,
)
from usage_async._codec import replies
from usage_async._codec.replies import QUOTED_BYTES, decode_error

NOW = 1_795_348_800


def failed(status, body, **headers):
    return decode_error(status, headers, body, NOW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, APIStatusError),
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (408, APIStatusError),
        (418, APIStatusError),
        (429, RateLimitError),
        (500, InternalServerError),
        (503, InternalServerError),
        (599, InternalServerError),
    ],
)
def test_a_status_has_its_error(status, kind):
    body = b'{"error": {"message": "No.", "code": "c", "param": "p"}}'
    headers = {"retry-after": "2"}
    error = decode_error(status, headers, body, NOW)
    assert type(error) is kind
    assert str(error).startswith(f"{status}: No")
    assert (error.status, error.code, error.param) == (status, "c", "p")
    assert error.retry_after == 2


@pytest.mark.parametrize(
    ("name", "status", "kind", "data"),
    [
        pytest.param(
            "error_400_api_key_floor",
            400,
            RangeUnavailableError,
            {"earliest": datetime(2025, 12, 6, tzinfo=UTC), "param": "start_time"},
            id="floor of a grouping",
        ),
        pytest.param(
            "error_400_lookback",
            400,
            RangeUnavailableError,
            {"earliest": datetime(2025, 11, 21, tzinfo=UTC), "code": "reporting_lookback_exceeded"},
            id="end of the history",
        ),
        pytest.param(
            "error_401",
            401,
            AuthenticationError,
            {"code": "invalid_api_key", "param": None},
            id="401",
        ),
        pytest.param(
            "error_403_owner", 403, PermissionDeniedError, {"missing_scopes": ()}, id="no owner"
        ),
        pytest.param(
            "error_403_string",
            403,
            PermissionDeniedError,
            {"missing_scopes": ("api.usage.read",), "code": None},
            id="a plain text",
        ),
    ],
)
def test_every_error_from_the_wire_is_understood(name, status, kind, data):
    error = failed(status, sample(name))
    assert type(error) is kind
    assert {key: getattr(error, key) for key in data} == data
    sent = json.loads(sample(name))["error"]
    message = sent if isinstance(sent, str) else sent["message"]
    if status == 400:
        assert str(error) == f"400: {message}"
    else:
        assert "admin key" in str(error)
        assert "https://platform.openai.com/settings/organization/admin-keys" in str(error)
        assert message[:20] in str(error)


def test_every_error_sample_is_tested():
    assert ERRORS == [
        "error_400_api_key_floor",
        "error_400_lookback",
        "error_401",
        "error_403_owner",
        "error_403_string",
    ]


@pytest.mark.parametrize(
    ("message", "scopes"),
    [
        pytest.param("Missing scopes: api.usage.read.", ["api.usage.read"], id="one"),
        pytest.param("Missing scopes: a.read, b.read. See", ["a.read", "b.read"], id="two"),
        pytest.param("missing scope: api.usage.read", ["api.usage.read"], id="singular"),
        pytest.param("You have no access.", [], id="none"),
        pytest.param("Missing scopes: ", [], id="empty"),
    ],
)
def test_missing_scopes_are_named(message, scopes):
    error = failed(403, json.dumps({"error": message}).encode())
    assert error.missing_scopes == tuple(scopes)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param({"code": "reporting_lookback_exceeded", "message": "Too old."}, id="no date"),
        pytest.param(
            {
                "code": "reporting_lookback_exceeded",
                "message": "Earliest supported start date: 2025-02-31 (UTC).",
            },
            id="no such date",
        ),
        pytest.param({"param": "start_time", "message": "Must be an integer."}, id="other reason"),
        pytest.param(
            {"param": "end_time", "message": "start_time >= 1764979200"}, id="other param"
        ),
        pytest.param(
            {"param": "start_time", "message": "start_time >= 99999999999999"}, id="milliseconds"
        ),
        pytest.param({"message": "Earliest supported start date: 2025-11-21"}, id="no code"),
    ],
)
def test_a_400_that_names_no_floor_reaches_the_caller_as_it_is(error):
    made = failed(400, json.dumps({"error": error}).encode())
    assert type(made) is BadRequestError
    assert made.message == f"400: {error['message']}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "400: the service answered nothing", id="empty"),
        pytest.param(b"<html>\n", "400: the service answered <html>\\n", id="html"),
        pytest.param(b"null", "400: the service answered null", id="null"),
        pytest.param(b"[1]", "400: the service answered [1]", id="list"),
        pytest.param(b"{}", "400: the service answered {}", id="no error"),
        pytest.param(
            b'{"error":null}', '400: the service answered {"error":null}', id="null error"
        ),
        pytest.param(b'{"error":{}}', '400: the service answered {"error":{}}', id="empty error"),
        pytest.param(b'{"error":5}', "400: 5", id="a number"),
        pytest.param(b'{"error":{"message":[1]}}', "400: [1]", id="a list as message"),
        pytest.param(b'{"error":{"message":"m","code":5,"param":[]}}', "400: m", id="odd types"),
        pytest.param(b"\xff", "400: the service answered \\\\xff", id="no text"),
        pytest.param(b"[" * 99_999, "400: the service answered " + "[" * 200, id="deep"),
    ],
)
def test_any_body_of_an_error_gives_a_message(body, message):
    error = failed(400, body)
    assert error.message == message
    assert (error.code, error.param) == (None, None)


def test_a_huge_error_is_neither_parsed_nor_quoted_whole(monkeypatch):
    parsed = []
    monkeypatch.setattr(replies, "parse", lambda body: parsed.append(len(body)) or {})
    body = b'{"error": {"message": "%b"}}' % (b"x" * 10_000_000)
    error = failed(500, body)
    assert parsed == [QUOTED_BYTES]
    assert len(str(error)) < 300


def test_what_an_error_quotes_is_short():
    texts = {name: f"{name} " + "y" * 4_000 for name in ("message", "code", "param")}
    error = failed(403, json.dumps({"error": texts}).encode())
    assert str(error).startswith("403: message yyy")
    assert len(str(error)) < 2048 + 300
    assert len(error.code) == len(error.param) == 200
    scopes = ", ".join(f"api.scope_{number}.read" for number in range(400))
    error = failed(403, json.dumps({"error": f"Missing scopes: {scopes}"}).encode())
    assert error.missing_scopes[:2] == ("api.scope_0.read", "api.scope_1.read")
    assert len(repr(error.missing_scopes)) < 4096


def test_where_the_history_begins_is_read_before_the_message_is_cut():
    message = "x" * 2039 + " start_time >= 1764979200"
    error = failed(400, json.dumps({"error": {"message": message, "param": "start_time"}}).encode())
    assert error.earliest == datetime(2025, 12, 6, tzinfo=UTC)


@given(
    st.integers(300, 700),
    st.binary(max_size=100)
    | st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["message", "code", "param"],
            st.text()
            | st.none()
            | st.integers()
            | st.sampled_from(
                ["start_time", "reporting_lookback_exceeded", "Missing scopes: a, b", "sk-admin-x"]
            )
            | st.integers(0, 10**12).map("start_time >= {}".format)
            | st.from_regex(
                r"Earliest supported start date: [0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True
            ),
        ),
    ).map(lambda error: json.dumps({"error": error}).encode()),
)
def test_any_error_reply_becomes_an_error_that_tells_no_key(status, body):
    error = decode_error(status, {}, body, NOW)
    assert isinstance(error, UsageError)
    assert error.status == status
    assert "sk-admin-x" not in repr(vars(error)) + str(error)


def test_decoding_logs_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    decoded(sample("documented_costs"), CostsResult)
    failed(401, sample("error_401"))
    assert not caplog.records
