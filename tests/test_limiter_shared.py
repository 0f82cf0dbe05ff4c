"""The limiter that clients share: one bound, fair, and nobody waits for another one's trouble."""

import asyncio
import selectors

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from service import KEY, START, Clock, days, serve, turns

from usage_async import (
    APITimeoutError,
    ConfigurationError,
    Limiter,
    RateLimitError,
    RetryPolicy,
    Runtime,
    UsageClient,
)
from usage_async._http.limiter import AdaptiveLimiter
from usage_async.emulator import Emulator


@attrs.define(eq=False)
class Party:
    """A client's requests: each holds its slot until it is told to end."""

    limiter: AdaptiveLimiter
    tasks: list = attrs.field(factory=list)
    running: dict = attrs.field(factory=dict)
    started: list = attrs.field(factory=list)

    @property
    def held(self):
        """The shared slots that were given to it."""
        return self.limiter._share.held

    async def begin(self, count=1, *, successes=0):
        for _ in range(successes):
            self.limiter.succeeded()
        self.tasks += [asyncio.create_task(self._run()) for _ in range(count)]
        await turns(3)

    async def _run(self):
        async with self.limiter.slot():
            self.started.append(self.tasks.index(asyncio.current_task()))
            end = self.running[asyncio.current_task()] = asyncio.get_running_loop().create_future()
            try:
                await end
            finally:
                del self.running[asyncio.current_task()]

    async def end(self, count=1):
        for end in list(self.running.values())[:count]:
            end.set_result(None)
        await turns(3)

    async def go_on(self):
        """End one request, and begin another."""
        if self.running:
            await self.end()
            await self.begin()

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def parties(clock):
    """Makes clients of one limiter; in the end all are gone, and so are their slots."""
    made, limiters = [], set()

    def make(limiter, count=1, *, concurrency=16):
        limiters.add(limiter)
        new = [Party(AdaptiveLimiter(concurrency, clock.runtime, limiter)) for _ in range(count)]
        made.extend(new)
        return new

    yield make
    for party in made:
        await party.leave()
    assert all((limiter.in_flight, limiter.waiting) == (0, 0) for limiter in limiters)


@pytest.mark.parametrize(
    ("clients", "each"),
    [(1, [8]), (2, [6, 5]), (3, [4, 4, 4]), (7, [2] * 7), (15, [1] * 15)],
    ids=lambda value: str(value)[:12],
)
async def test_some_slots_stay_free_for_clients_to_come(parties, clients, each):
    limiter = Limiter(16)
    crowd = parties(limiter, clients)
    for party in crowd:
        await party.begin(16, successes=99)
    # Whoever came first had more, until others asked.
    for _ in range(40):
        for party in crowd:
            await party.go_on()
    assert sorted(party.held for party in crowd) == sorted(each)
    (late,) = parties(limiter)
    await late.begin()
    assert late.held == 1


async def test_as_many_clients_as_slots_have_one_each_and_take_turns(parties):
    limiter = Limiter(4)
    crowd = parties(limiter, 6)
    for party in crowd:
        await party.begin(5, successes=9)
    assert [party.held for party in crowd] == [2, 1, 1, 0, 0, 0]
    served = dict.fromkeys(range(6), 0)
    for _ in range(60):
        number = next(number for number in served if crowd[number].held)
        served[number] = served.pop(number) + 1
        await crowd[number].go_on()
        assert sorted(party.held for party in crowd) == [0, 0, 1, 1, 1, 1]
    assert set(served.values()) == {10}


async def test_within_a_client_the_first_come_is_the_first_served(parties):
    limiter = Limiter(2)
    one, other = parties(limiter, 2)
    await one.begin()
    await other.begin()
    await one.begin(3)
    for number in range(1, 4):
        await one.end()
        assert list(one.running) == [one.tasks[number]]


async def test_a_client_whose_service_never_answers_holds_one_slot(parties):
    limiter = Limiter(16)
    hanging, healthy = parties(limiter, 2)
    await hanging.begin(16)
    assert (hanging.held, limiter.waiting) == (1, 15)
    await healthy.begin(16, successes=99)
    assert healthy.held == 8


