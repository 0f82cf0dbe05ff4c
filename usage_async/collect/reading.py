"""Reading of feeds: from the place of a store to the running bucket, as snapshots.

Theory of operation. A feed is read from its place to the end, in steps of bounded memory. Each step
is a snapshot: all buckets of a range that were sent, and the starts that were not. A store applies
it whole and moves the place in the same transaction, but only if the place still has the number
that the snapshot was read with. So a run can be killed, repeated, or done twice at once. The
invariants:

- *Read until settled*: the place passes a bucket only when its figures have settled, so that each
  later run reads again what may still change. A bucket that was not sent holds the place for some
  weeks.
- *The service tells the time*: what has ended and what has settled follows from the last bucket
  that was sent. The clock of this machine only bounds what is asked for. One that is behind reads
  less, one that is ahead asks for buckets that are not there yet.
- *Forward*: the place never moves back, and only over ranges without a gap.
- *One row a group*: rows of a bucket whose dimensions are equal are added, exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any

from usage_async._client.client import UsageClient
from usage_async._codec.columns import Chunks, ColumnBucket, ColumnDecoder, slices
from usage_async._codec.converter import dumps
from usage_async.collect.feed import Feed
from usage_async.collect.rows import summed_rows
from usage_async.collect.values import OtherRow, Place, Snapshot

MAX_ROWS = 100_000
"""Rows after which a snapshot ends: 18 MB as a table (measured by `Table.nbytes`: completions by
project and model)."""
MAX_BUCKETS = 20_000
"""Buckets after which a snapshot ends that has fewer rows: two years at 1h."""


async def snapshots(
    client: UsageClient,
    organization: str,
    feed: Feed,
    place: Place,
    since: int,
    *,
    max_rows: int = MAX_ROWS,
) -> AsyncGenerator[Snapshot, None]:
    """Read a feed from its place to the running bucket, as snapshots.

    Args:
        client: Client of the organization.
        organization: Name of the organization in the store.
        feed: The feed.
        place: Place of the feed in the store, or `Place()`. Each snapshot follows from the one
            before, so apply them in order.
        since: Start of the figures, inclusive, Unix seconds. One that is earlier than that of the
            readings before reads everything from there again; a later one changes nothing.
        max_rows: Rows after which a snapshot ends, at the end of a bucket.

    Yields:
        Snapshots whose ranges follow one another without a gap.

    Raises:
        UsageError: The reading failed. The snapshots that were given before it stay true.
    """
    engine, width = client._engine, feed.width_s  # noqa: SLF001 - it has the clock and the options
    settle_s = engine.settle_after // timedelta(seconds=1)
    # A clock that was set back must not turn the place into an error.
    last = _floor(int(engine.fetcher.runtime.now()) - 1, width)
    begun, first = _floor(since, width), place.first_start
    if first is None:
        begun = min(begun, last)
    elif place.wanted_start is not None:
        begun = min(begun, place.wanted_start)
    is_earlier = first is None or begun < first
    start = begun if is_earlier or place.start_time is None else place.start_time
    start = min(start, last)
    query = client.query(feed.endpoint, start_time=start, clamp=True, **feed.parameters())
    columns = await query._columns(exact=True)  # noqa: SLF001 - rows go straight into tables
    data = attrgetter("data")
    async with query._begin(ColumnDecoder(columns), data) as stream:  # noqa: SLF001 - as above
        found: list[ColumnBucket] = []
        rows, has_begun = 0, False

        async def snapshot(newest: int) -> Snapshot:
            table = columns.table(_joined(found), {})
            table, rounded = await asyncio.to_thread(summed_rows, table, columns.kind)
            sent = tuple(bucket.start_time for bucket in found)
            return Snapshot(
                organization=organization,
                feed=feed,
                start_time=start,
                end_time=found[-1].end_time,
                table=table,
                sent=sent,
                missing=tuple(sorted({*range(start, sent[-1], width)}.difference(sent))),
                other=_other(found),
                ended_through=newest,
                settled_through=newest - settle_s,
                as_of=stream.as_of,
                begun=begun,
                rounded=rounded,
                place=place,
            )

        async for bucket in stream:
            if rows >= max_rows or len(found) >= MAX_BUCKETS:
                one = await snapshot(bucket.start_time)
                yield one
                place, start = one.next_place(), one.end_time
                found, rows = [], 0
            if not has_begun:
                # Before the service's history begins, no bucket is missing.
                has_begun, start = True, max(start, _floor(stream.start_time, width))
            found.append(bucket)
            rows += _count(bucket)
        if found:
            yield await snapshot(found[-1].start_time)


def _floor(time: int, width: int) -> int:
    return time - time % width


def _joined(buckets: Sequence[ColumnBucket]) -> list[Any]:
    chunks = Chunks()
    for batch in slices(buckets):
        chunks.add(batch)
    return chunks.all()


def _count(bucket: ColumnBucket) -> int:
    return bucket.stop - bucket.start + sum(map(_count, bucket.more))


def _other(buckets: Sequence[ColumnBucket]) -> tuple[OtherRow, ...]:
    return tuple(
        OtherRow(
            start_time=bucket.start_time,
            end_time=bucket.end_time,
            row=dumps(row).decode(),
        )
        for bucket in buckets
        for row in bucket.other_results
    )
