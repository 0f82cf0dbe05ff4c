"""A local organization that speaks the API, for tests, demonstrations and benchmarks.

    async with Emulator() as server:
        async with UsageClient(server.admin_key, base_url=server.url) as client:
            ...

`demo()` does both in one. The usage depends on the organization's seed and the time alone. `Faults`
are failures and `Quirks` are oddities; by default there are none.

Names are imported when they are first used, so that the pytest plugin costs nothing until then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usage_async.emulator._demo import demo
    from usage_async.emulator.dataset import Organization
    from usage_async.emulator.faults import Faults
    from usage_async.emulator.quirks import Quirks
    from usage_async.emulator.server import Emulator, Request, serve
    from usage_async.emulator.thread import running

__all__ = ["Emulator", "Faults", "Organization", "Quirks", "Request", "demo", "running", "serve"]

_HOMES = {
    "Emulator": "server",
    "Faults": "faults",
    "Organization": "dataset",
    "Quirks": "quirks",
    "Request": "server",
    "demo": "_demo",
    "running": "thread",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
