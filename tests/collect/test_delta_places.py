"""Places as numbers in a Delta log: they are read back as they were written."""

import attrs
from collecting import DAY, HOUR
from hypothesis import given
from hypothesis import strategies as st

from usage_async.collect import Place
from usage_async.collect.delta.places import numbers_of, packed, read_places, unpacked

STARTS = st.dictionaries(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 9), st.booleans())


@given(numbers=STARTS, width=st.sampled_from([60, HOUR, DAY]))
def test_missing_buckets_are_written_as_runs(numbers, width):
    missing = tuple(number * width for number in sorted(numbers))
    unread = tuple(start for start in missing if numbers[start // width])
    runs = packed(missing, {*unread}, width)
    assert all(-(2**63) <= each < 2**63 for each in runs)
    assert unpacked(runs, width) == (missing, unread)


def test_a_long_gap_is_one_number():
    starts = range(0, 20_000 * HOUR, HOUR)
    assert len(packed(starts, set(), HOUR)) == 1
    assert len(packed(starts, {*starts}, HOUR)) == 1
    assert len(packed(starts, {*starts[:9]}, HOUR)) == 2


SECONDS = st.none() | st.integers(-(2**30) + 1, 3_200_000_000)


TIMES = dict.fromkeys(set(attrs.fields_dict(Place)) - {"number", "missing", "unread"}, SECONDS)
TIMES["wanted_start"] = st.none() | st.integers(-(2**30) // HOUR, 3_200_000_000 // HOUR).map(
    lambda number: number * HOUR
)


@given(place=st.builds(Place, number=st.integers(1, 2**31 - 1), **TIMES))
def test_a_place_is_read_back_out_of_its_numbers(place):
    numbers = numbers_of("a", place, HOUR)
    assert all(-(2**63) <= each < 2**63 for each in numbers.values())

    def read(names):
        return [numbers.get(name) for name in names]

    assert read_places(read, ["a", "b"], HOUR) == [place, Place()]
