"""Windows: they tile the range, whatever it is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import DAY, START

from usage_async import TimeRange
from usage_async._api.endpoints import ENDPOINTS, FULL_PAGE, WIDTH_SECONDS
from usage_async._query.request import build
from usage_async._query.windows import Window

NOW = START + 400 * DAY


def uncut(start, end, *, now=NOW, concurrency=8, name="completions", **params):
    query = build(name, {"start_time": start, "end_time": end, **params})
    return query.uncut(TimeRange(start, end), now=now, concurrency=concurrency)


def cuts(left):
    """Cut a range into all its windows."""
    found = []
    while (cut := left.cut()) is not None:
        window, left = cut
        found.append(window)
    return found


def windows(start, end, **more):
    return cuts(uncut(start, end, **more))


@st.composite
def ranges(draw):
    width = draw(st.sampled_from(list(WIDTH_SECONDS)))
    seconds = WIDTH_SECONDS[width]
    start = draw(st.integers(0, 4 * 10**9))
    end = start + draw(st.integers(1, 5 * seconds) | st.integers(1, 3000 * seconds))
    now = draw(st.integers(start + 1, end + 3000 * seconds))
    concurrency = draw(st.integers(1, 32))
    params = {"bucket_width": width}
    if draw(st.booleans()):
        params["limit"] = draw(st.integers(1, ENDPOINTS["completions"].limits[width]))
    if draw(st.booleans()):
        params["page"] = "page_="
    return start, end, now, concurrency, params


@given(ranges())
def test_windows_tile_the_range_without_gap_or_overlap(case):
    start, end, now, concurrency, params = case
    found = windows(start, end, now=now, concurrency=concurrency, **params)
    width = WIDTH_SECONDS[params["bucket_width"]]
    assert found[0].start == start - start % width
    for one, following in pairwise(found):
        assert one.end == following.start
        assert one.end % width == 0
    assert all(window.start < window.end and window.width_s == width for window in found)
    assert found[-1].end == end + -end % width
    # What should not be there yet is one window: the clock may be wrong.
    assert sum(window.start > now for window in found) <= 1


@given(ranges())
def test_a_window_is_at_most_a_full_page(case):
    start, end, now, concurrency, params = case
    found = windows(start, end, now=now, concurrency=concurrency, **params)
    width, full = WIDTH_SECONDS[params["bucket_width"]], FULL_PAGE[params["bucket_width"]]
    if concurrency == 1 or "page" in params:
        assert len(found) == 1
        return
    most = min(params.get("limit", full), full)
    begun = [window for window in found if window.start <= now]
    assert all(window.end - window.start <= most * width for window in begun)
    assert all(window.end - window.start == most * width for window in found[:-1])


def test_an_end_is_not_moved_past_the_last_year():
    for day, seconds in (("9999-12-31", 86340), ("9999-12-30", DAY)):
        query = build("completions", {"start_time": START, "end_time": f"{day}T23:59:00+00:00"})
        midnight = 253_402_300_800 - DAY * (1 if day.endswith("31") else 2)
        times = query.resolve(NOW)
        assert query.uncut(times, now=NOW, concurrency=8).end == midnight + seconds


def test_windows_are_cut_as_they_are_needed():
    year = uncut(START, START + 365 * DAY, bucket_width="1m", limit=1)
    window, rest = year.cut()
    assert (window.end, rest.start) == (START + 60, START + 60)
    assert len(cuts(rest.after(START + 364 * DAY))) == 1440


@given(ranges(), st.integers(0, 4 * 10**9))
def test_a_floor_leaves_the_same_buckets_of_a_range_as_of_its_windows(case, floor):
    start, end, now, concurrency, params = case
    whole = uncut(start, end, now=now, concurrency=concurrency, **params)
    left = [rest for window in cuts(whole) if (rest := window.after(floor))]
    again = cuts(whole.after(floor))
    assert [window.end for window in again[-1:]] == [window.end for window in left[-1:]]
    assert [window.start for window in again[:1]] == [window.start for window in left[:1]]


@pytest.mark.parametrize(
    ("days", "params", "lengths"),
    [
        pytest.param(62, {}, [31, 31], id="two full pages"),
        pytest.param(63, {}, [31, 31, 1], id="and a day"),
        pytest.param(10, {"limit": 4}, [4, 4, 2], id="pages of four"),
        pytest.param(100, {"name": "costs"}, [31, 31, 31, 7], id="costs, seen to send 31 of 180"),
        pytest.param(40, {"name": "costs", "limit": 180}, [31, 9], id="even when asked for 180"),
        pytest.param(100, {"concurrency": 1}, [100], id="one after another"),
        pytest.param(100, {"page": "page_="}, [100], id="from a saved cursor"),
        pytest.param(1, {"bucket_width": "1h", "limit": 9}, [9 / 24, 9 / 24, 6 / 24], id="hours"),
        pytest.param(400, {"now": START + 31 * DAY - 1}, [31, 369], id="what is after now is one"),
        pytest.param(400, {"now": START + 31 * DAY}, [31, 31, 338], id="one may begin now"),
        pytest.param(4000, {"now": START - 1800}, [4000], id="a clock that is slow"),
    ],
)
def test_a_range_is_cut_into_full_pages(days, params, lengths):
    found = windows(START, START + days * DAY, **params)
    assert [(window.end - window.start) / DAY for window in found] == lengths


def test_what_is_known_of_a_bucket_decides_whether_there_are_windows():
    path = "/organization/usage/brand_new"
    start, end = START + 5, START + 400 * DAY
    assert windows(start, end, name=path) == [Window(start, end, None)]
    assert windows(start, end, name=path, bucket_width="1w") == [Window(start, end, None)]
    hours = windows(START, START + 8 * DAY, name=path, bucket_width="1h")
    assert [window.end - window.start for window in hours] == [7 * DAY, DAY]


@pytest.mark.parametrize(
    ("floor", "rest"),
    [
        pytest.param(0, 0, id="long before"),
        pytest.param(START, 0, id="at its start"),
        pytest.param(START + 1, 1, id="a second later"),
        pytest.param(START + DAY, 1, id="a bucket later"),
        pytest.param(START + 9 * DAY, 9, id="the last bucket"),
        pytest.param(START + 9 * DAY + 1, None, id="within the last bucket"),
        pytest.param(START + 99 * DAY, None, id="long after"),
    ],
)
def test_a_floor_leaves_whole_buckets(floor, rest):
    window = Window(START, START + 10 * DAY, DAY)
    want = None if rest is None else Window(START + rest * DAY, window.end, DAY)
    assert window.after(floor) == want


def test_without_a_width_a_floor_is_exact():
    assert Window(5, 9, None).after(7) == Window(7, 9, None)


@pytest.mark.parametrize(
    ("now", "ended"),
    [
        pytest.param(START, 0, id="at the start"),
        pytest.param(START + DAY - 1, 0, id="a second before the first end"),
        pytest.param(START + DAY, 1, id="at the first end"),
        pytest.param(START + 99 * DAY, 3, id="later"),
    ],
)
def test_buckets_that_are_over_have_to_come(now, ended):
    starts = Window(START, START + 3 * DAY, DAY).ended(now)
    assert list(starts) == [START + day * DAY for day in range(ended)]
    assert not Window(START, START + 3 * DAY, None).ended(now)
