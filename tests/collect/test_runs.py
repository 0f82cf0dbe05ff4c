"""Runs of many organizations: complete, apart, bounded, and again after whatever went wrong."""

import asyncio
import json
import logging
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import attrs
import pytest
from collecting import Toy, ToyShelf
from service import DAY, KEY, NOW, Clock, page, serve, turns

from usage_async import Limiter, RetryPolicy, UsageClient
from usage_async.collect import (
    Feed,
    Organization,
    Store,
    clients,
    collect,
    collect_organization,
)
from usage_async.collect import work as module
from usage_async.collect.run import REQUESTS, first_start
from usage_async.errors import APIConnectionError, ConfigurationError, QueryError, StoreError

HOURS = Feed.parse("completions:1h")
DAYS = Feed.parse("completions:1d")
GONE = (503, {}, b"")


@attrs.define(slots=False)
class Observed(Toy):
    """A store in memory that tells of each snapshot.

    Attributes:
        applied: Names and tables of the organizations whose snapshots were applied.
        before: Function that is called before each snapshot is applied.
    """

    applied: list[tuple[str, str]] = attrs.Factory(list)
    before: Callable[[Any], object] = lambda _: None

    def apply(self, snapshot, seen_at):
        """See `Backend`."""
        self.before(snapshot)
        self.applied.append((snapshot.organization, snapshot.feed.table))
        return super().apply(snapshot, seen_at)


@attrs.define
class Service:
    """A service that answers after some turns of the loop, or as it is told."""

    answer: Callable[..., Any] | None = None
    sent: list[str] = attrs.Factory(list)

    async def __call__(self, path, params, headers):
        self.sent.append(path)
        await turns(2)
        given = self.answer(path, params) if self.answer else None
        if asyncio.iscoroutine(given):
            given = await given
        return (200, {}, serve(params)) if given is None else given


class Many:
    """Organizations and their services, by a clock that passes only by sleeping."""

    def __init__(self, *names: str, feeds: Any = (HOURS, DAYS)) -> None:
        self.clock = Clock(NOW)
        self.services = {name: Service() for name in names}
        self.organizations = [
            Organization(name, feeds=feeds, key_variable=f"KEY_{name}") for name in names
        ]
        self.backend = Observed()
        self.store = Store(self.backend)
        self.clients: list[UsageClient] = []

    def client_of(self, organization: Organization, **options: Any) -> UsageClient:
        self.clients.append(UsageClient(KEY, transport=self.services[organization.name], **options))
        return self.clients[-1]

    async def collect(self, **options: Any) -> Any:
        given = {"client_of": self.client_of, "runtime": self.clock.runtime, "since": "3d"}
        return await collect(self.organizations, self.store, **{**given, **options})

    def rows(self, feed: Feed, name: str) -> list[int]:
        rows = self.backend.memory.tables[feed.table]
        return [row["input_tokens"] for row in rows if row["organization"] == name]


