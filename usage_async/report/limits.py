"""Spend limits of the organization and of its projects, as far as the key may read them.

They stand beside figures, which do not need them: a limit that could not be read is left out, with
a notice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from usage_async._api.limits import SpendLimit
from usage_async._client.client import UsageClient
from usage_async._codec.limits import LimitDecoder
from usage_async._engine import wordless
from usage_async._engine.engine import together
from usage_async._http.fetch import Request
from usage_async.errors import (
    APIStatusError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    ScopeError,
    UsageError,
)

__all__ = ["SpendLimit", "SpendLimits", "read_spend_limits"]

_ORGANIZATION = "/organization/spend_limit"
_PROJECT = "/organization/projects/{}/spend_limit"
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]+")
"""Ids that can stand in a path."""
_OF_THE_KEY = (AuthenticationError, PermissionDeniedError)
"""Refusals that say what the key may not do."""


@attrs.frozen(kw_only=True)
class SpendLimits:
    """Spend limits of an organization.

    Attributes:
        organization: That of the whole; None where none is set, or it may not be read.
        projects: Those of projects, by id.
        notices: What was not read, and why.
    """

    organization: SpendLimit | None = None
    projects: Mapping[str, SpendLimit] = attrs.field(factory=dict)
    notices: tuple[str, ...] = ()


async def read_spend_limits(
    client: UsageClient, project_ids: Iterable[str | None] = ()
) -> SpendLimits:
    """Read the spend limit of the organization, and those of projects.

    Limits that the key may not read, and those that fail, are left out with a notice. A client with
    a scope reads those of its projects only.

    Args:
        client: Client of the organization.
        project_ids: Projects whose limits to read, each by a request of its own.

    Raises:
        ScopeError: A project is outside of the scope.
    """
    asked = [one for one in dict.fromkeys(project_ids) if one and _PROJECT_ID.fullmatch(one)]
    reading = _Reading(client)
    scope = client._scope  # noqa: SLF001 - a scope has no public form
    if scope is not None and (outside := [one for one in asked if one not in scope.project_ids]):
        raise ScopeError(f"project_ids {', '.join(map(repr, outside))}: outside of the scope")
    left = iter(asked)
    workers = min(len(asked), client.limiter.maximum)
    own = [reading.read_organization()] if scope is None else []
    await together([*own, *(reading.read_projects(left) for _ in range(workers))])
    return SpendLimits(
        organization=reading.organization,
        projects=reading.projects,
        notices=tuple(reading.notices()),
    )


@attrs.define(eq=False)
class _Reading:
    """Limits that are being read."""

    client: UsageClient
    organization: SpendLimit | None = None
    projects: dict[str, SpendLimit] = attrs.field(factory=dict)
    refused: dict[str, list[str]] = attrs.field(factory=dict)
    of_all: str | None = None

    async def read_organization(self) -> None:
        self.organization = await self._read(_ORGANIZATION, "the organization")

    async def read_projects(self, project_ids: Iterator[str]) -> None:
        for identity in project_ids:
            if self.of_all is not None:
                self._refuse(self.of_all, identity)
                continue
            limit = await self._read(_PROJECT.format(identity), identity)
            if limit is not None:
                self.projects[identity] = limit

    async def _read(self, path: str, whose: str) -> SpendLimit | None:
        request = Request(path, [], LimitDecoder())
        request.turn.set()
        fetcher = self.client._engine.fetcher  # noqa: SLF001 - shares limits, retries and the key
        is_scoped = self.client._scope is not None  # noqa: SLF001 - as above
        self.client._engine.check_usable()  # noqa: SLF001 - as above
        try:
            return await (wordless.fetch(fetcher, request) if is_scoped else fetcher.fetch(request))
        except NotFoundError:
            return None  # none is set
        except UsageError as error:
            # What the key lacks for one project, it lacks for all; so does an older service.
            if isinstance(error, _OF_THE_KEY) and whose != "the organization":
                self.of_all = _reason(error)
            self._refuse(_reason(error), whose)
        return None

    def _refuse(self, reason: str, whose: str) -> None:
        self.refused.setdefault(reason, []).append(whose)

    def notices(self) -> Iterator[str]:
        for reason, refused in self.refused.items():
            others = f" and of {len(refused) - 1} more" if len(refused) > 1 else ""
            yield f"the spend limit of {refused[0]}{others} was not read: {reason}"


def _reason(error: UsageError) -> str:
    if isinstance(error, PermissionDeniedError):
        lacks = ", ".join(error.missing_scopes)
        return f"the key lacks {lacks} (403)" if lacks else "the key may not read it (403)"
    if isinstance(error, APIStatusError):
        return f"the service refuses it ({error.status})"
    return error.message
