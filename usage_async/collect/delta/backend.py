"""Backend of a store in Delta Lake: a folder, on this machine or in S3, with one table a feed.

Theory of operation. A commit to a Delta table is whole or not there, but no commit spans two
tables. Therefore one commit to the table of the feed holds all that must move together: the files
that go, the files that come, and the place. The place is kept as application transactions, which
are numbers by name in the log; they outlive checkpoints and the clean-up of the log. The
invariants:

- *One writer an organization*: each commit sets the number of the place of its organization. Delta
  refuses a commit if another one has set the same name since the table was read. Commits of other
  organizations pass, since they touch other partitions.
- *One range*: a commit replaces the rows of one organization in one range of time. Rows of buckets
  that were not sent are read and written again with it, so the length of the condition does not
  depend on the number of buckets.
- *No compaction*: replacing joins files, since it writes the rows of a month as one file.
  `optimize.compact` of deltalake 1.6.6 is not used: if two compactions run at once, both succeed,
  and each row is there twice.
- *Lost files are read again*: if data files of a table are gone, the commit that removes them from
  the log moves the places of their organizations back to before them.

Names, revisions and runs are not kept: they would need a transaction over several tables. Rows of
other kinds have a table of their own, which is written before the table of the feed. A run that is
killed in between writes the same again; one that loses a race has written a true reading of the
same buckets.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

import attrs

from usage_async._codec.schemas import pyarrow
from usage_async._query.times import iso
from usage_async.collect.delta.calls import AbsentError, DamagedError, RaceError, call, deltalake
from usage_async.collect.delta.log import mended_log
from usage_async.collect.delta.places import OURS, number_key, number_of, numbers_of, read_places
from usage_async.collect.delta.rows import (
    PARTITIONS,
    equals,
    other_rows_of,
    other_schema,
    rows_of,
    schema_of,
    start_of,
    within_months,
)
from usage_async.collect.feed import Feed
from usage_async.collect.values import Applied, FeedState, Place, Run, Snapshot
from usage_async.errors import ConfigurationError, StoreError, StoreMovedError, UsageError

if TYPE_CHECKING:
    from usage_async._codec.schemas import Schema, Table

T = TypeVar("T")

LAYOUT = 1
"""Version of the layout of the tables. A store with a higher one is refused."""

_log = logging.getLogger("usage_async")

_FEEDS, _OTHER = "usage_feeds", "usage_other"
_LONGEST_NAME = 242
"""Most bytes of an organization's name in the name of a folder, which has at most 255, of which
`organization=` takes 13."""
_ATTEMPTS = 20
"""Times that a snapshot is tried while other runs change the same rows or the columns."""
_RETRIES = 100
"""Times that deltalake tries a commit while runs of other organizations take the next version."""
_FEW_FILES = 20
"""Files of the list of feeds from which on it is written again as one."""
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
_S3_OPTIONS = {"max_retries": "5", "retry_timeout": "60s"}
_UNFIT = re.compile(r"[\x00-\x1f%\[\]\\^|]")
"""Characters that deltalake 1.6.6 changes in a path, or at which it panics."""


def delta_backend(where: str) -> DeltaBackend:
    """Open a folder of Delta tables, which need not exist.

    Args:
        where: Path of the folder, or `s3://BUCKET/FOLDER`. Credentials, region and endpoint come
            from the environment (`AWS_...`).

    Raises:
        ConfigurationError: `where` is neither, or holds credentials or a character that deltalake
            cannot open; or deltalake is not installed.
    """
    if find_spec("deltalake") is None:
        msg = "a store in Delta Lake needs deltalake: pip install 'usage-async[delta]'"
        raise ConfigurationError(msg)
    if where and "://" not in where:
        root = str(Path(where).expanduser().absolute())
        if found := _UNFIT.search(root):
            raise ConfigurationError(
                f"delta: deltalake cannot open a path with {found[0]!r} in it: use another folder"
            )
        return DeltaBackend(root, {}, is_local=True)
    parts = urlsplit(where)
    if parts.scheme not in {"s3", "s3a"} or not parts.netloc:
        raise ConfigurationError(
            "delta: this is no folder: use delta:FOLDER or delta:s3://BUCKET/…"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(
            "delta: the URL holds a user, a query or a fragment: leave them out, and put"
            " credentials into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    root = f"s3://{parts.netloc}{parts.path}".rstrip("/")
    if found := _UNFIT.search(root):
        raise ConfigurationError(
            f"delta: deltalake cannot open a URL with {found[0]!r} in it: use another folder"
        )
    return DeltaBackend(root, dict(_S3_OPTIONS), is_local=False)


@attrs.define
class DeltaBackend:
    """Backend of a folder of Delta tables, made by `delta_backend`; see `Backend`.

    It keeps rows and places, but no names, revisions or runs.

    Attributes:
        root: Path or URL of the folder.
        options: Options of deltalake for the storage.
        is_local: True if the folder is on this machine.
    """

    keeps_names = False

    root: str
    options: dict[str, str] = attrs.field(repr=False)
    is_local: bool = attrs.field(kw_only=True)
    _tables: dict[str, Any] = attrs.field(init=False, repr=False, factory=dict)
    _places: dict[tuple[str, str], Place] = attrs.field(init=False, repr=False, factory=dict)
    _noted: set[tuple[str, str]] = attrs.field(init=False, repr=False, factory=set)
    _tidied: dict[str, int] = attrs.field(init=False, repr=False, factory=dict)

    def place(self, organization: str, feed: Feed) -> Place:
        """See `Backend`."""
        self._check_name(organization)
        return self._afresh(lambda: self._find_place(organization, feed))

    def _find_place(self, organization: str, feed: Feed) -> Place:
        table = self._of_feed(feed)
        if table is None:
            return Place()
        known = self._places.get((table.metadata().id, organization))
        if known is not None and known.number == self._number(table, organization):
            return known
        return self._read_places(table, feed, [organization])[0]

    def apply(self, snapshot: Snapshot, seen_at: int) -> Applied:
        """See `Backend`."""
        del seen_at  # the instant of revisions, which are not kept
        self._check_name(snapshot.organization)
        for attempt in range(_ATTEMPTS):
            try:
                return self._apply(snapshot)
            except RaceError:
                continue
            except DamagedError:
                names = tuple(self._tables)
                self._tables.clear()
                if not [name for name in names if self._mended(name)] and attempt:
                    raise
        raise StoreError(
            f"{self.root}: other runs change {snapshot.feed.table} all the time: try again later"
        )

    def _apply(self, snapshot: Snapshot) -> Applied:
        """Apply a snapshot if no other run changes its table meanwhile.

        Raises:
            RaceError: Another run has.
        """
        organization, feed = snapshot.organization, snapshot.feed
        table = self._of_feed(feed)
        number = 0 if table is None else self._number(table, organization)
        if number != snapshot.place.number:
            raise StoreMovedError(
                f"{self.root}: another run has written {feed.table} of {organization!r} in the"
                " meantime: read again"
            )
        if table is None:
            schema, text = schema_of(feed), _text_of(feed)
            self._create(feed.table, schema, PARTITIONS, snapshot.as_of, text)
            table = self._of_feed(feed)
        if number == 0 or (organization, feed.table) not in self._noted:
            self._note(organization, feed, snapshot.as_of)
        self._put_other(snapshot)
        following = snapshot.next_place()
        within = [equals("organization", organization), *within_months(snapshot.sent)]
        numbers = numbers_of(organization, following, feed.width_s)
        self._replace(table, rows_of(snapshot), within, snapshot, numbers)
        self._places[table.metadata().id, organization] = following
        self._tidy(feed.table, table, snapshot.as_of)
        return Applied(rows=snapshot.table.num_rows)

    def record(self, run: Run) -> None:
        """Keep nothing."""

    def remember(self, organization: str, names: Table, seen_at: int) -> None:
        """Keep nothing."""

    def named_at(self, organization: str) -> int | None:
        """Give None: names are not kept."""

    def states(self) -> list[FeedState]:
        """See `Backend`."""
        return self._afresh(self._find_states)

    def _find_states(self) -> list[FeedState]:
        by_table: dict[str, list[str]] = {}
        for organization, name in self._read_noted():
            by_table.setdefault(name, []).append(organization)
        found = []
        for name, organizations in by_table.items():
            table = self._opened(name)
            if table is None:
                continue
            feed = self._held(name, table)
            rows: Counter[str] = Counter()
            for action in self._actions(table):
                rows[action["partition.organization"]] += action["num_records"]
            places = self._read_places(table, feed, organizations)
            found += [
                FeedState(organization=each, feed=feed, place=place, rows=rows[each])
                for each, place in zip(organizations, places, strict=True)
                if place.number
            ]
        return sorted(found, key=lambda state: (state.organization, state.feed.table))

    def close(self) -> None:
        """See `Backend`."""
        self._tables.clear()

    def _afresh(self, work: Callable[[], T]) -> T:
        """Call a function that reads; if a file is gone, once more with tables opened anew.

        An open table does not see that its folder was removed, or made again.
        """
        try:
            return work()
        except DamagedError:
            self._tables.clear()
        return work()

    def _check_name(self, organization: str) -> None:
        """Refuse a name that cannot be part of the name of a folder."""
        if not organization or len(quote(organization, safe="")) > _LONGEST_NAME:
            raise StoreError(
                f"{self.root}: the name of an organization must have 1 to {_LONGEST_NAME} bytes in"
                " Delta Lake, where one that is percent-encoded counts as three"
            )

    def _of_feed(self, feed: Feed) -> Any:
        """Open the table of a feed; None if there is none."""
        table = self._opened(feed.table)
        if table is not None and (held := self._held(feed.table, table)) != feed:
            raise StoreError(f"{self.root}: the table {feed.table} holds {held}, not {feed}")
        return table

    def _held(self, name: str, table: Any) -> Feed:
        """Read the feed that a table holds."""
        text = table.metadata().configuration.get(f"{OURS}feed", "")
        try:
            given = json.loads(text)
            given["filters"] = [(each, tuple(values)) for each, values in given["filters"]]
            return Feed(**given, table=name)
        except (KeyError, TypeError, ValueError, UsageError):
            pass
        raise StoreError(
            f"{self.root}: {name} holds a feed of a later release: upgrade usage-async"
        )

    def _opened(self, name: str) -> Any:
        """Open a table as it is at this moment; None if there is none."""
        table = self._tables.pop(name, None)
        try:
            if table is None:
                table = self._loaded(name)
            else:
                self._guarded(table.update_incremental)
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
        kind = deltalake().DeltaTable
        return self._guarded(kind, f"{self.root}/{name}", storage_options=self.options)

    def _create(
        self, name: str, schema: Schema, partitions: Sequence[str], now: int, feed: str = ""
    ) -> None:
        """Create a table, unless another run is faster."""
        properties = {**_PROPERTIES, f"{OURS}layout": str(LAYOUT)}
        if feed:
            properties[f"{OURS}feed"] = feed
        try:
            self._guarded(
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
            if self._opened(name) is None:
                raise

    def _number(self, table: Any, organization: str) -> int:
        """Read the number of a place."""
        return number_of(self._guarded(table.transaction_version, number_key(organization)))

    def _read_places(self, table: Any, feed: Feed, organizations: Sequence[str]) -> list[Place]:
        """Read the places of organizations in the table of a feed."""

        def read(names: Sequence[str]) -> list[int | None]:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                return self._guarded(list, pool.map(table.transaction_version, names))

        return read_places(read, organizations, feed.width_s)

    def _replace(
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
        self._guarded(
            deltalake().write_deltalake, table, rows, commit_properties=_commit(numbers), **options
        )

    def _with_those_not_sent(
        self, table: Any, where: str, rows: Table, sent: Sequence[int]
    ) -> Table:
        """Add the rows in the range that are in no bucket that was sent, so that they stay."""
        pa, held = pyarrow(), self._scanned(table, predicate=where)
        starts = pa.array([start * 1_000_000 for start in sent], pa.int64())
        is_sent = pa.compute.is_in(held["start_time"].cast(pa.int64()), value_set=starts)
        kept = held.filter(pa.compute.invert(is_sent))
        joined: Table = pa.concat_tables([rows, kept], promote_options="default")
        return joined

    def _scanned(self, table: Any, **options: Any) -> Table:
        """Read rows of a table."""
        pa = pyarrow()

        def scan() -> Any:
            return pa.RecordBatchReader.from_stream(table.scan(**options)).read_all()

        found = self._guarded(scan)
        fields = [
            field.with_type(pa.string()) if field.type == pa.string_view() else field
            for field in found.schema
        ]
        made: Table = found.cast(pa.schema(fields))
        return made

    def _actions(self, table: Any) -> list[dict[str, Any]]:
        """Describe each file of a table."""
        found: list[dict[str, Any]] = (
            pyarrow().table(table.get_add_actions(flatten=True)).to_pylist()
        )
        return found

    def _read_noted(self) -> set[tuple[str, str]]:
        """Read the names of organizations and of their tables."""
        table = self._opened(_FEEDS)
        if table is None:
            return set()
        found = self._scanned(table).to_pylist()
        return {(row["organization"], row["table_name"]) for row in found}

    def _note(self, organization: str, feed: Feed, now: int) -> None:
        """Note that an organization has a table, so that `states` finds it."""
        entry = (organization, feed.table)
        noted = self._read_noted()
        if entry not in noted:
            pa = pyarrow()
            schema = pa.schema([("organization", pa.string()), ("table_name", pa.string())])
            if _FEEDS not in self._tables:
                self._create(_FEEDS, schema, [], now)
            table = self._opened(_FEEDS)
            are_many = len(table.file_uris()) >= _FEW_FILES
            entries = sorted({*noted, entry}) if are_many else [entry]
            columns = zip(*entries, strict=True)
            self._guarded(
                deltalake().write_deltalake,
                table,
                pa.table([pa.array(column, pa.string()) for column in columns], schema),
                mode="overwrite" if are_many else "append",
                commit_properties=_commit({}),
            )
            self._tidy(_FEEDS, table, now)
        self._noted = {*noted, entry}

    def _put_other(self, snapshot: Snapshot) -> None:
        """Replace the rows of other kinds."""
        organization, name = snapshot.organization, snapshot.feed.table
        table = self._opened(_OTHER)
        if not snapshot.other:
            if table is None:
                return
            actions = self._actions(table)
            if not any(
                each["partition.organization"] == organization
                and each["partition.table_name"] == name
                for each in actions
            ):
                return
        if table is None:
            self._create(_OTHER, other_schema(), ["organization", "table_name"], snapshot.as_of)
            table = self._opened(_OTHER)
        within = [
            equals("organization", organization),
            equals("table_name", name),
        ]
        self._replace(table, other_rows_of(snapshot), within, snapshot, {})
        self._tidy(_OTHER, table, snapshot.as_of)

    def _tidy(self, name: str, table: Any, now: int) -> None:
        """Remove files that no version of the last day needs, once a day."""
        if abs(now - self._tidied.get(name, -_TIDY_EVERY_S)) < _TIDY_EVERY_S:
            return
        self._tidied[name] = now
        try:
            last = self._guarded(table.transaction_version, _TIDIED) or 0
            if abs(now - last) < _TIDY_EVERY_S:
                self._tidied[name] = last
                return
            nothing = pyarrow().schema(table.schema().to_arrow()).empty_table()
            # Of several runs that tidy at once, only one can set this number.
            self._guarded(
                deltalake().write_deltalake,
                table,
                nothing,
                mode="append",
                commit_properties=_commit({_TIDIED: now}),
            )
            self._guarded(table.vacuum, dry_run=False, full=True)
        except StoreError as error:
            _log.debug("%s: old files stay for another day: %s", name, error)

    def _mended(self, table_name: str) -> bool:
        """Remove lost files from a log, and move the places back to before them.

        Returns:
            True if files were lost.
        """
        table, folder = self._opened(table_name), Path(self.root, table_name)
        if table is None:
            return False
        actions = [{**each, "path": unquote(each["path"])} for each in self._actions(table)]
        for each in actions if self.is_local else ():
            file = folder / each["path"]
            with suppress(FileNotFoundError):
                if file.stat().st_size != each["size_bytes"]:
                    file.rename(file.with_suffix(".torn"))
        lost = {*self._guarded(table.repair, dry_run=True)["files_removed"]}
        if not lost:
            return False
        _log.warning("%s: %d files of %s were lost", self.root, len(lost), table_name)
        numbers: dict[str, int] = {}
        if f"{OURS}feed" in table.metadata().configuration:
            months: dict[str, str] = {}
            for each in sorted(
                actions, key=lambda each: str(each["partition.month"]), reverse=True
            ):
                if each["path"] in lost:
                    months[each["partition.organization"]] = each["partition.month"]
            feed = self._held(table_name, table)
            places = self._read_places(table, feed, [*months])
            for organization, place in zip(months, places, strict=True):
                begin = start_of(months[organization])
                start = max(begin, place.first_start or begin)
                back = attrs.evolve(
                    place,
                    number=place.number + 1,
                    start_time=min(start, place.start_time or start),
                )
                numbers |= numbers_of(organization, back, feed.width_s)
        self._guarded(table.repair, commit_properties=_commit(numbers))
        return True

    def _guarded(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        """Call what reads or writes a table; see `call`."""
        return call(self.root, work, *args, **options)


def _commit(numbers: Mapping[str, int]) -> Any:
    library = deltalake()
    return library.CommitProperties(
        app_transactions=[library.Transaction(name, each) for name, each in numbers.items()],
        max_commit_retries=_RETRIES,
    )


def _text_of(feed: Feed) -> str:
    """Write a feed as JSON, from which `_held` reads it."""
    given = attrs.asdict(feed, filter=attrs.filters.exclude("table"))
    return json.dumps(given, sort_keys=True)
