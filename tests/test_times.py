"""Instants and periods: what is read, what is refused, and with which words."""

import re
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from values import DAY, START, utc_range

from usage_async import QueryError, TimeRange
from usage_async._query.request import build
from usage_async._query.times import CALENDAR, parse_period, parse_time, period_before

NOW = int(datetime(2026, 11, 21, 12, 34, 56, tzinfo=UTC).timestamp())
TODAY = NOW - NOW % DAY
OCTOBER, NOVEMBER = 1_790_812_800, 1_793_491_200
AMSTERDAM = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        pytest.param(0, 0, id="the epoch"),
        pytest.param(START, START, id="unix seconds"),
        pytest.param(date(2026, 10, 1), OCTOBER, id="date"),
        pytest.param("2026-10-01", OCTOBER, id="date as text"),
        pytest.param("20261001", OCTOBER, id="compact date"),
        pytest.param("20261001T020000+0200", OCTOBER, id="compact time"),
        pytest.param("2026-W40-4", OCTOBER, id="a day of a week"),
        pytest.param("1790812800", OCTOBER, id="unix seconds as text"),
        pytest.param(datetime(2026, 10, 1, tzinfo=UTC), OCTOBER, id="aware datetime"),
        pytest.param(datetime(2026, 10, 1, 2, tzinfo=AMSTERDAM), OCTOBER, id="with an offset"),
        pytest.param("2026-10-01T02:00:00+02:00", OCTOBER, id="offset as text"),
        pytest.param("2026-10-01T00:00:00Z", OCTOBER, id="zulu"),
        pytest.param("2026-10-01 00:00+00:00", OCTOBER, id="a blank between"),
        pytest.param(datetime(2026, 10, 1, 0, 0, 0, 999_999, UTC), OCTOBER, id="microseconds"),
        pytest.param(timedelta(days=7), timedelta(days=7), id="timedelta"),
        pytest.param("7d", timedelta(days=7), id="days ago"),
        pytest.param("24h", timedelta(hours=24), id="hours ago"),
        pytest.param("90m", timedelta(minutes=90), id="minutes ago"),
    ],
)
def test_an_instant_can_be_said_in_many_ways(value, instant):
    assert parse_time("start_time", value) == instant


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param(True, "not True", id="bool"),
        pytest.param(-1, "not -1", id="negative"),
        pytest.param(NOW * 1000, "looks like milliseconds: divide by 1000", id="milliseconds"),
        pytest.param(1.5, "not 1.5", id="float"),
        pytest.param(timedelta(), "not datetime.timedelta(0)", id="no time ago"),
        pytest.param(timedelta(days=-1), "not datetime.timedelta", id="later"),
        pytest.param("0d", "not '0d'", id="nothing ago"),
        pytest.param("7w", "not '7w'", id="weeks"),
        pytest.param("-7d", "not '-7d'", id="minus"),
        pytest.param("yesterday", "not 'yesterday'", id="a period's name"),
        pytest.param("2026-10", 'for both ends say period="2026-10"', id="a month"),
        pytest.param("2026-W40", 'for both ends say period="2026-W40"', id="a week"),
        pytest.param("2026-Q4", 'for both ends say period="2026-Q4"', id="a quarter"),
        pytest.param("2026", 'for both ends say period="2026"', id="a year"),
        pytest.param("this-week", 'for both ends say period="this-week"', id="this week"),
        pytest.param("2026W40", "not '2026W40'", id="a compact week"),
        pytest.param("2026-W40T00:00Z", "not '2026-W40T00:00Z'", id="a week and a time"),
        pytest.param("2026-W54-1", "not '2026-W54-1'", id="no such week"),
        pytest.param("202610", "not '202610'", id="a compact month"),
        pytest.param("1790812800000", "divide by 1000", id="milliseconds as text"),
        pytest.param("٢٠٢٦١٠٠١٠", "not '٢٠٢٦١٠٠١٠'", id="other digits"),
        pytest.param("2026-13-01", "not '2026-13-01'", id="no such month"),
        pytest.param("", "not ''", id="empty"),
        pytest.param(b"2026-10-01", "not b'2026-10-01'", id="bytes"),
        pytest.param(None, "not None", id="none"),
    ],
)
def test_what_is_no_instant_is_refused(value, says):
    with pytest.raises(QueryError, match=re.escape(says)) as error:
        parse_time("end_time", value)
    assert str(error.value).startswith("end_time ")


