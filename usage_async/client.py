"""The client, and the queries that it makes."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl as ssl_module
import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack

import attrs

from usage_async._custody import PRINTABLE, KeyCustody, KeySource, conceal, find_key
from usage_async._engine import Engine
from usage_async._fetch import Fetcher, RequestEvent
from usage_async._limiter import Limiter
from usage_async._pages import Stream
from usage_async._plan import Window
from usage_async._proof import Reading, Verification
from usage_async._retry import RetryPolicy
from usage_async._runtime import Runtime
from usage_async._transport import AiohttpTransport, Timeout, Transport, check_base_url
from usage_async._version import version
from usage_async.endpoints import (
    CostsParams,
    FileSearchCallsParams,
    ImagesParams,
    ModelParams,
    ProjectParams,
    TokenParams,
    WebSearchCallsParams,
)
from usage_async.errors import ConfigurationError, QueryError
from usage_async.models import (
    CostsResult,
    Notice,
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
from usage_async.query import Query, TimeRange, build
from usage_async.totals import Summary, Totals

if TYPE_CHECKING:
    from aiohttp import ClientSession


R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

_log = logging.getLogger("usage_async")

BASE_URL = "https://api.openai.com/v1"
BASE_URL_VARIABLE = "USAGE_ASYNC_BASE_URL"

_64_MIB = 64 * 1024 * 1024


class UsageClient:
    """Reads the usage and the costs of one organization.

    An async context manager, or `await client.close()`. It may be used from any task of one event
    loop. Every endpoint is a method that makes a query; a query sends nothing until it is used.

    Args:
        admin_key: An admin key, or an async callable that gives one (asked again once after a 401,
            so that keys can rotate). Else `OPENAI_ADMIN_KEY`, else the file that
            `OPENAI_ADMIN_KEY_FILE` names.
        base_url: Where the key may go; else `USAGE_ASYNC_BASE_URL`, else the API of OpenAI.
            `OPENAI_BASE_URL` is not read. https, or http to loopback.
        organization: Sent as `OpenAI-Organization`, for a key of several organizations.
        concurrency: The most requests in flight, over all queries of this client; with 1, cursors
            are followed one after another.
        timeout: Of one request.
        retry: How often and how long a request is tried again.
        max_page_bytes: The most bytes of one reply, decompressed.
        proxy: URL of an HTTP proxy. The environment is not read.
        ssl: A context with other certificates than the system's.
        session: An aiohttp session to use; it stays the caller's to close.
        transport: Stands in for the network: `(path, params, headers) -> (status, headers, body)`.
        on_notice: Called with every `Notice` of every run.
        trace: Called with a `RequestEvent` after every try of a request.
        runtime: Clocks, sleep and chance, for tests.

    Raises:
        ConfigurationError: No key, or an option that cannot be.
    """

    def __init__(
        self,
        admin_key: KeySource | None = None,
        *,
        base_url: str | None = None,
        organization: str | None = None,
        concurrency: int = 8,
        timeout: Timeout | None = None,
        retry: RetryPolicy | None = None,
        max_page_bytes: int = _64_MIB,
        proxy: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        session: ClientSession | None = None,
        transport: Transport | None = None,
        on_notice: Callable[[Notice], object] | None = None,
        trace: Callable[[RequestEvent], object] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        admin_key = conceal(admin_key)
        if concurrency.__class__ is not int or concurrency < 1:
            msg = f"concurrency takes an int of at least 1, not {concurrency!r}"
            raise ConfigurationError(msg)
        self._own_transport: AiohttpTransport | None = None
        if transport is None:
            if admin_key is None:
                admin_key = find_key()
            transport = self._own_transport = AiohttpTransport(
                check_base_url(base_url or _base_url()),
                timeout=timeout or Timeout(),
                max_page_bytes=max_page_bytes,
                proxy=proxy,
                ssl=ssl,
                session=session,
            )
        headers = {"Accept": "application/json", "User-Agent": f"usage-async/{version()}"}
        if organization is not None:
            headers["OpenAI-Organization"] = _organization(organization)
        runtime = runtime or Runtime()
        fetcher = Fetcher(
            transport=transport,
            custody=KeyCustody(admin_key),
            limiter=Limiter(concurrency, runtime),
            policy=retry or RetryPolicy(),
            runtime=runtime,
            headers=headers,
            trace=trace,
        )
        self._engine = Engine(fetcher, on_notice)
        self._entered = False

    @property
    def limiter(self) -> Limiter:
        """How many requests are in flight, and may be."""
        return self._engine.fetcher.limiter

    def completions(self, **params: Unpack[TokenParams]) -> UsageQuery[UsageCompletionsResult]:
        """Tokens of chat completions and responses."""
        return self._query("completions", UsageCompletionsResult, params)

    def embeddings(self, **params: Unpack[ModelParams]) -> UsageQuery[UsageEmbeddingsResult]:
        """Tokens that were embedded."""
        return self._query("embeddings", UsageEmbeddingsResult, params)

    def moderations(self, **params: Unpack[ModelParams]) -> UsageQuery[UsageModerationsResult]:
        """Tokens that were moderated."""
        return self._query("moderations", UsageModerationsResult, params)

    def images(self, **params: Unpack[ImagesParams]) -> UsageQuery[UsageImagesResult]:
        """Images that were generated, edited or varied."""
        return self._query("images", UsageImagesResult, params)

    def audio_speeches(self, **params: Unpack[ModelParams]) -> UsageQuery[UsageAudioSpeechesResult]:
        """Characters that were spoken."""
        return self._query("audio_speeches", UsageAudioSpeechesResult, params)

    def audio_transcriptions(
        self, **params: Unpack[ModelParams]
    ) -> UsageQuery[UsageAudioTranscriptionsResult]:
        """Seconds of audio that were transcribed."""
        return self._query("audio_transcriptions", UsageAudioTranscriptionsResult, params)

    def vector_stores(self, **params: Unpack[ProjectParams]) -> UsageQuery[UsageVectorStoresResult]:
        """Bytes that vector stores hold."""
        return self._query("vector_stores", UsageVectorStoresResult, params)

    def code_interpreter_sessions(
        self, **params: Unpack[ProjectParams]
    ) -> UsageQuery[UsageCodeInterpreterSessionsResult]:
        """Code interpreter sessions."""
        return self._query("code_interpreter_sessions", UsageCodeInterpreterSessionsResult, params)

    def file_search_calls(
        self, **params: Unpack[FileSearchCallsParams]
    ) -> UsageQuery[UsageFileSearchCallsResult]:
        """Calls of the file search tool."""
        return self._query("file_search_calls", UsageFileSearchCallsResult, params)

    def web_search_calls(
        self, **params: Unpack[WebSearchCallsParams]
    ) -> UsageQuery[UsageWebSearchCallsResult]:
        """Calls of the web search tool."""
        return self._query("web_search_calls", UsageWebSearchCallsResult, params)

    def decisions(self, **params: Unpack[TokenParams]) -> UsageQuery[UsageDecisionsResult]:
        """Tokens of decisions."""
        return self._query("decisions", UsageDecisionsResult, params)

    def costs(self, **params: Unpack[CostsParams]) -> UsageQuery[CostsResult]:
        """Money, by day; it may be revised for some days."""
        return self._query("costs", CostsResult, params)

    def query(
        self, name_or_path: str, /, *, unchecked: bool = False, **params: Any
    ) -> UsageQuery[Any]:
        """Make a query by the name of its endpoint, or for what this release does not know.

        Args:
            name_or_path: A name of `ENDPOINTS`, or a path such as `/organization/usage/brand_new`,
                whose results are `UnknownResult`.
            unchecked: Send parameters and values that this release does not know.
            params: The endpoint's parameters.

        Raises:
            QueryError: A parameter that the endpoint does not take.
        """
        query = build(name_or_path, params, unchecked=unchecked)
        return UsageQuery(self._engine, query, query.endpoint.result_class)

    def _query(self, name: str, kind: type[R], params: Any) -> UsageQuery[R]:
        return UsageQuery(self._engine, build(name, params), kind)

    async def gather(self, *queries: UsageQuery[Any]) -> list[list[UsageTimeBucket[Any]]]:
        """Collect several queries at the same time, under the one limit of this client.

        Returns:
            The buckets of each query, in the order of the queries.

        Raises:
            UsageError: What the first query that failed ended in; the others are cancelled.
        """
        failure: BaseException
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(query.collect()) for query in queries]
            return [task.result() for task in tasks]
        except BaseExceptionGroup as errors:
            failure = errors.exceptions[0]
        raise failure

    async def close(self) -> None:
        """End every request of this client, and its own session; can be called again.

        Raises:
            ConfigurationError: It was used in another event loop.
        """
        self._engine.check_loop()
        try:
            await self._engine.close()
        finally:
            if self._own_transport is not None:
                await self._own_transport.close()

    async def __aenter__(self) -> Self:
        self._engine.check_usable()
        if self._entered:
            raise ConfigurationError("this client was entered before; make another one")
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and engine.loop is not None and not engine.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)


def _organization(text: str) -> str:
    if not PRINTABLE.fullmatch(text):
        raise ConfigurationError(f"organization takes an id such as 'org-…', not {text!r}")
    return text


def _base_url() -> str:
    if "OPENAI_BASE_URL" in os.environ:
        _log.info("OPENAI_BASE_URL is set, and not read: see %s", BASE_URL_VARIABLE)
    return os.environ.get(BASE_URL_VARIABLE) or BASE_URL


@attrs.frozen
class UsageQuery(Generic[R]):
    """What is asked of an endpoint; it sends nothing until it is used, and can be used again.

    Equal queries of one client are equal. `async for` over it gives its buckets, by time.
    """

    _engine: Engine
    _query: Query
    _kind: type[R]

    def __repr__(self) -> str:
        return f"client.{self._query}"

    def __aiter__(self) -> Stream[UsageTimeBucket[R]]:
        return self.stream()

    def stream(self) -> Stream[UsageTimeBucket[R]]:
        """Begin a run that gives buckets."""
        return self._engine.start(self._query, self._kind, _buckets)

    def pages(self) -> Stream[UsageResponse[R]]:
        """Begin a run that gives pages; `has_more` and `next_page` are those of their window."""
        return self._engine.start(self._query, self._kind, _page)

    def results(self) -> Stream[tuple[UsageTimeBucket[R], R]]:
        """Begin a run that gives every result, with its bucket."""
        return self._engine.start(self._query, self._kind, _results)

    def rows(self) -> Stream[UsageRow]:
        """Begin a run that gives every result as a flat row, those of other kinds too."""
        return self._engine.start(self._query, self._kind, _rows)

    async def collect(self) -> list[UsageTimeBucket[R]]:
        """Read every bucket."""
        async with self.stream() as stream:
            return [bucket async for bucket in stream]

    async def first(self) -> UsageTimeBucket[R] | None:
        """Read the first bucket, by one request; None where there is none."""
        # A cursor is bound to the limit that it was made with.
        one = self._query if self._query.page else attrs.evolve(self._query, limit=1)
        async with self._engine.start(one, self._kind, _buckets, concurrency=1) as stream:
            return await anext(stream, None)

    async def total(self) -> R:
        """Add everything up, exactly.

        Raises:
            IncompleteError: There are rows of a kind that has no known sum.
            MixedCurrencyError: There are amounts in several currencies.
        """
        totals = self._totals(())
        async with self.stream() as stream:
            async for bucket in stream:
                totals.add(bucket)
        return totals.total()

    async def totals(self, *dimensions: str) -> list[R]:
        """Add everything up by some of the dimensions that the query groups by.

        Returns:
            One row a group, the largest first by the endpoint's measure; several currencies are
            several rows.

        Raises:
            QueryError: The query does not group by the dimension.
            IncompleteError: There are rows of a kind that has no known sum.
        """
        totals = self._totals(dimensions)
        async with self.stream() as stream:
            async for bucket in stream:
                totals.add(bucket)
        return totals.groups()

    async def summary(self, *dimensions: str) -> Summary[R]:
        """Add everything up, in total and by some dimensions, and say how far to trust it.

        Raises:
            QueryError: The query does not group by the dimension.
            IncompleteError: There are rows of a kind that has no known sum.
            MixedCurrencyError: There are amounts in several currencies.
        """
        total, groups = self._totals(()), self._totals(dimensions)
        covered, settled = None, None
        async with self.stream() as stream:
            requested = TimeRange(stream.start_time, stream.end_time)
            as_of = datetime.fromtimestamp(stream.as_of, UTC)
            async for bucket in stream:
                total.add(bucket)
                groups.add(bucket)
                begin = covered.start_time if covered else bucket.start_time
                covered = TimeRange(begin, bucket.end_time)
                if bucket.is_settled(as_of):
                    settled = bucket.end
        return Summary(
            total=total.total(),
            groups=groups.groups(),
            requested=requested,
            covered=covered,
            settled_through=settled,
            as_of=as_of,
            notices=stream.notices,
        )

    async def verify(self, *, strict: bool = False) -> Verification:
        """Prove that what this query reads is whole.

        Every expected bucket must come exactly once, and over settled buckets the groups must add
        up to the ungrouped figure of a second, cheaper query. Where they do not, both are read
        again once, since figures may have been revised in between.

        Args:
            strict: Raise unless everything is proven.

        Raises:
            IncompleteError: With `strict`: buckets are missing, or differ.
        """
        query = attrs.evolve(self._query, page=None)
        grouped, window = await self._read(query)
        differing = await self._differing(query, grouped)
        if differing:
            again = attrs.evolve(query, start=differing[0], end=differing[-1] + 1)
            still = await self._differing(again, (await self._read(again))[0])
            differing = tuple(start for start in differing if start in still)
        verification = Verification(
            checked=tuple(start for start in grouped.figures if start not in differing),
            unsettled=tuple(grouped.unsettled),
            missing=grouped.missing(window),
            differing=differing,
        )
        if strict:
            verification.raise_if_incomplete()
        return verification

    async def _differing(self, query: Query, grouped: Reading) -> tuple[int, ...]:
        if not query.group_by:
            return ()
        whole, _ = await self._read(attrs.evolve(query, group_by=()))
        return grouped.differing(whole)

    async def _read(self, query: Query) -> tuple[Reading, Window]:
        async with self._engine.start(query, self._kind, _buckets) as stream:
            reading = Reading(stream.as_of)
            async for bucket in stream:
                reading.add(bucket)
        return reading, Window(stream.start_time, stream.end_time, query.width_s)

    def _totals(self, dimensions: tuple[str, ...]) -> Totals[R]:
        for dimension in dimensions:
            if dimension not in self._query.group_by:
                msg = f"{self!r} does not group by {dimension!r}: add it to group_by"
                raise QueryError(msg)
        return Totals(self._kind, self._query.endpoint.measure, dimensions)


def _buckets(page: UsageResponse[R]) -> Iterable[UsageTimeBucket[R]]:
    return page.data


def _page(page: UsageResponse[R]) -> Iterable[UsageResponse[R]]:
    return (page,)


def _results(page: UsageResponse[R]) -> Iterable[tuple[UsageTimeBucket[R], R]]:
    return ((bucket, result) for bucket in page.data for result in bucket.results)


def _rows(page: UsageResponse[R]) -> Iterable[UsageRow]:
    return (row for bucket in page.data for row in bucket.rows())
