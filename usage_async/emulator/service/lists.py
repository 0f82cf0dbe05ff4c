"""The API's lists of names: projects, users, and the API keys of a project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from usage_async.emulator.organization.members import ApiKey, Project, User
from usage_async.emulator.organization.organization import Organization
from usage_async.emulator.quirks import Quirks
from usage_async.emulator.service.oddities import Json
from usage_async.emulator.service.query import Pairs, bounded, choice
from usage_async.emulator.service.refusals import error, invalid

_CREATED = 1735689600
"""2025-01-01: creation of every member."""
_ARCHIVED = 1767225600
"""2026-01-01: the archiving of the archived project."""
_DEFAULT_LIMIT = 20
_MAX_LIMIT = 100


def projects(organization: Organization, pairs: Pairs) -> Json:
    """List the projects. Archived ones need `include_archived=true`."""
    query = _query(pairs, "include_archived")
    with_archived = query.get("include_archived") == "true"
    shown = [p for p in organization.projects if with_archived or not p.archived]
    return _list([_project(project) for project in shown], query)


def users(organization: Organization, pairs: Pairs) -> Json:
    """List the users."""
    return _list([_user(user) for user in organization.users], _query(pairs))


def api_keys(organization: Organization, project_id: str, pairs: Pairs, quirks: Quirks) -> Json:
    """List the API keys of a project; deleted ones are not listed.

    The owners of keys of an archived project have lost access to the project.
    """
    project = next((p for p in organization.projects if p.id == project_id), None)
    if project is None:
        message = f"Project '{project_id}' not found."
        raise error(404, message, code="project_not_found", param="project_id")
    if project.archived and quirks.refuse_archived_projects:
        message = f"Project '{project_id}' is archived."
        raise error(400, message, code="project_archived", param="project_id")
    query = _query(pairs, "owner_project_access")
    default = "inactive" if quirks.hide_enabled_keys else "any"
    access = choice(
        "owner_project_access",
        query.get("owner_project_access", default),
        ("active", "inactive", "any"),
    )
    keys = [k for k in organization.keys if k.project == project and not k.deleted]
    items = [_api_key(key) for key in keys]
    shown = [item for item in items if access in ("any", item["owner_project_access"])]
    return _list(shown, query)


LISTS: Mapping[str, Callable[[Organization, Pairs], Json]] = {
    "/organization/projects": projects,
    "/organization/users": users,
}
"""Lists whose path has no parameter."""


def _query(pairs: Pairs, *more: str) -> dict[str, str]:
    for name, _ in pairs:
        if name not in ("after", "limit", *more):
            raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    return dict(pairs)


def _list(items: Sequence[Json], query: Mapping[str, str]) -> Json:
    limit = bounded("limit", query.get("limit", str(_DEFAULT_LIMIT)), 1, _MAX_LIMIT)
    ids = [item["id"] for item in items]
    after = query.get("after")
    if after is not None and after not in ids:
        raise invalid("after", f"Invalid 'after': '{after}' not found.", "invalid_value")
    first = ids.index(after) + 1 if after is not None else 0
    shown = items[first : first + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": first + limit < len(items),
    }


def _project(project: Project) -> Json:
    return {
        "id": project.id,
        "object": "organization.project",
        "name": project.name,
        "created_at": _CREATED,
        "archived_at": _ARCHIVED if project.archived else None,
        "status": "archived" if project.archived else "active",
    }


def _user(user: User) -> Json:
    return {
        "object": "organization.user",
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": "reader",
        "added_at": _CREATED,
    }


def _api_key(key: ApiKey) -> Json:
    return {
        "object": "organization.project.api_key",
        "redacted_value": f"sk-proj-****{key.id[-4:]}",
        "name": key.name,
        "created_at": _CREATED,
        "last_used_at": None,
        "id": key.id,
        "owner": {"type": "user", "user": _user(key.user)},
        "owner_project_access": "inactive" if key.project.archived else "active",
    }
