from __future__ import annotations

import socket
from urllib.request import Request, urlopen

import pytest
from asking import (
    ORGANIZATION,
)

from usage_async.emulator import Emulator, running


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
