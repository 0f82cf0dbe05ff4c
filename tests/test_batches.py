"""Batches on their way into a file: joining, names and digits change no value."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from usage_async._codec.batches import NameColumns, joined, spelled, spelled_schema

FIELDS = {"project_id": "project_name", "user_id": "user_name"}
TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([("n", pa.int64()), ("project_id", TEXT), ("user_id", TEXT)])
CARRYING = SCHEMA.append(pa.field("project_name", TEXT))

ids = st.sampled_from([None, "a", "b", "c", "", "d"])
runs = st.lists(st.lists(st.tuples(ids, ids, ids), min_size=1, max_size=5), min_size=1, max_size=5)


def batches_of(run, schema):
    """Batches of one run: dictionaries grow, and each begins with the one before."""
    known = {}
    for rows in run:
        arrays = [pa.array(range(len(rows)), pa.int64())]
        for name, texts in zip(schema.names[1:], zip(*rows, strict=True), strict=False):
            codes = known.setdefault(name, {})
            for text in filter(lambda each: each is not None, texts):
                codes.setdefault(text, len(codes))
            numbers = pa.array([codes.get(text) for text in texts], pa.int32())
            dictionary = pa.array(list(codes), pa.string())
            arrays.append(pa.DictionaryArray.from_arrays(numbers, dictionary))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def dictionary(batch, name):
    return batch.column(name).dictionary.to_pylist()


@given(runs)
def test_joined_batches_hold_the_same_rows(run):
    batches = list(batches_of(run, SCHEMA))
    whole = joined(batches)
    assert whole.to_pylist() == [row for batch in batches for row in batch.to_pylist()]
    assert whole.schema == SCHEMA


def name_in(names, dimension, identity):
    return names.get((dimension, identity))


@given(runs, st.lists(st.dictionaries(st.tuples(st.sampled_from([*FIELDS]), ids), ids), min_size=1))
def test_names_stand_beside_ids_and_a_name_that_a_row_has_stays(run, readings):
    for schema in (SCHEMA, CARRYING):
        columns, before = NameColumns(schema, FIELDS, ["project_name"]), []
        for number, batch in enumerate(batches_of(run, schema)):
            names = readings[min(number, len(readings) - 1)]
            added = columns.add(batch, names, name_in)
            assert added.schema == columns.schema
            for row, found in zip(batch.to_pylist(), added.to_pylist(), strict=True):
                for of_ids, name in FIELDS.items():
                    looked_up = (
                        name_in(names, of_ids, row[of_ids]) if row[of_ids] is not None else None
                    )
                    own = row.get(name)
                    assert found[name] == (looked_up if own is None else own)
                assert found.items() >= {k: v for k, v in row.items() if v is not None}.items()
            texts = dictionary(added, "project_name")
            # For Arrow's stream a dictionary only grows; for pandas it has each text once.
            assert texts[: len(before)] == before
            assert len(set(texts)) == len(texts)
            before = texts


@given(runs)
def test_each_combination_of_ids_is_unseen_once(run):
    columns = NameColumns(CARRYING, FIELDS, ["project_name", "user_email"])
    told = [
        (each["project_id"], each["user_id"], each["project_name"])
        for batch in batches_of(run, CARRYING)
        for each in columns.unseen(batch)
    ]
    rows = {row for rows in run for row in rows}
    assert len(set(told)) == len(told)
    assert set(told) <= rows
    assert {row for row in rows if row[:2] != (None, None)} <= set(told)


def test_a_name_is_looked_up_once_an_id():
    asked = []
    columns = NameColumns(SCHEMA, FIELDS, ())
    names = object()
    for batch in batches_of(
        [[("a", None, None)] * 9, [("a", "u", None), ("b", "u", None)]], SCHEMA
    ):
        columns.add(batch, names, lambda _names, _dimension, identity: asked.append(identity))
    assert asked == ["a", "b", "u"]


def test_digits_take_the_place_of_rounded_figures():
    schema = pa.schema(
        [("amount", pa.decimal128(38, 18)), ("amount_exact", pa.string()), ("unit", TEXT)]
    )
    batch = pa.RecordBatch.from_pylist([{"amount_exact": "0.5", "unit": "x"}], schema=schema)
    assert spelled(batch).to_pylist() == [{"amount": "0.5", "unit": "x"}]
    assert spelled(batch).schema == spelled_schema(schema)
