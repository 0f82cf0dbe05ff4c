"""UsageClient: its options, and one method for each endpoint."""

from __future__ import annotations

import logging
import os
import ssl as ssl_module
import warnings
from collections.abc import Callable, Iterable
from copy import copy
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from usage_async._api.endpoints import (
    ENDPOINTS,
    CostsParams,
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
    signature,
)
from usage_async._api.pages import (
    SETTLES_AFTER,
    Notice,
    UsageTimeBucket,
)
from usage_async._api.results import (
    CostsResult,
    UsageAudioSpeechesResult,
    UsageAudioTranscriptionsResult,
    UsageCodeInterpreterSessionsResult,
    UsageCompletionsResult,
    UsageDecisionsResult,
    UsageEmbeddingsResult,
    UsageFileSearchCallsResult,
    UsageImagesResult,
    UsageModerationsResult,
    UsageResult,
    UsageVectorStoresResult,
    UsageWebSearchCallsResult,
)
from usage_async._client.query import UsageQuery
from usage_async._engine.engine import Engine, together
from usage_async._http.fetch import Fetcher, RequestEvent
from usage_async._http.key import (
    PRINTABLE,
    KeyCustody,
    KeySource,
    Secret,
    conceal_key,
    conceal_option,
    find_key,
)
from usage_async._http.limiter import AdaptiveLimiter, Limiter, check_count
from usage_async._http.retry import RetryPolicy
from usage_async._http.runtime import Runtime
from usage_async._http.transport import (
    MAX_PAGE_BYTES,
    AiohttpTransport,
    Timeout,
    Transport,
    check_base_url,
)
from usage_async._query.request import CheckedQuery, build
from usage_async._query.scope import Scope, checked_scope
from usage_async.errors import ConfigurationError, QueryError, ScopeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from usage_async._api.names import NameList
    from usage_async._api.results import UsageRow
    from usage_async._client.names import Names
    from usage_async._client.names_book import NamesBook
    from usage_async._engine.answers import Answers
    from usage_async._engine.cache import CacheAccess, CacheEvent, UsageCache
    from usage_async._http.transport import Session


R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

_log = logging.getLogger("usage_async")

BASE_URL = "https://api.openai.com/v1"
BASE_URL_VARIABLE = "USAGE_ASYNC_BASE_URL"

_CENTURY = timedelta(days=36525)


