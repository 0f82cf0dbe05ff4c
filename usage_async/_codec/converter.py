"""The cattrs converter: JSON values into the classes of `models`, and back, exactly.

cattrs' default coercions are wrong for money and counts (1.9 becomes 1, "false" becomes True), so
every primitive has a hook of ours: what is not exactly what it should be is refused, with its JSON
path. A result's class is chosen by its `object`; fields that a class does not know go to `extra`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs
import msgspec
from cattrs import BaseConverter, transform_error
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.msgspec import MsgspecJsonConverter, configure_converter

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.fields import Extra, JsonNumber, exact_decimal, fields_of
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import (
    UnknownResult,
    UsageResult,
    UsageRow,
)
from usage_async._codec.fast import (
    JSON_DECIMAL,
    OWN_FIELDS,
    collector_paused,
    has_extra,
    is_array,
    is_leaf,
    reader,
    required,
)
from usage_async.errors import ResponseError, redact, snippet

_decimal_text = re.compile(JSON_DECIMAL + r"\Z")
_digits = re.compile(r"-?[0-9]{1,40}\Z")
_MAX_DIGITS = 40
_LONGEST_REASON = 200

_OMITTED: dict[str, Any] = {name: override(omit=True) for name in OWN_FIELDS}
_LEGACY_FIELDS = {"result": "results", "sessions": "num_sessions"}
"""Spellings that the API once used."""

parse = msgspec.json.Decoder(float_hook=Decimal).decode
"""JSON text into plain values, numbers with a fraction as Decimals."""

T = TypeVar("T")


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
    """Give the same instant as JSON can write it: its offsets have no seconds."""
    return instant if instant.tzinfo is None else instant.astimezone(UTC)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        value = value[:_LONGEST_REASON]
    return snippet(repr(value).encode())[:60]


def _thaw(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thaw(item) for key, item in value.items()}
    return list(map(_thaw, value)) if isinstance(value, tuple) else value


def _structure_with_extra(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    """Make the reader of a class: cattrs' own, then what it does not know goes to `extra`."""
    origin = get_origin(cls) or cls
    names = _names(origin)
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


@cache
def _names(cls: Hashable) -> frozenset[str]:
    """The fields that a class reads."""
    return frozenset(attrs.fields_dict(cast("Any", cls))).difference(OWN_FIELDS)


def _keep_unknown(made: Any, value: Mapping[str, Any]) -> None:
    """Put what a fresh value's class does not know into its `extra`."""
    kind: Any = type(made)
    names = _names(kind)
    if not names.issuperset(value):
        extra = Extra({key: item for key, item in value.items() if key not in names})
        object.__setattr__(made, "extra", extra)


def _keep_all_unknown(made: Any, value: Any) -> None:
    """Attach unknown fields recursively."""
    if isinstance(made, tuple):
        for part, part_value in zip(made, value, strict=True):
            _keep_all_unknown(part, part_value)
    elif (parts := _parts(made.__class__)) is not None:
        _keep_unknown(made, value)
        for name in parts:
            if value.get(name) is not None:
                _keep_all_unknown(getattr(made, name), value[name])


@cache
def _parts(cls: Hashable) -> tuple[str, ...] | None:
    """The fields that may hold other objects; None where the class is none of the wire's."""
    if not has_extra(cls):
        return None
    hints = get_type_hints(cls)
    return tuple(name for name in _names(cls) if not is_leaf(hints[name]))


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
    """Choose the class of a result by its `object`."""
    classes = result_classes()

    def structure(value: Any, _: Any) -> UsageResult:
        kind = value.get("object") if isinstance(value, Mapping) else None
        if isinstance(kind, str) and kind not in classes:
            classes.update(result_classes())  # the table may have grown
        cls = classes.get(kind) if isinstance(kind, str) else None
        return converter.structure(value, cls or UnknownResult)

    return structure


def result_classes() -> dict[str, type[UsageResult]]:
    """The classes of results by their `object`."""
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


def bucket_kind(cls: Any) -> type[UsageResult]:
    """The kind of rows that a (possibly bare) generic page or bucket class holds."""
    kind = next(iter(get_args(cls)), UsageResult)
    return kind if isinstance(kind, type) else UsageResult


