r"""Text of a service without the keys that it was sent, however it spells them.

A service that is broken, or that wants to be helpful, echoes the key: in an error's message, a
header, the name of a field, escaped for JSON or HTML, percent-encoded, within base64. What looks
like a key is known by `errors.redact`; a client's own key is known by itself, whatever it looks
like. Text is redacted before it is cut, since nobody recognises a part of a key.

    text, as it came
        |  "\u002d", "%2D", "&#45;" -> "-", again until nothing changes
    each of these texts
        |  the last characters of the key, and as many before them as are the key's, too
        |  what base64 makes of the key at each alignment, and all of base64 around it
    text without what was found in any of them

Every text is searched, not only the last: what unescaping takes for an escape may be the key's own
first or last characters. Each step takes time in proportion to the text.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import cached_property
from urllib.parse import quote

import attrs

MARK = "…"
"""Stands for a key. No key holds it, so that what is left around it never makes up a key."""

SHORTEST_KEY = 8
"""Characters; what is shorter would be found in texts that have nothing to do with it. As many from
the end of a key are taken out, too: services tell keys apart by them."""

_LONGEST_NAME = 200
_SHORTEST_PLAIN = 6
"""The same of a key that holds escapes itself, and is shorter without them."""

_SHORTEST_PART = 4
"""Characters of a key at the end of a cut text that are worth to be dropped."""

_MARK_BYTES = MARK.encode().decode("latin-1")
_PREFIX = re.compile(r"\A(?:sk|sess)-(?:admin-|proj-|svcacct-)?")
_ESCAPED = re.compile(
    r"\\\\*(?:(?:u00|x)([2-7][0-9a-fA-F]))?|%(?:25)*([2-7][0-9a-fA-F])|&#[xX]0*([2-7][0-9a-fA-F]);"
    r"|&#0*(3[3-9]|[4-9][0-9]|1[01][0-9]|12[0-6]);|&(amp|lt|gt|quot|apos);"
)
"""A character of ASCII, escaped for JSON, for Python, in a URL or in HTML; else the backslashes
before one that is only quoted."""
_BEGUN_ESCAPE = re.compile(
    r"(?:\\+(?:u0{0,2}|x)?[2-7]?|%(?:25)*[2-7]?|&#?\w{0,6})\Z", re.IGNORECASE
)
_LONGEST_ESCAPE = 32
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LEVELS = 4
"""Escapes of escapes; each level of them is a pass over the text."""
_BASE64_RUN = re.compile(rf"[A-Za-z0-9+/_=-]{{{SHORTEST_KEY},}}")


def shortened(text: str, most: int = _LONGEST_NAME) -> str:
    """Cut a text that is longer than it may be; to be called after it was redacted."""
    return text if len(text) <= most else text[: most - 1] + "…"


@attrs.frozen
class Redactor:
    """Takes the keys of one client out of texts.

    Attributes:
        keys: The present one, and those that it had before.
    """

    keys: tuple[str, ...] = attrs.field(default=(), repr=False)

    def text(self, text: str) -> str:
        """Give a text without the keys."""
        return self._without(text, MARK, is_cut=False) if self.keys else text

    def head(self, body: bytes, most: int | None = None) -> bytes:
        """Give the first bytes of a body without the keys.

        Args:
            body: As it came; JSON stays JSON.
            most: How many bytes to take; a key that the cut goes through is dropped, too.
        """
        head = body[:most]
        if not self.keys:
            return head
        text = head.decode("latin-1")
        redacted = self._without(text, _MARK_BYTES, is_cut=len(head) < len(body))
        return head if redacted is text else redacted.encode("latin-1")

    @cached_property
    def _written(self) -> tuple[tuple[str, str], ...]:
        """Spellings of the keys: the end of each, and the whole of it."""
        written = (pair for key in map(str, self.keys) for pair in _spellings(key))
        return tuple(dict.fromkeys(written))

    @cached_property
    def _encoded(self) -> tuple[str, ...]:
        # A key's base64 holds that of its own end.
        encoded = (form for key in map(str, self.keys) for form in _in_base64(_parts(key)[-1]))
        return tuple(dict.fromkeys(encoded))

    @cached_property
    def _beginnings(self) -> tuple[str, ...]:
        parts = [part for key in map(str, self.keys) for part in _parts(key)]
        encoded = (form for part in parts for form in _in_base64(part))
        return tuple(dict.fromkeys((*map(_unescaped, parts), *encoded)))

    def _without(self, text: str, mark: str, *, is_cut: bool) -> str:
        if any(map(self._is_in, _levels(text))):
            text = self._without_found(text, mark)
        return self._without_begun(text) if is_cut else text

    def _is_in(self, text: str) -> bool:
        return any(end in text for end, _ in self._written) or any(
            form in text for form in self._encoded
        )

    def _without_found(self, text: str, mark: str) -> str:
        spans = sorted(
            (places[begin], places[end])
            for plain, places in _placed(text)
            for begin, end in self._found(plain)
        )
        kept, pieces = 0, []
        for begin, end in spans:
            if begin >= kept:
                pieces += [text[kept:begin], mark]
            kept = max(kept, end)
        return "".join([*pieces, text[kept:]])

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        for end, whole in self._written:
            yield from _occurrences(text, end, whole)
        encoded = [form for form in self._encoded if form in text]
        if encoded:
            # The characters around tell the rest of its first and last bytes.
            for run in _BASE64_RUN.finditer(text):
                if any(form in run[0] for form in encoded):
                    yield run.span()

    def _without_begun(self, text: str) -> str:
        """Drop the beginning of a key from the end of a text."""
        text = text[:-_LONGEST_ESCAPE] + _BEGUN_ESCAPE.sub("", text[-_LONGEST_ESCAPE:])
        *_, (plain, places) = _placed(text)
        begun = max(_begun(plain, form) for form in self._beginnings)
        return text[: places[len(plain) - begun]]


NO_KEY = Redactor()
"""For text that is read without a client."""


def _parts(key: str) -> tuple[str, ...]:
    """Give a key, and what follows its prefix where that is a secret by itself."""
    rest = _PREFIX.sub("", key)
    return (key, rest) if SHORTEST_KEY <= len(rest) < len(key) else (key,)


def _occurrences(text: str, end: str, whole: str) -> Iterator[tuple[int, int]]:
    """Find what ends a form of a key; each with as much of the form as stands before it."""
    begin = text.find(end)
    while begin >= 0:
        stop = begin + len(end)
        least, most = len(end), min(len(whole), stop)
        while least < most:
            middle = (least + most + 1) // 2
            if text.endswith(whole[-middle:], 0, stop):
                least = middle
            else:
                most = middle - 1
        yield stop - least, stop
        # Ends of a key that repeats itself overlap.
        begin = text.find(end, begin + 1)


def _begun(text: str, secret: str) -> int:
    """Count the characters of a secret that a text ends with; 0 where too few to matter."""
    most = min(len(secret) - 1, len(text))
    parts = range(most, _SHORTEST_PART - 1, -1)
    return next((part for part in parts if text.endswith(secret[:part])), 0)


def _spellings(key: str) -> Iterator[tuple[str, str]]:
    """Give the forms that encoders give a key, and the one that unescaping leaves of it."""
    for spell in _SPELLINGS:
        yield spell(key[-SHORTEST_KEY:]), spell(key)
    plain = _unescaped(key)
    if len(plain) >= _SHORTEST_PLAIN:
        yield plain[-SHORTEST_KEY:], plain


def _backslashed(text: str) -> str:
    return text.replace("\\", "\\\\")


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe="")),
    lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
    _backslashed,
    lambda text: _backslashed(text).replace("'", "\\'"),
    lambda text: _backslashed(text).replace('"', '\\"'),
    html.escape,
)
"""Spelling character by character, so that the end of a form is the form of the end."""


def _in_base64(secret: str) -> Iterator[str]:
    """Give the characters of base64 that a secret alone decides on, at each alignment."""
    data = secret.encode()
    for before in range(3):
        first, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + data)[first:end].decode()


def _may_be_escaped(text: str) -> bool:
    return "\\" in text or "%" in text or "&" in text


def _levels(text: str) -> Iterator[str]:
    """Give a text, the same without its escapes, without their own escapes, and so on."""
    yield text
    for _ in range(_LEVELS):
        plain = _ESCAPED.sub(_meant, text) if _may_be_escaped(text) else text
        if plain == text:
            break
        yield (text := plain)


def _unescaped(text: str) -> str:
    *_, plain = _levels(text)
    return plain


def _placed(text: str) -> Iterator[tuple[str, list[int]]]:
    """Give the levels; tell of each character, and of the end, where it stood in the text."""
    places = list(range(len(text) + 1))
    for level in _levels(text):
        if level != text:
            places = _moved(text, places)
        text = level
        yield text, places


def _moved(text: str, places: list[int]) -> list[int]:
    """Give the places of the characters that unescaping leaves."""
    places = places.copy()
    kept: list[int] = []
    end = 0
    for match in _ESCAPED.finditer(text):
        char = _meant(match)
        kept += places[end : match.start()]
        kept += places[match.start() : match.start() + len(char)]
        end = match.end()
        if not char:
            # A quoting backslash belongs to what it quotes.
            places[end] = places[match.start()]
    return kept + places[end:]


def _meant(match: re.Match[str]) -> str:
    """Give what an escape stands for."""
    if digits := match[1] or match[2] or match[3]:
        return chr(int(digits, 16))
    if match[4]:
        return chr(int(match[4]))
    return _NAMED[match[5]] if match[5] else ""
