"""Table of the endpoints. Each endpoint is described once, here.

The parameters of an endpoint are a TypedDict, and the fields of its rows are a result class.
`ENDPOINTS` joins the two. Everything else is derived from them: the groups and filters that queries
are checked against, that the terminal offers and that the emulator serves.

"Adding an endpoint" in CONTRIBUTING.md lists the places of a new one.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from inspect import Parameter, Signature, formatannotation
from types import MappingProxyType
from typing import Any, Literal, TypedDict, get_args, get_origin, get_type_hints

import attrs

from usage_async._api import results as models
from usage_async._api.fields import fields_of
from usage_async._api.interval import DAY_S

Time = int | str | datetime | date | timedelta
"""An instant. Absolute: Unix seconds, an aware datetime, a date or `"2026-10-01"` (UTC midnight),
an ISO string with an offset. Relative to now: a timedelta, `"7d"`, `"24h"`, `"90m"`."""

BucketWidth = Literal["1m", "1h", "1d"]

WIDTH_SECONDS: Mapping[str, int] = {"1m": 60, "1h": 3600, "1d": DAY_S}

FULL_PAGE: Mapping[str, int] = {"1m": 1440, "1h": 168, "1d": 31}
"""Buckets of a full page, which one request is planned to bring. For usage this is also the highest
`limit`. Costs accept a higher one, but the service was seen to send no more than this."""
_COSTS_LIMITS = {"1d": 180}
"""Highest `limit` of costs."""
DEFAULT_LIMITS: Mapping[str, int] = {"1m": 60, "1h": 24, "1d": 7}
"""Buckets of a page if no `limit` is sent. Source of all limits: the API reference, 2026-11."""


# The API adds values to these. With `| str`, editors offer the known values and accept any other.
_Size = Literal["256x256", "512x512", "1024x1024", "1792x1792", "1024x1792", "1792x1024"]
_Source = Literal["image.generation", "image.edit", "image.variation"]
_ContextLevel = Literal["low", "medium", "high"]


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


class UsageEmbeddingsParams(_ByModel, total=False):
    """Parameters of `embeddings`."""

    group_by: Sequence[Literal["project_id", "user_id", "api_key_id", "model"]] | None


class UsageModerationsParams(UsageEmbeddingsParams, total=False):
    """Parameters of `moderations`."""


class UsageAudioSpeechesParams(UsageEmbeddingsParams, total=False):
    """Parameters of `audio_speeches`."""


class UsageAudioTranscriptionsParams(UsageEmbeddingsParams, total=False):
    """Parameters of `audio_transcriptions`."""


class UsageCompletionsParams(_ByModel, total=False):
    """Parameters of `completions`."""

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


class UsageDecisionsParams(UsageCompletionsParams, total=False):
    """Parameters of `decisions`."""


class UsageImagesParams(_ByModel, total=False):
    """Parameters of `images`."""

    sizes: Sequence[_Size | str] | None
    sources: Sequence[_Source | str] | None
    group_by: (
        Sequence[Literal["project_id", "user_id", "api_key_id", "model", "size", "source"]] | None
    )


class UsageVectorStoresParams(_Usage, total=False):
    """Parameters of `vector_stores`."""

    group_by: Sequence[Literal["project_id"]] | None


class UsageCodeInterpreterSessionsParams(UsageVectorStoresParams, total=False):
    """Parameters of `code_interpreter_sessions`."""


class UsageFileSearchCallsParams(_ByUser, total=False):
    """Parameters of `file_search_calls`."""

    vector_store_ids: Sequence[str] | None
    group_by: Sequence[Literal["project_id", "user_id", "api_key_id", "vector_store_id"]] | None


class UsageWebSearchCallsParams(_ByModel, total=False):
    """Parameters of `web_search_calls`."""

    context_levels: Sequence[_ContextLevel | str] | None
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


_NO_FILTERS = {*_Range.__annotations__, "bucket_width", "group_by"}


@cache
def _hints(params: Hashable) -> dict[str, Any]:
    return get_type_hints(params)


@attrs.frozen
class Filter:
    """A filter of an endpoint.

    Attributes:
        dimension: Dimension whose values it selects, such as `project_id`.
        type: `bool`, or `str` for a list of strings.
        choices: Values that this release knows; empty if any string is valid.
        is_open: True if the API may add values. A value that is not in `choices` is then sent, and
            a notice tells of it.
    """

    dimension: str
    type: type
    choices: tuple[str, ...] = ()
    is_open: bool = False


@attrs.frozen(eq=False)
class Endpoint:
    """One endpoint of the API.

    An endpoint stands for code and is no value: `dumps` refuses it. A pickle holds its name alone,
    so that another release can read it.

    Attributes:
        name: The API's name for it; also the name of the client's method.
        path: URL path below the base URL.
        result_class: Class of a row.
        params: TypedDict of its parameters.
        limits: Largest `limit` that the API accepts, by bucket width.
        measure: Metric by which groups are ranked, the largest first.
        object: The `object` of its rows; empty for an unknown endpoint.
        group_by: Dimensions that it can group by.
        filters: Filters that it takes, by parameter.
    """

    name: str
    path: str
    result_class: type[models.UsageResult]
    params: Any
    limits: Mapping[str, int]
    measure: str
    object: str = attrs.field(init=False)
    group_by: tuple[str, ...] = attrs.field(init=False)
    filters: Mapping[str, Filter] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        hints = _hints(self.params)
        filters = {
            name: _filter(name, hint) for name, hint in hints.items() if name not in _NO_FILTERS
        }
        kind = next(a.default for a in fields_of(self.result_class) if a.name == "object")
        object.__setattr__(self, "object", "" if kind is attrs.NOTHING else kind)
        object.__setattr__(self, "group_by", _choices(hints["group_by"]))
        object.__setattr__(self, "filters", MappingProxyType(filters))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        if _by_name(self.name) is not self:
            raise TypeError(f"endpoint {self.name!r} cannot be pickled: it is not in ENDPOINTS")
        return _by_name, (self.name,)

    @property
    def bucket_widths(self) -> tuple[str, ...]:
        """Bucket widths of this endpoint, finest first."""
        return tuple(self.limits)


_SHOWN_FIRST = ("start_time", "end_time", "period", "bucket_width", "group_by")
_SHOWN_LAST = ("limit", "page", "clamp")
_DEFAULTS = {"bucket_width": "1d", "clamp": False}
_MODULES = re.compile(r"\b(?:typing|collections\.abc|datetime|usage_async\.[.\w]+)\.(?=\w)")


class _Tidy(Signature):
    """A signature that prints one parameter per line, without module names."""

    def __str__(self) -> str:
        shown = [str(parameter) for parameter in self.parameters.values()]
        first = next(n for n, p in enumerate(self.parameters.values()) if p.kind is p.KEYWORD_ONLY)
        lines = "".join(f"\n    {text}," for text in (*shown[:first], "*", *shown[first:]))
        return _MODULES.sub("", f"({lines}\n) -> {formatannotation(self.return_annotation)}")


def signature(endpoint: Endpoint, returns: Any) -> Signature:
    """Make the signature of an endpoint's method, as `help()`, IPython and editors show it.

    Args:
        endpoint: The endpoint.
        returns: Return type of the method.
    """
    hints = _hints(endpoint.params)
    ends = (*_SHOWN_FIRST, *_SHOWN_LAST)
    names = (*_SHOWN_FIRST, *(name for name in hints if name not in ends), *_SHOWN_LAST)
    taken = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=hints[name])
        for name in names
    ]
    return _Tidy([Parameter("self", Parameter.POSITIONAL_ONLY), *taken], return_annotation=returns)


def _choices(hint: Any) -> tuple[str, ...]:
    """Give the strings of the `Literal` within a hint; none without a `Literal`."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next(filter(None, map(_choices, get_args(hint))), ())


