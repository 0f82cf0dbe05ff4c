r"""Redaction of a client's own key in text of the service, in any usual spelling.

A service may echo the key: in an error message, in a header or in the name of a field. It may
escape the key for JSON or HTML, percent-encode it, or put it into base64. `errors.redact` finds
what has the form of a key. This module finds the client's own key, whatever form it has. Text is
redacted before it is cut, because a part of a key cannot be recognized.

    text as it came
        |  "\u002d", "%2D", "&#45;" -> "-", again until nothing changes
    the text at each level of unescaping
        |  find the last characters of the key, and all characters of the key before them
        |  find the base64 of the key at each alignment, and the run of base64 around it
    text without anything that was found in any of them

Every level is searched, not only the fully unescaped one, because unescaping may take the first or
last characters of the key itself for an escape. Each step takes time proportional to the text.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import cached_property
from urllib.parse import quote

import attrs

MARK = "…"
"""Replacement of a key. No key contains this character, so the texts beside it form no key."""

SHORTEST_KEY = 8
"""Shortest key in characters. A shorter one would be found in unrelated text. The last
characters of a key, as many as this, are redacted on their own, too: services quote them."""

_LONGEST_NAME = 200
_SHORTEST_PLAIN = 6
"""A key may itself contain what looks like an escape. Its unescaped form is searched for if it
has at least this many characters."""

_SHORTEST_PART = 4
"""If a cut text ends with at least this many first characters of a key, they are dropped."""

_MARK_BYTES = MARK.encode().decode("latin-1")
_PREFIX = re.compile(r"\A(?:sk|sess)-(?:admin-|proj-|svcacct-)?")
_ESCAPED = re.compile(
    r"\\\\*(?:(?:u00|x)([2-7][0-9a-fA-F]))?|%(?:25)*([2-7][0-9a-fA-F])|&#[xX]0*([2-7][0-9a-fA-F]);"
    r"|&#0*(3[3-9]|[4-9][0-9]|1[01][0-9]|12[0-6]);|&(amp|lt|gt|quot|apos);"
)
"""Escape of an ASCII character in JSON, Python, URLs or HTML, or else the backslashes before a
quoted character."""
_BEGUN_ESCAPE = re.compile(
    r"(?:\\+(?:u0{0,2}|x)?[2-7]?|%(?:25)*[2-7]?|&#?\w{0,6})\Z", re.IGNORECASE
)
_LONGEST_ESCAPE = 32
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LEVELS = 4
"""Most levels of escapes within escapes. Each level takes a pass over the text."""
_BASE64_RUN = re.compile(rf"[A-Za-z0-9+/_=-]{{{SHORTEST_KEY},}}")


def shortened(text: str, most: int = _LONGEST_NAME) -> str:
    """Cut a long text. Redact before: a key that is cut is not found any more."""
    return text if len(text) <= most else text[: most - 1] + "…"


@attrs.frozen
class Redactor:
    """Redactor of the keys of one client.

    Attributes:
        keys: Present key, and the keys before it.
    """

    keys: tuple[str, ...] = attrs.field(default=(), repr=False)

    def text(self, text: str) -> str:
        """Replace the keys in a text."""
        return self._without(text, MARK, is_cut=False) if self.keys else text

    def head(self, body: bytes, most: int | None = None) -> bytes:
        """Replace the keys in the first bytes of a body. JSON stays JSON.

        Args:
            body: Body as it came.
            most: Number of bytes to take; all if None. A key that the cut goes through is dropped.
        """
        head = body[:most]
        if not self.keys:
            return head
        text = head.decode("latin-1")
        redacted = self._without(text, _MARK_BYTES, is_cut=len(head) < len(body))
        return head if redacted is text else redacted.encode("latin-1")

    @cached_property
    def _written(self) -> tuple[tuple[str, str], ...]:
        """Spellings of the keys: the end of each spelling, and the whole."""
        written = (pair for key in map(str, self.keys) for pair in _spellings(key))
        return tuple(dict.fromkeys(written))

    @cached_property
    def _encoded(self) -> tuple[str, ...]:
        # The base64 of a key contains that of its end.
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
            # The base64 characters next to a match encode the other bits of the key's first and
            # last bytes.
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
"""Redactor of text that is read without a client."""


def _parts(key: str) -> tuple[str, ...]:
    """Give a key, and its part after the prefix if that is long enough to be a secret."""
    rest = _PREFIX.sub("", key)
    return (key, rest) if SHORTEST_KEY <= len(rest) < len(key) else (key,)


def _occurrences(text: str, end: str, whole: str) -> Iterator[tuple[int, int]]:
    """Find each occurrence of the end of a spelling, extended to the left while the text agrees."""
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
        # In a key that repeats itself, ends overlap.
        begin = text.find(end, begin + 1)


def _begun(text: str, secret: str) -> int:
    """Count the first characters of a secret that a text ends with; 0 if they are too few."""
    most = min(len(secret) - 1, len(text))
    parts = range(most, _SHORTEST_PART - 1, -1)
    return next((part for part in parts if text.endswith(secret[:part])), 0)


def _spellings(key: str) -> Iterator[tuple[str, str]]:
    """Give the spellings of a key by usual encoders, and the key after unescaping."""
    for spell in _SPELLINGS:
        yield spell(key[-SHORTEST_KEY:]), spell(key)
    plain = _unescaped(key)
    if len(plain) >= _SHORTEST_PLAIN:
        yield plain[-SHORTEST_KEY:], plain


def _backslashed(text: str) -> str:
    return text.replace("\\", "\\\\")


def _html_escaped(text: str) -> str:
    from html import escape  # with its table of all entities, few programs need it

    return escape(text)


_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe="")),
    lambda text: re.sub("%..", lambda match: match[0].lower(), quote(text, safe="")),
    _backslashed,
    lambda text: _backslashed(text).replace("'", "\\'"),
    lambda text: _backslashed(text).replace('"', '\\"'),
    _html_escaped,
)
"""Encoders that work by character. So the end of a spelling is the spelling of the end."""


def _in_base64(secret: str) -> Iterator[str]:
    """Give, for each of the three alignments, the base64 that only the secret determines."""
    data = secret.encode()
    for before in range(3):
        first, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + data)[first:end].decode()


def _may_be_escaped(text: str) -> bool:
    return "\\" in text or "%" in text or "&" in text


def _levels(text: str) -> Iterator[str]:
    """Give a text, then the unescaped text, then that unescaped again, and so on."""
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
    """Give the levels of a text, each with the index in the text of its characters and its end."""
    places = list(range(len(text) + 1))
    for level in _levels(text):
        if level != text:
            places = _moved(text, places)
        text = level
        yield text, places


def _moved(text: str, places: list[int]) -> list[int]:
    """Give the places of the characters that are left after unescaping."""
    places = places.copy()
    kept: list[int] = []
    end = 0
    for match in _ESCAPED.finditer(text):
        char = _meant(match)
        kept += places[end : match.start()]
        kept += places[match.start() : match.start() + len(char)]
        end = match.end()
        if not char:
            # A quoting backslash belongs to the character that it quotes.
            places[end] = places[match.start()]
    return kept + places[end:]


def _meant(match: re.Match[str]) -> str:
    """Give the character that an escape stands for."""
    if digits := match[1] or match[2] or match[3]:
        return chr(int(digits, 16))
    if match[4]:
        return chr(int(match[4]))
    return _NAMED[match[5]] if match[5] else ""