class UsageClient:
    """Client for the usage and the costs of one organization.

    It is an async context manager; without `async with`, call `await client.close()`. It may be
    used in all tasks of one event loop. Each endpoint has a method that makes a query. A query
    sends nothing until it is used.

    Args:
        admin_key: Admin key of the organization, or an async callable that returns it. The callable
            is called once more after a 401, so that keys can rotate. Default: the environment
            variable `OPENAI_ADMIN_KEY`, else the content of the file that `OPENAI_ADMIN_KEY_FILE`
            names.
        base_url: URL of the API, https or http to loopback. Default: `USAGE_ASYNC_BASE_URL`, else
            the API of OpenAI. `OPENAI_BASE_URL` is not read.
        organization: Id of the organization, sent as `OpenAI-Organization`. Needed only for a key
            of several organizations.
        concurrency: The most requests in flight over all queries of this client. With 1, pages are
            requested one after another.
        timeout: Time limits of one request.
        retry: Limits of retrying a request.
        max_page_bytes: Size limit of one reply, after decompression.
        settle_after: Time after its end in which a bucket may still be revised. Younger figures are
            marked by a notice (`unsettled`), and `verify` does not compare them.
        proxy: URL of an HTTP proxy. The environment is not read.
        ssl: TLS context, for other certificates than those of the system.
        session: The aiohttp session to use. The client does not close it.
        transport: Coroutine function that replaces the network, as in tests:
            `(path, params, headers) -> (status, headers, body)`.
        on_notice: Function that is called with every `Notice` of every run.
        trace: Function that is called with a `RequestEvent` after every try of a request.
        limiter: Bound on the requests in flight that this client shares with others, fairly. It
            does not replace `concurrency`, and each client slows down after a 429 for itself.
        runtime: Clocks, sleep and chance, for tests.

    Raises:
        ConfigurationError: There is no key, or an option is invalid.
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
        max_page_bytes: int = MAX_PAGE_BYTES,
        settle_after: timedelta = SETTLES_AFTER,
        proxy: str | None = None,
        ssl: ssl_module.SSLContext | None = None,
        session: Session | None = None,
        transport: Transport | None = None,
        on_notice: Callable[[Notice], object] | None = None,
        trace: Callable[[RequestEvent], object] | None = None,
        limiter: Limiter | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        admin_key = conceal_key(admin_key)
        base_url, proxy, organization = map(conceal_option, (base_url, proxy, organization))
        check_count("concurrency", concurrency)
        if settle_after.__class__ is not timedelta or not timedelta() <= settle_after < _CENTURY:
            msg = f"settle_after takes a timedelta below a hundred years, not {settle_after!r}"
            raise ConfigurationError(msg)
        self._own_transport: AiohttpTransport | None = None
        if transport is None and admin_key is None:
            admin_key = find_key()
        custody = KeyCustody(admin_key)
        if transport is None:
            transport = self._own_transport = AiohttpTransport(
                check_base_url(base_url or _base_url(), custody.redactor),
                timeout=timeout or Timeout(),
                max_page_bytes=max_page_bytes,
                proxy=proxy,
                ssl=ssl,
                session=session,
            )
        from usage_async._api.version import __version__

        headers = {"Accept": "application/json", "User-Agent": f"usage-async/{__version__}"}
        if organization is not None:
            headers["OpenAI-Organization"] = _organization(organization)
        runtime = runtime or Runtime()
        fetcher = Fetcher(
            transport=transport,
            custody=custody,
            limiter=AdaptiveLimiter(concurrency, runtime, limiter),
            policy=retry or RetryPolicy(),
            runtime=runtime,
            headers=headers,
            trace=trace,
        )
        self._engine = Engine(fetcher, on_notice, settle_after)
        self._answers: Answers | None = None
        self._parent: UsageClient | None = None
        self._scope: Scope | None = None
        self._cache: CacheAccess | None = None
        self._entered = False

    @property
    def limiter(self) -> AdaptiveLimiter:
        """Limiter of this client; it shows its requests in flight and their present limit."""
        return self._engine.fetcher.limiter

    def completions(
        self, **params: Unpack[UsageCompletionsParams]
    ) -> UsageQuery[UsageCompletionsResult]:
        """Tokens of chat completions and responses."""
        return self._query("completions", UsageCompletionsResult, params)

    def embeddings(
        self, **params: Unpack[UsageEmbeddingsParams]
    ) -> UsageQuery[UsageEmbeddingsResult]:
        """Tokens of embeddings."""
        return self._query("embeddings", UsageEmbeddingsResult, params)

    def moderations(
        self, **params: Unpack[UsageModerationsParams]
    ) -> UsageQuery[UsageModerationsResult]:
        """Tokens of moderations."""
        return self._query("moderations", UsageModerationsResult, params)

    def images(self, **params: Unpack[UsageImagesParams]) -> UsageQuery[UsageImagesResult]:
        """Generated, edited and varied images."""
        return self._query("images", UsageImagesResult, params)

    def audio_speeches(
        self, **params: Unpack[UsageAudioSpeechesParams]
    ) -> UsageQuery[UsageAudioSpeechesResult]:
        """Characters of synthesized speech."""
        return self._query("audio_speeches", UsageAudioSpeechesResult, params)

    def audio_transcriptions(
        self, **params: Unpack[UsageAudioTranscriptionsParams]
    ) -> UsageQuery[UsageAudioTranscriptionsResult]:
        """Seconds of transcribed audio."""
        return self._query("audio_transcriptions", UsageAudioTranscriptionsResult, params)

    def vector_stores(
        self, **params: Unpack[UsageVectorStoresParams]
    ) -> UsageQuery[UsageVectorStoresResult]:
        """Bytes that vector stores hold."""
        return self._query("vector_stores", UsageVectorStoresResult, params)

    def code_interpreter_sessions(
        self, **params: Unpack[UsageCodeInterpreterSessionsParams]
    ) -> UsageQuery[UsageCodeInterpreterSessionsResult]:
        """Code interpreter sessions."""
        return self._query("code_interpreter_sessions", UsageCodeInterpreterSessionsResult, params)

    def file_search_calls(
        self, **params: Unpack[UsageFileSearchCallsParams]
    ) -> UsageQuery[UsageFileSearchCallsResult]:
        """Calls of the file search tool."""
        return self._query("file_search_calls", UsageFileSearchCallsResult, params)

    def web_search_calls(
        self, **params: Unpack[UsageWebSearchCallsParams]
    ) -> UsageQuery[UsageWebSearchCallsResult]:
        """Calls of the web search tool."""
        return self._query("web_search_calls", UsageWebSearchCallsResult, params)

    def decisions(self, **params: Unpack[UsageDecisionsParams]) -> UsageQuery[UsageDecisionsResult]:
        """Tokens of decisions."""
        return self._query("decisions", UsageDecisionsResult, params)

    def costs(self, **params: Unpack[CostsParams]) -> UsageQuery[CostsResult]:
        """Costs by day. The service may revise them for some days."""
        return self._query("costs", CostsResult, params)

    def query(
        self, name_or_path: str, /, *, unchecked: bool = False, **params: Any
    ) -> UsageQuery[Any]:
        """Make a query of an endpoint that is named, even of one that this release does not know.

        Args:
            name_or_path: Name in `ENDPOINTS`, or a path such as `/organization/usage/brand_new`. An
                unknown endpoint gives results of the class `UnknownResult`.
            unchecked: True to send parameters and values that this release does not know.
            params: Parameters of the endpoint.

        Raises:
            QueryError: The endpoint does not take a parameter or its value.
        """
        query = self._built(name_or_path, params, unchecked=unchecked)
        return UsageQuery(self._engine, query, query.endpoint.result_class, self._cache)

    def _query(self, name: str, kind: type[R], params: Any) -> UsageQuery[R]:
        return UsageQuery(self._engine, self._built(name, params), kind, self._cache)

    def _built(self, name: str, params: Any, *, unchecked: bool = False) -> CheckedQuery:
        try:
            query = build(name, params, unchecked=unchecked)
            if self._scope is None:
                return query
            if unchecked:
                raise ScopeError("unchecked=True may read anything; a scope does not allow it")
            return query.within(self._scope)
        except QueryError as error:
            failure = error
        # The message quotes the parameters, one of which may be the key by mistake.
        raise self._engine.fetcher.told(failure)

    def scoped(self, *, project_ids: Iterable[str], people: bool = False) -> Self:
        """Derive a client that reads some projects only, and nothing else of the organization.

        It shares connection, limits and cache with this client, which stays their owner: closing
        the derived client closes nothing. Each of its requests is limited to the projects and
        grouped by project. One row that is not theirs, and nothing of the reply is shown. Errors
        hold no text of the service. Refused are a saved cursor (pages have no `next_page`),
        `unchecked`, unknown paths, and users beside projects where the service refuses that.

        Args:
            project_ids: Ids of the projects. Of those of a scoped client, the ones in both remain.
            people: True to group and filter by users and API keys. Fields that tell of them are
                None otherwise. Those of the organization always are.

        Raises:
            ScopeError: There is no project.
        """
        try:
            scope = checked_scope(project_ids, people).within(self._scope)
        except ScopeError as error:
            failure = error
        else:
            return self._derived(scope, self._cache and self._cache.scoped(scope))
        # The message quotes a value, which may be the key.
        raise self._engine.fetcher.told(failure)

    def cached(
        self,
        *,
        ttl_s: float = 60.0,
        stale_s: float = 3600.0,
        settled_ttl_s: float = 86400.0,
        error_ttl_s: float = 2.0,
        wait_s: float = 10.0,
        max_bytes: int = 1 << 26,
        on_answer: Callable[[CacheEvent], object] | None = None,
    ) -> Self:
        """Derive a client whose queries share the answers of equal ones.

        These are `first`, `total`, `totals` and `summary`. Whoever asks the same at the same time
        waits for one run. It shares everything with this client, which stays the owner: closing the
        derived client closes nothing. An answer holds for as long as its period is of the same
        days: after midnight, `today` is another question.

        Args:
            ttl_s: Age in seconds below which an answer is given as it is. It counts from the begin
                of the run, which is `as_of` of a summary.
            stale_s: Age below which an answer is given while it is read again.
            settled_ttl_s: The same as `ttl_s`, of figures that are complete and old enough not to
                be revised.
            error_ttl_s: Seconds for which an error is raised again.
            wait_s: Seconds after which `APITimeoutError` is raised, or `RateLimitError` while the
                service throttles this client. The run goes on.
            max_bytes: The most memory of all answers, as estimated; the least recently used go
                first.
            on_answer: Function that is called with a `CacheEvent` before each answer.

        Raises:
            ConfigurationError: An option is invalid.
        """
        from usage_async._engine.answers import CachePolicy
        from usage_async._engine.cache import CacheAccess

        policy = CachePolicy(
            ttl_s=ttl_s,
            stale_s=stale_s,
            settled_ttl_s=settled_ttl_s,
            error_ttl_s=error_ttl_s,
            wait_s=wait_s,
            max_bytes=max_bytes,
        )
        cache = CacheAccess(self._shared_answers(), policy, self._scope, on_answer, self._cache)
        return self._derived(self._scope, cache)

    def _shared_answers(self) -> Answers:
        """Give the answers of the client that owns the connection."""
        from usage_async._engine.answers import Answers

        if self._parent is not None:
            return self._parent._shared_answers()  # noqa: SLF001 - it is of this class
        if self._answers is None:
            self._answers = Answers(self._engine)
        return self._answers

    @property
    def cache(self) -> UsageCache:
        """Cache of this client.

        Raises:
            ConfigurationError: It has none.
        """
        from usage_async._engine.cache import UsageCache

        if self._cache is None:
            raise ConfigurationError("this client has no cache; use client.cached()")
        return UsageCache(self._cache)

    def _derived(self, scope: Scope | None, cache: CacheAccess | None) -> Self:
        derived = copy(self)
        own = {"_parent": self, "_own_transport": None, "_entered": False}
        vars(derived).update(own, _scope=scope, _cache=cache)
        return derived

    async def gather(self, *queries: UsageQuery[Any]) -> list[list[UsageTimeBucket[Any]]]:
        """Collect several queries concurrently, within the `concurrency` of this client.

        Returns:
            The buckets of each query, in the order of the queries.

        Raises:
            UsageError: A query failed. The others are cancelled.
        """
        return await together(query.collect() for query in queries)

    async def names(self, *lists: NameList, project_ids: Iterable[str] | None = None) -> Names:
        """Read the names of projects, users and API keys.

        Lists that the key may not read, and projects that refuse, are left out with a notice.

        Args:
            lists: The lists to read: `"projects"`, `"users"`, `"api_keys"`. By default projects and
                users; with `project_ids` all three.
            project_ids: Projects whose API keys to read, each by a request of its own. The owners
                of the keys are among the users, service accounts too.

        Raises:
            QueryError: There is no such list, or API keys are asked for without `project_ids`.
            UsageError: A list could not be read.
        """
        return await self.names_book().read(*lists, project_ids=project_ids)

    async def names_for(
        self, rows: Iterable[UsageResult | UsageRow], *, known: Names | None = None
    ) -> Names:
        """Read the names of what rows hold by id, and nothing else.

        A list is read only if rows hold an id that it may name, and that has no name yet: costs
        carry names of projects and addresses of users themselves. API keys are read for the
        projects that the rows name beside them: group by `project_id`, too.

        Args:
            rows: Results, totals or flat rows, of any endpoints.
            known: Names at hand, such as those of an earlier reading. They are part of the result,
                so that what was deleted keeps its name.

        Raises:
            UsageError: A list could not be read.
        """
        return await self.names_book(known=known).update(rows)

    def names_book(self, *, known: Names | None = None) -> NamesBook:
        """Make a book of names, which reads each list at most once while rows come.

        Args:
            known: Names at hand.
        """
        from usage_async._client.names import Names
        from usage_async._client.names_book import NamesBook

        return NamesBook(self._engine, known or Names(), self._scope)

    async def close(self) -> None:
        """Cancel every request of this client, and close its own session.

        It may be called several times.

        Raises:
            ConfigurationError: The client was used in another event loop.
        """
        if self._parent is not None:
            return
        self._engine.check_loop()
        if self._answers is not None:
            self._answers.clear()
        try:
            await self._engine.close()
        finally:
            if self._own_transport is not None:
                await self._own_transport.close()

    async def __aenter__(self) -> Self:
        self._engine.check_usable()
        if self._entered:
            raise ConfigurationError(
                "this client was already entered by async with; make another client"
            )
        self._entered = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        is_owner = getattr(self, "_parent", None) is None
        if is_owner and engine is not None and engine.loop is not None and not engine.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)


for _endpoint in ENDPOINTS.values():
    _returns: Any = UsageQuery[_endpoint.result_class]  # type: ignore[name-defined] # a class is a value
    vars(UsageClient)[_endpoint.name].__signature__ = signature(_endpoint, _returns)


def _organization(text: str) -> str:
    if not PRINTABLE.fullmatch(text):
        # The message does not quote it: it may be the key by mistake.
        raise ConfigurationError("organization takes an id such as 'org-…', without blanks")
    return text


def _base_url() -> Secret:
    if "OPENAI_BASE_URL" in os.environ:
        _log.info("OPENAI_BASE_URL is set, but not read; set %s instead", BASE_URL_VARIABLE)
    return Secret(os.environ.get(BASE_URL_VARIABLE) or BASE_URL)
