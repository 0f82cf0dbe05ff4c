"""Router: the figures of an organization over HTTP, within the scope of whoever asks.

Every route takes the words of the endpoint table, and refuses any other. A reply tells as of when
its figures are. Equal questions share one reading and one text of JSON; lines and Arrow's stream
are read for each reply. Browsers may keep a reply, but must ask whether it still holds, since the
next user of a browser may be another tenant.
"""

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import isclass
from typing import Annotated, Any, Generic, TypeVar, get_args
from weakref import WeakKeyDictionary

import attrs
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import APIKeyQuery
from pydantic import BaseModel

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.pages import UsageTimeBucket
from usage_async._api.results import UsageResult
from usage_async._client.client import UsageClient
from usage_async._sums.totals import Summary
from usage_async.errors import ConfigurationError, QueryError, UsageError
from usage_async.fastapi.failures import BusyError, failure_response, told_failure
from usage_async.fastapi.lifespan import scoped_usage
from usage_async.fastapi.parameters import (
    BucketsParameters,
    BudgetParameters,
    ExplainParameters,
    PageParameters,
    Parameters,
    ReconcileParameters,
    ReportParameters,
    buckets_parameters_of,
    parameters_of,
)
from usage_async.fastapi.reasons import (
    BudgetBody,
    ExplanationBody,
    ReconciliationBody,
    budget_reply,
    explain_reply,
    reconcile_reply,
)
from usage_async.fastapi.replies import (
    HTML,
    JSON,
    Written,
    buckets_reply,
    page_reply,
    report_reply,
    summary_reply,
)
from usage_async.fastapi.streaming import ARROW, NDJSON, StreamedResponse, arrow_of, lines_of
from usage_async.report.html.form import APART, PEOPLE, Question, form_of
from usage_async.report.spec import read_by

R = TypeVar("R", bound=UsageResult)

_log = logging.getLogger("usage_async")

_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Accept"}
"""Headers of replies that browsers may keep. `Vary` does not name what signing in reads, which is
not known here; `*` would forbid to keep them. It is not needed: no proxy may store a reply, a
browser asks before each use, and the tag of a reply is of one tenant only."""


class FailureDetail(BaseModel):
    """One thing that went wrong.

    Attributes:
        type: Kind of failure, for programs.
        loc: Place of the parameter at fault, such as `["query", "period"]`.
        msg: One sentence for a person.
    """

    type: str
    loc: list[str | int]
    msg: str


class FailureBody(BaseModel):
    """The body of a failed reply of these routes.

    What refuses a request before them has bodies of its own: signing in, the server, a defect.
    """

    detail: list[FailureDetail]


def _described(failures: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"model": FailureBody, "description": description}
        for status, description in failures.items()
    }


FAILURES = _described(
    {
        403: "More than the scope allows.",
        404: "There is no such organization.",
        422: "A parameter is wrong, or the reply would be too large.",
        500: "This server is not set up to answer.",
        502: "The usage service failed, or refuses this server.",
        503: "The usage service throttles this server, or too many questions wait; ask again.",
        504: "There was no answer in time.",
    }
)
_MIXED = _described({409: "There are amounts in several currencies, which have no single sum."})
_UNSERVED = _described({406: "None of the media types is served."})
_HELD: dict[int | str, dict[str, Any]] = {304: {"description": "What the browser has still holds."}}


@attrs.define
class _Bound:
    """The most questions that wait at a time."""

    most: int
    waiting: int = 0

    @contextmanager
    def waiter(self) -> Iterator[None]:
        if self.waiting >= self.most:
            raise BusyError("too many questions are waiting here; ask again")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


class Route(APIRoute):
    """A route that answers errors of this library itself: a router has no error handlers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._declared: WeakKeyDictionary[Any, frozenset[str]] = WeakKeyDictionary()

    def declared(self, app: Any) -> frozenset[str]:
        """Give the names in the query that the route and its dependencies declare.

        Args:
            app: The application, which may add dependencies of its own.
        """
        if app not in self._declared:
            here = (each for each in iter_route_contexts(app.routes) if each.original_route is self)
            trees = [self.dependant, *(each.dependant for each in here)]
            self._declared[app] = frozenset(name for tree in trees for name in _names_in(tree))
        return self._declared[app]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make the handler of the route."""
        handle, names = super().get_route_handler(), _names(self.endpoint)

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except UsageError as error:
                return failure_response(request, error, names)

        return answer


