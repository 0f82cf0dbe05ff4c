"""The tolerant reader: cattrs hooks that read JSON values into our classes, and write them.

cattrs' own coercions are wrong for money and counts: 1.9 becomes 1, and "false" becomes True. So
every primitive has a hook here. A value that a hook does not read exactly is refused, and cattrs
adds its JSON path. The `object` of a row selects its class. Fields that a class does not know go to
its `extra`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin

import attrs
from cattrs import BaseConverter, Converter
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.msgspec import MsgspecJsonConverter, configure_converter

from usage_async._api.by_id import ById
from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.exact import Extra, exact_decimal
from usage_async._api.fields import fields_of
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import UnknownResult, UsageResult, UsageRow
from usage_async._codec.shapes import (
    JSON_DECIMAL,
    OWN_FIELDS,
    bucket_kind,
    has_extra,
    is_array,
    required,
    wire_fields,
)
from usage_async.errors import snippet

_LONGEST_SHOWN = 200
"""Characters of a refused value that an error quotes at most."""

_decimal_text = re.compile(JSON_DECIMAL + r"\Z")
_digits = re.compile(r"-?[0-9]{1,40}\Z")
_MAX_DIGITS = 40

_OMITTED: dict[str, Any] = {name: override(omit=True) for name in OWN_FIELDS}
_LEGACY_FIELDS = {"result": "results", "sessions": "num_sessions"}
"""Spellings that the API once used, and those that it uses today."""


@cache
def tolerant_converter() -> Converter:
    """Make the converter that reads what the fast path of the client refuses."""
    converter = MsgspecJsonConverter()
    register_hooks(converter)
    return converter


def register_hooks(converter: Converter) -> None:
    """Set a converter up for the values of this library."""
    configure_converter(converter)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(Extra, _extra)
    converter.register_unstructure_hook(Extra, _thaw)
    converter.register_unstructure_hook(datetime, _in_utc)
    converter.register_unstructure_hook_factory(_is_variable, _unstructure_variable)
    converter.register_structure_hook_factory(is_array, _structure_array)
    converter.register_unstructure_hook_factory(is_array, _unstructure_array)
    converter.register_structure_hook_factory(_is_object, _structure_object)
    converter.register_structure_hook_factory(_is_by_id, _structure_by_id)
    converter.register_unstructure_hook_factory(_is_by_id, _unstructure_by_id)
    converter.register_structure_hook_factory(has_extra, _structure_with_extra)
    converter.register_unstructure_hook_factory(has_extra, _unstructure_with_extra)
    converter.register_structure_hook_factory(lambda cls: cls is UsageRow, _structure_row)
    converter.register_structure_hook_factory(lambda cls: cls is UsageResult, _structure_by_object)
    converter.register_structure_hook_factory(_is_bucket, _structure_bucket)
    converter.register_unstructure_hook_factory(_is_bucket, _unstructure_bucket)
    converter.register_structure_hook_factory(_is_bare, _structure_bare)


def _int(value: Any, _: Any) -> int:
    if value.__class__ is int:
        return value
    if isinstance(value, str) and _digits.match(value):
        return int(value)
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if isinstance(number, Decimal) and number.is_finite() and number.adjusted() < _MAX_DIGITS:
        whole = int(number)
        if whole == number:
            return whole
    raise ValueError(f"expected a whole number, got {_shown(value)}")


def _str(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"expected a string, got {_shown(value)}")


def _bool(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"expected true or false, got {_shown(value)}")


def _batch(value: Any, _: Any) -> bool | None:
    if value in ("true", "false"):
        return bool(value == "true")
    return None if value is None else _bool(value, _)


def _decimal(value: Any, _: Any) -> Decimal:
    if isinstance(value, float):
        value = repr(value)
    if isinstance(value, str) and _decimal_text.match(value):
        with suppress(InvalidOperation):
            return exact_decimal(Decimal(value))
    if isinstance(value, Decimal):
        return exact_decimal(value)
    if value.__class__ is int:
        return exact_decimal(Decimal(value))
    raise ValueError(f"expected a plain decimal, got {_shown(value)}")


def _float(value: Any, _: Any) -> float:
    if isinstance(value, float | int | Decimal) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"expected a number, got {_shown(value)}")


def _extra(value: Any, _: Any) -> Extra:
    if isinstance(value, Mapping):
        return Extra(value)
    raise TypeError(f"expected an object, got {_shown(value)}")


def _in_utc(instant: datetime) -> datetime:
    """Give the same instant in UTC. The offsets of JSON texts have no seconds."""
    return instant if instant.tzinfo is None else instant.astimezone(UTC)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        value = value[:_LONGEST_SHOWN]
    return snippet(repr(value).encode())[:60]


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    return list(map(_thaw, value)) if isinstance(value, tuple) else value


def _structure_with_extra(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    """Make the reader of a class: that of cattrs, then unknown fields go to `extra`."""
    origin = get_origin(cls) or cls
    names = wire_fields(origin)
    overrides: dict[str, Any] = dict(_OMITTED)
    if "batch" in names:
        overrides["batch"] = override(struct_hook=_batch)
    read = make_dict_structure_fn(cls, converter, **overrides)
    must_have = required(origin)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected an object, got {_shown(value)}")
        for old, new in _LEGACY_FIELDS.items():
            if old in value and new in names and new not in value:
                value = {new if key == old else key: item for key, item in value.items()}
        for key in must_have:
            if key not in value:
                raise KeyError(f"expected a field {key}")
        made = read(value, cls)
        _keep_unknown(made, value)
        return made

    return structure


def _keep_unknown(made: Any, value: Mapping[str, Any]) -> None:
    """Put the fields that the class of a fresh instance does not know into its `extra`."""
    kind: Any = type(made)
    unknown = value.keys() - wire_fields(kind)
    if unknown:
        # The fast path does not know the order of the text, so neither reader keeps it.
        extra = Extra({name: value[name] for name in sorted(unknown)})
        object.__setattr__(made, "extra", extra)


def _unstructure_with_extra(cls: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    write = make_dict_unstructure_fn(cls, converter, **_OMITTED)

    def unstructure(value: Any) -> dict[str, Any]:
        written: dict[str, Any] = write(value)
        for name, item in value.extra.items():
            if name in written:
                raise ValueError(f"extra has {name!r}, a field of {type(value).__name__} itself")
            written[name] = _thaw(item)
        return written

    return unstructure


def _is_object(cls: Any) -> bool:
    return attrs.has(get_origin(cls) or cls)


def _structure_object(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    """Make the reader of a class without `extra`.

    That of cattrs would read a class whose fields all have defaults from an array or a text.
    """
    read = make_dict_structure_fn(cls, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected an object, got {_shown(value)}")
        return read(value, cls)

    return structure


def _structure_row(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], UsageRow]:
    read = make_dict_structure_fn(cls, converter)
    names = {a.name for a in fields_of(UsageRow)}

    def structure(value: Any, _: Any) -> UsageRow:
        row: UsageRow = read(value, cls)
        unknown = {key: item for key, item in value.items() if key not in names}
        if unknown:
            object.__setattr__(row, "extra", Extra({**row.extra, **unknown}))
        return row

    return structure


def _structure_by_object(_: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    """Make the reader of rows of any kind: `object` selects the class."""
    classes = result_classes()

    def structure(value: Any, _: Any) -> UsageResult:
        kind = value.get("object") if isinstance(value, Mapping) else None
        if isinstance(kind, str) and kind not in classes:
            classes.update(result_classes())  # the table may have grown
        cls = classes.get(kind) if isinstance(kind, str) else None
        return converter.structure(value, cls or UnknownResult)

    return structure


def result_classes() -> dict[str, type[UsageResult]]:
    """Give the result classes by their `object`."""
    return {endpoint.object: endpoint.result_class for endpoint in ENDPOINTS.values()}


def _structure_bucket(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    own = bucket_kind(cls)
    element = UnknownResult if own is UnknownResult else UsageResult
    read = _structure_with_extra(UsageTimeBucket[element], converter)  # type: ignore[valid-type] # a kind is a value

    def structure(value: Any, _: Any) -> UsageTimeBucket[Any]:
        bucket: UsageTimeBucket[Any] = read(value, cls)
        others = tuple(row for row in bucket.results if not isinstance(row, own))
        if others:
            results = tuple(row for row in bucket.results if isinstance(row, own))
            bucket = attrs.evolve(bucket, results=results, other_results=others)
        return bucket

    return structure


def _unstructure_bucket(cls: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    write = _unstructure_with_extra(cls, converter)

    def unstructure(bucket: UsageTimeBucket[Any]) -> dict[str, Any]:
        others = [converter.unstructure(row) for row in bucket.other_results]
        written: dict[str, Any] = write(bucket)
        written["results"] = [*written["results"], *others]
        return written

    return unstructure


def _is_bucket(cls: Any) -> bool:
    return (get_origin(cls) or cls) is UsageTimeBucket


def _structure_array(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    read = homogenous_tuple_structure_factory(cls, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"expected an array, got {_shown(value)}")
        return read(value, cls)

    return structure


def _is_by_id(cls: Any) -> bool:
    return get_origin(cls) is ById


def _structure_by_id(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    items: Any = GenericAlias(tuple, (*get_args(cls), ...))
    return lambda value, _: ById(converter.structure(value, items))


def _unstructure_by_id(_: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    return lambda value: [converter.unstructure(item) for item in value.values()]


def _is_variable(hint: Any) -> bool:
    return isinstance(hint, TypeVar)


def _is_bare(cls: Any) -> bool:
    """Tell if a generic class of ours is used without its kind of results."""
    bounds = [variable.__bound__ for variable in getattr(cls, "__parameters__", ())]
    return isinstance(cls, type) and bounds == [UsageResult]


def _structure_bare(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    return lambda value, _: converter.structure(value, cls[UsageResult])


def _unstructure_variable(_: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    return converter.unstructure


def _unstructure_array(_: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    return lambda value: [converter.unstructure(item) for item in value]