@pytest.mark.parametrize("value", [datetime(2026, 10, 1, 9), "2026-10-01T09:00:00"])  # noqa: DTZ001 - naive on purpose
def test_a_time_without_a_zone_is_refused_with_its_fix(value):
    with pytest.raises(QueryError) as error:
        parse_time("start_time", value)
    assert '"2026-10-01T09:00:00+00:00"' in str(error.value)
    assert "tzinfo=UTC" in str(error.value)
    assert ".astimezone()" in str(error.value)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1)), st.integers(-24 * 60, 24 * 60))  # noqa: DTZ001 - naive on purpose
def test_an_aware_datetime_and_its_text_are_the_same_instant(naive, minutes):
    assume(abs(minutes) < 24 * 60)
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assume(aware.timestamp() >= 0)
    instant = parse_time("start_time", aware)
    assert instant == int(aware.timestamp())
    assert parse_time("start_time", aware.isoformat()) == instant
    assert parse_time("start_time", aware.astimezone(UTC)) == instant


@given(st.text() | st.binary() | st.floats() | st.integers() | st.timedeltas() | st.datetimes())
def test_any_value_is_an_instant_or_refused(value):
    try:
        instant = parse_time("start_time", value)
    except QueryError:
        return
    assert isinstance(instant, timedelta) or type(instant) is int


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        pytest.param("2026-10", OCTOBER, NOVEMBER, id="month"),
        pytest.param("2026-02", 1_769_904_000, 1_772_323_200, id="february"),
        pytest.param("2025-12", 1_764_547_200, 1_767_225_600, id="december"),
        pytest.param("2026-10-05", OCTOBER + 4 * DAY, OCTOBER + 5 * DAY, id="day"),
        pytest.param("20261005", OCTOBER + 4 * DAY, OCTOBER + 5 * DAY, id="compact day"),
        pytest.param("2026-W40-1", OCTOBER - 3 * DAY, OCTOBER - 2 * DAY, id="day of a week"),
        pytest.param("2026-W40", OCTOBER - 3 * DAY, OCTOBER + 4 * DAY, id="week"),
        pytest.param("2025-W01", 1_735_516_800, 1_736_121_600, id="week of two years"),
        pytest.param("2020-W53", 1_609_113_600, 1_609_718_400, id="week 53"),
        pytest.param("2026-Q3", OCTOBER - 92 * DAY, OCTOBER, id="quarter"),
        pytest.param("2026-Q4", OCTOBER, OCTOBER + 92 * DAY, id="quarter that runs"),
        pytest.param("2025", 1_735_689_600, 1_767_225_600, id="year"),
        pytest.param("2024", 1_704_067_200, 1_735_689_600, id="leap year"),
        pytest.param("this-week", TODAY - 5 * DAY, NOW, id="this week"),
        pytest.param("last-week", TODAY - 12 * DAY, TODAY - 5 * DAY, id="last week"),
        pytest.param("this-month", NOVEMBER, NOW, id="this month"),
        pytest.param("last-month", OCTOBER, NOVEMBER, id="last month"),
        pytest.param("this-quarter", OCTOBER, NOW, id="this quarter"),
        pytest.param("last-quarter", OCTOBER - 92 * DAY, OCTOBER, id="last quarter"),
        pytest.param("this-year", 1_767_225_600, NOW, id="this year"),
        pytest.param("last-year", 1_735_689_600, 1_767_225_600, id="last year"),
        pytest.param("today", TODAY, NOW, id="today"),
        pytest.param("yesterday", TODAY - DAY, TODAY, id="yesterday"),
        pytest.param("7d", NOW - 7 * DAY, NOW, id="a week until now"),
        pytest.param("36h", NOW - 36 * 3600, NOW, id="not aligned to buckets"),
    ],
)
def test_a_period_gives_both_ends(period, start, end):
    query = build("costs", {"period": period})
    assert query.resolve(NOW) == TimeRange(start, end)


