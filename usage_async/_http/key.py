"""The admin key: where it comes from, and how it is kept out of every text.

It reads the usage of a whole organization. From the moment that this library holds it, it is a
`Secret`: a string whose repr tells nothing, so that tracebacks with locals stay clean. What comes
back from the service may echo it: `KeyCustody.redactor` takes it out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import SupportsIndex, cast

import attrs

from usage_async._codec.redactor import SHORTEST_KEY, Redactor
from usage_async.errors import ConfigurationError

KEY_VARIABLE = "OPENAI_ADMIN_KEY"
KEY_FILE_VARIABLE = "OPENAI_ADMIN_KEY_FILE"

PRINTABLE = re.compile(r"[\x21-\x7e]+")
_ADMIN_PREFIX = "sk-admin-"
_KEYS_REDACTED = 64
"""Keys that are remembered to be taken out of texts: a late reply may echo an old one. To
look for so many in a text of 16 KiB takes 0.6 ms."""

_log = logging.getLogger("usage_async")

KeySource = str | Callable[[], Awaitable[str]]
"""A key, or what is awaited for one; asked again after a 401, so that keys can rotate."""


class Secret(str):
    """A string whose repr does not tell it, nor that of its parts."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __getitem__(self, index: SupportsIndex | slice) -> Secret:
        # What prints locals cuts long strings before it asks for their repr.
        return Secret(super().__getitem__(index))


def concealed(text: str | None) -> str | None:
    """Make an option a `Secret`, since a key may be in it by mistake, or a password."""
    return Secret(text) if isinstance(text, str) else text


def conceal(source: object) -> KeySource | None:
    """Make a key that was handed in a `Secret`; to be called before anything can fail."""
    if isinstance(source, str):
        return Secret(source)
    is_source = source is None or callable(source)
    return cast("KeySource | None", source) if is_source else Secret()


@attrs.define(eq=False)
class KeyCustody:
    """Holds the key of one client, and makes the header that carries it.

    Attributes:
        redactor: Takes the key out of what the service says; after a rotation the old one, too.
    """

    _source: KeySource | None = attrs.field(repr=False)
    _key: Secret | None = attrs.field(default=None, init=False, repr=False)
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False, repr=False)
    _times_asked: int = attrs.field(default=0, init=False)
    redactor: Redactor = attrs.field(factory=Redactor, init=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self._source, str):
            self._take(self._source)

    async def authorization(self) -> dict[str, str]:
        """Give the `Authorization` header; no header where there is no key."""
        if self._key is None and self._source is not None:
            await self.renew(None)
        bearer = self._bearer()
        return {} if bearer is None else {"Authorization": bearer}

    async def renew(self, refused: str | None) -> bool:
        """Ask for the key again.

        Args:
            refused: The `Authorization` that the service refused.

        Returns:
            Whether there is another key than the refused one.
        """
        if self._source is None or isinstance(self._source, str):
            return False
        times_asked = self._times_asked
        async with self._lock:
            # Whoever waited for the lock, waited for the answer.
            if times_asked != self._times_asked or refused != self._bearer():
                return refused != self._bearer()
            self._take(conceal(await self._source()))
            self._times_asked += 1
        return refused != self._bearer()

    def _take(self, key: object) -> None:
        self._key = _checked(key)
        keys = dict.fromkeys((self._key, *self.redactor.keys))
        self.redactor = Redactor(tuple(keys)[:_KEYS_REDACTED])

    def _bearer(self) -> Secret | None:
        return None if self._key is None else Secret("Bearer " + self._key)


def find_key() -> Secret:
    """Read the key from the environment.

    Raises:
        ConfigurationError: There is none, or its file cannot be read.
    """
    if key := os.environ.get(KEY_VARIABLE):
        return Secret(key)
    file = Secret(os.environ.get(KEY_FILE_VARIABLE, ""))
    if not file:
        msg = f"no admin key: set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}, or pass admin_key"
        raise ConfigurationError(msg)
    try:
        return Secret(Path(file).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
    # A value that is the path of nothing may be the key itself.
    named = f"names {file}" if os.path.lexists(file) else "holds what is the path of no file"
    raise ConfigurationError(f"{KEY_FILE_VARIABLE} {named}: it cannot be read: {reason}")


def _checked(key: object) -> Secret:
    if not isinstance(key, Secret) or len(key) < SHORTEST_KEY or not PRINTABLE.fullmatch(key):
        msg = (
            f"the admin key is not a text, is shorter than {SHORTEST_KEY} characters, or holds"
            " blanks or what is not ASCII"
        )
        raise ConfigurationError(msg)
    if not key.startswith(_ADMIN_PREFIX):
        _log.warning("the key does not start with %s; usage needs an admin key", _ADMIN_PREFIX)
    return key
