"""Paths that may be requested. Pure."""

from __future__ import annotations

import re

_ALLOWED = re.compile(r"/organization/[A-Za-z0-9_/-]+")


def is_allowed(path: str) -> bool:
    """Tell if a path below the base URL may be requested: those of an organization only."""
    # `match` with a `$` would let a newline at the end pass.
    return _ALLOWED.fullmatch(path) is not None