@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        ("last-month", "2026-01-01T00:00", "2025-12-01", "2026-01-01"),
        ("last-month", "2024-03-31T23:00", "2024-02-01", "2024-03-01"),
        ("last-quarter", "2026-02-28T00:00", "2025-10-01", "2026-01-01"),
        ("last-quarter", "2024-05-31T00:00", "2024-01-01", "2024-04-01"),
        ("last-year", "2025-01-01T00:00", "2024-01-01", "2025-01-01"),
        ("last-week", "2027-01-04T00:00", "2026-12-28", "2027-01-04"),
        ("last-week", "2027-01-03T23:59", "2026-12-21", "2026-12-28"),
        ("yesterday", "2024-03-01T00:00", "2024-02-29", "2024-03-01"),
    ],
)
def test_the_last_one_may_lie_in_another_year_or_be_short(period, now, start, end):
    instant = int(datetime.fromisoformat(f"{now}+00:00").timestamp())
    got = build("costs", {"period": period}).resolve(instant)
    assert (f"{got.start:%Y-%m-%d}", f"{got.end:%Y-%m-%d}") == (start, end)


_FORMS = {"week": "%G-W%V", "month": "%Y-%m", "year": "%Y", "day": "%Y-%m-%d"}


@given(
    st.sampled_from([word for word in CALENDAR if word.startswith("last")]),
    st.dates(date(1972, 1, 1), date(2999, 1, 1)),
)
def test_a_word_of_the_calendar_is_the_stretch_that_can_be_written_out(word, today):
    now = int(datetime(today.year, today.month, today.day, 9, tzinfo=UTC).timestamp())
    got = build("costs", {"period": word}).resolve(now)
    unit = word.removeprefix("last-")
    text = (
        f"{got.start.year}-Q{(got.start.month + 2) // 3}"
        if unit == "quarter"
        else f"{got.start:{_FORMS[unit]}}"
    )
    assert parse_period(text) == (got.start_time, got.end_time)
    running = build("costs", {"period": f"this-{unit}"}).resolve(now)
    assert running == TimeRange(got.end_time, now)


@given(st.dates(date(1970, 1, 5), date(8999, 12, 1)))
def test_periods_of_one_unit_tile_time(day):
    for form in _FORMS.values():
        start, end = parse_period(f"{day:{form}}")
        at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        assert start <= at < end
        after = datetime.fromtimestamp(end, UTC)
        assert parse_period(f"{after:{form}}")[0] == end


@pytest.mark.parametrize("year", [2021, 2022, 2024, 2027])
def test_a_week_53_is_only_where_the_year_has_one(year):
    with pytest.raises(QueryError, match=f"{year} has no week 53"):
        parse_period(f"{year}-W53")


def test_a_week_0_is_none():
    with pytest.raises(QueryError, match="2026 has no week 0"):
        parse_period("2026-W00")


@pytest.mark.parametrize("period", ["2027", "2027-Q1", "2026-W48", "2026-12", "2026-11-22"])
def test_a_period_that_is_wholly_in_the_future_is_refused_when_a_run_begins(period):
    query = build("costs", {"period": period})
    with pytest.raises(QueryError, match="is in the future"):
        query.resolve(NOW)


@pytest.mark.parametrize("name", CALENDAR)
@given(st.integers(DAY * 800, 4 * 10**9))
def test_a_calendar_period_is_whole_days_until_now_at_most(name, now):
    try:
        times = build("costs", {"period": name}).resolve(now)
    except QueryError:
        assert now % DAY == 0
        return
    assert times.start_time % DAY == 0
    assert times.end_time % DAY == 0 or times.end_time == now
    assert times.start_time < times.end_time <= now


