"""`usage-async endpoints`."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from usage_async.cli._context import Context


def endpoints(*, context: Annotated[Any, Parameter(parse=False)]) -> None:
    """Show what each endpoint takes and gives."""
    from usage_async.cli import _draw_endpoint

    shown: Context = context
    _draw_endpoint.endpoints(shown.out)
