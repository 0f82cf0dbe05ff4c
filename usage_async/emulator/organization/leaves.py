"""Leaves: the single combinations of dimensions for which an organization has usage.

A leaf is, for example, one model used through one API key on one service tier. All usage belongs to
leaves; groups are sums of leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from usage_async._api.endpoints import Endpoint
from usage_async._api.fields import fields_of
from usage_async.emulator.organization import catalog, story
from usage_async.emulator.organization.chance import mix, text_bits
from usage_async.emulator.organization.members import ApiKey, Project
from usage_async.emulator.organization.rhythm import RHYTHMS

_ARCHIVED_DAY = 20454
"""2026-01-01 in days since the epoch: the last day of the archived project."""
_NO_END = 2**31


@attrs.frozen
class Leaf:
    """One combination of dimensions with usage.

    Attributes:
        bits: Seed of its random choices.
        dimensions: Value of each dimension that it has.
        requests: Requests on an ordinary day, before growth.
        workdays: Percent of the working days on which it has usage.
        per_thousand: Pairs of a column and the amount in a thousand requests, zeros left out.
        rhythm: Number of its rhythm.
        last_day: Last day of usage, in days since the epoch.
        model: Model whose prices apply; without prices if the endpoint has no models.
        first_day: First day of usage, in days since the epoch.
        runaway: Name of its API key, if that runs away in some months.
    """

    bits: int
    dimensions: Mapping[str, Any]
    requests: int
    workdays: int
    per_thousand: tuple[tuple[int, int], ...]
    rhythm: int
    last_day: int
    model: catalog.Model
    first_day: int = 0
    runaway: str = ""


@attrs.frozen
class Layout:
    """Layout of the usage of an endpoint: its columns and its leaves.

    Attributes:
        columns: Names of the columns. The first is the number of events, the others are parts.
        fields: Columns whose sum is the metric, for each metric of the endpoint's result.
        levels: The columns that are levels.
        leaves: Every leaf that ever has usage.
    """

    columns: tuple[str, ...]
    fields: Mapping[str, tuple[int, ...]]
    levels: tuple[int, ...]
    leaves: tuple[Leaf, ...]


def make_layout(
    seed: int, projects: Sequence[Project], keys: Sequence[ApiKey], endpoint: Endpoint
) -> Layout:
    """Lay out the usage of an endpoint, whether the catalog lists it or not.

    Args:
        seed: Seed of the organization.
        projects: Projects of the organization.
        keys: API keys of the organization.
        endpoint: The endpoint.
    """
    result_class = endpoint.result_class
    metrics = [a.name for a in fields_of(result_class, "flow", "level")]
    events = next((name for name in catalog.COUNTS if name in metrics), "")
    sums = {name: catalog.SUMS.get(name, (name,)) for name in metrics}
    columns = tuple(dict.fromkeys((events, *(part for parts in sums.values() for part in parts))))
    levels = tuple(columns.index(a.name) for a in fields_of(result_class, "level"))
    flows = {part: n for n, part in enumerate(columns) if n and n not in levels}
    profile = catalog.PROFILES.get(endpoint.name)
    if profile is None:
        profile = attrs.evolve(
            catalog.UNLISTED_PROFILE,
            per_thousand=dict.fromkeys(flows, catalog.UNLISTED_PER_THOUSAND),
        )
    owners = projects if profile.stored else keys
    return Layout(
        columns=columns,
        fields={name: tuple(map(columns.index, parts)) for name, parts in sums.items()},
        levels=levels,
        leaves=(
            *_leaves(seed, owners, endpoint, profile, flows),
            *_migrating_leaves(seed, keys, endpoint, profile, flows),
        ),
    )


def _leaves(
    seed: int,
    owners: Sequence[Project | ApiKey],
    endpoint: Endpoint,
    profile: catalog.Profile,
    flows: Mapping[str, int],
) -> Iterator[Leaf]:
    models: list[tuple[str | None, catalog.Model]] = [*profile.models.items()]
    models = models or [(None, catalog.UNPRICED)]
    # Every model has usage, whatever the seed. The last two owners are archived or deleted.
    sure_owners = [mix(seed, number) % (len(owners) - 2) for number in range(len(models))]
    for owner_number, owner in enumerate(owners):
        for model_number, (model_name, model) in enumerate(models):
            bits = mix(seed, text_bits(endpoint.name), owner_number, model_number)
            if bits % 100 >= profile.share and owner_number != sure_owners[model_number]:
                continue
            project = owner.project if isinstance(owner, ApiKey) else owner
            for variant in range(1 + (bits >> 8) % 3 * (not profile.stored)):
                draw = mix(bits, variant)
                dimensions: dict[str, Any] = {
                    name: _dimension(seed, endpoint, name, draw, variant)
                    for name in endpoint.group_by
                }
                dimensions |= {"project_id": project.id, "model": model_name}
                if isinstance(owner, ApiKey):
                    dimensions |= {"user_id": owner.owner.id, "api_key_id": owner.id}
                amounts = {**profile.per_thousand, **model.per_thousand}
                if dimensions.get("batch"):
                    # A batch job runs on the default tier, and nothing of it is cached.
                    dimensions["service_tier"] = "default"
                    amounts = {part: rate for part, rate in amounts.items() if "cache" not in part}
                yield Leaf(
                    bits=draw,
                    dimensions={k: v for k, v in dimensions.items() if v is not None},
                    requests=profile.requests * (50 + (bits >> 16) % 120) // (60 * (1 + variant)),
                    workdays=profile.workdays,
                    per_thousand=tuple((flows[part], rate) for part, rate in amounts.items()),
                    rhythm=(bits >> 24) % RHYTHMS,
                    last_day=_ARCHIVED_DAY if project.archived else _NO_END,
                    model=model,
                    runaway=_runaway(endpoint, owner),
                )


def _runaway(endpoint: Endpoint, owner: Project | ApiKey) -> str:
    runs = endpoint.name == story.RUNAWAY_ENDPOINT and owner.name in story.RUNAWAYS
    return owner.name if runs else ""


def _migrating_leaves(
    seed: int,
    keys: Sequence[ApiKey],
    endpoint: Endpoint,
    profile: catalog.Profile,
    flows: Mapping[str, int],
) -> Iterator[Leaf]:
    """Make a leaf for each snapshot of the model that an API key migrates to."""
    if endpoint.name != story.RUNAWAY_ENDPOINT:
        return
    key = next(key for key in keys if key.name == story.MIGRANT)
    for number, (name, first_day, last_day) in enumerate(story.snapshots()):
        bits = mix(seed, text_bits(story.MIGRANT_MODEL), number)
        dimensions: dict[str, Any] = {
            each: _dimension(seed, endpoint, each, bits, 0) for each in endpoint.group_by
        }
        yield Leaf(
            bits=bits,
            dimensions={
                **dimensions,
                "project_id": key.project.id,
                "user_id": key.owner.id,
                "api_key_id": key.id,
                "model": name,
            },
            requests=catalog.MIGRANT_REQUESTS,
            workdays=profile.workdays,
            per_thousand=tuple(
                (flows[part], rate) for part, rate in catalog.MIGRANT.per_thousand.items()
            ),
            rhythm=0,
            first_day=first_day,
            last_day=last_day,
            model=catalog.MIGRANT,
        )


def _dimension(seed: int, endpoint: Endpoint, name: str, bits: int, variant: int) -> str | bool:
    """Draw the value of a dimension; variant 0 has the usual one."""
    if name == "batch":
        return variant == 1
    if name == "vector_store_id":
        return f"vs_{mix(seed, bits % 5):016x}"
    filters = endpoint.filters.get(f"{name}s")
    values = catalog.VALUES.get(name) or (filters.choices if filters else ())
    values = values or (f"{name}-a", f"{name}-b")
    return values[bits % len(values) if variant else 0]
