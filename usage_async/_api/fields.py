"""Fields of results: meaning, unit and way of adding up; and the exact values that they hold.

`FIELDS` describes each field once. The classes of `results` take their order, their attrs metadata
and their docstrings from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
)
from typing import Any, Literal, TypeVar, cast, dataclass_transform

import attrs

Kind = Literal["flow", "level", "money", "quantity", "dimension", "note"]


@attrs.frozen
class FieldInfo:
    """Description of a field.

    Attributes:
        kind: A `flow` adds over time and over groups. A `level` adds over groups within one
            bucket, never over time. `money` adds within one currency, a `quantity` within one
            `quantity_unit`. A `dimension` can be grouped by. A `note` only informs.
        unit: Unit of a number; empty for text.
        doc: One sentence for the docstrings.
        describes: Dimension whose value a note describes, such as `project_id`: rows that differ in
            it share no such note. Empty where a note describes the organization.
    """

    kind: Kind
    unit: str
    doc: str
    describes: str = ""


def _tokens(doc: str) -> FieldInfo:
    return FieldInfo("flow", "tokens", doc)


def _dimension(doc: str) -> FieldInfo:
    return FieldInfo("dimension", "", doc)


def _note(doc: str, *, describes: str = "") -> FieldInfo:
    return FieldInfo("note", "", doc, describes)


FIELDS: Mapping[str, FieldInfo] = {
    "start_time": FieldInfo("note", "Unix seconds", "Start of the bucket, inclusive."),
    "end_time": FieldInfo("note", "Unix seconds", "End of the bucket, exclusive."),
    "object": _note("The API's name for this kind of value."),
    "input_tokens": _tokens("Input tokens, cached and cache-writing ones included."),
    "input_uncached_tokens": _tokens("Input tokens that were neither cached nor written."),
    "input_cached_tokens": _tokens("Input tokens read from the prompt cache."),
    "input_cache_write_tokens": _tokens("Input tokens written to the prompt cache."),
    "input_cache_write_30m_tokens": _tokens("Input tokens written to the cache for 30 minutes."),
    "input_cache_write_12h_tokens": _tokens("Input tokens written to the cache for 12 hours."),
    "input_text_tokens": _tokens("Uncached text input tokens."),
    "input_audio_tokens": _tokens("Uncached audio input tokens."),
    "input_image_tokens": _tokens("Uncached image input tokens."),
    "input_cached_text_tokens": _tokens("Text input tokens read from the cache."),
    "input_cached_audio_tokens": _tokens("Audio input tokens read from the cache."),
    "input_cached_image_tokens": _tokens("Image input tokens read from the cache."),
    "output_tokens": _tokens("Output tokens, of every modality."),
    "output_text_tokens": _tokens("Text output tokens."),
    "output_audio_tokens": _tokens("Audio output tokens."),
    "output_image_tokens": _tokens("Image output tokens."),
    "num_model_requests": FieldInfo("flow", "requests", "Requests made to the model."),
    "num_requests": FieldInfo("flow", "calls", "Calls of the tool."),
    "num_sessions": FieldInfo("flow", "sessions", "Code interpreter sessions."),
    "images": FieldInfo("flow", "images", "Images processed."),
    "characters": FieldInfo("flow", "characters", "Characters spoken."),
    "seconds": FieldInfo("flow", "seconds", "Seconds of audio transcribed."),
    "usage_bytes": FieldInfo("level", "bytes", "Bytes stored; a level, not a flow."),
    "amount": FieldInfo("money", "currency units", "Money, in whole units of its currency."),
    "currency": _note("Lowercase ISO 4217 code of the amount, such as `usd`.", describes="amount"),
    "quantity": FieldInfo("quantity", "quantity_unit", "How much was billed, in `quantity_unit`."),
    "quantity_unit": _note(
        "What `quantity` counts, such as `tokens` or `gibibyte_hours`.", describes="quantity"
    ),
    "project_id": _dimension("Project; None unless grouped by it."),
    "user_id": _dimension("User; None unless grouped by it."),
    "api_key_id": _dimension("API key; None unless grouped by it."),
    "model": _dimension("Model; None unless grouped by it."),
    "batch": _dimension("Whether the requests were batch jobs; None unless grouped by it."),
    "service_tier": _dimension("Service tier; None unless grouped by it."),
    "api_source": _dimension("API that made the requests; None unless grouped by it."),
    "size": _dimension("Image size, such as `1024x1024`; None unless grouped by it."),
    "source": _dimension("Kind of image request; None unless grouped by it."),
    "vector_store_id": _dimension("Vector store; None unless grouped by it."),
    "context_level": _dimension("Search context size; None unless grouped by it."),
    "line_item": _dimension("What was billed, as sent; None unless grouped by it."),
    "organization_id": _note("Organization; sent, but not documented by the API."),
    "organization_name": _note("Organization's name; sent, but not documented by the API."),
    "project_name": _note(
        "Project's name; sent, but not documented by the API.", describes="project_id"
    ),
    "user_email": _note(
        "User's address; sent, but not documented by the API.", describes="user_id"
    ),
    "extra": _note("Fields of the reply that this release does not know, by name."),
}
"""Every field of every result and of `UsageRow`, in order of display."""


class JsonNumber(Decimal):
    """A Decimal that JSON writes as a number. Money, in contrast, is written as a string."""

    __slots__ = ()


class Extra(Mapping[str, Any]):
    """An immutable, hashable mapping of JSON values.

    Lists become tuples, and objects become `Extra`. Numbers with a fraction become Decimals: a
    float goes through its shortest text, so that `0.1` is exactly 0.1.

    Raises:
        TypeError: A value that JSON does not have, or a key that is no string.
        ValueError: NaN or infinity, or a text that UTF-8 cannot write: a lone surrogate.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {_key(key): _freeze(value) for key, value in (values or {}).items()}

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Extra({self._values!r})" if self._values else "Extra()"

    def __reduce__(self) -> tuple[type[Extra], tuple[dict[str, Any]]]:
        return Extra, (self._values,)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _writable(key)
    raise TypeError(f"expected a string as key, got {type(key).__name__}")


