"""A pytest plugin for applications that use this library. Its fixtures need no key and no network.

- `usage_emulator` is a running emulator, for asynchronous and plain tests alike. The marker
  `@pytest.mark.usage_emulator(faults=…, quirks=…, …)` sets its options.
- `usage_client` is a client of that emulator, with the same clock. It needs pytest-asyncio.

Heavy modules are imported when a fixture is first used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from usage_async.emulator.service.server import Emulator

_MARKER = "usage_emulator(**options): the options of the `Emulator` of the `usage_emulator` fixture"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and `usage_client` if pytest-asyncio is installed."""
    config.addinivalue_line("markers", _MARKER)
    if config.pluginmanager.hasplugin("asyncio"):
        from usage_async.emulator import client_fixture as _client_fixture

        config.pluginmanager.register(_client_fixture, "usage_async_client")


@pytest.fixture
def usage_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A running `usage_async.emulator.Emulator`, in a thread of its own."""
    from usage_async.emulator import Emulator, running

    marker = request.node.get_closest_marker("usage_emulator")
    with running(Emulator(**(marker.kwargs if marker else {}))) as server:
        yield server
