"""Schemas of what is written of our values: as pydantic checks, writes and documents them.

A schema takes an instance as it is, and writes it as `dumps` does: decimals as strings, unknown
fields beside the known ones. The documentation of a field is that of its class.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from inspect import cleandoc
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from usage_async._api.by_id import ById
from usage_async._api.codegen import reader
from usage_async._api.exact import Extra, JsonNumber

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?(E[+-]?[0-9]+)?$"
_OTHERS = "other_results"
"""Field that is written among the `results`."""
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def core_schema_of(
    cls: type, source: Any, handler: GetCoreSchemaHandler, *, is_apart: bool
) -> CoreSchema:
    """Make the schema of a class of values.

    Args:
        cls: The class.
        source: The class, with its parameters if it is generic.
        handler: Pydantic's maker of the schemas of fields.
        is_apart: True to write `extra` as a field, and not its fields beside the others.
    """
    from pydantic_core import core_schema

    source = _bound(source, {})
    return core_schema.json_or_python_schema(
        core_schema.no_info_after_validator_function(
            _refuse, _written_schema(cls, source, handler, is_apart=is_apart)
        ),
        core_schema.is_instance_schema(cls),
        ref=_ref(source),
        serialization=core_schema.plain_serializer_function_ser_schema(
            _row if is_apart else jsonable, when_used="json"
        ),
    )


def jsonable(value: Any) -> Any:
    """Write a value as strings, numbers, lists and dicts.

    A number in `extra` that no float holds exactly becomes a string.

    Raises:
        ValueError: A name in an `extra` is a field of its class.
    """
    write = _WRITERS.get(value.__class__)
    if write is not None:
        return write(value)
    return _object(value) if attrs.has(value.__class__) else value


def _object(value: Any) -> dict[str, Any]:
    names, read = _fields(value.__class__)
    written = dict(zip(names, map(jsonable, read(value)), strict=True))
    if _OTHERS in written:
        written["results"] += written.pop(_OTHERS)
    extra = written.pop("extra", None)
    if extra:
        if known := extra.keys() & written.keys():
            name = type(value).__name__
            raise ValueError(f"extra has {', '.join(sorted(known))}, a field of {name} itself")
        written |= extra
    return written


def _row(value: Any) -> dict[str, Any]:
    names, read = _fields(value.__class__)
    return dict(zip(names, map(jsonable, read(value)), strict=True))


@cache
def _fields(cls: Hashable) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    kind: Any = cls
    names = tuple(attrs.fields_dict(kind))
    return names, reader(names)


def _number(value: JsonNumber) -> float | str:
    number = float(value)  # infinite if it is too large
    return number if Decimal(repr(number)) == value else str(value)


def _array(value: Any) -> list[Any]:
    return list(map(jsonable, value))


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    str: str,
    int: int,
    bool: bool,
    NoneType: lambda _: None,
    Decimal: str,
    JsonNumber: _number,
    tuple: _array,
    ById: lambda value: _array(value.values()),
    Extra: lambda value: {name: jsonable(item) for name, item in value.items()},
    datetime: lambda value: value if value.tzinfo is None else value.astimezone(UTC),
}


def _refuse(_: Any) -> Any:
    raise ValueError("pydantic does not read this class from JSON; use usage_async.loads")


def _written_schema(
    cls: Any, source: Any, handler: GetCoreSchemaHandler, *, is_apart: bool
) -> CoreSchema:
    """Make the schema of what is written."""
    from pydantic_core import core_schema

    bound = dict(zip(getattr(cls, "__parameters__", ()), get_args(source), strict=False))
    hints = get_type_hints(cls)
    text = cleandoc(cls.__doc__ or "")
    about = {name: " ".join(found.split()) for name, found in _ATTRIBUTE.findall(text)}
    fields = {}
    for attribute in attrs.fields(cls):
        name, unit = attribute.name, attribute.metadata.get("unit")
        if name == _OTHERS or (name == "extra" and not is_apart):
            continue
        hint = _bound(hints[name], bound)
        if name == "results" and _OTHERS in hints:
            hint = _array_of(*get_args(hint)[:1], *get_args(hints[_OTHERS])[:1])
        updates = {"description": about[name]} if name in about else {}
        if unit:
            updates["x-unit"] = unit
        field_schema = _schema(hint, handler)
        fields[name] = core_schema.typed_dict_field(
            field_schema, required=True, metadata={"pydantic_js_updates": updates}
        )
    has_more = "extra" in hints and not is_apart
    described = " ".join(text.partition("\n\nAttributes:")[0].split())
    return core_schema.typed_dict_schema(
        fields,
        cls_name=_title(source),
        extra_behavior="allow" if has_more else "forbid",
        metadata={"pydantic_js_updates": {"description": described}},
    )


def _array_of(*kinds: Any) -> Any:
    array: Any = tuple
    union: Any = Union
    return array[union[kinds], ...]


def _schema(hint: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    from pydantic_core import core_schema

    origin, of = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        kinds = [each for each in dict.fromkeys(of) if each is not NoneType]
        some: list[Any] = [_schema(each, handler) for each in kinds]
        one = some[0] if len(some) == 1 else core_schema.union_schema(some)
        return core_schema.nullable_schema(one) if NoneType in of else one
    if origin is Literal:
        return core_schema.literal_schema(list(of))
    if origin in (tuple, ById):
        return core_schema.list_schema(_schema(of[0], handler))
    simple: dict[Any, Callable[[], CoreSchema]] = {
        str: core_schema.str_schema,
        int: core_schema.int_schema,
        float: core_schema.float_schema,
        bool: core_schema.bool_schema,
        datetime: core_schema.datetime_schema,
        Extra: core_schema.dict_schema,
        Decimal: lambda: core_schema.str_schema(pattern=_DECIMAL),
    }
    return simple[origin]() if origin in simple else handler.generate_schema(hint)


def _bound(hint: Any, bound: Mapping[Any, Any]) -> Any:
    """Put classes in place of type variables, by default their bounds."""
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint.__bound__)
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple(_bound(each, bound) for each in variables)] if variables else hint


def _ref(source: Any) -> str:
    """Name a class as pydantic does, which makes the names of OpenAPI components of it."""
    cls, of = get_origin(source) or source, get_args(source)
    name = f"{cls.__module__}.{cls.__qualname__}:{id(cls)}"
    return f"{name}[{','.join(map(_ref, of))}]" if of else name


def _title(source: Any) -> str:
    cls, of = get_origin(source) or source, get_args(source)
    return f"{cls.__name__}[{', '.join(map(_title, of))}]" if of else str(cls.__name__)