def _filter(name: str, hint: Any) -> Filter:
    dimension, choices = name.removesuffix("s"), _choices(hint)
    if bool in get_args(hint):
        return Filter(dimension, bool)
    return Filter(dimension, str, choices, is_open=bool(choices) and _takes_text(hint))


def _takes_text(hint: Any) -> bool:
    return hint is str or any(map(_takes_text, get_args(hint)))


class _AnyParams(_Range, total=False):
    bucket_width: str
    group_by: Sequence[str] | None


@cache
def unknown_endpoint(path: str) -> Endpoint:
    """Describe an endpoint that this release does not know, by its path alone."""
    return Endpoint(path, path, models.UnknownResult, _AnyParams, MappingProxyType({}), "")


def _by_name(name: str) -> Endpoint:
    return ENDPOINTS.get(name) or unknown_endpoint(name)


def _usage(
    name: str, result_class: type[models.UsageResult], params: Any, measure: str
) -> Endpoint:
    path = f"/organization/usage/{name}"
    return Endpoint(name, path, result_class, params, MappingProxyType(FULL_PAGE), measure)


ENDPOINTS: dict[str, Endpoint] = {
    endpoint.name: endpoint
    for endpoint in (
        _usage(
            "completions", models.UsageCompletionsResult, UsageCompletionsParams, "input_tokens"
        ),
        _usage("embeddings", models.UsageEmbeddingsResult, UsageEmbeddingsParams, "input_tokens"),
        _usage(
            "moderations", models.UsageModerationsResult, UsageModerationsParams, "input_tokens"
        ),
        _usage("images", models.UsageImagesResult, UsageImagesParams, "images"),
        _usage(
            "audio_speeches",
            models.UsageAudioSpeechesResult,
            UsageAudioSpeechesParams,
            "characters",
        ),
        _usage(
            "audio_transcriptions",
            models.UsageAudioTranscriptionsResult,
            UsageAudioTranscriptionsParams,
            "seconds",
        ),
        _usage(
            "vector_stores", models.UsageVectorStoresResult, UsageVectorStoresParams, "usage_bytes"
        ),
        _usage(
            "code_interpreter_sessions",
            models.UsageCodeInterpreterSessionsResult,
            UsageCodeInterpreterSessionsParams,
            "num_sessions",
        ),
        _usage(
            "file_search_calls",
            models.UsageFileSearchCallsResult,
            UsageFileSearchCallsParams,
            "num_requests",
        ),
        _usage(
            "web_search_calls",
            models.UsageWebSearchCallsResult,
            UsageWebSearchCallsParams,
            "num_requests",
        ),
        _usage("decisions", models.UsageDecisionsResult, UsageDecisionsParams, "input_tokens"),
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
