r"""Text of a service without the keys that it was sent, however it spells them.

A service that is broken, or that wants to be helpful, echoes the key: in an error's message, a
header, the name of a field, escaped for JSON or HTML, percent-encoded, within base64. What looks
like a key is known by `errors.redact`; a client's own key is known by itself, whatever it looks
like. Text is redacted before it is cut, since nobody recognises a part of a key.

    text, as it came
        |  "\u002d", "%2D", "&#45;" -> "-", again until nothing changes
    text without escapes
        |  the key, what follows its prefix, and what base64 makes of them at each alignment
    text, as it came, without what was found
        |  what a key that holds `\`, `%` or `&` looks like, and unescaping took for an escape
    text without the key
"""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from functools import cached_property
from urllib.parse import quote

import attrs

MARK = "…"
"""Stands for a key. No key holds it, so that what is left around it never makes up a key."""

SHORTEST_KEY = 8
"""Characters; what is shorter would be found in texts that have nothing to do with it."""

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
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")


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
    def _secrets(self) -> tuple[str, ...]:
        """The keys, and what follows their prefixes; a key stands before its own parts."""
        keys = tuple(map(str, self.keys))
        rests = (_PREFIX.sub("", key) for key in keys)
        return tuple(dict.fromkeys((*keys, *(rest for rest in rests if _is_long(rest)))))

    @cached_property
    def _literals(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(form for key in self._secrets for form in _spellings(key)))

    @cached_property
    def _plain(self) -> tuple[str, ...]:
        plain = map(_unescaped, self._secrets)
        return tuple(secret for secret in plain if len(secret) >= _SHORTEST_PLAIN)

    @cached_property
    def _encoded(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(form for key in self._secrets for form in _in_base64(key)))

    def _without(self, text: str, mark: str, *, is_cut: bool) -> str:
        plain = _unescaped(text)
        if any(form in plain for form in (*self._plain, *self._encoded)):
            text = self._without_spelled(text, mark)
        for literal in self._literals:
            text = text.replace(literal, mark)
        return self._without_begun(text) if is_cut else text

    def _without_spelled(self, text: str, mark: str) -> str:
        plain, places = _placed(text)
        kept, found, pieces = 0, 0, []
        for match in re.finditer("|".join(map(re.escape, (*self._plain, *self._encoded))), plain):
            begin, end = match.span()
            if match[0] in self._encoded:
                # The characters around tell the rest of its first and last bytes.
                while begin > found and plain[begin - 1] in _BASE64:
                    begin -= 1
                while end < len(plain) and plain[end] in _BASE64:
                    end += 1
            begin = max(begin, found)
            if begin < end:
                pieces += [text[kept : places[begin]], mark]
                kept, found = places[end], end
        return "".join([*pieces, text[kept:]])

    def _without_begun(self, text: str) -> str:
        """Drop the beginning of a key from the end of a text."""
        text = text[:-_LONGEST_ESCAPE] + _BEGUN_ESCAPE.sub("", text[-_LONGEST_ESCAPE:])
        plain, places = _placed(text)
        begun = max(_begun(plain, form) for form in (*self._plain, *self._encoded))
        return text[: places[len(plain) - begun]]


NO_KEY = Redactor()
"""For text that is read without a client."""


def _is_long(secret: str) -> bool:
    return len(secret) >= SHORTEST_KEY


def _begun(text: str, secret: str) -> int:
    """Count the characters of a secret that a text ends with; 0 where too few to matter."""
    most = min(len(secret) - 1, len(text))
    parts = range(most, _SHORTEST_PART - 1, -1)
    return next((part for part in parts if text.endswith(secret[:part])), 0)


def _spellings(secret: str) -> Iterator[str]:
    """Spell a secret that holds what begins an escape; any other is known without escapes."""
    yield secret
    if _ESCAPED.search(secret):
        quoted = quote(secret, safe="")
        yield from (quoted, re.sub("%..", lambda match: match[0].lower(), quoted))
        yield from (json.dumps(secret)[1:-1], repr(secret)[1:-1])


def _in_base64(secret: str) -> Iterator[str]:
    """Give the characters of base64 that a secret alone decides on, at each alignment."""
    data = secret.encode()
    for before in range(3):
        first, end = -(-8 * before // 6), 8 * (before + len(data)) // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + data)[first:end].decode()


def _may_be_escaped(text: str) -> bool:
    return "\\" in text or "%" in text or "&" in text


def _unescaped(text: str) -> str:
    """Undo escapes, and escapes of escapes."""
    for _ in range(_LEVELS):
        if not _may_be_escaped(text):
            break
        text = _ESCAPED.sub(_meant, text)
    return text


def _placed(text: str) -> tuple[str, list[int]]:
    """Undo escapes; tell of each character, and of the end, where it stood in the text."""
    places = list(range(len(text) + 1))
    for _ in range(_LEVELS):
        if not _may_be_escaped(text):
            break
        pieces: list[str] = []
        kept: list[int] = []
        end = 0
        for match in _ESCAPED.finditer(text):
            char = _meant(match)
            pieces += [text[end : match.start()], char]
            kept += places[end : match.start()]
            kept += places[match.start() : match.start() + len(char)]
            end = match.end()
            if not char:
                # A quoting backslash belongs to what it quotes.
                places[end] = places[match.start()]
        text, places = "".join([*pieces, text[end:]]), kept + places[end:]
    return text, places


def _meant(match: re.Match[str]) -> str:
    """Give what an escape stands for."""
    if digits := match[1] or match[2] or match[3]:
        return chr(int(digits, 16))
    if match[4]:
        return chr(int(match[4]))
    return _NAMED[match[5]] if match[5] else ""
