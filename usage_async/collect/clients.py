"""Clients of organizations, each with a key from a source of its own.

No message quotes what may be a key, or what a command prints.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import attrs

from usage_async._client.client import UsageClient
from usage_async._http.key import Secret, find_key
from usage_async.collect.organizations import Organization
from usage_async.errors import ConfigurationError

_PLAIN_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,62}")
"""Names of variables that messages show. Any other name may be a key, given by mistake."""
_UNSHOWN = "the variable that key_variable names"
_COMMAND_S = 30.0
"""Seconds after which the command that prints a key is killed."""

_LONGEST = 65_536
"""Most bytes that such a command may print."""
_NEXT_LOOK_S = 0.01
"""Seconds between two looks if a command that was killed has ended."""

ClientOf = Callable[..., UsageClient]
"""Function that makes the client of an organization: `(organization, **options)`."""


def client_of(organization: Organization, **options: Any) -> UsageClient:
    """Make the client of an organization, whose key is read from its source at the first request.

    Args:
        organization: The organization.
        options: Options of the client.

    Raises:
        ConfigurationError: An option is invalid.
    """
    return UsageClient(
        _Key(organization).read,
        base_url=organization.base_url,
        organization=organization.organization_id,
        settle_after=organization.settle_after,
        **options,
    )


@attrs.define(eq=False)
class _Key:
    """Key of an organization. A source that failed is not asked again for every feed."""

    _organization: Organization
    _failure: str | None = attrs.field(default=None, init=False)

    async def read(self) -> Secret:
        if self._failure is None:
            try:
                return await read_key(self._organization)
            except ConfigurationError as error:
                self._failure = error.message
        raise ConfigurationError(self._failure)


async def read_key(organization: Organization) -> Secret:
    """Read the key of an organization from its source.

    Raises:
        ConfigurationError: It cannot be read. The message does not quote what may be the key.
    """
    if organization.key_variable is not None:
        return _key_of_variable(organization.key_variable)
    if organization.key_file is not None:
        return await asyncio.to_thread(_key_of_file, organization.key_file)
    if organization.key_command:
        return await _key_of_command(organization.key_command)
    return await asyncio.to_thread(find_key)


def _key_of_variable(name: str) -> Secret:
    if key := os.environ.get(name, "").strip():
        return Secret(key)
    shown = f"{name}, the variable of the key," if _PLAIN_VARIABLE.fullmatch(name) else _UNSHOWN
    raise ConfigurationError(f"{shown} is not set")


def _key_of_file(name: str) -> Secret:
    file = Path(os.path.expanduser(name))  # noqa: PTH111 - that of pathlib raises for `~nobody`
    try:
        return Secret(file.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
    # A name that is no file may be the key by mistake.
    shown = f"{file}, the file of the key," if os.path.lexists(file) else "the file of the key"
    raise ConfigurationError(f"{shown} cannot be read: {reason}")


async def _key_of_command(command: Sequence[str]) -> Secret:
    """Run a command that prints a key. Its own messages are dropped: they may hold the key."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # Its children end with it.
            start_new_session=sys.platform != "win32",
        )
    except (OSError, ValueError) as error:
        reason = f"cannot be run: {getattr(error, 'strerror', None) or 'its arguments are wrong'}"
    else:
        printed = await _printed(process)
        if isinstance(printed, Secret):
            return printed
        reason = printed
    raise ConfigurationError(f"the command of the key {reason}")


async def _printed(process: asyncio.subprocess.Process) -> Secret | str:
    """Give what a command prints, or the reason why it is no key."""
    try:
        async with asyncio.timeout(_COMMAND_S):
            printed = await _read(process)
            await process.wait()
    except TimeoutError:
        return f"printed no key within {_COMMAND_S:g} s"
    finally:
        await _end(process)
    if len(printed) > _LONGEST:
        return "printed more than a key"
    if process.returncode != 0:
        return f"failed with exit code {process.returncode}; run it by hand to see why"
    return Secret(printed.decode("ascii", "replace").strip())


async def _read(process: asyncio.subprocess.Process) -> bytes:
    """Read all that a command prints, and end one that prints more than a key."""
    printed, stdout = b"", cast("asyncio.StreamReader", process.stdout)
    while chunk := await stdout.read(_LONGEST + 1):
        printed += chunk
        if len(printed) > _LONGEST:
            _kill(process)
    return printed


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.kill() if sys.platform == "win32" else os.killpg(process.pid, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _kill(process)
    while process.returncode is None:  # noqa: ASYNC110 - there is no event for it
        # `process.wait` would also wait for the end of a pipe that nobody reads any more.
        await asyncio.sleep(_NEXT_LOOK_S)
