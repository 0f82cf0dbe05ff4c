"""The period of a report; pure."""

from __future__ import annotations

from datetime import UTC, datetime

from usage_async._api.endpoints import DAY_S
from usage_async._query.request import build
from usage_async._query.times import TimeRange
from usage_async.errors import QueryError


def find_period(
    now: int,
    *,
    period: str | None = None,
    start: str | None = None,
    end: str | None = None,
) -> TimeRange:
    """Turn what the command line says into the range that it asks for.

    Args:
        now: Unix seconds.
        period: As `period=` of a query.
        start: As `start_time=` of a query.
        end: As `end_time=` of a query.

    Raises:
        QueryError: It is not one period, or a wrong one.
    """
    if end is not None and start is None and period is None:
        raise QueryError("--end needs --start")
    params = {"start_time": start, "end_time": end, "period": period}
    return build("costs", params).resolve(now)


def whole_days(asked: TimeRange, now: int) -> TimeRange:
    """Give the whole days that a range touches, the last one maybe running."""
    first = asked.start_time - asked.start_time % DAY_S
    # Money comes by the day: a day that is cut would be billed whole, but used in part.
    last = -(-asked.end_time // DAY_S) * DAY_S
    return TimeRange(first, min(last, now))


def is_running(period: TimeRange, now: int) -> bool:
    """Tell whether a period is the current month, up to now."""
    first = datetime.fromtimestamp(now, UTC).date().replace(day=1)
    return period.start.date() == first and period.end_time == now
