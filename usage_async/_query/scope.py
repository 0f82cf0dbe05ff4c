"""Scope: the projects that a client may read, and what it may know of people. Pure.

Theory of operation. A query of a scoped client holds its scope. `check` refuses at once what can
never be asked in a scope. `CheckedQuery.params` makes every request of a query, and adds the filter
by the projects and the grouping by project to it. Because of the grouping, each row that comes says
whose it is, so that the engine can check it. The invariants:

- *Nothing unknown*: a parameter, path or cursor that this release does not know may mean anything.
- *Nothing wider*: a scope within a scope is their intersection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from usage_async._api.endpoints import Endpoint
from usage_async.errors import ScopeError

FILTER = "project_ids"
DIMENSION = "project_id"

PEOPLE = frozenset({"user_id", "api_key_id"})
"""Dimensions that tell people apart."""
_APART = {"costs": frozenset({"user_id"})}
"""Dimensions that the service may refuse beside the project, by endpoint."""
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]+")
"""Ids that can stand in a path."""


@attrs.frozen(kw_only=True)
class Scope:
    """Projects that may be read.

    Attributes:
        project_ids: Ids of the projects, sorted; never empty.
        people: True if users and API keys may be told apart.
    """

    project_ids: tuple[str, ...]
    people: bool = False

    def within(self, other: Scope | None) -> Scope:
        """Give the intersection with another scope.

        Raises:
            ScopeError: They have no project in common.
        """
        if other is None:
            return self
        both = tuple(one for one in self.project_ids if one in other.project_ids)
        if not both:
            raise ScopeError("none of these projects is in the scope of this client")
        return Scope(project_ids=both, people=self.people and other.people)

    def check(
        self,
        endpoint: Endpoint,
        group_by: Iterable[str],
        filters: Mapping[str, tuple[str, ...]],
        page: str | None,
    ) -> tuple[str, ...]:
        """Check what a query asks for.

        Returns:
            The projects that it may read.

        Raises:
            ScopeError: It would reach beyond the scope.
        """
        name = endpoint.name
        if FILTER not in endpoint.filters or DIMENSION not in endpoint.group_by:
            raise ScopeError(f"{name} cannot be limited to projects, which the scope asks for")
        if page is not None:
            raise ScopeError("a saved cursor does not show what it reads; a scope takes none")
        if not self.people:
            people = {each for each in group_by if each in PEOPLE}
            people |= {each for each in filters if endpoint.filters[each].dimension in PEOPLE}
            if people:
                raise ScopeError(f"the scope does not allow {', '.join(sorted(people))}")
        if apart := _APART.get(name, frozenset()).intersection(group_by):
            msg = f"{name} cannot be grouped by {', '.join(apart)} in a scope, because the service"
            raise ScopeError(f"{msg} refuses to group by project beside it")
        asked = filters.get(FILTER, self.project_ids)
        if outside := [one for one in asked if one not in self.project_ids]:
            raise ScopeError(f"{FILTER} {', '.join(map(repr, outside))}: outside of the scope")
        return asked


def checked_scope(project_ids: Any, people: Any) -> Scope:
    """Make a scope.

    Raises:
        ScopeError: There are no ids, or `people` is not a bool.
    """
    if isinstance(project_ids, str | bytes | Mapping) or not isinstance(project_ids, Iterable):
        raise ScopeError(f"project_ids takes an iterable of ids, not {project_ids!r}")
    found = list(project_ids)
    for one in found:
        if not isinstance(one, str) or not _PROJECT_ID.fullmatch(one):
            raise ScopeError(f"{one!r} is no id of a project")
    if not found:
        raise ScopeError("project_ids is empty; a scope needs at least one project")
    if not isinstance(people, bool):
        raise ScopeError(f"people takes True or False, not {people!r}")
    return Scope(project_ids=tuple(sorted(set(found))), people=people)
