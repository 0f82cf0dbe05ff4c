"""Organizations to collect: plain values that name the source of a key, and the file of them.

A value never holds a key, so that it can be printed, pickled and sent to another machine. The key
is read where the work is done.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from usage_async._api.pages import SETTLES_AFTER
from usage_async._codec.redactor import Redactor
from usage_async._http.key import Secret
from usage_async._query.times import parse_time
from usage_async.collect.feed import Feed, default_feeds
from usage_async.errors import ConfigurationError, QueryError, UsageError, redact

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names of organizations. Delta Lake has them in the names of folders, so few characters do."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"(?<![A-Za-z0-9])(?:sk|sess)-[A-Za-z0-9_-]{12,}")
"""The form of a key. `redact` also finds short ones, but takes `task-force` for one."""
_SOURCES = ("key_variable", "key_file", "key_command")
_ONE_SOURCE = "key_variable, key_file or key_command"
_TEXTS = ("name", "key_variable", "key_file", "base_url", "organization_id", "settle_after")
_KINDS: tuple[tuple[str, type, str], ...] = (
    ("endpoint", str, "text"),
    ("bucket_width", str, "text"),
    ("table", str, "text"),
    ("group_by", list, "list"),
    ("filters", dict, "table"),
)
"""Entries of a feed, the types of their values, and words for those."""
_DEFAULTS = ("feeds", "settle_after", "base_url")
"""Entries that may also stand at the top of the file, as defaults of all organizations."""


def _feeds(given: Any) -> tuple[Feed, ...]:
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ConfigurationError(f'feeds takes a list, such as ["costs:1d"], not {given!r}')
    if not (feeds := distinct(map(_feed, given))):
        raise ConfigurationError("feeds is empty: leave it out for the default ones, or name some")
    return feeds


def distinct(given: Iterable[Feed | str]) -> tuple[Feed, ...]:
    """Read feeds, and check that each has a table of its own.

    Raises:
        QueryError: There is no such feed.
        ConfigurationError: Two feeds have the same table.
    """
    feeds = tuple(Feed.parse(each) if isinstance(each, str) else each for each in given)
    tables: dict[str, Feed] = {}
    for feed in feeds:
        if feed.table in tables:
            raise ConfigurationError(
                f"the feeds {tables[feed.table]} and {feed} have the same table, {feed.table}:"
                " leave one out, or name another table"
            )
        tables[feed.table] = feed
    return feeds


def _feed(given: Any) -> Feed:
    if isinstance(given, Feed):
        return given
    if isinstance(given, str):
        return Feed.parse(given)
    known = [a.name for a in attrs.fields(Feed)]
    if not isinstance(given, Mapping) or "endpoint" not in given:
        raise ConfigurationError(
            f'a feed is written "costs:1d" or {{ endpoint = … }}, not {given!r}'
        )
    if unknown := sorted(given.keys() - known):
        raise ConfigurationError(f"a feed has no {', '.join(unknown)}; it has {', '.join(known)}")
    for name, kind, word in _KINDS:
        if not isinstance(given.get(name, kind()), kind):
            raise ConfigurationError(f"{name} of a feed must be a {word}, not {given[name]!r}")
    return Feed(**given)


def _command(given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(each, str) for each in given):
        raise ConfigurationError(
            'key_command takes a list such as ["pass", "show", "openai"], which no shell reads'
        )
    return tuple(given)


def _length(given: Any) -> timedelta:
    length: object = None
    with suppress(QueryError):
        # Its message also tells of instants.
        length = parse_time("settle_after", given)
    if not isinstance(length, timedelta):
        raise ConfigurationError(f'settle_after takes a length of time such as "3d", not {given!r}')
    return length


@attrs.frozen
class Organization:
    """An organization to collect. It holds the name of its key's source, never a key.

    Attributes:
        name: Its name in the store: letters, digits, `.`, `_` and `-`, at most 63.
        key_variable: Environment variable that holds the key.
        key_file: File that holds the key.
        key_command: Command that prints the key, as a list of arguments; it is killed after 30
            seconds. Without any source the key is found as `UsageClient` finds it.
        feeds: Its feeds, as `Feed` or as text such as `"costs:1d"`; by default `default_feeds()`.
        base_url: URL of the API, as for `UsageClient`.
        organization_id: Id of the organization, for a key of several organizations.
        settle_after: Time for which figures may still be revised, also as text such as `"3d"`.

    Raises:
        ConfigurationError: A value cannot be used, or looks like a key.
        QueryError: There is no such feed.
    """

    name: str
    key_variable: str | None = attrs.field(default=None, kw_only=True)
    key_file: str | None = attrs.field(default=None, kw_only=True)
    key_command: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_command)
    feeds: tuple[Feed, ...] = attrs.field(factory=default_feeds, kw_only=True, converter=_feeds)
    base_url: str | None = attrs.field(default=None, kw_only=True, repr=False)
    organization_id: str | None = attrs.field(default=None, kw_only=True)
    settle_after: timedelta = attrs.field(default=SETTLES_AFTER, kw_only=True, converter=_length)

    def __attrs_post_init__(self) -> None:
        if wrong := self._wrong():
            raise ConfigurationError(wrong)

    def _wrong(self) -> str | None:
        """Describe the first value that cannot be used, without quoting one that may be a key."""
        for name in (*_TEXTS[:-1], "key_command"):
            if wrong := _wrong_text(getattr(self, name), is_needed=name == "name"):
                return f"{name} {wrong}"
        if not _NAME.fullmatch(self.name):
            return (
                f"{self.name!r} cannot be the name of an organization: use letters, digits, '.',"
                " '_' and '-', at most 63, and begin with a letter or a digit"
            )
        if len([name for name in _SOURCES if getattr(self, name)]) > 1:
            return f"there are several sources of the key: leave only one of {_ONE_SOURCE}"
        if self.key_variable and not _VARIABLE.fullmatch(self.key_variable):
            return "key_variable is not the name of an environment variable"
        return None if self.base_url is None else _wrong_url(self.base_url)


def _wrong_text(value: Any, *, is_needed: bool) -> str | None:
    """Describe why a value, or one of a tuple, is no text or holds a key; None if it is fine."""
    texts = value if isinstance(value, tuple) else (value,)
    if any(isinstance(text, str) and _KEY.search(text) for text in texts):
        return f"holds a key: {_INSTEAD}"
    is_text = all(isinstance(text, str) or (text is None and not is_needed) for text in texts)
    return None if is_text else "must be a text"


_INSTEAD = "name the variable, the file or the command that has it"


def _wrong_url(text: str) -> str | None:
    from usage_async._http.transport import check_base_url

    try:
        check_base_url(text, Redactor())
    except ConfigurationError as error:
        return error.message
    return None


def check_organizations(organizations: Sequence[Organization]) -> None:
    """Check that the figures of organizations do not mix in a store.

    Raises:
        ConfigurationError: Two have the same name or the same key, or different feeds have the same
            table.
    """
    names: set[str] = set()
    keys: dict[tuple[Any, ...], str] = {}
    tables: dict[str, Feed] = {}
    for each in organizations:
        # Folders of some file systems differ in case only.
        if each.name.casefold() in names:
            raise ConfigurationError(
                f"there are two organizations {each.name!r}: give each a name of its own"
            )
        names.add(each.name.casefold())
        source = tuple(getattr(each, name) for name in _SOURCES)
        place = (_service(each.base_url), each.organization_id)
        first = keys.setdefault((source, *place), each.name)
        if first != each.name:
            raise ConfigurationError(
                f"{first!r} and {each.name!r} have the same key, so their figures would count"
                " twice: leave one out, or give each its organization_id"
            )
        for feed in each.feeds:
            if tables.setdefault(feed.table, feed) != feed:
                raise ConfigurationError(
                    f"two different feeds have the table {feed.table}: name another table for one"
                )


def _service(base_url: str | None) -> Secret:
    """Give the URL of the API that a client asks."""
    from usage_async._client.client import BASE_URL, BASE_URL_VARIABLE

    return Secret((base_url or os.environ.get(BASE_URL_VARIABLE) or BASE_URL).rstrip("/"))


def load_organizations(path: str | os.PathLike[str]) -> list[Organization]:
    """Read organizations from a TOML file.

        feeds = ["costs:1d:project+line_item", "completions:1h:project+model"]

        [[organizations]]
        name = "acme"
        key_variable = "ACME_ADMIN_KEY"

        [[organizations]]
        name = "globex"
        key_command = ["pass", "show", "openai/globex"]
        feeds = ["costs:1d", { endpoint = "completions", filters = { models = ["gpt-5"] } }]

    Each has the entries of `Organization`. `feeds`, `settle_after` and `base_url` at the top hold
    for all that have none of their own. A relative `key_file` is found from the folder of the file.

    Args:
        path: The file.

    Raises:
        ConfigurationError: It cannot be read, holds a key, or has an entry that cannot be used. The
            message names the file and the organization.
    """
    found = _loaded(Path(path))
    if isinstance(found, ConfigurationError):
        raise found
    return found


def _loaded(path: Path) -> list[Organization] | ConfigurationError:
    """Read the file. A failure is returned: a traceback with locals would show the file's text."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return ConfigurationError(f"{path}: {error.strerror}")
    except ValueError:
        return ConfigurationError(f"{path} is not UTF-8 text")
    for number, line in enumerate(text.splitlines(), start=1):
        if _KEY.search(line):
            return ConfigurationError(f"{path}, line {number} holds a key: {_INSTEAD}")
    place = str(path)
    try:
        given = tomllib.loads(text)
        _check_names(given, (*_DEFAULTS, "organizations"))
        entries = given.pop("organizations", None)
        if not isinstance(entries, list) or not entries:
            raise ConfigurationError("there are no [[organizations]]: add one for each")
        organizations = []
        for number, entry in enumerate(entries, start=1):
            name = entry.get("name") if isinstance(entry, dict) else None
            is_name = isinstance(name, str) and _NAME.fullmatch(name)
            place = f"{path}, organization {name if is_name else number}"
            organizations.append(_organization(entry, given, path.parent))
        place = str(path)
        check_organizations(organizations)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return ConfigurationError(f"{path} is not TOML: {redact(str(error))}")
    except UsageError as error:
        return ConfigurationError(f"{place}: {error}")
    return organizations


