"""Formatting for people: text without control characters, and short figures.

Sums are exact until they arrive here; only this module rounds.
"""

from __future__ import annotations

import unicodedata
from decimal import Decimal, localcontext

from usage_async.report.arithmetic import ROUNDING, ratio, times

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that can steer a terminal or reorder a line: controls, bidi marks."""
_JOINERS = "\u200c\u200d"
"""Characters that join emoji and letters. They reorder nothing, unlike others of their category."""
_CENT = Decimal("0.01")
_HUGE = Decimal("1e15")
_SCALES = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_BINARY = ((2**50, "PiB"), (2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_EXACT_BELOW = 10_000


def clean(text: str) -> str:
    """Escape every character that could steer a terminal or break a line."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSAFE else char
        for char in text
    )


def legible(text: str) -> str:
    """Escape as `clean` does, but keep what joins emoji and letters: for pages and spreadsheets."""
    if text.isascii():
        return clean(text)
    return "".join(char if char in _JOINERS else clean(char) for char in text)


def money(value: Decimal, currency: str, *, sign: bool = False) -> str:
    """Write an amount rounded to cents, such as `$1,234.50`.

    Args:
        value: Whole units of the currency.
        currency: Lowercase ISO 4217 code.
        sign: Write a plus before positive amounts.
    """
    size, less = value.copy_abs(), ""
    rounded = size if size >= _HUGE else size.quantize(_CENT, context=ROUNDING)
    if size >= _HUGE:
        text = _scientific(size, 3)
    elif size and not rounded:
        less, text = ">" if value < 0 else "<", f"{_CENT}"
    else:
        text = f"{rounded:,}"
    minus = "-" if value < 0 else "+" if sign and value else ""
    if currency == "usd":
        return f"{less}{minus}${text}"
    return f"{less}{minus}{text} {clean(currency.upper())}"


def percent(part: Decimal | int, whole: Decimal | int) -> str:
    """Write a share such as `12.3%`; empty where there is no whole."""
    if not whole:
        return ""
    share = times(ratio(part, whole), 100)
    if share.copy_abs() >= _EXACT_BELOW:
        return f"{_scientific(share, 1)}%"
    return f"{share.quantize(Decimal('0.1'), context=ROUNDING)}%"


def _scientific(value: Decimal, places: int) -> str:
    with localcontext(ROUNDING):
        return f"{value:.{places}E}"


def count(value: int) -> str:
    """Write a number of things with at most four digits, such as `9,120`, `440.3M`."""
    if abs(value) < _EXACT_BELOW:
        return f"{value:,}"
    return _scaled(value, _SCALES, "")


def size(value: int) -> str:
    """Write a number of bytes, such as `164.2 GiB`."""
    return _scaled(value, _BINARY, " ") if abs(value) >= _BINARY[-1][0] else f"{value} B"


def _scaled(value: int, scales: tuple[tuple[int, str], ...], gap: str) -> str:
    factor, unit = next(scale for scale in scales if abs(value) >= scale[0])
    scaled = ratio(value, factor).quantize(Decimal("0.1"), context=ROUNDING)
    return f"{scaled:,}{gap}{unit}" if scaled < _HUGE else f"{_scientific(scaled, 3)}{gap}{unit}"
