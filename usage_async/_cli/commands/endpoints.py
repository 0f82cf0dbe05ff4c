"""`usage-async endpoints`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from usage_async._cli.context import Context


def endpoints(*, context: Annotated[Any, Parameter(parse=False)]) -> None:
    """Show what each endpoint takes and gives."""
    from usage_async.report.terminal.endpoints import draw_endpoints

    shown: Context = context
    draw_endpoints(shown.out)