def _organization(entry: Any, defaults: Mapping[str, Any], folder: Path) -> Organization:
    if not isinstance(entry, dict):
        raise ConfigurationError("it must be a table: begin it with [[organizations]]")
    _check_names(entry, [a.name for a in attrs.fields(Organization)])
    given = {**defaults, **entry}
    for name in _TEXTS:
        if not isinstance(given.get(name, ""), str):
            raise ConfigurationError(f"{name} must be a text")
    if "name" not in given:
        raise ConfigurationError("name is missing")
    if not isinstance(given.get("key_command", []), list):
        raise ConfigurationError('key_command must be a list such as ["pass", "show", "openai"]')
    if not any(given.get(name) for name in _SOURCES):
        raise ConfigurationError(f"the key is missing: add {_ONE_SOURCE}")
    file = given.get("key_file")
    if file and not file.startswith("~"):
        given["key_file"] = str(folder.absolute() / file)
    return Organization(**given)


def _check_names(given: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(given.keys() - known):
        is_key = any(name in ("key", "admin_key", "api_key") for name in unknown)
        hint = f"; this file takes no key: {_INSTEAD}" if is_key else ""
        raise ConfigurationError(
            f"there is no entry {', '.join(unknown)}; there are {', '.join(known)}{hint}"
        )


def in_shard(name: str, number: int, count: int) -> bool:
    """Tell if an organization belongs to a shard, the same on every machine and in every release.

    Args:
        name: Name of the organization.
        number: Number of the shard, from 1 to `count`.
        count: Number of shards.
    """
    digest = sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") % count == number - 1
