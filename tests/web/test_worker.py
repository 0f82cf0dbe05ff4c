"""The worker: work on large values beside the event loop, one piece at a time."""

import asyncio
import threading
import weakref
from collections import Counter

import httpx
import pytest
from fastapi import FastAPI
from service import DAY, KEY, NOW, SlowService
from web_server import direct

from usage_async import ENDPOINTS, Runtime, UsageClient, UsageTimeBucket
from usage_async.fastapi import ALL, replies, usage_lifespan, usage_router
from usage_async.fastapi.lifespan import lifespan_of
from usage_async.fastapi.local import local_app
from usage_async.fastapi.parameters import ReportParameters
from usage_async.report.html.form import Question
from usage_async.report.spec import report_spec
from usage_async.report.values import OrganizationRef, Report, Section, Sections, View
from usage_async.report.worker import in_worker

PATIENCE_S = 30


class Work:
    """Work that lasts until a task of the event loop ends it."""

    def __init__(self):
        self.begun, self.may_end, self.ended = threading.Event(), threading.Event(), False

    def __call__(self, *_):
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S), "the event loop had no turn"
        self.ended = True
        return "done"


async def test_the_event_loop_has_turns_while_the_worker_works():
    work = Work()
    task = in_worker(work)
    await asyncio.to_thread(work.begun.wait, PATIENCE_S)
    work.may_end.set()
    assert await task == "done"


async def test_the_worker_does_one_thing_at_a_time_and_leaves_out_what_nobody_waits_for():
    works = [Work() for _ in range(3)]
    tasks = [in_worker(work) for work in works]
    await asyncio.to_thread(works[0].begun.wait, PATIENCE_S)
    assert not works[1].begun.is_set()
    tasks[1].cancel()
    await asyncio.sleep(0)
    for work in works:
        work.may_end.set()
    assert [await tasks[0], await tasks[2]] == ["done", "done"]
    assert [work.ended for work in works] == [True, False, True]


async def test_an_error_of_the_work_is_raised():
    with pytest.raises(ZeroDivisionError):
        await in_worker(divmod, 1, 0)


@pytest.fixture
def threads(monkeypatch):
    """The threads in which reports are computed and written."""
    found = {}

    def watch(place):
        home, _, name = place.rpartition(".")
        function = getattr(__import__(home, fromlist=[name]), name)

        def watched(*given):
            found[name] = threading.current_thread()
            return function(*given)

        monkeypatch.setattr(place, watched)

    for name in ("replies.compute_report", "local.report_page"):
        watch(f"usage_async.fastapi.{name}")
    for home in ("replies", "local"):
        watch(f"usage_async.fastapi.{home}.report_as_json")
    return found


async def test_a_report_is_computed_and_written_beside_the_event_loop(threads):
    runtime = Runtime(now=lambda: NOW)
    app = FastAPI(lifespan=usage_lifespan(transport=SlowService(), runtime=runtime))
    app.include_router(usage_router(scope=lambda: ALL))
    async with direct(app) as browser:
        assert (await browser.get("/report.json", params={"period": "7d"})).status_code == 200
    assert threads.keys() == {"compute_report", "report_as_json"}
    assert threading.main_thread() not in threads.values()


async def test_the_rows_of_a_report_are_freed_a_bucket_a_turn(monkeypatch):
    turn, freed = 0, []

    async def sections_of(client, spec):
        buckets = [UsageTimeBucket(start_time=n * DAY, end_time=(n + 1) * DAY) for n in range(100)]
        for bucket in buckets:
            weakref.finalize(bucket, lambda: freed.append(turn))
        usage = {name: Section() for name in ENDPOINTS if name != "costs"}
        return Sections(costs=Section(), costs_by=Section(tuple(buckets)), usage=usage)

    monkeypatch.setattr(replies, "read_sections", sections_of)
    async with UsageClient(KEY) as client:
        reply = asyncio.ensure_future(replies.report_reply(client, ReportParameters()))
        while not reply.done():
            turn += 1
            await asyncio.sleep(0)
    assert len(freed) == 100
    assert max(Counter(freed).values()) <= 2


async def test_a_page_is_written_beside_the_event_loop(threads):
    async def read(_):
        spec = report_spec(NOW, period="7d")
        blank = {"organization": OrganizationRef(), "spends": (), "tokens": (), "uncounted": ()}
        return Report(spec=spec, endpoints=(), blanks=(), **blank), View()

    app = local_app(
        lifespan_of(None, {}),
        question=Question("last-month", "project_id"),
        read=read,
        explain=str,
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as browser:
        assert (await browser.get("/")).status_code == 200
        assert (await browser.get("/page.json")).status_code == 200
    assert threads.keys() == {"report_page", "report_as_json"}
    assert threading.main_thread() not in threads.values()
