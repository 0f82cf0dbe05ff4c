"""The asyncio client for an OpenAI organization's usage and costs.

async with UsageClient() as client:  # OPENAI_ADMIN_KEY from the environment
    async for bucket in client.costs(period="last-month", group_by=["project_id"]):
        ...

Names are imported when they are first used: a command line's help or a pytest plugin must not wait
for aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usage_async._convert import converter, dumps, from_dict, loads, to_dict
    from usage_async._fetch import RequestEvent
    from usage_async._fields import Extra
    from usage_async._limiter import Limiter
    from usage_async._pages import Stream
    from usage_async._proof import Verification
    from usage_async._queries import UsageQuery
    from usage_async._retry import RetryPolicy
    from usage_async._runtime import Runtime
    from usage_async._times import TimeRange
    from usage_async._transport import Timeout
    from usage_async.client import UsageClient
    from usage_async.endpoints import (
        ENDPOINTS,
        CostsParams,
        Endpoint,
        UsageAudioSpeechesParams,
        UsageAudioTranscriptionsParams,
        UsageCodeInterpreterSessionsParams,
        UsageCompletionsParams,
        UsageDecisionsParams,
        UsageEmbeddingsParams,
        UsageFileSearchCallsParams,
        UsageImagesParams,
        UsageModerationsParams,
        UsageVectorStoresParams,
        UsageWebSearchCallsParams,
    )
    from usage_async.errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        ConfigurationError,
        IncompleteError,
        InternalServerError,
        MixedCurrencyError,
        NotFoundError,
        PaginationError,
        PermissionDeniedError,
        QueryError,
        RangeUnavailableError,
        RateLimitError,
        ResponseError,
        UsageError,
    )
    from usage_async.models import (
        CostsResult,
        CostsResultAmount,
        DerivedLineItem,
        Notice,
        UnknownResult,
        UsageAudioSpeechesResult,
        UsageAudioTranscriptionsResult,
        UsageCodeInterpreterSessionsResult,
        UsageCompletionsResult,
        UsageDecisionsResult,
        UsageEmbeddingsResult,
        UsageFileSearchCallsResult,
        UsageImagesResult,
        UsageModerationsResult,
        UsageResponse,
        UsageResult,
        UsageRow,
        UsageTimeBucket,
        UsageVectorStoresResult,
        UsageWebSearchCallsResult,
    )
    from usage_async.totals import Summary

__all__ = [
    "ENDPOINTS",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "CostsParams",
    "CostsResult",
    "CostsResultAmount",
    "DerivedLineItem",
    "Endpoint",
    "Extra",
    "IncompleteError",
    "InternalServerError",
    "Limiter",
    "MixedCurrencyError",
    "NotFoundError",
    "Notice",
    "PaginationError",
    "PermissionDeniedError",
    "QueryError",
    "RangeUnavailableError",
    "RateLimitError",
    "RequestEvent",
    "ResponseError",
    "RetryPolicy",
    "Runtime",
    "Stream",
    "Summary",
    "TimeRange",
    "Timeout",
    "UnknownResult",
    "UsageAudioSpeechesParams",
    "UsageAudioSpeechesResult",
    "UsageAudioTranscriptionsParams",
    "UsageAudioTranscriptionsResult",
    "UsageClient",
    "UsageCodeInterpreterSessionsParams",
    "UsageCodeInterpreterSessionsResult",
    "UsageCompletionsParams",
    "UsageCompletionsResult",
    "UsageDecisionsParams",
    "UsageDecisionsResult",
    "UsageEmbeddingsParams",
    "UsageEmbeddingsResult",
    "UsageError",
    "UsageFileSearchCallsParams",
    "UsageFileSearchCallsResult",
    "UsageImagesParams",
    "UsageImagesResult",
    "UsageModerationsParams",
    "UsageModerationsResult",
    "UsageQuery",
    "UsageResponse",
    "UsageResult",
    "UsageRow",
    "UsageTimeBucket",
    "UsageVectorStoresParams",
    "UsageVectorStoresResult",
    "UsageWebSearchCallsParams",
    "UsageWebSearchCallsResult",
    "Verification",
    "converter",
    "dumps",
    "from_dict",
    "loads",
    "to_dict",
]


_ROOMS = (
    "errors",
    "_times",
    "_fields",
    "models",
    "endpoints",
    "query",
    "_retry",
    "_runtime",
    "_limiter",
    "_convert",
    "totals",
    "_proof",
    "_transport",
    "_fetch",
    "_pages",
    "client",
)
"""Where the names are, by the order of the imports between them; those with aiohttp are last."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("usage_async._version").version()
    if name in __all__:
        modules = (import_module(f"usage_async.{room}") for room in _ROOMS)
        globals()[name] = next(getattr(room, name) for room in modules if hasattr(room, name))
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
