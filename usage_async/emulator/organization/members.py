"""Members of a made-up organization: its projects, users and API keys."""

from __future__ import annotations

import attrs

from usage_async.emulator.organization import catalog
from usage_async.emulator.organization.chance import mix, text_bits


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
class ApiKey:
    """An API key of a user in a project. A deleted one was used, but is not listed."""

    id: str
    name: str
    project: Project
    user: User
    deleted: bool


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
    keys = tuple(
        ApiKey(
            make_id(seed, "key_", f"{project} {user} {name}"),
            name,
            projects[project],
            users[user],
            deleted=number == len(catalog.KEYS) - 1,
        )
        for number, (project, user, name) in enumerate(catalog.KEYS)
    )
    return tuple(projects.values()), tuple(users.values()), keys
