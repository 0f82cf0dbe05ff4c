"""Generated code that makes instances of our classes, and that reads their fields.

A frozen attrs class of 50 fields takes some 10 times as long to make as its fields take to store,
because its `__init__` gets past its own `__setattr__` for each field. The functions generated here
store the fields of an instance while it belongs to a twin of its class: a subclass with the same
memory layout that is not frozen. Each store then compiles to a write into a slot. At the end, the
instance is given its own class.

Constructors are skipped. Therefore only classes that are registered with `on_the_wire` are made in
this way, and the values are not checked: the caller of a generated function answers for them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import attrs

_T = TypeVar("_T")

_WIRE_CLASSES: set[type] = set()


def on_the_wire(cls: type[_T]) -> type[_T]:
    """Register a class whose instances generated code may make.

    The constructor of a registered class does nothing but check its decimals. A caller's class is
    never registered, not even a subclass of a registered one, because its constructor may do
    anything.
    """
    _WIRE_CLASSES.add(cls)
    return cls


def is_on_the_wire(cls: object) -> bool:
    """Tell if generated code may make instances of a class."""
    return cls in _WIRE_CLASSES


def reader(names: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Generate a function that gives some fields of a row as a tuple, even of one or none."""
    values = "".join(f"row.{name}, " for name in names)
    read: Callable[[Any], tuple[Any, ...]] = eval(f"lambda row: ({values})")  # noqa: S307 - the names are those of our own fields
    return read


@cache
def maker(cls: Hashable, names: tuple[str, ...]) -> Callable[..., Any]:
    """Generate a function that makes an instance from the values of some fields, in that order."""
    return make_maker(cls, dict(zip(names, names, strict=True)), names)


def make_maker(
    cls: Any,
    values: Mapping[str, str],
    arguments: Iterable[str],
    *,
    each: str = "",
    names: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Generate a function that makes one instance of a class, or a tuple of them.

    Args:
        cls: The class, registered with `on_the_wire`.
        values: Expression for each field. Another field gets its default, which must be a constant,
            or None if it has none.
        arguments: Names of the function's arguments, for the expressions.
        each: Name of an item, for the expressions. If given, the first argument of the function is
            an iterable, and the function makes one instance of each item.
        names: Other names that the expressions use.

    Raises:
        TypeError: The class is not registered, or lacks one of the fields.
    """
    fields = {a.name: a.default for a in attrs.fields(cls)}
    if not is_on_the_wire(cls) or values.keys() - fields.keys():
        raise TypeError(f"{cls.__name__} cannot be made from {', '.join(values)}")
    # A class has one C slot for both: with only one of them, each store is a call into Python.
    thawed = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    scope = {
        **(names or {}),
        "cls": cls,
        "Twin": type(cls)(f"_{cls.__name__}Twin", (cls,), {"__slots__": (), **thawed}),
        "blank": object.__new__,
    }
    stores = []
    for name, default in fields.items():
        value = values.get(name, "None")
        if name not in values and default not in (None, attrs.NOTHING):
            value = f"default_{name}"
            scope[value] = default
        stores.append(f"new.{name} = {value}")
    make = ["new = blank(Twin)", *stores, "new.__class__ = cls"]
    if each:
        make = [
            "made = []",
            f"for {each} in items:",
            *(f"    {line}" for line in (*make, "made.append(new)")),
            "return tuple(made)",
        ]
    else:
        make.append("return new")
    header = f"def make({', '.join([*(('items',) if each else ()), *arguments])}):"
    exec("\n    ".join([header, *make]), scope)  # noqa: S102 - as in `reader`
    made: Callable[..., Any] = scope["make"]
    return made
