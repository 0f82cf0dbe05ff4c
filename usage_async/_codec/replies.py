"""Error replies: their bodies into errors, and their headers into the time to wait."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from usage_async._codec.json_text import READING_ERRORS, parse
from usage_async._codec.redactor import NO_KEY, Redactor, shortened
from usage_async.errors import (
    STATUS_ERRORS,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    PermissionDeniedError,
    RangeUnavailableError,
    redact,
    snippet,
)

QUOTED_BYTES = 1 << 14
"""Most bytes of an error reply that are read; those of this service are shorter. Searching them for
the key takes 0.1 ms, or 20 ms in the worst case, escapes of escapes throughout."""
_LONGEST_QUOTE = 2048
"""Most characters of the service's message that an error repeats."""
RETRY_AFTER_HEADERS = ("retry-after-ms", "retry-after", "date")
"""Headers that `retry_after` reads."""

_ADMIN_KEY_HELP = (
    "usage needs an admin key (sk-admin-…), which an organization owner makes at"
    " https://platform.openai.com/settings/organization/admin-keys"
)
_EARLIEST_DAY = re.compile(r"[Ee]arliest supported start date: ([0-9]{4}-[0-9]{2}-[0-9]{2})")
_EARLIEST_SECOND = re.compile(r"start_time >= ([0-9]{1,11})\b")
_MISSING_SCOPES = re.compile(r"[Mm]issing scopes?: ((?:[\w.:-]*\w)(?:, *[\w.:-]*\w)*)")


def decode_error(
    status: int, headers: Mapping[str, str], body: bytes, now: float, redactor: Redactor = NO_KEY
) -> APIStatusError:
    """Turn an error reply into an error.

    Args:
        status: HTTP status, 300 or more.
        headers: Headers of the reply, with lowercase names.
        body: `{"error": {…}}`, `{"error": "…"}`, or anything else.
        now: Unix seconds. A date in `Retry-After` is read against them.
        redactor: Redactor of the client's key.
    """
    body = redactor.head(body, QUOTED_BYTES)
    headers = {name: redactor.text(headers.get(name, "")) for name in RETRY_AFTER_HEADERS}
    error = _error_object(body)
    message = error.get("message") or f"the service answered {snippet(body) or 'nothing'}"
    message = redact(str(message))
    data: dict[str, Any] = {
        "status": status,
        "code": _optional_text(error.get("code")),
        "param": _optional_text(error.get("param")),
        "retry_after": retry_after(headers, now),
    }
    cls = STATUS_ERRORS.get(status, APIStatusError)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        cls = InternalServerError
    elif cls is BadRequestError and (earliest := _earliest(message, data["code"], data["param"])):
        cls = RangeUnavailableError
        data["earliest"] = earliest
    message = shortened(message, _LONGEST_QUOTE)
    if cls is PermissionDeniedError and (scopes := _MISSING_SCOPES.search(message)):
        data["missing_scopes"] = [scope.strip() for scope in scopes[1].split(",")]
    if cls in (AuthenticationError, PermissionDeniedError):
        message = f"{message.rstrip('.,')}; {_ADMIN_KEY_HELP}"
    return cls(f"{status}: {message}", **data)


def _error_object(body: bytes) -> Mapping[str, Any]:
    try:
        error = parse(body)["error"]
    except READING_ERRORS:
        return {}
    return error if isinstance(error, dict) else {"message": error}


def _optional_text(value: object) -> str | None:
    return shortened(redact(value)) if isinstance(value, str) else None


def _earliest(message: str, code: str | None, param: str | None) -> datetime | None:
    """Read the first instant of the history off a message; None if the message has none."""
    try:
        if code == "reporting_lookback_exceeded" and (day := _EARLIEST_DAY.search(message)):
            return datetime.fromisoformat(day[1]).replace(tzinfo=UTC)
        if param == "start_time" and (second := _EARLIEST_SECOND.search(message)):
            return datetime.fromtimestamp(int(second[1]), UTC)
    except ValueError:
        pass
    return None


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read the time to wait that the service asks for.

    Args:
        headers: Headers of the reply, with lowercase names: `retry-after-ms`, or `retry-after` in
            seconds or as an HTTP date, which is read against the `date` of the reply.
        now: Unix seconds, used if the reply has no `date`.

    Returns:
        Seconds; None if there is no such header, or its value is malformed or negative.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _seconds(text)
    if seconds is not None or text is None:
        return seconds
    moment = _http_date(text)
    if moment is None:
        return None
    sent = _http_date(headers.get("date", ""))
    delay = moment - (now if sent is None else sent)
    return delay if delay >= 0 else None


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _http_date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
