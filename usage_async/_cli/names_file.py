"""The names that the terminal keeps: one file for each admin key, in the user's cache folder.

A list of names forgets what is deleted, and usage of deleted keys is shown for a year. So the
terminal adds what it reads to what it has read before. The file holds ids, names and addresses and
nothing else. Only its owner may read it. Its name is a hash of the address and the admin key, since
nothing else tells organizations apart before the first reading.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from usage_async._api.interval import DAY_S
from usage_async._api.names import ApiKey, Project, User
from usage_async._client.files import replacing
from usage_async._client.names import Names
from usage_async._codec.converter import dumps, loads
from usage_async.errors import ResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOLDER = ("usage-async", "names")
_HASH_BYTES = 16

_log = logging.getLogger("usage_async")


@attrs.frozen
class KeptNames:
    """Names as a file keeps them.

    Attributes:
        recent: Those that were read since an instant, and need not be read again.
        since: That instant, Unix seconds.
        older: Those that were read before, for what was deleted since.
    """

    recent: Names = attrs.field(factory=Names)
    since: int = 0
    older: Names = attrs.field(factory=Names)

    def at(self, now: int) -> KeptNames:
        """Give the same after a day: everything is read again, since names change."""
        if 0 <= now - self.since < DAY_S:
            return self
        return KeptNames(since=now, older=self.recent.merged(self.older))

    def merged(self, other: KeptNames) -> KeptNames:
        """Add what only another terminal has kept."""
        if abs(self.since - other.since) < DAY_S:
            recent, since = self.recent.merged(other.recent), min(self.since, other.since)
            return KeptNames(recent, since, self.older.merged(other.older))
        older = self.older.merged(other.recent).merged(other.older)
        return attrs.evolve(self, older=older)


@attrs.frozen
class NamesFile:
    """A file of names.

    Attributes:
        path: Its place; the folder need not exist.
    """

    path: Path

    def load(self) -> KeptNames:
        """Read the file; what is none, or is broken, is as if nothing had been kept."""
        try:
            return self._read()
        except FileNotFoundError:
            pass
        except (OSError, ResponseError) as error:
            _log.warning("the names in %s are not used: %s", self.path, _reason(error))
        return KeptNames()

    def save(self, kept: KeptNames) -> None:
        """Replace the file; the names are shown all the same where that is impossible.

        What another terminal has written since the file was loaded stays in it.
        """
        with suppress(OSError, ResponseError):
            kept = kept.merged(self._read())
        data = dumps(attrs.evolve(kept, recent=bare(kept.recent), older=bare(kept.older)))
        try:
            self._replace(data)
        except OSError as error:
            _log.info("the names are not kept in %s: %s", self.path, _reason(error))

    def _read(self) -> KeptNames:
        return loads(self.path.read_bytes(), KeptNames)

    def _replace(self, data: bytes) -> None:
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(self.path, mode=0o600) as file:
            file.write(data)


def names_file(
    base_url: str, key: str, environment: Mapping[str, str] = os.environ
) -> NamesFile | None:
    """Find the file of a key; None where the user has no cache folder.

    Args:
        base_url: Address of the service.
        key: The admin key; the file's name is a hash of both.
        environment: Variables that name the folder.
    """
    folder = cache_folder(environment)
    if folder is None:
        return None
    text = "\0".join((base_url.rstrip("/"), key)).encode()
    digest = hashlib.blake2b(text, digest_size=_HASH_BYTES, person=b"usage-async name")
    return NamesFile(folder.joinpath(*_FOLDER, f"{digest.hexdigest()}.json"))


def cache_folder(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path | None:
    """Find the user's cache folder, as the platform names it; None where there is none.

    Args:
        environment: Variables: `XDG_CACHE_HOME` counts everywhere.
        platform: As `sys.platform` writes it.
    """
    # https://specifications.freedesktop.org/basedir-spec: a relative path is to be ignored.
    candidates = [environment.get("XDG_CACHE_HOME", "")]
    if platform == "win32":
        candidates.append(environment.get("LOCALAPPDATA", ""))
    else:
        with suppress(RuntimeError):
            below = "Library/Caches" if platform == "darwin" else ".cache"
            candidates.append(str(Path.home() / below))
    return next((Path(each) for each in candidates if each and Path(each).is_absolute()), None)


def bare(names: Names) -> Names:
    """Leave out everything but ids, names and addresses."""
    return Names(
        projects=[Project(id=each.id, name=each.name) for each in names.projects.values()],
        users=[User(id=each.id, name=each.name, email=each.email) for each in names.users.values()],
        api_keys=[
            ApiKey(id=each.id, name=each.name, project_id=each.project_id)
            for each in names.api_keys.values()
        ],
    )


def _reason(error: OSError | ResponseError) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it fails"
    return "it is not what this program writes"
