"""A local organization that speaks the API, for tests, demonstrations and benchmarks.

    async with Emulator() as server:
        async with UsageClient(server.admin_key, base_url=server.url) as client:
            ...

`demo()` is both in one line. The usage depends only on the organization's seed and the time. Events
recur: a price changes every second month on the 12th, an API key runs away from the 16th to the
18th of each month, another moves to the month's snapshot of a model (`organization/story.py`).
`Faults` are failures, `Quirks` are oddities of the service; by default there are none. The pytest
plugin (`usage_async.emulator.plugin`) comes with the installed package.

Names are imported at first use, so the plugin costs a test run nothing until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.emulator.demonstration import demo as demo
    from usage_async.emulator.faults import Faults as Faults
    from usage_async.emulator.organization.organization import Organization as Organization
    from usage_async.emulator.quirks import Quirks as Quirks
    from usage_async.emulator.service.server import (
        Emulator as Emulator,
        Request as Request,
        serve as serve,
    )
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
