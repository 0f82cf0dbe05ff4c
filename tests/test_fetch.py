"""One request, whole: its retries, its key, and what can be seen of it."""

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from itertools import accumulate

import pytest
from service import DAY, KEY, NOW, START, bucket, days, padded, page, serve, turns

from usage_async import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    InternalServerError,
    QueryError,
    RateLimitError,
    RequestEvent,
    ResponseError,
    RetryPolicy,
    UsageClient,
    UsageCompletionsResult,
)
from usage_async._codec.pages import PageDecoder
from usage_async._http.fetch import Request, _decoding
from usage_async._http.key import KeyCustody, Secret

pytestmark = pytest.mark.usefixtures("nothing_left")

HEADERS = {"X-Request-Id": "req_1"}


class Scripted:
    """A transport that answers from a list; an exception is raised, a last answer stays.

    With `pad`, pages are not decoded before their turn.
    """

    def __init__(self, *answers, pad=False):
        self.answers = list(answers)
        self.pad = padded if pad else bytes
        self.sent = []

    async def __call__(self, path, params, headers):
        self.sent.append((path, params, headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            return 200, HEADERS, self.pad(serve(params))
        status, body = answer
        return status, HEADERS, self.pad(body)


def client_of(transport, clock, **options):
    return UsageClient(
        **{"admin_key": KEY, "transport": transport, "runtime": clock.runtime, **options}
    )


PATH = "/organization/usage/completions"
LINE = f"completions of org-1: GET {PATH}: {{}}, {{}} bytes, 0.000 s, attempt {{}}, request {{}}"


async def test_every_try_is_one_event_and_one_debug_line(clock, caplog):
    caplog.set_level(logging.DEBUG)
    events = []
    transport = Scripted((200, b"<html>"), (500, b"{}"), APIConnectionError("gone"), None)
    options = {"trace": events.append, "organization": "org-1"}
    async with client_of(transport, clock, **options) as client:
        await days(client, 1).collect()
    path, size = PATH, len(serve(transport.sent[-1][1]))
    replied = {"path": path, "seconds": 0, "request_id": "req_1"}
    times = list(accumulate(clock.slept, initial=NOW))
    assert events == [
        RequestEvent(
            **replied, attempt=1, ended_at=times[0], status=200, bytes=6, error="ResponseError"
        ),
        RequestEvent(
            **replied,
            attempt=2,
            ended_at=times[1],
            status=500,
            bytes=2,
            error="InternalServerError",
        ),
        RequestEvent(
            path=path, attempt=3, seconds=0, ended_at=times[2], error="APIConnectionError"
        ),
        RequestEvent(**replied, attempt=4, ended_at=times[3], status=200, bytes=size),
    ]
    assert [r.getMessage() for r in caplog.records if r.name == "usage_async"] == [
        LINE.format("200 ResponseError", 6, 1, "req_1"),
        LINE.format("500 InternalServerError", 2, 2, "req_1"),
        LINE.format("None APIConnectionError", 0, 3, None),
        LINE.format("200 OK", size, 4, "req_1"),
    ]


async def test_there_is_one_logger_and_it_is_quiet_when_all_is_well(clock, caplog):
    caplog.set_level(logging.INFO)
    async with client_of(Scripted(None), clock) as client:
        await days(client, 3).collect()
    assert not caplog.records
    ours = [name for name in logging.root.manager.loggerDict if name.startswith("usage")]
    assert {name.partition(".")[0] for name in ours} == {"usage_async"}


async def test_seconds_are_those_of_the_request_and_not_of_waiting_for_a_slot(clock):
    async def slow(path, params, headers):
        clock.now += 2
        await asyncio.sleep(0)
        return 200, {}, serve(params)

    events = []
    async with client_of(slow, clock, trace=events.append, concurrency=2) as client:
        client.limiter.maximum = client.limiter.limit = 1
        await days(client, 4, limit=2).collect()
    assert [event.seconds for event in events] == [2, 2]


@pytest.mark.parametrize("pad", [True, False], ids=["padded", "tiny"])
@pytest.mark.parametrize("in_turn", [True, False], ids=["waited for", "early"])
@pytest.mark.parametrize(
    ("body", "limit"),
    [
        pytest.param(page([bucket(START)]), 2.5, id="page"),
        pytest.param(b"<html>", 2, id="no page"),
    ],
)
async def test_only_a_page_counts_as_a_success(clock, body, limit, in_turn, pad):
    transport = Scripted((200, body), pad=pad)
    async with client_of(transport, clock, retry=RetryPolicy(attempts=1)) as client:
        client.limiter.limit = 2
        asked = Request(PATH, [], PageDecoder(UsageCompletionsResult))
        if in_turn:
            asked.turn.set()
        task = asyncio.create_task(client._engine.fetcher.fetch(asked))
        await turns(20)
        assert client.limiter.limit == limit
        asked.turn.set()
        await asyncio.wait([task])
        assert isinstance(task.exception(), ResponseError | None)
        assert client.limiter.limit == limit


async def test_a_hook_that_fails_is_heard_of(clock):
    def broken(event):
        raise LookupError("no such metric")

    async with client_of(Scripted(None), clock, trace=broken) as client:
        with pytest.raises(LookupError, match="no such metric"):
            await days(client, 1).collect()


async def test_what_a_transport_raises_of_its_own_is_seen_and_not_retried(clock):
    events = []
    transport = Scripted(LookupError("no such recording"))
    async with client_of(transport, clock, trace=events.append) as client:
        with pytest.raises(LookupError, match="no such recording"):
            await days(client, 1).collect()
    assert [event.error for event in events] == ["LookupError"]


async def test_a_request_that_is_cancelled_is_seen(clock):
    async def hang(path, params, headers):
        await asyncio.Event().wait()

    events = []
    async with client_of(hang, clock, trace=events.append) as client:
        reading = asyncio.create_task(days(client, 1).collect())
        await turns(5)
        reading.cancel()
        await asyncio.wait([reading])
    assert [event.error for event in events] == ["CancelledError"]


async def test_a_page_is_decoded_when_its_turn_comes_and_its_event_tells_when_it_ended(clock):
    events, transport = [], Scripted(None, pad=True)
    async with (
        client_of(transport, clock, trace=events.append, concurrency=4) as client,
        days(client, 9, limit=1).stream() as stream,
    ):
        await anext(stream)
        await turns(50)
        assert (len(transport.sent), len(events)) == (4, 1)
        clock.now += 100
        await anext(stream)
        assert [event.ended_at for event in events] == [NOW, NOW]
        await turns(50)
        assert len(transport.sent) == 5
    # Every request that was sent has an event, those that nobody waited for, too.
    dropped = events[2:]
    assert [event.error for event in dropped] == ["CancelledError"] * 3
    assert all(event.status == 200 for event in dropped)


async def test_a_small_page_is_decoded_when_it_arrives(clock):
    events = []
    async with (
        client_of(Scripted(None), clock, trace=events.append, concurrency=4) as client,
        days(client, 9, limit=1).stream() as stream,
    ):
        await anext(stream)
        await turns(50)
        assert [event.error for event in events] == [None] * 4


async def test_a_success_counts_when_its_reply_comes_and_not_when_it_is_decoded(clock):
    transport = Scripted((429, b"{}"), None, pad=True)
    async with (
        client_of(transport, clock, concurrency=4) as client,
        days(client, 9, limit=1).stream() as stream,
    ):
        await anext(stream)
        await turns(50)
        # Halved once; then the replies of all four, one of which was decoded.
        assert client.limiter.limit > 2 + 1


async def test_a_stream_that_was_left_keeps_no_page(clock):
    async with client_of(Scripted(None), clock, concurrency=4) as client:
        async with days(client, 9, limit=1).stream() as stream:
            await anext(stream)
            await turns(50)
        assert not stream._merge._ahead


@pytest.mark.parametrize("size", [1, 100, 3000], ids=["tiny", "small", "large"])
@pytest.mark.parametrize(
    "garble",
    [
        pytest.param(lambda body: b"", id="nothing"),
        pytest.param(lambda body: b"<html>" + body, id="HTML"),
        pytest.param(lambda body: b"{}", id="no page"),
        pytest.param(lambda body: b"[%b]" % body, id="list"),
        pytest.param(lambda body: b'"%b"' % body.replace(b'"', b"'"), id="text"),
        pytest.param(lambda body: body[: len(body) // 2], id="cut off"),
        pytest.param(lambda body: body.replace(b'"has_more"', b'"had_more"'), id="no has_more"),
        pytest.param(lambda body: body.replace(b'"data"', b'"date"'), id="no data"),
    ],
)
async def test_what_is_no_page_is_tried_again_when_it_arrives_and_not_at_its_turn(
    clock, garble, size
):
    garbled = set()

    async def once_bad(path, params, headers):
        start = int(dict(params)["start_time"])
        body = page([{**bucket(start), "results": bucket(start)["results"] * size * 3}])
        if start == START or start in garbled:
            return 200, {}, body
        garbled.add(start)
        return 200, {}, garble(body)

    events = []
    async with (
        client_of(once_bad, clock, trace=events.append, concurrency=3) as client,
        days(client, 3, limit=1).stream() as stream,
    ):
        await anext(stream)
        await turns(50)
        # Nobody has asked for the second and the third yet.
        assert [event.error for event in events].count("ResponseError") == 2
        slept = list(clock.slept)
        await anext(stream)
        await anext(stream)
        assert clock.slept == slept


async def test_the_wait_for_its_turn_is_not_held_against_a_page(clock):
    async def garbled(path, params, headers):
        is_second = int(dict(params)["start_time"]) == START + DAY
        bad = is_second and not garbled_before
        garbled_before.extend([1] if bad else [])
        body = serve(params)
        return 200, {}, body.replace(b'"results"', b'"resulting"') if bad else body

    garbled_before = []
    async with client_of(garbled, clock) as client, days(client, 3, limit=1).stream() as stream:
        await anext(stream)
        await turns(50)
        clock.now += 10_000
        assert (await anext(stream)).start_time == START + DAY
    assert garbled_before


async def test_a_key_that_was_rotated_is_asked_for_once_and_the_page_is_read(clock):
    keys = iter(["sk-admin-old", "sk-admin-new"])

    async def rotate():
        await asyncio.sleep(0)
        return next(keys)

    async def serve_new(path, params, headers):
        await asyncio.sleep(0)
        good = headers["Authorization"] == "Bearer sk-admin-new"
        return (200, {}, serve(params)) if good else (401, {}, b"{}")

    async with client_of(serve_new, clock, admin_key=rotate) as client:
        assert len(await days(client, 16, limit=2).collect()) == 16
        assert len(await days(client, 16, limit=2).collect()) == 16
    assert next(keys, None) is None
    assert not clock.slept


async def test_a_key_that_stays_refused_is_asked_for_once_more_and_then_told(clock):
    asked = []

    async def same():
        await asyncio.sleep(0)
        asked.append(1)
        return KEY

    transport = Scripted((401, b"{}"))
    async with client_of(transport, clock, admin_key=same) as client:
        with pytest.raises(AuthenticationError, match="sk-admin-…"):
            await days(client, 16, limit=2).collect()
    assert len(asked) == 2
    assert len(transport.sent) == 8


async def test_a_401_that_comes_after_the_key_was_renewed_asks_for_none(clock):
    keys = iter(["sk-admin-old", "sk-admin-new"])
    late = asyncio.Event()

    async def rotate():
        return next(keys)

    async def serve_new(path, params, headers):
        if headers["Authorization"] == "Bearer sk-admin-new":
            late.set()
            return 200, {}, serve(params)
        if dict(params)["start_time"] != str(START):
            await late.wait()
        return 401, {}, b"{}"

    async with client_of(serve_new, clock, admin_key=rotate) as client:
        assert len(await days(client, 2, limit=1).collect()) == 2


async def test_a_new_key_that_is_refused_too_is_told(clock):
    keys = iter([f"sk-admin-{number}" for number in range(100)])

    async def another():
        return next(keys)

    transport = Scripted((401, b"{}"))
    async with client_of(transport, clock, admin_key=another) as client:
        with pytest.raises(AuthenticationError):
            await days(client, 1).collect()
    assert len(transport.sent) == 2


@pytest.mark.parametrize("key", [None, b"sk-admin-x", "", "a b"])
async def test_what_an_async_callable_gives_must_be_a_key(clock, key):
    async def give():
        return key

    transport = Scripted(None)
    async with client_of(transport, clock, admin_key=give) as client:
        with pytest.raises(ConfigurationError, match="the admin key must be a string"):
            await days(client, 1).collect()
    assert not transport.sent


async def test_a_key_that_is_no_admin_key_only_warns(clock, caplog):
    async with client_of(Scripted(None), clock, admin_key="sk-proj-1") as client:
        await days(client, 1).collect()
    assert [record.getMessage() for record in caplog.records] == [
        "the key does not start with sk-admin-; usage needs an admin key"
    ]


async def test_a_transport_of_ones_own_needs_no_key(clock, monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-of-the-developer")
    transport = Scripted(None)
    async with client_of(transport, clock, admin_key=None) as client:
        await days(client, 1).collect()
    assert "Authorization" not in transport.sent[0][2]


def test_a_key_is_found_in_the_environment_or_in_the_file_that_it_names(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY_FILE", raising=False)
    with pytest.raises(ConfigurationError, match="no admin key: set OPENAI_ADMIN_KEY"):
        UsageClient()
    file = tmp_path / "key"
    monkeypatch.setenv("OPENAI_ADMIN_KEY_FILE", str(file))
    with pytest.raises(ConfigurationError, match="it cannot be read: No such file") as caught:
        UsageClient()
    assert caught.value.__context__ is None
    file.write_text("sk-admin-in-the-file\n")
    assert held(UsageClient()) == "sk-admin-in-the-file"
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-of-the-environment")
    assert held(UsageClient()) == "sk-admin-of-the-environment"
    assert held(UsageClient("sk-admin-given")) == "sk-admin-given"


def held(client):
    return client._engine.fetcher.custody._key


def test_a_secret_and_its_parts_are_not_shown():
    secret = Secret("sk-admin-canary")
    shown = [repr(secret), repr(secret[:-1]), repr(secret[9:]), repr([secret]), f"{secret!r}"]
    assert "canary" not in "".join(shown)
    assert secret == "sk-admin-canary"
    assert "canary" not in repr(KeyCustody(secret))


async def test_the_deadline_begins_with_the_first_try_and_not_in_the_queue(clock):
    transport = Scripted((500, b"{}"), None)
    policy = RetryPolicy(deadline_s=10)
    async with client_of(transport, clock, retry=policy) as client:
        client.limiter.cool_down(1000)
        assert await days(client, 1).collect()
    assert len(transport.sent) == 2


async def test_the_budget_ends_retries_and_successes_fill_it_again(clock):
    transport = Scripted((500, b"{}"))
    policy = RetryPolicy(budget=12)
    async with client_of(transport, clock, retry=policy) as client:
        with pytest.raises(InternalServerError):
            await days(client, 1).collect()
        assert len(transport.sent) == 3
        transport.answers = [None]
        await days(client, 20, limit=1).collect()
        assert client._engine.fetcher.budget.left == 12


async def test_a_429_is_waited_for_by_all_and_other_failures_by_their_own_request(clock):
    transport = Scripted((429, b"{}"), None)
    async with client_of(transport, clock) as client:
        await days(client, 1).collect()
        assert client.limiter.cooldown_until > 0
    assert clock.slept == [0.25 + 0.25]


async def test_a_throttled_request_gives_its_slot_to_others(clock):
    async with client_of(Scripted((429, b"{}")), clock, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(RateLimitError):
            await days(client, 1).collect()
        assert (client.limiter.in_flight, client.limiter.limit) == (0, 4)


async def test_a_refused_page_does_not_keep_its_body(clock):
    transport = Scripted((200, page([{**bucket(START), "results": 1}])))
    async with client_of(transport, clock) as client:
        with pytest.raises(ResponseError) as caught:
            await days(client, 1).collect()
    error = caught.value
    assert (error.request_id, error.__cause__, error.__context__) == ("req_1", None, None)
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next
    assert not [True for frame in frames if "body" in frame]


async def test_large_pages_that_arrive_together_are_decoded_one_at_a_time(clock):
    row = bucket(START)["results"][0]

    async def large(path, params, headers):
        start = int(dict(params)["start_time"])
        return 200, {}, page([{**bucket(start), "results": [row] * 1000}])

    async with client_of(large, clock) as client:
        reads = [asyncio.create_task(days(client, 1).collect()) for _ in range(4)]
        waiting = 0
        while not all(read.done() for read in reads):
            await asyncio.sleep(0)
            waiting = max(waiting, len(_decoding().lock._waiters or ()))
    assert waiting == 3


class Counted:
    """Decoder that tells the turn of the event loop in which it reads a reply, and its size."""

    def __init__(self):
        self.turn = 0
        self.read = []

    async def count(self):
        while True:
            await asyncio.sleep(0)
            self.turn += 1

    def probe(self, body, redactor):
        return None

    def decode(self, body, redactor):
        self.read.append((self.turn, len(body)))
        yield


@pytest.mark.parametrize(
    ("size", "in_one_turn"),
    [
        pytest.param(1 << 14, 4, id="largest of the tiny"),
        pytest.param(1 << 15, 2, id="small"),
        pytest.param(1 << 16, 1, id="largest of the small"),
    ],
)
async def test_replies_that_arrive_together_share_the_turns_of_the_event_loop(
    clock, size, in_one_turn
):
    arrived = asyncio.Event()

    async def together(path, params, headers):
        await arrived.wait()
        return 200, {}, b" " * size

    counted, clients = Counted(), 4
    async with AsyncExitStack() as stack:
        tasks = []
        for _ in range(clients):
            client = await stack.enter_async_context(client_of(together, clock, concurrency=30))
            client.limiter.limit = 30
            for _ in range(30):
                asked = Request(PATH, [], counted)
                asked.turn.set()
                tasks.append(asyncio.create_task(client._engine.fetcher.fetch(asked)))
        await turns(20)
        turning = asyncio.create_task(counted.count())
        arrived.set()
        await asyncio.gather(*tasks)
        turning.cancel()
    assert len(counted.read) == clients * 30
    most = max(Counter(turn for turn, _ in counted.read).values())
    # The bound ends in the midst of a turn, and one that has waited need not wait again.
    assert in_one_turn <= most <= 2 * in_one_turn + 1


@pytest.mark.parametrize(
    "path",
    [
        "/organization/usage/costs\n",
        "/organization/",
        "/organization/../chat/completions",
        "/organization/usage/costs?a=1",
        "/chat/completions",
        "https://evil.example/organization/costs",
        "//evil.example/organization/costs",
    ],
    ids=ascii,
)
async def test_no_transport_is_asked_for_a_path_outside_the_organization(clock, path):
    transport = Scripted(None)
    async with client_of(transport, clock) as client:
        asked = Request(path, [], PageDecoder(UsageCompletionsResult))
        with pytest.raises(QueryError, match="not a path below /organization/"):
            await client._engine.fetcher.fetch(asked)
    assert not transport.sent


async def test_a_path_of_capitals_and_hyphens_is_asked_for(clock):
    transport = Scripted((200, page()))
    async with client_of(transport, clock) as client:
        path = "/organization/Usage/brand-new_2"
        assert await client.query(path, start_time=START).collect() == []
    assert {sent[0] for sent in transport.sent} == {path}