def _writable(text: str) -> str:
    """Refuse a text with a lone surrogate, which no reply can have and no JSON text can be."""
    if not text.isascii():
        text.encode()
    return text


def _freeze(value: Any) -> Any:
    if isinstance(value, str):
        return _writable(value)
    if value is None or isinstance(value, int | Extra | JsonNumber):
        return value
    if isinstance(value, Mapping):
        return Extra(value)
    if isinstance(value, list | tuple):
        return tuple(map(_freeze, value))
    if not isinstance(value, float | Decimal):
        raise TypeError(f"expected a JSON value, got {type(value).__name__}")
    number = JsonNumber(float.__repr__(value) if isinstance(value, float) else value)
    if number.is_finite():
        return number
    raise ValueError(f"expected a number that JSON has, got {value}")


NO_EXTRA = Extra()

EXACT = Context(
    prec=MAX_PREC,
    Emax=MAX_EMAX,
    Emin=MIN_EMIN,
    traps=[Inexact, InvalidOperation, Overflow],
)
"""Context of all arithmetic. It never rounds, whatever the context of the thread is."""

_MAX_EXPONENT = 308
"""Largest power of ten of an IEEE 754 double, which JSON numbers are expected to fit in."""
_MIN_EXPONENT = -6176
"""Smallest power of ten of an IEEE 754 decimal128; the service sends `0E-6176`."""
_ZERO = Decimal(0)
_ONE = Decimal(1)


def exact_decimal(value: Decimal) -> Decimal:
    """Check that a Decimal fits a plain JSON decimal, and normalize it.

    Equal numbers get one form: a whole number has no exponent, a fraction no trailing zeros, and
    zero is `0`.

    Raises:
        TypeError: It is not a Decimal (a float is inexact: pass a string or a Decimal).
        ValueError: It is NaN, infinite, 1e309 or more, or below 1e-6176 but not zero.
    """
    if not isinstance(value, Decimal):
        raise TypeError(f"expected a Decimal, got {type(value).__name__}")
    if not value:
        return _ZERO
    if value.is_finite() and _MIN_EXPONENT <= value.adjusted() <= _MAX_EXPONENT:
        if value == EXACT.to_integral_value(value):
            return EXACT.quantize(value, _ONE)
        return EXACT.normalize(value)
    raise ValueError(f"expected a plain finite decimal, got {str(value)[:40]}")


def plain(value: Decimal) -> str:
    """Write a Decimal exactly, without exponent and without trailing zeros.

    A value that no amount can have (NaN, 1e309 or more, below 1e-6176) is written as by `str`:
    spelled out, a short text such as `1e999999` would fill the memory.
    """
    if not value:
        return "0"
    if not _MIN_EXPONENT <= value.adjusted() <= _MAX_EXPONENT:
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _describe(cls: type, attributes: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Order attributes as in `FIELDS`, and attach its entries as metadata and documentation."""
    order = list(FIELDS)
    described = [
        a.evolve(metadata=attrs.asdict(FIELDS[a.name]))
        for a in sorted(attributes, key=lambda a: order.index(a.name))
    ]
    lines = (
        f"    {a.name}: {a.metadata['doc']}"
        + (f" Unit: {a.metadata['unit']}." if a.metadata["unit"] else "")
        + (f" A {a.metadata['kind']}." if a.metadata["kind"] in ("flow", "level") else "")
        for a in described
    )
    summary = (cls.__doc__ or "").partition("\n\nAttributes:")[0].rstrip()
    cls.__doc__ = "\n".join([summary, "", "Attributes:", *lines])
    return described


def short_repr(self: Any) -> str:
    """Write a value of an attrs class as a constructor call, without arguments at defaults."""
    kind: Any = type(self)
    shown = (
        f"{a.name}={_shown(getattr(self, a.name))}"
        for a in attrs.fields(kind)
        if a.repr and (a.default is attrs.NOTHING or getattr(self, a.name) != a.default)
    )
    return f"{kind.__qualname__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return f"Decimal('{plain(value)}')" if isinstance(value, Decimal) else repr(value)


def fields_of(cls: Any) -> tuple[attrs.Attribute[Any], ...]:
    """Give the attrs attributes of a class that `described` made."""
    return cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(cls))


_T = TypeVar("_T")

_WIRE_CLASSES: set[type] = set()


def on_the_wire(cls: type[_T]) -> type[_T]:
    """Register a class whose objects the fast path may fill.

    The fast path skips constructors. Therefore a registered class does nothing in its constructor
    but check its decimals. A caller's class is never registered, not even a subclass of a
    registered one, because its constructor may do anything.
    """
    _WIRE_CLASSES.add(cls)
    return cls


def is_on_the_wire(cls: object) -> bool:
    """Tell if a class is registered for the fast path."""
    return cls in _WIRE_CLASSES


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(attrs.field,))
def described(cls: type[_T]) -> type[_T]:
    made = attrs.frozen(
        cls, kw_only=True, weakref_slot=False, repr=False, field_transformer=_describe
    )
    return on_the_wire(made)
