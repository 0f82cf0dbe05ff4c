"""Run: the constants of one reading of a query, and its notices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from usage_async._api.pages import Notice
from usage_async._api.results import UsageResult
from usage_async._codec.decoded import Decoded
from usage_async._http.fetch import Decoder, Request
from usage_async._query.request import CheckedQuery
from usage_async._query.times import TimeRange
from usage_async._query.windows import UncutRange, Window

R = TypeVar("R", bound=UsageResult)

_log = logging.getLogger("usage_async")


@attrs.frozen(kw_only=True)
class Run(Generic[R]):
    """One reading of a query, from one instant.

    Attributes:
        query: The query.
        decoder: Reader of its pages.
        now: Unix seconds at which the run began. Relative times are resolved against it.
        requested: The range that was asked for.
        concurrency: The most pages that exist at a time, including the one that the caller holds.
        settled_before: Unix seconds. Buckets that ended by then are final.
    """

    query: CheckedQuery
    decoder: Decoder[Decoded[R]]
    now: int
    requested: TimeRange
    concurrency: int
    settled_before: int

    def uncut(self) -> UncutRange:
        """Give the range to read, which is then cut into windows."""
        return self.query.uncut(self.requested, now=self.now, concurrency=self.concurrency)

    def request(self, window: Window, cursor: str | None) -> Request[Decoded[R]]:
        """Make the request for one page of a window."""
        query = self.query
        params = query.params(window.start, window.end, limit=query.page_limit, page=cursor)
        return Request(query.endpoint.path, params, self.decoder)


@attrs.define(eq=False)
class Notices:
    """Notices of one run, without repetitions.

    Attributes:
        endpoint: Name of the endpoint.
        place: Name of the endpoint and, if it is known, of the organization, for log lines.
        hook: The client's `on_notice`.
        expected: Codes that are implied by the query. They are logged as information, not as
            warnings.
        told: Notices so far, in order.
    """

    endpoint: str
    place: str
    hook: Callable[[Notice], object] | None
    expected: frozenset[str]
    told: dict[Notice, None] = attrs.field(factory=dict, init=False)

    def tell(self, notice: Notice) -> None:
        """Log a notice and pass it to the hook, unless it is a repetition."""
        notice = attrs.evolve(notice, endpoint=self.endpoint)
        if notice in self.told:
            return
        self.told[notice] = None
        level = logging.INFO if notice.code in self.expected else logging.WARNING
        _log.log(level, "%s: %s", self.place, notice.message)
        if self.hook is not None:
            self.hook(notice)
