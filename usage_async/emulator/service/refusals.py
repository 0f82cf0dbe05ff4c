"""Error replies of the service: statuses and bodies."""

from __future__ import annotations

from typing import Any

_MISSING_SCOPES = (
    "You have insufficient permissions for this operation. Missing scopes: {}. Check that you have "
    "the correct role in your organization (Reader, Writer, Owner) and project (Viewer, Member, "
    "Owner), and if you're using a restricted API key, that it has the necessary scopes."
)


class Refusal(Exception):  # noqa: N818 - a reply, not a failure of this program
    """An error reply.

    Attributes:
        status: HTTP status.
        body: JSON value of the body.
        headers: Additional headers.
    """

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.headers: dict[str, str] = headers or {}


def error(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    kind: str = "invalid_request_error",
    headers: dict[str, str] | None = None,
) -> Refusal:
    """Make a refusal with the service's usual error object."""
    body = {"message": message, "type": kind, "param": param, "code": code}
    return Refusal(status, {"error": body}, headers)


def invalid(param: str, message: str, code: str | None = None) -> Refusal:
    """400: an invalid parameter."""
    return error(400, message, code=code, param=param)


def lookback(earliest: str) -> Refusal:
    """400: the range begins before the history. `earliest` is a date such as `2025-11-21`."""
    message = (
        "Usage and cost data are available for the past year. "
        f"Earliest supported start date: {earliest} (UTC)."
    )
    return Refusal(400, {"error": {"code": "reporting_lookback_exceeded", "message": message}})


def api_key_floor(floor: int) -> Refusal:
    """400: costs by API key begin at `floor`, Unix seconds."""
    message = f"Grouping costs by api_key_id is only available for start_time >= {floor}."
    return invalid("start_time", message, "invalid_request_error")


def unauthorized(key: str) -> Refusal:
    """401: no key, or an unknown one. An admin key is echoed masked, as the service does."""
    if not key:
        message = "You didn't provide an API key."
        return error(401, message)
    masked = f"sk-admin-****{key[9:][-4:]}" if key.startswith("sk-admin-") else "****"
    message = f"Incorrect API key provided: {masked}."
    return error(401, message, code="invalid_api_key")


def forbidden(key: str, scope: str) -> Refusal:
    """403: the key is not an admin key."""
    if key.startswith("sess-"):
        message = "You must be an organization owner to access this resource."
        return Refusal(403, {"error": {"message": message}})
    return missing_scope(scope)


def missing_scope(scope: str) -> Refusal:
    """403: the key lacks a scope."""
    return Refusal(403, {"error": _MISSING_SCOPES.format(scope)})


def not_found(path: str) -> Refusal:
    """404: there is no such route."""
    return error(404, f"Invalid URL (GET {path})")


def method_not_allowed(method: str, path: str) -> Refusal:
    """405: the method is not GET."""
    message = f"Not allowed to {method} on {path}."
    return error(405, message, code="method_not_supported", headers={"Allow": "GET"})
