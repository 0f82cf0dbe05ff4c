"""Many browsers at once, a service that fails or hangs, and midnight."""

import asyncio
import random
from functools import partial

import attrs
import pytest
from asking import until
from fastapi import FastAPI
from service import DAY, NOW, START, ManualClock, SlowService, serve, turns
from web_server import crowd, served

from usage_async import RetryPolicy, Runtime
from usage_async._query.times import iso
from usage_async.errors import APIConnectionError
from usage_async.fastapi import (
    ALL,
    Usage,
    install_error_handlers,
    usage_lifespan,
    usage_router,
)

TOTALS = f"/usage/completions/totals?start_time={NOW - 7 * DAY}"


@attrs.define
class Service:
    """A service that answers, fails or hangs.

    Attributes:
        failure: Makes what is replied instead of the figures.
        sent: Number of requests.
    """

    failure: object = None
    sent: int = 0

    async def __call__(self, path, params, headers):
        self.sent += 1
        if self.failure is not None:
            return await self.failure()
        return 200, {}, serve(params)


def app_of(upstream, clock=None, *, max_waiting=1000, **options):
    runtime = Runtime(now=lambda: NOW) if clock is None else clock.runtime
    options = {"retry": RetryPolicy(attempts=1), "runtime": runtime, **options}
    app = FastAPI(lifespan=usage_lifespan(transport=upstream, **options))
    install_error_handlers(app)
    app.include_router(usage_router(scope=lambda: ALL, max_waiting=max_waiting))

    @app.get("/spend/{days}")
    async def spend(days: int, usage: Usage) -> int:
        total = await usage.completions(start_time=NOW - days * DAY).total()
        return total.num_model_requests

    return app


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/spend/7", TOTALS], ids=["handler", "router"])
async def test_a_thousand_equal_calls_are_one_run(path):
    upstream = SlowService()
    async with served(app_of(upstream)) as browser:
        replies = await crowd(browser.base_url, [path] * 1000)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert len(upstream.sent) == 1


async def test_two_hundred_different_calls_stay_under_the_limiter():
    upstream = SlowService()
    async with served(app_of(upstream, concurrency=8)) as browser:
        replies = await crowd(browser.base_url, [f"/spend/{days}" for days in range(1, 201)])
    assert {reply.status for reply in replies} == {200}
    assert upstream.most <= 8


async def replied(*reply):
    return reply


async def unreachable():
    raise APIConnectionError("words")


async def hang():
    await asyncio.get_running_loop().create_future()


FAILURES = {
    "revoked": (partial(replied, 401, {}, b"words"), 502, None),
    "throttling": (partial(replied, 429, {"retry-after": "3"}, b"words"), 503, "3"),
    "failing": (partial(replied, 503, {}, b"words"), 502, None),
    "down": (unreachable, 502, None),
    "hanging": (hang, 504, "5"),
}
failures = pytest.mark.parametrize(
    ("failure", "status", "retry_after"), FAILURES.values(), ids=FAILURES
)


async def fails(browser, clock, answers, failure, count):
    """Let many browsers ask in vain; give their replies, and the seconds that they took."""
    before, begin = len(answers), clock.now
    asked = asyncio.ensure_future(crowd(browser.base_url, [TOTALS] * count))
    await until(lambda: len(answers) == before + count)
    if failure is hang:
        await clock.pass_by(9.9)
        await asyncio.sleep(0)
        assert not asked.done()
        await clock.pass_by(0.1)
    replies = await asked
    return replies, clock.now - begin


@pytest.mark.slow
@failures
async def test_a_thousand_calls_of_a_service_that_fails(failure, status, retry_after):
    upstream, clock, answers = Service(failure), ManualClock(), []
    app = app_of(upstream, clock, on_answer=answers.append)
    async with served(app) as browser:
        replies, seconds = await fails(browser, clock, answers, failure, 1000)
    assert {(reply.status, reply.headers.get("Retry-After")) for reply in replies} == {
        (status, retry_after)
    }
    assert seconds == pytest.approx(10 if status == 504 else 0)  # the default of wait_s
    assert not any(b"words" in reply.body for reply in replies)
    assert upstream.sent == 1


