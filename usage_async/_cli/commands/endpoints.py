"""Command `usage-async endpoints`: list the endpoints."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from usage_async._cli.context import Context


def endpoints(*, context: Annotated[Any, Parameter(parse=False)]) -> None:
    """List each endpoint's metrics, dimensions, filters and bucket widths."""
    from usage_async.report.terminal.endpoints import draw_endpoints

    here: Context = context
    draw_endpoints(here.out)
