"""The fast lane: JSON text into structs, and these into the classes of `models`.

msgspec decodes structs several times faster than attrs classes. They are made from the classes, and
refuse what would be lost or coerced (fields that a class does not know, texts that are no numbers
of JSON); `_convert` then reads it with care. Nothing is decoded into the classes themselves, so the
wire cannot fill the fields that the library adds to them.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from usage_async._api.fields import NO_EXTRA, exact_decimal, is_on_the_wire
from usage_async._api.pages import (
    UsageResponse,
    UsageTimeBucket,
)
from usage_async._api.results import (
    UnknownResult,
    UsageResult,
    UsageRow,
)

JSON_DECIMAL = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
"""A number as JSON writes it, which is stricter than what Decimal reads."""

OWN_FIELDS = ("extra", "other_results")
"""Fields that the library adds: they are never read from, nor written as, a field of that name."""

_REQUIRED = {UsageResult: ("object",), UsageTimeBucket: ("results",), UsageResponse: ()}


def required(cls: type) -> tuple[str, ...]:
    """The fields that the wire must have although the class has a default for them."""
    return next((names for base, names in _REQUIRED.items() if issubclass(cls, base)), ())


def is_array(cls: Any) -> bool:
    """Tell whether a type is a tuple of any length; JSON arrays are read into those."""
    return get_origin(cls) is tuple and get_args(cls)[1:] == (...,)


def has_extra(cls: Any) -> bool:
    """Tell whether objects of a class keep unknown fields among their other fields.

    A flat row is not the wire's, and may have in its `extra` what other kinds have as a field.
    """
    origin = get_origin(cls) or cls
    if origin is UsageRow or not isinstance(origin, type) or not attrs.has(origin):
        return False
    return "extra" in attrs.fields_dict(origin)


def is_leaf(hint: Any) -> bool:
    """Tell whether a type holds neither objects nor money nor arrays."""
    origin = get_origin(hint) or hint
    if origin is Decimal or is_array(hint) or (isinstance(origin, type) and attrs.has(origin)):
        return False
    return all(map(is_leaf, get_args(hint)))


@cache
def reader(cls: Hashable, *, drifted: bool = False) -> Callable[[bytes], Any] | None:
    """Make the fast reader of a class, or an array of it; None where only the careful one will do.

    That is so for bases, which do not tell their kind, and for classes of a caller's own, which may
    do anything when they are made. The structs refuse what typed decoding would miss and, unless
    the wire has `drifted`, fields that the class does not know.
    """
    element: Any = get_args(cls)[0] if is_array(cls) else cls
    struct = _struct_type(cls, drifted) if _is_ours(element) else None
    if struct is None:
        return None
    decode = msgspec.json.Decoder(struct).decode
    make, make_one = _makers(element)
    if element is not cls:
        return lambda data: make(decode(data))
    return lambda data: make_one(decode(data))


def _is_ours(hint: Any) -> bool:
    return has_extra(hint) and is_on_the_wire(get_origin(hint) or hint)


def _is_array_of_objects(hint: Any) -> bool:
    return is_array(hint) and _is_ours(get_args(hint)[0])


def _arms(hint: Any) -> tuple[Any, ...]:
    """The types of which a value may be."""
    return get_args(hint) if get_origin(hint) is UnionType else (hint,)


def _struct_type(hint: Any, drifted: bool) -> Any:  # noqa: FBT001 - of `reader`
    """Give the msgspec type that accepts just what can be read without any loss."""
    origin = get_origin(hint) or hint
    if Decimal in _arms(hint):
        return msgspec.Raw  # no type of msgspec takes all numbers of JSON, and nothing else
    if origin in (UsageResult, UnknownResult) or isinstance(origin, TypeVar):
        return None
    if _is_ours(hint):
        return _struct(hint, origin, drifted)
    if is_array(hint):
        element = _struct_type(get_args(hint)[0], drifted)
        return None if element is None else list[element]  # type: ignore[valid-type] # made here
    if origin is UnionType:
        arms = [_struct_type(arm, drifted) for arm in get_args(hint)]
        return None if None in arms else reduce(or_, arms)
    return hint if is_leaf(hint) else None


def _struct(hint: Any, cls: Any, drifted: bool) -> Any:  # noqa: FBT001 - of `reader`
    must_have = required(cls)
    fields = []
    for attribute, declared in _declared(hint, cls):
        if attribute.name in OWN_FIELDS:
            continue
        struct = None if _is_open(declared) else _struct_type(declared, drifted)
        if struct is None:
            return None
        optional = attribute.default is not attrs.NOTHING and attribute.name not in must_have
        fields.append((attribute.name, struct, *((attribute.default,) if optional else ())))
    return msgspec.defstruct(
        cls.__name__,
        fields,
        # They are no fields of the struct, so the wire cannot fill them; the class gets them as is.
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


_number = re.compile(rb'("?)(' + JSON_DECIMAL.encode() + rb")\1\Z").match


_usual_number = re.compile(
    rb'("?)(?:(-?(?:0|[1-9][0-9]{0,300})\.[0-9]{0,6000}[1-9])0*|(-?[1-9][0-9]{0,300}))\1\Z'
).match
"""A number within the bounds of `exact_decimal`, neither zero nor with an exponent; its padding is
left out, so that `Decimal` alone gives what `exact_decimal` would, at half the price."""

_NULL = msgspec.Raw(b"null")


def _exact(text: msgspec.Raw) -> Decimal:
    """Read a number, or a text that is one, from its very digits."""
    match = _usual_number(text)
    if match is not None:
        return Decimal((match[2] or match[3]).decode())
    match = _number(text)
    if match is not None:
        try:
            return exact_decimal(Decimal(match[2].decode()))
        except (InvalidOperation, ValueError):  # told by the careful lane, with its path
            pass
    raise msgspec.ValidationError("expected a plain decimal")


def _exact_or_none(text: msgspec.Raw | None) -> Decimal | None:
    return None if text is None or text == _NULL else _exact(text)


_MAKE = """
def make(structs):
    made = []
    for struct in structs:
        {make}
        made.append(new)
    return tuple(made)

def make_one(struct):
    if struct is not None:
        {make}
        return new
"""


@cache
def _makers(
    hint: Hashable,
) -> tuple[Callable[[Iterable[Any]], tuple[Any, ...]], Callable[[Any], Any]]:
    """Write the functions that turn structs, and one that may be None, into instances of a class.

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
        "exact": _exact,
        "exact_or_none": _exact_or_none,
    }
    fill = ["new = blank(Twin)"]
    for attribute, declared in _declared(hint, cls):
        name = attribute.name
        value = f"struct.{name}"
        arms = () if name in OWN_FIELDS else _arms(declared)
        if Decimal in arms:
            value = f"exact({value})" if len(arms) == 1 else f"exact_or_none({value})"
        for part in filter(_is_ours, arms):
            names[f"make_{name}"] = _makers(part)[1]
            value = f"make_{name}({value})"
        if arms and _is_array_of_objects(declared):
            names[f"make_{name}"] = _makers(get_args(declared)[0])[0]
            value = f"make_{name}({value})"
        fill.append(f"new.{name} = {value}")
    make = "\n        ".join([*fill, "new.__class__ = cls"])
    exec(_MAKE.format(make=make), names)  # noqa: S102 - the names are those of our own fields
    return names["make"], names["make_one"]


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
