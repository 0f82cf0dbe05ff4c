from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import Any, get_args

import aiohttp
import pytest
from asking import COMPLETIONS, MIDNIGHT, NOW, Asker, emulator, until

from usage_async.emulator import Emulator, Faults, Quirks
from usage_async.emulator.faults import Fault
from usage_async.emulator.service.breakage import reset

PARAMS = [("start_time", MIDNIGHT)]


STATUSES = {
    "none": (200, "application/json"),
    "error": (500, "application/json"),
    "bad_gateway": (502, "text/html"),
    "unavailable": (503, "application/json"),
    "throttle": (429, "application/json"),
    "quota": (429, "application/json"),
    "unauthorized": (401, "application/json"),
    "forbidden": (403, "application/json"),
    "not_found": (404, "application/json"),
    "html": (200, "text/html"),
    "empty": (200, "application/json"),
    "delay": (200, "application/json"),
}


@pytest.mark.parametrize(("fault", "expected"), STATUSES.items(), ids=STATUSES)
async def test_a_script_says_what_the_first_requests_meet(
    fault: Fault, expected: tuple[int, str], ask: Asker
) -> None:
    async with emulator(faults=Faults(script=(fault,), delay_s=0.001)) as server:
        first = await ask(server, COMPLETIONS, PARAMS)
        second = await ask(server, COMPLETIONS, PARAMS)
        recorded = [(request.status, request.fault) for request in server.requests]
    assert (first.status, first.headers["Content-Type"].partition(";")[0]) == expected
    assert second.status == 200
    assert second.json["object"] == "page"
    assert recorded == [(expected[0], fault), (200, "none")]
    assert "x-request-id" in first.headers


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        (COMPLETIONS, "api.usage.read"),
        ("/organization/costs", "api.usage.read"),
        ("/organization/users", "api.management.read"),
    ],
)
async def test_a_403_names_the_scope_that_is_missing(path: str, scope: str, ask: Asker) -> None:
    async with emulator(faults=Faults(forbidden_rate=1)) as server:
        reply = await ask(server, path, PARAMS)
    assert f"Missing scopes: {scope}." in reply.json["error"]


async def test_a_401_of_a_right_key_is_that_of_a_wrong_one(ask: Asker) -> None:
    async with emulator(faults=Faults(script=("unauthorized",))) as server:
        right = await ask(server, COMPLETIONS, PARAMS)
        wrong = await ask(server, COMPLETIONS, PARAMS, key="sk-admin-")
    assert (right.status, right.json) == (wrong.status, wrong.json)


async def test_no_fault_ever_happens_by_default(ask: Asker) -> None:
    faults = Faults()
    assert {faults.draw(f"/{n}", 0, n) for n in range(1000)} == {"none"}


async def test_a_connection_is_reset_before_any_header(ask: Asker) -> None:
    # aiohttp's client asks a second time by itself.
    async with emulator(faults=Faults(script=("reset", "reset"))) as server:
        with pytest.raises(aiohttp.ClientConnectionError):
            await ask(server, COMPLETIONS, PARAMS)
        whole = await ask(server, COMPLETIONS, PARAMS)
        statuses = [request.status for request in server.requests]
    assert whole.status == 200
    assert statuses == [0, 0, 200]


def test_a_connection_that_is_gone_is_not_reset_again() -> None:
    gone: Any = SimpleNamespace(transport=None)
    assert reset(gone).status == 200


async def test_a_connection_breaks_in_the_middle_of_a_body(ask: Asker) -> None:
    async with emulator(faults=Faults(script=("cut",))) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(server, COMPLETIONS, PARAMS)
        whole = await ask(server, COMPLETIONS, PARAMS)
    assert whole.status == 200