def _declared(request: Request) -> frozenset[str]:
    found: frozenset[str] = request.scope["route"].declared(request.app)
    return found


def _names_in(dependant: Any) -> Iterator[str]:
    """Give the names in the query that FastAPI reads for a dependency and for its own."""
    for field in dependant.query_params:
        kind = field.field_info.annotation
        if isclass(kind) and issubclass(kind, BaseModel):
            for name, info in kind.model_fields.items():
                yield info.alias or name
        else:
            yield field.alias
    if isinstance(dependant.call, APIKeyQuery):
        yield dependant.call.model.name
    for each in dependant.dependencies:
        yield from _names_in(each)


def _names(handler: Callable[..., Any]) -> tuple[str, ...]:
    """Give the names of the parameters that a handler takes."""
    taken = inspect.signature(handler).parameters.get("parameters")
    return () if taken is None else get_args(taken.annotation)[0].names()


def usage_router(
    *,
    scope: Callable[..., Any],
    organization: Callable[..., Any] | None = None,
    max_waiting: int = 1000,
) -> APIRouter:
    """Make the routes of usage and costs, for `app.include_router`.

        GET /usage/{endpoint}           buckets, as JSON, NDJSON or Arrow's stream by `Accept`
        GET /usage/{endpoint}/totals    total, groups and notices
        GET /costs/summary              the same of costs
        GET /report.json                the report of the terminal
        GET /explain                    why the bill changed
        GET /reconcile                  billed quantities beside what usage reports
        GET /budget?monthly=6000        how a month stands beside its budget
        GET /report                     the report as a page, if the extra `report` is installed

    Args:
        scope: Dependency that returns the `Scope` of whoever asks, or `ALL`. It refuses who is not
            signed in. Names in the query that it and other dependencies declare are accepted; the
            routes refuse any other, so what reads `request.query_params` itself declares nothing.
        organization: As for `usage_of`, if there are several.
        max_waiting: The most questions that wait at a time; more are answered by 503. Lines and
            Arrow's stream wait for their first piece only. While they are sent, the client's
            `concurrency` bounds the requests of all of them together, and each stream holds at most
            as many pages; the server bounds the connections, as `uvicorn --limit-concurrency`.
    """
    router = APIRouter(route_class=Route, responses=FAILURES, tags=["usage"])
    client = Annotated[UsageClient, scoped_usage(scope, organization=organization)]
    bound = _Bound(max_waiting)
    for endpoint in ENDPOINTS.values():
        _add_endpoint(router, endpoint, client, bound)
    _add_report(router, client, bound)
    _add_reasons(router, client, bound)
    _add_page(router, client, bound)
    return router


