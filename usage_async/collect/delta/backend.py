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
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import attrs

from usage_async._codec.schemas import pyarrow
from usage_async.collect.delta.calls import DamagedError, RaceError
from usage_async.collect.delta.folder import Folder
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
    from usage_async._codec.schemas import Table

T = TypeVar("T")

_log = logging.getLogger("usage_async")

_FEEDS, _OTHER = "usage_feeds", "usage_other"
_LONGEST_NAME = 242
"""Most bytes of an organization's name in the name of a folder, which has at most 255, of which
`organization=` takes 13."""
_ATTEMPTS = 20
"""Times that a snapshot is tried while other runs change the same rows or the columns."""
_FEW_FILES = 20
"""Files of the list of feeds from which on it is written again as one."""
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
    is_local = bool(where) and "://" not in where
    found = _folder(where) if is_local else _bucket(where)
    if isinstance(found, ConfigurationError):
        raise found
    options = {} if is_local else dict(_S3_OPTIONS)
    return DeltaBackend(Folder(found, options, is_local=is_local))


def _folder(where: str) -> str | ConfigurationError:
    root = str(Path(os.path.expanduser(where)).absolute())  # noqa: PTH111 - Path raises for ~nobody
    if found := _UNFIT.search(root):
        return ConfigurationError(
            f"delta: deltalake cannot open a path with {found[0]!r} in it: use another folder"
        )
    return root


def _bucket(where: str) -> str | ConfigurationError:
    """Read a URL. A failure is returned: a traceback with locals would show what is refused."""
    parts = None
    with suppress(ValueError):
        parts = urlsplit(where)
    if parts is None or parts.scheme not in {"s3", "s3a"} or not parts.netloc:
        return ConfigurationError(
            "delta: this is no folder: use delta:FOLDER or delta:s3://BUCKET/…"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        return ConfigurationError(
            "delta: the URL holds a user, a query or a fragment: leave them out, and put"
            " credentials into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    root = f"s3://{parts.netloc}{parts.path}".rstrip("/")
    if found := _UNFIT.search(root):
        return ConfigurationError(
            f"delta: deltalake cannot open a URL with {found[0]!r} in it: use another folder"
        )
    return root


@attrs.define
class DeltaBackend:
    """Backend of a folder of Delta tables, made by `delta_backend`; see `Backend`.

    It keeps rows and places, but no names, revisions or runs.

    Attributes:
        folder: The folder.
    """

    keeps_names = False
    shuts_out = False

    folder: Folder
    _places: dict[tuple[str, str], Place] = attrs.field(init=False, repr=False, factory=dict)
    _noted: set[tuple[str, str]] = attrs.field(init=False, repr=False, factory=set)

    @property
    def root(self) -> str:
        """Path or URL of the folder."""
        return self.folder.root

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
                names = self.folder.forget()
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
            self.folder.make(feed.table, schema, PARTITIONS, snapshot.as_of, text)
            table = self._of_feed(feed)
        if number == 0 or (organization, feed.table) not in self._noted:
            self._note(organization, feed, snapshot.as_of)
        self._put_other(snapshot)
        following = snapshot.next_place()
        within = [equals("organization", organization), *within_months(snapshot.sent)]
        numbers = numbers_of(organization, following, feed.width_s)
        self.folder.replace(table, rows_of(snapshot), within, snapshot, numbers)
        self._places[table.metadata().id, organization] = following
        self.folder.tidy(feed.table, table, snapshot.as_of)
        return Applied(rows=snapshot.table.num_rows, rounded=snapshot.rounded)

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
            table = self.folder.opened(name)
            if table is None:
                continue
            feed = self._held(name, table)
            rows: Counter[str] = Counter()
            for action in self.folder.actions(table):
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
        self.folder.forget()

    def _afresh(self, work: Callable[[], T]) -> T:
        """Call a function that reads; if a file is gone, once more with tables opened anew.

        An open table does not see that its folder was removed, or made again.
        """
        try:
            return work()
        except DamagedError:
            self.folder.forget()
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
        table = self.folder.opened(feed.table)
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

    def _number(self, table: Any, organization: str) -> int:
        """Read the number of a place."""
        return number_of(self.folder.number(table, number_key(organization)))

    def _read_places(self, table: Any, feed: Feed, organizations: Sequence[str]) -> list[Place]:
        """Read the places of organizations in the table of a feed."""
        return read_places(partial(self.folder.numbers, table), organizations, feed.width_s)

    def _read_noted(self) -> set[tuple[str, str]]:
        """Read the names of organizations and of their tables."""
        table = self.folder.opened(_FEEDS)
        if table is None:
            return set()
        found = self.folder.scanned(table).to_pylist()
        return {(row["organization"], row["table_name"]) for row in found}

    def _note(self, organization: str, feed: Feed, now: int) -> None:
        """Note that an organization has a table, so that `states` finds it."""
        entry = (organization, feed.table)
        noted = self._read_noted()
        if entry not in noted:
            pa = pyarrow()
            schema = pa.schema([("organization", pa.string()), ("table_name", pa.string())])
            table = self.folder.opened(_FEEDS)
            if table is None:
                self.folder.make(_FEEDS, schema, [], now)
                table = self.folder.opened(_FEEDS)
            are_many = len(table.file_uris()) >= _FEW_FILES
            entries = sorted({*noted, entry}) if are_many else [entry]
            columns = zip(*entries, strict=True)
            rows = pa.table([pa.array(column, pa.string()) for column in columns], schema)
            mode = "overwrite" if are_many else "append"
            self.folder.write(table, rows, {}, mode=mode)
            self.folder.tidy(_FEEDS, table, now)
        self._noted = {*noted, entry}

    def _put_other(self, snapshot: Snapshot) -> None:
        """Replace the rows of other kinds."""
        organization, name = snapshot.organization, snapshot.feed.table
        table = self.folder.opened(_OTHER)
        if not snapshot.other:
            if table is None:
                return
            actions = self.folder.actions(table)
            if not any(
                each["partition.organization"] == organization
                and each["partition.table_name"] == name
                for each in actions
            ):
                return
        if table is None:
            self.folder.make(_OTHER, other_schema(), ["organization", "table_name"], snapshot.as_of)
            table = self.folder.opened(_OTHER)
        within = [
            equals("organization", organization),
            equals("table_name", name),
        ]
        self.folder.replace(table, other_rows_of(snapshot), within, snapshot, {})
        self.folder.tidy(_OTHER, table, snapshot.as_of)

    def _mended(self, name: str) -> bool:
        """Remove lost files from the log of a table, and move the places back to before them.

        Returns:
            True if files were lost.
        """
        table = self.folder.opened(name)
        if table is None or not (lost := self.folder.find_lost(name, table)):
            return False
        _log.warning("%s: %d files of %s were lost", self.root, len(lost), name)
        numbers: dict[str, int] = {}
        if f"{OURS}feed" in table.metadata().configuration:
            months: dict[str, str] = {}
            for each in sorted(lost, key=lambda each: str(each["partition.month"]), reverse=True):
                months[each["partition.organization"]] = each["partition.month"]
            feed = self._held(name, table)
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
        self.folder.remove_lost(table, numbers)
        return True


def _text_of(feed: Feed) -> str:
    """Write a feed as JSON, from which `_held` reads it."""
    given = attrs.asdict(feed, filter=attrs.filters.exclude("table"))
    return json.dumps(given, sort_keys=True)
