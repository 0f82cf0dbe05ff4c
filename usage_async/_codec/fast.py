"""The fast path: JSON text into msgspec structs, and structs into our classes.

msgspec decodes structs several times as fast as it decodes attrs classes. For each of our classes,
one struct type is made, with the fields of the class. Generated code then copies the fields into
an instance. Three invariants make the values equal to those of the tolerant reader:

1. A struct type accepts a text only if nothing of it is lost or changed. It forbids unknown fields.
   It takes no string for a number, nor the reverse. Decimals stay text until their digits are read
   here. Whatever it refuses goes to the tolerant reader. Without this, a field that the service
   adds would vanish, and money would be rounded to a double.
2. The wire never fills the fields that the library adds, `extra` and `other_results`: struct types
   do not have them. Decoding straight into our classes would let the service write into them.
3. Constructors are skipped, so only registered classes take the fast path. Their constructors check
   decimals and do nothing else, and decimals are checked here. Without the register, validators
   and converters of a caller's class would be skipped silently.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from usage_async._api.codegen import is_on_the_wire, make_maker
from usage_async._api.exact import exact_decimal
from usage_async._api.results import UnknownResult, UsageResult
from usage_async._codec.shapes import (
    JSON_DECIMAL,
    OWN_FIELDS,
    has_extra,
    is_array,
    is_leaf,
    required,
)


@cache
def fast_reader(cls: Hashable, *, forbid_unknown: bool = True) -> Callable[[bytes], Any] | None:
    """Make the fast reader of a class, or of an array of it.

    Args:
        cls: The class.
        forbid_unknown: Refuse objects with fields that their class does not know. If False, such
            fields are dropped.

    Returns:
        A function that raises `msgspec.ValidationError` for what it refuses. None if the class has
        no fast path: bases, which leave the kind of their rows open, and classes of a caller's own.
    """
    element: Any = get_args(cls)[0] if is_array(cls) else cls
    struct = struct_type(cls, forbid_unknown=forbid_unknown) if _is_ours(element) else None
    if struct is None:
        return None
    decode = msgspec.json.Decoder(struct).decode
    make = _maker(element, is_array=element is not cls)
    return lambda data: make(decode(data))


def _is_ours(hint: Any) -> bool:
    return has_extra(hint) and is_on_the_wire(get_origin(hint) or hint)


def _is_array_of_objects(hint: Any) -> bool:
    return is_array(hint) and _is_ours(get_args(hint)[0])


def _arms(hint: Any) -> tuple[Any, ...]:
    """Give the members of a union; another type is its only member."""
    return get_args(hint) if get_origin(hint) is UnionType else (hint,)


def struct_type(hint: Any, *, forbid_unknown: bool = True) -> Any:
    """Give the msgspec type that accepts just what can be read without any loss.

    Args:
        hint: A class of ours, or a type of its fields.
        forbid_unknown: Refuse objects with fields that their class does not know.

    Returns:
        A struct type for a class, a list for an array, `msgspec.Raw` for a decimal; None if there
        is no such type.
    """
    origin = get_origin(hint) or hint
    if Decimal in _arms(hint):
        return msgspec.Raw  # no type of msgspec takes all numbers of JSON, and nothing else
    if origin in (UsageResult, UnknownResult) or isinstance(origin, TypeVar):
        return None
    if _is_ours(hint):
        return _struct(hint, origin, forbid_unknown=forbid_unknown)
    if is_array(hint):
        element = struct_type(get_args(hint)[0], forbid_unknown=forbid_unknown)
        return None if element is None else list[element]  # type: ignore[valid-type] # made here
    if origin is UnionType:
        arms = [struct_type(arm, forbid_unknown=forbid_unknown) for arm in get_args(hint)]
        return None if None in arms else reduce(or_, arms)
    return hint if is_leaf(hint) else None


def _struct(hint: Any, cls: Any, *, forbid_unknown: bool) -> Any:
    must_have = required(cls)
    fields = []
    for attribute, declared in _declared(hint, cls):
        struct = (
            None if _is_open(declared) else struct_type(declared, forbid_unknown=forbid_unknown)
        )
        if struct is None:
            return None
        optional = attribute.default is not attrs.NOTHING and attribute.name not in must_have
        fields.append((attribute.name, struct, *((attribute.default,) if optional else ())))
    return msgspec.defstruct(
        cls.__name__, fields, kw_only=True, forbid_unknown_fields=forbid_unknown, gc=False
    )


def _declared(hint: Any, cls: Any) -> Iterator[tuple[Any, Any]]:
    """Give the wire's fields of a class with their types; the hint binds type variables."""
    bound = get_args(hint)
    hints = get_type_hints(cls)
    for attribute in attrs.fields(cls):
        if attribute.name not in OWN_FIELDS:
            declared = hints[attribute.name]
            yield attribute, declared[bound] if bound and _is_open(declared) else declared


def _is_open(hint: Any) -> bool:
    return bool(getattr(hint, "__parameters__", ()))


_number = re.compile(rb'("?)(' + JSON_DECIMAL.encode() + rb")\1\Z").match


_usual_number = re.compile(
    rb'("?)(?:(-?(?:0|[1-9][0-9]{0,300})\.[0-9]{0,6000}[1-9])0*|(-?[1-9][0-9]{0,300}))\1\Z'
).match
"""A number within the bounds of `exact_decimal` that is not zero and has no exponent. The groups
leave trailing zeros out. Of such text, `Decimal` alone makes what `exact_decimal` would make of it,
in half the time."""

_NULL = msgspec.Raw(b"null")


def _exact(text: msgspec.Raw) -> Decimal:
    """Read a JSON number, or a string that holds one, by its digits."""
    match = _usual_number(text)
    if match is not None:
        return Decimal((match[2] or match[3]).decode())
    match = _number(text)
    if match is not None:
        try:
            return exact_decimal(Decimal(match[2].decode()))
        except (InvalidOperation, ValueError):  # the tolerant reader tells why, and where
            pass
    raise msgspec.ValidationError("expected a plain decimal")


def exact_or_none(text: msgspec.Raw | None) -> Decimal | None:
    """Read a decimal of a struct; null, which may be sent, is None."""
    return None if text is None or text == _NULL else _exact(text)


@cache
def _maker(hint: Hashable, *, is_array: bool) -> Callable[[Any], Any]:
    """Generate the function that makes an instance of a struct, or a tuple of an array of them."""
    cls: Any = get_origin(hint) or hint
    names: dict[str, Any] = {"exact": _exact, "exact_or_none": exact_or_none}
    values = {}
    for attribute, declared in _declared(hint, cls):
        name, arms = attribute.name, _arms(declared)
        value = f"struct.{name}"
        if Decimal in arms:
            value = f"exact({value})" if len(arms) == 1 else f"exact_or_none({value})"
        for part in filter(_is_ours, arms):
            names[f"make_{name}"] = _maker(part, is_array=False)
            value = f"None if {value} is None else make_{name}({value})"
        if _is_array_of_objects(declared):
            names[f"make_{name}"] = _maker(get_args(declared)[0], is_array=True)
            value = f"make_{name}({value})"
        values[name] = value
    if is_array:
        return make_maker(cls, values, (), each="struct", names=names)
    return make_maker(cls, values, ("struct",), names=names)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking rows while they are made.

    Rows cannot be part of a cycle. Without the pause, the collector walks them every few hundred
    rows, which adds a sixth to the CPU time of a month of minutes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