def starts(feed: Feed, days: int = 3) -> list[int]:
    """Figures of the buckets of some days, as `service.bucket` makes them."""
    width = feed.width_s
    begun = NOW - days * DAY
    return [start // width for start in range(begun - begun % width, NOW, width)]


async def test_every_feed_of_every_organization_is_collected(nothing_left):
    many = Many("acme", "globex")
    runs = await many.collect()
    assert [(run.organization, run.feed) for run in runs] == [
        (name, feed) for name in ("acme", "globex") for feed in (HOURS, DAYS)
    ]
    for run in runs:
        assert run.error is None
        expected = starts(run.feed)
        assert sorted(many.rows(run.feed, run.organization)) == expected
        assert (run.rows, run.buckets, run.requests) == (len(expected), len(expected), 1)
        assert (run.revised, run.missing, run.rounded) == (0, 0, 0)
        assert run.started_at == NOW
    assert all(run in many.backend.memory.runs.values() for run in runs)


async def test_a_run_counts_the_figures_that_the_store_has_rounded(monkeypatch):
    apply = Toy.apply
    monkeypatch.setattr(Toy, "apply", lambda *given: attrs.evolve(apply(*given), rounded=7))
    assert [run.rounded for run in await Many("acme").collect()] == [7, 7]


async def test_the_next_run_reads_what_may_still_change_and_nothing_before():
    many = Many("acme")
    await many.collect(since="31d")
    many.clock.now += DAY
    for run in await many.collect():
        # No bucket after the last one was sent, so that one may not have ended.
        assert run.rows == 4 * DAY // run.feed.width_s + 1
    hour = NOW // 3600
    assert sorted(many.rows(HOURS, "acme")) == list(range(hour - 31 * 24, hour + 24))


async def test_buckets_that_were_not_sent_are_counted_also_after_the_last_one():
    many = Many("acme", feeds=[DAYS])
    await many.collect(since="10d")
    left_out = {NOW - 2 * DAY, NOW, NOW + DAY}

    def answer(path, params):
        page = json.loads(serve(params))
        kept = [each for each in page["data"] if each["start_time"] not in left_out]
        return 200, {}, json.dumps({**page, "data": kept}).encode()

    many.services["acme"].answer = answer
    many.clock.now += DAY
    (run,) = await many.collect()
    assert (run.missing, run.error) == (1, None)
    many.clock.now += DAY
    (run,) = await many.collect()
    assert run.missing == 2
    left_out.clear()
    (run,) = await many.collect()
    assert run.missing == 0


async def test_an_earlier_start_reads_everything_from_there_and_a_later_one_changes_nothing():
    many = Many("acme", feeds=[DAYS])
    await many.collect(since="10d")
    (run,) = await many.collect(since="1d")
    assert run.rows == 4
    (run,) = await many.collect(since="20d")
    assert run.rows == 20
    assert sorted(many.rows(DAYS, "acme")) == starts(DAYS, 20)


async def test_without_a_start_the_first_run_reads_31_days_and_the_next_goes_on():
    many = Many("acme", feeds=[DAYS])
    (run,) = await many.collect(since=None)
    assert run.rows == 31
    many.clock.now += DAY
    (run,) = await many.collect(since=None)
    assert run.rows == 5
    assert sorted(many.rows(DAYS, "acme")) == list(range(NOW // DAY - 31, NOW // DAY + 1))


@pytest.mark.parametrize(
    ("since", "start"),
    [
        ("2d", NOW - 2 * DAY),
        (NOW - 5, NOW - 5),
        ("2026-09", 1_788_220_800),
        ("2026-09-01", 1_788_220_800),
        ("this-year", 1_767_225_600),
        ("9999d", NOW - 9999 * DAY),
        ("99999d", 0),
    ],
)
def test_since_takes_instants_and_the_starts_of_periods(since, start):
    assert first_start(since, NOW) == start


@pytest.mark.parametrize(
    ("since", "says"),
    [
        ("soon", "since takes"),
        ("2027-10-01", "in the future"),
        ("2026-W60", "since takes"),
        (1.5, "since takes"),
    ],
)
async def test_another_since_is_refused_before_any_request(since, says):
    many = Many("acme")
    with pytest.raises(QueryError, match=says):
        await many.collect(since=since)
    assert not many.services["acme"].sent


async def test_a_service_that_sends_nothing_is_no_failure():
    many = Many("acme", feeds=[DAYS])
    many.clock.now += DAY // 2
    many.services["acme"].answer = lambda *_: (200, {}, page())
    (run,) = await many.collect(since="1h")
    assert (run.error, run.rows, run.buckets) == (None, 0, 0)


async def test_feeds_that_are_asked_for_replace_those_of_the_organizations():
    many = Many("acme", "globex")
    runs = await many.collect(feeds=["completions:1d", "completions:1m"], since="1h")
    assert [str(run.feed) for run in runs] == ["completions:1d", "completions:1m"] * 2


async def test_two_organizations_of_one_name_are_refused():
    many = Many("acme")
    many.organizations *= 2
    with pytest.raises(ConfigurationError, match="two organizations 'acme'"):
        await many.collect()


FAILURES = {
    "refused": (401, {}, b"{}"),
    "throttled": (429, {"retry-after": "300"}, b"{}"),
    "without credit": (429, {}, b'{"error": {"code": "insufficient_quota"}}'),
}


@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES)
async def test_what_holds_for_a_key_is_asked_once_and_costs_the_others_nothing(
    monkeypatch, nothing_left, reply
):
    monkeypatch.setattr(module, "FEEDS_AT_ONCE", 1)
    many = Many("acme", "bad", "globex")
    many.services["bad"].answer = lambda *_: reply
    runs = await many.collect()
    assert [run.error is None for run in runs] == [True, True, False, False, True, True]
    bad = [run for run in runs if run.error]
    assert len({run.error for run in bad}) == 1
    assert "\n" not in bad[0].error
    assert str(reply[0]) in bad[0].error
    assert len(many.services["bad"].sent) == 1
    assert [run.requests for run in bad] == [1, 0]
    assert all(run in many.backend.memory.runs.values() for run in runs)


async def test_a_service_that_fails_for_one_feed_is_asked_for_the_others(monkeypatch):
    monkeypatch.setattr(module, "FEEDS_AT_ONCE", 1)
    many = Many("acme", feeds=[DAYS, HOURS, Feed.parse("completions:1m")])
    many.services["acme"].answer = lambda _, params: (
        GONE if ("bucket_width", "1h") in params else None
    )
    runs = await many.collect(since="5h")
    assert [run.error is None for run in runs] == [True, False, True]
    assert runs[1].requests == 5


async def test_a_client_that_cannot_be_made_is_the_error_of_each_feed():
    many = Many("acme")

    def client_of(_, **options):
        raise ConfigurationError("no such thing")

    runs = await many.collect(client_of=client_of)
    assert [run.error for run in runs] == ["no such thing"] * 2
    assert len(many.backend.memory.runs) == 2


@pytest.mark.parametrize("operation", ["named_at", "record", "remember"])
@pytest.mark.parametrize("has_client", [True, False])
async def test_a_bug_of_a_store_stays_in_its_organization(caplog, operation, has_client):
    many = Many("acme", "globex", feeds=[BY_PROJECT])
    for service in many.services.values():
        service.answer = named
    do = getattr(many.backend, operation)

    def fail(*given):
        if "acme" in (given[0], getattr(given[0], "organization", None)):
            raise ZeroDivisionError(f"by {KEY}\nand more")
        return do(*given)

    setattr(many.backend, operation, fail)
    if not has_client:
        many.services.pop("acme")
    client_of = many.client_of

    def made(organization, **options):
        if organization.name not in many.services:
            raise ConfigurationError("no such thing")
        return client_of(organization, **options)

    bad, good = await many.collect(client_of=made)
    assert good.error is None
    assert many.rows(BY_PROJECT, "globex")
    if not has_client:
        assert bad.error == "no such thing"
    elif operation == "record":
        assert bad.error.startswith("ZeroDivisionError: by … and more: this is a bug")
    else:
        assert bad.error is None
    assert KEY not in caplog.text


async def test_a_bug_is_the_error_of_its_feed_without_the_key(caplog, monkeypatch):
    many = Many("acme")

    def apply(snapshot):
        if snapshot.feed == HOURS:
            raise ZeroDivisionError(f"by {KEY}\nand more")

    many.backend.before = apply
    bad, good = await many.collect()
    assert (
        bad.error
        == "ZeroDivisionError: by … and more: this is a bug in usage-async, please report it"
    )
    assert good.error is None
    assert KEY not in caplog.text
    assert "acme, completions:1h: ZeroDivisionError" in caplog.text


async def test_a_store_that_cannot_be_written_is_the_error_of_the_run():
    many = Many("acme")

    def record(_):
        raise StoreError("the disk is full")

    many.backend.record = record
    assert [run.error for run in await many.collect()] == ["the disk is full"] * 2


async def test_a_table_of_another_feed_is_the_error_of_one_run():
    many = Many("acme", feeds=[Feed("completions", "1h", table="mine"), DAYS])
    many.backend.memory.feeds["mine"] = HOURS
    bad, good = await many.collect()
    assert "mine holds" in bad.error
    assert bad.requests == 0
    assert good.error is None


def overtaken(many: Many, times: int) -> Callable[[Any], None]:
    """Another run applies the same just before, some times."""
    other = ToyShelf(many.backend.memory).open()
    left = [times]

    def before(snapshot):
        if left[0]:
            left[0] -= 1
            mine = other.place(snapshot.organization, snapshot.feed)
            other.apply(attrs.evolve(snapshot, place=mine), snapshot.as_of)

    return before


async def test_a_run_that_was_overtaken_reads_again():
    many = Many("acme", feeds=[HOURS])
    many.backend.before = overtaken(many, 2)
    (run,) = await many.collect()
    assert run.error is None
    assert run.requests == 3
    # The waiting took the clock into the next hour.
    assert sorted(many.rows(HOURS, "acme")) == [*starts(HOURS), NOW // 3600]
    assert many.backend.place("acme", HOURS).number == 3
    assert many.clock.slept == [0.5, 1.0]


async def test_a_run_that_is_always_overtaken_gives_up():
    many = Many("acme", feeds=[HOURS])
    many.backend.before = overtaken(many, 99)
    (run,) = await many.collect()
    assert "another run" in run.error
    assert run.requests == module.TRIES
    assert run.rows == 0


async def test_a_snapshot_is_applied_while_the_next_is_read(monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 100)
    many = Many("acme", feeds=[HOURS])
    free, in_time = threading.Event(), []

    def hold(snapshot):
        in_time.append(free.wait(10))

    def answer(path, params):
        if len(many.services["acme"].sent) == 2:
            free.set()

    many.backend.before = hold
    many.services["acme"].answer = answer
    (run,) = await many.collect(since="20d", concurrency=1)
    assert run.error is None
    assert all(in_time)
    assert sorted(many.rows(HOURS, "acme")) == starts(HOURS, 20)
    assert many.backend.place("acme", HOURS).number == 5


async def test_a_failure_in_the_middle_keeps_what_was_applied(monkeypatch, nothing_left):
    monkeypatch.setattr(module, "_MOST_ROWS", 100)
    many = Many("acme", feeds=[HOURS])
    days = {2: (400, {}, b"{}")}

    def answer(path, params):
        start = int(dict(params)["start_time"])
        return days.get((start - (NOW - 20 * DAY)) // (7 * DAY))

    many.services["acme"].answer = answer
    (run,) = await many.collect(since="20d")
    assert "400" in run.error
    assert run.rows == 300
    days.clear()
    (run,) = await many.collect(since="20d")
    assert run.error is None
    # Three days of what was applied had not settled: the service had sent nothing younger.
    assert run.rows == 480 - 300 + 72
    assert sorted(many.rows(HOURS, "acme")) == starts(HOURS, 20)


async def test_a_cancellation_waits_for_the_snapshot_that_is_applied_and_drops_the_others(
    nothing_left,
):
    many = Many("acme", "globex")
    begun, free = threading.Event(), threading.Event()

    def hold(_):
        begun.set()
        free.wait(10)

    many.backend.before = hold
    task = asyncio.create_task(many.collect())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await turns(5)
    assert not task.done()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(many.backend.applied) == 1
    for client in many.clients:
        with pytest.raises(ConfigurationError, match="closed"):
            await client.completions(period="1d").total()


async def test_a_cancellation_while_the_service_is_waited_for_ends_at_once(nothing_left):
    many = Many("acme")
    begun = asyncio.Event()

    async def hang(*_):
        begun.set()
        await asyncio.Event().wait()

    many.services["acme"].answer = hang
    task = asyncio.create_task(many.collect())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_only_so_many_organizations_are_read_at_once():
    names = [f"o{n}" for n in range(9)]
    many = Many(*names, feeds=[DAYS])
    most, now = [], set()

    def client_of(organization, **options):
        client = many.client_of(organization, **options)
        now.add(organization.name)
        most.append(len(now))
        end = client.close

        async def close():
            now.discard(organization.name)
            await end()

        client.close = close
        return client

    runs = await many.collect(at_once=2, client_of=client_of)
    assert not any(run.error for run in runs)
    assert max(most) == 2


async def test_a_silent_organization_gives_its_place_to_others(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.02)
    many = Many("silent", "acme", "globex", feeds=[DAYS])
    free = asyncio.Event()
    done = []

    def on_progress(progress):
        if progress.run:
            done.append(progress.organization)
            if len(done) == 2:
                free.set()

    many.services["silent"].answer = hang = Hang(free)
    runs = await many.collect(at_once=1, on_progress=on_progress)
    assert hang.asked
    assert sorted(done[:2]) == ["acme", "globex"]
    assert not any(run.error for run in runs)


@pytest.mark.parametrize(("silence_s", "asked"), [(60, 3), (-1, 2)])
async def test_a_service_that_falls_silent_is_not_asked_for_every_feed(
    monkeypatch, silence_s, asked
):
    monkeypatch.setattr(module, "FEEDS_AT_ONCE", 1)
    monkeypatch.setattr(module, "SILENCE_S", silence_s)
    many = Many("acme", feeds=["completions", "embeddings", "moderations"])
    service = many.services["acme"]

    def answer(path, params):
        if not path.endswith("completions"):
            raise APIConnectionError("no answer")

    service.answer = answer
    one, two, three = await many.collect(retry=RetryPolicy(attempts=1))
    assert one.error is None
    assert two.error
    assert three.error
    assert len(service.sent) == asked


class Hang:
    """A service that is silent until it is freed."""

    def __init__(self, free):
        self.free, self.asked = free, False

    async def __call__(self, path, params):
        self.asked = True
        await self.free.wait()


class Loop:
    """A clock of an event loop that the test moves.

    Attributes:
        due: The time of the next call, and the call.
    """

    def __init__(self):
        self.now, self.due = 0.0, None

    def time(self):
        return self.now

    def call_at(self, when, call):
        self.due = (when, call)
        return self

    def cancel(self):
        self.due = None

    def pass_by(self, seconds):
        end = self.now + seconds
        while self.due is not None and self.due[0] <= end:
            (self.now, call), self.due = self.due, None
            call()
        self.now = end


class Places:
    """A bound that counts the places that were freed.

    Attributes:
        freed: Number of places that were freed.
    """

    def __init__(self):
        self.freed = 0

    def release(self):
        self.freed += 1


def test_an_organization_that_waits_for_the_store_keeps_its_place(monkeypatch):
    loop, places = Loop(), Places()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    shared = attrs.make_class("Shared", ["places"])(places)
    work = module.Work(shared, Organization("acme"))
    with work.in_place():
        work.storing = 1
        loop.pass_by(100)
        assert places.freed == 0
        work.storing = 0
        loop.pass_by(9)
        assert places.freed == 0
        loop.pass_by(2)
        assert places.freed == 1
    assert places.freed == 1
    with work.in_place():
        pass
    assert places.freed == 2
    assert loop.due is None


async def test_limits_are_shared_and_options_are_those_of_every_client():
    many = Many("acme", "globex")
    limiter, events = Limiter(3), []
    await many.collect(limiter=limiter, concurrency=5, trace=events.append)
    assert [client.limiter.maximum for client in many.clients] == [5, 5]
    assert all(client.limiter.shared is limiter for client in many.clients)
    assert len(events) == 4
    many.clients.clear()
    await many.collect()
    assert {client.limiter.shared.maximum for client in many.clients} == {REQUESTS}
    with pytest.raises(ConfigurationError, match="at_once"):
        await many.collect(at_once=0)


async def test_one_session_serves_all_and_is_closed_at_the_end(monkeypatch):
    monkeypatch.setenv("KEY_acme", KEY)
    monkeypatch.setenv("KEY_globex", KEY + "2")
    many = Many("acme", "globex", feeds=[DAYS])
    sessions = []

    async def send(transport, path, params, headers):
        sessions.append(transport._given_session)
        assert transport._timeout.connect == 10
        return 200, {}, serve(params)

    from usage_async._http.transport import AiohttpTransport

    monkeypatch.setattr(AiohttpTransport, "__call__", send)
    runs = await many.collect(client_of=clients.client_of)
    assert not any(run.error for run in runs)
    assert len(sessions) == 2
    assert len(set(sessions)) == 1
    assert sessions[0].closed


async def test_a_source_that_fails_is_asked_once():
    asked = []

    async def read(organization):
        asked.append(organization.name)
        raise ConfigurationError("there is no key")

    many = Many("acme", "globex", feeds=[DAYS, HOURS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "read_key", read)
        runs = await many.collect(client_of=clients.client_of)
    assert [run.error for run in runs] == ["there is no key"] * 4
    assert asked == ["acme", "globex"]


async def test_progress_is_told_after_each_snapshot_and_each_feed(monkeypatch):
    monkeypatch.setattr(module, "_MOST_ROWS", 100)
    many = Many("acme", feeds=[HOURS])
    told = []
    (run,) = await many.collect(since="20d", on_progress=told.append)
    assert [each.rows for each in told] == [100, 200, 300, 400, 480, 480]
    assert [each.share for each in told] == sorted(each.share for each in told)
    assert 0.2 < told[0].share < 0.25
    assert [each.run for each in told] == [None] * 5 + [run]
    assert told[-1].share == 1.0


@pytest.mark.parametrize(
    ("organizations", "rows"), [(0, 20_000), (1, 20_000), (2, 10_000), (4, 5_000), (500, 5_000)]
)
def test_the_more_organizations_are_read_at_once_the_smaller_a_snapshot_is(organizations, rows):
    assert module.rows_of_a_snapshot(organizations) == rows


@pytest.mark.parametrize(("at_once", "rows"), [(1, 100), (2, 50)])
async def test_only_organizations_that_are_read_at_once_share_the_rows(monkeypatch, at_once, rows):
    for name, value in {"_ROWS_HELD": 800, "_FEWEST_ROWS": 10, "_MOST_ROWS": 100}.items():
        monkeypatch.setattr(module, name, value)
    many = Many("acme", "globex", feeds=[HOURS])
    sizes = set()
    many.backend.before = lambda snapshot: sizes.add(snapshot.table.num_rows)
    await many.collect(since="400h", at_once=at_once)
    assert sizes == {rows}


# Names


PROJECTS = b'{"object": "list", "data": [{"id": "proj_1", "name": "Search"}], "has_more": false}'
BY_PROJECT = Feed.parse("completions:1d:project")


def named(path, params):
    """A service whose rows are of one project, and which lists it."""
    if path == "/organization/projects":
        return 200, {}, PROJECTS
    if path.startswith("/organization/usage"):
        body = serve(params).replace(b'"output_tokens"', b'"project_id": "proj_1", "output_tokens"')
        return 200, {}, body
    raise AssertionError(path)


async def test_names_are_read_once_a_day_and_kept():
    many = Many("acme", feeds=[BY_PROJECT])
    service = many.services["acme"]
    service.answer = named
    await many.collect()
    ((key, row),) = many.backend.memory.names.items()
    assert key == ("acme", "project_id", "proj_1")
    assert (row["name"], row["last_seen"]) == ("Search", NOW)
    for later, lists in [(3600, 0), (DAY - 3601, 0), (1, 1), (-2 * DAY, 1)]:
        many.clock.now += later
        service.sent.clear()
        await many.collect(since="1d" if later > 0 else "3d")
        assert service.sent.count("/organization/projects") == lists


async def test_a_feed_that_is_added_has_its_names_read_at_once():
    many = Many("acme", feeds=[BY_PROJECT])
    many.services["acme"].answer = named
    await many.collect()
    many.services["acme"].sent.clear()
    await many.collect(feeds=[BY_PROJECT, "completions:1h:project"])
    assert many.services["acme"].sent.count("/organization/projects") == 1


@pytest.mark.parametrize("how", ["names", "keeps_names", "no ids"])
async def test_names_are_not_read_if_they_are_not_wanted_kept_or_needed(how):
    many = Many("acme", feeds=[DAYS if how == "no ids" else BY_PROJECT])
    many.services["acme"].answer = None if how == "no ids" else named
    if how == "keeps_names":
        many.backend.keeps_names = False
    await many.collect(names=how != "names")
    assert "/organization/projects" not in many.services["acme"].sent


async def test_a_key_that_may_not_read_names_gets_a_notice_and_every_figure(caplog):
    many = Many("acme", feeds=[BY_PROJECT])
    notices = []

    def answer(path, params):
        return (403, {}, b"{}") if path == "/organization/projects" else named(path, params)

    many.services["acme"].answer = answer
    (run,) = await many.collect(on_notice=notices.append)
    assert run.error is None
    assert not many.backend.memory.names
    assert any("projects" in notice.message for notice in notices)
    for later, lists in [(3600, 0), (DAY, 1)]:
        many.clock.now += later
        many.services["acme"].sent.clear()
        await many.collect()
        assert many.services["acme"].sent.count("/organization/projects") == lists


@pytest.mark.parametrize("broken", ["service", "remember", "named_at"])
async def test_names_that_fail_are_a_warning_and_no_error(caplog, broken):
    many = Many("acme", feeds=[BY_PROJECT])

    def fail(*_):
        raise StoreError("it is gone")

    def answer(path, params):
        return GONE if path == "/organization/projects" else named(path, params)

    many.services["acme"].answer = named
    if broken == "service":
        many.services["acme"].answer = answer
    else:
        setattr(many.backend, broken, fail)
    with caplog.at_level(logging.WARNING):
        (run,) = await many.collect(retry=RetryPolicy(attempts=1))
    assert run.error is None
    if broken != "named_at":
        assert "acme: names were not read" in caplog.text
    if broken == "service":
        # It may answer an hour later.
        many.services["acme"].sent.clear()
        await many.collect(retry=RetryPolicy(attempts=1))
        assert many.services["acme"].sent.count("/organization/projects") == 1


# One organization as one call


def test_the_work_of_one_organization_is_one_call_over_plain_values(monkeypatch):
    many = Many("acme", feeds=[DAYS])
    opened = []

    def open_store(url):
        opened.append(str(url))
        return Store(many.backend)

    monkeypatch.setattr("usage_async.collect.open.open_store", open_store, raising=False)
    monkeypatch.setenv("THE_STORE", "memory:")
    work = partial(
        collect_organization, many.organizations[0], "THE_STORE", since="2d", names=False
    )
    with ThreadPoolExecutor(1) as pool:
        (run,) = pool.submit(pickle.loads(pickle.dumps(work))).result()
    assert run.error == "the variable that key_variable names is not set"
    assert pickle.loads(pickle.dumps(run)) == run
    assert opened == ["memory:"]


def test_a_store_whose_variable_is_not_set_is_refused():
    with pytest.raises(
        ConfigurationError, match="NO_STORE, the variable of the store's URL, is not set"
    ):
        collect_organization(Organization("acme"), "NO_STORE")
