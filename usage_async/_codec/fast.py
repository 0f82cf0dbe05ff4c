"""The fast path: JSON text into msgspec structs, and structs into our classes.

msgspec decodes structs several times as fast as it decodes attrs classes. For each of our classes,
one struct type is made, with the fields of the class. Generated code then copies the fields into
an instance. Four invariants make the values equal to those of the tolerant reader:

1. A struct type accepts a text only if nothing of it is lost or changed. It forbids unknown fields.
   It takes no string for a number, nor the reverse. Decimals stay as they are written until their
   digits are read here. Whatever it refuses goes to the tolerant reader. Without this, a field that
   the service adds would vanish, and money would be rounded to a double.
2. The wire never fills the fields that the library adds, `extra` and `other_results`: struct types
   do not have them. Decoding straight into our classes would let the service write into them.
3. Constructors are skipped, so only registered classes take the fast path. Their constructors check
   decimals and do nothing else, and decimals are checked here. Without the register, validators
   and converters of a caller's class would be skipped silently.
4. A name that the tolerant reader has put into `extra` can be learned. It then is a field of the
   struct type, and its values go to `extra`, frozen by the same function. Names in `extra` are
   sorted, because a struct does not know the order of the text. The number of names is bounded, or
   a service that invents names would make ever larger types; the oldest names make room, or it
   would keep all others from being learned. A name is never part of generated code: it comes from
   the wire.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache, reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from usage_async._api.codegen import is_on_the_wire, make_maker
from usage_async._api.exact import NO_EXTRA, Extra, exact_decimal, extra_of_frozen, freeze
from usage_async._api.results import UnknownResult, UsageResult
from usage_async._codec.shapes import (
    JSON_DECIMAL,
    OWN_FIELDS,
    has_extra,
    is_array,
    is_leaf,
    required,
    wire_fields,
)

MOST_LEARNED = 32
"""Most unknown fields of a class that the fast path learns. Each costs 0.05 µs a row."""
_LONGEST_NAME = 200

Learned = frozenset[tuple[type, tuple[str, ...]]]
"""Unknown fields that the fast path reads: for each class their names, the latest last."""
NOTHING_LEARNED: Learned = frozenset()


def learn(learned: Learned, made: Any) -> Learned:
    """Add the names of the unknown fields of a value, and of its parts, to those learned.

    The names learned longest ago make room where there would be too many. A class with too many in
    one value keeps what it has: the fast path could not read such a value in any case.
    """
    names = dict(learned)
    found: dict[type, dict[str, None]] = {}
    for cls, extra in _extras(made):
        found.setdefault(cls, {}).update(dict.fromkeys(filter(_can_be_learned, extra)))
    for cls, present in found.items():
        known = names.get(cls, ())
        if len(present) <= MOST_LEARNED and not present.keys() <= set(known):
            kept = [name for name in known if name not in present]
            names[cls] = (*kept, *present)[-MOST_LEARNED:]
    return frozenset(names.items())


def _extras(made: Any) -> Iterator[tuple[type, Extra]]:
    """Give the unknown fields of a value and of its parts, each with the class that lacks them."""
    cls: Any = type(made)
    if cls is tuple:
        for part in made:
            yield from _extras(part)
    elif _is_ours(cls) and cls is not UnknownResult:
        yield cls, made.extra
        for name in _parts(cls):
            yield from _extras(getattr(made, name))


@cache
def _parts(cls: Hashable) -> tuple[str, ...]:
    """Give the fields of a class that may hold other objects."""
    hints = get_type_hints(cls)
    return tuple(name for name in wire_fields(cls) if not is_leaf(hints[name]))


def _can_be_learned(name: str) -> bool:
    # msgspec takes no names with characters that JSON escapes.
    return len(name) <= _LONGEST_NAME and name.isprintable() and not {'"', "\\"} & set(name)


@lru_cache(maxsize=256)
def fast_reader(cls: Hashable, learned: Learned = NOTHING_LEARNED) -> Callable[[bytes], Any] | None:
    """Make the fast reader of a class, or of an array of it.

    Args:
        cls: The class.
        learned: Unknown fields that are read into `extra`.

    Returns:
        A function that raises `msgspec.ValidationError` for what it refuses, or `ArithmeticError`
        for an exponent beyond what a Decimal holds. None if the class has no fast path: bases,
        which leave the kind of their rows open, and classes of a caller's own.
    """
    element: Any = get_args(cls)[0] if is_array(cls) else cls
    decode = struct_decoder(cls, learned) if _is_ours(element) else None
    if decode is None:
        return None
    make = _maker(element, learned, is_array=element is not cls)
    return lambda data: make(decode(data))


def struct_decoder(hint: Any, learned: Learned = NOTHING_LEARNED) -> Callable[[bytes], Any] | None:
    """Make the function that decodes JSON text into structs; None if there is no struct type."""
    struct = struct_type(hint, learned)
    return None if struct is None else msgspec.json.Decoder(struct, float_hook=Decimal).decode


def _is_ours(hint: Any) -> bool:
    return has_extra(hint) and is_on_the_wire(get_origin(hint) or hint)


def _is_array_of_objects(hint: Any) -> bool:
    return is_array(hint) and _is_ours(get_args(hint)[0])


def _arms(hint: Any) -> tuple[Any, ...]:
    """Give the members of a union; another type is its only member."""
    return get_args(hint) if get_origin(hint) is UnionType else (hint,)


def struct_type(hint: Any, learned: Learned = NOTHING_LEARNED) -> Any:
    """Give the msgspec type that accepts just what can be read without any loss.

    Args:
        hint: A class of ours, or a type of its fields.
        learned: Unknown fields that the types have as well. They are named `learned_0`, `learned_1`
            and so on, and are `UNSET` in an object that lacks them.

    Returns:
        A struct type for a class, a list for an array; None if there is no such type. A decimal is
        `object`: the string, the int, or the Decimal of a number with a fraction.
    """
    origin = get_origin(hint) or hint
    if Decimal in _arms(hint):
        return object  # no type of msgspec takes all numbers of JSON, and nothing else
    if origin in (UsageResult, UnknownResult) or isinstance(origin, TypeVar):
        return None
    if _is_ours(hint):
        return _struct(hint, origin, learned)
    if is_array(hint):
        element = struct_type(get_args(hint)[0], learned)
        return None if element is None else list[element]  # type: ignore[valid-type] # made here
    if origin is UnionType:
        arms = [struct_type(arm, learned) for arm in get_args(hint)]
        return None if None in arms else reduce(or_, arms)
    return hint if is_leaf(hint) else None


def _struct(hint: Any, cls: Any, learned: Learned) -> Any:
    must_have = required(cls)
    fields: list[Any] = []
    for attribute, declared in _declared(hint, cls):
        struct = None if _is_open(declared) else struct_type(declared, learned)
        if struct is None:
            return None
        optional = attribute.default is not attrs.NOTHING and attribute.name not in must_have
        fields.append((attribute.name, struct, *((attribute.default,) if optional else ())))
    names = {f"learned_{n}": name for n, name in enumerate(_names(learned, cls))}
    fields += [(field, object, msgspec.UNSET) for field in names]
    return msgspec.defstruct(
        cls.__name__, fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False
    )


def _names(learned: Learned, cls: type) -> tuple[str, ...]:
    """Give the learned names of a class, sorted."""
    return next((tuple(sorted(names)) for of, names in learned if of is cls), ())


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


_number = re.compile(JSON_DECIMAL + r"\Z").match
_whole = re.compile(r"-?[1-9][0-9]{0,300}\Z").match
_fraction = re.compile(r"-?(?:0|[1-9][0-9]{0,300})\.[0-9]{1,6000}\Z").match
"""A fraction within the bounds of `exact_decimal`. If no zero is at its end, `Decimal` alone makes
what `exact_decimal` would make of it, in half the time."""

ZEROS = "0" * 20
"""Zeros that the service pads amounts with. Dropping them at once takes 0.06 µs less."""
_MONEY = (
    "Decimal(text) if (value := {field}).__class__ is str"
    " and fraction(text := value.removesuffix(ZEROS).rstrip('0')) else {read}(value)"
)
"""Reads the usual text of money within the generated code: a call less."""


def exact(value: Any) -> Decimal:
    """Read a decimal of a struct, a number or a string that holds one, by its digits.

    Raises:
        msgspec.ValidationError: It is neither.
    """
    try:
        if value.__class__ is str:
            if _fraction(text := value.removesuffix(ZEROS).rstrip("0")):
                return Decimal(text)
            if _whole(value):
                return Decimal(value)
            if _number(value):
                return exact_decimal(Decimal(value))
        elif value.__class__ is int or value.__class__ is Decimal:
            return exact_decimal(Decimal(value))
    except (InvalidOperation, ValueError):
        pass  # the tolerant reader raises the error that the caller sees, with its path
    raise msgspec.ValidationError("expected a plain decimal")


def exact_or_none(value: Any) -> Decimal | None:
    """Read a decimal that may be null; see `exact`."""
    return None if value is None else exact(value)


_PLAIN = {str, int, bool, NoneType}
"""Classes of decoded values that `freeze` gives back as they are."""


_READ_FIELD = """
    value = struct.learned_{0}
    if value is not UNSET:
        found[name_{0}] = value if value.__class__ in PLAIN else freeze(value)"""


def _extra_reader(names: Sequence[str]) -> Callable[[Any], Extra]:
    """Generate the function that reads the learned fields of a struct."""
    scope: dict[str, Any] = {
        **{f"name_{n}": name for n, name in enumerate(names)},
        "UNSET": msgspec.UNSET,
        "PLAIN": _PLAIN,
        "NO_EXTRA": NO_EXTRA,
        "freeze": freeze,
        "extra_of_frozen": extra_of_frozen,
    }
    fields = "".join(map(_READ_FIELD.format, range(len(names))))
    source = f"def read(struct):\n    found = {{}}{fields}\n"
    source += "    return extra_of_frozen(found) if found else NO_EXTRA"
    exec(source, scope)  # noqa: S102 - no name from the wire is part of the code
    read: Callable[[Any], Extra] = scope["read"]
    return read


@lru_cache(maxsize=256)
def _maker(hint: Hashable, learned: Learned, *, is_array: bool) -> Callable[[Any], Any]:
    """Generate the function that makes an instance of a struct, or a tuple of an array of them."""
    cls: Any = get_origin(hint) or hint
    names: dict[str, Any] = {"Decimal": Decimal, "fraction": _fraction, "ZEROS": ZEROS}
    names |= {"exact": exact, "exact_or_none": exact_or_none}
    values = {}
    for attribute, declared in _declared(hint, cls):
        name, arms = attribute.name, _arms(declared)
        field = value = f"struct.{name}"
        if Decimal in arms:
            read = "exact" if len(arms) == 1 else "exact_or_none"
            value = _MONEY.format(field=field, read=read)
        for part in filter(_is_ours, arms):
            names[f"make_{name}"] = _maker(part, learned, is_array=False)
            value = f"None if {field} is None else make_{name}({field})"
        if _is_array_of_objects(declared):
            names[f"make_{name}"] = _maker(get_args(declared)[0], learned, is_array=True)
            value = f"make_{name}({field})"
        values[name] = value
    if unknown := _names(learned, cls):
        names["read_extra"] = _extra_reader(unknown)
        values["extra"] = "read_extra(struct)"
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