def _add_endpoint(router: APIRouter, endpoint: Endpoint, client: Any, bound: _Bound) -> None:
    name, kind = endpoint.name, endpoint.result_class
    types = {
        "request": Request,
        "client": client,
        "parameters": Annotated[parameters_of(endpoint), Query()],
    }

    async def buckets(
        request: Request, client: UsageClient, parameters: BucketsParameters
    ) -> Response:
        parameters.check(request.query_params, _declared(request))
        query = client.query(name, **parameters.given())
        media_type = _accepted(request)
        if media_type != JSON:
            is_table = media_type == ARROW
            pieces = partial(arrow_of, exact=parameters.exact) if is_table else lines_of
            failed = partial(failure_response, parameters=parameters.names())
            return StreamedResponse(query, pieces, media_type, failed, bound.waiter)
        with bound.waiter():
            reply = await buckets_reply(query, f"accept {NDJSON} or {ARROW}")
        return _answer(request, reply)

    async def totals(request: Request, client: UsageClient, parameters: Parameters) -> Response:
        parameters.check(request.query_params, _declared(request))
        with bound.waiter():
            reply = await summary_reply(client.query(name, **parameters.given()))
        return _answer(request, reply)

    page: Any = Buckets
    table: Any = buckets_parameters_of(endpoint)
    described = {"description": _BUCKETS, "content": {JSON: {}, NDJSON: {}, ARROW: {}}}
    router.add_api_route(
        f"/usage/{name}",
        typed(buckets, {**types, "parameters": Annotated[table, Query()]}),
        response_model=page[kind],
        responses={200: described, **_HELD, **_UNSERVED},
        name=f"{name}_buckets",
    )
    summary: Any = Summary
    paths = [f"/usage/{name}/totals"] + ["/costs/summary"] * (name == "costs")
    for path in paths:
        router.add_api_route(
            path,
            typed(totals, types),
            response_model=summary[kind],
            responses={**_HELD, **_MIXED},
            name=path.strip("/").replace("/", "_"),
        )


_BUCKETS = (
    "Buckets. NDJSON has a row a line, and a last line with `complete` and what limits it. Arrow's"
    " stream has no place for that: where rows are missing, it ends as broken."
)


class Buckets(BaseModel, Generic[R]):
    """The buckets of a range.

    Attributes:
        requested: The range that was asked for, Unix seconds.
        covered: The range from the first bucket to the end of the last; null if none came.
        as_of: Instant at which they were read.
        buckets: The buckets, in order of time.
        notices: Facts about the figures that a careful reader should know.
    """

    requested: dict[str, int]
    covered: dict[str, int] | None
    as_of: str
    buckets: list[UsageTimeBucket[R]]
    notices: list[dict[str, Any]]


class ReportBody(BaseModel):
    """The report of the terminal; amounts are exact texts.

    Attributes:
        organization: Id and name.
        start_time: Start of the period, Unix seconds, inclusive.
        end_time: End of the period, Unix seconds, exclusive.
        requested: The period that was asked for, Unix seconds.
        as_of: Instant of the reading, Unix seconds.
        by: Dimension that it is split by.
        then_by: Dimension that each group is split by; null splits no further.
        derived_from_line_items: True if the groups are read off the names of line items.
        compared_with: The period before; null without a comparison.
        groups_from: Start of the first day whose spend is known by group, Unix seconds; null if
            all days are.
        spend: Spend by currency; null if costs could not be read.
        tokens: Tokens by group.
        endpoints: Usage by endpoint.
        refused: Sections that the service refuses to show, with the reason.
        failed: Sections that could not be read, with the reason.
        missing: Days that did not come, by section.
        notices: Facts about the figures that a careful reader should know.
    """

    organization: dict[str, str | None]
    start_time: int
    end_time: int
    requested: dict[str, int]
    as_of: int
    by: str
    then_by: str | None
    derived_from_line_items: bool
    compared_with: dict[str, int] | None
    groups_from: int | None
    spend: list[dict[str, Any]] | None
    tokens: list[dict[str, Any]]
    endpoints: list[dict[str, Any]]
    refused: list[dict[str, str]]
    failed: list[dict[str, str]]
    missing: list[dict[str, Any]]
    notices: list[str]


def _add_report(router: APIRouter, client: Any, bound: _Bound) -> None:
    types = {
        "request": Request,
        "client": client,
        "parameters": Annotated[ReportParameters, Query()],
    }

    async def report(
        request: Request, client: UsageClient, parameters: ReportParameters
    ) -> Response:
        parameters.check(request.query_params, _declared(request))
        with bound.waiter():
            reply = await report_reply(client, parameters)
        return _answer(request, reply)

    router.add_api_route(
        "/report.json",
        typed(report, types),
        response_model=ReportBody,
        responses=_HELD,
        name="report",
    )


