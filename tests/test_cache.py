"""The cache of answers: who gets which, who waits, and who ends whose run."""

import asyncio
import gc
import json
import logging
import pickle
import random
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from service import DAY, HOUR, NOW, START, ManualClock, bucket, page, turns

from usage_async import (
    APITimeoutError,
    BadRequestError,
    CacheEvent,
    CacheStats,
    ConfigurationError,
    MixedCurrencyError,
    QueryError,
    RateLimitError,
    ScopeError,
    UsageClient,
    UsageError,
)
from usage_async._engine.answers import LateError, _copied, _Run, _weight

pytestmark = pytest.mark.usefixtures("nothing_left")

MIDNIGHT = NOW
MORNING = MIDNIGHT + HOUR
SETTLED = {"start_time": START, "end_time": START + DAY}


class HeldService:
    """A service that answers when a test says so; the n-th request gives n tokens.

    Attributes:
        count: Number of requests so far.
        waiting: Requests that wait for their answer.
        ended: Number of requests that were cancelled.
    """

    def __init__(self, *, at_once=True):
        self.at_once = at_once
        self.failure = None
        self.count = 0
        self.ended = 0
        self.waiting = []

    async def __call__(self, path, params, headers):
        self.count += 1
        number = self.count
        if not self.at_once:
            answer = asyncio.get_running_loop().create_future()
            self.waiting.append(answer)
            try:
                await answer
            except asyncio.CancelledError:
                self.ended += 1
                raise
            finally:
                self.waiting.remove(answer)
        if self.failure is not None:
            return self.failure
        start = int(dict(params)["start_time"])
        day = bucket(start - start % DAY)
        day["results"][0] |= {"input_tokens": number, "model": "m"}
        return 200, {}, page([day])

    async def answer(self, failure=None):
        self.failure = failure
        for each in [*self.waiting]:
            each.set_result(None)
        await turns(20)


REFUSAL = (400, {}, json.dumps({"error": {"message": "no"}}).encode())


