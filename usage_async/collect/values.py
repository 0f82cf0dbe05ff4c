"""Values of collecting: places, snapshots, runs, and states of feeds. Pure.

Theory of operation. A place tells only what the service has shown, whatever the clock of this
machine says: the service sends no bucket before it begins, so a bucket that was sent proves that
all earlier ones have ended. The invariants of a place:

- *Nothing ahead*: nothing after the last bucket that was sent is covered, ended, settled or
  missing. A clock that was ahead for a run leaves no trace but `as_of`.
- *The last bucket runs*: a bucket counts as read after its end only if a reading sent it, and a
  later one. Only then are other figures a revision.
- *Read until settled*: the place passes a bucket only when one has been sent that began
  `settle_after` after its end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

from usage_async.collect.feed import Feed

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

MISSING_FOR = timedelta(days=30)
"""Age below which a bucket that was not sent, while later ones were, is asked for again. It is a
margin, not a measurement: how late the service may send a bucket is not documented. Later the place
moves on, and the bucket stays listed as missing."""


@attrs.frozen(kw_only=True)
class Place:
    """The place of a feed in a store: how far it was collected, and where to resume.

    Times are Unix seconds. A feed that was never collected has `Place()`.

    Attributes:
        number: Number of snapshots that were applied. A store refuses a snapshot that was read from
            a place with another number.
        first_start: Start from which on figures were asked for; None if none were.
        wanted_start: An earlier one, from which a run began to read, but did not reach
            `first_start`; None if there is none. The next run begins there.
        start_time: Start of the first bucket to read again; None if nothing was read.
        covered_to: End of the last bucket that was sent.
        ended_through: Each bucket that ended by then was read after its end.
        settled_through: Instant before which no figure was expected to change.
        missing: Starts of buckets that were not sent when they were last asked for, while later
            ones were.
        unread: Those of them that were never sent after their end.
        as_of: Instant at which the last run began, by its clock.
    """

    number: int = 0
    first_start: int | None = None
    wanted_start: int | None = None
    start_time: int | None = None
    covered_to: int | None = None
    ended_through: int | None = None
    settled_through: int | None = None
    missing: tuple[int, ...] = ()
    unread: tuple[int, ...] = ()
    as_of: int | None = None

    def was_read(self, start_time: int, end_time: int) -> bool:
        """Tell if a bucket was read after its end, so that other figures are a revision.

        Args:
            start_time: Start of the bucket.
            end_time: Its end, exclusive.
        """
        if self.first_start is None or self.ended_through is None:
            return False
        is_within = self.first_start <= start_time and end_time <= self.ended_through
        return is_within and start_time not in self.unread

    def missing_at(self, now: int, width: int) -> int:
        """Count the buckets that have ended and were never sent after their end.

        Args:
            now: Unix seconds, by the clock of this machine.
            width: Width of a bucket in seconds.
        """
        since_last = 0 if self.covered_to is None else (now - self.covered_to) // width
        return len(self.unread) + max(since_last, 0)


@attrs.frozen(kw_only=True, eq=False)
class OtherRow:
    """A row of another or an unknown kind, which no table holds.

    Attributes:
        start_time: Start of its bucket, Unix seconds.
        end_time: End of its bucket.
        row: The row as JSON.
    """

    start_time: int
    end_time: int
    row: str


@attrs.frozen(kw_only=True, eq=False)
class Snapshot:
    """Buckets of a feed, from one reading of a range. Times are Unix seconds.

    Attributes:
        organization: Name of the organization.
        feed: The feed.
        start_time: Start of the range, inclusive, at the start of a bucket.
        end_time: End of the range, exclusive: that of the last bucket that was sent.
        table: Rows of the buckets that were sent, of `schema_of(feed)`. No two of one bucket have
            equal dimensions. Money is rounded half to even to 18 decimal places; where this changes
            it, `amount_exact` and `quantity_exact` hold all digits, and are null elsewhere.
        sent: Starts of the buckets that were sent, rising.
        missing: Starts of the other buckets of the range, which were not sent.
        other: Rows of these buckets of another or an unknown kind.
        ended_through: Start of the last bucket that the reading has sent so far: all before it have
            ended.
        settled_through: Instant before which no figure is expected to change.
        as_of: Instant at which the run began.
        begun: Start of the figures that the run was asked for.
        rounded: Number of figures that were rounded.
        place: The place that it was read from. A store with another place refuses the snapshot.
    """

    organization: str
    feed: Feed
    start_time: int
    end_time: int
    table: Table
    sent: tuple[int, ...]
    missing: tuple[int, ...]
    other: tuple[OtherRow, ...]
    ended_through: int
    settled_through: int
    as_of: int
    begun: int
    rounded: int
    place: Place

    def __repr__(self) -> str:
        return (
            f"Snapshot({self.organization!r}, {str(self.feed)!r}, {self.start_time},"
            f" {self.end_time}, rows={self.table.num_rows})"
        )

    def next_place(self) -> Place:
        """Give the place of a store after it has applied this snapshot."""
        before, width = self.place, self.feed.width_s
        missing = {*before.missing}.difference(self.sent).union(self.missing)
        unread = {start for start in self.missing if not before.was_read(start, start + width)}
        unread.update({*before.unread}.difference(self.sent))
        settled = min(self.settled_through, self.end_time)
        settled -= settled % width
        oldest = self.ended_through - MISSING_FOR // timedelta(seconds=1)
        resume = min([settled, *(start for start in missing if start >= oldest)])
        first, start_time, wanted = before.first_start, before.start_time, before.wanted_start
        if first is None or self.begun < first <= self.end_time:
            # From the earlier start on there is no gap any more, and late figures are awaited.
            first, start_time, wanted = self.begun, max(resume, self.begun), None
        elif self.begun < first:
            wanted = self.begun
        else:
            start_time = max(resume, start_time or resume)
        return Place(
            number=before.number + 1,
            first_start=first,
            wanted_start=wanted,
            start_time=start_time,
            covered_to=max(before.covered_to or 0, self.end_time),
            ended_through=max(before.ended_through or 0, min(self.ended_through, self.end_time)),
            settled_through=max(before.settled_through or 0, settled),
            missing=tuple(sorted(missing)),
            unread=tuple(sorted(unread)),
            as_of=self.as_of,
        )


@attrs.frozen(kw_only=True)
class Applied:
    """Outcome of applying a snapshot.

    Attributes:
        rows: Rows that were written.
        revised: Rows that were added to the revisions.
        rounded: Figures that a column holds rounded, with all digits beside it.
    """

    rows: int = 0
    revised: int = 0
    rounded: int = 0


@attrs.frozen(kw_only=True)
class Run:
    """One run: one feed of one organization, collected once.

    Attributes:
        organization: Name of the organization.
        feed: The feed.
        started_at: Unix seconds at which it began.
        seconds: Its duration.
        rows: Rows that were written.
        buckets: Buckets that were sent.
        requests: Requests that it took, with their retries.
        revised: Rows of ended buckets that had changed, come or gone since they were read.
        rounded: Figures that the store rounded to 18 decimal places; PostgreSQL rounds none.
        missing: Buckets of the feed that have ended and were never sent after their end.
        error: Why it ended early, in one line; None if it did not. Snapshots that were applied
            before stay.
    """

    organization: str
    feed: Feed
    started_at: int
    seconds: float
    rows: int = 0
    buckets: int = 0
    requests: int = 0
    revised: int = 0
    rounded: int = 0
    missing: int = 0
    error: str | None = None


@attrs.frozen(kw_only=True)
class Progress:
    """Progress of a run.

    Attributes:
        organization: Name of the organization.
        feed: The feed.
        share: Part of its range that was collected, from 0 to 1 inclusive.
        rows: Rows that were written so far.
        run: The run, once it has ended.
    """

    organization: str
    feed: Feed
    share: float
    rows: int
    run: Run | None = None


@attrs.frozen(kw_only=True)
class FeedState:
    """State of a feed of an organization in a store.

    Attributes:
        organization: Name of the organization.
        feed: The feed.
        place: Its place.
        rows: Rows of the organization in its table.
        revisions: Rows of the feed in the revisions; None where a store keeps none.
        run: The last run that has ended; None where a store keeps none, or before the first.
    """

    organization: str
    feed: Feed
    place: Place
    rows: int
    revisions: int | None = None
    run: Run | None = None