@pytest.mark.parametrize(
    "period",
    [
        *("", "next-year", "2026-13", "2026-1", "0000-01", "9999-12", "0d", 7, True),
        *("2026-W4", "2026-W60", "2026W40", "2026-w40", "2026-Q5", "2026-Q0", "26", "9999"),
        *("1969", "2026-10-05T00:00Z", "2026-W40-8", "1790812800", date(2026, 10, 5)),
    ],
)
def test_what_is_no_period_is_refused_with_those_that_are(period):
    says = f'"this-year", "last-year"; not {period!r}'
    with pytest.raises(QueryError, match=re.escape(says)):
        parse_period(period)


@pytest.mark.parametrize("period", ["9999-12-31", "99991231", "9999-W52-5"])
def test_a_period_that_ends_after_the_last_year_is_refused(period):
    with pytest.raises(QueryError, match=f"^period '{period}' ends after the year 9999$"):
        parse_period(period)


@pytest.mark.parametrize(
    "value",
    ["9999-12-31T23:59:59-23:59", datetime.max.replace(tzinfo=timezone(timedelta(minutes=-1)))],
)
def test_an_instant_after_the_last_year_is_refused(value):
    with pytest.raises(QueryError, match=r"^end_time 9999-12-31T23:59:.* in UTC$"):
        parse_time("end_time", value)


def test_the_last_second_is_an_instant():
    assert TimeRange(0, parse_time("end_time", "9999-12-31T23:59:59Z")).end.year == 9999


ZONES = st.integers(1 - 24 * 60, 24 * 60 - 1).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
TEXTS = (
    st.text()
    | st.dates().map(str)
    | st.dates().map("{:%Y%m%d}".format)
    | st.dates().map("{0:%G}-W{0:%V}-{0:%u}".format)
    | st.datetimes(timezones=ZONES).map(datetime.isoformat)
    | st.from_regex(r"[0-9]{1,6}[mhd]|[0-9]{4}(-[QW]?[0-9]{1,2}){0,2}|[0-9]{1,20}", fullmatch=True)
)


@given(TEXTS)
@example("9999-12-31")
@example("9999-12-31T23:59:59-23:59")
def test_any_text_is_a_range_or_refused(text):
    for words in (
        {"period": text},
        {"start_time": text},
        {"start_time": "2026-10-01", "end_time": text},
    ):
        try:
            times = build("costs", words).resolve(NOW)
        except QueryError:
            continue
        assert times.start < times.end


