"""Command `usage-async collect`: collect usage and costs into a database."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from cyclopts import Group

from usage_async._cli import stderr
from usage_async._cli.connection import Connection
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.hints import explain
from usage_async._cli.options import (
    CONNECTION,
    CONTEXT,
    ORGANIZATIONS,
    OUTPUT,
    option,
    organizations_option,
)
from usage_async._cli.store_options import (
    DEFAULT_STORE,
    DEMO_STORE,
    DUCKDB,
    format_option,
    kind_of,
    parse_length,
    print_json,
    store_options,
    store_url,
)
from usage_async.errors import QueryError, StoreError

if TYPE_CHECKING:
    from usage_async._client.client import UsageClient
    from usage_async._http.key import Secret
    from usage_async.collect.clients import ClientOf
    from usage_async.collect.organizations import Organization
    from usage_async.collect.values import Progress, Run
    from usage_async.report.terminal.page import Page

_FIGURES = Group("Figures", sort_key=15)
_AGAIN = Group("Again and again", sort_key=25)

_NAME = "default"
_DEMO_NAME = "demo"
_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")
_JITTER = 0.1
"""The largest random delay of a round, as a part of `--every`: collectors that were started at the
same time drift apart."""


@attrs.frozen(kw_only=True)
class _Task:
    """The arguments of the command.

    Attributes:
        url: URL of the store.
        file: File of the organizations; None if there is only one organization.
        name: Name of the only organization.
        feeds: Feeds to collect in place of those of each organization; empty for theirs.
        since: As for `usage_async.collect.collect`.
        shard: Number of the shard and number of shards.
        names: True to read names.
        as_json: True to print JSON.
    """

    url: Secret
    file: Path | None
    name: str
    feeds: Sequence[str]
    since: str | None
    shard: tuple[int, int]
    names: bool
    as_json: bool


def collect(
    *,
    to: str | None,
    to_env: str | None,
    feed: list[str] | None,
    since: str | None,
    organizations: Path | None,
    name: str | None,
    shard: str | None,
    every: str | None,
    no_names: bool,
    format: str,  # noqa: A002 - the name of the option
    connection: Connection,
    context: Context,
) -> int:
    """Collect usage and costs into a database."""
    if organizations is not None and (name is not None or connection.demo):
        raise QueryError("--organizations already names them: leave --name and --demo out")
    task = _Task(
        url=store_url(to, to_env, DEMO_STORE if connection.demo else DEFAULT_STORE),
        file=organizations,
        name=name or (_DEMO_NAME if connection.demo else _NAME),
        feeds=feed or (),
        since=since,
        shard=_shard(shard),
        names=not no_names,
        as_json=format == "json",
    )
    if task.shard[1] > 1 and kind_of(task.url) == DUCKDB:
        raise QueryError(
            "--shard needs a store for several writers, postgresql: or delta:, because a DuckDB"
            " file takes one at a time"
        )
    seconds = None if every is None else parse_length("--every", every).total_seconds()
    from usage_async.report.terminal.page import Page

    return context.run(_rounds(task, connection, context, Page(context.out), seconds))


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    match = _SHARD.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise QueryError(
            f"--shard takes the number of the shard and the count of shards, such as 2/5;"
            f" not {text!r}"
        )
    return int(match[1]), int(match[2])


async def _rounds(
    task: _Task, connection: Connection, context: Context, page: Page, every_s: float | None
) -> int:
    """Collect once, or again and again until a signal comes."""
    runtime, is_first = context.runtime, True
    async with _clients(task, connection, context) as client_of:
        while True:
            begun = runtime.monotonic()
            try:
                code = await _round(task, client_of, context, page)
            except Exception as error:
                # A database that is down may come back; a wrong command stays wrong. A file of
                # organizations may also be changed for the worse, and back, between two rounds.
                is_down = isinstance(error, StoreError | OSError)
                if every_s is None or (is_first and not is_down):
                    raise
                stderr.write_line(explain(error))
            else:
                if every_s is None:
                    return code
            is_first = False
            left = max(every_s - (runtime.monotonic() - begun), 0)
            await runtime.sleep(left + runtime.random() * every_s * _JITTER)


async def _round(task: _Task, client_of: ClientOf, context: Context, page: Page) -> int:
    """Collect once, and print the runs."""
    from usage_async.collect.open import open_store
    from usage_async.collect.run import collect as collect_all

    # The file is read each time, so that a change of it needs no restart.
    organizations = _organizations(task)
    count = sum(len(task.feeds or each.feeds) for each in organizations)
    with _progress(context, count) as on_progress:
        async with open_store(task.url) as store:
            runs = await collect_all(
                organizations,
                store,
                since=task.since,
                feeds=task.feeds or None,
                names=task.names,
                on_progress=on_progress,
                client_of=client_of,
                runtime=context.runtime,
            )
    _print(task, runs, context, page)
    return ExitCode.FAILED if any(run.error for run in runs) else ExitCode.DONE


def _organizations(task: _Task) -> list[Organization]:
    from usage_async.collect.organizations import Organization, in_shard, load_organizations

    found = [Organization(task.name)] if task.file is None else load_organizations(task.file)
    number, count = task.shard
    return [each for each in found if in_shard(each.name, number, count)]


@asynccontextmanager
async def _clients(
    task: _Task, connection: Connection, context: Context
) -> AsyncIterator[ClientOf]:
    """Give the function that makes clients; the server of a demonstration runs until the end."""
    from usage_async._cli.connection import (
        base_url_of,
        environment_certificates,
        environment_proxy,
        open_target,
    )
    from usage_async._client.client import UsageClient
    from usage_async.collect import clients

    if connection.demo:
        async with open_target(connection, context) as target:

            def demo_client_of(_: Organization, **options: Any) -> UsageClient:
                return UsageClient(target.key, base_url=target.base_url, **options)

            yield demo_client_of
        return
    if task.file is None:
        from usage_async._http.key import find_key

        find_key()  # a missing key is told before anything is opened
    certificates = environment_certificates()

    def client_of(organization: Organization, **options: Any) -> UsageClient:
        base_url = base_url_of(connection, organization.base_url)
        return clients.client_of(
            attrs.evolve(organization, base_url=base_url),
            proxy=connection.proxy or environment_proxy(base_url),
            ssl=certificates,
            **options,
        )

    yield client_of


@contextmanager
def _progress(context: Context, feeds: int) -> Iterator[Callable[[Progress], object]]:
    from usage_async.report.terminal.page import progress

    shares: dict[tuple[str, str], float] = {}
    with progress(context.err, "collecting", feeds) as advance:

        def on_progress(told: Progress) -> None:
            key = (told.organization, told.feed.table)
            advance(told.share - shares.get(key, 0.0))
            shares[key] = told.share

        yield on_progress


def _print(task: _Task, runs: Sequence[Run], context: Context, page: Page) -> None:
    for run in runs if task.as_json else ():
        print_json(context, {**attrs.asdict(run), "feed": str(run.feed), "table": run.feed.table})
    if runs and not task.as_json:
        _draw(runs, page)
        if kind_of(task.url) == DUCKDB:
            page.line(f"in {task.url.partition(':')[2]}")
    if not runs:
        context.note("no organization is in this shard")
    for run in runs:
        if run.error:
            stderr.write_line(f"{run.organization}, {run.feed}: {run.error}")
        if run.rounded:
            context.note(f"{run.organization}, {run.feed}: {run.rounded} figures were rounded")
    context.note_warnings()
    # The next round has warnings of its own.
    context.warnings.clear()


def _draw(runs: Sequence[Run], page: Page) -> None:
    figures = ("rows", "buckets", "requests", "revised")
    rows = [
        [
            run.organization,
            str(run.feed),
            *(f"{getattr(run, name):,}" for name in figures),
            "failed" if run.error else f"{run.seconds:.1f} s",
        ]
        for run in runs
    ]
    page.table(("organization", "feed", *figures, "time"), rows, names=2)


collect.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        *store_options(f"Default: {DEFAULT_STORE}; with --demo {DEMO_STORE}."),
        option(
            "feed",
            list[str] | None,
            None,
            group=_FIGURES,
            negative="",
            help="ENDPOINT:WIDTH:DIMENSION+DIMENSION, such as completions:1h:project+model; may be"
            " repeated. Default: costs by day, project and line item, and every usage endpoint by"
            " hour, project and model.",
        ),
        option(
            "since",
            str | None,
            None,
            group=_FIGURES,
            show_default=False,
            help="Start of the figures: 365d, 2026-10-01, 2026-10, this-year. One that is earlier"
            " than that of the runs before reads all from there again. Default: 31 days before the"
            " first run; each later run reads what is new and what may have changed.",
        ),
        option(
            "no_names",
            bool,
            default=False,
            group=OUTPUT,
            negative="",
            show_default=False,
            help="Read no names of projects, users and API keys.",
        ),
        format_option(),
        organizations_option("Default: one, with the key of the environment."),
        option(
            "name",
            str | None,
            None,
            group=ORGANIZATIONS,
            show_default=False,
            help=f"Name of the only organization in the store. Default: {_NAME}.",
        ),
        option(
            "shard",
            str | None,
            None,
            group=ORGANIZATIONS,
            show_default=False,
            help="Part of the organizations, such as 2/5, for several machines that share them.",
        ),
        option(
            "every",
            str | None,
            None,
            group=_AGAIN,
            show_default=False,
            help="Collect again at this interval, such as 1h, until Ctrl-C or SIGTERM; a snapshot"
            " that is being applied is finished first. Failed runs are reported, and the next round"
            " tries again.",
        ),
        CONNECTION,
        CONTEXT,
    ]
)
collect.__annotations__ = {}
