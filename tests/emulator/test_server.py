from __future__ import annotations

import asyncio

import attrs
import pytest
from asking import (
    COMPLETIONS,
    DAY,
    MIDNIGHT,
    NOW,
    ORGANIZATION,
    Asker,
    emulator,
    send,
    until,
)

from usage_async.emulator import Emulator, Organization, serve


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        ("", 401, "You didn't provide an API key."),
        ("sk-admin-somethingwxyz", 401, "Incorrect API key provided: sk-admin-****wxyz."),
        ("nonsense", 401, "Incorrect API key provided: ****."),
        ("sk-proj-abc", 403, "Missing scopes: api.usage.read."),
        ("sk-abc", 403, "Missing scopes: api.usage.read."),
        ("sess-abc", 403, "You must be an organization owner"),
    ],
)
async def test_a_wrong_key_is_refused(key: str, status: int, text: str, ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT)], key=key)
        right = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT)])
    assert (reply.status, right.status) == (status, 200)
    assert text in reply.body.decode()
    assert isinstance(reply.json["error"], str) == ("scopes" in text)


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer sk-admin-\xff\xfe",
        b"Bearer \xc3\xa4",
        b"Bearer \xff",
        b"\xff sk-admin-x",
        b"Bearer",
    ],
)
async def test_a_key_that_is_no_ascii_is_a_wrong_key(authorization: bytes) -> None:
    async with emulator() as server:
        reply = await send(server, f"GET /v1{COMPLETIONS}", [b"Authorization: " + authorization])
    assert reply.status == 401
    assert "API key" in reply.json["error"]["message"]


async def test_an_unknown_path_is_404_and_only_get_is_taken(ask: Asker) -> None:
    async with emulator() as server:
        missing = await ask(server, "/organization/usage/nothing")
        posted = await ask(server, COMPLETIONS, method="POST")
        head = await ask(server, COMPLETIONS, method="HEAD")
    assert (missing.status, posted.status, head.status) == (404, 405, 405)
    assert missing.json["error"]["message"] == "Invalid URL (GET /v1/organization/usage/nothing)"


async def test_requests_are_recorded_without_secrets(ask: Asker) -> None:
    async with emulator() as server:
        reply = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT), ("group_by", "model")])
        await ask(server, COMPLETIONS)
        first, second = server.requests
    assert (first.method, first.path, first.status) == ("GET", f"/v1{COMPLETIONS}", 200)
    assert first.query == (("start_time", str(MIDNIGHT)), ("group_by", "model"))
    assert first.request_id == reply.headers["x-request-id"]
    assert (second.status, second.query) == (400, ())
    assert "user-agent" in first.headers
    assert server.admin_key not in repr(server.requests)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.status = 500  # type: ignore[misc] # the wrong use is the test


async def test_two_emulators_of_one_seed_give_the_same_answers(ask: Asker) -> None:
    params = [("start_time", MIDNIGHT - 3 * DAY), ("group_by", "model")]
    bodies = []
    for organization in (Organization(5), Organization(5), Organization(6)):
        async with Emulator(organization, now=lambda: NOW) as server:
            bodies.append((await ask(server, COMPLETIONS, params)).body)
    assert bodies[0] == bodies[1] != bodies[2]


async def test_a_port_in_use_is_an_error_and_leaves_nothing_open() -> None:
    async with emulator() as server:
        with pytest.raises(OSError, match="address already in use"):
            await emulator(port=server.port).start()


async def test_serving_lasts_until_it_is_cancelled(ask: Asker) -> None:
    started: asyncio.Future[Emulator] = asyncio.get_running_loop().create_future()
    emulator = Emulator(ORGANIZATION, now=lambda: NOW)
    task = asyncio.create_task(serve(emulator, started=started.set_result))
    server = await started
    assert (await ask(server, "/organization/users")).status == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(server.host, server.port)


async def test_serving_needs_nobody_to_tell() -> None:
    emulator = Emulator(ORGANIZATION)
    task = asyncio.create_task(serve(emulator))
    await until(lambda: emulator.port)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_emulator_can_be_started_again_and_closed_twice(ask: Asker) -> None:
    emulator = Emulator(ORGANIZATION)
    for _ in range(2):
        async with emulator as server:
            assert (await ask(server, "/organization/users")).status == 200
    await emulator.close()
    assert len(emulator.requests) == 2


async def test_without_a_clock_the_present_is_now(ask: Asker) -> None:
    async with Emulator(ORGANIZATION) as server:
        reply = await ask(server, "/organization/costs", [("start_time", 0)])
    assert reply.json["error"]["code"] == "reporting_lookback_exceeded"


def test_an_ipv6_address_is_bracketed() -> None:
    assert Emulator(ORGANIZATION, host="::1", port=8089).url == "http://[::1]:8089/v1"
