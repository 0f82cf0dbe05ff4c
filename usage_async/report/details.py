"""Details of a report that its page shows: parts of each day, and tokens by kind. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import attrs

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async._api.fields import fields_of
from usage_async.report.amounts import change, total

MOST_STACKS = 6
"""The most groups that a day is divided into; the others are one part. More colours than these are
hard to tell apart."""

_ZERO = Decimal(0)

_MODALITIES = ("text", "audio", "image")


@attrs.frozen(kw_only=True)
class Stack:
    """A group's part of each day.

    Attributes:
        id: The group's id; None for spend that is not attributed, and for the others.
        name: Its name, where the service sent one.
        others: The number of groups that it is the sum of; 0 if it is one group.
        amounts: Its exact amount of every day; None where the day is not known.
    """

    id: str | None
    name: str | None = None
    others: int = 0
    amounts: tuple[Decimal | None, ...]


@attrs.frozen(kw_only=True)
class TokenKind:
    """Tokens of one kind.

    Attributes:
        kind: Its name, such as `cached input`.
        tokens: All of them.
        by_modality: Pairs of a modality and its tokens, and of `not told` and the rest, where the
            service tells any modality; else empty.
    """

    kind: str
    tokens: int
    by_modality: tuple[tuple[str, int], ...] = ()


def counting() -> list[Endpoint]:
    """Give the endpoints that count requests and tokens.

    Calls of tools are left out, because completions already count the requests that made them.
    """

    def names(endpoint: Endpoint) -> set[str]:
        return {a.name for a in fields_of(endpoint.result_class)}

    return [
        endpoint
        for endpoint in ENDPOINTS.values()
        if "num_model_requests" in names(endpoint) and "num_requests" not in names(endpoint)
    ]


def stacks_of(
    days: Sequence[tuple[date, Decimal | None]],
    groups: Iterable[Any],
    amounts: Mapping[tuple[date, str | None], Decimal],
) -> tuple[Stack, ...]:
    """Divide each day into the largest groups, the others, and what is not attributed.

    The parts of a day are its amount, exactly. No part is empty over all days.

    Args:
        days: Amounts by day; None where a day is not known.
        groups: The groups, the largest first.
        amounts: Amounts by day and group.
    """
    known = [day for day, amount in days if amount is not None]
    billed = {id_ for (_, id_), amount in amounts.items() if amount}
    named = [group for group in groups if group.id is not None and group.id in billed]
    shown = named[:MOST_STACKS]
    ids = {group.id for group in shown}
    others = {group.id for group in named} - ids
    of_others = {
        day: total(amounts.get((day, id_), _ZERO) for id_ in others) if others else _ZERO
        for day in known
    }
    nobody = {}
    for day, amount in days:
        if amount is not None:
            parts = total(amounts.get((day, id_), _ZERO) for id_ in ids)
            nobody[day] = change(change(amount, parts), of_others[day])

    def over_days(of_day: Mapping[date, Decimal]) -> tuple[Decimal | None, ...]:
        return tuple(None if amount is None else of_day.get(day, _ZERO) for day, amount in days)

    stacks = [
        Stack(
            id=group.id,
            name=group.name,
            amounts=over_days({day: amounts.get((day, group.id), _ZERO) for day in known}),
        )
        for group in shown
    ]
    if any(of_others.values()):
        stacks.append(Stack(id=None, others=len(others), amounts=over_days(of_others)))
    if any(nobody.values()):
        stacks.append(Stack(id=None, amounts=over_days(nobody)))
    return tuple(stacks)


def kinds_of(totals: Iterable[Any]) -> tuple[TokenKind, ...]:
    """Split tokens by kind; together the kinds of input are all input tokens.

    Args:
        totals: The sum of each endpoint that counts tokens.
    """
    rows = list(totals)

    def tokens(name: str) -> int:
        return sum(getattr(row, name, None) or 0 for row in rows)

    def kind(name: str, amount: int, prefix: str = "") -> TokenKind:
        told = [(each, tokens(f"{prefix}_{each}_tokens")) for each in _MODALITIES if prefix]
        if not any(count for _, count in told):
            return TokenKind(kind=name, tokens=amount)
        rest = amount - sum(count for _, count in told)
        pairs = (*told, *([("not told", rest)] if rest > 0 else []))
        return TokenKind(kind=name, tokens=amount, by_modality=pairs)

    cached, written = tokens("input_cached_tokens"), tokens("input_cache_write_tokens")
    kinds = (
        kind("uncached input", tokens("input_tokens") - cached - written, "input"),
        kind("cached input", cached, "input_cached"),
        kind("cache writes", written),
        kind("output", tokens("output_tokens"), "output"),
    )
    return kinds if any(each.tokens for each in kinds) else ()
