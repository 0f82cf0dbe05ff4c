"""Drawing what each endpoint takes and gives."""

from __future__ import annotations

from rich.console import Console

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.fields import fields_of
from usage_async.report.sums import MEANT
from usage_async.report.terminal.page import Page
from usage_async.report.words import word_of


def draw_endpoints(console: Console) -> None:
    """Draw what each endpoint takes and gives."""
    page = Page(console)
    for place, endpoint in enumerate(ENDPOINTS.values()):
        if place:
            page.console.print()
        page.line((endpoint.name, "bold"), (f"  {endpoint.path}", "dim"))
        for name, text in _about(endpoint):
            page.hanging(f"  {name:<9}", text)


def _about(endpoint: Endpoint) -> list[tuple[str, str]]:
    widths = (f"{width} (at most {limit} a page)" for width, limit in endpoint.limits.items())
    metrics = (a.name for a in fields_of(endpoint.result_class, *MEANT))
    return [
        ("gives", ", ".join(metrics)),
        ("by", ", ".join(map(word_of, endpoint.group_by))),
        ("filters", ", ".join(name.replace("_", "-") for name in endpoint.filters)),
        ("widths", ", ".join(widths)),
    ]
