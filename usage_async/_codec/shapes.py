"""Shapes of the classes that the wire's objects are read into, as both readers see them."""

from __future__ import annotations

from collections.abc import Hashable
from decimal import Decimal
from functools import cache
from typing import Any, cast, get_args, get_origin

import attrs

from usage_async._api.pages import UsageResponse, UsageTimeBucket
from usage_async._api.results import UsageResult, UsageRow

JSON_DECIMAL = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
"""Pattern of a JSON number. It is stricter than what `Decimal` reads."""

OWN_FIELDS = ("extra", "other_results")
"""Fields that the library adds. They are neither read from nor written as a field of that name."""

_REQUIRED = {UsageResult: ("object",), UsageTimeBucket: ("results",), UsageResponse: ()}


def required(cls: type) -> tuple[str, ...]:
    """Give the fields that the wire must have although the class has a default for them."""
    return next((names for base, names in _REQUIRED.items() if issubclass(cls, base)), ())


def is_array(hint: Any) -> bool:
    """Tell if a type is a tuple of any length, the type of JSON arrays."""
    return get_origin(hint) is tuple and get_args(hint)[1:] == (...,)


def has_extra(hint: Any) -> bool:
    """Tell if instances of a class keep unknown fields of their object in `extra`.

    A flat row does not: it is not the wire's. Its `extra` may name fields of other kinds of rows.
    """
    cls = get_origin(hint) or hint
    if cls is UsageRow or not isinstance(cls, type) or not attrs.has(cls):
        return False
    return "extra" in attrs.fields_dict(cls)


def is_leaf(hint: Any) -> bool:
    """Tell if a type holds no objects, no decimals and no arrays."""
    origin = get_origin(hint) or hint
    if origin is Decimal or is_array(hint) or (isinstance(origin, type) and attrs.has(origin)):
        return False
    return all(map(is_leaf, get_args(hint)))


@cache
def wire_fields(cls: Hashable) -> frozenset[str]:
    """Give the fields of a class that the wire may fill."""
    return frozenset(attrs.fields_dict(cast("Any", cls))).difference(OWN_FIELDS)


def bucket_kind(hint: Any) -> type[UsageResult]:
    """Give the class of the rows of a page or bucket class; `UsageResult` if it is bare."""
    kind = next(iter(get_args(hint)), UsageResult)
    return kind if isinstance(kind, type) else UsageResult
