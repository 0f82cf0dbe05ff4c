"""Dimensions as people write and read them: `project` for `project_id`, and names beside ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from usage_async._api.fields import FIELDS

D = TypeVar("D", bound=str)

_NOTES = {
    info.describes: name
    for name, info in FIELDS.items()
    if info.kind == "note" and info.describes and FIELDS[info.describes].kind == "dimension"
}


def word_of(dimension: str) -> str:
    """Give the short word for a dimension: `project` for `project_id`."""
    return dimension.removesuffix("_id").replace("_", "-")


def find_dimension(word: str, dimensions: Iterable[D]) -> D | None:
    """Find the dimension that a word means; None where there is none.

    `project`, `project-id` and `project_id` mean the same.
    """
    name = word.replace("-", "_")
    return next((each for each in dimensions if each in (name, f"{name}_id")), None)


def note_of(dimension: str) -> str:
    """Name the field that names a dimension's values: `project_name` for `project_id`; else ""."""
    return _NOTES.get(dimension, "")
