"""Scopes of the web: the projects that whoever asks may see."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, Literal

import attrs

from usage_async._client.client import UsageClient
from usage_async._query.scope import checked_scope
from usage_async.errors import ConfigurationError


class Everything(Enum):
    """Type of `ALL`."""

    ALL = "ALL"


ALL: Final[Literal[Everything.ALL]] = Everything.ALL
"""The whole organization. It is a word of its own, so that nothing forgotten can mean it."""


def _sorted(project_ids: Iterable[str]) -> tuple[str, ...]:
    return checked_scope(project_ids, people=False).project_ids


@attrs.frozen
class Scope:
    """Projects that a tenant may see.

    Attributes:
        project_ids: Ids of the projects, sorted.
        people: True if users and API keys may be told apart.

    Raises:
        ScopeError: There is no project, or an id is none.
    """

    project_ids: tuple[str, ...] = attrs.field(converter=_sorted)
    people: bool = attrs.field(default=False, kw_only=True)


def narrowed(client: UsageClient, scope: Any) -> UsageClient:
    """Give a client that reads a scope only.

    Raises:
        ConfigurationError: The scope is neither a `Scope` nor `ALL`.
    """
    if scope is ALL:
        return client
    if not isinstance(scope, Scope):
        kind = type(scope).__name__
        raise ConfigurationError(f"a tenant's scope is a Scope or ALL, not {kind}")
    return client.scoped(project_ids=scope.project_ids, people=scope.people)
