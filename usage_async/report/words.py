"""Words of the terminal for dimensions, such as `project` for `project_id`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

from usage_async.errors import QueryError

D = TypeVar("D", bound=str)


def word_of(dimension: str) -> str:
    """Give the short word for a dimension: `project` for `project_id`."""
    return dimension.removesuffix("_id").replace("_", "-")


def dimension_of(word: str, dimensions: Collection[D]) -> D:
    """Find the dimension that a word means: `project`, `project-id` and `project_id` alike.

    Raises:
        QueryError: It is none of these.
    """
    found = find(word, dimensions)
    if found is None:
        raise QueryError(f"--by takes {', '.join(map(word_of, dimensions))}; not {word!r}")
    return found


def find(word: str, dimensions: Iterable[D]) -> D | None:
    """Find the dimension that a word means; None where there is none."""
    name = word.replace("-", "_")
    return next((each for each in dimensions if each in (name, f"{name}_id")), None)
