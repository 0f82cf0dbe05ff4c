"""Places: how far a feed was collected, and from where it is read again."""

import attrs
import pytest
from collecting import COMPLETIONS, COSTS, DAY, HOUR, START, snapshot, usage
from hypothesis import given
from hypothesis import strategies as st

from usage_async.collect import Place, Run
from usage_async.collect.values import MISSING_FOR

MONTH = MISSING_FOR.days * DAY
NOW = START + 100 * DAY


def after(place=None, *, start, end, as_of=NOW, begun=None, missing=(), width=HOUR):
    """The place after a snapshot of a range, of which all but the missing buckets were sent."""
    place = Place() if place is None else place
    buckets = {each: [] for each in range(start, end, width) if each not in missing}
    made = snapshot(place, buckets, start=start, as_of=as_of, begun=begun)
    made = attrs.evolve(made, end_time=end, missing=tuple(missing))
    return made.next_place()


def test_a_first_snapshot_is_read_again_from_what_may_still_change():
    place = after(start=NOW - 10 * DAY, end=NOW)
    assert place == Place(
        number=1,
        first_start=NOW - 10 * DAY,
        start_time=NOW - 3 * DAY,
        covered_to=NOW,
        ended_through=NOW,
        settled_through=NOW - 3 * DAY,
        as_of=NOW,
    )


def at(*, number=1, first, start, covered, ended=None, settled=None, missing=(), as_of=NOW):
    return Place(
        number=number,
        first_start=first,
        start_time=start,
        covered_to=covered,
        ended_through=covered if ended is None else ended,
        settled_through=start if settled is None else settled,
        missing=missing,
        as_of=as_of,
    )


HELD = at(first=NOW - 10 * DAY, start=NOW - 3 * DAY, covered=NOW)
LATER = NOW + HOUR


@pytest.mark.parametrize(
    ("place", "given", "expected"),
    [
        pytest.param(
            None, {"start": NOW - 2 * DAY, "end": NOW}, {"start_time": NOW - 2 * DAY}, id="young"
        ),
        pytest.param(
            None,
            {"start": NOW - 50 * DAY, "end": NOW - 40 * DAY},
            {"start_time": NOW - 40 * DAY, "covered_to": NOW - 40 * DAY},
            id="the first step of a back-fill",
        ),
        pytest.param(
            None,
            {"start": NOW - HOUR, "end": NOW + HOUR, "as_of": NOW + 10},
            {"ended_through": NOW + 10, "covered_to": NOW + HOUR},
            id="a running bucket",
        ),
        pytest.param(
            HELD,
            {"start": NOW - 3 * DAY, "end": LATER, "as_of": LATER},
            {"start_time": LATER - 3 * DAY, "covered_to": LATER, "first_start": NOW - 10 * DAY},
            id="an hour later",
        ),
        pytest.param(
            HELD,
            {"start": NOW - 3 * DAY, "end": NOW, "missing": [NOW - 2 * DAY]},
            {"start_time": NOW - 3 * DAY, "missing": (NOW - 2 * DAY,)},
            id="missing and unsettled",
        ),
        pytest.param(
            attrs.evolve(HELD, start_time=NOW - 9 * DAY),
            {"start": NOW - 9 * DAY, "end": NOW, "missing": [NOW - 8 * DAY]},
            {"start_time": NOW - 8 * DAY, "missing": (NOW - 8 * DAY,)},
            id="missing and settled",
        ),
        pytest.param(
            at(first=NOW - 10 * DAY, start=NOW - 3 * DAY, covered=NOW, ended=NOW - HOUR),
            {"start": NOW - 3 * DAY, "end": NOW, "missing": [NOW - 2 * HOUR, NOW - HOUR]},
            {"missing": (NOW - 2 * HOUR, NOW - HOUR), "unread": (NOW - HOUR,)},
            id="missing after it was read, and before",
        ),
        pytest.param(
            attrs.evolve(
                HELD,
                start_time=NOW - 9 * DAY,
                missing=(NOW - 8 * DAY,),
                unread=(NOW - 8 * DAY,),
            ),
            {"start": NOW - 9 * DAY, "end": NOW},
            {"start_time": NOW - 3 * DAY, "missing": (), "unread": ()},
            id="no longer missing",
        ),
        pytest.param(
            at(first=NOW - 90 * DAY, start=NOW - MONTH - HOUR, covered=NOW),
            {"start": NOW - MONTH - HOUR, "end": NOW, "missing": [NOW - MONTH - HOUR]},
            {"start_time": NOW - 3 * DAY, "missing": (NOW - MONTH - HOUR,)},
            id="missing for a month",
        ),
        pytest.param(
            at(first=NOW - 90 * DAY, start=NOW - MONTH, covered=NOW),
            {"start": NOW - MONTH, "end": NOW, "missing": [NOW - MONTH]},
            {"start_time": NOW - MONTH, "missing": (NOW - MONTH,)},
            id="missing for nearly a month",
        ),
        pytest.param(
            HELD,
            {"start": NOW - 4 * DAY, "end": NOW - DAY, "as_of": NOW - DAY},
            {
                "start_time": NOW - 3 * DAY,
                "covered_to": NOW,
                "ended_through": NOW,
                "as_of": NOW - DAY,
            },
            id="a clock that was set back",
        ),
        pytest.param(
            HELD,
            {"start": NOW - 20 * DAY, "end": NOW - 15 * DAY, "begun": NOW - 20 * DAY},
            {"first_start": NOW - 10 * DAY, "start_time": NOW - 3 * DAY, "covered_to": NOW},
            id="an earlier start, before the gap is closed",
        ),
        pytest.param(
            HELD,
            {
                "start": NOW - 20 * DAY,
                "end": NOW - 10 * DAY,
                "begun": NOW - 20 * DAY,
                "missing": [NOW - 11 * DAY],
            },
            {"first_start": NOW - 20 * DAY, "start_time": NOW - 11 * DAY},
            id="an earlier start, with one missing",
        ),
        pytest.param(
            at(first=NOW - DAY, start=NOW - DAY, covered=NOW),
            {"start": NOW - 2 * DAY, "end": NOW, "begun": NOW - 2 * DAY},
            {"first_start": NOW - 2 * DAY, "start_time": NOW - 2 * DAY},
            id="an earlier start that is not settled",
        ),
        pytest.param(
            HELD,
            {"start": NOW - 3 * DAY, "end": LATER, "as_of": LATER, "begun": NOW - DAY},
            {"first_start": NOW - 10 * DAY, "start_time": LATER - 3 * DAY},
            id="a later start",
        ),
    ],
)
def test_a_place_after_a_snapshot(place, given, expected):
    found = attrs.asdict(after(place, **given))
    assert {name: found[name] for name in expected} == expected
    assert found["number"] == (place.number if place else 0) + 1


