"""Parsing of the query of a request, with the checks and messages of the live service."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from usage_async._api.endpoints import DEFAULT_LIMITS, WIDTH_SECONDS, Endpoint
from usage_async._api.interval import DAY_S
from usage_async.emulator.quirks import Quirks
from usage_async.emulator.service.refusals import api_key_floor, invalid, lookback

Pairs = Sequence[tuple[str, str]]

_SCALARS = ("start_time", "end_time", "bucket_width", "limit", "page")
_CURSOR = struct.Struct(">QIQ")
_HOLLOW_SHIFT = 48
"""The last number of a cursor: the next start below this bit, the pending empty pages above it."""
_LAST_INSTANT = 253402300799
"""Last second of the year 9999, the end of Python's calendar."""
_HUGE = 10**20


@attrs.frozen(kw_only=True)
class ParsedQuery:
    """A query as it was parsed; a page answers it.

    Attributes:
        endpoint: The requested endpoint.
        start: Start of the first bucket of the range, Unix seconds.
        end: End of the range, exclusive, Unix seconds; it may lie inside a bucket.
        width: Seconds of a bucket.
        limit: Maximum of buckets on a page.
        group_by: Dimensions of the groups.
        filters: Accepted values by dimension.
        next_start: Start of the first bucket of the requested page.
        hollow: Number of empty pages before that bucket, including the requested page.
        digest: Checksum of the parameters; a cursor is valid for one digest.
    """

    endpoint: Endpoint
    start: int
    end: int
    width: int
    limit: int
    group_by: tuple[str, ...]
    filters: Mapping[str, frozenset[Any]]
    next_start: int
    hollow: int
    digest: int

    def cursor(self, next_start: int, *, hollow: int = 0) -> str:
        """Make the cursor of the page that begins with a bucket, or of an empty page before it.

        The layout is that of live cursors: end, digest, next start.
        """
        data = _CURSOR.pack(self.end, self.digest, next_start | hollow << _HOLLOW_SHIFT)
        return f"page_{base64.b64encode(data).decode()}"


