"""Tables in HTML, as notebooks show results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from usage_async._api.exact import plain
from usage_async._api.fields import fields_of

_MOST_ROWS = 100
"""Rows of a table; of more, only the number is shown."""


def html_of_results(results: Sequence[Any], total: Any = None) -> str:
    """Write results of one kind as a table; columns without a value are left out.

    Args:
        results: The results.
        total: Their sum, for a last row.
    """
    from html import escape

    shown = [*results[:_MOST_ROWS], *(() if total is None else (total,))]
    # What results are grouped by stands before the figures.
    fields = sorted(
        fields_of(type(shown[0])) if shown else (), key=lambda a: a.metadata["kind"] != "dimension"
    )
    cells = [[_text(getattr(row, a.name)) for a in fields] for row in shown]
    used = [n for n, a in enumerate(fields) if a.name != "object" and any(c[n] for c in cells)]
    lines = [_row("td", (escape(row[n]) for n in used)) for row in cells]
    if total is not None:
        lines[-1] = _row("th", (escape(cells[-1][n]) for n in used))
    if len(results) > _MOST_ROWS:
        more = f"… and {len(results) - _MOST_ROWS} more"
        lines.insert(_MOST_ROWS, f'<tr><td colspan="{len(used)}">{more}</td></tr>')
    head = _row("th", (fields[n].name for n in used))
    return f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _text(value: Any) -> str:
    """Write a value for a cell; what is absent is empty."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if hasattr(value, "currency"):
        return f"{plain(value.value)} {value.currency}"
    if hasattr(value, "items"):
        return ", ".join(f"{name}: {part}" for name, part in value.items())
    return str(value)
