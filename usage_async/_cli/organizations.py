"""Several organizations: the same question to each, answers in the order of their file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from usage_async._cli.connection import (
    Connection,
    Target,
    base_url_of,
    client_of,
    environment_certificates,
    environment_proxy,
)
from usage_async._cli.context import WARNINGS, Context
from usage_async._cli.hints import explain
from usage_async.errors import QueryError, UsageError

if TYPE_CHECKING:
    from usage_async._cli.names import CommandNames
    from usage_async._client.client import UsageClient
    from usage_async.collect.organizations import Organization
    from usage_async.report.answers import Answer

T = TypeVar("T")

Read = Callable[["UsageClient", "CommandNames | None"], Awaitable[T]]
"""Reads the answer of an organization, with its names if they are to be read."""


async def ask_all(
    file: Path,
    connection: Connection,
    context: Context,
    read: Read[T],
    *,
    with_names: bool = False,
    take: Callable[[Answer[T]], Awaitable[object]] | None = None,
    **options: Any,
) -> list[Answer[T]]:
    """Ask every organization of a file the same; a failure is the answer of one organization.

    All organizations share a bound on their requests, and no more than 16 are asked at once.

    Args:
        file: The file.
        connection: Options of the command.
        context: Its clocks.
        read: Reads the answer of an organization.
        with_names: True to open names for it.
        take: Takes each answer in the order of the file, for values that are too large to be kept.
        options: Options of every client.

    Returns:
        The answers, in the order of the file; without values if `take` took them.

    Raises:
        ConfigurationError: The file cannot be used.
        QueryError: The question is wrong.
        UsageError: No organization answered.
    """
    from usage_async._engine.engine import together
    from usage_async._http.limiter import Limiter
    from usage_async._http.transport import open_session
    from usage_async.collect.organizations import load_organizations
    from usage_async.collect.run import AT_ONCE, REQUESTS
    from usage_async.report.answers import Answer
    from usage_async.report.reading import blank_of
    from usage_async.report.terminal.page import progress

    if connection.demo:
        raise QueryError("--organizations names them itself: leave --demo out")
    organizations = load_organizations(file)
    begun = context.runtime.now()
    # One instant for all of them: "7d" is the same range everywhere.
    runtime = attrs.evolve(context.runtime, now=lambda: begun)
    places, session = asyncio.Semaphore(AT_ONCE), open_session()
    options = {**options, "limiter": Limiter(REQUESTS), "session": session}
    certificates = environment_certificates()

    async def answer_of(organization: Organization) -> Answer[T]:
        warnings: dict[str, None] = {}
        WARNINGS.set(warnings)  # of this task alone
        value = blank = None
        opened = _opened(
            organization,
            connection,
            Context(runtime, warnings),
            with_names=with_names,
            ssl=certificates,
            **options,
        )
        try:
            async with opened as (client, names):
                value = await read(client, names)
        except QueryError:
            raise
        except UsageError as error:
            blank = blank_of(error, explain(error))
        advance()
        return Answer(name=organization.name, value=value, blank=blank, notices=tuple(warnings))

    async def ask(organization: Organization, own: asyncio.Event, last: asyncio.Event) -> Answer[T]:
        # A place is held until the answer is taken, so that at most as many wait to be. Places are
        # given in the order of the file, and so the next one to be taken always has one.
        async with places:
            answer = await answer_of(organization)
            if take is None:
                return answer
            await last.wait()
            await take(answer)
            own.set()
            return attrs.evolve(answer, value=None)

    turns = [asyncio.Event() for _ in (None, *organizations)]
    turns[0].set()
    try:
        with progress(context.err, "organizations", len(organizations)) as advance:
            answers = await together(map(ask, organizations, turns[1:], turns))
    finally:
        await session.close()
    if all(answer.blank is not None for answer in answers):
        reasons = (f"{answer.name}: {answer.blank}" for answer in answers)
        raise UsageError(f"no organization answered; {'; '.join(reasons)}")
    return answers


@asynccontextmanager
async def _opened(
    organization: Organization,
    connection: Connection,
    context: Context,
    *,
    with_names: bool,
    ssl: Any,
    **options: Any,
) -> AsyncIterator[tuple[UsageClient, CommandNames | None]]:
    """Open the client of an organization, and the names that are kept for its key."""
    from usage_async._cli.names import open_names
    from usage_async._cli.names_file import names_file
    from usage_async.collect.clients import read_key

    base_url = base_url_of(connection, organization.base_url)
    target = Target(
        base_url=base_url,
        key=await read_key(organization),
        proxy=connection.proxy or environment_proxy(base_url),
        ssl=ssl,
    )
    client = client_of(
        target,
        context,
        organization=organization.organization_id,
        settle_after=organization.settle_after,
        **options,
    )
    async with client:
        if not with_names:
            yield client, None
            return
        async with open_names(client, names_file(base_url, target.key), context) as names:
            yield client, names


def note_answers(
    answers: Sequence[Answer[Any]], context: Context, *, with_blanks: bool = True
) -> None:
    """Write to standard error what an output of figures leaves out.

    Args:
        answers: The answers.
        context: Context of the command.
        with_blanks: True to tell which organizations did not answer.
    """
    for answer in answers:
        if answer.blank is not None and with_blanks:
            context.note(f"{answer.name}: {answer.blank}")
        for notice in answer.notices:
            context.note(f"{answer.name}: {notice}")
