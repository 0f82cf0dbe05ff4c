from datetime import UTC, datetime

import hypothesis
import pytest
from hypothesis import strategies as st
from values import utc_range

from usage_async import QueryError
from usage_async.report.spec import day_end, report_spec

NOW = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())


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
    assert report_spec(NOW, **given).period == utc_range(start, end)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"period": "7d", "start": "2026-10-01"}, "period gives both ends"),
        ({"end": "2026-10-01"}, "start_time or period is required"),
        ({"period": "2026-13"}, "period takes"),
        ({"period": "2027-01"}, "in the future"),
    ],
)
def test_what_is_no_period_is_refused(given, says):
    with pytest.raises(QueryError, match=says):
        report_spec(NOW, **given)


@pytest.mark.parametrize(
    ("given", "running"),
    [
        ({"period": "this-month"}, True),
        ({"start": "2026-11-01"}, True),
        ({"start": "2026-11-01", "end": "2026-11-10"}, False),
        ({"start": "2026-11-02"}, False),
        ({"start": "2026-10-01"}, False),
    ],
)
def test_only_the_month_of_today_up_to_now_is_running(given, running):
    assert report_spec(NOW, **given).running is running


def test_the_comparison_is_the_period_before_and_only_where_it_is_asked_for():
    assert report_spec(NOW, period="2026-10").before is None
    spec = report_spec(NOW, period="2026-10", compare=True)
    assert spec.before == utc_range("2026-09-01", "2026-10-01")


def test_days_that_are_asked_for_in_part_are_remembered():
    spec = report_spec(NOW, start="2026-11-05T09:00Z", end="2026-11-07T09:00Z")
    assert spec.requested == utc_range("2026-11-05T09:00", "2026-11-07T09:00")


@hypothesis.given(st.integers(0, 2**33))
def test_a_day_ends_at_the_first_midnight_that_is_not_before(instant):
    end = day_end(instant)
    assert end % 86400 == 0
    assert instant <= end < instant + 86400
