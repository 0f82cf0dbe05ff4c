"""The commands `collect` and `status`: what they ask, what they show, how they end."""

import json
import re
import signal
import subprocess
import sys
import threading
import traceback

import attrs
import pytest
from collecting import HOUR, Toy, put

from usage_async import UsageClient
from usage_async._cli.commands.status import status
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.store_options import store_url
from usage_async.collect import Feed, Run, Store, default_feeds
from usage_async.emulator import Emulator, Faults, Organization, Quirks
from usage_async.errors import StoreError

from .conftest import NOW

DAY = 86_400
ORGANIZATION = Organization()
PASSWORD = "canary-0123456789-AbCdEfGh"
FEEDS = ("--feed", "completions:1h:project+model", "--feed", "costs:1d:project")


@attrs.define(slots=False)
class Opened(Toy):
    """A store in memory.

    Attributes:
        urls: URLs by which it was opened.
    """

    urls: list[str] = attrs.Factory(list)


@pytest.fixture
def backend(bare, tmp_path, monkeypatch):
    """The store that every URL opens, in a folder that stays empty."""
    made = Opened()

    def open_store(url):
        made.urls.append(str(url))
        return Store(made)

    bare.setattr("usage_async.collect.open.open_store", open_store)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def server(serving):
    return serving(Emulator(ORGANIZATION, now=lambda: NOW))


@pytest.fixture
def organizations(tmp_path, bare, server):
    """A file of two organizations, one of which has no key."""
    bare.setenv("ACME_KEY", server.admin_key)
    file = tmp_path / "organizations.toml"
    file.write_text(
        'feeds = ["costs:1d"]\n'
        '[[organizations]]\nname = "acme"\nkey_variable = "ACME_KEY"\n'
        '[[organizations]]\nname = "globex"\nkey_variable = "GLOBEX_KEY"\n'
    )
    return file


def test_a_demonstration_is_collected_with_one_line_a_feed(cli, backend):
    ran = cli("collect", "--demo", "--since", "3d", columns=100)
    assert (ran.code, ran.err) == (0, "")
    head, *lines, last = ran.out.splitlines()
    assert head.split() == [
        "organization",
        "feed",
        "rows",
        "buckets",
        "requests",
        "revised",
        "time",
    ]
    assert [line.split()[:2] for line in lines] == [["demo", str(feed)] for feed in default_feeds()]
    assert last == "in usage-demo.duckdb"
    assert backend.urls == ["duckdb:usage-demo.duckdb"]
    assert len(backend.memory.tables["costs_by_project_line_item_1d"]) > 10


def test_what_was_collected_is_what_the_service_gives(cli, backend, server):
    import asyncio

    async def total():
        async with UsageClient(server.admin_key, base_url=server.url) as client:
            return await client.costs(start_time=NOW - 7 * DAY, end_time=NOW).total()

    ran = cli("collect", *FEEDS, "--since", "7d", "--name", "acme")
    assert ran.code == 0
    rows = backend.memory.tables["costs_by_project_1d"]
    assert {row["organization"] for row in rows} == {"acme"}
    assert sum(row["amount"] for row in rows) == asyncio.run(total()).amount_value
    assert backend.urls == ["duckdb:usage.duckdb"]
    assert any(key[1] == "project_id" for key in backend.memory.names)


def test_the_next_run_reads_little_and_says_what_was_revised(cli, backend, serving):
    server = serving(Emulator(ORGANIZATION, now=lambda: NOW, quirks=Quirks(settling_days=5)))
    cli("collect", *FEEDS, "--since", "6d")
    server.requests.clear()
    server.now = lambda: NOW + DAY
    ran = cli("collect", *FEEDS, "--format", "json", now=NOW + DAY)
    hours, days = map(json.loads, ran.out.splitlines())
    assert (hours["feed"], hours["table"]) == (FEEDS[1], "completions_by_project_model_1h")
    assert hours["buckets"] == 97
    assert days["buckets"] == 5
    assert hours["revised"] > 0
    assert (hours["error"], hours["organization"], hours["requests"]) == (None, "default", 1)


def test_names_are_not_read_if_they_are_not_wanted(cli, backend, server):
    assert cli("collect", *FEEDS, "--no-names", "--since", "2d").code == 0
    assert not backend.memory.names
    assert not any("projects" in request.path for request in server.requests)


