from datetime import UTC, datetime

import pytest

from usage_async import QueryError, TimeRange
from usage_async.report.period import find_period, is_running, whole_days

NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())


def _range(start: str, end: str) -> TimeRange:
    instants = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (start, end))
    return TimeRange(*(int(instant.timestamp()) for instant in instants))


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ({"period": "last-month"}, "2026-10-01", "2026-11-01"),
        ({"period": "this-month"}, "2026-11-01", "2026-11-22T12:00"),
        ({"period": "2026-11"}, "2026-11-01", "2026-11-22T12:00"),
        ({"period": "2026-Q4"}, "2026-10-01", "2026-11-22T12:00"),
        ({"period": "2026-W47"}, "2026-11-16", "2026-11-22T12:00"),
        ({"period": "24h"}, "2026-11-21", "2026-11-22T12:00"),
        ({"start": "2026-11-05T09:00Z", "end": "2026-11-07T09:00Z"}, "2026-11-05", "2026-11-08"),
    ],
)
def test_a_period_is_whole_days_until_now(given, start, end):
    assert whole_days(find_period(NOW, **given), NOW) == _range(start, end)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"period": "7d", "start": "2026-10-01"}, "period gives both ends"),
        ({"end": "2026-10-01"}, "--end needs --start"),
        ({"period": "2026-13"}, "period takes"),
        ({"period": "2027-01"}, "in the future"),
    ],
)
def test_what_is_no_period_is_refused(given, says):
    with pytest.raises(QueryError, match=says):
        find_period(NOW, **given)


@pytest.mark.parametrize(
    ("period", "running"),
    [
        (("2026-11-01", "2026-11-22T12:00"), True),
        (("2026-11-01", "2026-11-10"), False),
        (("2026-11-02", "2026-11-22T12:00"), False),
        (("2026-10-01", "2026-11-22T12:00"), False),
    ],
)
def test_only_the_month_of_today_up_to_now_is_running(period, running):
    assert is_running(_range(*period), NOW) is running
