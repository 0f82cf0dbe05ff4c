"""Packing: the same values, whatever rows came before."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async._codec import packing
from usage_async._codec.packing import IN_BUCKETS, LOOSE, Column, Packer

COLUMNS = [
    Column("start_time", "time", "start"),
    Column("end_time", "time", "end"),
    *(Column(name, "figure", f"row.{name}") for name in ("first", "second", "third")),
    *(Column(name, "text", f"row.{name}") for name in ("model", "tier")),
    Column("batch", "flag", "row.batch"),
    Column("money", "decimal", "row.money"),
]
NAMES = [column.name for column in COLUMNS]

figures = st.none() | st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**63])
rows = st.builds(
    SimpleNamespace,
    **dict.fromkeys(["first", "second", "third"], figures),
    **dict.fromkeys(["model", "tier"], st.sampled_from([None, "", "a", "b"])),
    batch=st.sampled_from([None, False, True]),
    money=st.sampled_from([None, 1]),
)
buckets = st.builds(
    SimpleNamespace,
    start_time=st.integers(0, 2**40),
    end_time=st.integers(0, 2**40),
    results=st.lists(rows, min_size=1, max_size=3),
)


def plain(packer, values):
    """Values as they were before they were packed."""
    found = {}
    for name, column in values.items():
        known = list(packer.codes.get(name, ()))
        if column is None:
            found[name] = None
        elif known:
            # None comes first, and its code is -1.
            found[name] = [known[code + 1] for code in column]
        else:
            found[name] = list(column)
    return found


def expected(batch):
    """The values of each column; None for all nulls."""
    found = {}
    for column in COLUMNS:
        name = column.name
        if column.role == "time":
            found[name] = [getattr(b, name) * 1_000_000 for b in batch for _ in b.results]
        else:
            found[name] = [getattr(row, name) for b in batch for row in b.results]
    return found


def same(found, wanted):
    return all(
        found[name] == wanted[name] or (found[name] is None and set(wanted[name]) == {None})
        for name in NAMES
    )


@given(st.lists(st.lists(buckets, min_size=1, max_size=4), max_size=6))
def test_values_are_the_same_whatever_came_before(batches):
    packer = Packer(COLUMNS)
    for batch in batches:
        values = packer.pack(batch)
        assert set(values) == set(NAMES)
        assert same(plain(packer, values), expected(batch))


def row(**values):
    return SimpleNamespace(**{"first": 1, "second": None, "third": 3, "model": None, **values})


SOME = [Column(name, "figure", f"row.{name}") for name in ("first", "second", "third")]
SOME.append(Column("model", "text", "row.model"))


def packed(packer, *results):
    return packer.pack([SimpleNamespace(results=results)])


def test_a_layout_is_compiled_once_for_rows_of_one_kind():
    packer = Packer(SOME, LOOSE)
    packing._joiner.cache_clear()
    for _ in range(5):
        assert packed(packer, row(), row(first=2))["second"] is None
    assert packing._joiner.cache_info().misses == 1


def test_a_column_that_once_varied_does_so_from_then_on():
    packer = Packer(SOME, LOOSE)
    packing._joiner.cache_clear()
    for _ in range(5):
        assert set(packed(packer, row(), row())["second"] or [None]) == {None}
        assert packed(packer, row(second=1), row())["second"] == [1, None]
        assert packed(packer, row(first=None), row())["first"] == [None, 1]
        assert list(packed(packer, row(model="a"))["model"]) == [0]
    assert packing._joiner.cache_info().misses <= 4


def test_what_was_absent_is_not_lost():
    packer = Packer(SOME, LOOSE)
    assert packed(packer, row())["second"] is None
    assert list(packed(packer, row(second=5))["second"]) == [5]
    assert list(packed(packer, row(model="a"), row(model=None))["model"]) == [0, -1]


def test_a_sample_that_misleads_is_corrected_at_once():
    packer = Packer(SOME, LOOSE)
    odd = [SimpleNamespace(results=[row()])] * packing._SAMPLE
    values = packer.pack([*odd, SimpleNamespace(results=[row(second=7, first=None, model="b")])])
    assert values["second"][-1] == 7
    assert values["first"][-1] is None
    assert packer.codes["model"]["b"] == values["model"][-1]


def test_codes_count_up_from_the_first_value():
    packer = Packer([Column("model", "text", "row.model")], LOOSE)
    names = ["b", None, "a", "b", "c", None]
    values = packed(packer, *(row(model=name) for name in names))
    assert list(values["model"]) == [0, -1, 1, 0, 2, -1]
    assert list(packer.codes["model"]) == [None, "b", "a", "c"]


@pytest.mark.parametrize("loop", [IN_BUCKETS, LOOSE])
def test_rows_without_a_packed_column_are_packed_too(loop):
    packer = Packer([Column("model", "text", "row.model")], loop)
    bucket = SimpleNamespace(start_time=0, end_time=1, results=[row(model="a"), row(model="b")])
    assert list(packer.pack([bucket])["model"]) == [0, 1]
    only = Packer([Column("second", "figure", "row.second")], loop)
    bucket.results = [row(), row()]
    assert only.pack([bucket])["second"] is None
