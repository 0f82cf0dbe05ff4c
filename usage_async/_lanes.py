"""The fast lane: typed decoding straight into the classes of `models`, after a probe.

msgspec's typed decoding alone would lose what a class does not know, and takes texts for numbers
that JSON does not. So the same bytes meet a probe first, a tree of structs made from the classes,
which refuses that; `_convert` then reads it with care.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator
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


@cache
def reader(cls: Hashable, *, drifted: bool = False) -> Callable[[bytes], Any] | None:
    """Make the fast reader of a class; None where only the careful one can tell the kinds apart.

    The probe refuses what typed decoding would miss and, unless the wire has `drifted`, fields that
    the class does not know. What it made is turned into the class, at half the price of decoding
    anew; only money is decoded anew, since a probe has no exact number for it.
    """
    probed = _probe_type(cls, drifted)
    if probed is None:
        return None
    probe, typed = msgspec.json.Decoder(probed).decode, msgspec.json.Decoder(cls).decode

    def read_twice(data: bytes) -> Any:
        probe(data)
        return typed(data)

    def read(data: bytes) -> Any:
        return msgspec.convert(probe(data), cls, from_attributes=True)

    return read_twice if _has_money(cls) else read


def _has_money(hint: Any) -> bool:
    origin = get_origin(hint) or hint
    inner = get_args(hint)
    if isinstance(origin, type) and attrs.has(origin):
        inner = (*inner, *get_type_hints(origin).values())
    return origin is Decimal or any(map(_has_money, inner))


_PROBED_DECIMAL = float | Annotated[str, msgspec.Meta(pattern=JSON_DECIMAL)]
"""Typed decoding alone takes `"NaN"`, `" 1 "` and `"1_000"`; as a float, 1e999 is out of range."""


def _probe_type(hint: Any, drifted: bool) -> Any:  # noqa: FBT001 - of `reader`
    """Give the msgspec type that accepts just what typed decoding reads without any loss."""
    origin = get_origin(hint) or hint
    if origin is Decimal:
        return _PROBED_DECIMAL
    if origin in (UsageResult, UnknownResult) or isinstance(origin, TypeVar):
        return None
    if isinstance(origin, type) and attrs.has(origin):
        return _probe_struct(hint, origin, drifted)
    if is_array(hint):
        element = _probe_type(get_args(hint)[0], drifted)
        return None if element is None else list[element]  # type: ignore[valid-type]
    if origin is UnionType:
        return reduce(or_, (_probe_type(arm, drifted) for arm in get_args(hint)))
    return hint


def _probe_struct(hint: Any, cls: Any, drifted: bool) -> Any:  # noqa: FBT001 - of `reader`
    bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(hint), strict=False))
    hints = get_type_hints(cls)
    must_have = required(cls)
    fields = []
    for attribute in attrs.fields(cls):
        if attribute.name in OWN_FIELDS:
            continue
        declared = hints[attribute.name]
        if _is_open(declared):
            if not bound:
                return None
            declared = declared[tuple(bound.values())]
        probed = _probe_type(declared, drifted)
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


def _is_open(hint: Any) -> bool:
    return bool(getattr(hint, "__parameters__", ()))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from walking rows while they are made, a few hundred at a time.

    They cannot be part of a cycle, and it is a third of the time that it takes to read a page.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
