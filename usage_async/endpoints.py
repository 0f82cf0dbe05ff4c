"""The endpoints, each described once.

An endpoint's parameters are a TypedDict, its fields a result class; the table puts them together.
Everything else is derived: the hints of the TypedDicts give the groups and filters that are
checked before a request, offered by the command line and served by the emulator.

To add an endpoint: its TypedDict and its line in `ENDPOINTS` here, its result class in `models`,
its method in `client`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

import attrs

from usage_async import models
from usage_async._fields import fields_of

Time = int | str | datetime | date | timedelta
"""An instant: Unix seconds, an aware datetime, a date or `"2026-10-01"` (UTC midnight), an ISO
string with an offset; or that long before now: a timedelta, `"7d"`, `"24h"`, `"90m"`."""

BucketWidth = Literal["1m", "1h", "1d"]

DAY_S = 86400
WIDTH_SECONDS: Mapping[str, int] = {"1m": 60, "1h": 3600, "1d": DAY_S}

_USAGE_LIMITS = {"1m": 1440, "1h": 168, "1d": 31}
_COSTS_LIMITS = {"1d": 180}
DEFAULT_LIMITS: Mapping[str, int] = {"1m": 60, "1h": 24, "1d": 7}
"""Buckets a page when no `limit` is sent. Source of all limits: the API reference, 2026-11."""


class _Range(TypedDict, total=False):
    start_time: Time
    end_time: Time | None
    period: str
    limit: int
    page: str | None
    clamp: bool


class _Usage(_Range, total=False):
    bucket_width: BucketWidth
    project_ids: Sequence[str] | None


class _ByUser(_Usage, total=False):
    user_ids: Sequence[str] | None
    api_key_ids: Sequence[str] | None


class _ByModel(_ByUser, total=False):
    models: Sequence[str] | None


class ModelParams(_ByModel, total=False):
    """Parameters of `embeddings`, `moderations`, `audio_speeches` and `audio_transcriptions`."""

    group_by: Sequence[Literal["project_id", "user_id", "api_key_id", "model"]] | None


class TokenParams(_ByModel, total=False):
    """Parameters of `completions` and `decisions`."""

    batch: bool | None
    group_by: (
        Sequence[
            Literal[
                "project_id",
                "user_id",
                "api_key_id",
                "model",
                "batch",
                "service_tier",
                "api_source",
            ]
        ]
        | None
    )


class ImagesParams(_ByModel, total=False):
    """Parameters of `images`."""

    sizes: Sequence[Literal["256x256", "512x512", "1024x1024", "1792x1792", "1024x1792"]] | None
    sources: Sequence[Literal["image.generation", "image.edit", "image.variation"]] | None
    group_by: (
        Sequence[Literal["project_id", "user_id", "api_key_id", "model", "size", "source"]] | None
    )


class ProjectParams(_Usage, total=False):
    """Parameters of `vector_stores` and `code_interpreter_sessions`."""

    group_by: Sequence[Literal["project_id"]] | None


class FileSearchCallsParams(_ByUser, total=False):
    """Parameters of `file_search_calls`."""

    vector_store_ids: Sequence[str] | None
    group_by: Sequence[Literal["project_id", "user_id", "api_key_id", "vector_store_id"]] | None


class WebSearchCallsParams(_ByModel, total=False):
    """Parameters of `web_search_calls`."""

    context_levels: Sequence[Literal["low", "medium", "high"]] | None
    group_by: (
        Sequence[
            Literal["project_id", "user_id", "api_key_id", "model", "context_level", "api_source"]
        ]
        | None
    )


class CostsParams(_Range, total=False):
    """Parameters of `costs`."""

    bucket_width: Literal["1d"]
    project_ids: Sequence[str] | None
    api_key_ids: Sequence[str] | None
    line_items: Sequence[str] | None
    group_by: (
        Sequence[Literal["project_id", "user_id", "line_item", "api_key_id", "api_source"]] | None
    )


@attrs.frozen
class Filter:
    """What one filter takes.

    Attributes:
        dimension: The dimension whose values it picks, such as `project_id`.
        type: `bool`, or `str` for a list of strings.
        choices: The only values it takes; empty where any string goes.
    """

    dimension: str
    type: type
    choices: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Endpoint:
    """One endpoint of the API.

    Attributes:
        name: The API's name for it, also the client's method.
        path: Below the base URL.
        result_class: What a row of its buckets is.
        params: The TypedDict of its parameters.
        limits: The most buckets a page, by bucket width.
        measure: The metric that ranks its groups, the largest first.
    """

    name: str
    path: str
    result_class: type[models.UsageResult]
    params: Any
    limits: Mapping[str, int]
    measure: str
    object: str = attrs.field(init=False)
    """The `object` of its rows; empty where it is not known."""
    group_by: tuple[str, ...] = attrs.field(init=False)
    """The dimensions that it groups by."""
    filters: Mapping[str, Filter] = attrs.field(init=False)
    """The filters that it takes, by parameter."""

    def __attrs_post_init__(self) -> None:
        hints = get_type_hints(self.params)
        filters = {
            name: _filter(name, hint)
            for name, hint in hints.items()
            if name not in get_type_hints(_Range) and name not in ("bucket_width", "group_by")
        }
        kind = next(a.default for a in fields_of(self.result_class) if a.name == "object")
        object.__setattr__(self, "object", "" if kind is attrs.NOTHING else kind)
        object.__setattr__(self, "group_by", _choices(hints["group_by"]))
        object.__setattr__(self, "filters", MappingProxyType(filters))

    @property
    def bucket_widths(self) -> tuple[str, ...]:
        """The bucket widths that it offers, finest first."""
        return tuple(self.limits)


def _choices(hint: Any) -> tuple[str, ...]:
    """Give the strings of the `Literal` within a hint, none where there is no `Literal`."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next(filter(None, map(_choices, get_args(hint))), ())


