"""The fast lane: JSON text into structs, and these into the classes of `models`.

msgspec decodes structs several times faster than attrs classes. They are made from the classes, and
are a probe as well: what its typed decoding alone would lose or let pass (fields that a class does
not know, texts that are no numbers of JSON), they refuse; `_convert` then reads it with care.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from usage_async._fields import NO_EXTRA
from usage_async.models import UnknownResult, UsageResponse, UsageResult, UsageTimeBucket

JSON_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z"
"""A number as JSON writes it, which is stricter than what Decimal reads."""

OWN_FIELDS = ("extra", "other_results")
"""Fields that the library adds: they are never read from, nor written as, a field of that name."""

_REQUIRED = {UsageResult: ("object",), UsageTimeBucket: ("results",), UsageResponse: ()}


def required(cls: type) -> tuple[str, ...]:
    """The fields that the wire must have although the class has a default for them."""
    return next((names for base, names in _REQUIRED.items() if issubclass(cls, base)), ())


def is_array(cls: Any) -> bool:
    """Whether it is a tuple of any length, which JSON arrays are read into."""
    return get_origin(cls) is tuple and get_args(cls)[1:] == (...,)


def has_extra(cls: Any) -> bool:
    """Whether its objects keep what their class does not know."""
    origin = get_origin(cls) or cls
    return isinstance(origin, type) and attrs.has(origin) and "extra" in attrs.fields_dict(origin)


def is_leaf(hint: Any) -> bool:
    """Whether a type holds neither objects nor money nor arrays."""
    origin = get_origin(hint) or hint
    if origin is Decimal or is_array(hint) or (isinstance(origin, type) and attrs.has(origin)):
        return False
    return all(map(is_leaf, get_args(hint)))


@cache
def reader(cls: Hashable, *, drifted: bool = False) -> Callable[[bytes], Any] | None:
    """Make the fast reader of a class, or an array of it; None where only the careful one will do.

    That is so for bases, which do not tell their kind, and for classes of a caller's own, which may
    do anything when they are made.
    The probe refuses what typed decoding would miss and, unless the wire has `drifted`, fields that
    the class does not know. What it made is turned into the class, at a seventh of the price of
    decoding anew; that is left to money, since a probe has no exact number for it.
    """
    element: Any = get_args(cls)[0] if is_array(cls) else cls
    probed = _probe_type(cls, drifted) if _is_ours(element) else None
    if probed is None:
        return None
    probe = msgspec.json.Decoder(probed).decode
    if not _is_plain(element):
        typed = msgspec.json.Decoder(cls).decode

        def read_twice(data: bytes) -> Any:
            probe(data)
            return typed(data)

        return read_twice
    make = _maker(element)
    if element is not cls:
        return lambda data: make(probe(data))
    return lambda data: make((probe(data),))[0]


def _is_ours(hint: Any) -> bool:
    return has_extra(hint) and (get_origin(hint) or hint).__module__ == UsageResult.__module__


def _is_plain(cls: Any) -> bool:
    """Whether a probe holds all that there is to a class: there is no money in it."""
    return all(
        _is_plain(get_args(declared)[0]) if _is_array_of_objects(declared) else is_leaf(declared)
        for _, declared in _declared(cls, get_origin(cls) or cls)
    )


def _is_array_of_objects(hint: Any) -> bool:
    return is_array(hint) and _is_ours(get_args(hint)[0])


_PROBED_DECIMAL = float | Annotated[str, msgspec.Meta(pattern=JSON_DECIMAL)]
"""Typed decoding alone takes `"NaN"`, `" 1 "` and `"1_000"`; as a float, 1e999 is out of range."""


def _probe_type(hint: Any, drifted: bool) -> Any:  # noqa: FBT001 - of `reader`
    """Give the msgspec type that accepts just what typed decoding reads without any loss."""
    origin = get_origin(hint) or hint
    if origin is Decimal:
        return _PROBED_DECIMAL
    if origin in (UsageResult, UnknownResult) or isinstance(origin, TypeVar):
        return None
    if _is_ours(hint):
        return _probe_struct(hint, origin, drifted)
    if is_array(hint):
        element = _probe_type(get_args(hint)[0], drifted)
        return None if element is None else list[element]  # type: ignore[valid-type] # made here
    if origin is UnionType:
        arms = [_probe_type(arm, drifted) for arm in get_args(hint)]
        return None if None in arms else reduce(or_, arms)
    return hint if is_leaf(hint) else None


def _probe_struct(hint: Any, cls: Any, drifted: bool) -> Any:  # noqa: FBT001 - of `reader`
    must_have = required(cls)
    fields = []
    for attribute, declared in _declared(hint, cls):
        if attribute.name in OWN_FIELDS:
            continue
        probed = None if _is_open(declared) else _probe_type(declared, drifted)
        if probed is None:
            return None
        optional = attribute.default is not attrs.NOTHING and attribute.name not in must_have
        fields.append((attribute.name, probed, *((attribute.default,) if optional else ())))
    return msgspec.defstruct(
        cls.__name__,
        fields,
        # They are no fields of the probe, so the wire cannot fill them; the class gets them as is.
        namespace={"extra": NO_EXTRA, "other_results": ()},
        kw_only=True,
        forbid_unknown_fields=not drifted,
        gc=False,
    )


def _declared(hint: Any, cls: Any) -> Iterator[tuple[Any, Any]]:
    """The fields of a class, each with its type, whose variables are bound where the hint does."""
    bound = get_args(hint)
    hints = get_type_hints(cls)
    for attribute in attrs.fields(cls):
        declared = hints[attribute.name]
        yield attribute, declared[bound] if bound and _is_open(declared) else declared


def _is_open(hint: Any) -> bool:
    return bool(getattr(hint, "__parameters__", ()))


_MAKE = """
def make(probes):
    made = []
    for probe in probes:
        new = blank(Twin)
        {fill}
        new.__class__ = cls
        made.append(new)
    return tuple(made)
"""


@cache
def _maker(hint: Hashable) -> Callable[[Iterable[Any]], tuple[Any, ...]]:
    """Write the function that turns probes into instances of a class.

    An assignment compiles to the mere store of a slot; what gets past the `__setattr__` of a frozen
    class takes twice as long in C, and seven times in Python. So an instance is filled while it
    belongs to a twin of its class: of the same layout, as a subclass has it, but not frozen.
    """
    cls: Any = get_origin(hint) or hint
    thawed = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    names: dict[str, Any] = {
        "cls": cls,
        "Twin": type(cls)(f"_{cls.__name__}Twin", (cls,), {"__slots__": (), **thawed}),
        "blank": object.__new__,
    }
    fill = []
    for attribute, declared in _declared(hint, cls):
        name = attribute.name
        value = f"probe.{name}"
        if _is_array_of_objects(declared) and name not in OWN_FIELDS:
            names[f"make_{name}"] = _maker(get_args(declared)[0])
            value = f"make_{name}({value})"
        fill.append(f"new.{name} = {value}")
    exec(_MAKE.format(fill="\n        ".join(fill)), names)  # noqa: S102 - the names are those of our own fields
    made: Callable[[Iterable[Any]], tuple[Any, ...]] = names["make"]
    return made


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking rows while they are made, a few hundred at a time.

    They cannot be part of a cycle, and it would add a sixth to the CPU time of a month of minutes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
