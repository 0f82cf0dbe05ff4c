"""Custody of the admin key: its sources, its checks, its header, and its redaction.

The key can read the usage of a whole organization. This library holds it as a `Secret` from the
start: a string whose repr does not show it, so that tracebacks with locals stay clean. The service
may echo the key. `KeyCustody.redactor` removes it from all text of the service.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import SupportsIndex, cast

import attrs

from usage_async._codec.redactor import SHORTEST_KEY, Redactor
from usage_async.errors import ConfigurationError

KEY_VARIABLE = "OPENAI_ADMIN_KEY"
KEY_FILE_VARIABLE = "OPENAI_ADMIN_KEY_FILE"
NO_KEY = "no admin key"
"""Beginning of the message that there is none."""

PRINTABLE = re.compile(r"[\x21-\x7e]+")
_ADMIN_PREFIX = "sk-admin-"
_KEYS_REDACTED = 64
"""Most keys that the redactor of a client knows. A late reply may echo an earlier key. Searching a
text of 16 KiB for 64 keys takes 0.6 ms."""

_log = logging.getLogger("usage_async")

KeySource = str | Callable[[], Awaitable[str]]
"""A key, or an async callable that gives one. It is called again after a 401: keys can rotate."""


class Secret(str):
    """String whose repr, and that of its parts, does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __getitem__(self, index: SupportsIndex | slice) -> Secret:
        # Printers of locals shorten long strings before they call `repr`.
        return Secret(super().__getitem__(index))


def conceal_option(text: str | None) -> str | None:
    """Make an option a `Secret`; it may hold a password or, by mistake, a key."""
    return Secret(text) if isinstance(text, str) else text


def conceal_key(source: object) -> KeySource | None:
    """Make a caller's key a `Secret`, before any frame that holds it can fail."""
    if isinstance(source, str):
        return Secret(source)
    is_source = source is None or callable(source)
    return cast("KeySource | None", source) if is_source else Secret()


@attrs.define(eq=False)
class KeyCustody:
    """Holder of the key of one client; it makes the header that carries the key.

    Attributes:
        redactor: Removes the key, and the keys before it, from text of the service.
    """

    _source: KeySource | None = attrs.field(repr=False)
    _key: Secret | None = attrs.field(default=None, init=False, repr=False)
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False, repr=False)
    _header: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    _times_asked: int = attrs.field(default=0, init=False)
    redactor: Redactor = attrs.field(factory=Redactor, init=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self._source, str):
            self._take(self._source)

    async def authorization(self) -> Mapping[str, str]:
        """Give the `Authorization` header; no header if there is no key."""
        if self._key is None and self._source is not None:
            await self.renew(None)
        return self._header

    async def renew(self, refused: str | None) -> bool:
        """Ask for the key again.

        Args:
            refused: Value of the `Authorization` header that the service refused.

        Returns:
            True if the key differs from the refused one.
        """
        if self._source is None or isinstance(self._source, str):
            return False
        times_asked = self._times_asked
        async with self._lock:
            # Another request may have asked while this one waited for the lock.
            if times_asked != self._times_asked or refused != self._bearer():
                return refused != self._bearer()
            self._take(conceal_key(await self._source()))
            self._times_asked += 1
        return refused != self._bearer()

    def _take(self, key: object) -> None:
        self._key = _checked(key)
        self._header = {"Authorization": Secret("Bearer " + self._key)}
        keys = dict.fromkeys((self._key, *self.redactor.keys))
        self.redactor = Redactor(tuple(keys)[:_KEYS_REDACTED])

    def _bearer(self) -> str | None:
        return self._header.get("Authorization")


def find_key() -> Secret:
    """Read the key from the environment.

    Raises:
        ConfigurationError: There is no key, or its file cannot be read.
    """
    if key := os.environ.get(KEY_VARIABLE):
        return Secret(key)
    file = Secret(os.environ.get(KEY_FILE_VARIABLE, ""))
    if not file:
        msg = f"{NO_KEY}: set {KEY_VARIABLE} or {KEY_FILE_VARIABLE}, or pass admin_key"
        raise ConfigurationError(msg)
    try:
        return Secret(Path(file).read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
    # A value that names no file may be the key itself, and is not shown.
    named = f"names {file}" if os.path.lexists(file) else "holds no path of a file"
    raise ConfigurationError(f"{KEY_FILE_VARIABLE} {named}: it cannot be read: {reason}")


def _checked(key: object) -> Secret:
    if not isinstance(key, Secret) or len(key) < SHORTEST_KEY or not PRINTABLE.fullmatch(key):
        msg = (
            f"the admin key must be a string of at least {SHORTEST_KEY} printable ASCII"
            " characters without blanks"
        )
        raise ConfigurationError(msg)
    if not key.startswith(_ADMIN_PREFIX):
        _log.warning("the key does not start with %s; usage needs an admin key", _ADMIN_PREFIX)
    return key