def parse(endpoint: Endpoint, pairs: Pairs, now: int, quirks: Quirks) -> ParsedQuery:
    """Check the query of a request.

    Args:
        endpoint: The requested endpoint.
        pairs: Decoded parameters; arrays are repeated keys, with or without `[]`.
        now: Unix seconds.
        quirks: Differences from the documentation, such as the length of the history.

    Raises:
        Refusal: The query is invalid: 400.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.removesuffix("[]"), []).append(value)
    for name in values:
        if name not in (*_SCALARS, "group_by", *endpoint.filters):
            raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    scalars = {name: _single(name, values[name]) for name in _SCALARS if name in values}
    if "start_time" not in scalars:
        message = "Missing required parameter: 'start_time'."
        raise invalid("start_time", message, "missing_required_parameter")
    widths = endpoint.bucket_widths
    width_name = choice("bucket_width", scalars.get("bucket_width", "1d"), widths)
    width = WIDTH_SECONDS[width_name]
    asked = _instant("start_time", scalars["start_time"])
    start = asked - asked % width
    end = _instant("end_time", scalars["end_time"]) if "end_time" in scalars else now
    if "end_time" in scalars and end <= asked:
        raise invalid("end_time", "Invalid 'end_time': must be after 'start_time'.")
    groups = values.get("group_by", [])
    group_by = tuple(dict.fromkeys(choice("group_by", g, endpoint.group_by) for g in groups))
    filters = _filters(endpoint, values)
    limit = _limit(endpoint, width_name, scalars.get("limit"))
    _check_floors(endpoint, start, group_by, now, quirks)
    digest = _digest(endpoint, pairs)
    next_start, hollow = start, 0
    if "page" in scalars:
        end, next_start, hollow = _read_cursor(scalars["page"], digest, range(start, end, width))
    return ParsedQuery(
        endpoint=endpoint,
        start=start,
        end=end,
        width=width,
        limit=limit,
        group_by=group_by,
        filters=filters,
        next_start=next_start,
        hollow=hollow,
        digest=digest,
    )


def _single(name: str, values: list[str]) -> str:
    if len(values) != 1:
        raise invalid(name, f"Invalid '{name}': given more than once.", "invalid_value")
    return values[0]


def _integer(name: str, text: str) -> int:
    if not re.fullmatch("-?[0-9]+", text):
        message = f"Invalid type for '{name}': expected an integer, but got '{text}' instead."
        raise invalid(name, message, "invalid_type")
    # Python refuses to parse thousands of digits, and no bound is larger than this.
    return int(text) if len(text) < len(str(_HUGE)) else -_HUGE if text[0] == "-" else _HUGE


def bounded(name: str, text: str, least: int, most: int) -> int:
    """Parse an integer of any length.

    Raises:
        Refusal: The text is not an integer, or the integer is out of bounds.
    """
    value = _integer(name, text)
    if not least <= value <= most:
        bound = f">= {least}" if value < least else f"<= {most}"
        side = "below_min" if value < least else "above_max"
        message = f"Invalid '{name}': expected a value {bound}, but got {text} instead."
        raise invalid(name, message, f"integer_{side}_value")
    return value


def _instant(name: str, text: str) -> int:
    return bounded(name, text, 0, _LAST_INSTANT)


def choice(name: str, text: str, choices: Sequence[str]) -> str:
    """Check that a text is one of the choices.

    Raises:
        Refusal: It is not.
    """
    if text not in choices:
        expected = " or ".join(f"'{choice}'" for choice in choices)
        message = f"Invalid value: '{text}'. Supported values are: {expected}."
        raise invalid(name, message, "invalid_value")
    return text


def _limit(endpoint: Endpoint, width_name: str, text: str | None) -> int:
    most = endpoint.limits[width_name]
    if text is None:
        return min(DEFAULT_LIMITS.get(width_name, 7), most)
    return bounded("limit", text, 1, most)


def _filters(endpoint: Endpoint, values: Mapping[str, list[str]]) -> dict[str, frozenset[Any]]:
    filters: dict[str, frozenset[Any]] = {}
    for name, accepted in endpoint.filters.items():
        if name not in values:
            continue
        if accepted.type is bool:
            text = choice(name, _single(name, values[name]), ("true", "false"))
            filters[name] = frozenset((text == "true",))
            continue
        # The service's enums grow, so an unknown value is not refused. It matches nothing.
        filters[name.removesuffix("s")] = frozenset(values[name])
    return filters


def _check_floors(
    endpoint: Endpoint, start: int, group_by: tuple[str, ...], now: int, quirks: Quirks
) -> None:
    earliest_day = now // DAY_S - quirks.lookback_days
    if start // DAY_S < earliest_day:
        raise lookback(datetime.fromtimestamp(earliest_day * DAY_S, UTC).date().isoformat())
    if endpoint.name != "costs":
        return
    if "api_key_id" in group_by and start < quirks.api_key_floor:
        raise api_key_floor(quirks.api_key_floor)
    if quirks.refuse_user_by_project and {"user_id", "project_id"} <= {*group_by}:
        message = "Grouping costs by user_id cannot be combined with project_id."
        raise invalid("group_by", message, "invalid_request_error")


def _digest(endpoint: Endpoint, pairs: Pairs) -> int:
    parameters = sorted((n.removesuffix("[]"), v) for n, v in pairs if n != "page")
    return zlib.crc32(repr((endpoint.path, parameters)).encode())


def _read_cursor(cursor: str, digest: int, starts: range) -> tuple[int, int, int]:
    """Decode a cursor: the end of the range, the next start, the empty pages before it."""
    try:
        data = base64.b64decode(cursor.removeprefix("page_"), validate=True)
        end, bound_to, position = _CURSOR.unpack(data)
    except (ValueError, struct.error):
        end = position = 0
        bound_to = None
    hollow, next_start = divmod(position, 1 << _HOLLOW_SHIFT)
    off_grid = next_start < starts.start or (next_start - starts.start) % starts.step
    if bound_to != digest or off_grid or not cursor.startswith("page_"):
        message = "Invalid 'page': the cursor does not belong to this query."
        raise invalid("page", message, "invalid_page_token") from None
    return end, next_start, hollow
