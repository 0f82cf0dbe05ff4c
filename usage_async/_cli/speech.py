"""Words to a person on standard error: without the admin key, and without harm if nobody hears.

Everything that an error says passes here, so that a key that was put into a wrong place, such as a
period, a path or a proxy, is not told.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from usage_async.report.text import clean

_LONGEST_FILE = 4096
"""Bytes; no key is as long."""


def told(text: str) -> str:
    """Give a text without the admin key of the environment, and without what looks like one."""
    from usage_async._codec.redactor import SHORTEST_KEY, Redactor
    from usage_async.errors import redact

    # The name of a host is lowercase, wherever it comes from.
    keys = (form for key in _keys() for form in (key, key.lower()) if len(key) >= SHORTEST_KEY)
    return redact(Redactor(tuple(dict.fromkeys(keys))).text(text))


def say(line: str) -> None:
    """Write a line."""
    write(f"usage-async: {clean(told(line))}\n")


def write(text: str) -> None:
    """Write a text that was `told`; what cannot be written is lost, and changes no exit code."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # It would fail once more at the end of the process.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end


def _keys() -> Iterator[str]:
    """Give the keys that the environment holds, also where the path of one should be."""
    from usage_async._http.key import KEY_FILE_VARIABLE, KEY_VARIABLE

    yield os.environ.get(KEY_VARIABLE, "").strip()
    path = os.environ.get(KEY_FILE_VARIABLE, "")
    if not os.path.lexists(path):
        yield path
    # Reading a pipe would take the key away from whoever reads it next.
    elif Path(path).is_file():
        with suppress(OSError, ValueError), Path(path).open(encoding="ascii") as file:
            yield file.read(_LONGEST_FILE).strip()