def test_a_feed_that_fails_is_one_line_and_code_1(cli, backend, serving):
    serving(Emulator(ORGANIZATION, now=lambda: NOW, faults=Faults(forbidden_rate=1)))
    ran = cli("collect", "--feed", "costs:1d")
    assert ran.code == 1
    assert ran.err.startswith("usage-async: default, costs:1d: 403")
    assert ran.err.count("\n") == 1
    assert ran.out.splitlines()[1].split() == ["default", "costs:1d", "0", "0", "2", "0", "failed"]


def test_figures_that_were_rounded_and_buckets_that_were_not_sent_are_notes(cli, backend, serving):
    quirks = Quirks(missing_starts=(NOW - NOW % DAY - 2 * DAY,))
    serving(Emulator(ORGANIZATION, now=lambda: NOW, quirks=quirks))
    ran = cli("collect", "--feed", "costs:1d:project")
    assert ran.code == 0
    assert ran.err.count("usage-async: note: ") == 1
    assert "not sent" in ran.err or "missing" in ran.err


def test_rounded_figures_are_told(cli, backend, server, monkeypatch):
    async def collect(organizations, store, **_):
        return [Run(organization="a", feed=Feed("costs"), started_at=0, seconds=0, rounded=7)]

    monkeypatch.setattr("usage_async.collect.run.collect", collect)
    ran = cli("collect")
    assert ran.err == "usage-async: note: a, costs:1d: 7 figures were rounded\n"


def test_several_organizations_are_collected_and_one_costs_the_other_nothing(
    cli, backend, organizations
):
    ran = cli("collect", "--organizations", organizations, "--to", "postgresql://db.example/usage")
    assert ran.code == 1
    assert ran.err == (
        "usage-async: globex, costs:1d: GLOBEX_KEY, the variable of the key, is not set\n"
    )
    acme, globex = ran.out.splitlines()[1:]
    assert acme.split()[-1] == "s"
    assert globex.split()[-1] == "failed"
    assert backend.urls == ["postgresql://db.example/usage"]


