"""A local organization that speaks the API, for tests, demonstrations and benchmarks.

    async with Emulator() as server:
        async with UsageClient(server.admin_key, base_url=server.url) as client:
            ...

`demo()` does both in one. The usage depends on the organization's seed and the time alone. `Faults`
are failures and `Quirks` are oddities; by default there are none.

Names are imported when they are first used, so that the pytest plugin costs nothing until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.emulator.demonstration import demo as demo
    from usage_async.emulator.faults import Faults as Faults
    from usage_async.emulator.organization.organization import Organization as Organization
    from usage_async.emulator.quirks import Quirks as Quirks
    from usage_async.emulator.service.server import Emulator as Emulator
    from usage_async.emulator.service.server import Request as Request
    from usage_async.emulator.service.server import serve as serve
    from usage_async.emulator.thread import running as running

_HOMES = {
    "Emulator": "service.server",
    "Faults": "faults",
    "Organization": "organization.organization",
    "Quirks": "quirks",
    "Request": "service.server",
    "demo": "demonstration",
    "running": "thread",
    "serve": "service.server",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
