"""Dimensions as people write and read them: `project` for `project_id`, and names beside ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from usage_async._api.fields import FIELDS

if TYPE_CHECKING:
    from usage_async._client.names import Names

D = TypeVar("D", bound=str)

_NOTES = {
    info.describes: name
    for name, info in FIELDS.items()
    if info.kind == "note" and info.describes and FIELDS[info.describes].kind == "dimension"
}


NAME_FIELDS = {
    "project_id": "project_name",
    "user_id": "user_name",
    "api_key_id": "api_key_name",
}
"""The field that an output adds for the name of each dimension that has names."""


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


def name_in(names: Names, dimension: str, identity: Any) -> str | None:
    """Give the name of an id; None where there is none, or the dimension has no names."""
    if dimension not in NAME_FIELDS or not isinstance(identity, str):
        return None
    label = names.label(dimension, identity)
    return None if label == identity else label


def names_of(row: Any, names: Names) -> dict[str, str | None]:
    """Give the names of what a row holds by id, by the fields that outputs add."""
    return {
        field: name_in(names, dimension, identity)
        for dimension, field in NAME_FIELDS.items()
        if (identity := getattr(row, dimension, None)) is not None
    }
