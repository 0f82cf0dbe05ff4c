"""Command `usage-async status`: show the progress of each feed in a store, and what has stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cyclopts import Group

from usage_async._cli.context import Context
from usage_async._cli.exit_codes import ExitCode
from usage_async._cli.options import CONTEXT, option, organizations_option
from usage_async._cli.store_options import (
    DEFAULT_STORE,
    DUCKDB,
    format_option,
    kind_of,
    parse_length,
    print_json,
    store_options,
    store_url,
)
from usage_async.errors import StoreError

if TYPE_CHECKING:
    from usage_async._http.key import Secret
    from usage_async.collect.feed import Feed
    from usage_async.collect.values import FeedState

_CHECK = Group("Check", sort_key=30)
_MAX_AGE = "3h"
_CLOCKS_DIFFER = timedelta(minutes=5)
"""Time by which the clocks of two machines may differ without a word about it."""


def status(
    *,
    to: str | None,
    to_env: str | None,
    organizations: Path | None,
    max_age: str,
    format: str,  # noqa: A002 - the name of the option
    debug: bool,  # noqa: ARG001 - the dispatch reads it
    context: Context,
) -> int:
    """Show the progress of each feed of each organization, and what has stopped."""
    longest = parse_length("--max-age", max_age)
    url = store_url(to, to_env)
    if kind_of(url) == DUCKDB:
        _check_file(url.partition(":")[2])
    wanted = None if organizations is None else _wanted(organizations)
    states = _chosen(context.run(_read(url)), wanted)
    now = context.runtime.now()
    verdicts = [_verdict(state, now, longest) for state in states]
    if format == "json":
        for state, verdict in zip(states, verdicts, strict=True):
            print_json(context, _document(state, verdict))
    elif states:
        _draw(states, verdicts, now, context)
    if not states:
        context.note("nothing was ever collected into this store: run usage-async collect")
    return ExitCode.DONE if states and not any(verdicts) else ExitCode.STOPPED


def _check_file(path: str) -> None:
    file = os.path.expanduser(path)  # noqa: PTH111 - as `open_store` does it
    if not os.path.exists(file):  # noqa: PTH110 - it takes any text
        raise StoreError(f"there is no file {file}: run usage-async collect, or name another store")


async def _read(url: Secret) -> list[FeedState]:
    from usage_async.collect.open import open_store

    async with open_store(url) as store:
        return await store.states()


def _wanted(file: Path) -> dict[tuple[str, str], Feed]:
    from usage_async.collect.organizations import load_organizations

    return {
        (each.name, feed.table): feed for each in load_organizations(file) for feed in each.feeds
    }


def _chosen(
    states: Sequence[FeedState], wanted: Mapping[tuple[str, str], Feed] | None
) -> list[FeedState]:
    """Choose the states of the feeds that are to be collected, with one for each that never was."""
    from usage_async.collect.values import FeedState, Place

    if wanted is None:
        return list(states)
    known = {(state.organization, state.feed.table): state for state in states}
    return [
        known.get(key) or FeedState(organization=key[0], feed=feed, place=Place(), rows=0)
        for key, feed in wanted.items()
    ]


def _verdict(state: FeedState, now: float, longest: timedelta) -> str | None:
    """Describe why a feed has stopped; None if it has not."""
    if state.run is not None and state.run.error is not None:
        return f"failed: {state.run.error}"
    last = _last(state)
    if last is None:
        return "was never collected"
    age = timedelta(seconds=now - last)
    if age < -_CLOCKS_DIFFER:
        return (
            f"was collected at {_time(last)}, which is in the future: the clock of that run was"
            " ahead, or the one here is behind"
        )
    if age > longest:
        return f"was collected {age // timedelta(hours=1)} h ago"
    covered = state.place.covered_to
    if covered is not None and timedelta(seconds=now - covered - state.feed.width_s) > longest:
        return (
            f"holds figures to {_time(covered)} only: the last run was cut off, or the service has"
            " sent nothing since"
        )
    return None


def _last(state: FeedState) -> int | None:
    """Give the instant of the last run, by its clock."""
    # A run without any bucket to apply leaves the place as it was.
    ends = [state.place.as_of, None if state.run is None else state.run.started_at]
    return max((each for each in ends if each is not None), default=None)


def _gaps(state: FeedState, now: float) -> str | None:
    """Describe the buckets that were not sent; None if there are none."""
    from usage_async.collect.values import MISSING_FOR

    place = state.place
    missing = place.missing_at(min(_last(state) or 0, int(now)), state.feed.width_s)
    if not missing:
        return None
    first = _time(place.unread[0] if place.unread else place.covered_to)
    buckets = "1 bucket" if missing == 1 else f"{missing:,} buckets"
    return (
        f"{buckets} missing from {first} on, which the service has not sent: collect asks for them"
        f" again for {MISSING_FOR.days} days"
    )


def _draw(
    states: Sequence[FeedState], verdicts: Sequence[str | None], now: float, context: Context
) -> None:
    """Write a table, and a line for each feed that has stopped or has gaps."""
    from usage_async.report.formatting import clean
    from usage_async.report.terminal.page import Page, Text

    rows: list[list[str | Text]] = [
        [
            state.organization,
            str(state.feed),
            _time(state.place.covered_to),
            _time(state.place.settled_through),
            _time(state.run.started_at if state.run else state.place.as_of),
            f"{state.rows:,}",
            "" if state.revisions is None else f"{state.revisions:,}",
            Text("stopped", style="bold red") if verdict else Text("ok", style="green"),
        ]
        for state, verdict in zip(states, verdicts, strict=True)
    ]
    times = ("covered to", "settled through", "last run")
    page = Page(context.out)
    page.table(("organization", "feed", *times, "rows", "revisions", ""), rows, names=2)
    for state, verdict in zip(states, verdicts, strict=True):
        if verdict is not None:
            page.hanging("", f"{state.organization}, {state.feed} {clean(verdict)}", style="red")
    for state in states:
        if gaps := _gaps(state, now):
            page.hanging("", f"{state.organization}, {state.feed}: {gaps}", style="yellow")


def _time(instant: int | None) -> str:
    return "" if instant is None else f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M}"


def _document(state: FeedState, verdict: str | None) -> dict[str, object]:
    place = state.place
    return {
        "organization": state.organization,
        "feed": str(state.feed),
        "table": state.feed.table,
        "covered_to": place.covered_to,
        "settled_through": place.settled_through,
        "missing": list(place.missing),
        "as_of": place.as_of,
        "rows": state.rows,
        "revisions": state.revisions,
        "run": None if state.run is None else attrs.asdict(state.run, filter=_is_plain),
        "stopped": verdict,
    }


def _is_plain(attribute: attrs.Attribute[object], _: object) -> bool:
    return attribute.name not in ("organization", "feed")


status.__signature__ = Signature(  # type: ignore[attr-defined] # a function takes any
    [
        *store_options(f"Default: {DEFAULT_STORE}."),
        organizations_option("Only their feeds count, and each must have been collected."),
        option(
            "max_age",
            str,
            _MAX_AGE,
            group=_CHECK,
            help="A feed has stopped if its last run or its newest figures are older than this,"
            " such as 90m, 3h or 2d.",
        ),
        format_option(),
        option(
            "debug",
            bool,
            default=False,
            group=_CHECK,
            negative="",
            show_default=False,
            help="Show the traceback of an error.",
        ),
        CONTEXT,
    ]
)
status.__annotations__ = {}
