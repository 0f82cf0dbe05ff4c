"""Rows of sums: their dimensions and their metrics, by name."""

from __future__ import annotations

from typing import Any

from usage_async._fields import fields_of

NAMED_BY = {"project_id": "project_name", "user_id": "user_email"}
"""The notes that tell the name of a dimension's value."""


def value_of(row: Any, name: str) -> Any:
    """Give a field of a row; a dimension that this release does not know is in its `extra`."""
    return row.extra[name] if name in row.extra else getattr(row, name)


def metrics(row: Any) -> list[str]:
    """Name the fields of a row that add up."""
    return [
        a.name
        for a in fields_of(type(row))
        if a.metadata["kind"] in ("flow", "level", "money", "quantity") or a.name == "quantity_unit"
    ]
