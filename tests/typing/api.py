"""Typed uses of the library, for the type checkers. This file never runs.

A wrong use is marked with the error that each checker must report. A mark without its error is an
error itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, assert_type

import pyarrow as pa
from fastapi import APIRouter, FastAPI, Response

from usage_async import (
    ENDPOINTS,
    ApiKey,
    ApiKeyOwner,
    CacheStats,
    CostsResult,
    CostsResultAmount,
    Endpoint,
    Extra,
    Limiter,
    Names,
    NamesBook,
    Notice,
    Project,
    RateLimitError,
    RequestEvent,
    RetryPolicy,
    Runtime,
    Stream,
    Summary,
    Timeout,
    TimeRange,
    UnknownResult,
    UsageClient,
    UsageCompletionsResult,
    UsageDecisionsResult,
    UsageError,
    UsageImagesResult,
    UsageQuery,
    UsageResponse,
    UsageResult,
    UsageRow,
    UsageTimeBucket,
    UsageVectorStoresResult,
    User,
    Verification,
    dumps,
    from_dict,
    loads,
    to_dict,
)
from usage_async.collect import (
    Organization,
    Run,
    collect,
    collect_organization,
    load_organizations,
    open_store,
)
from usage_async.fastapi import (
    ALL,
    Scope,
    Usage,
    arrow_stream,
    install_error_handlers,
    metrics_router,
    ndjson,
    scoped_usage,
    usage_lifespan,
    usage_of,
    usage_router,
)
from usage_async.report import (
    BudgetReport,
    Explanation,
    InvoiceGap,
    Reconciliation,
    Report,
    SpendLimits,
    invoice_gap,
    read_budget,
    read_explanation,
    read_reconciliation,
    read_report,
    read_spend_limits,
    render_report,
    sentences,
    write_report,
)


async def fetch_key() -> str:
    return "sk-admin-…"


async def transport(
    path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    raise NotImplementedError


def on_notice(notice: Notice) -> None:
    assert_type(notice.code, str)
    assert_type(notice.starts, tuple[int, ...])


def trace(event: RequestEvent) -> None:
    assert_type(event.seconds, float)
    assert_type(event.status, int | None)


async def clients() -> None:
    UsageClient()
    UsageClient("sk-admin-…", base_url="https://example.com/v1", organization="org-…")
    UsageClient(fetch_key, concurrency=1, max_page_bytes=1, proxy="http://localhost:3128")
    UsageClient(timeout=Timeout(total_s=1), retry=RetryPolicy(attempts=1), transport=transport)
    UsageClient(on_notice=on_notice, trace=trace, runtime=Runtime(now=lambda: 0.0))
    UsageClient(limiter=Limiter(16))
    async with UsageClient() as client:
        assert_type(client, UsageClient)
        assert_type(client.limiter.limit, float)
        assert_type(client.limiter.waiting, int)
        assert_type(client.limiter.shared, Limiter | None)
    await client.close()

    UsageClient(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    UsageClient("sk-admin-…", "url")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    UsageClient(concurrency="8")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    UsageClient(timeout=5.0)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    UsageClient(retries=5)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def derived(client: UsageClient, names: set[str]) -> None:
    assert_type(client.scoped(project_ids=names), UsageClient)
    cached = client.cached(ttl_s=5, stale_s=60.5, max_bytes=1 << 20, on_answer=print)
    assert_type(cached.scoped(project_ids=("p",), people=True), UsageClient)
    assert_type(cached.cache.stats(), CacheStats)
    assert_type(cached.cache.stats().bytes, int)
    assert_type(await cached.costs(period="7d").total(), CostsResult)

    client.scoped(names)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.scoped()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.scoped(project_ids=None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.cached(ttl_s="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def parameters(client: UsageClient, names: list[str], groups: Sequence[str]) -> None:
    client.completions(start_time=0)
    client.completions(start_time="2026-10-01", end_time=date(2026, 11, 1))
    client.completions(start_time=timedelta(days=7), end_time=datetime.now(UTC))
    client.completions(period="last-month", bucket_width="1h", batch=True, clamp=True)
    client.completions(period="7d", group_by=["project_id", "model"], project_ids=names)
    client.completions(period="7d", group_by=("batch",), models=None, page=None, limit=5)
    client.images(period="7d", sizes=["1024x1024"], sources=["image.edit"], group_by=["size"])
    client.web_search_calls(period="7d", context_levels=["low"], group_by=["context_level"])
    client.file_search_calls(period="7d", vector_store_ids=names)
    client.costs(period="2026-10", bucket_width="1d", group_by=["line_item"], line_items=names)

    client.completions(0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.completions(start=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.completions(start_time=1.5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.completions(limit="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.completions(batch="true")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.completions(bucket_width="1w")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.completions(group_by=["size"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    client.completions(group_by="model")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.completions(group_by=groups)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.completions(sizes=["1024x1024"])  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.images(sizes=["1x1"])
    client.images(sizes=[1])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    client.costs(bucket_width="1h")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    client.costs(group_by=["model"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    client.costs(models=names)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.vector_stores(user_ids=names)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def streams(client: UsageClient) -> None:
    query = client.completions(period="7d", group_by=["model"])
    assert_type(query, UsageQuery[UsageCompletionsResult])
    async for bucket in query:
        assert_type(bucket, UsageTimeBucket[UsageCompletionsResult])
        assert_type(bucket.results, tuple[UsageCompletionsResult, ...])
        assert_type(bucket.other_results, tuple[UsageResult, ...])
        assert_type(bucket.start, datetime)
        assert_type(bucket.rows(), list[UsageRow])
        for result in bucket.results:
            assert_type(result.input_tokens, int)
            assert_type(result.input_cached_tokens, int | None)
            assert_type(result.batch, bool | None)
            assert_type(result.extra, Extra)
            _ = result.images  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
            result.model = ""  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    async with query.stream() as stream:
        assert_type(stream, Stream[UsageTimeBucket[UsageCompletionsResult]])
        assert_type(stream.notices, tuple[Notice, ...])
        assert_type(stream.start_time, int)
        assert_type(await anext(stream), UsageTimeBucket[UsageCompletionsResult])
    async for page in query.pages():
        assert_type(page, UsageResponse[UsageCompletionsResult])
        assert_type(page.next_page, str | None)
    async for pair in query.results():
        assert_type(pair, tuple[UsageTimeBucket[UsageCompletionsResult], UsageCompletionsResult])
    async for row in query.rows():
        assert_type(row, UsageRow)
        assert_type(row.amount, Decimal | None)


async def answers(client: UsageClient) -> None:
    query = client.costs(period="last-month", group_by=["line_item"])
    assert_type(await query.collect(), list[UsageTimeBucket[CostsResult]])
    assert_type(await query.first(), UsageTimeBucket[CostsResult] | None)
    assert_type(await query.totals("line_item"), list[CostsResult])
    total = await query.total()
    assert_type(total, CostsResult)
    assert_type(total.amount, CostsResultAmount | None)
    assert_type(total.quantity, Decimal | None)
    if total.amount is not None:
        assert_type(total.amount.value, Decimal)
        assert_type(total.amount.currency, str)
    summary = await query.summary("line_item")
    assert_type(summary, Summary[CostsResult])
    assert_type(summary.groups, tuple[CostsResult, ...])
    assert_type(summary.requested, TimeRange)
    assert_type(summary.settled_through, datetime | None)
    assert_type(await query.verify(strict=True), Verification)
    assert_type(await client.decisions(period="7d").total(), UsageDecisionsResult)
    assert_type(await client.images(period="7d").total(), UsageImagesResult)
    assert_type((await client.vector_stores(period="7d").total()).usage_bytes, int)
    assert_type(client.vector_stores(period="7d"), UsageQuery[UsageVectorStoresResult])

    _ = total.amount.value  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
    await query.total("line_item")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def newer_than_this_library(client: UsageClient) -> None:
    client.query("costs", period="7d", anything=["goes"], unchecked=True)
    for bucket in await client.query("/organization/usage/new", start_time=0).collect():
        for result in bucket.results:
            str(result.anything)


def values(body: bytes) -> None:
    page = loads(body, UsageResponse[UsageImagesResult])
    assert_type(page.data, tuple[UsageTimeBucket[UsageImagesResult], ...])
    assert_type(loads("{}", CostsResult), CostsResult)
    assert_type(from_dict({}, UsageTimeBucket[UnknownResult]), UsageTimeBucket[UnknownResult])
    assert_type(dumps(page), bytes)
    assert_type(ENDPOINTS["costs"], Endpoint)
    assert_type(ENDPOINTS["costs"].group_by, tuple[str, ...])
    to_dict(page)["data"]
    CostsResultAmount(value=Decimal("0.1"), currency="usd")

    CostsResultAmount(value=0.1, currency="usd")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    UsageImagesResult(images=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    CostsResultAmount(Decimal(1), "usd")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def errors(error: UsageError) -> None:
    assert_type(error.message, str)
    if isinstance(error, RateLimitError):
        assert_type(error.retry_after, float | None)
        assert_type(error.status, int)


async def names(client: UsageClient, rows: list[CostsResult | UsageRow]) -> None:
    names = await client.names()
    assert_type(names, Names)
    await client.names("projects", "users")
    assert_type(await client.names("api_keys", project_ids=names.projects), Names)
    await client.names(project_ids=["proj_1"])
    await client.names("groups")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert_type(await client.names_for(rows, known=names), Names)
    assert_type(client.names_book(known=names), NamesBook)
    assert_type(await client.names_book().update(rows), Names)
    assert_type(names.projects["proj_1"], Project)
    assert_type(names.users.get("user-1"), User | None)
    assert_type(names.api_keys["key_1"].owner, ApiKeyOwner | None)
    assert_type(list(names.api_keys.values()), list[ApiKey])
    assert_type(names.label("project_id", rows[0].project_id), str)
    assert_type(names.labels("user_id"), dict[str, str])
    assert_type(names.to_arrow("user_id"), pa.Table)
    assert_type(names.merged(Names.from_rows(rows)), Names)
    assert_type(loads(dumps(names), Names), Names)
    Names(projects=[Project(id="proj_1", name="Search")], users=names.users)


async def tenant() -> Scope:
    return Scope(["proj_1"], people=True)


async def organization() -> str:
    return "acme"


TenantUsage = Annotated[UsageClient, scoped_usage(tenant, organization=organization)]
AcmeUsage = Annotated[UsageClient, usage_of(organization)]


def web() -> None:
    app = FastAPI(lifespan=usage_lifespan(ttl_s=60, concurrency=4))
    FastAPI(lifespan=usage_lifespan(usage_lifespan(), organizations={"acme": {"admin_key": "x"}}))
    install_error_handlers(app)
    assert_type(usage_router(scope=tenant, max_waiting=10), APIRouter)
    assert_type(metrics_router(scope=lambda: ALL, endpoints=["completions"], top=3), APIRouter)
    usage_router()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

    async def total(usage: Usage, own: TenantUsage, acme: AcmeUsage) -> CostsResult:
        assert_type(own, UsageClient)
        assert_type(acme.scoped(project_ids=["proj_1"]), UsageClient)
        return await usage.costs(period="7d").total()

    async def lines(usage: Usage) -> Response:
        assert_type(ndjson(usage.costs(period="7d")), Response)
        return arrow_stream(usage.costs(period="7d"))

    app.get("/total")(total)
    app.get("/lines")(lines)


async def collecting() -> None:
    organizations = load_organizations("organizations.toml")
    assert_type(organizations, list[Organization])
    Organization(
        "acme", key_command=["pass", "show", "acme"], feeds=["costs:1d"], settle_after="3d"
    )
    async with open_store("duckdb:usage.duckdb") as store:
        runs = await collect(organizations, store, since="365d", concurrency=4)
        assert_type(runs, list[Run])
        assert_type(runs[0].error, str | None)
    assert_type(collect_organization(organizations[0], "USAGE_STORE"), list[Run])


async def reports(client: UsageClient) -> None:
    report = await read_report(client, "2026-10", by="project,model", compare=True)
    assert_type(report, Report)
    await read_report(client, start_time=date(2026, 10, 5), by=("user", "api_key_id"), names=False)
    for spend in report.spends:
        for group in spend.groups:
            assert_type(group.amount, Decimal)
            assert_type([part.before for part in group.parts], list[Decimal | None])
    assert_type(render_report(report, "json", top=5), bytes)
    await write_report(report, "october.xlsx")
    await read_report(client, by=5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def reasons(client: UsageClient) -> None:
    explanation = await read_explanation(client, "2026-10", against="2026-08", names=False)
    assert_type(explanation, Explanation)
    assert_type(sentences(explanation), list[str])
    assert_type(explanation.bills[0].effects.volume, Decimal)
    assert_type(invoice_gap(explanation, Decimal("5597.60"), "usd"), InvoiceGap)
    assert_type(await read_reconciliation(client), Reconciliation)
    budget = await read_budget(client, Decimal(6000), period="2026-10", by="project")
    assert_type(budget, BudgetReport)
    assert_type(await read_spend_limits(client, ["proj_1"]), SpendLimits)
    await read_budget(client, 6000.0)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await read_explanation(client, 202610)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
