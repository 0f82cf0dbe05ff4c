"""The limiters: fair, halved once a burst, and no slot is ever lost."""

import asyncio
import heapq
import logging

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from service import turns

from usage_async import Runtime
from usage_async._http.limiter import AdaptiveLimiter


@attrs.define
class ManualClock:
    """Time that passes when a test says so."""

    now: float = 0.0
    chance: float = 0.0
    sleepers: list = attrs.field(factory=list)

    @property
    def runtime(self):
        return Runtime(monotonic=lambda: self.now, sleep=self.sleep, random=lambda: self.chance)

    async def sleep(self, seconds):
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self.sleepers, (self.now + seconds, id(wake), wake))
        await wake

    async def advance(self, seconds):
        """Wake all who wake within so many seconds, in order."""
        until = self.now + seconds
        while self.sleepers and self.sleepers[0][0] <= until:
            self.now, _, wake = heapq.heappop(self.sleepers)
            if not wake.done():
                wake.set_result(None)
            await turns(3)
        self.now = until


@attrs.define
class Requests:
    """Requests of one limiter: each holds its slot until it is told to end."""

    limiter: AdaptiveLimiter
    started: list = attrs.field(factory=list)
    tasks: dict = attrs.field(factory=dict)
    ends: dict = attrs.field(factory=dict)

    def begin(self, *names):
        for name in names:
            self.ends[name] = asyncio.get_running_loop().create_future()
            self.tasks[name] = asyncio.create_task(self.run(name))

    async def run(self, name):
        async with self.limiter.slot() as started_at:
            self.started.append((name, started_at))
            await self.ends[name]

    async def end(self, *names):
        for name in names:
            self.ends[name].set_result(None)
        await turns(3)

    async def cancel(self, *names):
        for name in names:
            self.tasks[name].cancel()
        await turns(3)

    @property
    def order(self):
        return "".join(name for name, _ in self.started)


def made(maximum, shared=None, **options):
    clock = ManualClock(**options)
    limiter = AdaptiveLimiter(maximum, clock.runtime, shared)
    return clock, limiter, Requests(limiter)


async def test_requests_start_first_come_first_served():
    _, limiter, requests = made(2)
    requests.begin(*"abcde")
    await turns(3)
    assert (requests.order, limiter.in_flight, limiter.waiting) == ("ab", 2, 3)
    await requests.end("b")
    requests.begin("f")
    await turns(3)
    assert (requests.order, limiter.waiting) == ("abc", 3)
    await requests.end(*"acde")
    await requests.end("f")
    assert (requests.order, limiter.in_flight, limiter.waiting) == ("abcdef", 0, 0)


async def test_nobody_passes_those_who_wait():
    _, limiter, requests = made(1)
    requests.begin(*"ab")
    await turns(3)
    requests.ends["a"].set_result(None)
    while limiter.waiting:
        await turns(1)
    # The slot is granted to b, which has not run yet, when c comes.
    requests.begin("c")
    await turns(3)
    assert requests.order == "ab"
    await requests.end("b")
    await requests.end("c")


async def test_a_throttled_burst_halves_the_limit_once():
    clock, limiter, _ = made(8)
    clock.now = 10
    for started_at in (7, 8, 9, 10):
        limiter.throttled(started_at)
    assert limiter.limit == 4
    for clock.now, limit in ((11, 2), (12, 1), (13, 1)):
        limiter.throttled(clock.now)
        assert limiter.limit == limit


async def test_a_full_round_of_successes_makes_room_for_one_more():
    _, limiter, _ = made(4)
    limiter.throttled(0)
    assert limiter.limit == 2
    limiter.succeeded()
    assert limiter.limit == 2.5
    limiter.succeeded()
    assert limiter.limit == 2.9
    for _ in range(99):
        limiter.succeeded()
    assert limiter.limit == 4


async def test_a_lower_limit_lets_run_what_runs_and_starts_less():
    _, limiter, requests = made(4)
    requests.begin(*"abcdefgh")
    await turns(3)
    limiter.throttled(0)
    assert (limiter.limit, limiter.in_flight) == (2, 4)
    await requests.end(*"ab")
    assert requests.order == "abcd"
    await requests.end("c")
    assert requests.order == "abcde"
    for _ in range(3):
        limiter.succeeded()
    await turns(3)
    assert requests.order == "abcdef"
    await requests.end(*"def")
    await requests.end(*"gh")
    assert limiter.in_flight == 0


async def test_nothing_starts_during_a_cooldown_and_not_all_at_once_after_it():
    clock, limiter, requests = made(3)
    limiter.cool_down(10)
    for name, clock.chance in zip("abc", (0.5, 0.25, 0.75), strict=True):
        requests.begin(name)
        await turns(3)
    await clock.advance(10)
    assert requests.order == ""
    await clock.advance(0.5)
    assert requests.started == [("b", 10.125), ("a", 10.25), ("c", 10.375)]
    await requests.end(*"abc")