def _filter(name: str, hint: Any) -> Filter:
    kind = bool if bool in get_args(hint) else str
    return Filter(name.removesuffix("s"), kind, _choices(hint))


class _AnyParams(_Range, total=False):
    bucket_width: str
    group_by: Sequence[str] | None


@cache
def unknown_endpoint(path: str) -> Endpoint:
    """Describe an endpoint newer than this library: only its path is known."""
    return Endpoint(path, path, models.UnknownResult, _AnyParams, MappingProxyType({}), "")


def _usage(
    name: str, result_class: type[models.UsageResult], params: Any, measure: str
) -> Endpoint:
    path = f"/organization/usage/{name}"
    return Endpoint(name, path, result_class, params, MappingProxyType(_USAGE_LIMITS), measure)


ENDPOINTS: dict[str, Endpoint] = {
    endpoint.name: endpoint
    for endpoint in (
        _usage("completions", models.UsageCompletionsResult, TokenParams, "input_tokens"),
        _usage("embeddings", models.UsageEmbeddingsResult, ModelParams, "input_tokens"),
        _usage("moderations", models.UsageModerationsResult, ModelParams, "input_tokens"),
        _usage("images", models.UsageImagesResult, ImagesParams, "images"),
        _usage("audio_speeches", models.UsageAudioSpeechesResult, ModelParams, "characters"),
        _usage(
            "audio_transcriptions", models.UsageAudioTranscriptionsResult, ModelParams, "seconds"
        ),
        _usage("vector_stores", models.UsageVectorStoresResult, ProjectParams, "usage_bytes"),
        _usage(
            "code_interpreter_sessions",
            models.UsageCodeInterpreterSessionsResult,
            ProjectParams,
            "num_sessions",
        ),
        _usage(
            "file_search_calls",
            models.UsageFileSearchCallsResult,
            FileSearchCallsParams,
            "num_requests",
        ),
        _usage(
            "web_search_calls",
            models.UsageWebSearchCallsResult,
            WebSearchCallsParams,
            "num_requests",
        ),
        _usage("decisions", models.UsageDecisionsResult, TokenParams, "input_tokens"),
        Endpoint(
            "costs",
            "/organization/costs",
            models.CostsResult,
            CostsParams,
            MappingProxyType(_COSTS_LIMITS),
            "amount",
        ),
    )
}
"""The endpoints by name."""
