"""The period of a report, and the one that it is compared with; pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from usage_async._times import TimeRange
from usage_async.errors import QueryError
from usage_async.query import build

_DAY_S = 86400


def find_period(
    now: int,
    *,
    period: str | None = None,
    month: str | None = None,
    days: int | None = None,
    start: str | None = None,
    end: str | None = None,
) -> TimeRange:
    """Turn what the command line says into a range of whole days, the last one maybe running.

    Args:
        now: Unix seconds.
        period: As `period=` of a query.
        month: Such as `2026-10`, or `last`, or `this`.
        days: So many days, today included.
        start: As `start_time=` of a query.
        end: As `end_time=` of a query.

    Raises:
        QueryError: It is not one period, or a wrong one.
    """
    options = {"--period": period, "--month": month, "--days": days}
    given = [name for name, value in options.items() if value is not None]
    if start is not None or end is not None:
        given.append("--start and --end")
    if len(given) > 1:
        raise QueryError(f"{' and '.join(given)} contradict each other: say one of them")
    if days is not None:
        if days < 1:
            raise QueryError("--days takes a number of at least 1")
        today = now - now % _DAY_S
        found = TimeRange(today - (days - 1) * _DAY_S, now)
    elif end is not None and start is None:
        raise QueryError("--end needs --start")
    else:
        if month is not None:
            period = _month(month)
        params = {"start_time": start, "end_time": end, "period": period}
        found = build("costs", params).resolve(now)
    first = found.start_time - found.start_time % _DAY_S
    # Money comes by the day: a day that is cut would be billed whole, but used in part.
    last = -(-found.end_time // _DAY_S) * _DAY_S
    return TimeRange(first, min(last, now))


def _month(text: str) -> str:
    if text in ("last", "this"):
        return f"{text}-month"
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}", text):
        raise QueryError(f"--month takes 2026-10, last, or this; not {text!r}")
    return text


def period_before(period: TimeRange) -> TimeRange:
    """Give the range that a period is compared with.

    A whole month is compared with the month before, a running one with as much of the month
    before, anything else with as many days before. Money comes by the day: a day that still runs is
    compared with a whole one.
    """
    start = period.start
    length_s = -(-(period.end_time - period.start_time) // _DAY_S) * _DAY_S
    if start.day == 1 and period.end <= _next_month(start):
        first = int((start - timedelta(days=1)).replace(day=1).timestamp())
        is_whole = period.end == _next_month(start)
        end = period.start_time if is_whole else min(first + length_s, period.start_time)
        return TimeRange(first, end)
    return TimeRange(period.start_time - length_s, period.start_time)


def is_running(period: TimeRange, now: int) -> bool:
    """Whether a period is the current month, up to now."""
    first = datetime.fromtimestamp(now, UTC).date().replace(day=1)
    return period.start.date() == first and period.end_time == now


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=31)).replace(day=1)
