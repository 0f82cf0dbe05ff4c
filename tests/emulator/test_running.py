from __future__ import annotations

import asyncio
import socket
from urllib.request import Request, urlopen

import pytest
from asking import NOW, Asker, until

from usage_async import emulator as door
from usage_async.emulator import Emulator, Organization, running, serve

ORGANIZATION = Organization(0)


def test_the_door_offers_what_it_names() -> None:
    assert sorted(door.__all__) == door.__all__
    assert set(door.__all__) <= set(dir(door))
    for name in door.__all__:
        assert getattr(door, name).__module__.startswith("usage_async.emulator.")
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        door.Nothing  # noqa: B018 - asking is the test


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


def test_a_thread_runs_one_without_an_event_loop() -> None:
    with running(Emulator(ORGANIZATION)) as server:
        headers = {"Authorization": f"Bearer {server.admin_key}"}
        url = f"{server.url}/organization/users"
        request = Request(url, headers=headers)  # noqa: S310 - its scheme is known
        with urlopen(request) as reply:  # noqa: S310 - as above
            assert reply.status == 200


def test_a_thread_that_cannot_listen_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(OSError, match="address already in use"),
            running(Emulator(ORGANIZATION, port=port)),
        ):
            pass


async def test_without_a_clock_the_present_is_now(ask: Asker) -> None:
    async with Emulator(ORGANIZATION) as server:
        reply = await ask(server, "/organization/costs", [("start_time", 0)])
    assert reply.json["error"]["code"] == "reporting_lookback_exceeded"


def test_an_ipv6_address_is_bracketed() -> None:
    assert Emulator(ORGANIZATION, host="::1", port=8089).url == "http://[::1]:8089/v1"
