"""Times: instants, periods and ranges, read from what people write. Pure, and always UTC.

A relative time stays symbolic until a run begins: as a timedelta before now, or as a word of
`CALENDAR`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, cast

import attrs

from usage_async._api.interval import DAY_S, Interval
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._query.windows import YEAR_10000
from usage_async.errors import QueryError

Unit = Literal["day", "week", "month", "quarter", "year"]
"""A calendar unit. A week is an ISO week, from Monday on."""

Calendar = Literal[
    "today",
    "yesterday",
    "this-week",
    "last-week",
    "this-month",
    "last-month",
    "this-quarter",
    "last-quarter",
    "this-year",
    "last-year",
]
CALENDAR: dict[Calendar, tuple[Unit, int]] = {
    "today": ("day", 0),
    "yesterday": ("day", 1),
    "this-week": ("week", 0),
    "last-week": ("week", 1),
    "this-month": ("month", 0),
    "last-month": ("month", 1),
    "this-quarter": ("quarter", 0),
    "last-quarter": ("quarter", 1),
    "this-year": ("year", 0),
    "last-year": ("year", 1),
}
"""Periods that move with the calendar: unit, and number of units ago. A running period ends now."""

_AGO = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": DAY_S}
_PERIOD = re.compile(
    r"(?P<year>19[7-9][0-9]|[2-8][0-9]{3})"
    r"(?:-(?:Q(?P<quarter>[1-4])|W(?P<week>[0-5][0-9])|(?P<month>0[1-9]|1[0-2])))?"
)
_WEEK_DAY = re.compile(r"[0-9]{4}-W[0-9]{2}-[1-7]")
_SECONDS = re.compile(r"[0-9]{9,16}")
"""Unix seconds as text. Eight digits are a date, such as `20261001`."""
_MILLISECONDS_FROM = 10**11
"""Least number that is taken for milliseconds: they passed it in 1973, seconds will in 5138."""
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_LONGEST: dict[Unit, int] = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


@attrs.frozen
class TimeRange(Interval):
    """A range of time.

    Attributes:
        start_time: Unix seconds, inclusive.
        end_time: Unix seconds, exclusive.
    """

    start_time: int
    end_time: int

    __get_pydantic_core_schema__ = pydantic_schema


def parse_time(name: str, value: object) -> int | timedelta:
    """Read an instant.

    Args:
        name: The parameter, for messages.
        value: Anything that `endpoints.Time` describes.

    Returns:
        Unix seconds, or a time before now.

    Raises:
        QueryError: The value is not an instant, lies after the year 9999, or is a naive datetime.
    """
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = int(value)
    match value:
        case bool():
            pass
        case int() if 0 <= value < _MILLISECONDS_FROM:
            return value
        case int() if value >= _MILLISECONDS_FROM:
            raise QueryError(
                f"{name} takes Unix seconds; {value} looks like milliseconds: divide by 1000"
            )
        case timedelta() if value >= timedelta(seconds=1):
            return value
        case datetime():
            return _aware(name, value)
        case date():
            return _midnight(value)
        case str():
            return _parse_ago(value) or _parse_iso(name, value)
    raise QueryError(
        f"{name} takes Unix seconds, an aware datetime, a date, a timedelta, or a string such"
        f' as "2026-10-01", "2026-10-01T09:00:00+02:00", "7d", "24h", "90m"; not {value!r}'
    )


def parse_period(text: object) -> tuple[int | timedelta | Calendar, int | None]:
    """Read a period: a calendar unit, a word of `CALENDAR`, or a length of time until now.

    Returns:
        Start and end. The end is None for a word of `CALENDAR` and for a period until now.

    Raises:
        QueryError: The text is none of these, or the period ends after the year 9999.
    """
    if isinstance(text, str):
        if text in CALENDAR:
            return text, None
        if ago := _parse_ago(text):
            return ago, None
        if found := _parse_unit(text):
            unit, first = found
            if first == date.max:
                raise QueryError(f"period {text!r} ends after the year 9999")
            return _midnight(first), _midnight(_next(unit, first))
    words = ", ".join(f'"{word}"' for word in CALENDAR)
    raise QueryError(
        'period takes "2026-10", "2026-Q4", "2026", "2026-W40", "2026-10-05", "7d",'
        f" {words}; not {text!r}"
    )


def calendar_range(word: Calendar, now: int) -> TimeRange:
    """Give the range of a period that moves with the calendar; a running period ends now.

    Args:
        word: A key of `CALENDAR`.
        now: Unix seconds.
    """
    unit, ago = CALENDAR[word]
    first = _first(unit, datetime.fromtimestamp(now, UTC).date())
    if not ago:
        return TimeRange(_midnight(first), now)
    return TimeRange(_midnight(_first(unit, first - timedelta(days=1))), _midnight(first))


def period_before(times: TimeRange, period: str | None = None) -> TimeRange:
    """Give the range to compare a period with, in whole days.

    For a calendar unit it is the unit before. While the period is running, the unit before is cut
    to as many days. For any other range it is as many days directly before. A running day counts as
    a whole day.

    Args:
        times: The period, from midnight on; a running period ends now.
        period: The words that the period was given in; None if both ends were given.
    """
    days = -(-(times.end_time - times.start_time) // DAY_S)
    unit = _unit_of(times) if period is None else _unit_said(period)
    if unit is None:
        return TimeRange(times.start_time - days * DAY_S, times.start_time)
    first = times.start.date()
    before = _first(unit, first - timedelta(days=1))
    start, end = _midnight(before), times.start_time
    if times.end_time < _midnight(_next(unit, first)):
        end = min(start + days * DAY_S, end)
    return TimeRange(start, end)


def iso(instant: int) -> str:
    """Write an instant as messages do: `2026-10-01T00:00:00Z`."""
    try:
        return datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # a service may send any number
        return str(instant)


def _parse_ago(text: str) -> timedelta | None:
    match = _AGO.fullmatch(text)
    return match and timedelta(seconds=int(match[1]) * _UNIT_SECONDS[match[2]])


def _parse_unit(text: str) -> tuple[Unit, date] | None:
    """Read a calendar unit and its first day."""
    match = _PERIOD.fullmatch(text)
    if match is None:
        day = _parse_day(text)
        return None if day is None else ("day", day)
    unit = cast("Unit", match.lastgroup)
    year, number = int(match["year"]), int(match[unit])
    if unit != "week":
        month = 1 if unit == "year" else (number - 1) * _MONTHS[unit] + 1
        return unit, date(year, month, 1)
    try:
        return unit, date.fromisocalendar(year, number, 1)
    except ValueError:
        pass
    raise QueryError(f"period {text!r}: {year} has no week {number}")


def _unit_said(period: str) -> Unit | None:
    if period in CALENDAR:
        return CALENDAR[period][0]
    found = _parse_unit(period)
    return None if found is None else found[0]


def _unit_of(times: TimeRange) -> Unit | None:
    """Give the calendar unit that a range covers exactly; None if there is none."""
    first = times.start.date()
    return next(
        (
            unit
            for unit in _LONGEST
            if _first(unit, first) == first and _midnight(_next(unit, first)) == times.end_time
        ),
        None,
    )


def _parse_day(text: str) -> date | None:
    # `date.fromisoformat` would read a week without a day as its Monday.
    if "W" in text and not _WEEK_DAY.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _parse_iso(name: str, text: str) -> int:
    day = _parse_day(text)
    if day is not None:
        return _midnight(day)
    try:
        instant = None if "W" in text else datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is not None:
        return _aware(name, instant)
    both = _PERIOD.fullmatch(text) or text in CALENDAR
    hint = f'; for both ends say period="{text}"' if both else ""
    raise QueryError(
        f'{name} takes "2026-10-01", an ISO time with an offset or "7d"; not {text!r}{hint}'
    )


def _aware(name: str, instant: datetime) -> int:
    if instant.tzinfo is None:
        raise QueryError(
            f"{name} {instant.isoformat()} has no time zone, and buckets are UTC: write"
            f' "{instant.isoformat()}+00:00", or add tzinfo=UTC, or .astimezone() for local time'
        )
    seconds = int(instant.timestamp())
    if seconds >= YEAR_10000:
        raise QueryError(f"{name} {instant.isoformat()} lies after the year 9999 in UTC")
    return seconds


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp())


def _first(unit: Unit, day: date) -> date:
    """Give the first day of the unit that contains a day."""
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(month=day.month - (day.month - 1) % _MONTHS[unit], day=1)


def _next(unit: Unit, first: date) -> date:
    """Give the first day after the unit that begins on `first`."""
    return _first(unit, first + timedelta(days=_LONGEST[unit]))
