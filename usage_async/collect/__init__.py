"""Collecting: usage and costs of many organizations, kept up to date in a database.

    import asyncio

    from usage_async.collect import collect, load_organizations, open_store

    async def main():
        organizations = load_organizations("organizations.toml")
        async with open_store("duckdb:usage.duckdb") as store:
            for run in await collect(organizations, store):
                print(run.organization, run.feed, run.rows, run.error or "done")

    asyncio.run(main())

Run it every hour, or let `usage-async collect --every 1h` do so. Four words:

- A *feed* is a query that is collected again and again: endpoint, width, grouping and filters,
  written `completions:1h:project+model`. Each feed has a table of its own, such as
  `completions_by_project_model_1h`, so that a sum over a table never counts twice. A table whose
  name ends with `_levels` holds levels, such as stored bytes, which must not be added up over time.
- A *snapshot* is the result of one reading of a range: the rows of the buckets that the service
  sent, and the starts of the buckets that it did not send.
- A *store* is a database. It applies a snapshot whole or not at all: in one transaction the rows of
  each bucket that was sent are replaced, and the place moves.
- The *place* of a feed in a store tells how far it was collected and where to resume. A store
  refuses a snapshot if another run has moved the place since the snapshot was begun; the run then
  reads again. Therefore a run can be killed at any moment, repeated, or done twice at once, without
  a lock.

The first run of a feed reads 31 days, or from `since` on. Each later run reads again what may still
be revised (3 days, `settle_after`), and what is new. A bucket that was not sent keeps its rows, and
is asked for again until one that begins 30 days later was sent. What has ended is judged by the
last bucket that was sent, so that a run with a wrong clock costs no figure.

`collect` does all of this. Below it, a loop of your own applies the snapshots of one feed:

    from datetime import UTC, datetime

    from usage_async import UsageClient
    from usage_async.collect import Feed, open_store, snapshots

    async def collect_costs():
        feed, since = Feed.parse("costs:1d:project"), datetime(2026, 10, 1, tzinfo=UTC)
        async with UsageClient() as client, open_store("duckdb:usage.duckdb") as store:
            place = await store.resume_from("acme", feed)
            reading = snapshots(client, "acme", feed, place, int(since.timestamp()))
            async for snapshot in reading:
                await store.apply(snapshot)


The file of the organizations
=============================

    feeds = ["costs:1d:project+line_item", "completions:1h:project+model"]

    [[organizations]]
    name = "acme"
    key_variable = "ACME_ADMIN_KEY"

    [[organizations]]
    name = "globex"
    key_command = ["pass", "show", "openai/globex"]
    settle_after = "5d"

The file names the source of each key (`key_variable`, `key_file`, `key_command`) and never holds a
key. At most 16 organizations are read at once; all of them share connections and a bound of 64
requests in flight. An organization that is refused, throttled or silent costs the others nothing:
its runs have an `error`.

- *Adding an organization*: add it. Its first run reads 31 days.
- *Changing a grouping*: the new grouping is another feed with another table, which begins with a
  first run. The old table stays as it is. Take the figures of one of the two.
- *Changing filters, or a table's name*: the same.
- *Dropping a feed*: leave it out. Its table stays. `status --organizations FILE` no longer counts
  it; without the file, `status` reports it as stopped until its table and its rows of `usage_feeds`
  are deleted. Delete both: without its rows, another feed of the same `table` would be let in.
- *Renaming an organization*: do not. The name stands in every row, so the new one would be another
  organization with the same figures.


What a store holds
==================

- A table for each feed: `organization`, then the columns of the endpoint's Arrow table.
- A view `TABLE_named` for each feed, with the names of projects, users and API keys and a UTC
  `day`.
- `usage_names`: these names, each with the instants at which it was first and last seen.
- `usage_named`: for each organization the instant at which names were last read.
- `usage_revisions`: a row for each group of an ended bucket whose figures have changed, with the
  old and the new ones as JSON. A field that the service did not send before is no change.
- `usage_other`: rows of other and unknown kinds, as JSON.
- `usage_runs`: a row for each run of a feed, with its counts and its error.
- `usage_feeds`: each feed with its place.

Delta Lake holds the tables of feeds, `usage_other` and the places only. Since it keeps no runs,
`status` tells of a feed that fails once its last success is older than `--max-age`.

Money is exact: `amount` is a decimal of 18 places. A figure with more is rounded half to even,
`amount_exact` holds all its digits, and `run.rounded` counts it. In PostgreSQL `amount` has all
digits, and nothing is rounded.

A later release may add columns to a table and drops none. A release refuses a store whose layout a
later one has changed, with one line.

How late are figures revised? This query tells by how much `settle_after` is too long or too short,
in DuckDB and PostgreSQL:

    SELECT table_name,
           count(*) AS revisions,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY hours) AS median,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY hours) AS p95,
           max(hours) AS latest
    FROM (
        SELECT r.table_name,
               CAST(extract(epoch FROM r.seen_at - r.start_time) AS float8) / 3600
               - CASE f.bucket_width WHEN '1d' THEN 24 WHEN '1h' THEN 1 ELSE 0 END AS hours
        FROM usage_revisions AS r
        JOIN usage_feeds AS f USING (organization, table_name)
    ) AS late
    GROUP BY table_name
    ORDER BY table_name

The hours count from the end of the bucket. A revision after `settle_after` is never read, so the
query cannot tell of it: collect with a long `settle_after` for some weeks first.


Which store
===========

- *DuckDB*, `duckdb:usage.duckdb`: one file on one machine, with one writer at a time. There is
  nothing to set up. The file is open only while a snapshot is applied, some 30 ms in an hourly run,
  so that other programs can read it in between.
- *PostgreSQL*, `postgresql://host/database`: a server with many writers and many readers, whose
  rights `GRANT` tells apart. Take it where you run one.
- *Delta Lake*, `delta:s3://bucket/usage` or `delta:folder`: files with many writers and no server.
  Polars, DuckDB and every other engine for Delta Lake can read them. Take a path without blanks and
  characters outside ASCII: polars 2.1 cannot read others.

Put a URL with a password into an environment variable (`--to-env NAME`), or only the password into
`~/.pgpass` or `PGPASSWORD`. Credentials for S3 come from `AWS_ACCESS_KEY_ID` and its companions.

Two examples in `tests/examples` of the source: `store_polars.py` reads a store with polars;
`dlt_resource.py` hands snapshots to dlt, which loads them into other databases.


What grows
==========

- The tables of feeds, by rows a bucket and buckets a day: 20 groups at 1h are 175,200 rows a year
  for each organization and feed.
- `usage_revisions`, by the figures that are revised.
- `usage_runs`, by a row for each run of a feed, which is 8,760 a year at one run an hour. Rows but
  the last one of each feed can be deleted.
- Other tables stay small.

An hourly run replaces three days. This was measured over the first 720 hourly runs of one feed:

- DuckDB: 3.3 MB.
- PostgreSQL: 107 MB before autovacuum, which makes the space of replaced rows free for later ones.
- Delta Lake: at most 6.8 MB, because files that were replaced more than a day ago are removed once
  a day (55 MB without that). A commit took 28 ms (median).

Applying 100,000 rows took 0.33 s in DuckDB and 1.0 s in PostgreSQL.


Beyond one machine
==================

One process reads some 570 pages a second. An hourly run of 500 organizations with 12 feeds is some
6,000 pages, which are read in 11 seconds. Storing them takes longer: 20 to 40 ms of CPU a feed in
DuckDB, 2 to 4 minutes for all. Several machines are worth it for more organizations, for first runs
of a year, or for keys that may not leave a machine. They need PostgreSQL or Delta Lake.

The work of one organization is one function call over plain values, without key and password. On a
Dask cluster, whose scheduler repeats the work of a worker that is lost:

    from dask.distributed import Client

    from usage_async.collect import collect_organization, load_organizations

    def main(scheduler):
        organizations = load_organizations("organizations.toml")
        with Client(scheduler) as cluster:
            work = cluster.map(
                collect_organization, organizations, store_variable="USAGE_STORE", pure=False
            )
            return [run for runs in cluster.gather(work) for run in runs]

Without a cluster, each of five machines runs `usage-async collect --shard 2/5` with its own number
in place of the 2. Every machine finds the same organizations in a shard. With systemd, on one
machine:

    [Service]
    Type=oneshot
    EnvironmentFile=/etc/usage-async.env
    ExecStart=/opt/usage-async collect --organizations /etc/usage.toml --to-env USAGE_STORE

    [Timer]
    OnCalendar=hourly
    RandomizedDelaySec=300
    Persistent=true

With Kubernetes, five shards:

    apiVersion: batch/v1
    kind: CronJob
    metadata: {name: usage}
    spec:
      schedule: "7 * * * *"
      concurrencyPolicy: Forbid
      jobTemplate:
        spec:
          completions: 5
          parallelism: 5
          completionMode: Indexed
          template:
            spec:
              restartPolicy: OnFailure
              containers:
                - name: collect
                  image: example/usage
                  envFrom: [{secretRef: {name: usage}}]
                  command:
                    - sh
                    - -c
                    - exec usage-async collect --organizations /etc/usage.toml
                      --to-env USAGE_STORE --shard $((JOB_COMPLETION_INDEX + 1))/5

`usage-async status --max-age 3h` ends with exit code 4 if a feed has failed, was not collected for
three hours, or holds no figures of them: let it raise the alarm. Buckets that the service has left
out are told, and are no failure of `collect` or `status`, since later runs ask for them again.

Before version 1.0, names of this package may change in minor releases.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.collect.feed import Feed as Feed, default_feeds as default_feeds
    from usage_async.collect.organizations import (
        Organization as Organization,
        load_organizations as load_organizations,
    )
    from usage_async.collect.open import open_store as open_store
    from usage_async.collect.reading import snapshots as snapshots
    from usage_async.collect.run import (
        collect as collect,
        collect_organization as collect_organization,
    )
    from usage_async.collect.store import Store as Store
    from usage_async.collect.values import (
        Applied as Applied,
        FeedState as FeedState,
        OtherRow as OtherRow,
        Place as Place,
        Progress as Progress,
        Run as Run,
        Snapshot as Snapshot,
    )

_HOMES = {
    "Applied": "values",
    "Feed": "feed",
    "FeedState": "values",
    "Organization": "organizations",
    "OtherRow": "values",
    "Place": "values",
    "Progress": "values",
    "Run": "values",
    "Snapshot": "values",
    "Store": "store",
    "collect": "run",
    "collect_organization": "run",
    "default_feeds": "feed",
    "load_organizations": "organizations",
    "open_store": "open",
    "snapshots": "reading",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