@failures
async def test_an_old_answer_is_given_while_a_service_fails(failure, status, retry_after):
    upstream, clock, answers = Service(), ManualClock(), []
    app = app_of(upstream, clock, on_answer=answers.append)
    async with served(app) as browser:
        first = await browser.get(TOTALS)
        assert first.json()["as_of"] == iso(NOW)
        upstream.failure = failure
        await clock.pass_by(100)
        replies = await crowd(browser.base_url, [TOTALS] * 200)
        assert {(reply.status, reply.body) for reply in replies} == {(200, first.content)}
        assert upstream.sent == 2
        await clock.pass_by(3600)
        late, seconds = await fails(browser, clock, answers, failure, 100)
    assert {(reply.status, reply.headers.get("Retry-After")) for reply in late} == {
        (status, retry_after)
    }
    assert seconds == pytest.approx(10 if status == 504 else 0)
    # The refresh hangs still; whoever asks waits for it.
    assert upstream.sent == (2 if status == 504 else 3)


async def test_browsers_of_a_service_that_throttles_for_long_are_told_for_how_long():
    upstream = Service(partial(replied, 429, {"retry-after": "30"}, b"words"))
    clock, answers = ManualClock(), []
    app = app_of(upstream, clock, retry=RetryPolicy(), on_answer=answers.append)
    async with served(app) as browser:
        asked = asyncio.ensure_future(crowd(browser.base_url, [TOTALS] * 50))
        await until(lambda: len(answers) == 50 and clock.sleepers)
        await clock.pass_by(10)
        replies = await asked
    assert {(reply.status, reply.headers["Retry-After"]) for reply in replies} == {(503, "20")}
    assert upstream.sent == 1


@pytest.mark.parametrize(
    "path",
    [
        "/usage/completions/totals?period=today",
        "/usage/completions?period=today",
        "/report.json?period=today",
        "/today",
    ],
)
async def test_after_midnight_today_is_another_figure_within_ttl_s(path):
    clock = ManualClock(START + DAY - 10)
    app = app_of(Service(), clock)

    @app.get("/today")
    async def today(usage: Usage) -> int:
        return (await usage.completions(period="today").total()).input_tokens

    async with served(app) as browser:
        before = [await browser.get(path) for _ in range(2)]
        await clock.pass_by(11)
        after = [await browser.get(path) for _ in range(2)]
    assert {reply.status_code for reply in (*before, *after)} == {200}
    assert before[0].content == before[1].content != after[0].content == after[1].content


async def ask(port, line):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line + b"Host: localhost\r\nConnection: close\r\n\r\n")
    return reader, writer


@pytest.mark.slow
async def test_browsers_that_leave_while_they_wait_take_nobody_with_them(nothing_left):
    chance = random.Random(1)  # noqa: S311 - not for secrets
    go, answers = asyncio.Event(), []

    async def held(path, params, headers):
        await go.wait()
        return 200, {}, serve(params)

    app = app_of(held, on_answer=answers.append, max_waiting=500)
    async with served(app) as browser:
        for days in (1, 2, 3):
            go.clear()
            answers.clear()
            line = f"GET /usage/completions/totals?start_time={NOW - days * DAY} HTTP/1.1\r\n"
            asked = [await ask(browser.base_url.port, line.encode()) for _ in range(500)]
            await until(lambda: len(answers) == 500)
            leaving = asked if days == 2 else chance.sample(asked, 250)
            for _, writer in leaving:
                writer.close()
            await turns(20)
            go.set()
            replies = [await reader.read() for reader, writer in asked if not writer.is_closing()]
            assert len(replies) == 500 - len(leaving)
            assert all(reply.startswith(b"HTTP/1.1 200") for reply in replies)
            assert len({reply.partition(b"\r\n\r\n")[2] for reply in replies}) <= 1
            assert [event.outcome for event in answers].count("read") == 1
            for _, writer in asked:
                writer.close()
                await writer.wait_closed()
