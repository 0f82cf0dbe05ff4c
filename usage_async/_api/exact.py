"""Exact values: decimals that never round, and the JSON values of unknown fields."""

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
from typing import Any

import attrs


class JsonNumber(Decimal):
    """A Decimal that JSON writes as a number. Money, in contrast, is written as a string."""

    __slots__ = ()


class Extra(Mapping[str, Any]):
    """An immutable, hashable mapping of JSON values.

    Lists become tuples, and objects become `Extra`. Numbers with a fraction become Decimals. A
    float is taken by its shortest text, so that `0.1` is exactly 0.1.

    Raises:
        TypeError: A value is not a JSON value, or a key is not a string.
        ValueError: A number is NaN or infinite, or a string holds a lone surrogate, which UTF-8
            cannot encode.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = {_key(key): freeze(value) for key, value in (values or {}).items()}

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


_FROZEN = (int, Extra, JsonNumber)
_OBJECTS = (dict, Mapping)
"""`dict` stands first because telling an abstract class takes ten times as long."""
_ARRAYS = (list, tuple)
_NUMBERS = (float, Decimal)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _writable(key)
    raise TypeError(f"expected a string as key, got {type(key).__name__}")


def _writable(text: str) -> str:
    """Refuse a lone surrogate. No reply can hold one, and UTF-8 cannot encode it."""
    if not text.isascii():
        text.encode()
    return text


def extra_of_frozen(values: dict[str, Any]) -> Extra:
    """Make an `Extra` of values that are frozen already, without looking at them again."""
    made = Extra.__new__(Extra)
    made._values = values  # noqa: SLF001 - of its own module
    return made


def freeze(value: Any) -> Any:
    """Make a JSON value immutable and exact; see `Extra`."""
    if isinstance(value, str):
        return _writable(value)
    if value is None or isinstance(value, _FROZEN):
        return value
    if isinstance(value, _NUMBERS):
        number = JsonNumber(float.__repr__(value) if isinstance(value, float) else value)
        if number.is_finite():
            return number
        raise ValueError(f"expected a number that JSON has, got {value}")
    if isinstance(value, _ARRAYS):
        return tuple(map(freeze, value))
    if isinstance(value, _OBJECTS):
        return Extra(value) if value else NO_EXTRA
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")


def nest(extra: Mapping[str, Any], name: str, part: Extra) -> Mapping[str, Any]:
    """Add the unknown fields of a part; a `_` follows its name where there is such a field."""
    if not part:
        return extra
    while name in extra:
        name += "_"
    return {**extra, name: part}


NO_EXTRA = Extra()

EXACT = Context(
    prec=MAX_PREC,
    Emax=MAX_EMAX,
    Emin=MIN_EMIN,
    traps=[Inexact, InvalidOperation, Overflow],
)
"""Context of all arithmetic. It raises instead of rounding. The thread's context has no effect."""

_MAX_EXPONENT = 308
"""Largest power of ten of an IEEE 754 double; JSON readers hold numbers in doubles."""
_MIN_EXPONENT = -6176
"""Smallest power of ten of an IEEE 754 decimal128; the service sends `0E-6176`."""
_ZERO = Decimal(0)
_ONE = Decimal(1)


def exact_decimal(value: Decimal) -> Decimal:
    """Check that a Decimal fits a plain JSON decimal, and normalize it.

    Equal numbers get one form: a whole number has no exponent, a fraction no trailing zeros, and
    zero is `0`.

    Raises:
        TypeError: The value is not a Decimal. A float is inexact: pass a string or a Decimal.
        ValueError: The value is NaN or infinite, or its magnitude is 1e309 or more, or not zero but
            below 1e-6176.
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

    A value that `exact_decimal` refuses is written as `str` writes it. Without an exponent,
    `1e999999` would take a million characters.
    """
    if not value:
        return "0"
    if not _MIN_EXPONENT <= value.adjusted() <= _MAX_EXPONENT:
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def short_repr(self: Any) -> str:
    """Write an attrs instance as a constructor call, without arguments that equal their default."""
    kind: Any = type(self)
    shown = (
        f"{a.name}={_shown(getattr(self, a.name))}"
        for a in attrs.fields(kind)
        if a.repr and (a.default is attrs.NOTHING or getattr(self, a.name) != a.default)
    )
    return f"{kind.__qualname__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return f"Decimal('{plain(value)}')" if isinstance(value, Decimal) else repr(value)
