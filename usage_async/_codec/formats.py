"""Formats: writers of record batches into an open file. All of it blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Protocol

from usage_async._codec.columns import pyarrow

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
    """Writer of Arrow's IPC stream."""

    def __init__(self, file: IO[bytes], schema: Schema) -> None:
        pa = pyarrow()
        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
        self._writer = pa.ipc.new_stream(file, schema, options=options)

    def write(self, batch: RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self, _: Mapping[str, str]) -> None:
        self._writer.close()


WRITERS: Mapping[str, Callable[[IO[bytes], Schema], Writer]] = {
    "parquet": _Parquet,
    "arrow": _Arrow,
}
"""The writer of each format."""
