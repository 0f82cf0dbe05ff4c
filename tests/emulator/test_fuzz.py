"""Any bytes get an answer from the emulator, and never one that is its own failure."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from asking import MIDNIGHT, NOW, ORGANIZATION, emulator, send
from hypothesis import example, given
from hypothesis import strategies as st

from usage_async._api.endpoints import ENDPOINTS
from usage_async.emulator import Faults, Quirks

KEY = b"Authorization: Bearer " + emulator().admin_key.encode()
START = f"start_time={MIDNIGHT}"
PATHS = [
    *(f"/v1{endpoint.path}" for endpoint in ENDPOINTS.values()),
    *("/v1/organization/projects", "/v1/organization/users", "/v1/organization/admin_api_keys"),
    f"/v1/organization/projects/{ORGANIZATION.projects[0].id}/api_keys",
    f"/v1/organization/projects/{ORGANIZATION.projects[0].id}/service_accounts",
]
NAMES = sorted({name for endpoint in ENDPOINTS.values() for name in endpoint.filters})
NAMES += ["start_time", "end_time", "limit", "page", "bucket_width", "group_by", "group_by[]"]
NAMES += ["after", "include_archived"]

cursors = st.binary(min_size=20, max_size=20).map(
    lambda data: b"page_" + base64.b64encode(data).replace(b"+", b"%2B")
)
integers = st.integers(-(10**25), 10**25) | st.integers(MIDNIGHT - 400 * 86400, NOW)
words = st.sampled_from(["1d", "1h", "1m", "model", "project_id", "line_item", "true", "", "0"])
# Bytes as they are, and as a client encodes them.
raw = st.binary(max_size=12)
encoded = raw.map(lambda data: quote_from_bytes(data).encode())
values = encoded | words.map(str.encode) | integers.map(lambda number: b"%d" % number) | cursors
pairs = st.tuples(st.sampled_from(NAMES).map(str.encode) | encoded, values)
targets = st.builds(
    lambda path, pairs: path + b"?" + b"&".join(b"=".join(pair) for pair in pairs),
    st.sampled_from(PATHS).map(str.encode) | encoded.map(lambda part: b"/v1/organization/" + part),
    st.lists(pairs, max_size=6)
    | st.lists(pairs, max_size=3).map(lambda more: [(b"start_time", b"%d" % MIDNIGHT), *more]),
)
methods = st.sampled_from([b"GET"] * 9 + [b"POST", b"HEAD", b"OPTIONS", b"DELETE", b"BREW"])
one_line = st.binary(max_size=20).map(lambda data: bytes(b for b in data if b not in b"\r\n\0"))
keys = st.just(KEY) | one_line.map(lambda text: b"Authorization: Bearer " + text)
others = st.tuples(
    st.sampled_from([b"Accept-Encoding", b"Accept", b"User-Agent", b"X-Odd", b"Range"]), one_line
).map(b": ".join)
quirks = st.builds(
    Quirks,
    hollow_pages=st.integers(0, 2),
    foreign_buckets=st.booleans(),
    repeated_buckets=st.booleans(),
    contradicting_buckets=st.booleans(),
    cut_buckets=st.booleans(),
    compress=st.booleans(),
    lookback_days=st.sampled_from([365, 30_000, 10**9]),
    cursors=st.sampled_from(["good", "repeated", "looping"]),
)


async def answer(line: bytes, headers: list[bytes], quirks: Quirks) -> None:
    async with emulator(quirks=quirks) as server:
        reply = await send(server, line, headers)
        assert reply.status < 500, reply.body
        # What aiohttp cannot read it refuses by itself; every other answer is JSON.
        if server.requests and not line.startswith(b"HEAD") and not quirks.compress:
            assert isinstance(json.loads(reply.body), dict)
            assert reply.headers["Content-Type"].startswith("application/json")
            assert server.requests[0].status == reply.status
        # What was recorded can be written, too.
        repr(server.requests).encode()


@example(b"GET", b"/v1/organization/costs?start_time=999999999999", [KEY], Quirks())
@example(b"GET", b"/v1/organization/costs?start_time=0", [KEY], Quirks(lookback_days=10**9))
@example(b"GET", b"/v1/organization/costs?group_by=%FF", [KEY], Quirks())
@example(b"GET", b"/v1/organization/costs", [b"Authorization: Bearer \xff"], Quirks())
@example(b"GET", b"/v1/organization/\xff", [KEY], Quirks())
@given(methods, targets, st.lists(keys | others, max_size=3).map(lambda more: [KEY, *more]), quirks)
def test_whatever_is_sent_is_answered(
    method: bytes, target: bytes, headers: list[bytes], quirks: Quirks
) -> None:
    asyncio.run(answer(method + b" " + target, headers, quirks))


@given(targets, keys)
def test_whatever_the_key_is_the_answer_is_json(target: bytes, key: bytes) -> None:
    asyncio.run(answer(b"GET " + target, [key], Quirks()))


@given(raw.map(lambda data: bytes(b for b in data if b > 32)))
def test_bytes_that_no_url_has_are_answered(path: bytes) -> None:
    target = b"/v1/organization/costs?" + path + b"&" + START.encode()
    asyncio.run(answer(b"GET " + target, [KEY], Quirks()))


@pytest.mark.parametrize("fault", ["error", "bad_gateway", "unavailable"])
async def test_a_failure_that_was_asked_for_is_given(fault: Any) -> None:
    faults = Faults(script=(fault,))
    async with emulator(faults=faults) as server:
        reply = await send(server, f"GET {PATHS[0]}?{START}", [KEY])
    assert reply.status >= 500
