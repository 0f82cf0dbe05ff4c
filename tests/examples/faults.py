"""Three failures, produced in order: a 401, a 403 and a 429."""

import asyncio

from usage_async import APIStatusError, RetryPolicy, UsageClient
from usage_async.emulator import Emulator, Faults


async def main():
    faults = Faults(script=("unauthorized", "forbidden", "throttle"), error_rate=0.05)
    once = RetryPolicy(attempts=1)  # otherwise the 429 would be retried
    async with (
        Emulator(faults=faults) as server,
        UsageClient(server.admin_key, base_url=server.url, retry=once) as client,
    ):
        for _ in faults.script:
            try:
                await client.costs(period="7d").total()
            except APIStatusError as error:
                print(error.status, type(error).__name__)
        print([(request.path, request.status) for request in server.requests])


asyncio.run(main())