def test_a_place_is_at_the_start_of_a_bucket():
    day = START + 5 * DAY
    made = snapshot(Place(), [[]] * 5, feed=COSTS, as_of=day - 7 * HOUR)
    assert made.next_place().start_time == START + DAY
    assert made.next_place().ended_through == day - 7 * HOUR


@pytest.mark.parametrize(
    ("place", "start", "expected"),
    [
        (Place(), START, False),
        (HELD, NOW - 10 * DAY, True),
        (HELD, NOW - 10 * DAY - HOUR, False),
        (HELD, NOW - HOUR, True),
        (HELD, NOW, False),
        (attrs.evolve(HELD, ended_through=NOW - 1), NOW - HOUR, False),
        (attrs.evolve(HELD, missing=(NOW - HOUR,), unread=(NOW - HOUR,)), NOW - HOUR, False),
        (attrs.evolve(HELD, missing=(NOW - HOUR,)), NOW - HOUR, True),
    ],
)
def test_a_bucket_was_read_if_it_was_sent_after_its_end(place, start, expected):
    assert place.was_read(start, start + HOUR) is expected


@pytest.mark.parametrize(
    ("covered", "unread", "expected"),
    [(None, (), 0), (NOW, (), 0), (NOW + HOUR, (), 0), (NOW - HOUR, (), 1), (NOW - DAY, (1,), 25)],
)
def test_missing_are_gaps_and_what_was_not_sent_since_the_last_bucket(covered, unread, expected):
    place = Place(covered_to=covered, missing=unread, unread=unread)
    assert place.missing_at(NOW + 60, HOUR) == expected


@given(
    ranges=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 30), st.sets(st.integers(0, 70), max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_a_place_never_passes_what_may_still_change(ranges):
    place, now = Place(), NOW
    for first, days, missing in ranges:
        begun = NOW - first * DAY
        start = begun if place.start_time is None or begun < place.first_start else place.start_time
        end = min(start + days * DAY, now)
        if end <= start:
            continue
        gone = [start + number * HOUR for number in missing if start + number * HOUR < end]
        place = after(place, start=start, end=end, as_of=now, begun=begun, missing=gone)
        assert place.first_start <= place.start_time <= place.covered_to
        young = [each for each in place.missing if each >= max(now - MONTH, place.first_start)]
        is_first = place.start_time == place.first_start
        assert is_first or place.start_time <= min([now - 3 * DAY, *young])
        now += HOUR


def test_a_snapshot_shows_its_range_and_its_size_and_no_rows():
    made = snapshot(Place(), [[usage(1)], []])
    assert repr(made) == (
        f"Snapshot('acme', 'completions:1h:project+model', {START}, {START + 2 * HOUR}, rows=1)"
    )


def test_a_run_counts_nothing_by_default():
    run = Run(organization="a", feed=COMPLETIONS, started_at=1, seconds=0.5)
    assert (run.rows, run.missing, run.error) == (0, 0, None)
