"""Examples with other tools: polars, dlt, and a cluster of Dask of which one worker is killed."""

import asyncio
import itertools
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest

import usage_async.collect
from usage_async import Runtime, UsageClient
from usage_async.collect import (
    Feed,
    Organization,
    collect,
    collect_organization,
    load_organizations,
    open_store,
)
from usage_async.emulator import Emulator, running
from usage_async.emulator import Organization as Emulated

EXAMPLES = Path(__file__).parents[1] / "examples"
NOW = 1_795_348_800
"""2026-11-22T12:00:00Z."""
EMULATED = Emulated()


def needs(*modules):
    missing = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the extra `heavy` has {', '.join(modules)}")


def run_python(code, **environment):
    return subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES), **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


async def test_sql_of_a_store_is_a_polars_table(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import store_polars

    path = str(tmp_path / "usage.duckdb")
    async with Emulator(EMULATED, now=lambda: NOW) as server:

        def client_of(organization, **options):
            return UsageClient(server.admin_key, base_url=server.url, **options)

        feed = Feed.parse("costs:1d:project+line_item")
        async with open_store(f"duckdb:{path}") as store:
            (run,) = await collect(
                [Organization("acme", feeds=[feed])],
                store,
                since="7d",
                client_of=client_of,
                runtime=Runtime(now=lambda: NOW),
            )
        async with client_of(None, runtime=Runtime(now=lambda: NOW)) as client:
            total = await client.costs(
                start_time=NOW - NOW % 86400 - 7 * 86400, end_time=NOW
            ).total()
    assert run.error is None
    table = await asyncio.to_thread(store_polars.spend_by_day, path)
    assert table.columns == ["day", "project_name", "amount"]
    assert sum(map(Decimal, table["amount"].cast(str))) == total.amount_value


@pytest.mark.slow
@needs("dlt")
def test_a_dlt_resource_replaces_what_it_has_read_before(tmp_path):
    code = textwrap.dedent("""
        import dlt, duckdb, dlt_resource
        pipeline = dlt.pipeline(
            "usage",
            destination=dlt.destinations.duckdb("usage.duckdb"),
            dataset_name="openai",
            pipelines_dir="pipelines",
        )
        for _ in range(2):
            pipeline.run(dlt_resource.completions())
            with duckdb.connect("usage.duckdb") as connection:
                sql = f"SELECT count(*), sum(input_tokens) FROM openai.{dlt_resource.FEED.table}"
                print(*connection.execute(sql).fetchone())
    """)
    now = time.time()
    # Time stands still for the service, so that both runs read the same of the running hour.
    with running(Emulator(EMULATED, now=lambda: now)) as server:
        printed = run_python(
            f"import os; os.chdir({str(tmp_path)!r})\n{code}",
            OPENAI_ADMIN_KEY=server.admin_key,
            USAGE_ASYNC_BASE_URL=server.url,
            RUNTIME__DLTHUB_TELEMETRY="false",
            DLT_DATA_DIR=str(tmp_path / "dlt"),
        )
    first, second = printed.splitlines()[-2:]
    assert int(first.split()[0]) > 100
    assert first == second


CLUSTER = """
import os, signal, sys, threading
{guide}

def end_worker(cluster):
    sys.stdin.readline()
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    print("killed", flush=True)

if __name__ == "__main__":
    from dask.distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        threading.Thread(target=end_worker, args=(cluster,), daemon=True).start()
        runs = main(cluster)
        for run in runs:
            print("run", run.organization, run.feed, run.error, flush=True)
"""

ORGANIZATION = """
[[organizations]]
name = "o{number}"
key_variable = "KEY_{number}"
feeds = ["costs:1d:project", "completions:1d:project"]
"""
FEEDS = [Feed.parse("costs:1d:project"), Feed.parse("completions:1d:project")]


@pytest.mark.slow
@needs("distributed")
def test_a_cluster_that_loses_a_worker_ends_with_the_rows_of_an_undisturbed_run(
    tmp_path, postgresql, monkeypatch
):
    count = 4
    blocks = re.findall(r"\n\n((?:    .*\n|\n(?=    ))+)", usage_async.collect.__doc__)
    (guide,) = [textwrap.dedent(each) for each in blocks if "dask.distributed" in each]
    assert len([line for line in guide.splitlines() if line]) <= 10
    program = tmp_path / "cluster.py"
    program.write_text(CLUSTER.format(guide=guide))
    text = "".join(ORGANIZATION.format(number=number) for number in range(count))
    (tmp_path / "organizations.toml").write_text(text)
    lost, whole = postgresql.shelf(), postgresql.shelf()
    begun, asked, now = threading.Event(), itertools.count(1), time.time()

    def clock():
        """Time stands still, so that both runs read the same; each request asks for it."""
        if next(asked) == 3:
            begun.set()
        return now

    with running(Emulator(EMULATED, now=clock, latency_s=0.1)) as server:
        settings = {f"KEY_{number}": server.admin_key for number in range(count)}
        settings |= {"USAGE_ASYNC_BASE_URL": server.url}
        with subprocess.Popen(  # noqa: S603 - this very Python
            [sys.executable, str(program)],
            cwd=tmp_path,
            env={**os.environ, **settings, "USAGE_STORE": lost.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert begun.wait(60)
            process.stdin.write("now\n")
            process.stdin.flush()
            killed, *runs = process.stdout.read().splitlines()
        assert (process.returncode, killed) == (0, "killed")
        assert len(runs) == len(FEEDS) * count
        assert all(line.endswith(" None") for line in runs)
        for name, value in {**settings, "STORE": whole.url}.items():
            monkeypatch.setenv(name, value)
        for organization in load_organizations(tmp_path / "organizations.toml"):
            collect_organization(organization, "STORE")
    for feed in FEEDS:
        rows = lost.rows(feed)
        assert len({row["organization"] for row in rows}) == count
        wanted = whole.rows(feed)
        # After midnight the second run begins a day later.
        first = min(row["start_time"] for row in wanted)
        assert [row for row in rows if row["start_time"] >= first] == wanted
