"""Batches: record batches of a run on their way into a file, joined, with names, with all digits.

The batches of a run number their texts once: each dictionary begins with the one before it. The
same holds for what is made here, as the stream format of Arrow wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from usage_async._codec.schemas import pyarrow

if TYPE_CHECKING:
    from usage_async._codec.schemas import RecordBatch, Schema

_EXACT = "_exact"
"""Ending of the names of columns that hold the digits of others."""


def joined(batches: Sequence[RecordBatch]) -> RecordBatch:
    """Join adjacent batches of one run; the last one has the longest dictionaries."""
    *_, last = batches
    if len(batches) == 1:
        return last
    pa = pyarrow()
    arrays = []
    for n, column in enumerate(last.columns):
        parts: list[Any] = [batch.column(n) for batch in batches]
        if pa.types.is_dictionary(column.type):
            codes = pa.concat_arrays([part.indices for part in parts])
            arrays.append(_coded(codes, parts[-1].dictionary))
        else:
            arrays.append(pa.concat_arrays(parts))
    made: RecordBatch = pa.RecordBatch.from_arrays(arrays, schema=last.schema)
    return made


def spelled_schema(schema: Schema) -> Schema:
    """Give the schema of what `spelled` gives."""
    made: Schema = pyarrow().schema(
        [(name, schema.field(taken).type) for name, taken in _spelled(schema.names)]
    )
    return made


def spelled(batch: RecordBatch) -> RecordBatch:
    """Put the digits of exact money and quantities in place of the rounded figures."""
    columns = {name: batch.column(taken) for name, taken in _spelled(batch.schema.names)}
    made: RecordBatch = pyarrow().RecordBatch.from_pydict(columns)
    return made


def _spelled(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Give the columns that are kept, each with the name of the one that it is taken from."""
    for name in names:
        if not name.endswith(_EXACT):
            yield name, name + _EXACT if name + _EXACT in names else name


class NameColumns:
    """Columns of names beside columns of ids.

    A name is looked up once for each id. A name that a row has itself stays.

    Args:
        schema: Schema of the batches.
        fields: The columns of names, by column of ids.
        beside: Columns of texts that are of interest to who looks names up.

    Attributes:
        schema: Schema with the added columns.
    """

    def __init__(self, schema: Schema, fields: Mapping[str, str], beside: Sequence[str]) -> None:
        self._pa = pa = pyarrow()
        self._fields = {ids: name for ids, name in fields.items() if ids in schema.names}
        self._told = [name for name in (*self._fields, *beside) if name in schema.names]
        self._seen: set[tuple[int | None, ...]] = set()
        self._texts = {name: _Texts(pa) for name in self._fields.values()}
        made = []
        for field in schema:
            made.append(field)
            name = self._fields.get(field.name)
            if name is not None and name not in schema.names:
                made.append(pa.field(name, field.type))
        self.schema: Schema = pa.schema(made)

    def unseen(self, batch: RecordBatch) -> list[dict[str, Any]]:
        """Give each combination of ids that no earlier batch had, and of what is beside them."""
        columns: Any = {name: batch.column(name) for name in self._told}
        used = {name: column for name, column in columns.items() if column.null_count < len(column)}
        if not used.keys() & self._fields.keys():
            return []
        codes = self._pa.table({name: column.indices for name, column in used.items()})
        distinct = codes.group_by(list(used), use_threads=False).aggregate([])
        values = [
            distinct[name].to_pylist() if name in used else [None] * len(distinct)
            for name in columns
        ]
        found = [each for each in zip(*values, strict=True) if each not in self._seen]
        self._seen.update(found)
        return [
            {
                name: None if code is None else column.dictionary[code].as_py()
                for (name, column), code in zip(columns.items(), each, strict=True)
            }
            for each in found
        ]

    def add(
        self, batch: RecordBatch, names: object, name_in: Callable[[Any, str, str], str | None]
    ) -> RecordBatch:
        """Add the columns to a batch.

        Args:
            batch: The batch.
            names: The names; other names are another object.
            name_in: Gives the name of an id: `name_in(names, column, identity)`.
        """
        made: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
        for ids, name in self._fields.items():
            texts, column = self._texts[name], made[ids]
            looked_up = texts.codes(column.dictionary, partial(name_in, names, ids), names)
            codes = looked_up.take(column.indices)
            if (own := made.get(name)) is not None:
                codes = texts.codes(own.dictionary, str, None).take(own.indices).fill_null(codes)
            made[name] = _coded(codes, texts.dictionary())
        arrays = [made[name] for name in self.schema.names]
        added: RecordBatch = self._pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return added


class _Texts:
    """Texts of a column of names, each numbered once. Two ids may have one name."""

    def __init__(self, pa: Any) -> None:
        self._pa = pa
        self._numbers: dict[str, int] = {}
        self._dictionary = pa.array([], pa.string())
        self._found: dict[bool, tuple[object, Any]] = {}

    def codes(self, keys: Any, look_up: Callable[[str], str | None], names: object) -> Any:
        """Give the number of the text of each key; null where there is none.

        Args:
            keys: Keys, which begin with those of the call before.
            look_up: Gives the text of a key.
            names: The object that it is looked up in; None if it is the key itself.
        """
        before, known = self._found.get(names is None, (None, None))
        if known is None or before is not names:
            known = self._pa.array([], self._pa.int32())
        if len(known) < len(keys):
            texts = map(look_up, keys.slice(len(known)).to_pylist())
            numbers = [None if text is None else self._number(text) for text in texts]
            more = self._pa.array(numbers, self._pa.int32())
            known = self._pa.concat_arrays([known, more])
        self._found[names is None] = names, known
        return known

    def _number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def dictionary(self) -> Any:
        """Give the texts by number."""
        known = self._dictionary
        if len(known) < len(self._numbers):
            more = self._pa.array(list(islice(self._numbers, len(known), None)), self._pa.string())
            self._dictionary = self._pa.concat_arrays([known, more])
        return self._dictionary


def _coded(codes: Any, dictionary: Any) -> Any:
    return pyarrow().DictionaryArray.from_arrays(codes, dictionary, safe=False)
