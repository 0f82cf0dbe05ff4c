"""Command `usage-async verify`: prove that the figures of an endpoint are whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from usage_async._cli.connection import Connection, open_client
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.options import QueryArguments, endpoint_app

if TYPE_CHECKING:
    from usage_async._sums.verification import Verification

_SHOWN = 10


def _verify(arguments: QueryArguments, connection: Connection, context: Context) -> int:
    found = context.run(_ask(arguments, connection, context))
    for line in _lines(found):
        context.out.print(line, soft_wrap=True)
    context.note_warnings()
    return ExitCode.DONE if found.ok else ExitCode.FAILED


async def _ask(arguments: QueryArguments, connection: Connection, context: Context) -> Verification:
    async with open_client(connection, context) as client:
        return await arguments.query(client).verify()


def _lines(found: Verification) -> list[str]:
    by = ", ".join(found.compared)
    proof = (
        f"the groups by {by} add up to the whole"
        if by
        else "no groups compared (add --by to compare them)"
    )
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
    "Prove that the figures of an endpoint are whole: every bucket came once, and the groups of "
    "--by add up to the ungrouped figure in all settled buckets. Exit code 1 if not proven.",
    _verify,
    (),
    "costs --period 2026-10 --by project_id",
)
