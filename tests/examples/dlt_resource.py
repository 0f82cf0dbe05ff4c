"""A dlt resource over snapshots: rows of a feed, of which dlt replaces whole buckets.

dlt removes no bucket that has become empty, and keeps no place: the last days are read each time.
A store of `usage_async.collect` does both.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import dlt
import pyarrow as pa

from usage_async import UsageClient
from usage_async.collect import Feed, Place, snapshots

FEED = Feed.parse("completions:1h:project+model")


@dlt.resource(name=FEED.table, write_disposition="merge", merge_key="start_time")
async def completions(days: int = 3) -> AsyncIterator[pa.Table]:
    since = int((datetime.now(UTC) - timedelta(days=days)).timestamp())
    async with UsageClient() as client:
        async for snapshot in snapshots(client, "acme", FEED, Place(), since):
            yield snapshot.table
