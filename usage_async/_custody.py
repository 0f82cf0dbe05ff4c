"""The admin key: where it comes from, and how it is kept out of every text.

It reads the usage of a whole organization. From the moment that this library holds it, it is a
`Secret`: a string whose repr tells nothing, so that tracebacks with locals stay clean.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from usage_async.errors import ConfigurationError

KEY_VARIABLE = "OPENAI_ADMIN_KEY"
KEY_FILE_VARIABLE = "OPENAI_ADMIN_KEY_FILE"

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_ADMIN_PREFIX = "sk-admin-"

_log = logging.getLogger("usage_async")

KeySource = str | Callable[[], Awaitable[str]]
"""A key, or what is awaited for one; asked again after a 401, so that keys can rotate."""


class Secret(str):
    """A string whose repr does not tell it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


def conceal(source: KeySource | None) -> KeySource | None:
    """Make a key that was handed in a `Secret`; to be called before anything can fail."""
    return Secret(source) if isinstance(source, str) else source


@attrs.define(eq=False)
class KeyCustody:
    """Holds the key of one client, and makes the header that carries it."""

    _source: KeySource | None = attrs.field(repr=False)
    _key: Secret | None = attrs.field(default=None, init=False, repr=False)
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self._source, str):
            self._key = _checked(Secret(self._source))

    async def authorization(self) -> dict[str, str]:
        """Give the `Authorization` header; no header where there is no key."""
        if self._key is None and self._source is not None:
            await self.renew(None)
        return {"Authorization": Secret(f"Bearer {self._key:s}")} if self._key else {}

    async def renew(self, refused: str | None) -> bool:
        """Ask for the key again.

        Args:
            refused: The `Authorization` that the service refused.

        Returns:
            Whether there is another key than the refused one.
        """
        if self._source is None or isinstance(self._source, str):
            return False
        async with self._lock:
            if refused == (self._key and f"Bearer {self._key:s}"):
                self._key = _checked(Secret(await self._source()))
        return refused != f"Bearer {self._key:s}"


def find_key() -> Secret:
    """Read the key from the environment.

    Raises:
        ConfigurationError: There is none, or its file cannot be read.
    """
    if key := os.environ.get(KEY_VARIABLE):
        return Secret(key)
    file = os.environ.get(KEY_FILE_VARIABLE)
    if not file:
        msg = f"no admin key: set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}, or pass admin_key"
        raise ConfigurationError(msg)
    try:
        return Secret(Path(file).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
    msg = f"{KEY_FILE_VARIABLE} names {file}, which cannot be read: {reason}"
    raise ConfigurationError(msg)


def _checked(key: Secret) -> Secret:
    if not _PRINTABLE.fullmatch(key):
        msg = "the admin key is empty, or holds blanks, line ends or characters beyond ASCII"
        raise ConfigurationError(msg)
    if not key.startswith(_ADMIN_PREFIX):
        _log.warning("the key does not start with %s; usage needs an admin key", _ADMIN_PREFIX)
    return key
