"""Drawing of the endpoint table: metrics, dimensions, filters and bucket widths."""

from __future__ import annotations

from rich.console import Console

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async.report.breakdown import metrics_of
from usage_async.report.dimensions import word_of
from usage_async.report.terminal.page import Page


def draw_endpoints(console: Console) -> None:
    """Draw the metrics, dimensions, filters and bucket widths of each endpoint."""
    page = Page(console)
    for place, endpoint in enumerate(ENDPOINTS.values()):
        if place:
            page.console.print()
        page.line((endpoint.name, "bold"), (f"  {endpoint.path}", "dim"))
        for name, text in _about(endpoint):
            page.hanging(f"  {name:<9}", text)


def _about(endpoint: Endpoint) -> list[tuple[str, str]]:
    widths = (f"{width} (at most {limit} a page)" for width, limit in endpoint.limits.items())
    return [
        ("gives", ", ".join(a.name for a in metrics_of(endpoint.result_class))),
        ("by", ", ".join(map(word_of, endpoint.group_by))),
        ("filters", ", ".join(name.replace("_", "-") for name in endpoint.filters)),
        ("widths", ", ".join(widths)),
    ]