async def test_a_client_earns_its_slots_by_successes(parties):
    limiter = Limiter(64)
    (party,) = parties(limiter, concurrency=64)
    await party.begin(64)
    assert party.held == 4
    for held in range(5, 33):
        party.limiter.succeeded()
        await turns(2)
        assert party.held == held
    party.limiter.succeeded()
    assert party.held == 32


async def test_a_client_that_hangs_while_others_wait_keeps_no_more_than_its_share(parties):
    limiter = Limiter(16)
    crowd = parties(limiter, 40)
    for party in crowd:
        await party.begin(8, successes=99)
    hanging, *others = crowd
    for _ in range(3):
        for party in others:
            await party.go_on()
    # It came first, and was alone: what it holds cannot be taken away.
    assert hanging.held == 8
    await hanging.end(8)
    await hanging.begin(8)
    for _ in range(9):
        for party in others:
            await party.go_on()
    assert (hanging.held, limiter.in_flight) == (1, 16)


async def test_whoever_is_cancelled_keeps_neither_a_slot_nor_a_place(parties):
    limiter = Limiter(2)
    one, other = parties(limiter, 2)
    await one.begin()
    await other.begin(3)
    assert (one.held, other.held, limiter.waiting) == (1, 1, 2)
    other.tasks[1].cancel()
    await turns(3)
    assert limiter.waiting == 1
    # A slot is given and taken back in the same turn of the loop.
    await other.end()
    assert list(other.running) == [other.tasks[2]]
    await other.begin()
    next(iter(other.running.values())).set_result(None)
    while limiter.waiting:
        await turns(1)
    other.tasks[3].cancel()
    await turns(3)
    assert (one.held, other.held, limiter.in_flight) == (1, 0, 1)


async def test_a_request_that_is_cancelled_in_the_turn_in_which_a_slot_comes_free_loses_none(
    parties,
):
    limiter = Limiter(1)
    one, other = parties(limiter, 2)
    await one.begin()
    await other.begin(2)
    other.tasks[0].cancel()
    await one.end()
    assert list(other.running) == [other.tasks[1]]


async def test_no_shared_slot_is_held_during_a_cooldown():
    now, woken = [0.0], asyncio.Event()

    async def sleep(_):
        await woken.wait()

    limiter = Limiter(1)
    runtime = Runtime(monotonic=lambda: now[0], sleep=sleep, random=lambda: 0.0)
    cooling = Party(AdaptiveLimiter(2, runtime, limiter))
    other = Party(AdaptiveLimiter(2, runtime, limiter))
    await other.begin()
    await cooling.begin()
    assert limiter.waiting == 1
    # The cooldown begins while it waits for the slot, and the slot comes before its end.
    cooling.limiter.cool_down(10)
    await other.end()
    assert (limiter.in_flight, limiter.waiting, cooling.limiter.in_flight) == (0, 0, 1)
    await other.begin()
    assert other.held == 1
    await other.end()
    now[0] = 10
    woken.set()
    await turns(3)
    assert cooling.held == 1
    await cooling.end()
    assert limiter.in_flight == cooling.limiter.in_flight == 0


def test_two_event_loops_are_refused():
    limiter = Limiter(2)

    async def read():
        async with a_client(limiter, answering) as client:
            return await days(client, 1).collect()

    assert len(asyncio.run(read())) == 1
    with pytest.raises(ConfigurationError, match="this limiter belongs to another event loop"):
        asyncio.run(read())
    assert limiter.in_flight == 0


@pytest.mark.parametrize("maximum", [0, -1, True, 2.0, "2", None])
def test_a_maximum_is_a_whole_number(maximum):
    with pytest.raises(ConfigurationError, match="Limiter takes an int of at least 1"):
        Limiter(maximum)


async def test_the_limiter_of_another_client_is_no_shared_one():
    async with a_client(None, answering) as client:
        assert client.limiter.shared is None
        with pytest.raises(ConfigurationError, match="limiter takes a Limiter"):
            a_client(client.limiter, answering)


async def answering(path, params, headers):
    return 200, {}, serve(params)


def a_client(limiter, transport, **options):
    return UsageClient(KEY, transport=transport, limiter=limiter, **options)