async def test_a_truncated_body_has_a_length_that_agrees(ask: Asker) -> None:
    async with emulator(faults=Faults(script=("truncate",))) as server:
        short = await ask(server, COMPLETIONS, PARAMS)
        whole = await ask(server, COMPLETIONS, PARAMS)
    assert int(short.headers["Content-Length"]) == len(short.body)
    assert short.body == whole.body[: len(whole.body) // 2]


async def test_a_body_says_gzip_and_is_not(ask: Asker) -> None:
    async with emulator(faults=Faults(script=("gzip",))) as server:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(server, COMPLETIONS, PARAMS)


async def hang(server: Emulator, ask: Asker) -> asyncio.Task[Any]:
    task = asyncio.create_task(ask(server, COMPLETIONS, PARAMS))
    await until(lambda: server._in_flight)
    return task


async def test_a_hanging_request_ends_when_the_client_gives_up(ask: Asker) -> None:
    async with emulator(faults=Faults(script=("hang",), throttle=1)) as server:
        hanging = await hang(server, ask)
        hanging.cancel()
        await until(lambda: server.requests)
        after = await ask(server, COMPLETIONS, PARAMS)
    assert after.status == 200
    assert server.requests[0].status == 0


async def test_a_hanging_request_ends_when_the_emulator_closes(ask: Asker) -> None:
    async with emulator(faults=Faults(script=("hang",))) as server:
        hanging = await hang(server, ask)
    with pytest.raises(aiohttp.ClientError):
        await hanging


@pytest.mark.parametrize(
    ("how", "name", "value"),
    [
        ("seconds", "Retry-After", "1.5"),
        ("milliseconds", "retry-after-ms", "1500"),
        ("nan", "Retry-After", "nan"),
        ("none", "Retry-After", None),
    ],
)
async def test_a_429_says_when_to_come_back(
    how: str, name: str, value: str | None, ask: Asker
) -> None:
    faults = Faults(script=("throttle",), retry_after=how, retry_after_s=1.5)
    async with emulator(faults=faults) as server:
        reply = await ask(server, COMPLETIONS, PARAMS)
    assert reply.headers.get(name) == value
    assert reply.json["error"]["code"] == "rate_limit_exceeded"


async def test_a_429_can_give_a_date(ask: Asker) -> None:
    faults = Faults(script=("throttle",), retry_after="date", retry_after_s=30)
    async with emulator(faults=faults) as server:
        reply = await ask(server, COMPLETIONS, PARAMS)
    assert parsedate_to_datetime(reply.headers["Retry-After"]).timestamp() == NOW + 30


async def test_more_requests_in_flight_than_throttle_get_a_429(ask: Asker) -> None:
    async with emulator(faults=Faults(throttle=2, script=("hang", "hang"))) as server:
        hanging = [asyncio.create_task(ask(server, COMPLETIONS, PARAMS)) for _ in range(2)]
        await until(lambda: server._in_flight == 2)
        refused = [await ask(server, COMPLETIONS, PARAMS) for _ in range(3)]
        for task in hanging:
            task.cancel()
        await until(lambda: server._in_flight == 0)
        alone = await ask(server, COMPLETIONS, PARAMS)
    assert [reply.status for reply in refused] == [429, 429, 429]
    assert alone.status == 200


def test_rates_are_met_and_depend_on_the_seed_alone() -> None:
    faults = Faults(seed=1, error_rate=0.05, reset_rate=0.01, html_rate=0.2)
    drawn = [faults.draw(f"/{n}", 0, n) for n in range(20_000)]
    counts = Counter(drawn)
    assert 900 < counts["error"] < 1100
    assert 150 < counts["reset"] < 250
    assert 3800 < counts["html"] < 4200
    assert drawn == [faults.draw(f"/{n}", 0, 20_000 - n) for n in range(20_000)]
    other = Faults(seed=2, error_rate=0.05, reset_rate=0.01, html_rate=0.2)
    assert drawn != [other.draw(f"/{n}", 0, n) for n in range(20_000)]


def test_a_request_that_met_a_fault_can_succeed_when_it_is_made_again() -> None:
    faults = Faults(error_rate=0.5)
    outcomes = {tuple(faults.draw(f"/{n}", attempt, 9) for attempt in (0, 1)) for n in range(50)}
    assert ("error", "none") in outcomes


def test_every_fault_has_a_rate() -> None:
    for fault in get_args(Fault):
        if fault != "none":
            rates: dict[str, Any] = {f"{fault}_rate": 1.0}
            certain = Faults(**rates)
            assert certain.draw("/", 0, 0) == fault


@pytest.mark.parametrize(
    "options",
    [{"error_rate": 1.5}, {"reset_rate": -0.1}, {"error_rate": 0.6, "html_rate": 0.6}],
    ids=["over", "under", "together"],
)
def test_rates_are_shares(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rate"):
        Faults(**options)


def test_a_script_holds_known_faults() -> None:
    with pytest.raises(ValueError, match="script"):
        Faults(script=("explode",))  # type: ignore[arg-type] # the wrong use is the test


async def test_replies_are_compressed_on_request(ask: Asker) -> None:
    async with (
        emulator(faults=Faults(), quirks=Quirks(compress=True)) as server,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        headers = {"Authorization": f"Bearer {server.admin_key}", "Accept-Encoding": "gzip"}
        url = f"{server.url}{COMPLETIONS}?start_time={MIDNIGHT - 3 * 86400}"
        async with session.get(url, headers=headers) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            body = gzip.decompress(await response.read())
        plain = await ask(server, COMPLETIONS, [("start_time", MIDNIGHT - 3 * 86400)])
    assert plain.body == body


async def test_the_books_of_a_long_running_emulator_stay_small(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usage_async.emulator.service.server._KEPT_REQUESTS", 10)
    async with emulator(faults=Faults()) as server:
        for n in range(25):
            await ask(server, COMPLETIONS, [("start_time", MIDNIGHT - n * 60)])
        assert len(server.requests) <= 10
        assert server.requests[-1].query == (("start_time", str(MIDNIGHT - 24 * 60)),)