async def test_a_longer_cooldown_extends_the_wait_and_a_shorter_one_does_not():
    clock, limiter, requests = made(1)
    limiter.cool_down(10)
    requests.begin("a")
    await turns(3)
    limiter.cool_down(5)
    assert limiter.cooldown_until == 10
    await clock.advance(9)
    limiter.cool_down(5)
    await clock.advance(4)
    assert requests.order == ""
    await clock.advance(1)
    assert requests.started == [("a", 14)]
    await requests.end("a")


async def test_who_is_cancelled_while_waiting_gives_up_its_place():
    _, limiter, requests = made(1)
    requests.begin(*"abc")
    await turns(3)
    await requests.cancel("b")
    assert limiter.waiting == 1
    await requests.end("a")
    assert requests.order == "ac"
    await requests.end("c")
    assert limiter.in_flight == 0


async def test_who_is_cancelled_just_after_its_turn_came_hands_it_on():
    _, limiter, requests = made(1)
    requests.begin(*"abc")
    await turns(3)
    requests.ends["a"].set_result(None)
    while limiter.waiting == 2:
        await turns(1)
    await requests.cancel("b")
    assert requests.order == "ac"
    await requests.end("c")
    assert limiter.in_flight == 0


async def test_who_is_cancelled_in_the_very_turn_in_which_others_end_loses_no_slot():
    _, limiter, requests = made(1)
    requests.begin(*"abc")
    await turns(3)
    requests.tasks["b"].cancel()
    await requests.end("a")
    assert requests.order == "ac"
    await requests.end("c")
    assert limiter.in_flight == 0


async def test_who_is_cancelled_during_a_cooldown_frees_its_slot():
    clock, limiter, requests = made(1)
    limiter.cool_down(10)
    requests.begin("a")
    await turns(3)
    assert limiter.in_flight == 1
    await requests.cancel("a")
    assert limiter.in_flight == 0
    requests.begin("b")
    await clock.advance(10)
    assert requests.order == "b"
    await requests.end("b")


async def test_a_failure_frees_its_slot():
    _, limiter, requests = made(1)
    requests.begin("a")
    await turns(3)
    requests.ends["a"].set_exception(RuntimeError("text"))
    with pytest.raises(RuntimeError):
        await requests.tasks["a"]
    assert limiter.in_flight == 0


async def test_its_state_can_be_read_and_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "usage_async")
    _, limiter, requests = made(2)
    requests.begin(*"abc")
    await turns(3)
    assert (limiter.maximum, limiter.limit, limiter.in_flight, limiter.waiting) == (2, 2.0, 2, 1)
    limiter.throttled(0)
    state = "AdaptiveLimiter(maximum=2, limit=1.0, in_flight=2, cooldown_until="
    assert caplog.messages == [f"throttled: {state}0.0)"]
    caplog.clear()
    limiter.cool_down(1.5)
    assert caplog.messages == [f"cooling down for 1.50 s: {state}1.5)"]
    await requests.cancel(*"abc")


@attrs.define
class Life:
    """Everything that can happen to a limiter, by name."""

    clock: ManualClock
    limiter: AdaptiveLimiter
    requests: Requests
    names: list = attrs.field(factory=list)

    def chosen(self, number):
        running = [name for name in self.names if not self.requests.tasks[name].done()]
        return running[number % len(running)] if running else None

    async def begin(self, _):
        self.names.append(len(self.names))
        self.requests.begin(self.names[-1])

    async def end(self, number):
        end = self.requests.ends.get(self.chosen(number))
        if end is not None and not end.done():
            end.set_result(None)

    async def cancel(self, number):
        task = self.requests.tasks.get(self.chosen(number))
        if task is not None:
            task.cancel()

    async def succeed(self, _):
        self.limiter.succeeded()

    async def throttle(self, _):
        self.limiter.throttled(self.clock.now)

    async def cool_down(self, seconds):
        self.limiter.cool_down(seconds)

    async def advance(self, seconds):
        await self.clock.advance(seconds)

    async def turn(self, _):
        await asyncio.sleep(0)

    async def finish(self):
        for end in self.requests.ends.values():
            if not end.done():
                end.set_result(None)
        # Time goes on until nothing is cooling down: then all have ended.
        for _ in range(len(self.names) + 1):
            await turns(len(self.names) + 3)
            await self.clock.advance(1000)


events = st.tuples(
    st.sampled_from(
        ["begin", "end", "cancel", "succeed", "throttle", "cool_down", "advance", "turn"]
    ),
    st.integers(0, 5),
)


def happening(text):
    return [(what, 0) for what in text.split()]


@given(st.integers(1, 4), st.lists(events, max_size=60))
@example(2, happening("begin begin throttle turn end begin succeed"))
def test_whatever_happens_no_slot_is_lost_and_order_is_kept(maximum, happens):
    async def live():
        life = Life(*made(maximum))
        limiter = life.limiter
        for what, number in happens:
            await getattr(life, what)(number)
            assert 0 <= limiter.in_flight <= maximum
            assert 1 <= limiter.limit <= maximum
        await life.finish()
        assert all(task.done() for task in life.requests.tasks.values())
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        started = [name for name, _ in life.requests.started]
        if not any(what == "cool_down" for what, _ in happens):
            assert started == sorted(started)

    asyncio.run(live())