def test_a_shard_is_a_part_of_the_organizations(cli, backend, organizations, bare):
    bare.setenv("STORE", "delta:somewhere")
    found = []
    for number in range(1, 6):
        ran = cli(
            "collect", "--organizations", organizations, "--to-env", "STORE",
            "--shard", f"{number}/5", "--format", "json",
        )  # fmt: skip
        names = [json.loads(line)["organization"] for line in ran.out.splitlines()]
        assert bool(names) != ("note: no organization is in this shard" in ran.err)
        found += names
    assert sorted(found) == ["acme", "globex"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to", "postgresql://me:secret@db/usage"], "--to holds a password"),
        (["--to", "postgresql://db/usage?password=secret"], "--to-env NAME"),
        (["--to", "delta:s3://x?aws_secret_access_key=secret"], "--to holds a password"),
        (["--to", "postgresql://me:secret@extra@db/usage"], "--to holds a password"),
        (["--to", "postgresql://db/usage?pasword=secret"], "--to holds a password"),
        (["--to", "postgresql://db/usage?sslmode=require&PWD=secret"], "--to holds a password"),
        (["--to", "postgresql://db/usage?scram_client_key=secret"], "--to holds a password"),
        (["--to", "duckdb:x", "--to-env", "STORE"], "leave one out"),
        (["--to-env", "NO_STORE"], "--to-env NO_STORE: this variable is not set"),
        (["--shard", "2/5"], "a DuckDB file takes one at a time"),
        (["--shard", "6/5", "--to", "delta:x"], "--shard takes the number of the shard"),
        (["--shard", "five"], "--shard takes the number of the shard"),
        (["--every", "often"], "--every takes"),
        (["--every", "2026-10-01"], "--every takes a length of time such as 1h"),
        (["--every", "0s"], "--every takes a length of time such as 1h, 90m or 2d; not '0s'"),
        (["--organizations", "x", "--name", "y"], "leave --name and --demo out"),
        (["--organizations", "x", "--demo"], "leave --name and --demo out"),
        (["--organizations", "gone.toml"], "gone.toml: No such file or directory"),
        (["--feed", "cost:1d"], "there is no endpoint 'cost'"),
        (["--since", "soon"], "since takes"),
        (["--since", "2030-01-01"], "is in the future"),
        (["--name", "a/b"], "'a/b' cannot be the name of an organization"),
    ],
)
@pytest.mark.usefixtures("backend", "server")
def test_a_wrong_command_is_one_line_and_code_2(cli, arguments, says):
    ran = cli("collect", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1
    assert "secret@" not in ran.err
    assert "=secret" not in ran.err


@pytest.mark.parametrize(
    "name",
    [
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "dbname",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "host",
        "hostaddr",
        "keepalives",
        "keepalives_idle",
        "krbsrvname",
        "load_balance_hosts",
        "options",
        "passfile",
        "port",
        "require_auth",
        "requirepeer",
        "service",
        "sslcert",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "sslsni",
        "ssl_min_protocol_version",
        "target_session_attrs",
        "tcp_user_timeout",
        "user",
    ],
)
def test_a_parameter_of_postgresql_that_is_no_secret_is_taken(name):
    url = f"postgresql://db/usage?{name}=any"
    assert store_url(url, None) == url


def test_without_a_key_one_line_says_what_to_set(cli, backend):
    ran = cli("collect")
    assert ran.code == 2
    assert "OPENAI_ADMIN_KEY" in ran.err
    assert backend.urls == []


# Again and again


class Ends(BaseException):
    """Ends a command that would go on for ever."""


@pytest.fixture
def rounds(bare, capsys):
    """Run a command by a clock that ends it after some waits: its waits, and what it wrote."""
    from usage_async import Runtime
    from usage_async._cli.dispatch import run_command

    def run(count, *tokens):
        waits, now = [], [float(NOW)]

        async def sleep(seconds):
            waits.append(seconds)
            now[0] += seconds
            if len(waits) == count:
                raise Ends

        runtime = Runtime(
            now=lambda: now[0], monotonic=lambda: now[0], sleep=sleep, random=lambda: 0.5
        )
        with pytest.raises(Ends):
            run_command(list(map(str, tokens)), runtime=runtime)
        return waits, capsys.readouterr()

    return run


def test_it_collects_again_and_again_with_a_little_chance(rounds, backend, server):
    waits, wrote = rounds(3, "collect", "--feed", "costs:1d", "--every", "1h", "--format", "json")
    assert waits == [3600 + 180] * 3
    assert len(wrote.out.splitlines()) == 3
    assert len(backend.urls) == 3


def test_a_store_that_is_down_is_one_line_and_the_next_round_goes_on(rounds, backend, server, bare):
    tried = []

    def open_store(url):
        tried.append(url)
        if len(tried) < 3:
            raise StoreError("the database is down")
        return Store(backend)

    bare.setattr("usage_async.collect.open.open_store", open_store)
    _, wrote = rounds(3, "collect", "--feed", "costs:1d", "--every", "1h")
    assert wrote.err == "usage-async: the database is down\n" * 2
    assert "costs:1d" in wrote.out


def test_organizations_are_read_again_each_round(rounds, backend, organizations, bare):
    states = []

    def open_store(url):
        states.append(organizations.read_text())
        organizations.write_text("broken")
        return Store(backend)

    bare.setattr("usage_async.collect.open.open_store", open_store)
    _, wrote = rounds(
        2, "collect", "--organizations", organizations, "--every", "1h", "--format", "json"
    )
    assert len(states) == 1
    assert "organizations.toml is not TOML" in wrote.err


def test_a_bug_in_a_later_round_is_one_line_and_the_next_round_goes_on(
    rounds, backend, server, bare
):
    tried = []

    def open_store(url):
        tried.append(url)
        if len(tried) == 2:
            raise ZeroDivisionError
        return Store(backend)

    bare.setattr("usage_async.collect.open.open_store", open_store)
    _, wrote = rounds(3, "collect", "--feed", "costs:1d", "--every", "1h", "--format", "json")
    assert "this is a bug" in wrote.err
    assert len(wrote.out.splitlines()) == 2


def test_what_is_wrong_from_the_start_ends_it(cli, backend, server):
    assert cli("collect", "--every", "1h", "--feed", "cost").code == 2


PROGRAM = """
import sys, threading
from collections.abc import Callable
from usage_async import Runtime
from usage_async._cli import main
from usage_async.collect import Store
import usage_async.collect.open
from collecting import Toy

class Slow(Toy):
    keeps_names = False
    def apply(self, snapshot, seen_at):
        print("begun", flush=True)
        sys.stdin.readline()
        found = super().apply(snapshot, seen_at)
        print("applied", flush=True)
        return found
    def close(self):
        print("closed", flush=True)

usage_async.collect.open.open_store = lambda url: Store(Slow())
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_lets_the_snapshot_that_is_being_applied_end(server, number, code):
    import os
    from pathlib import Path

    arguments = ["collect", "--every", "1h", "--since", "2d", "--to", "delta:x"]
    arguments += ["--feed", "completions:1h", "--feed", "costs:1d"]
    with subprocess.Popen(  # noqa: S603 - this very Python
        [sys.executable, "-c", PROGRAM, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        # The signal is handled while the snapshot is being applied; it goes on after this line.
        threading.Timer(0.2, lambda: (process.stdin.write("\n"), process.stdin.flush())).start()
        assert process.stdout.read().splitlines() == ["applied", "closed"]
        assert process.wait() == code


def test_a_bar_shows_the_progress_on_a_terminal(cli, backend, server, monkeypatch):
    from contextlib import contextmanager

    steps = []

    @contextmanager
    def progress(console, what, total):
        steps.append(total)
        yield steps.append

    monkeypatch.setattr("usage_async.report.terminal.page.progress", progress)
    assert cli("collect", *FEEDS, "--since", "2d").code == 0
    total, *made = steps
    assert total == 2
    assert sum(made) == pytest.approx(2)
    assert min(made) >= 0


# Status


@pytest.fixture
def collected(backend):
    """A store with one feed of an organization, and a file of its name."""
    put(backend, [[] for _ in range(24)], start=NOW - NOW % HOUR - DAY, as_of=NOW - HOUR)
    backend.record(
        Run(
            organization="acme",
            feed=Feed.parse("completions:1h:project+model"),
            started_at=NOW - HOUR,
            seconds=1.0,
        )
    )
    return backend


def test_status_says_how_far_each_feed_is(cli, collected):
    ran = cli("status", "--to", "postgresql://db/usage", columns=140, tty=True)
    assert (ran.code, ran.err) == (0, "")
    head, line = ran.out.splitlines()
    assert head.split("  ")[0] == "organization"
    assert line.split()[:2] == ["acme", "completions:1h:project+model"]
    assert re.findall(r"2026\S+ \S+", line) == [
        "2026-11-22 12:00",
        "2026-11-19 11:00",
        "2026-11-22 11:00",
    ]
    assert line.split()[-3:] == ["0", "0", "ok"]


@pytest.mark.parametrize(("age", "code"), [("1h", 0), ("59m", 4)])
def test_status_ends_with_4_when_the_last_run_is_too_old(cli, collected, age, code):
    ran = cli("status", "--to", "delta:x", "--max-age", age, columns=140)
    assert ran.code == code
    assert ("acme, completions:1h:project+model was collected 1 h ago" in ran.out) == bool(code)


def test_status_ends_with_4_when_the_last_run_failed(cli, collected):
    ((key, run),) = collected.memory.runs.items()
    collected.memory.runs[key] = attrs.evolve(run, error="401: no \x1bkey")
    ran = cli("status", "--to", "delta:x", columns=140)
    assert ran.code == 4
    assert "failed: 401: no" in ran.out
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(
    ("ahead", "is_run_kept", "code"),
    [(400 * DAY, True, 4), (400 * DAY, False, 4), (2 * HOUR, False, 4), (60, False, 0)],
)
def test_status_tells_that_the_clock_of_the_last_run_was_ahead(
    cli, collected, ahead, is_run_kept, code
):
    ((key, run),) = collected.memory.runs.items()
    collected.memory.runs[key] = attrs.evolve(run, started_at=NOW + ahead)
    if not is_run_kept:
        collected.memory.runs.clear()
        put(collected, [[]], start=NOW - NOW % HOUR - HOUR, as_of=NOW + ahead)
    ran = cli("status", "--to", "delta:x", columns=200)
    assert ran.code == code
    assert ("which is in the future: the clock of that run was ahead" in ran.out) == bool(code)
    # The next run by a right clock is the last one.
    collected.memory.runs[key] = run
    put(collected, [[]], start=NOW - NOW % HOUR - HOUR, as_of=NOW - 60)
    assert cli("status", "--to", "delta:x").code == 0


def test_status_ends_with_4_when_a_run_that_was_cut_off_left_the_figures_far_behind(cli, collected):
    ((key, run),) = collected.memory.runs.items()
    late = NOW + 5 * HOUR
    collected.memory.runs[key] = attrs.evolve(run, started_at=late)
    ran = cli("status", "--to", "delta:x", now=late, columns=200)
    assert ran.code == 4
    assert "holds figures to 2026-11-22 12:00 only: the last run was cut off" in ran.out
    assert cli("status", "--to", "delta:x", "--max-age", "4h", now=late).code == 0


def test_status_tells_of_buckets_that_were_not_sent(cli, collected):
    first = NOW - NOW % HOUR
    put(collected, [[], None, [], None, [], []], start=first, as_of=first + 6 * HOUR)
    ran = cli("status", "--to", "delta:x", now=NOW + 6 * HOUR, columns=200)
    assert ran.code == 0
    assert (
        "acme, completions:1h:project+model: 2 buckets missing from 2026-11-22 13:00 on, which the"
        " service has not sent: collect asks for them again for 30 days"
    ) in " ".join(ran.out.split())
    # The hour after these buckets was not sent to the next run, nor was any later one.
    ((key, run),) = collected.memory.runs.items()
    collected.memory.runs[key] = attrs.evolve(run, started_at=first + 7 * HOUR + 60)
    put(collected, [[]] * 4, start=first, as_of=first + 6 * HOUR)
    ran = cli("status", "--to", "delta:x", now=NOW + 8 * HOUR, columns=200)
    assert "1 bucket missing from 2026-11-22 18:00 on" in ran.out


def test_status_counts_what_the_file_wants_and_nothing_else(cli, collected, tmp_path):
    file = tmp_path / "organizations.toml"
    entry = '[[organizations]]\nname = "{}"\nkey_variable = "A_{}"\nfeeds = ["{}"]\n'
    first = entry.format("acme", 1, "completions:1h:project+model")
    file.write_text(first)
    arguments = ("status", "--to", "delta:x", "--organizations", file, "--format", "json")
    assert cli(*arguments).code == 0
    file.write_text(first + entry.format("globex", 2, "costs"))
    ran = cli(*arguments)
    assert ran.code == 4
    acme, globex = map(json.loads, ran.out.splitlines())
    assert (acme["organization"], acme["stopped"], acme["run"]["seconds"]) == ("acme", None, 1.0)
    assert acme["settled_through"] == NOW - HOUR - 3 * DAY
    assert (globex["feed"], globex["stopped"]) == ("costs:1d", "was never collected")
    assert globex["run"] is None
    file.write_text(entry.format("globex", 2, "costs"))
    text = cli(*arguments[:-2], columns=140)
    assert text.code == 4
    assert "acme" not in text.out
    assert "was never collected" in text.out


def test_a_store_without_runs_is_judged_by_its_places(cli, collected):
    collected.memory.runs.clear()
    assert "2026-11-22 11:00" in cli("status", "--to", "delta:x", columns=140).out


def test_status_of_an_empty_store_has_stopped(cli, backend):
    ran = cli("status", "--to", "delta:x")
    assert (ran.code, ran.out) == (4, "")
    assert "nothing was ever collected" in ran.err


def test_status_makes_no_file(cli, backend, tmp_path):
    ran = cli("status")
    assert ran.code == 1
    assert "there is no file usage.duckdb" in ran.err
    ran = cli("status", "--to", "duckdb:~nobody-of-this-name/usage.duckdb")
    assert ran.code == 1
    assert "there is no file ~nobody-of-this-name/usage.duckdb" in ran.err
    assert not list(tmp_path.iterdir())
    assert backend.urls == []


def test_status_reads_a_file_that_is_there(cli, collected, tmp_path):
    (tmp_path / "usage.duckdb").touch()
    assert cli("status").code == 0


def test_no_traceback_of_status_shows_a_password(monkeypatch):
    monkeypatch.setenv("STORE", f"postgresql://me:{PASSWORD}@127.0.0.1:1/usage")
    with pytest.raises(StoreError) as raised:
        status(
            to=None,
            to_env="STORE",
            organizations=None,
            max_age="3h",
            format="text",
            debug=False,
            context=Context(None, {}),
        )
    found = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    assert PASSWORD not in "".join(found.format())
