from datetime import UTC, datetime

import hypothesis
import pytest
from hypothesis import strategies as st
from values import utc_range

from usage_async import QueryError
from usage_async.report.spec import GROUPINGS, day_end, read_by, report_spec

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


@pytest.mark.parametrize(
    ("by", "dimensions"),
    [
        ("project", ("project_id",)),
        ("project_id", ("project_id",)),
        ("api-key, model", ("api_key_id", "model")),
        ("model,api_key_id", ("model", "api_key_id")),
        (["line_item"], ("line_item",)),
        (("line-item", "user"), ("line_item", "user_id")),
    ],
)
def test_a_grouping_is_one_dimension_or_two_in_the_words_of_people_or_of_the_api(by, dimensions):
    assert read_by(by) == dimensions
    spec = report_spec(NOW, period="7d", by=by)
    assert (spec.by, spec.then_by) == (*dimensions, None)[:2]


_ALLOWED = "by takes one or two of project, user, api-key, line-item, model; "


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("tenant", "not 'tenant'"),
        ("project,", "not ''"),
        ("", "not ''"),
        ([], "not 0 of them"),
        ("project,model,user", "not 3 of them"),
        ("project,project", "project stands there twice"),
        ("api-key,api_key_id", "api-key stands there twice"),
    ],
)
def test_what_is_no_grouping_is_refused_and_the_error_names_what_is_allowed(by, says):
    with pytest.raises(QueryError) as caught:
        report_spec(NOW, period="7d", by=by)
    assert str(caught.value) == _ALLOWED + says


def test_line_items_and_models_are_read_by_one_dimension_of_costs():
    spec = report_spec(NOW, period="7d", by="model,line-item")
    assert (spec.costs_dimensions, spec.usage_dimensions) == (("line_item",), ("model",))
    assert spec.noun == "model and line item"
    assert [grouping.noun for grouping in spec.groupings] == ["model", "line item"]
    assert spec.grouping is GROUPINGS["model"]