def _structure_array(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    read = homogenous_tuple_structure_factory(cls, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"expected an array, got {_shown(value)}")
        return read(value, cls)

    return structure


def _is_variable(hint: Any) -> bool:
    return isinstance(hint, TypeVar)


def _is_bare(cls: Any) -> bool:
    """Tell whether a generic class of ours leaves its kind of results open."""
    bounds = [variable.__bound__ for variable in getattr(cls, "__parameters__", ())]
    return isinstance(cls, type) and bounds == [UsageResult]


def _structure_bare(cls: Any, converter: BaseConverter) -> Callable[[Any, Any], Any]:
    return lambda value, _: converter.structure(value, cls[UsageResult])


def _unstructure_variable(_: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    return converter.unstructure


def _unstructure_array(_: Any, converter: BaseConverter) -> Callable[[Any], Any]:
    return lambda value: [converter.unstructure(item) for item in value]


def _write_number(value: Any) -> msgspec.Raw:
    """Write what msgspec leaves to us: of the values of this library, numbers in `extra`."""
    if isinstance(value, JsonNumber):
        return msgspec.Raw(str(value).encode())
    raise TypeError(f"{type(value).__name__} is no value of JSON")


class UsageConverter(MsgspecJsonConverter):
    """cattrs' msgspec converter, set up for the values of this library.

    cattrs' flavour leaves writing to msgspec's C core where it can; `loads` here does the same for
    reading. What the fast lane refuses is read again with care, by cattrs.

    Attributes:
        fast: Whether `loads` may decode without cattrs; the values are the same either way.
    """

    fast: bool = True
    encoder: msgspec.json.Encoder = msgspec.json.Encoder(enc_hook=_write_number)

    def loads(self, data: bytes, cl: type[T], **_: Any) -> T:
        """Read JSON text, numbers with a fraction exactly."""
        made = self.loads_fast(data, cl)
        return self.loads_careful(data, cl) if made is None else made

    def loads_fast(self, data: bytes, cl: type[T]) -> T | None:
        """Read JSON text that holds just what the class declares; None where it does not."""
        read = reader(cast("Hashable", cl)) if self.fast else None
        if read is None:
            return None
        try:
            with collector_paused():
                return cast("T", read(data))
        except msgspec.ValidationError:
            return None

    def loads_careful(self, data: bytes, cl: type[T]) -> T:
        """Read JSON text that holds more than the class declares, or something else."""
        read = reader(cast("Hashable", cl), drifted=True) if self.fast else None
        with collector_paused():
            value = parse(data)
            if read is not None:
                try:
                    made = read(data)
                except msgspec.ValidationError:
                    pass
                else:
                    _keep_all_unknown(made, value)
                    return cast("T", made)
            return self.structure(value, cl)


def make_converter(*, fast: bool = True) -> UsageConverter:
    """Make a converter of one's own, to register more hooks on."""
    made = UsageConverter()
    made.fast = fast
    configure_converter(made)
    made.register_structure_hook(int, _int)
    made.register_structure_hook(str, _str)
    made.register_structure_hook(bool, _bool)
    made.register_structure_hook(float, _float)
    made.register_structure_hook(Decimal, _decimal)
    made.register_structure_hook(Extra, _extra)
    made.register_unstructure_hook(Extra, _thaw)
    made.register_unstructure_hook(datetime, _in_utc)
    made.register_unstructure_hook_factory(_is_variable, _unstructure_variable)
    made.register_structure_hook_factory(is_array, _structure_array)
    made.register_unstructure_hook_factory(is_array, _unstructure_array)
    made.register_structure_hook_factory(has_extra, _structure_with_extra)
    made.register_unstructure_hook_factory(has_extra, _unstructure_with_extra)
    made.register_structure_hook_factory(lambda cls: cls is UsageRow, _structure_row)
    made.register_structure_hook_factory(lambda cls: cls is UsageResult, _structure_by_object)
    made.register_structure_hook_factory(_is_bucket, _structure_bucket)
    made.register_unstructure_hook_factory(_is_bucket, _unstructure_bucket)
    made.register_structure_hook_factory(_is_bare, _structure_bare)
    return made


converter: UsageConverter = make_converter()
"""The converter of this library; `converter.copy()` gives one to extend."""


def refused(
    error: Exception, body: bytes, place: Callable[[str], str] = lambda path: path
) -> ResponseError:
    """Make an error of this library out of what a reading was refused for.

    Args:
        error: One of `READING_ERRORS`.
        body: What was read.
        place: Gives the JSON path to tell for the path within what was read.
    """
    reason, path = _reason(error, None), "$"
    if isinstance(error, BaseValidationError):
        reason, _, path = transform_error(error, path, _reason)[0].rpartition(" @ ")
    path = place(path)
    message = f"not a page of usage: {reason} at {path}"
    return ResponseError(message, path=path, snippet=snippet(body))


def _reason(error: BaseException, _: Any) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    reason = redact(str(error.args[0] if error.args else error))
    return reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + "…"


def from_dict(value: Mapping[str, Any], cls: type[T]) -> T:
    """Read plain values, such as `to_dict` gives.

    Args:
        value: JSON values; a float goes through its shortest repr, `0.1` is exactly 0.1.
        cls: A class of this library, such as `UsageTimeBucket[CostsResult]` or
            `Summary[CostsResult]`.

    Raises:
        ResponseError: A value is not exactly what it should be; `path` says where.
    """
    return _read(lambda: converter.structure(value, cls), b"")


def to_dict(value: Any) -> dict[str, Any]:
    """Write a value of this library as plain values, losing nothing.

    Decimals stay Decimals, and instants datetimes.

    Raises:
        ValueError: `extra` has a name that is a field of its class.
    """
    return cast("dict[str, Any]", converter.unstructure(value))


def loads(data: bytes | str, cls: type[T]) -> T:
    """Read JSON text of a value of this library: `loads(dumps(value), cls)` equals it.

    Args:
        data: JSON text.
        cls: A class of this library, such as `UsageTimeBucket[CostsResult]` or
            `Summary[CostsResult]`.

    Raises:
        ResponseError: It is not; `path` says where.
    """
    body = data.encode() if isinstance(data, str) else data
    return _read(lambda: converter.loads(body, cls), body)


def dumps(value: Any) -> bytes:
    """Write a value of this library as JSON text, losing nothing.

    Money and quantities are strings, instants ISO 8601, and numbers in `extra` numbers.

    Raises:
        ValueError: `extra` has a name that is a field of its class.
    """
    return converter.dumps(value)


def _read(read: Callable[[], T], body: bytes) -> T:
    try:
        return read()
    except READING_ERRORS as error:
        raise refused(error, body) from None


READING_ERRORS = (
    BaseValidationError,
    msgspec.MsgspecError,
    ArithmeticError,  # an exponent beyond what Decimal can hold
    ValueError,
    TypeError,
    KeyError,
    RecursionError,
)
"""Errors that reading untrusted JSON can raise."""
