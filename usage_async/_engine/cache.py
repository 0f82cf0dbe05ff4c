"""Cache: what a client holds of the answers, and what it counts and tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import attrs

from usage_async._api.exact import short_repr
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._engine.answers import Answers, CachePolicy, Method, Outcome, Question, Read
from usage_async._query.scope import Scope

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class CacheEvent:
    """An answer of the cache.

    Attributes:
        endpoint: Name of the endpoint.
        method: Method of the query; `collect` and `report` are asked for by the routes of the web.
        outcome: `fresh`, an answer at hand; `stale`, an old one, while it is refreshed; `joined`, a
            run that another began; `read`, a run of its own; `failed`, an error at hand.
        age_s: Seconds since the run of an answer at hand began; None without one.
    """

    endpoint: str
    method: Method
    outcome: Outcome
    age_s: float | None = None

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema


@attrs.frozen(kw_only=True)
class CacheStats:
    """Counts of a cached client and of the clients that were derived from it.

    Attributes:
        fresh: Answers at hand that were given.
        stale: Old answers that were given, while they were refreshed.
        joined: Questions that waited for a run that another began.
        read: Questions that began a run.
        failed: Errors at hand that were raised.
        entries: Answers and errors that are held, within the scope of the client.
        bytes: Estimate of their memory.
    """

    fresh: int = 0
    stale: int = 0
    joined: int = 0
    read: int = 0
    failed: int = 0
    entries: int = 0
    bytes: int = 0

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema


class CacheAccess:
    """Access of one client to the answers.

    Args:
        answers: Answers that are shared with other clients.
        policy: Limits of this client.
        scope: Scope of this client.
        on_answer: Hook that is called with every answer.
        parent: Access of the client that this one was derived from; what is counted, counts for
            both.
    """

    def __init__(
        self,
        answers: Answers,
        policy: CachePolicy,
        scope: Scope | None,
        on_answer: Callable[[CacheEvent], object] | None,
        parent: CacheAccess | None = None,
    ) -> None:
        self._answers, self._policy, self._scope = answers, policy, scope
        self._on_answer = on_answer
        self._own: Counter[str] = Counter()
        self.counters: tuple[Counter[str], ...] = (self._own, *(parent.counters if parent else ()))

    def scoped(self, scope: Scope) -> CacheAccess:
        """Give the access of a client with a scope that is derived from this one."""
        return CacheAccess(self._answers, self._policy, scope, self._on_answer, self)

    def stats(self) -> CacheStats:
        """See `UsageCache.stats`."""
        entries, size = self._answers.size(self._scope)
        return CacheStats(**self._own, entries=entries, bytes=size)

    async def answer(self, question: Question, read: Read) -> Any:
        """See `Answers.answer`."""
        return await self._answers.answer(
            question, read, self._policy, partial(self._tell, question)
        )

    async def in_time(self, work: Coroutine[Any, Any, T], endpoint: str) -> T:
        """See `Answers.in_time`; the time is that of this client."""
        return await self._answers.in_time(work, endpoint, self._policy.wait_s)

    def _tell(self, question: Question, outcome: Outcome, age_s: float | None) -> None:
        for counter in self.counters:
            counter[outcome] += 1
        if self._on_answer is not None:
            event = CacheEvent(
                endpoint=question.query.endpoint.name,
                method=question.method,
                outcome=outcome,
                age_s=age_s,
            )
            self._on_answer(event)


@attrs.frozen
class UsageCache:
    """The cache of a client, for those who look after it."""

    _access: CacheAccess

    def stats(self) -> CacheStats:
        """Count the answers so far, and what is held at present.

        The counts are those of this client and of the clients that were derived from it. A client
        with a scope learns of no others.
        """
        return self._access.stats()
