"""The asyncio client for an OpenAI organization's usage and costs.

async with UsageClient() as client:  # OPENAI_ADMIN_KEY from the environment
    async for bucket in client.costs(period="last-month", group_by=["project_id"]):
        ...

Names are imported when they are first used: a command line's help or a pytest plugin must not wait
for aiohttp.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async._api.endpoints import (
        ENDPOINTS as ENDPOINTS,
        CostsParams as CostsParams,
        Endpoint as Endpoint,
        UsageAudioSpeechesParams as UsageAudioSpeechesParams,
        UsageAudioTranscriptionsParams as UsageAudioTranscriptionsParams,
        UsageCodeInterpreterSessionsParams as UsageCodeInterpreterSessionsParams,
        UsageCompletionsParams as UsageCompletionsParams,
        UsageDecisionsParams as UsageDecisionsParams,
        UsageEmbeddingsParams as UsageEmbeddingsParams,
        UsageFileSearchCallsParams as UsageFileSearchCallsParams,
        UsageImagesParams as UsageImagesParams,
        UsageModerationsParams as UsageModerationsParams,
        UsageVectorStoresParams as UsageVectorStoresParams,
        UsageWebSearchCallsParams as UsageWebSearchCallsParams,
    )
    from usage_async._api.exact import Extra as Extra
    from usage_async._api.names import (
        ApiKey as ApiKey,
        ApiKeyOwner as ApiKeyOwner,
        Project as Project,
        User as User,
    )
    from usage_async._api.pages import (
        Notice as Notice,
        UsageResponse as UsageResponse,
        UsageTimeBucket as UsageTimeBucket,
    )
    from usage_async._api.results import (
        CostsResult as CostsResult,
        CostsResultAmount as CostsResultAmount,
        DerivedLineItem as DerivedLineItem,
        UnknownResult as UnknownResult,
        UsageAudioSpeechesResult as UsageAudioSpeechesResult,
        UsageAudioTranscriptionsResult as UsageAudioTranscriptionsResult,
        UsageCodeInterpreterSessionsResult as UsageCodeInterpreterSessionsResult,
        UsageCompletionsResult as UsageCompletionsResult,
        UsageDecisionsResult as UsageDecisionsResult,
        UsageEmbeddingsResult as UsageEmbeddingsResult,
        UsageFileSearchCallsResult as UsageFileSearchCallsResult,
        UsageImagesResult as UsageImagesResult,
        UsageModerationsResult as UsageModerationsResult,
        UsageResult as UsageResult,
        UsageRow as UsageRow,
        UsageVectorStoresResult as UsageVectorStoresResult,
        UsageWebSearchCallsResult as UsageWebSearchCallsResult,
    )
    from usage_async._api.version import __version__ as __version__
    from usage_async._client.client import UsageClient as UsageClient
    from usage_async._client.names import Names as Names
    from usage_async._client.names_book import NamesBook as NamesBook
    from usage_async._client.query import UsageQuery as UsageQuery
    from usage_async._codec.converter import (
        converter as converter,
        dumps as dumps,
        from_dict as from_dict,
        loads as loads,
        to_dict as to_dict,
    )
    from usage_async._codec.schemas import arrow_schema as arrow_schema
    from usage_async._codec.tables import to_arrow as to_arrow
    from usage_async._engine.cache import (
        CacheEvent as CacheEvent,
        CacheStats as CacheStats,
        UsageCache as UsageCache,
    )
    from usage_async._engine.stream import Stream as Stream
    from usage_async._http.fetch import RequestEvent as RequestEvent
    from usage_async._http.limiter import (
        AdaptiveLimiter as AdaptiveLimiter,
        Limiter as Limiter,
    )
    from usage_async._http.retry import RetryPolicy as RetryPolicy
    from usage_async._http.runtime import Runtime as Runtime
    from usage_async._http.transport import Timeout as Timeout
    from usage_async._query.times import TimeRange as TimeRange
    from usage_async._sums.totals import Summary as Summary
    from usage_async._sums.verification import Verification as Verification
    from usage_async.errors import (
        APIConnectionError as APIConnectionError,
        APIStatusError as APIStatusError,
        APITimeoutError as APITimeoutError,
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        ConfigurationError as ConfigurationError,
        IncompleteError as IncompleteError,
        InternalServerError as InternalServerError,
        MixedCurrencyError as MixedCurrencyError,
        NotFoundError as NotFoundError,
        PaginationError as PaginationError,
        PermissionDeniedError as PermissionDeniedError,
        QueryError as QueryError,
        RangeUnavailableError as RangeUnavailableError,
        RateLimitError as RateLimitError,
        ResponseError as ResponseError,
        ScopeError as ScopeError,
        StoreError as StoreError,
        StoreMovedError as StoreMovedError,
        UsageError as UsageError,
    )

_HOMES = {
    "APIConnectionError": "errors",
    "APIStatusError": "errors",
    "APITimeoutError": "errors",
    "AdaptiveLimiter": "_http.limiter",
    "ApiKey": "_api.names",
    "ApiKeyOwner": "_api.names",
    "AuthenticationError": "errors",
    "BadRequestError": "errors",
    "CacheEvent": "_engine.cache",
    "CacheStats": "_engine.cache",
    "ConfigurationError": "errors",
    "CostsParams": "_api.endpoints",
    "CostsResult": "_api.results",
    "CostsResultAmount": "_api.results",
    "DerivedLineItem": "_api.results",
    "ENDPOINTS": "_api.endpoints",
    "Endpoint": "_api.endpoints",
    "Extra": "_api.exact",
    "IncompleteError": "errors",
    "InternalServerError": "errors",
    "Limiter": "_http.limiter",
    "MixedCurrencyError": "errors",
    "Names": "_client.names",
    "NamesBook": "_client.names_book",
    "NotFoundError": "errors",
    "Notice": "_api.pages",
    "PaginationError": "errors",
    "PermissionDeniedError": "errors",
    "Project": "_api.names",
    "QueryError": "errors",
    "RangeUnavailableError": "errors",
    "RateLimitError": "errors",
    "RequestEvent": "_http.fetch",
    "ResponseError": "errors",
    "RetryPolicy": "_http.retry",
    "Runtime": "_http.runtime",
    "ScopeError": "errors",
    "StoreError": "errors",
    "StoreMovedError": "errors",
    "Stream": "_engine.stream",
    "Summary": "_sums.totals",
    "TimeRange": "_query.times",
    "Timeout": "_http.transport",
    "UnknownResult": "_api.results",
    "UsageAudioSpeechesParams": "_api.endpoints",
    "UsageAudioSpeechesResult": "_api.results",
    "UsageAudioTranscriptionsParams": "_api.endpoints",
    "UsageAudioTranscriptionsResult": "_api.results",
    "UsageCache": "_engine.cache",
    "UsageClient": "_client.client",
    "UsageCodeInterpreterSessionsParams": "_api.endpoints",
    "UsageCodeInterpreterSessionsResult": "_api.results",
    "UsageCompletionsParams": "_api.endpoints",
    "UsageCompletionsResult": "_api.results",
    "UsageDecisionsParams": "_api.endpoints",
    "UsageDecisionsResult": "_api.results",
    "UsageEmbeddingsParams": "_api.endpoints",
    "UsageEmbeddingsResult": "_api.results",
    "UsageError": "errors",
    "UsageFileSearchCallsParams": "_api.endpoints",
    "UsageFileSearchCallsResult": "_api.results",
    "UsageImagesParams": "_api.endpoints",
    "UsageImagesResult": "_api.results",
    "UsageModerationsParams": "_api.endpoints",
    "UsageModerationsResult": "_api.results",
    "UsageQuery": "_client.query",
    "UsageResponse": "_api.pages",
    "UsageResult": "_api.results",
    "UsageRow": "_api.results",
    "UsageTimeBucket": "_api.pages",
    "UsageVectorStoresParams": "_api.endpoints",
    "UsageVectorStoresResult": "_api.results",
    "UsageWebSearchCallsParams": "_api.endpoints",
    "UsageWebSearchCallsResult": "_api.results",
    "User": "_api.names",
    "Verification": "_sums.verification",
    "arrow_schema": "_codec.schemas",
    "converter": "_codec.converter",
    "dumps": "_codec.converter",
    "from_dict": "_codec.converter",
    "loads": "_codec.converter",
    "to_arrow": "_codec.tables",
    "to_dict": "_codec.converter",
}
"""The module of each public name."""

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, {**_HOMES, "__version__": "_api.version"})
