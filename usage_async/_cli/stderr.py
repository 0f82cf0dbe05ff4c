"""Standard error: messages without the admin key; one that cannot be written is dropped.

Every message passes through here, because a key may stand in it by mistake: given as a period, a
path or a proxy, it would otherwise be quoted in the error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from usage_async.report.formatting import clean

_LONGEST_FILE = 4096
"""Characters; longer than any key."""


def without_keys(text: str) -> str:
    """Remove the admin key of the environment, and anything that looks like a key."""
    from usage_async._codec.redactor import SHORTEST_KEY, Redactor
    from usage_async.errors import redact

    # Libraries write the names of hosts in lowercase, even one that is a key.
    keys = (form for key in _keys() for form in (key, key.lower()) if len(key) >= SHORTEST_KEY)
    return redact(Redactor(tuple(dict.fromkeys(keys))).text(text))


def write_line(line: str) -> None:
    """Write one line, without keys and control characters."""
    write(f"usage-async: {clean(without_keys(line))}\n")


def write(text: str) -> None:
    """Write a text that has no keys; if it cannot be written, it is dropped."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        # Python would try to write it again at exit, and fail with another exit code.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end


def _keys() -> Iterator[str]:
    """Give the keys of the environment, even one in the variable that should hold a path."""
    from usage_async._http.key import KEY_FILE_VARIABLE, KEY_VARIABLE

    yield os.environ.get(KEY_VARIABLE, "").strip()
    path = os.environ.get(KEY_FILE_VARIABLE, "")
    if not os.path.lexists(path):
        yield path
    # Not from a pipe: reading would take the key away from its next reader.
    elif Path(path).is_file():
        with suppress(OSError, ValueError), Path(path).open(encoding="ascii") as file:
            yield file.read(_LONGEST_FILE).strip()
