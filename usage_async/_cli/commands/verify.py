"""`usage-async verify`: whether an endpoint's figures are whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from usage_async._cli.connect import Connection, connect
from usage_async._cli.context import Context
from usage_async._cli.exit import ExitCode
from usage_async._cli.options import Asked, endpoint_app

if TYPE_CHECKING:
    from usage_async._sums.verification import Verification

_SHOWN = 10


def _verify(asked: Asked, connection: Connection, context: Context) -> int:
    found = context.run(_ask(asked, connection, context))
    for line in _lines(found):
        context.out.print(line, soft_wrap=True)
    context.note_warnings()
    return ExitCode.DONE if found.ok else ExitCode.FAILED


async def _ask(asked: Asked, connection: Connection, context: Context) -> Verification:
    async with connect(connection, context) as client:
        query = client.query(asked.name, unchecked=asked.unchecked, **asked.params)
        return await query.verify()


def _lines(found: Verification) -> list[str]:
    by = ", ".join(found.compared)
    proof = f"the groups by {by} add up to the whole" if by else "no groups to compare: say --by"
    lines = [
        f"checked    {len(found.checked):>6}  came once; {proof}",
        f"unsettled  {len(found.unsettled):>6}  may still be revised; not compared",
        f"missing    {len(found.missing):>6}  never came",
        f"differing  {len(found.differing):>6}  did not agree in two readings",
    ]
    for name, starts in (("missing", found.missing), ("differing", found.differing)):
        lines += [f"{name}: the bucket of {_time(start)}" for start in starts[:_SHOWN]]
        if len(starts) > _SHOWN:
            lines.append(f"{name}: and {len(starts) - _SHOWN} more")
    if found.ok:
        return [*lines, "whole"]
    is_wrong = found.missing or found.differing
    return [*lines, "NOT whole" if is_wrong else "NOT proven: no bucket was checked"]


def _time(start: int) -> str:
    return f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} UTC"


app = endpoint_app(
    "verify",
    "Prove that an endpoint's figures are whole: every bucket came once, and over settled ones the "
    "groups of --by add up to the ungrouped figure. Exit code 1 where that is not proven.",
    _verify,
    (),
    "costs --period 2026-10 --by project_id",
)