def test_a_range_tells_its_ends_as_aware_datetimes():
    times = TimeRange(START, START + DAY)
    assert times.start == datetime(2024, 11, 1, tzinfo=UTC)
    assert times.end == datetime(2024, 11, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "times", "before"),
    [
        # Months, whole and running.
        ("last-month", ("2026-10-01", "2026-11-01"), ("2026-09-01", "2026-10-01")),
        ("2026-03", ("2026-03-01", "2026-04-01"), ("2026-02-01", "2026-03-01")),
        ("this-month", ("2026-11-01", "2026-11-22T12:00"), ("2026-10-01", "2026-10-23")),
        ("2026-11", ("2026-11-01", "2026-11-22T12:00"), ("2026-10-01", "2026-10-23")),
        ("this-month", ("2026-11-01", "2026-11-01T00:01"), ("2026-10-01", "2026-10-02")),
        ("this-month", ("2026-03-01", "2026-03-30T12:00"), ("2026-02-01", "2026-03-01")),
        ("this-month", ("2026-03-01", "2026-03-28T12:00"), ("2026-02-01", "2026-03-01")),
        ("this-month", ("2026-03-01", "2026-03-27T12:00"), ("2026-02-01", "2026-02-28")),
        ("last-month", ("2026-01-01", "2026-02-01"), ("2025-12-01", "2026-01-01")),
        # Weeks.
        ("2026-W40", ("2026-09-28", "2026-10-05"), ("2026-09-21", "2026-09-28")),
        ("this-week", ("2026-11-16", "2026-11-18T09:00"), ("2026-11-09", "2026-11-12")),
        ("2027-W01", ("2027-01-04", "2027-01-11"), ("2026-12-28", "2027-01-04")),
        # Quarters: 92 days, 90, 91.
        ("2026-Q4", ("2026-10-01", "2027-01-01"), ("2026-07-01", "2026-10-01")),
        ("2026-Q1", ("2026-01-01", "2026-04-01"), ("2025-10-01", "2026-01-01")),
        ("last-quarter", ("2026-04-01", "2026-07-01"), ("2026-01-01", "2026-04-01")),
        ("this-quarter", ("2026-10-01", "2026-10-10T12:00"), ("2026-07-01", "2026-07-11")),
        ("this-quarter", ("2026-04-01", "2026-06-30T12:00"), ("2026-01-01", "2026-04-01")),
        # Years.
        ("2025", ("2025-01-01", "2026-01-01"), ("2024-01-01", "2025-01-01")),
        ("this-year", ("2026-01-01", "2026-11-22T12:00"), ("2025-01-01", "2025-11-23")),
        ("this-year", ("2024-01-01", "2024-12-31T12:00"), ("2023-01-01", "2024-01-01")),
        # Days.
        ("yesterday", ("2026-11-01", "2026-11-02"), ("2026-10-31", "2026-11-01")),
        ("today", ("2026-11-01", "2026-11-01T12:00"), ("2026-10-31", "2026-11-01")),
        ("2026-10-01", ("2026-10-01", "2026-10-02"), ("2026-09-30", "2026-10-01")),
        # So long until now, even where it begins with a month.
        ("7d", ("2026-11-15", "2026-11-22T12:00"), ("2026-11-07", "2026-11-15")),
        ("21d", ("2026-11-01", "2026-11-22T12:00"), ("2026-10-10", "2026-11-01")),
        ("24h", ("2026-11-21", "2026-11-22T12:00"), ("2026-11-19", "2026-11-21")),
        # Both ends given: the whole of a stretch of the calendar, or any days.
        (None, ("2026-10-01", "2026-11-01"), ("2026-09-01", "2026-10-01")),
        (None, ("2026-07-01", "2026-10-01"), ("2026-04-01", "2026-07-01")),
        (None, ("2026-09-28", "2026-10-05"), ("2026-09-21", "2026-09-28")),
        (None, ("2026-03-01", "2026-03-31"), ("2026-01-30", "2026-03-01")),
        (None, ("2026-10-01", "2026-11-05"), ("2026-08-27", "2026-10-01")),
        (None, ("2026-11-01", "2026-11-22T12:00"), ("2026-10-10", "2026-11-01")),
        (None, ("2026-10-05", "2026-10-06"), ("2026-10-04", "2026-10-05")),
    ],
)
def test_the_period_before_is_the_one_of_the_calendar_else_as_many_days(period, times, before):
    assert period_before(utc_range(*times), period) == utc_range(*before)


@given(
    st.sampled_from([*CALENDAR, "7d", "30d", "36h"]),
    st.integers(int(datetime(1980, 1, 1, tzinfo=UTC).timestamp()), 4 * 10**9),
)
def test_the_period_before_ends_before_the_period_and_is_no_longer(period, now):
    assume(now % DAY)
    times = build("costs", {"period": period}).resolve(now)
    # A report is of whole days.
    times = TimeRange(times.start_time - times.start_time % DAY, times.end_time)
    before = period_before(times, period)
    assert before.start_time % DAY == before.end_time % DAY == 0
    assert before.start_time < before.end_time <= times.start_time
    if period.startswith("this-"):
        days = -(-(times.end_time - times.start_time) // DAY)
        assert before.end_time - before.start_time <= days * DAY
        word = build("costs", {"period": period.replace("this", "last")}).resolve(now)
        assert before.start_time == word.start_time
