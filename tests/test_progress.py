"""The pages of one window: nothing twice, nothing lost, no endless loop."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import DAY, START, result_of

from usage_async import PaginationError, UsageCompletionsResult, UsageResponse, UsageTimeBucket
from usage_async._engine.progress import WindowProgress
from usage_async._query.windows import Window

NOW = START + 400 * DAY
FIVE_DAYS = Window(START, START + 5 * DAY, DAY)
OPEN = Window(START + 5, START + 5 * DAY, None)


def bucket(day, tokens=1, *, quiet=False):
    start = START + int(day * DAY)
    row = UsageCompletionsResult(input_tokens=tokens, output_tokens=0, num_model_requests=1)
    return UsageTimeBucket(start_time=start, end_time=start + DAY, results=() if quiet else (row,))


def page(*days, cursor=None, **more):
    data = tuple(day if isinstance(day, UsageTimeBucket) else bucket(day) for day in days)
    return UsageResponse(
        **{"data": data, "has_more": cursor is not None, "next_page": cursor} | more
    )


class Progress(WindowProgress):
    """It is given the buckets of the page before only where it looks back, as by a merge."""

    before = ()

    def accept(self, page):
        before, self.before = self.before, page.data
        return result_of(super().accept(page, before if self.looks_back(page) else ()))


def read(*pages, window=FIVE_DAYS, now=NOW, cursor=None):
    """Read pages; gives the days that came, the codes of the notices, and the progress."""
    progress = Progress(window=window, now=now, cursor=cursor)
    days, notices = [], []
    for one in pages:
        assert not progress.done
        accepted, told = progress.accept(one)
        days += [(one.start_time - START) / DAY for one in accepted.data]
        notices += told
    return days, notices, progress


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([page(0, 1, 2, 3, 4)], id="one page"),
        pytest.param([page(0, 1, cursor="a"), page(2, 3, cursor="b"), page(4)], id="short pages"),
        pytest.param([page(0, 1, cursor="a"), page(cursor="b"), page(2, 3, 4)], id="an empty page"),
        pytest.param([page(0, 1, 2, 3, 4, cursor="a"), page(cursor="b")], id="a cursor at the end"),
        pytest.param([page(0, 1, 2, 3, 4, cursor="a"), page()], id="an empty last page"),
        pytest.param([page(3, 1, 4, 0, 2)], id="out of order within a page"),
        pytest.param([page(0, 1, 2, 3, 4, next_page="page_=")], id="a cursor, but no more"),
        pytest.param(
            [page(0, 1, 2, bucket(3, quiet=True), bucket(4, quiet=True))], id="quiet days"
        ),
    ],
)
def test_every_bucket_comes_once_and_in_order(pages):
    days, notices, progress = read(*pages)
    assert days == [0, 1, 2, 3, 4]
    assert progress.done
    assert not notices


def test_a_page_that_needs_no_change_is_handed_on_as_it_is():
    whole = page(0, 1, 2, 3, 4)
    assert Progress(window=FIVE_DAYS, now=NOW).accept(whole)[0] is whole


@pytest.mark.parametrize(
    ("pages", "days", "notice", "day", "says"),
    [
        pytest.param(
            [page(0, 1, 3, 4)],
            [0, 1, 3, 4],
            "missing-bucket",
            2,
            "1 bucket was not sent, the first starts at 2024-11-03T00:00:00Z",
            id="missing in the middle",
        ),
        pytest.param(
            [page(1, cursor="a"), page(3)],
            [1, 3],
            "missing-bucket",
            0,
            "3 buckets were not sent, the first starts at 2024-11-01T00:00:00Z",
            id="missing here and there",
        ),
        pytest.param(
            [page()],
            [],
            "missing-bucket",
            0,
            "5 buckets were not sent, the first",
            id="all missing",
        ),
        pytest.param(
            [page(0, 1, 1, 2, 3, 4)],
            [0, 1, 2, 3, 4],
            "repeated-bucket",
            1,
            "the bucket that starts at 2024-11-02T00:00:00Z was sent twice, and counts once",
            id="repeated in a page",
        ),
        pytest.param(
            [page(0, 1, 2, cursor="a"), page(2, 3, 4)],
            [0, 1, 2, 3, 4],
            "repeated-bucket",
            2,
            "was sent twice",
            id="repeated in the next page",
        ),
        pytest.param(
            [page(-1, 0, 1, 2, 3, 4)],
            [0, 1, 2, 3, 4],
            "bucket-outside-range",
            -1,
            "the bucket that starts at 2024-10-31T00:00:00Z lies outside of the requested range",
            id="before the range",
        ),
        pytest.param(
            [page(0, 1, 2, 3, 4, 5)],
            [0, 1, 2, 3, 4],
            "bucket-outside-range",
            5,
            "lies outside of the requested range, and was dropped",
            id="after the range",
        ),
    ],
)
def test_what_is_missing_or_too_much_is_told(pages, days, notice, day, says):
    came, notices, progress = read(*pages)
    assert came == days
    assert progress.done
    (told,) = notices
    assert (told.code, told.starts[0]) == (notice, START + day * DAY)
    assert says in told.message


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        pytest.param(
            [page(0, bucket(0, 2))], "two different buckets start at 2024-11-01", id="rows"
        ),
        pytest.param(
            [page(0, 1, cursor="a"), page(bucket(1, 2))], "two different buckets", id="next page"
        ),
        pytest.param(
            [page(0, 1, cursor="a"), page(2, cursor="b"), page(0)],
            "2024-11-01T00:00:00Z came after later ones",
            id="much later",
        ),
        pytest.param([page(0, 2, cursor="a"), page(1)], "came after later ones", id="late"),
        pytest.param([page(0, has_more=True)], "sent no next_page", id="no cursor"),
        pytest.param(
            [page(0, has_more=True, next_page="")], "sent no next_page", id="empty cursor"
        ),
        pytest.param([page(has_more=True)], "sent no next_page", id="empty page, no cursor"),
        pytest.param([page(0, cursor="a"), page(1, cursor="a")], "in a circle", id="repeats"),
        pytest.param(
            [page(0, cursor="a"), page(1, cursor="b"), page(2, cursor="c"), page(3, cursor="a")],
            "in a circle",
            id="a loop of three",
        ),
        pytest.param(
            [page(0, cursor="0")] + [page(cursor=str(count)) for count in range(1, 102)],
            "in a circle",
            id="empty pages for ever",
        ),
        pytest.param(
            [page(0, cursor="0")] + [page(0, cursor=str(count)) for count in range(1, 102)],
            "in a circle",
            id="the same bucket for ever",
        ),
    ],
)
def test_what_would_lose_or_double_figures_is_an_error(pages, says):
    *good, last = pages
    _, _, progress = read(*good)
    with pytest.raises(PaginationError, match=says):
        progress.accept(last)


def test_from_a_saved_cursor_empty_pages_for_ever_are_no_end():
    empty = [page(cursor=str(count)) for count in range(101)]
    _, _, progress = read(*empty[:-1], cursor="a")
    with pytest.raises(PaginationError, match="in a circle"):
        progress.accept(empty[-1])


@pytest.mark.parametrize("end", [0, START, -5, 10**12, 10**18])
def test_a_bucket_that_ends_absurdly_is_an_error(end):
    absurd = UsageTimeBucket(start_time=START, end_time=end)
    with pytest.raises(
        PaginationError, match="the bucket that starts at 2024-11-01T00:00:00Z ends"
    ):
        read(page(absurd, 1, 2, 3, 4))


def test_some_empty_pages_are_followed():
    pages = [page(cursor=str(count)) for count in range(100)]
    days, _, progress = read(*pages, page(0, 1, 2, 3, 4))
    assert days == [0, 1, 2, 3, 4]
    assert progress.done


def test_a_bucket_that_is_not_over_need_not_come():
    days, notices, _ = read(page(0, 1), now=START + 3 * DAY - 1)
    assert (days, notices) == ([0, 1], [])
    _, notices, _ = read(page(0, 1), now=START + 3 * DAY)
    assert [notice.starts[0] for notice in notices] == [START + 2 * DAY]


def test_an_empty_page_is_followed_on_while_a_bucket_is_due():
    today = {"now": START + 3 * DAY - 1}
    _, _, progress = read(page(0, cursor="a"), page(cursor="b"), **today)
    assert not progress.done
    every = page(0, 1, 2, 3, 4, cursor="a")
    _, _, progress = read(every, page(cursor="b"), **today)
    assert progress.done


def test_a_bucket_that_has_begun_may_come_behind_empty_pages():
    today = {"now": START + 4 * DAY + 1}
    days, notices, progress = read(page(0, 1, 2, 3, cursor="a"), page(cursor="b"), page(4), **today)
    assert (days, notices, progress.done) == ([0, 1, 2, 3, 4], [], True)


def test_a_bucket_that_never_comes_is_waited_for_a_hundred_empty_pages_long():
    empty = [page(cursor=str(count)) for count in range(101)]
    pages = [page(0, 1, 2, 3, cursor="a"), *empty]
    _, _, progress = read(*pages[:-1], now=START + 4 * DAY + 1)
    assert not progress.done
    _, notices, progress = read(*pages, now=START + 4 * DAY + 1)
    assert (notices, progress.done) == ([], True)


def test_after_a_gap_an_empty_page_is_followed_on():
    _, _, progress = read(page(0, 2, 3, 4, cursor="a"), page(cursor="b"))
    assert not progress.done
    assert progress.cursor == "b"


def test_from_a_saved_cursor_the_first_bucket_may_be_any():
    days, notices, progress = read(page(2, 3, cursor="b"), page(4), cursor="a")
    assert (days, notices, progress.done) == ([2, 3, 4], [], True)
    _, notices, _ = read(page(2, 4), cursor="a")
    assert [notice.starts[0] for notice in notices] == [START + 3 * DAY]
    _, notices, _ = read(page(), cursor="a")
    assert not notices
    _, _, progress = read(cursor="a")
    with pytest.raises(PaginationError, match="in a circle"):
        progress.accept(page(2, cursor="a"))


def test_without_a_width_whatever_comes_in_order_is_taken():
    days, notices, progress = read(page(0.5, cursor="a"), page(1, 3), window=OPEN)
    assert (days, notices, progress.done) == ([0.5, 1, 3], [], True)
    _, _, progress = read(page(1, cursor="a"), page(cursor="b"), window=OPEN)
    assert not progress.done
    with pytest.raises(PaginationError, match="came after later ones"):
        progress.accept(page(0.5))


def test_without_a_width_a_bucket_that_reaches_into_the_range_is_taken():
    days, notices, _ = read(page(-1, -0.5, 1), window=OPEN)
    assert days == [-0.5, 1]
    assert [notice.code for notice in notices] == ["bucket-outside-range"]


@pytest.mark.parametrize(
    ("second", "window", "looks_back"),
    [
        (page(2), FIVE_DAYS, False),
        (page(3), FIVE_DAYS, False),
        (page(2, 9), FIVE_DAYS, False),
        (page(1, 2), FIVE_DAYS, True),
        (page(-1), FIVE_DAYS, True),
        (page(1.5, 2), OPEN, False),
    ],
)
def test_the_page_before_is_needed_only_where_something_may_have_come_before(
    second, window, looks_back
):
    _, _, progress = read(page(0, 1, cursor="a"), window=window)
    assert progress.looks_back(second) is looks_back


def test_an_absurd_start_lies_outside_of_the_range():
    absurd = UsageTimeBucket(start_time=10**15, end_time=10**15 + DAY)
    _, (notice,), _ = read(page(0, 1, 2, 3, 4, absurd))
    assert (notice.code, notice.starts) == ("bucket-outside-range", (10**15,))


def test_what_comes_next_is_known_at_any_time():
    _, _, progress = read()
    assert progress.next_start == START
    _, _, progress = read(page(0, 1, cursor="a"))
    assert progress.next_start == START + 2 * DAY
    _, _, progress = read(cursor="a")
    assert progress.next_start == START


@st.composite
def servings(draw):
    """Pages that a server may send for five days: any cut, with repeats and strangers."""
    pages, left = [], list(range(5))
    while left or draw(st.booleans()):
        count = draw(st.integers(0, len(left)))
        days, left = left[:count], left[count:]
        before = [days[0] - 1] if days and days[0] and draw(st.booleans()) and pages else []
        days = before + days + draw(st.lists(st.sampled_from([-1, 5, 6]), max_size=1))
        pages.append(draw(st.permutations(days)))
        if len(pages) > 8:
            pages.append(left)
            break
    last = len(pages) - 1
    return [
        page(*days, cursor=None if index == last else f"page_{index}")
        for index, days in enumerate(pages)
    ]


@given(servings())
def test_however_it_is_served_every_bucket_comes_exactly_once(pages):
    progress = Progress(window=FIVE_DAYS, now=NOW)
    days = []
    for one in pages:
        try:
            accepted, notices = progress.accept(one)
        except PaginationError:
            # A bucket of more than a page ago cannot be told from another one.
            return
        assert {notice.code for notice in notices} <= {"repeated-bucket", "bucket-outside-range"}
        days += [one.start_time for one in accepted.data]
        if progress.done:
            break
    assert progress.done
    assert days == [START + day * DAY for day in range(5)]


@given(st.lists(st.lists(st.integers(-1, 6), max_size=4), max_size=6))
def test_whatever_is_served_nothing_comes_twice_or_out_of_order(served):
    progress = Progress(window=FIVE_DAYS, now=NOW)
    days = []
    for index, some in enumerate(served):
        try:
            accepted, _ = progress.accept(page(*some, cursor=f"page_{index}"))
        except PaginationError:
            break
        days += [(one.start_time - START) // DAY for one in accepted.data]
        if progress.done:
            break
    assert days == sorted(set(days))
    assert set(days) <= set(range(5))


def test_large_repeated_buckets_are_compared_in_steps():
    rows = bucket(0).results * 5000
    whole = attrs.evolve(bucket(0), results=rows)
    changed = attrs.evolve(whole, results=(*rows[:-1], *bucket(0, 2).results))
    for again, is_same in [(attrs.evolve(whole), True), (changed, False)]:
        progress = WindowProgress(window=FIVE_DAYS, now=NOW)
        result_of(progress.accept(page(whole, cursor="a"), ()))
        steps = progress.accept(page(again, bucket(1)), (whole,))
        for _ in range(5):
            next(steps)
        if is_same:
            assert [one.start_time for one in result_of(steps)[0].data] == [START + DAY]
        else:
            with pytest.raises(PaginationError, match="two different buckets"):
                result_of(steps)