def _add_reasons(router: APIRouter, client: Any, bound: _Bound) -> None:
    """Add the routes of the reasons of a bill."""
    table: list[tuple[str, type[Parameters], Any, type[BaseModel]]] = [
        ("explain", ExplainParameters, explain_reply, ExplanationBody),
        ("reconcile", ReconcileParameters, reconcile_reply, ReconciliationBody),
        ("budget", BudgetParameters, budget_reply, BudgetBody),
    ]
    for line in table:
        _add_reason(router, client, bound, line)


def _add_reason(
    router: APIRouter,
    client: Any,
    bound: _Bound,
    line: tuple[str, type[Parameters], Any, type[BaseModel]],
) -> None:
    name, kind, reply, body = line
    table: Any = kind

    async def reason(request: Request, client: UsageClient, parameters: Parameters) -> Response:
        parameters.check(request.query_params, _declared(request))
        with bound.waiter():
            made = await reply(client, parameters)
        return _answer(request, made)

    types = {"request": Request, "client": client, "parameters": Annotated[table, Query()]}
    router.add_api_route(
        f"/{name}", typed(reason, types), response_model=body, responses=_HELD, name=name
    )


def _add_page(router: APIRouter, client: Any, bound: _Bound) -> None:
    try:
        from usage_async.report.html.page import POLICY, failed_page
    except ConfigurationError as error:
        _log.warning("/report is not served: %s", error)
        return
    types = {
        "request": Request,
        "client": client,
        "parameters": Annotated[PageParameters, Query()],
    }
    safe = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }

    async def page(request: Request, client: UsageClient, parameters: PageParameters) -> Response:
        parameters.check(request.query_params, _declared(request))
        question = Question(parameters.period, parameters.by)
        scope = client._scope  # noqa: SLF001 - what the form may offer
        without = () if scope is None else APART if scope.people else PEOPLE
        try:
            with bound.waiter():
                reply = await page_reply(client, question, without=without)
        except UsageError as error:
            failure = told_failure(request, error, parameters.names())
            form = form_of(_known(question), without=without)
            body = failed_page(form, failure.message)
            return HTMLResponse(body, failure.status, {**failure.headers(), **safe})
        return _answer(request, reply, safe)

    router.add_api_route(
        "/report",
        typed(page, types),
        response_class=HTMLResponse,
        responses={200: {"description": "The page.", "content": {HTML: {}}}, **_HELD},
        name="report_page",
    )


def _known(question: Question) -> Question:
    """Replace a grouping that there is not: the form shows one that there is."""
    try:
        read_by(question.by)
    except QueryError:
        return attrs.evolve(question, by="project_id")
    return question


def typed(function: Any, types: Mapping[str, Any]) -> Any:
    """Give a handler the types of its parameters, which only this call knows."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind, annotation=each) for name, each in types.items()]
    )
    return function


def _answer(request: Request, reply: Written, headers: Mapping[str, str] | None = None) -> Response:
    """Make the reply, or tell the browser that the one it has still holds."""
    known = request.headers.get("if-none-match", "")
    if reply.tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers={**_PRIVATE, "ETag": reply.tag})
    return reply.response({**_PRIVATE, **(headers or {})})


def _accepted(request: Request) -> str:
    """Give the media type that the browser likes most.

    Raises:
        HTTPException: It takes none of those that are served.
    """
    sent = ",".join(request.headers.getlist("accept") or ["*/*"])
    liked: dict[str, float] = {}
    for one in sent.split(","):
        kind, _, rest = one.partition(";")
        liked.setdefault(kind.strip().lower(), _weight(rest))
    places = {kind: place for place, kind in enumerate(liked)}
    found = []
    for order, served in enumerate((JSON, NDJSON, ARROW)):
        # The closest of the ranges that match says how much a type is liked.
        closest = next((each for each in (served, "application/*", "*/*") if each in liked), None)
        if closest is not None and liked[closest] > 0:
            found.append((-liked[closest], places[closest], order, served))
    if not found:
        told = {"type": "not_acceptable", "loc": ["header", "accept"]}
        told["msg"] = f"this is served as {JSON}, {NDJSON} or {ARROW}"
        raise HTTPException(406, [told])
    return min(found)[-1]


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
