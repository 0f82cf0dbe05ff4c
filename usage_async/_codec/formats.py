"""Formats: writers of record batches into an open file. All of it blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol

from usage_async._api.exact import plain
from usage_async._codec.schemas import pyarrow

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

ROW_GROUP = 100_000
"""Rows of a row group of Parquet."""


class Writer(Protocol):
    """Writer of record batches into one file."""

    def write(self, batch: RecordBatch, /) -> None:
        """Take a batch."""

    def close(self, metadata: Mapping[str, str], /) -> None:
        """Write what is left and the end of the file, which stays open.

        Args:
            metadata: Facts about the rows that are known only at the end.
        """


class _Parquet:
    """Writer of Parquet, in row groups of one size, compressed by zstd."""

    def __init__(self, file: IO[bytes], schema: Schema) -> None:
        pa = pyarrow()
        import pyarrow.parquet as pq

        self._table, self._schema = pa.Table, schema
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self._waiting: list[RecordBatch] = []
        self._rows = 0

    def write(self, batch: RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP:
            self._flush(self._rows - self._rows % ROW_GROUP)

    def close(self, metadata: Mapping[str, str]) -> None:
        try:
            self._flush(self._rows)
            self._writer.add_key_value_metadata(dict(metadata))
        finally:
            self._writer.close()

    def _flush(self, rows: int) -> None:
        # Dictionaries grow from batch to batch, and a row group has one.
        table = self._table.from_batches(self._waiting, self._schema).unify_dictionaries()
        self._waiting = table.slice(rows).to_batches()
        self._rows -= rows
        self._writer.write_table(table.slice(0, rows), ROW_GROUP)


class _Arrow:
    """Writer of Arrow's IPC stream, which also fits into a pipe. It has no place for metadata.

    A dictionary that differs from that of the batch before is written whole, because polars reads
    no deltas.
    """

    def __init__(self, file: IO[bytes], schema: Schema) -> None:
        self._pa = pyarrow()
        self._schema = schema
        self._writer = self._pa.ipc.new_stream(file, schema)

    def write(self, batch: RecordBatch) -> None:
        columns = [self._shortened(column) for column in batch.columns]
        self._writer.write_batch(self._pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def _shortened(self, column: Any) -> Any:
        # The dictionary of the whole run, written with every batch, would be quadratic.
        if self._pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column):
            return column.dictionary_decode().dictionary_encode()
        return column

    def close(self, _: Mapping[str, str]) -> None:
        self._writer.close()


class _Csv:
    """Writer of CSV. Null is an empty cell, and an empty text is `""`.

    Of its own accord Arrow writes decimals as `0E-18`, and times with six zeros and slowly: finding
    the offset of UTC takes 1 µs each. So both are written as texts.
    """

    def __init__(self, file: IO[bytes], schema: Schema) -> None:
        self._pa = pyarrow()
        from pyarrow import compute, csv

        types = self._pa.types
        self._texts = {types.is_timestamp: self._times, types.is_decimal: self._decimals}
        self._compute = compute
        empty = [self._column(self._pa.nulls(0, field.type)) for field in schema]
        self._schema = self._pa.RecordBatch.from_arrays(empty, schema.names).schema
        self._writer = csv.CSVWriter(file, self._schema)

    def write(self, batch: RecordBatch) -> None:
        columns = list(map(self._column, batch.columns))
        self._writer.write_batch(self._pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self, _: Mapping[str, str]) -> None:
        self._writer.close()

    def _column(self, column: Any) -> Any:
        write = next((f for is_one, f in self._texts.items() if is_one(column.type)), None)
        return write(column) if write else column

    def _times(self, column: Any) -> Any:
        text = column.cast(self._pa.timestamp("s")).cast(self._pa.string())
        text = self._compute.replace_substring(text, " ", "T")
        return self._compute.binary_join_element_wise(text, "Z", "")

    def _decimals(self, column: Any) -> Any:
        texts = [None if value is None else plain(value) for value in column.to_pylist()]
        return self._pa.array(texts, self._pa.string())


WRITERS: Mapping[str, Callable[[IO[bytes], Schema], Writer]] = {
    "parquet": _Parquet,
    "arrow": _Arrow,
    "csv": _Csv,
}
"""The writer of each format."""