async def test_a_client_that_is_closed_while_it_waits_leaves_no_slot_and_no_place(nothing_left):
    async def hanging(path, params, headers):
        await asyncio.Event().wait()

    limiter = Limiter(2)
    holding, waiting = (a_client(limiter, hanging) for _ in range(2))
    reads = [
        asyncio.create_task(days(client, 9, limit=1).collect()) for client in (holding, waiting)
    ]
    await turns(9)
    assert (limiter.in_flight, limiter.waiting) == (2, 14)
    await waiting.close()
    assert (limiter.in_flight, limiter.waiting) == (1, 7)
    await holding.close()
    assert (limiter.in_flight, limiter.waiting) == (0, 0)
    await asyncio.gather(*reads, return_exceptions=True)


async def test_a_throttled_client_waits_outside_of_the_shared_bound(clock):
    held = []
    limiter = Limiter(4)

    async def sleep(seconds):
        held.append(limiter.in_flight)
        await Clock.sleep(clock, seconds)

    async def throttled(path, params, headers):
        assert limiter.in_flight == 1
        return 429, {"Retry-After": "7"}, b"{}"

    runtime = attrs.evolve(clock.runtime, sleep=sleep)
    async with a_client(limiter, throttled, runtime=runtime, retry=RetryPolicy()) as client:
        with pytest.raises(RateLimitError):
            await days(client, 1).collect()
    assert held == [0] * 4
    assert limiter.in_flight == 0


async def test_forty_clients_of_one_limiter_never_send_more_at_once_than_it_allows():
    limiter, peaks = Limiter(16), []

    def now():
        peaks.append(server._in_flight)
        return START + 40 * 86400

    async with Emulator(now=now, latency_s=0.001) as server:
        clients = [
            UsageClient(
                server.admin_key, base_url=server.url, limiter=limiter, runtime=Runtime(now=now)
            )
            for _ in range(40)
        ]
        read = await asyncio.gather(*(days(client, 8, limit=1).collect() for client in clients))
        for client in clients:
            await client.close()
    assert [len(buckets) for buckets in read] == [8] * 40
    assert 8 < max(peaks) <= 16


class Flying(asyncio.SelectorEventLoop):
    """An event loop whose clock runs ahead to the next timer instead of waiting for it."""

    def __init__(self):
        loop = self
        self.elapsed = 0.0

        class Selector(selectors.SelectSelector):
            def select(self, timeout=None):
                loop.elapsed += timeout or 0
                return super().select(0)

        super().__init__(Selector())

    def time(self):
        return self.elapsed


class Services:
    """Services that take a tenth of a second; it counts how many requests it has in flight."""

    def __init__(self):
        self.in_flight = self.peak = 0

    def behaving(self, *, status=200, answers=10**9):
        """Make a service that gives so many answers, then hangs for a minute."""
        left = iter(range(answers))

        async def transport(path, params, headers):
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            try:
                if next(left, None) is None:
                    await asyncio.sleep(60)
                    raise APITimeoutError("no answer within 60 s")
                await asyncio.sleep(0.1)
                return status, {"Retry-After": "1"}, serve(params)
            finally:
                self.in_flight -= 1

        return transport


def simulated(*bad, healthy=38):
    """Read with some bad clients and many healthy ones; gives seconds, and the peak in flight."""

    async def read():
        limiter, service = Limiter(16), Services()
        loop = asyncio.get_running_loop()
        runtime = Runtime(monotonic=loop.time)
        transports = [service.behaving(**how) for how in bad]
        transports += [service.behaving() for _ in range(healthy)]
        clients = [a_client(limiter, transport, runtime=runtime) for transport in transports]
        reads = [
            asyncio.create_task(days(client, 20, limit=1).collect(), name=str(number))
            for number, client in enumerate(clients)
        ]
        await asyncio.gather(*reads[len(bad) :])
        seconds = loop.time()
        for client in clients:
            await client.close()
        await asyncio.gather(*reads, return_exceptions=True)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        return seconds, service.peak

    with asyncio.Runner(loop_factory=Flying) as runner:
        return runner.run(read())


HANGING, THROTTLED, HANGING_LATER = {"answers": 0}, {"status": 429}, {"answers": 6}


