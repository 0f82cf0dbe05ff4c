"""The guide in the docstring runs: its programs, its SQL, its files; and the README's query."""

import asyncio
import re
import textwrap
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from collecting import COMPLETIONS, DAY, HOUR, START, put, usage

import usage_async.collect
from usage_async import Runtime, UsageClient
from usage_async.collect import Organization, collect, load_organizations, open_store
from usage_async.collect.sql.duckdb import DuckDB
from usage_async.emulator import Emulator, Quirks, running
from usage_async.emulator import Organization as Emulated
from usage_async.emulator.demonstration import client_of

ROOT = Path(__file__).parents[2]
NOW = 1_795_348_800
"""2026-11-22T12:00:00Z."""
EMULATED = Emulated()


def blocks():
    """The blocks of the guide that are set off, in order."""
    found = re.findall(r"\n\n((?:    .*\n|\n(?=    ))+)", usage_async.collect.__doc__)
    return [textwrap.dedent(each) for each in found]


def block(text):
    (found,) = [each for each in blocks() if text in each]
    return found


@pytest.fixture
def server():
    # The programs of the guide go by the true time, and one of them reads from October 2026 on.
    with running(Emulator(EMULATED, quirks=Quirks(lookback_days=3650))) as server:
        yield server


def test_the_ten_lines_collect_what_the_file_names(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_ADMIN_KEY", server.admin_key)
    monkeypatch.setenv("USAGE_ASYNC_BASE_URL", server.url)
    (tmp_path / "organizations.toml").write_text(
        'feeds = ["costs:1d"]\n[[organizations]]\nname = "acme"\nkey_variable = "ACME_ADMIN_KEY"\n'
    )
    program = block("asyncio.run(main())")
    assert len([line for line in program.splitlines() if line]) <= 10
    exec(program, {})  # noqa: S102 - as a reader would
    assert re.fullmatch(r"acme costs:1d \d\d done\n", capsys.readouterr().out)


def test_a_loop_of_ones_own_collects_one_feed(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", server.admin_key)
    monkeypatch.setenv("USAGE_ASYNC_BASE_URL", server.url)
    program: dict[str, Any] = {}
    exec(block("async def collect_costs"), program)  # noqa: S102 - as a reader would
    asyncio.run(program["collect_costs"]())
    with duckdb.connect("usage.duckdb") as connection:
        sql = "SELECT organization, count(*) > 0 FROM costs_by_project_1d_named GROUP BY 1"
        assert connection.execute(sql).fetchall() == [("acme", True)]


def test_the_file_of_organizations_is_one(tmp_path):
    file = tmp_path / "organizations.toml"
    file.write_text(block("[[organizations]]"))
    acme, globex = load_organizations(file)
    assert (acme.name, len(acme.feeds)) == ("acme", 2)
    assert globex.key_command == ("pass", "show", "openai/globex")


def test_the_lag_of_revisions_is_told(tmp_path):
    backend = DuckDB(str(tmp_path / "usage.duckdb"))
    put(backend, [[usage()] for _ in range(30)])
    for hours in range(1, 6):
        # The first bucket is revised each hour, from its second on.
        revised, seen_at = {START: [usage(1 + hours)]}, START + (hours + 1) * HOUR
        put(backend, revised, as_of=START + 30 * HOUR, seen_at=seen_at)
    backend.close()
    with duckdb.connect(str(tmp_path / "usage.duckdb")) as connection:
        found = connection.execute(block("percentile_cont")).fetchall()
    ((table, count, median, p95, latest),) = found
    assert (table, count) == (COMPLETIONS.table, 5)
    assert (median, latest) == (3.0, 5.0)
    assert p95 == pytest.approx(4.8)


async def collected(server, path, feeds):
    organization = Organization("acme", feeds=feeds, base_url=server.url, settle_after="3d")

    def client_of(organization, **options):
        return UsageClient(server.admin_key, base_url=organization.base_url, **options)

    async with open_store(f"duckdb:{path}") as store:
        return await collect(
            [organization], store, since="7d", client_of=client_of, runtime=Runtime(now=lambda: NOW)
        )


def test_the_query_of_the_readme_adds_up_to_the_total(tmp_path):
    async def work():
        async with Emulator(EMULATED, now=lambda: NOW) as server:
            runs = await collected(server, tmp_path / "u.duckdb", ["costs:1d:project+line_item"])
            async with client_of(server) as client:
                start = NOW - NOW % DAY - 7 * DAY
                return runs, await client.costs(start_time=start, end_time=NOW).total()

    (run,), total = asyncio.run(work())
    assert run.error is None
    (sql,) = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    with duckdb.connect(str(tmp_path / "u.duckdb")) as connection:
        rows = connection.execute(sql).fetchall()
    assert {name for _, name, _ in rows} <= {project.name for project in EMULATED.projects}
    assert sum((amount for *_, amount in rows), Decimal(0)) == total.amount_value


def test_the_files_of_systemd_and_kubernetes_name_options_that_exist():
    from usage_async._cli.commands.collect import collect as command

    known = {f"--{name.replace('_', '-')}" for name in command.__signature__.parameters}
    for text in (block("[Service]"), block("kind: CronJob")):
        options = set(re.findall(r"--[a-z-]+", text))
        assert options
        assert options <= known
