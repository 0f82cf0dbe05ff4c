"""Folder of Delta tables: opened, made, changed by one commit at a time, and tidied. Blocking."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import attrs

from usage_async._codec.schemas import pyarrow
from usage_async._query.times import iso
from usage_async.collect.delta.calls import AbsentError, call, deltalake
from usage_async.collect.delta.log import mended_log
from usage_async.collect.delta.places import OURS
from usage_async.collect.values import Snapshot
from usage_async.errors import StoreError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Schema, Table

T = TypeVar("T")

LAYOUT = 1
"""Version of the layout of the tables. A store with a higher one is refused."""
_RETRIES = 100
"""Times that deltalake tries a commit while runs of other organizations take the next version."""
_TIDY_EVERY_S = 86_400
"""Seconds between two removals of old files."""
_TIDIED = f"{OURS}tidied"
"""Name of the number that holds the Unix seconds of the last removal of old files."""
_AT_ONCE = 16
"""Threads that read places, since each waits for the log and not for the processor."""

_PROPERTIES = {
    "delta.checkpointInterval": "20",  # each read of a place reads the log since the last one
    "delta.deletedFileRetentionDuration": "interval 1 days",
    "delta.logRetentionDuration": "interval 1 days",
    "delta.dataSkippingStatsColumns": "start_time",  # statistics of 20 figures triple the log
}

_log = logging.getLogger("usage_async")


@attrs.define
class Folder:
    """A folder of Delta tables, on this machine or in S3.

    Attributes:
        root: Path or URL of the folder.
        options: Options of deltalake for the storage.
        is_local: True if the folder is on this machine.
    """

    root: str
    options: dict[str, str] = attrs.field(repr=False)
    is_local: bool = attrs.field(kw_only=True)
    _tables: dict[str, Any] = attrs.field(init=False, repr=False, factory=dict)
    _tidied: dict[str, int] = attrs.field(init=False, repr=False, factory=dict)

    def call(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call what reads or writes a table; see `calls.call`."""
        return call(self.root, work, *args, **options)

    def forget(self) -> list[str]:
        """Close all tables, and give their names."""
        names = [*self._tables]
        self._tables.clear()
        return names

    def opened(self, name: str) -> Any:
        """Open a table as it is at this moment; None if there is none."""
        table = self._tables.pop(name, None)
        try:
            if table is None:
                table = self._loaded(name)
            else:
                self.call(table.update_incremental)
        except AbsentError:
            return None
        except StoreError:
            if not (self.is_local and mended_log(Path(self.root, name))):
                raise
            table = self._loaded(name)
        layout = table.metadata().configuration.get(f"{OURS}layout", "")
        if not layout.isdecimal():
            raise StoreError(
                f"{self.root}: {name} is a Delta table that this store did not make: use another"
                " folder"
            )
        if int(layout) > LAYOUT:
            raise StoreError(
                f"{self.root}: {name} was written by a later release: upgrade usage-async"
            )
        self._tables[name] = table
        return table

    def _loaded(self, name: str) -> Any:
        """Open a table anew."""
        kind = deltalake().DeltaTable
        return self.call(kind, f"{self.root}/{name}", storage_options=self.options)

    def make(
        self, name: str, schema: Schema, partitions: Sequence[str], now: int, feed: str = ""
    ) -> None:
        """Make a table, unless another run is faster.

        Args:
            name: Name of the table.
            schema: Its columns.
            partitions: Columns by whose values its files are kept apart.
            now: Unix seconds, from which on old files count.
            feed: The feed that it holds, as a text.
        """
        properties = {**_PROPERTIES, f"{OURS}layout": str(LAYOUT)}
        if feed:
            properties[f"{OURS}feed"] = feed
        try:
            self.call(
                deltalake().DeltaTable.create,
                f"{self.root}/{name}",
                schema=schema,
                mode="ignore",
                partition_by=partitions,
                configuration=properties,
                storage_options=self.options,
                commit_properties=_commit({_TIDIED: now}),
                raise_if_key_not_exists=False,
            )
        except StoreError:
            if self.opened(name) is None:
                raise

    def number(self, table: Any, name: str) -> int | None:
        """Read a number that commits have set; None if none has."""
        found: int | None = self.call(table.transaction_version, name)
        return found

    def numbers(self, table: Any, names: Sequence[str]) -> list[int | None]:
        """Read several numbers at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return self.call(list, pool.map(table.transaction_version, names))

    def replace(
        self,
        table: Any,
        rows: Table,
        within: Sequence[str],
        snapshot: Snapshot,
        numbers: Mapping[str, int],
    ) -> None:
        """Replace the rows of the buckets that were sent, in one commit.

        Args:
            table: The table.
            rows: Rows of the buckets that were sent.
            within: Conditions that hold for all rows to be replaced, beside their times.
            snapshot: The snapshot.
            numbers: Numbers by name that the commit sets.
        """
        sent, width = snapshot.sent, snapshot.feed.width_s
        options: dict[str, Any] = {"mode": "append"}
        if sent:
            times = (f"start_time >= '{iso(sent[0])}'", f"start_time <= '{iso(sent[-1])}'")
            where = " AND ".join([*within, *times])
            options = {"mode": "overwrite", "schema_mode": "merge", "predicate": where}
            if len(sent) < 1 + (sent[-1] - sent[0]) // width:
                rows = self._with_those_not_sent(table, where, rows, sent)
        self.write(table, rows, numbers, **options)

    def write(self, table: Any, rows: Table, numbers: Mapping[str, int], **options: Any) -> None:
        """Write rows in one commit that sets numbers.

        Args:
            table: The table.
            rows: The rows.
            numbers: Numbers by name.
            options: Options of deltalake.
        """
        commit = _commit(numbers)
        self.call(deltalake().write_deltalake, table, rows, commit_properties=commit, **options)

    def _with_those_not_sent(
        self, table: Any, where: str, rows: Table, sent: Sequence[int]
    ) -> Table:
        """Add the rows in the range that are in no bucket that was sent, so that they stay."""
        pa, held = pyarrow(), self.scanned(table, predicate=where)
        starts = pa.array([start * 1_000_000 for start in sent], pa.int64())
        is_sent = pa.compute.is_in(held["start_time"].cast(pa.int64()), value_set=starts)
        kept = held.filter(pa.compute.invert(is_sent))
        joined: Table = pa.concat_tables([rows, kept], promote_options="default")
        return joined

    def scanned(self, table: Any, **options: Any) -> Table:
        """Read rows of a table."""
        pa = pyarrow()

        def scan() -> Any:
            return pa.RecordBatchReader.from_stream(table.scan(**options)).read_all()

        found = self.call(scan)
        fields = [
            field.with_type(pa.string()) if field.type == pa.string_view() else field
            for field in found.schema
        ]
        made: Table = found.cast(pa.schema(fields))
        return made

    def actions(self, table: Any) -> list[dict[str, Any]]:
        """Describe each file of a table."""
        found: list[dict[str, Any]] = (
            pyarrow().table(table.get_add_actions(flatten=True)).to_pylist()
        )
        return found

    def tidy(self, name: str, table: Any, now: int) -> None:
        """Remove files that no version of the last day needs, once a day.

        Args:
            name: Name of the table.
            table: The table.
            now: Unix seconds.
        """
        if abs(now - self._tidied.get(name, -_TIDY_EVERY_S)) < _TIDY_EVERY_S:
            return
        self._tidied[name] = now
        try:
            last = self.number(table, _TIDIED) or 0
            if abs(now - last) < _TIDY_EVERY_S:
                self._tidied[name] = last
                return
            nothing = pyarrow().schema(table.schema().to_arrow()).empty_table()
            # Of several runs that tidy at once, only one can set this number.
            self.write(table, nothing, {_TIDIED: now}, mode="append")
            self.call(table.vacuum, dry_run=False, full=True)
        except StoreError as error:
            _log.debug("%s: old files stay for another day: %s", name, error)

    def find_lost(self, name: str, table: Any) -> list[dict[str, Any]]:
        """Describe the files of a table that are gone; those that are cut short are put aside."""
        actions = [{**each, "path": unquote(each["path"])} for each in self.actions(table)]
        for each in actions if self.is_local else ():
            file = Path(self.root, name, each["path"])
            with suppress(FileNotFoundError):
                if file.stat().st_size != each["size_bytes"]:
                    file.rename(file.with_suffix(".torn"))
        lost = {*self.call(table.repair, dry_run=True)["files_removed"]}
        return [each for each in actions if each["path"] in lost]

    def remove_lost(self, table: Any, numbers: Mapping[str, int]) -> None:
        """Remove files that are gone from the log of a table, in one commit that sets numbers."""
        self.call(table.repair, commit_properties=_commit(numbers))


def _commit(numbers: Mapping[str, int]) -> Any:
    library = deltalake()
    return library.CommitProperties(
        app_transactions=[library.Transaction(name, each) for name, each in numbers.items()],
        max_commit_retries=_RETRIES,
    )
