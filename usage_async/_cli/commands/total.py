"""Command `usage-async total`: add up the figures of an endpoint, exactly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from usage_async._api.pages import Notice
from usage_async._cli.connection import Connection, open_client, open_client_and_names
from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode, code_of_run
from usage_async._cli.options import (
    OUTPUT,
    QueryArguments,
    endpoint_app,
    no_names_option,
    option,
    organizations_option,
    output_options,
)
from usage_async._cli.output import choose_format, destination, render
from usage_async.errors import QueryError
from usage_async.report.breakdown import Breakdown, read_breakdown
from usage_async.report.formats import BREAKDOWN_FORMATS, FOCUS_FORMATS

if TYPE_CHECKING:
    from usage_async._cli.names import CommandNames
    from usage_async._client.client import UsageClient
    from usage_async.report.answers import Answer
    from usage_async.report.focus_file import Charged


def _total(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    format: str | None = None,  # noqa: A002 - the name of the option
    output: Path | None = None,
    no_names: bool = False,
    organizations: Path | None = None,
    focus: bool = False,
    exact: bool = False,
) -> int:
    if focus:
        return _focus(
            arguments,
            connection,
            context,
            given=format,
            output=output,
            organizations=organizations,
            exact=exact,
        )
    if exact:
        raise QueryError("--exact is about --focus; sums are exact in any case")
    chosen = choose_format(BREAKDOWN_FORMATS, format, output)
    if organizations is not None:
        asked = _ask(arguments, organizations, connection, context, with_names=not no_names)
        answers = context.run(asked)
        render(chosen, context, output, answers, many=True)
        notices = [
            attrs.evolve(notice, message=f"{answer.name}: {notice.message}")
            for answer in answers
            if answer.value is not None
            for notice in answer.value.notices
        ]
        return _told(answers, notices, context, with_blanks=not chosen.is_drawn)
    breakdown = context.run(_read(arguments, connection, context, with_names=not no_names))
    render(chosen, context, output, breakdown)
    context.note_warnings()
    context.note_unsettled(breakdown.notices)
    return code_of_run(breakdown.notices)


async def _read(
    arguments: QueryArguments, connection: Connection, context: Context, *, with_names: bool
) -> Breakdown:
    opened = open_client_and_names(connection, context, with_names=with_names)
    async with opened as (client, names):
        return await _named(arguments, client, names)


async def _named(
    arguments: QueryArguments, client: UsageClient, names: CommandNames | None
) -> Breakdown:
    breakdown = await read_breakdown(arguments.query(client))
    if names is None:
        return breakdown
    return attrs.evolve(breakdown, names=await names.update(breakdown.groups))


async def _ask(
    arguments: QueryArguments,
    file: Path,
    connection: Connection,
    context: Context,
    *,
    with_names: bool,
) -> list[Answer[Breakdown]]:
    from usage_async._cli.organizations import ask_all

    read = partial(_named, arguments)
    return await ask_all(file, connection, context, read, with_names=with_names)


def _told(
    answers: Sequence[Answer[Any]],
    notices: Sequence[Notice],
    context: Context,
    *,
    with_blanks: bool = True,
) -> int:
    """Write to standard error what limits the figures, and give the exit code.

    Args:
        answers: The answers.
        notices: Notices of all runs, whose messages name the organization.
        context: Context of the command.
        with_blanks: True to tell which organizations did not answer.
    """
    from usage_async._cli.organizations import note_answers

    note_answers(answers, context, with_blanks=with_blanks)
    context.note_warnings()
    context.note_unsettled(notices)
    if any(answer.blank is not None for answer in answers):
        return ExitCode.FAILED
    return code_of_run(notices)


def _focus(
    arguments: QueryArguments,
    connection: Connection,
    context: Context,
    *,
    given: str | None,
    output: Path | None,
    organizations: Path | None,
    exact: bool,
) -> int:
    """Write charges in place of sums; `--by` adds dimensions to those that FOCUS takes."""
    from usage_async._client.files import write_batches
    from usage_async.report.focus import GROUPING
    from usage_async.report.focus_file import write_charged, write_charges

    if given is not None and given not in FOCUS_FORMATS:
        raise QueryError(f"--focus writes {' or '.join(FOCUS_FORMATS)}, not {given}")
    form = choose_format(FOCUS_FORMATS, given, output)
    opened: Any = destination(output)
    by = dict.fromkeys((*GROUPING, *arguments.params.get("group_by", ())))
    grouped = attrs.evolve(arguments, params={**arguments.params, "group_by": list(by)})
    if organizations is not None:
        with opened as sink:
            write = partial(write_charged, partial(write_batches, sink), exact=exact)
            asked = _focus_of_all(
                grouped, organizations, connection, context, partial(write, writer=form.load())
            )
            answers, notices = context.run(asked)
        return _told(answers, notices, context)
    with opened as sink:

        async def run() -> tuple[Notice, ...]:
            async with open_client(connection, context) as client:
                write, query = partial(write_batches, sink), grouped.query(client)
                return await write_charges(write, query, form.load(), exact=exact)

        notices = context.run(run())
    context.note_warnings()
    context.note_unsettled(notices)
    return code_of_run(notices)


async def _focus_of_all(
    arguments: QueryArguments,
    file: Path,
    connection: Connection,
    context: Context,
    write: Callable[[AsyncIterable[Answer[Charged]]], Coroutine[Any, Any, tuple[Notice, ...]]],
) -> tuple[list[Answer[Charged]], tuple[Notice, ...]]:
    """Write the costs of each organization while those of the next ones are read."""
    from usage_async._cli.organizations import ask_all
    from usage_async._engine.engine import together
    from usage_async.report.focus_file import read_charged

    taken: asyncio.Queue[Answer[Charged] | None] = asyncio.Queue(1)

    async def read(client: UsageClient, _: object) -> Charged:
        return await read_charged(arguments.query(client))

    async def ask() -> list[Answer[Charged]]:
        answers = await ask_all(file, connection, context, read, take=taken.put)
        await taken.put(None)
        return answers

    async def answers() -> AsyncIterator[Answer[Charged]]:
        while (answer := await taken.get()) is not None:
            yield answer

    work: list[Coroutine[Any, Any, Any]] = [ask(), write(answers())]
    asked, notices = await together(work)
    return asked, notices


_FOCUS = [
    option(
        "focus",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="Write charges in the columns of FOCUS 1.2 instead: one row a day, project and line"
        " item, and what else --by names. CSV, or -o with .parquet.",
    ),
    option(
        "exact",
        bool,
        default=False,
        group=OUTPUT,
        negative="",
        show_default=False,
        help="With --focus, in Parquet: round what has more than 18 decimal places, and add all"
        " digits as texts.",
    ),
]

app = endpoint_app(
    "total",
    "Add up the figures of an endpoint, exactly.",
    _total,
    [
        *output_options(BREAKDOWN_FORMATS),
        no_names_option(),
        organizations_option("Their sums follow those of all. Default: one organization."),
    ],
    "costs --period 2026-10 --by project_id",
    only={"costs": _FOCUS},
)