class World:
    """A client, its cached client, its service and its clock."""

    def __init__(self, service=None, *, at_once=True, now=MORNING, **options):
        self.clock, self.service = ManualClock(now), service or HeldService(at_once=at_once)
        self.events = []
        self.plain = UsageClient(transport=self.service, runtime=self.clock.runtime)
        self.options = {"on_answer": self.events.append, **options}
        self.client = self.plain.cached(**self.options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.plain.close()

    async def ask(self, client=None, **params):
        total = await (client or self.client).completions(**(params or {"period": "today"})).total()
        return total.input_tokens

    def outcomes(self):
        return [event.outcome for event in self.events]


@pytest.mark.parametrize(
    ("age", "answer", "outcome", "runs"),
    [
        pytest.param(0, 1, "fresh", 1, id="at once"),
        pytest.param(59, 1, "fresh", 1, id="within ttl_s"),
        pytest.param(60, 1, "stale", 2, id="after ttl_s"),
        pytest.param(3599, 1, "stale", 2, id="within stale_s"),
        pytest.param(3600, 2, "read", 2, id="after stale_s"),
    ],
)
async def test_an_answer_is_given_according_to_its_age(age, answer, outcome, runs):
    async with World() as world:
        assert await world.ask() == 1
        await world.clock.pass_by(age)
        assert await world.ask() == answer
        await turns(20)
        assert world.outcomes() == ["read", outcome]
        assert world.service.count == runs
        expected = age if outcome in ("fresh", "stale") else None
        assert world.events[-1].age_s == expected


@pytest.mark.parametrize(
    ("params", "age", "outcome"),
    [
        pytest.param(SETTLED, 86399, "fresh", id="settled, within settled_ttl_s"),
        pytest.param(SETTLED, 86400, "read", id="settled, after settled_ttl_s"),
        pytest.param({"start_time": NOW - DAY}, 86399, "read", id="unsettled"),
        pytest.param(
            {"start_time": NOW - 3 * DAY, "end_time": NOW - 3 * DAY + 1},
            120,
            "stale",
            id="settled but for the rest of the bucket",
        ),
    ],
)
async def test_settled_figures_are_kept_for_longer(params, age, outcome):
    async with World() as world:
        await world.ask(**params)
        await world.clock.pass_by(age)
        await world.ask(**params)
        assert world.outcomes() == ["read", outcome]
        await turns(20)


async def test_settled_figures_with_a_missing_bucket_are_kept_no_longer_than_others():
    async with World() as world:
        query = world.client.completions(start_time=START, end_time=START + 2 * DAY)
        for outcome in ("read", "read"):
            summary = await query.summary()
            assert [notice.code for notice in summary.notices] == ["missing-bucket"]
            assert world.outcomes()[-1] == outcome
            await world.clock.pass_by(7200)


@pytest.mark.parametrize(
    ("params", "seconds", "same"),
    [
        pytest.param({"period": "today"}, 0, False, id="today"),
        pytest.param({"period": "today"}, -2, True, id="today, a second before midnight"),
        pytest.param({"period": "yesterday"}, 0, False, id="yesterday"),
        pytest.param({"period": "7d"}, 0, False, id="7d"),
        pytest.param({"start_time": "7d", "end_time": "1d"}, 0, False, id="7d to 1d ago"),
        pytest.param({"period": "this-year"}, 0, True, id="this-year"),
        pytest.param({"start_time": START}, 0, True, id="from an absolute start on"),
        pytest.param(SETTLED, 0, True, id="absolute"),
    ],
)
async def test_at_midnight_a_period_may_be_another_question(params, seconds, same):
    async with World(now=MIDNIGHT - 10) as world:
        first = await world.ask(**params)
        await world.clock.pass_by(11 + seconds)
        assert (await world.ask(**params) == first) == same


async def test_a_run_is_as_of_the_instant_of_its_question():
    async with World(now=MIDNIGHT - 1, at_once=False) as world:
        asked = asyncio.create_task(world.client.completions(period="today").summary())
        await asyncio.sleep(0)
        world.clock.now = MIDNIGHT  # before the run has done anything
        await turns(20)
        await world.service.answer()
        assert (await asked).requested.end_time == MIDNIGHT - 1


async def test_the_instant_of_a_summary_tells_its_age():
    async with World() as world:
        query = world.client.completions(period="this-month")
        first = await query.summary()
        await world.clock.pass_by(1800)
        again = await query.summary()
        assert again == first
        assert again.as_of == datetime.fromtimestamp(MORNING, UTC)
        await turns(20)
        assert (await query.summary()).as_of == again.as_of + timedelta(seconds=1800)


async def test_every_method_has_answers_of_its_own_and_the_other_methods_none():
    async with World() as world:
        query = world.client.completions(period="today", group_by=["model", "batch"])
        for _ in range(2):
            await query.first()
            await query.total()
            await query.totals()
            await query.totals("model")
            await query.summary("model")
        assert world.service.count == 5
        assert await query.totals("model", "batch") == await query.totals()
        assert world.service.count == 5
        assert [event.method for event in world.events[:5]] == [
            *("first", "total", "totals", "totals", "summary")
        ]
        await query.collect()
        await query.collect()
        assert world.service.count == 7
        with pytest.raises(QueryError, match="does not group by"):
            await query.totals("user_id")
        assert world.service.count == 7


async def test_a_settled_first_bucket_is_kept_although_its_range_runs_on():
    async with World() as world:
        query = world.client.completions(start_time=START)
        assert (await query.first()).start_time == START
        await world.clock.pass_by(7200)
        assert (await query.first()).start_time == START
        assert world.outcomes() == ["read", "fresh"]


async def test_every_waiter_gets_a_list_of_its_own():
    async with World() as world:
        query = world.client.completions(period="today", group_by=["model"])
        lists = await asyncio.gather(*(query.totals() for _ in range(3)), query.totals())
        lists.append(await query.totals())
        lists[0].clear()
        lists[4].clear()
        assert lists[1] == lists[2] == lists[3] == await query.totals() != []


async def test_an_error_is_raised_again_for_a_while_and_then_asked_for_again():
    async with World() as world:
        world.service.failure = REFUSAL
        for seconds in (0, 1.9, 0.1):
            await world.clock.pass_by(seconds)
            with pytest.raises(BadRequestError):
                await world.ask()
        assert world.outcomes() == ["read", "failed", "read"]
        world.service.failure = None
        await world.clock.pass_by(2)
        assert await world.ask() == 3


async def test_every_waiter_gets_an_error_of_its_own():
    async with World(at_once=False) as world:
        waiters = [asyncio.create_task(world.ask()) for _ in range(3)]
        await turns(20)
        await world.service.answer(REFUSAL)
        errors = [waiter.exception() for waiter in waiters]
        with pytest.raises(BadRequestError) as later:
            await world.ask()
        errors.append(later.value)
        assert len({id(error) for error in errors}) == 4
        assert {(type(error), str(error), error.status) for error in errors} == {
            (BadRequestError, "400: no", 400)
        }
        for error in errors:
            assert error.__context__ is error.__cause__ is None
            frames = []
            trace = error.__traceback__
            while trace is not None:
                frames.append(trace.tb_frame.f_code.co_name)
                trace = trace.tb_next
            assert "_total" not in frames  # the frames of the run stay with the run


async def test_while_the_service_fails_an_old_answer_is_given_and_one_try_is_made_behind(caplog):
    async with World() as world:
        assert await world.ask() == 1
        world.service.failure = REFUSAL
        await world.clock.pass_by(100)
        for _ in range(5):
            assert await world.ask() == 1
            await turns(20)
        assert world.service.count == 2
        assert [(r.levelno, r.getMessage()) for r in caplog.records] == [
            (logging.WARNING, "completions: a cached answer was not refreshed: 400: no")
        ]
        await world.clock.pass_by(2)
        assert await world.ask() == 1
        await turns(20)
        assert world.service.count == 3
        await world.clock.pass_by(3600)
        with pytest.raises(BadRequestError):
            await world.ask()
        assert world.outcomes()[-1] == "read"
        world.service.failure = None
        await world.clock.pass_by(2)
        assert await world.ask() == 5


async def test_a_foreign_error_of_a_refresh_is_logged_by_its_class_only(caplog):
    async def refuse(path, params, headers):
        raise LookupError("secret")

    async with World() as world:
        await world.ask()
        await world.clock.pass_by(100)
        world.plain._engine.fetcher.transport = refuse
        await world.ask()
        await turns(20)
        assert caplog.messages == ["completions: a cached answer was not refreshed: LookupError"]


class _OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


class _SameError(Exception):
    def __copy__(self):
        return self


@pytest.mark.parametrize(
    ("error", "copied"),
    [
        (BadRequestError("no", status=400), BadRequestError),
        (MixedCurrencyError("no", currencies=["eur", "usd"]), MixedCurrencyError),
        (LookupError("no"), LookupError),
        (_OddError(1, 2), UsageError),
        (_SameError(), UsageError),
        (KeyboardInterrupt(), UsageError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_an_error_is_copied_or_named(error, copied):
    other = _copied(error)
    assert type(other) is copied
    assert other is not error
    if copied is type(error):
        assert vars(other) == vars(error)
        assert other.args == error.args
    else:
        assert str(other) == f"the reading failed: {type(error).__name__}"


async def test_who_asks_at_the_same_time_waits_for_one_run():
    async with World(at_once=False) as world:
        waiters = [asyncio.create_task(world.ask()) for _ in range(100)]
        await turns(20)
        await world.service.answer()
        assert {await waiter for waiter in waiters} == {1}
        assert world.outcomes() == ["read"] + 99 * ["joined"]
        assert world.client.cache.stats().joined == 99


async def test_a_cancelled_waiter_takes_nobody_with_it_and_the_last_one_ends_the_run():
    async with World(at_once=False) as world:
        waiters = [asyncio.create_task(world.ask()) for _ in range(3)]
        await turns(20)
        waiters[0].cancel()
        await turns(5)
        assert world.service.ended == 0
        for waiter in waiters[1:]:
            waiter.cancel()
        await turns(5)
        assert world.service.ended == 1
        assert all(waiter.cancelled() for waiter in waiters)
        again = asyncio.create_task(world.ask())
        await turns(20)
        await world.service.answer()
        assert await again == 2


async def test_nobody_joins_a_run_that_is_being_cancelled():
    async with World(at_once=False) as world:
        first = asyncio.create_task(world.ask())
        await turns(20)
        first.cancel()
        second = asyncio.create_task(world.ask())
        await turns(20)
        await world.service.answer()
        assert await second == 2


async def test_a_waiter_gives_up_and_the_run_goes_on_for_others_to_come():
    async with World(at_once=False, wait_s=10) as world:
        first = asyncio.create_task(world.ask())
        await turns(20)
        await world.clock.pass_by(5)
        second = asyncio.create_task(world.ask())
        await turns(5)
        await world.clock.pass_by(5)
        with pytest.raises(LateError, match="completions: no answer within 10 s"):
            await first
        assert not second.done()
        second.cancel()  # somebody was told that it goes on
        await turns(5)
        assert world.service.ended == 0
        await world.service.answer()
        assert await world.ask() == 1
        assert world.outcomes() == ["read", "joined", "fresh"]


async def test_a_waiter_of_a_throttled_client_is_told_for_how_long():
    async with World(at_once=False, wait_s=10) as world:
        waiter = asyncio.create_task(world.ask())
        await turns(20)
        await world.service.answer((429, {"retry-after": "30"}, b"words"))
        await world.clock.pass_by(10)
        with pytest.raises(RateLimitError, match="throttles this client, for 20 s more") as caught:
            await waiter
        assert (caught.value.status, caught.value.retry_after) == (429, 20)
        assert world.service.count == 1


async def test_a_waiter_that_left_does_not_hold_up_the_patience_of_the_next():
    async with World(at_once=False, wait_s=10) as world:
        first, second = (asyncio.create_task(world.ask()) for _ in range(2))
        await turns(20)
        first.cancel()
        await turns(5)
        await world.clock.pass_by(10)
        with pytest.raises(APITimeoutError):
            await second
        assert world.service.ended == 0


async def test_clients_of_other_patience_share_a_run():
    async with World(at_once=False, wait_s=10) as world:
        hasty, patient = world.client.cached(wait_s=1), world.client.cached(wait_s=float("inf"))
        asked = [asyncio.create_task(world.ask(each)) for each in (world.client, patient, hasty)]
        await turns(20)
        await world.clock.pass_by(1)
        assert [task.done() for task in asked] == [False, False, True]
        await world.clock.pass_by(1000)
        assert [task.done() for task in asked] == [True, False, True]
        late = asyncio.create_task(world.ask(hasty))
        await turns(5)
        await world.clock.pass_by(1)
        assert late.done()
        await world.service.answer()
        assert await asked[1] == 1
        for task in (asked[0], asked[2], late):
            with pytest.raises(APITimeoutError):
                await task


async def test_a_waiter_that_is_cancelled_as_its_run_ends_is_cancelled():
    async with World(at_once=False) as world:
        waiter = asyncio.create_task(world.ask())
        await turns(20)
        (run,) = world.plain._answers._runs.values()
        run.task.add_done_callback(lambda _: waiter.cancel())
        await world.service.answer()
        assert waiter.cancelled()
        assert await world.ask() == 1


async def test_a_waiter_that_is_gone_is_not_woken():
    waiter = asyncio.get_running_loop().create_future()
    waiter.cancel()
    _Run(0.0, 0, "completions").wake(waiter, has_ended=True)
    assert waiter.cancelled()


async def test_a_refresh_is_not_ended_by_a_waiter_that_came_to_it():
    async with World(at_once=False) as world:
        asked = asyncio.create_task(world.ask())
        await turns(20)
        await world.service.answer()
        await world.clock.pass_by(100)
        assert await world.ask() == await asked
        await turns(20)
        await world.clock.pass_by(3550)
        waiter = asyncio.create_task(world.ask())
        await turns(5)
        waiter.cancel()
        await turns(5)
        assert world.service.ended == 0
        await world.service.answer()
        assert await world.ask() == 2
        # Its run began an hour ago, and so its answer is old.
        assert world.outcomes() == ["read", "stale", "joined", "stale"]


TENANTS = {
    "boss": ("proj_1", "proj_2"),
    "one": ("proj_1",),
    "same": ("proj_1",),
    "other": ("proj_2",),
}


def tokens(start, project):
    return (start - START) // DAY * 10 + int(project[-1])


class TellingService(HeldService):
    """A held service whose figures tell of their day and project."""

    async def __call__(self, path, params, headers):
        status, head, body = await super().__call__(path, params, headers)
        if status == 200:
            whole = json.loads(body)
            (day,) = whole["data"]
            (row,) = day["results"]
            projects = [value for name, value in params if name == "project_ids"]
            day["results"] = [
                {**row, "project_id": each, "input_tokens": tokens(day["start_time"], each)}
                for each in projects or TENANTS["boss"]
            ]
            body = json.dumps(whole).encode()
        return status, head, body

    async def answer_one(self, chance):
        self.failure = REFUSAL if chance.random() < 0.2 else None
        if self.waiting:
            chance.choice(self.waiting).set_result(None)
        await turns(20)


class Crowd:
    """Tenants that ask at random for one of three days.

    Attributes:
        asked: Tenant, start and task of each question.
        begun: Number of questions that were begun, by tenant.
    """

    def __init__(self, world):
        self.world, self.asked, self.begun = world, [], Counter()
        self.clients = {
            tenant: world.client if tenant == "boss" else world.client.scoped(project_ids=projects)
            for tenant, projects in TENANTS.items()
        }

    async def ask(self, tenant, start):
        self.begun[tenant] += 1
        client = self.clients[tenant]
        return await self.world.ask(client, start_time=start, end_time=start + DAY)

    async def come_and_go(self, count, chance):
        for _ in range(count):
            tenant, start = chance.choice([*TENANTS]), START + chance.randrange(3) * DAY
            task = asyncio.create_task(self.ask(tenant, start))
            self.asked.append((tenant, start, task))
            if chance.random() < 0.3:
                chance.choice(self.asked)[2].cancel()
            if chance.random() < 0.05:
                await turns(2)
            if chance.random() < 0.01:
                await self.world.service.answer_one(chance)
        for *_, task in chance.sample(self.asked, count // 2):
            task.cancel()
        await turns(20)

    def found(self):
        """Count the outcomes, and check the figures."""
        counts = Counter()
        for tenant, start, task in self.asked:
            outcome = found(task)
            if isinstance(outcome, int):
                assert outcome == sum(tokens(start, each) for each in TENANTS[tenant])
                outcome = "figures"
            counts[outcome] += 1
        return counts


@pytest.mark.slow
async def test_ten_thousand_waiters_cancelled_at_random_leave_nothing_behind(caplog):
    chance = random.Random(1)  # noqa: S311 - not for secrets
    caplog.set_level(logging.WARNING)
    # Nothing is kept, so that every question waits for a run.
    async with World(TellingService(at_once=False), max_bytes=0) as world:
        crowd, service, answers = Crowd(world), world.service, world.plain._answers
        await crowd.come_and_go(10_000, chance)
        assert len(answers._runs) == 9  # three days of three scopes; two tenants share one
        while answers._runs:
            await service.answer_one(chance)
        counts = crowd.found()
        assert counts.keys() == {"figures", asyncio.CancelledError, BadRequestError}
        assert min(counts.values()) > 300
        assert not world.plain._engine._tasks
        outcomes = Counter(world.outcomes())
        assert outcomes.keys() == {"read", "joined"}
        assert outcomes.total() == crowd.begun.total()
        assert outcomes["read"] >= service.count > service.ended
        crowd.begun["boss"] = crowd.begun.total()
        for tenant, client in crowd.clients.items():
            stats = client.cache.stats()
            assert stats.read + stats.joined == crowd.begun[tenant]
        crowd.asked.clear()
        gc.collect()
    assert not caplog.records


@pytest.mark.parametrize("left", ["waiters", "a refresh"])
async def test_closing_the_client_ends_runs_with_a_clear_error(left):
    world = World(at_once=False)
    waiters = [asyncio.create_task(world.ask()) for _ in range(2)]
    await turns(20)
    if left == "a refresh":
        await world.service.answer()
        await world.clock.pass_by(100)
        waiters = [asyncio.create_task(world.ask())]
        await turns(20)
    await world.client.close()
    async with world.client:
        pass
    assert world.service.ended == 0
    await world.plain.close()
    await turns(5)
    assert world.service.ended == 1
    for waiter in waiters:
        if left == "waiters":
            with pytest.raises(UsageError, match="the client was closed while this was being read"):
                await waiter
        else:
            assert await waiter == 1
    with pytest.raises(ConfigurationError, match="this client is closed"):
        await world.ask()
    assert world.client.cache.stats().entries == 0


def test_a_second_event_loop_is_refused_even_if_an_answer_is_at_hand():
    world = World()
    asyncio.run(world.ask())
    with pytest.raises(ConfigurationError, match="belongs to another event loop"):
        asyncio.run(world.ask())
    world.plain._engine.closed = True


async def test_a_derived_client_leaves_its_parent_open_and_keeps_it(recwarn):
    async with World() as world:
        for _ in range(2):
            async with world.plain.cached() as derived:
                assert await world.ask(derived)
        assert await world.ask(world.plain)
        derived = None
        gc.collect()
        assert not recwarn.list
        with pytest.raises(ConfigurationError, match="has no cache"):
            world.plain.cache  # noqa: B018 - it raises


async def test_clients_share_answers_and_count_for_those_they_come_from():
    async with World() as world:
        other, inner = world.plain.cached(), world.client.cached(ttl_s=5)
        await world.ask()
        await world.ask(other)
        await world.ask(inner)
        assert world.service.count == 1
        await world.clock.pass_by(5)
        await world.ask(inner)
        await turns(20)
        assert world.service.count == 2
        counts = [client.cache.stats() for client in (world.client, other, inner)]
        assert [(each.read, each.fresh, each.stale) for each in counts] == [
            *((1, 1, 1), (0, 1, 0), (0, 1, 1))
        ]
        assert {each.entries for each in counts} == {1}


async def test_queries_of_one_cached_client_are_equal():
    async with World() as world:
        one, other = (world.client.completions(period="7d") for _ in range(2))
        assert one == other
        assert hash(one) == hash(other)
        assert one != world.plain.completions(period="7d")


async def test_the_least_recently_used_answers_go_first():
    async with World() as world:
        ask = partial(world.ask, end_time=START + DAY)
        await ask(start_time=START)
        one = world.client.cache.stats().bytes
        client = world.client.cached(max_bytes=3 * one + one // 2)
        for number in (1, 2, 3):
            await ask(client, start_time=START + number)
            await ask(client, start_time=START)
        assert client.cache.stats().entries == 3
        count = world.service.count
        for number in (0, 3, 2):
            await ask(client, start_time=START + number)
        assert world.service.count == count
        await ask(client, start_time=START + 1)
        assert world.service.count == count + 1
        assert client.cache.stats().bytes <= 3 * one + one // 2


async def test_an_answer_larger_than_the_bound_is_given_and_not_kept():
    async with World(max_bytes=100) as world:
        assert await world.ask() == 1
        assert await world.ask() == 2
        assert world.client.cache.stats() == CacheStats(read=2)


@attrs.frozen
class _Row:
    text: str


def test_the_weight_of_a_long_list_is_that_of_its_items():
    rows = [_Row("x" * (number % 1000)) for number in range(100_000)]
    exact = sum(len(pickle.dumps(row.text)) + 80 for row in rows)
    assert 0.7 < _weight(rows) / exact < 1.5
    assert _weight([]) < 100
    assert _weight({"a": "x" * 1000}) > 1000
    assert _weight(object()) < 100


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": -1},
        {"wait_s": float("nan")},
        {"stale_s": "1"},
        {"settled_ttl_s": None},
        {"error_ttl_s": True},
        {"max_bytes": 1.5},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_an_impossible_option_is_refused_by_name(options):
    async with World() as world:
        with pytest.raises(ConfigurationError, match=f"{next(iter(options))} takes a number"):
            world.plain.cached(**options)


async def test_a_hook_that_fails_is_heard_and_leaves_no_run():
    def broken(event):
        raise LookupError(event.outcome)

    async with World(on_answer=broken) as world:
        with pytest.raises(LookupError, match="read"):
            await world.ask()
        await turns(20)
        assert world.service.count == 0


def test_an_event_is_shown_short():
    event = CacheEvent(endpoint="costs", method="total", outcome="read")
    assert repr(event) == "CacheEvent(endpoint='costs', method='total', outcome='read')"


@attrs.define
class Model:
    """Model of the cache, without tasks and futures."""

    now: float = 0.0
    count: int = 0
    value: int | None = None
    begun: float = 0.0
    failed: float | None = None
    run: float | None = None
    goes_on: bool = False
    ended: int = 0
    waiting: dict[int, float] = attrs.field(factory=dict)
    got: dict[int, object] = attrs.field(factory=dict)

    def ask(self, who):
        has_failed = self.failed is not None and self.now - self.failed < 2
        age = self.now - self.begun
        if self.value is not None and age < 60:
            self.got[who] = self.value
        elif self.value is not None and age < 300:
            self.got[who] = self.value
            if self.run is None and not has_failed:
                self.begin()
                self.goes_on = True
        elif self.run is None and has_failed:
            self.got[who] = BadRequestError
        else:
            if self.run is None:
                self.begin()
            self.waiting[who] = self.now + 10

    def begin(self):
        self.run, self.goes_on = self.now, False
        self.count += 1

    def cancel(self, who):
        if self.waiting.pop(who, None) is None:
            return
        self.got[who] = asyncio.CancelledError
        if not self.waiting and not self.goes_on:
            self.run = None
            self.ended += 1

    def pass_by(self, seconds):
        self.now += seconds
        for who in [who for who, due in self.waiting.items() if due <= self.now]:
            del self.waiting[who]
            self.got[who] = LateError
            self.goes_on = True

    def answer(self, *, fails):
        if self.run is None:
            return
        if fails:
            self.failed = self.now
        else:
            self.value, self.begun, self.failed = self.count, self.run, None
        self.run = None
        for who in self.waiting:
            self.got[who] = BadRequestError if fails else self.value
        self.waiting.clear()


STEPS = st.lists(
    st.just(("ask",))
    | st.tuples(st.just("cancel"), st.integers(0, 9))
    | st.tuples(st.just("pass"), st.sampled_from([0.5, 1, 2, 5, 10, 59, 60, 240, 300]))
    | st.tuples(st.just("answer"), st.booleans()),
    max_size=40,
)


@given(STEPS)
def test_the_cache_does_what_its_model_does(steps):
    async def play():
        model, asked = Model(), []
        async with World(at_once=False, stale_s=300) as world:
            for step in steps:
                match step:
                    case ("ask",):
                        model.ask(len(asked))
                        asked.append(asyncio.create_task(world.ask()))
                    case ("cancel", number):
                        if asked:
                            model.cancel(number % len(asked))
                            asked[number % len(asked)].cancel()
                    case ("pass", seconds):
                        model.pass_by(seconds)
                        await world.clock.pass_by(seconds)
                    case ("answer", fails):
                        model.answer(fails=fails)
                        await world.service.answer(REFUSAL if fails else None)
                await turns(20)
                assert {who: found(task) for who, task in enumerate(asked)} == {
                    who: model.got.get(who) for who in range(len(asked))
                }
                assert len(world.service.waiting) == (model.run is not None)
                assert world.service.count == model.count
                assert world.service.ended == model.ended
            for task in asked:
                task.cancel()
            await turns(5)

    asyncio.run(play())


def found(task):
    """The value of a task, or the class of its error; None while it waits."""
    if not task.done():
        return None
    if task.cancelled():
        return asyncio.CancelledError
    return type(task.exception()) if task.exception() else task.result()


class ByProject:
    """A service whose figures are the instant at which they were read; it may fail.

    Attributes:
        sent: Number of requests.
    """

    def __init__(self, clock):
        self.clock, self.fails, self.sent = clock, False, 0

    async def __call__(self, path, params, headers):
        self.sent += 1
        if self.fails:
            return REFUSAL
        projects = [value for name, value in params if name == "project_ids"]
        start = int(dict(params)["start_time"])
        day = bucket(start - start % DAY)
        [row] = day["results"]
        row["input_tokens"] = int(self.clock.now)
        day["results"] = [{**row, "project_id": each} for each in projects or ("proj_x", "proj_y")]
        return 200, {}, page([day])


VIEWS = {
    "mine": lambda client: client.scoped(project_ids=["proj_x"]),
    "of people": lambda client: client.scoped(project_ids=["proj_x"], people=True),
    "other": lambda client: client.scoped(project_ids=["proj_y"]),
    "both": lambda client: client.scoped(project_ids=["proj_y", "proj_x"]),
    "narrowed": lambda client: client.scoped(project_ids=["proj_x", "proj_z"]),
    "all": lambda client: client,
}
TURNS = st.lists(
    st.tuples(
        st.sampled_from([*["mine"] * len(VIEWS), *VIEWS]),
        st.sampled_from(["first", "total"]),
        st.sampled_from([{"period": "today"}, {**SETTLED, "project_ids": ["proj_x"]}]),
    )
    | st.sampled_from([1, 2, 60, 3600, 86400, True, False]),
    min_size=5,
    max_size=30,
)


async def learned(steps, whose):
    """Let some tenants ask, and give everything that the first one learns."""
    clock, told = ManualClock(MORNING), []
    service = ByProject(clock)
    async with UsageClient(transport=service, runtime=clock.runtime) as client:
        cached = client.cached()
        clients = {name: narrow(cached) for name, narrow in VIEWS.items()}
        clients["mine"] = clients["mine"].cached(on_answer=told.append)
        for step in steps:
            match step:
                case bool():
                    service.fails = step
                case int():
                    await clock.pass_by(step)
                case (who, method, params) if who in whose:
                    before = service.sent
                    with suppress(ScopeError):
                        query = clients[who].completions(**params)
                        asked = asyncio.ensure_future(getattr(query, method)())
                        await asyncio.wait([asked])
                        await turns(30)
                        if who == "mine":
                            outcome = asked.exception() or asked.result()
                            told += [repr(outcome), service.sent - before]
                            told.append(clients[who].cache.stats())
                        asked.exception()
    return told


@given(TURNS)
def test_a_tenant_of_a_cache_learns_nothing_of_others(steps):
    async def compare():
        assert await learned(steps, VIEWS) == await learned(steps, ["mine"])

    asyncio.run(compare())
