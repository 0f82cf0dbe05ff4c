"""The asyncio client for an OpenAI organization's usage and costs.

async with UsageClient() as client:  # OPENAI_ADMIN_KEY from the environment
    async for bucket in client.costs(period="last-month", group_by=["project_id"]):
        ...
"""

from typing import Any

from usage_async._convert import converter, dumps, from_dict, loads, to_dict
from usage_async._fetch import RequestEvent
from usage_async._fields import Extra
from usage_async._limiter import Limiter
from usage_async._pages import Stream
from usage_async._proof import Verification
from usage_async._retry import RetryPolicy
from usage_async._runtime import Runtime
from usage_async._transport import Timeout
from usage_async.client import UsageClient, UsageQuery
from usage_async.endpoints import ENDPOINTS, Endpoint
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
from usage_async.query import TimeRange
from usage_async.totals import Summary

__all__ = [
    "ENDPOINTS",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
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
    "UsageAudioSpeechesResult",
    "UsageAudioTranscriptionsResult",
    "UsageClient",
    "UsageCodeInterpreterSessionsResult",
    "UsageCompletionsResult",
    "UsageDecisionsResult",
    "UsageEmbeddingsResult",
    "UsageError",
    "UsageFileSearchCallsResult",
    "UsageImagesResult",
    "UsageModerationsResult",
    "UsageQuery",
    "UsageResponse",
    "UsageResult",
    "UsageRow",
    "UsageTimeBucket",
    "UsageVectorStoresResult",
    "UsageWebSearchCallsResult",
    "Verification",
    "converter",
    "dumps",
    "from_dict",
    "loads",
    "to_dict",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from usage_async._version import version

        return version()
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
