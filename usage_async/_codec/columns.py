"""Columns: pages, and values at hand, into record batches of Arrow.

Theory of operation. A page is read as `pages.decode` reads it, except that what the fast path takes
stays msgspec structs, whose fields go straight into arrays. None of our objects is made. What the
fast path refuses is read tolerantly into objects, and their fields go into the same arrays. So a
table does not depend on the path. The invariants:

- *Codes*: while a run lasts, its batches hold texts as codes, which are numbered once for the run.
  Dictionaries are attached when a batch is given. So a table has one dictionary a column.
- *Buckets stay apart*: the buckets of a page are spans of its batches, because the merge drops,
  sorts and compares buckets.
- *Exact or an error*: a figure that its column cannot hold is an error with its name and bucket.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cache
from itertools import accumulate, islice
from typing import (
    TYPE_CHECKING,
    Any,
)

import attrs
import msgspec

from usage_async._api.exact import NO_EXTRA, Extra, nest, plain
from usage_async._api.pages import UsageResponse, UsageTimeBucket
from usage_async._api.results import CostsResultAmount, UsageRow
from usage_async._codec.decoded import Decoded
from usage_async._codec.fast import ZEROS, collector_paused, exact, struct_decoder
from usage_async._codec.json_text import parse
from usage_async._codec.packing import IN_BUCKETS, LOOSE, Column, Packer, Values
from usage_async._codec.pages import decode, probe
from usage_async._codec.parsing import READER
from usage_async._codec.schemas import (
    MOST_WHOLE_DIGITS,
    SCALE,
    MisfitError,
    column_type,
    column_types,
    columns_of,
    fits_decimal,
    pyarrow,
    rounded,
    schema_of,
)
from usage_async.errors import EPOCH, ResponseError, UsageError

if TYPE_CHECKING:
    from usage_async._codec.redactor import Redactor
    from usage_async._codec.schemas import RecordBatch, Table

_SHORT_ROWS = 1 << 10
"""Rows below which a batch is joined with its neighbours: joining copies, at 0.2 µs a row."""

_MOST_SHOWN = 60
"""Characters of a number in an error."""


class ColumnBucket(msgspec.Struct, gc=False, eq=False):  # noqa: PLW1641 - its rows have no hash
    """A bucket whose rows are in a stored batch, in place of a `UsageTimeBucket`.

    It is a struct because there may be as many as rows, which the garbage collector would walk.

    Attributes:
        start_time: Unix seconds, inclusive.
        end_time: Unix seconds, exclusive.
        batch: The batch.
        start: Index of its first row.
        stop: Index behind its last row.
        more: Buckets with further rows, if it was cut.
        other_results: Rows of another or an unknown kind; they are in no table.
        extra: Unknown fields of the bucket; they are also in the `extra` of its rows.
    """

    start_time: int
    end_time: int
    batch: Any
    start: int
    stop: int
    more: tuple[ColumnBucket, ...] = ()
    other_results: tuple[Any, ...] = ()
    extra: Any = NO_EXTRA

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColumnBucket):
            return NotImplemented
        if self._around() != other._around():
            return False
        one, two = self._rows(), other._rows()
        # Both are of one run, so equal texts have equal codes.
        if not one.drop_columns(["extra"]).equals(two.drop_columns(["extra"])):
            return False
        return _are_same(one["extra"], two["extra"])

    def __ne__(self, other: object) -> bool:
        # That of the base would compare identities.
        return not self == other

    def _around(self) -> tuple[Any, ...]:
        return self.start_time, self.end_time, self.other_results, self.extra

    def _rows(self) -> Table:
        table: Table = pyarrow().Table.from_batches(slices([self]), self.batch.schema)
        return table


def _are_same(one: Any, other: Any) -> bool:
    """Compare unknown fields, whose objects are equal in any order of their fields."""
    if one.equals(other):
        return True
    texts = zip(one.to_pylist(), other.to_pylist(), strict=True)
    return all(a == b or (a and b and parse(a) == parse(b)) for a, b in texts)


class Columns:
    """Maker of the batches of one table.

    Args:
        kind: Class of the rows.
        exact: Round what has more decimal places than a column, and add the digits as texts.
        loose: The rows have no bucket, and so no times.

    Attributes:
        kind: Class of the rows.
        schema: Schema of the table.
    """

    def __init__(self, kind: Any, *, exact: bool = False, loose: bool = False) -> None:
        self.kind = kind
        self._pa = pyarrow()
        self._exact = exact
        self._columns = columns_of(kind, exact=exact, loose=loose)
        self.schema = schema_of(self._columns)
        self._stored = schema_of(self._columns, stored=True)
        packed = [column for column in self._columns if column.role not in ("exact", "extra")]
        is_bare = loose or kind is UsageRow
        self._packer = Packer(packed, LOOSE if is_bare else IN_BUCKETS)
        self._dictionaries: dict[str, Any] = {}

    def store(self, buckets: Sequence[Any], *, bare: bool = False) -> RecordBatch:
        """Put the rows of some buckets into a stored batch.

        Args:
            buckets: Buckets of structs or of our own objects.
            bare: They are structs, whose decimals are text, and which have no unknown fields.

        Raises:
            UsageError: A figure does not fit into its column.
            msgspec.ValidationError: A text of a struct is no decimal.
        """
        buckets = [bucket for bucket in buckets if bucket.results]
        if not buckets:
            empty: RecordBatch = self._pa.RecordBatch.from_pylist([], schema=self._stored)
            return empty
        count = sum([len(bucket.results) for bucket in buckets])
        values = self._packer.pack(buckets)
        arrays: list[Any] = []
        digits: list[str | None] = []
        for column in self._columns:
            match column.role:
                case "decimal":
                    found: Any = values[column.name]
                    digits, is_safe = _digits(found)
                    arrays.append(self._decimals(column, digits, buckets, is_safe=is_safe))
                case "exact":
                    arrays.append(self._array(column, digits, count, buckets))
                case "extra":
                    texts = [] if bare else _extras(buckets)
                    arrays.append(
                        self._array(column, texts if any(texts) else None, count, buckets)
                    )
                case _:
                    arrays.append(self._array(column, values[column.name], count, buckets))
        batch: RecordBatch = self._pa.RecordBatch.from_arrays(arrays, schema=self._stored)
        return batch

    def _array(self, column: Column, values: Values, count: int, buckets: Sequence[Any]) -> Any:
        pa = self._pa
        kind = column_type(column, stored=True)
        if isinstance(values, array):
            if column.role not in ("text", "flag"):
                return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(values)])
            data = values.tobytes()
            if data == b"\xff" * len(data):
                values = None
            elif column.role == "flag":
                values = [(False, True, None)[code] for code in values]
            elif b"\xff\xff\xff\xff" not in data:
                return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(data)])
            else:
                values = [None if code < 0 else code for code in values]
        if values is None:
            return pa.nulls(count, kind)
        try:
            return pa.array(values, kind)
        except (OverflowError, pa.ArrowInvalid):
            raise _misfit(column, values, buckets) from None

    def _decimals(
        self, column: Column, digits: list[str | None], buckets: Sequence[Any], *, is_safe: bool
    ) -> Any:
        pa, kind = self._pa, column_types()["decimal"]
        if is_safe:
            return pa.array(digits, pa.string()).cast(kind)
        values = [None if text is None else Decimal(text) for text in digits]
        kept = values
        if self._exact:
            kept = [None if value is None else rounded(value) for value in values]
        if not all(value is None or fits_decimal(value) for value in kept):
            raise _misfit(column, values, buckets, kept)
        return pa.array(kept, kind)

    def keep(self, buckets: Sequence[Any], *, bare: bool = False) -> tuple[ColumnBucket, ...]:
        """Put the rows of a page's buckets into a stored batch.

        Args:
            buckets: As for `store`.
            bare: As for `store`.

        Raises:
            UsageError: A figure does not fit into its column.
            msgspec.ValidationError: A text of a struct is no decimal.
        """
        try:
            batch = self.store(buckets, bare=bare)
        except UsageError:
            if all(map(_has_instants, buckets)):
                raise
            # The merge drops such a bucket, or refuses it in words of its own.
            buckets = [b if _has_instants(b) else _emptied(b) for b in buckets]
            batch = self.store(buckets, bare=bare)
        stops = list(accumulate([len(bucket.results) for bucket in buckets]))
        spans = zip(buckets, [0, *stops], stops, strict=False)
        kept = [ColumnBucket(b.start_time, b.end_time, batch, at, end) for b, at, end in spans]
        if not bare:
            for made, bucket in zip(kept, buckets, strict=True):
                made.other_results, made.extra = bucket.other_results, bucket.extra
        return tuple(kept)

    def join(self, one: ColumnBucket, more: ColumnBucket) -> ColumnBucket:
        """Put two parts of a bucket together."""
        one.more += (more,)
        one.other_results += more.other_results
        return one

    def stored(self, page: UsageResponse[Any]) -> Iterable[RecordBatch]:
        """Give the rows of a page as stored batches, in the order of its buckets."""
        chunks = Chunks()
        buckets: Any = page.data
        for batch in slices(buckets):
            chunks.add(batch)
        return chunks.all()

    def batches(self, page: UsageResponse[Any]) -> Iterable[RecordBatch]:
        """Give the rows of a page as record batches, in the order of its buckets."""
        return map(self.finished, self.stored(page))

    def finished(self, batch: RecordBatch) -> RecordBatch:
        """Attach the dictionaries to a stored batch."""
        arrays = [
            self._pa.DictionaryArray.from_arrays(stored, self._dictionary(column.name), safe=False)
            if column.role == "text"
            else stored
            for column, stored in zip(self._columns, batch.columns, strict=True)
        ]
        made: RecordBatch = self._pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return made

    def _dictionary(self, name: str) -> Any:
        pa, codes = self._pa, self._packer.codes[name]
        known = self._dictionaries.get(name)
        if known is None:
            known = pa.array([], pa.string())
        if len(codes) - 1 > len(known):
            # None, which has a code but no entry, comes first.
            more = pa.array(list(islice(codes, len(known) + 1, None)), pa.string())
            known = pa.concat_arrays([known, more])
        self._dictionaries[name] = known
        return known

    def table(self, batches: Iterable[RecordBatch], metadata: Mapping[str, str]) -> Table:
        """Make a table of stored batches, which have one dictionary a column."""
        made = self._pa.Table.from_batches(map(self.finished, batches), self.schema)
        table: Table = made.replace_schema_metadata(metadata)
        return table


def _has_instants(bucket: Any) -> bool:
    most = 2**63 // 10**6
    return all(-most < time < most for time in (bucket.start_time, bucket.end_time))


def _emptied(bucket: Any) -> UsageTimeBucket[Any]:
    return UsageTimeBucket(start_time=bucket.start_time, end_time=bucket.end_time)


class Chunks:
    """Batches of one schema, of which short ones are joined."""

    def __init__(self) -> None:
        self._long: list[RecordBatch] = []
        self._short: list[RecordBatch] = []
        self._rows = 0

    def add(self, batch: RecordBatch) -> None:
        """Add a batch at the end."""
        if batch.num_rows >= _SHORT_ROWS:
            self._join()
            self._long.append(batch)
            return
        self._short.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _SHORT_ROWS:
            self._join()

    def all(self) -> list[RecordBatch]:
        """Give all rows, in order."""
        self._join()
        return self._long

    def _join(self) -> None:
        if self._short:
            self._long.append(pyarrow().concat_batches(self._short))
            self._short, self._rows = [], 0


def slices(buckets: Iterable[ColumnBucket]) -> Iterator[RecordBatch]:
    """Give the rows of buckets, those that are side by side in one batch as one slice of it."""
    batch, start, stop = None, 0, 0
    for bucket in _parts(buckets):
        if bucket.batch is not batch or bucket.start != stop:
            if batch is not None and stop > start:
                yield batch.slice(start, stop - start)
            batch, start = bucket.batch, bucket.start
        stop = bucket.stop
    if batch is not None and stop > start:
        yield batch.slice(start, stop - start)


def _parts(buckets: Iterable[ColumnBucket]) -> Iterator[ColumnBucket]:
    for bucket in buckets:
        yield bucket
        if bucket.more:
            yield from bucket.more


def _misfit(
    column: Column,
    values: Sequence[int | Decimal | None],
    buckets: Sequence[Any],
    kept: Sequence[Decimal | None] | None = None,
) -> MisfitError:
    """Describe the first value that does not fit into its column.

    Args:
        column: The column.
        values: Its values, as they were sent.
        buckets: The buckets whose rows have them.
        kept: What would be kept of decimals, rounded perhaps.
    """
    fits = _fits_int64 if kept is None else fits_decimal
    tried = values if kept is None else kept
    number = next(n for n, value in enumerate(tried) if value is not None and not fits(value))
    what = f"{column.name} of {_place(number, buckets)}"
    value: Any = values[number]
    if kept is None or not fits_decimal(rounded(value)):
        text = str(value) if kept is None else plain(value)
        shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
        return MisfitError(
            f"{what} is {shown}, which the {column_types()[column.role]} of a table cannot hold"
        )
    return MisfitError(
        f"{what} has {-value.as_tuple().exponent} decimal places, and a table has {SCALE}:"
        f" exact=True rounds it, and keeps all digits as text in {column.name}_exact",
        is_long=True,
    )


def _place(number: int, buckets: Sequence[Any]) -> str:
    """Name the bucket of a row, or its number if it has none."""
    rows = [(bucket, row) for bucket in buckets for row in bucket.results]
    bucket, row = rows[number]
    start = getattr(bucket, "start_time", getattr(row, "start_time", None))
    return f"row {number}" if start is None else f"the bucket that starts at {_instant(start)}"


def _instant(seconds: int) -> str:
    try:
        return f"{EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    except OverflowError:  # it has no date
        return str(seconds)


def _fits_int64(value: Any) -> bool:
    return bool(-(2**63) <= value < 2**63)


_WHOLE = rf"-?(?:0|[1-9][0-9]{{0,{MOST_WHOLE_DIGITS - 1}}})"
_is_safe_fraction = re.compile(rf"{_WHOLE}\.[0-9]{{1,{SCALE}}}\Z").match
_is_safe = re.compile(rf"{_WHOLE}(?:\.[0-9]{{1,{SCALE}}})?\Z").match
"""Texts of numbers that fit into a column. Of others Arrow may make anything: of 1e30, 18 times
10 to the power of 18, without an error."""


def _digits(values: Sequence[Any]) -> tuple[list[str | None], bool]:
    """Write decimals of structs or of our own objects as plain texts.

    Returns:
        The texts, and True if Arrow can read all of them.

    Raises:
        msgspec.ValidationError: A text of a struct is no decimal.
    """
    texts = [
        text
        if value.__class__ is str
        and _is_safe_fraction(text := value.removesuffix(ZEROS).rstrip("0"))
        else None
        for value in values
    ]
    is_safe = True
    for number, value in enumerate(values):
        if texts[number] is None and value is not None:
            texts[number] = text = plain(exact(value))
            is_safe = is_safe and bool(_is_safe(text))
    return texts, is_safe


def _extras(buckets: Sequence[Any]) -> list[str | None]:
    return [_extra(row, bucket) for bucket in buckets for row in bucket.results]


def _extra(row: Any, bucket: Any) -> str | None:
    """Write the unknown fields of a row, of its amount and of its bucket as JSON.

    Those of the amount are under `amount`, and those of the bucket under `bucket`; a `_` follows
    where the row has an unknown field of this name.
    """
    amount: Any = getattr(row, "amount", None)
    found: Any = row.extra
    if isinstance(amount, CostsResultAmount):
        found = nest(found, "amount", amount.extra)
    found = nest(found, "bucket", getattr(bucket, "extra", NO_EXTRA))
    return _JSON.encode(found).decode() if found else None


def _as_json(value: Any) -> Any:
    """Write what is in `extra` as `dumps` does, which takes three times as long."""
    return dict(value) if isinstance(value, Extra) else msgspec.Raw(str(value).encode())


_JSON = msgspec.json.Encoder(enc_hook=_as_json)


_structs = cache(struct_decoder)


@attrs.frozen
class _ColumnReader:
    """The fast path into columns; `pages.decode` uses it in place of `READER`."""

    columns: Columns

    def loads_fast(self, data: bytes, cls: Any) -> Any:
        read = _structs(cls)
        if read is None:
            return None
        try:
            with collector_paused():
                found = read(data)
                if isinstance(found, list):
                    return self.columns.keep(found, bare=True)
                kept: Any = self.columns.keep(found.data, bare=True)
        except (msgspec.ValidationError, ArithmeticError):
            return None
        return UsageResponse(data=kept, has_more=found.has_more, next_page=found.next_page)

    fast = True
    loads = staticmethod(READER.loads)
    loads_learned = staticmethod(READER.loads_learned)
    loads_tolerant = staticmethod(READER.loads_tolerant)


@attrs.frozen
class ColumnDecoder:
    """Reader of an endpoint's pages into columns, for `fetch`.

    Attributes:
        columns: Maker of the batches, of one run.
    """

    columns: Columns

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:
        """See `pages.probe`."""
        return probe(body, self.columns.kind, redactor=redactor)

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, Decoded[Any]]:
        """See `pages.decode`.

        Raises:
            ResponseError: It is not a page; `path` says where.
            UsageError: A figure does not fit into its column.
        """
        using: Any = _ColumnReader(self.columns)
        return decode(body, self.columns.kind, using, redactor, self.columns)
