"""ById: an immutable mapping of items by their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Identified)


class ById(Mapping[str, T]):
    """An immutable mapping of items by id, hashable as its items are; of equal ids the last counts.

    JSON has it as an array of the items.
    """

    __slots__ = ("_items",)
    _items: dict[str, T]

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items = {item.id: item for item in items}

    def __getitem__(self, key: str) -> T:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.values()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type[ById[Any]], tuple[list[T]]]:
        return ById, (list(self._items.values()),)


def by_id(items: Iterable[T] | Mapping[str, T]) -> ById[T]:
    """Make a mapping of items by id, from the items or from any mapping of them."""
    if isinstance(items, ById):
        return items
    return ById(items.values() if isinstance(items, Mapping) else items)
