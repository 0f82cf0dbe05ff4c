"""Members of a made-up organization: its projects, users and API keys."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from usage_async.emulator.organization import catalog
from usage_async.emulator.organization.chance import mix, text_bits

_IDLE_KEYS = 10
"""API keys of an idle project."""


@attrs.frozen
class Project:
    """A project. An archived one is no longer used."""

    id: str
    name: str
    archived: bool


@attrs.frozen
class User:
    """A user of the organization."""

    id: str
    name: str
    email: str


@attrs.frozen
class ServiceAccount:
    """The owner of an API key that is no person. The list of users does not contain it."""

    id: str
    name: str


@attrs.frozen
class ApiKey:
    """An API key in a project. A deleted one was used, but is not listed."""

    id: str
    name: str
    project: Project
    owner: User | ServiceAccount
    deleted: bool = False


def make_id(seed: int, prefix: str, name: str = "") -> str:
    """Make an id that looks like the service's, such as `proj_…`."""
    return f"{prefix}{mix(seed, text_bits(prefix + name)):016x}"


def make_members(
    seed: int,
) -> tuple[tuple[Project, ...], tuple[User, ...], tuple[ApiKey, ...]]:
    """Make the projects, users and API keys of an organization."""
    projects = {
        name: Project(make_id(seed, "proj_", name), name, archived=name == catalog.PROJECTS[-1])
        for name in catalog.PROJECTS
    }
    users = {
        name: User(make_id(seed, "user-", name), name, f"{name.lower()}@example.com")
        for name in catalog.PEOPLE
    }
    accounts = {
        name: ServiceAccount(make_id(seed, "svc_acct_", name), name)
        for name in catalog.SERVICE_ACCOUNTS
    }
    owners: dict[str, User | ServiceAccount] = {**users, **accounts}
    keys = tuple(
        ApiKey(
            make_id(seed, "key_", f"{project} {owner} {name}"),
            name,
            projects[project],
            owners[owner],
            deleted=number == len(catalog.KEYS) - 1,
        )
        for number, (project, owner, name) in enumerate(catalog.KEYS)
    )
    return tuple(projects.values()), tuple(users.values()), keys


def make_idle_members(
    seed: int, count: int, users: Sequence[User]
) -> tuple[tuple[Project, ...], tuple[ApiKey, ...]]:
    """Make projects without usage, and their API keys."""
    names = [f"Idle project {number}" for number in range(1, count + 1)]
    projects = tuple(Project(make_id(seed, "proj_", name), name, archived=False) for name in names)
    keys = tuple(
        ApiKey(
            make_id(seed, "key_", f"{project.name} {number}"),
            f"key {number}",
            project,
            users[number % len(users)],
        )
        for project in projects
        for number in range(1, _IDLE_KEYS + 1)
    )
    return projects, keys
