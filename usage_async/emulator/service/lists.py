"""The API's lists of names: projects, users, admin keys, API keys and service accounts.

Spend limits are beside them: each is one object, and no list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from usage_async.emulator.organization import catalog
from usage_async.emulator.organization.members import ApiKey, Project, ServiceAccount, User
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


@attrs.frozen
class ListRequest:
    """A request for a list.

    Attributes:
        organization: Owner of the list.
        pairs: Parameters as they were sent.
        quirks: Differences from the live service.
        project_id: Project in the path; empty if the path has none.
    """

    organization: Organization
    pairs: Pairs
    quirks: Quirks
    project_id: str = ""

    def project(self) -> Project:
        """Find the project in the path.

        Raises:
            Refusal: There is no such project, or it is archived and the quirks refuse that.
        """
        found = (p for p in self.organization.projects if p.id == self.project_id)
        project = next(found, None)
        if project is None:
            message = f"Project '{self.project_id}' not found."
            raise error(404, message, code="project_not_found", param="project_id")
        if project.archived and self.quirks.refuse_archived_projects:
            message = f"Project '{self.project_id}' is archived."
            raise error(400, message, code="project_archived", param="project_id")
        return project


def projects(asked: ListRequest) -> Json:
    """List the projects. Archived ones need `include_archived=true`."""
    query = _query(asked, "include_archived")
    with_archived = query.get("include_archived") == "true"
    shown = [p for p in asked.organization.projects if with_archived or not p.archived]
    return _list([_project(project) for project in shown], query)


def users(asked: ListRequest) -> Json:
    """List the users. Service accounts are not among them."""
    return _list([_user(user) for user in asked.organization.users], _query(asked))


def api_keys(asked: ListRequest) -> Json:
    """List the API keys of a project; deleted ones are not listed.

    The owners of keys of an archived project have lost access to the project.
    """
    project = asked.project()
    query = _query(asked, "owner_project_access")
    default = "inactive" if asked.quirks.hide_enabled_keys else "any"
    access = choice(
        "owner_project_access",
        query.get("owner_project_access", default),
        ("active", "inactive", "any"),
    )
    items = [_api_key(key) for key in asked.organization.keys_of(project)]
    shown = [item for item in items if access in ("any", item["owner_project_access"])]
    return _list(shown, query)


def service_accounts(asked: ListRequest) -> Json:
    """List the service accounts of a project."""
    project = asked.project()
    keys = asked.organization.keys_of(project)
    accounts = dict.fromkeys(k.owner for k in keys if isinstance(k.owner, ServiceAccount))
    return _list([_service_account(account) for account in accounts], _query(asked))


def admin_api_keys(asked: ListRequest) -> Json:
    """List the one admin key. These pages have neither `first_id` nor `last_id`."""
    query = _query(asked, "order")
    choice("order", query.get("order", "asc"), ("asc", "desc"))
    key = {
        "object": "organization.admin_api_key",
        "id": "key_admin",
        "name": "emulator",
        "redacted_value": "sk-admin-****-key",
        "created_at": _CREATED,
        "last_used_at": None,
        "owner": {"type": "user", **_user(asked.organization.users[0])},
    }
    page = _list([key], query)
    return {name: value for name, value in page.items() if name not in ("first_id", "last_id")}


def spend_limit(asked: ListRequest) -> Json:
    """Show the spend limit of the organization."""
    return _limit(asked, "organization.spend_limit", catalog.SPEND_LIMIT, "enforcing")


def project_spend_limit(asked: ListRequest) -> Json:
    """Show the spend limit of a project.

    Raises:
        Refusal: 404: the project has none.
    """
    project = asked.project()
    cents = catalog.PROJECT_SPEND_LIMITS.get(project.name)
    if cents is None:
        message = f"Project '{project.id}' has no spend limit."
        raise error(404, message, code="spend_limit_not_found", param="project_id")
    return _limit(asked, "project.spend_limit", cents, "inactive")


def _limit(asked: ListRequest, kind: str, cents: int, status: str) -> Json:
    for name, _ in asked.pairs:
        raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    return {
        "object": kind,
        "currency": "USD",
        "interval": "month",
        "threshold_amount": cents,
        "enforcement": {"status": status},
    }


LISTS: Mapping[str, Callable[[ListRequest], Json]] = {
    "/organization/projects": projects,
    "/organization/users": users,
    "/organization/admin_api_keys": admin_api_keys,
    "/organization/spend_limit": spend_limit,
    "/organization/projects/{project_id}/api_keys": api_keys,
    "/organization/projects/{project_id}/service_accounts": service_accounts,
    "/organization/projects/{project_id}/spend_limit": project_spend_limit,
}


def _query(asked: ListRequest, *more: str) -> dict[str, str]:
    for name, _ in asked.pairs:
        if name not in ("after", "limit", *more):
            raise invalid(name, f"Unknown parameter: '{name}'.", "unknown_parameter")
    return dict(asked.pairs)


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


def _service_account(account: ServiceAccount) -> Json:
    return {
        "object": "organization.project.service_account",
        "id": account.id,
        "name": account.name,
        "role": "member",
        "created_at": _CREATED,
    }


def _api_key(key: ApiKey) -> Json:
    if isinstance(key.owner, User):
        owner = {"type": "user", "user": _user(key.owner)}
    else:
        account = _service_account(key.owner)
        owner = {"type": "service_account", "service_account": account}
    return {
        "object": "organization.project.api_key",
        "redacted_value": f"sk-proj-****{key.id[-4:]}",
        "name": key.name,
        "created_at": _CREATED,
        "last_used_at": None,
        "id": key.id,
        "owner": owner,
        "owner_project_access": "inactive" if key.project.archived else "active",
    }
