"""Fillers: generated functions that read and make many rows, compiled once for each class.

`_codec.fast` generates the same for rows from the wire; these serve sums and flat rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any

import attrs

from usage_async._api.fields import is_on_the_wire


def reader(names: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Compile a function that gives some attributes of a row as a tuple, even of one or none."""
    values = "".join(f"row.{name}, " for name in names)
    read: Callable[[Any], tuple[Any, ...]] = eval(f"lambda row: ({values})")  # noqa: S307 - as below
    return read


@cache
def maker(cls: Hashable, names: tuple[str, ...]) -> Callable[..., Any]:
    """Compile a function that makes an instance from the values of some fields, in that order.

    The values are not checked again: they come from instances of our own classes. The other fields
    get their defaults, None where they have none.
    """
    return filler(cls, names, dict(zip(names, names, strict=True)))


def filler(cls: Any, arguments: Iterable[str], values: Mapping[str, str]) -> Callable[..., Any]:
    """Write a function that makes an instance of a class that is registered for the fast path.

    An assignment to a twin of the class, of the same layout but not frozen, compiles to the mere
    store of a slot; the `__init__` of a frozen class of 50 fields takes ten times as long.

    Args:
        cls: The class; a value's default must be a constant.
        arguments: Names of the function's arguments.
        values: The expression over the arguments that each field gets; others get their default.

    Raises:
        TypeError: The class may do anything when it is made, or has no such field.
    """
    fields = {a.name: a.default for a in attrs.fields(cls)}
    if not is_on_the_wire(cls) or values.keys() - fields.keys():
        raise TypeError(f"{cls.__name__} cannot be filled with {', '.join(values)}")
    # A class has one C slot for both: with only one of them, each store is a call into Python.
    thawed = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    names: dict[str, Any] = {
        "cls": cls,
        "Twin": type(cls)(f"_{cls.__name__}Twin", (cls,), {"__slots__": (), **thawed}),
        "blank": object.__new__,
        "defaults": {name: None if d is attrs.NOTHING else d for name, d in fields.items()},
    }
    stores = (f"new.{name} = {values.get(name, f'default_{name}')}" for name in fields)
    constants = ", ".join(f"default_{n}=defaults[{n!r}]" for n in fields if n not in values)
    source = "\n    ".join(
        [
            f"def fill({', '.join(arguments)}, *, {constants or 'none=None'}):",
            "new = blank(Twin)",
            *stores,
            "new.__class__ = cls",
            "return new",
        ]
    )
    exec(source, names)  # noqa: S102 - the names are those of our own fields
    made: Callable[..., Any] = names["fill"]
    return made