@pytest.mark.parametrize(
    "bad",
    [[HANGING, THROTTLED], [HANGING_LATER, THROTTLED]],
    ids=["hanging from the start", "hanging later"],
)
def test_a_throttled_and_a_hanging_client_leave_the_others_their_time(bad):
    without, _ = simulated()
    # 38 clients with 20 requests of 0.1 s, 16 at a time.
    assert without == pytest.approx(38 * 20 * 0.1 / 16, rel=0.1)
    seconds, peak = simulated(*bad)
    assert seconds <= 1.2 * without
    assert peak == 16


@attrs.define
class Crowd:
    """Everything that can happen to clients of one limiter, by name."""

    limiter: Limiter
    clock: Clock
    parties: list
    slots: int

    def chosen(self, numbers):
        return self.parties[numbers[0] % len(self.parties)]

    async def begin(self, *numbers):
        self.chosen(numbers).tasks.append(asyncio.create_task(self.chosen(numbers)._run()))

    async def end(self, *numbers):
        pending = [end for end in self.chosen(numbers).running.values() if not end.done()]
        if pending:
            pending[numbers[1] % len(pending)].set_result(None)

    async def cancel(self, *numbers):
        tasks = [task for task in self.chosen(numbers).tasks if not task.done()]
        if tasks:
            tasks[numbers[1] % len(tasks)].cancel()

    async def succeed(self, *numbers):
        self.chosen(numbers).limiter.succeeded()

    async def throttle(self, *numbers):
        self.chosen(numbers).limiter.throttled(self.clock.now)

    async def cool_down(self, *numbers):
        self.chosen(numbers).limiter.cool_down(numbers[1])

    async def turn(self, *_):
        await asyncio.sleep(0)

    def check(self):
        shares = [party.limiter._share for party in self.parties]
        assert self.limiter.in_flight == sum(share.held for share in shares) <= self.slots
        assert self.limiter.waiting == sum(len(share.turns) for share in shares)
        assert all(share.held <= (self.slots + 1) // 2 for share in shares)
        assert all(len(party.running) <= party.held for party in self.parties)
        # Nobody waits who could have a slot, but behind requests of its own client that run next.
        assert not any(
            share.turns and not share.waking and self.limiter._may_take(share) for share in shares
        )

    async def finish(self):
        tasks = [task for party in self.parties for task in party.tasks]
        while not all(task.done() for task in tasks):
            for party in self.parties:
                for end in party.running.values():
                    if not end.done():
                        end.set_result(None)
            await asyncio.sleep(0)
            self.check()


happenings = st.tuples(
    st.sampled_from(["begin"] * 4 + ["end", "cancel", "succeed", "throttle", "cool_down", "turn"]),
    st.integers(0, 9),
    st.integers(0, 9),
)


def happening(text):
    return [(what, 0, 0) for what in text.split()]


@given(st.integers(1, 9), st.integers(1, 5), st.lists(happenings, max_size=120))
@example(9, 1, happening("begin begin turn begin succeed succeed"))
@example(3, 1, happening("begin begin begin begin begin succeed turn cool_down"))
def test_whatever_happens_the_bound_and_the_order_hold_and_no_slot_is_lost(slots, clients, happens):
    async def live():
        clock = Clock()
        limiter = Limiter(slots)
        parties = [Party(AdaptiveLimiter(4, clock.runtime, limiter)) for _ in range(clients)]
        crowd = Crowd(limiter, clock, parties, slots)
        for what, *numbers in happens:
            await getattr(crowd, what)(*numbers)
            crowd.check()
        await crowd.finish()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        assert all(party.limiter.in_flight == 0 for party in parties)
        if not any(what == "cool_down" for what, *_ in happens):
            assert all(party.started == sorted(party.started) for party in parties)

    asyncio.run(live())


@given(st.integers(1, 30), st.sets(st.integers(0, 3), min_size=1))
def test_a_cancellation_at_any_turn_of_the_loop_loses_no_slot(when, victims):
    async def live():
        limiter, service = Limiter(3), Services()
        clients = [a_client(limiter, service.behaving()) for _ in range(4)]
        reads = [asyncio.create_task(days(client, 3, limit=1).collect()) for client in clients]
        await turns(when)
        for victim in victims:
            reads[victim].cancel()
        done = await asyncio.gather(*reads, return_exceptions=True)
        assert all(number in victims or len(read) == 3 for number, read in enumerate(done))
        for client in clients:
            await client.close()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)

    with asyncio.Runner(loop_factory=Flying) as runner:
        runner.run(live())
