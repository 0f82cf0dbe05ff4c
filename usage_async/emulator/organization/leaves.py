"""People and keys of a made-up organization, and the leaves of its usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from usage_async._api.endpoints import Endpoint
from usage_async._api.fields import fields_of
from usage_async.emulator.organization import catalog
from usage_async.emulator.organization.rhythm import RHYTHMS, mix, text_bits

_ARCHIVED_DAY = 20454
"""2026-01-01 in days since the epoch: the archived project ended then."""
_NO_END = 2**31
_NO_MODEL = catalog.Model({}, {})


@attrs.frozen
class Project:
    """A project; `archived` ones are no longer in use."""

    id: str
    name: str
    archived: bool


@attrs.frozen
class User:
    """A member of the organization."""

    id: str
    name: str
    email: str


@attrs.frozen
class ApiKey:
    """An API key of a user in a project; `deleted` ones were used, but are not listed."""

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


@attrs.frozen
class Leaf:
    """One combination of dimensions in use.

    Attributes:
        bits: Source of its chances.
        dimensions: Its value of each dimension.
        requests: Its requests on an ordinary day, before growth.
        workdays: Days of use in a hundred working days.
        takes: For each column of its sheet that is not zero, the amount a thousand requests take.
        rhythm: The number of its rhythm.
        last_day: The last day of use, in days since the epoch.
        model: The model that its requests are billed by; an empty one where there is none.
    """

    bits: int
    dimensions: Mapping[str, Any]
    requests: int
    workdays: int
    takes: tuple[tuple[int, int], ...]
    rhythm: int
    last_day: int
    model: catalog.Model


@attrs.frozen
class Sheet:
    """Layout of an endpoint: the columns of its figures, and its leaves.

    Attributes:
        columns: The parts that are kept; the first is the number of events.
        fields: Each metric of the endpoint's result, and the columns that it is the sum of.
        levels: The columns that are levels.
        leaves: Everything that is ever used.
    """

    columns: tuple[str, ...]
    fields: Mapping[str, tuple[int, ...]]
    levels: tuple[int, ...]
    leaves: tuple[Leaf, ...]


def make_sheet(
    seed: int, projects: Sequence[Project], keys: Sequence[ApiKey], endpoint: Endpoint
) -> Sheet:
    """Decide how an endpoint is used, one newer than the catalog too.

    Args:
        seed: The organization's.
        projects: Its projects.
        keys: Its API keys.
        endpoint: Which.
    """
    result_class = endpoint.result_class
    metrics = [a.name for a in fields_of(result_class, "flow", "level")]
    events = next((name for name in catalog.COUNTS if name in metrics), "")
    sums = {name: catalog.SUMS.get(name, (name,)) for name in metrics}
    columns = tuple(dict.fromkeys((events, *(part for parts in sums.values() for part in parts))))
    levels = tuple(columns.index(a.name) for a in fields_of(result_class, "level"))
    flows = {part: n for n, part in enumerate(columns) if n and n not in levels}
    use = catalog.USES.get(endpoint.name)
    if use is None:
        use = attrs.evolve(catalog.ANY_USE, takes=dict.fromkeys(flows, catalog.TAKES))
    owners = projects if use.stored else keys
    return Sheet(
        columns=columns,
        fields={name: tuple(map(columns.index, parts)) for name, parts in sums.items()},
        levels=levels,
        leaves=tuple(_leaves(seed, owners, endpoint, use, flows)),
    )


def _leaves(
    seed: int,
    owners: Sequence[Project | ApiKey],
    endpoint: Endpoint,
    use: catalog.Use,
    flows: Mapping[str, int],
) -> Iterator[Leaf]:
    models: list[tuple[str | None, catalog.Model]] = [*use.models.items()]
    models = models or [(None, _NO_MODEL)]
    # Every model is in use, whatever the seed; the last owners are archived or deleted.
    sure_owners = [mix(seed, number) % (len(owners) - 2) for number in range(len(models))]
    for owner_number, owner in enumerate(owners):
        for model_number, (model_name, model) in enumerate(models):
            bits = mix(seed, text_bits(endpoint.name), owner_number, model_number)
            if bits % 100 >= use.share and owner_number != sure_owners[model_number]:
                continue
            project = owner.project if isinstance(owner, ApiKey) else owner
            for variant in range(1 + (bits >> 8) % 3 * (not use.stored)):
                draw = mix(bits, variant)
                dimensions: dict[str, Any] = {
                    name: _dimension(seed, endpoint, name, draw, variant)
                    for name in endpoint.group_by
                }
                dimensions |= {"project_id": project.id, "model": model_name}
                if isinstance(owner, ApiKey):
                    dimensions |= {"user_id": owner.user.id, "api_key_id": owner.id}
                takes = {**use.takes, **model.takes}
                if dimensions.get("batch"):
                    # A batch job has no tier of its own, and nothing of it is cached.
                    dimensions["service_tier"] = "default"
                    takes = {part: rate for part, rate in takes.items() if "cache" not in part}
                yield Leaf(
                    bits=draw,
                    dimensions={k: v for k, v in dimensions.items() if v is not None},
                    requests=use.requests * (50 + (bits >> 16) % 120) // (60 * (1 + variant)),
                    workdays=use.workdays,
                    takes=tuple((flows[part], rate) for part, rate in takes.items()),
                    rhythm=(bits >> 24) % RHYTHMS,
                    last_day=_ARCHIVED_DAY if project.archived else _NO_END,
                    model=model,
                )


def _dimension(seed: int, endpoint: Endpoint, name: str, bits: int, variant: int) -> str | bool:
    """Draw a leaf's value of a dimension; the first variant has the usual one."""
    if name == "batch":
        return variant == 1
    if name == "vector_store_id":
        return f"vs_{mix(seed, bits % 5):016x}"
    filters = endpoint.filters.get(f"{name}s")
    values = catalog.VALUES.get(name) or (filters.choices if filters else ())
    values = values or (f"{name}-a", f"{name}-b")
    return values[bits % len(values) if variant else 0]
