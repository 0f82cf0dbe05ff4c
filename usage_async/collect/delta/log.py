"""Logs of Delta tables on this machine, mended after a power failure. Blocking."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

_TORN_AFTER_S = 60
"""Age in seconds above which a log file that cannot be read counts as torn: a younger one may still
be written."""

_log = logging.getLogger("usage_async")


def mended_log(folder: Path) -> bool:
    """Put aside the newest files of a log that a power failure has cut short.

    A commit that nobody can read has not happened, and so neither has the move of its place.

    Args:
        folder: Folder of the table.

    Returns:
        True if a file was put aside.
    """
    log = folder / "_delta_log"
    commits, checkpoints = sorted(log.glob("*.json")), sorted(log.glob("*.checkpoint.parquet"))
    torn = [file for file in commits[-1:] if not _is_whole_commit(file.read_bytes())]
    if [file for file in checkpoints[-1:] if not file.read_bytes().endswith(b"PAR1")]:
        # The file that names the newest checkpoint goes with it.
        torn += [checkpoints[-1], *log.glob("_last_checkpoint")]
    torn = [file for file in torn if time.time() - file.stat().st_mtime > _TORN_AFTER_S]
    for file in torn:
        _log.warning("%s is torn: put aside", file)
        file.rename(file.with_name(f"{file.name}.torn"))
    return bool(torn)


def _is_whole_commit(data: bytes) -> bool:
    try:
        return all(json.loads(line) for line in data.splitlines())
    except ValueError:
        return False
