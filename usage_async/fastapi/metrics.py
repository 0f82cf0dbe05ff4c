"""Metrics: spend and usage for Prometheus, within the scope of whoever scrapes.

Figures are gauges, because the service revises them. A gauge is a float, so these are not for
accounts: the routes of `usage_router` have exact figures. A scrape never waits for the service. It
gives what was read last, and begins the next reading if that is old; the first one gives none.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

import attrs
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.fields import fields_of
from usage_async._api.results import CostsResult
from usage_async._client.client import UsageClient
from usage_async._client.query import UsageQuery
from usage_async._http.fetch import in_turns
from usage_async._sums.totals import add
from usage_async.errors import QueryError, UsageError
from usage_async.fastapi.failures import log_failure
from usage_async.fastapi.lifespan import sent_by, source_of
from usage_async.fastapi.router import FAILURES, Route, typed
from usage_async.fastapi.scope import ALL, narrowed
from usage_async.fastapi.writing import STEP_ROWS

T = TypeVar("T")

_OTHER = "other"
"""Label of the groups beyond the largest ones."""
_METRICS = ("output_tokens", "num_model_requests")
"""Metrics that are shown beside the measure of an endpoint."""
_AGAIN_S = 30.0
"""Seconds after which a reading that failed is tried again, unless `refresh_s` are fewer."""
_MOST_SCOPES = 100
"""Scopes whose figures are held."""

_Labels = tuple[str, ...]
_Values = Mapping[_Labels, Decimal]
_Key = tuple[str, str]
"""Endpoint and period."""


@attrs.frozen
class _Read:
    """Figures of a summary for the gauges: scrapes are frequent, and a summary may be large.

    Attributes:
        as_of: Instant of the reading, Unix seconds.
        settled_through: End of what is not expected to change, Unix seconds; None if all is.
        spend: Amounts by project, model and currency.
        usage: Metrics by project and model.
    """

    as_of: float
    settled_through: float | None
    spend: _Values
    usage: Mapping[str, _Values]


@attrs.define(eq=False)
class _Figures:
    """Figures that were read for one scope.

    Attributes:
        read: What was read last, by endpoint and period.
        failed: Questions whose last reading failed.
        due: Instant of the next reading on the monotonic clock.
        is_running: True while it is read.
    """

    read: dict[_Key, _Read] = attrs.field(factory=dict)
    failed: set[_Key] = attrs.field(factory=set)
    due: float = 0.0
    is_running: bool = False


@attrs.frozen(eq=False)
class _Board:
    """Figures of all scopes.

    Attributes:
        endpoints: Endpoints of usage to read.
        top: The most groups of an endpoint and a period.
        refresh_s: Seconds after which figures are read again.
        held: Figures by client and scope, the least recently used first.
    """

    endpoints: tuple[str, ...]
    top: int
    refresh_s: float
    held: WeakKeyDictionary[UsageClient, OrderedDict[Any, _Figures]] = attrs.field(
        factory=WeakKeyDictionary
    )

    def figures(self, base: UsageClient, scope: Any, request: Request) -> _Figures:
        """Give what is at hand, and begin the next reading if it is due."""
        client = narrowed(base, scope)
        engine = client._engine  # noqa: SLF001 - its tasks end with the client
        scopes = self.held.setdefault(base, OrderedDict())
        figures = scopes.setdefault(scope, _Figures())
        scopes.move_to_end(scope)
        if len(scopes) > _MOST_SCOPES:
            scopes.popitem(last=False)
        tick = engine.fetcher.runtime.monotonic()
        if not figures.is_running and tick >= figures.due:
            figures.is_running, figures.due = True, tick + self.refresh_s
            _ = engine.spawn(self._read(client, figures, request))
        return figures

    async def _read(self, client: UsageClient, figures: _Figures, request: Request) -> None:
        engine = client._engine  # noqa: SLF001 - as above
        periods = _periods(engine.fetcher.runtime.now(), engine.settle_after)
        try:
            for name in ("costs", *self.endpoints):
                by = ["project_id", "line_item" if name == "costs" else "model"]
                for word, period in periods.items():
                    key = (name, word)
                    try:
                        query = client.query(name, period=period, group_by=by)
                        figures.read[key] = await _shown(query, self.top)
                        figures.failed.discard(key)
                    except UsageError as error:
                        figures.failed.add(key)
                        log_failure(request, error)
        finally:
            figures.is_running = False
            if figures.failed:
                tick = engine.fetcher.runtime.monotonic()
                figures.due = min(figures.due, tick + _AGAIN_S)


def _periods(now: float, settle_after: timedelta) -> dict[str, str]:
    """Give the periods: the current day and month, and the last that have settled."""
    settled = (datetime.fromtimestamp(now, UTC) - settle_after).date()
    before = settled.replace(day=1) - timedelta(days=1)
    return {
        "day": "today",
        "settled_day": _day_before(settled).isoformat(),
        "month": "this-month",
        "settled_month": before.strftime("%Y-%m"),
    }


def _day_before(day: date) -> date:
    return day - timedelta(days=1)


def metrics_router(
    *,
    scope: Callable[..., Any],
    organization: Callable[..., Any] | None = None,
    endpoints: Sequence[str] = ("completions", "embeddings"),
    top: int = 20,
    refresh_s: float = 300.0,
) -> APIRouter:
    """Make the route `/metrics` for Prometheus, for `app.include_router`.

    Args:
        scope: As for `usage_router`. Only `ALL` is told of the cache and of requests.
        organization: As for `usage_of`, if there are several.
        endpoints: Endpoints of usage whose figures to show, by project and model.
        top: The most groups of an endpoint and a period; the others are one, `other`, and one that
            is really called so is added to it.
        refresh_s: Seconds after which figures are read again.

    Raises:
        QueryError: An endpoint has no models.
    """
    for name in endpoints:
        if name not in ENDPOINTS or "model" not in ENDPOINTS[name].group_by:
            raise QueryError(f"{name} has no figures by model")
    board = _Board(tuple(endpoints), top, refresh_s)
    # A scrape waits for nothing, but a dependency of the application may ask the service.
    router = APIRouter(route_class=Route, responses=FAILURES, tags=["metrics"])
    types = {
        "request": Request,
        # In this order a stranger does not learn which organizations there are.
        "allowed": Annotated[Any, Depends(scope)],
        "base": Annotated[UsageClient, source_of(organization)],
    }

    async def metrics(request: Request, allowed: Any, base: UsageClient) -> Response:
        figures = board.figures(base, allowed, request)
        registry = CollectorRegistry()
        registry.register(_Collected([*_told(figures)]))
        if allowed is ALL:
            registry.register(_Collected([*_service(request, base)]))
        headers = {"Cache-Control": "no-store"}
        return Response(generate_latest(registry), headers=headers, media_type=CONTENT_TYPE_LATEST)

    router.add_api_route("/metrics", typed(metrics, types), response_class=Response, name="metrics")
    return router


@attrs.frozen(eq=False)
class _Collected:
    """A collector of metrics that are at hand."""

    metrics: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        return self.metrics


async def _shown(query: UsageQuery[Any], top: int) -> _Read:
    """Read groups, and give what the gauges show of them; the cache holds no more.

    Not by a summary, whose total amounts in several currencies do not have.
    """
    settle_after = query._engine.settle_after  # noqa: SLF001 - as above

    async def read(now: int | None) -> tuple[_Read, bool]:
        settled = None
        async with query._split(now) as stream:  # noqa: SLF001 - as of the instant of the question
            totals = query._totals(query.group_by, stream.as_of)  # noqa: SLF001 - as above
            as_of = datetime.fromtimestamp(stream.as_of, UTC)
            async for bucket in stream:
                await in_turns(totals.add_in_steps(bucket))
                if bucket.is_settled(as_of, after=settle_after):
                    settled = bucket.end
        groups = await in_turns(totals.groups_in_steps())
        shown = await _shown_of(query.endpoint, groups, top)
        ends = None if settled is None else settled.timestamp()
        return query._made(_Read(stream.as_of, ends, **shown), stream)  # noqa: SLF001 - as above

    arguments = (*query.group_by, str(top))
    return await query._answer("summary", arguments, read, is_rendered=True)  # noqa: SLF001 - ours


async def _shown_of(endpoint: Endpoint, groups: Sequence[Any], top: int) -> dict[str, Any]:
    """Give the spend and the usage of groups."""
    if endpoint.name == "costs":
        return {"spend": await _largest(await _spend(groups), top), "usage": {}}
    usage: dict[str, _Values] = {}
    fields = {a.name for a in fields_of(endpoint.result_class)}
    for metric in (endpoint.measure, *(each for each in _METRICS if each in fields)):
        usage[metric] = await _largest(await _usage(groups, metric), top)
    return {"spend": {}, "usage": usage}


def _told(figures: _Figures) -> Iterator[Metric]:
    """Give the gauges of a scope."""
    by = ("period", "project_id", "model")
    spend = GaugeMetricFamily(
        "usage_async_spend", "Spend in whole units of its currency.", labels=[*by, "currency"]
    )
    usage = GaugeMetricFamily(
        "usage_async_usage", "Usage in the unit of its metric.", labels=["endpoint", "metric", *by]
    )
    question = ["endpoint", "period"]
    as_of = GaugeMetricFamily(
        "usage_async_as_of_seconds", "Instant of the reading, Unix seconds.", labels=question
    )
    settled = GaugeMetricFamily(
        "usage_async_settled_through_seconds",
        "Instant before which no figure is expected to change, Unix seconds.",
        labels=question,
    )
    failed = GaugeMetricFamily(
        "usage_async_reading_failed", "1 if the last reading failed.", labels=question
    )
    for key, read in figures.read.items():
        name, period = key
        as_of.add_metric(key, read.as_of)
        if read.settled_through is not None:
            settled.add_metric(key, read.settled_through)
        for labels, value in read.spend.items():
            spend.add_metric([period, *labels], float(value))
        for metric, counts in read.usage.items():
            for labels, value in counts.items():
                usage.add_metric([name, metric, period, *labels], float(value))
    for key in sorted({*figures.read, *figures.failed}):
        failed.add_metric(key, float(key in figures.failed))
    yield from (spend, usage, as_of, settled, failed)


async def _spend(groups: Sequence[CostsResult]) -> _Values:
    """Add amounts up by project, model and currency; line items without a model are their own."""
    found: dict[_Labels, Decimal] = {}
    async for some in _steps(groups):
        for row in some:
            if row.amount is not None:
                model = row.derived_line_item.model or row.line_item or ""
                labels = (row.project_id or "", model, row.amount.currency)
                found[labels] = add(found.get(labels, Decimal(0)), row.amount.value)
    return found


async def _usage(groups: Sequence[Any], metric: str) -> _Values:
    """Add a metric up by project and model."""
    found: dict[_Labels, int] = {}
    async for some in _steps(groups):
        for row in some:
            # No id and an empty one are one label.
            labels = (row.project_id or "", row.model or "")
            found[labels] = found.get(labels, 0) + (getattr(row, metric) or 0)
    return {labels: Decimal(value) for labels, value in found.items()}


async def _largest(found: _Values, top: int) -> _Values:
    """Give the largest groups, and the sum of the others of each currency."""
    largest: list[tuple[_Labels, Decimal]] = []
    others: dict[_Labels, Decimal] = {}
    async for some in _steps(list(found.items())):
        ranked = sorted([*largest, *some], key=lambda item: (-item[1], item[0]))
        largest = ranked[:top]
        for (_, _, *currency), value in ranked[top:]:
            labels = (_OTHER, _OTHER, *currency)
            others[labels] = add(others.get(labels, Decimal(0)), value)
    shown = dict(largest)
    for labels, value in others.items():
        # A group may really be called so.
        shown[labels] = add(shown.get(labels, Decimal(0)), value)
    return shown


async def _steps(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Give some items at a time, with turns of the event loop between."""
    for start in range(0, len(items), STEP_ROWS):
        yield items[start : start + STEP_ROWS]
        await asyncio.sleep(0)


def _service(request: Request, base: UsageClient) -> Iterator[Metric]:
    """Give the counters of the cache and of the requests to the service."""
    if base._cache is not None:  # noqa: SLF001 - one of a test may have none
        stats = base.cache.stats()
        answers = CounterMetricFamily(
            "usage_async_cache_answers", "Answers of the cache.", labels=["outcome"]
        )
        for outcome in ("fresh", "stale", "joined", "read", "failed"):
            answers.add_metric([outcome], getattr(stats, outcome))
        held = GaugeMetricFamily("usage_async_cache_bytes", "Estimated bytes of all answers.")
        held.add_metric([], stats.bytes)
        yield from (answers, held)
    requests = CounterMetricFamily(
        "usage_async_upstream_requests",
        "Tries of requests to the service, by status or error.",
        labels=["outcome"],
    )
    for outcome, count in sorted(sent_by(request, base).items()):
        requests.add_metric([outcome], count)
    yield requests
