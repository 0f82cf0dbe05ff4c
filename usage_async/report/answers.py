"""Answers of several organizations to one question, and the sums over all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Generic, TypeVar

import attrs

from usage_async.report.amounts import total
from usage_async.report.values import Blank, Report

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Answer(Generic[T]):
    """The answer of an organization: a report or a breakdown, or the reason why there is none.

    Attributes:
        name: Name of the organization, as the caller knows it.
        value: The report or the breakdown; None where there is none.
        blank: The reason why there is none; None where there is one.
        notices: Warnings about its figures.
    """

    name: str
    value: T | None = None
    blank: Blank | None = None
    notices: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Bill:
    """The bill of all organizations in one currency.

    Attributes:
        currency: Lowercase ISO 4217 code.
        total: As billed, exactly.
        before: The same of the range that it is compared with; None where one is not known.
        without: Names of the organizations whose spend is not known, or not of every day.
    """

    currency: str
    total: Decimal
    before: Decimal | None
    without: tuple[str, ...] = ()


def given(answers: Sequence[Answer[T]]) -> Iterator[tuple[Answer[T], T]]:
    """Give the answers that have a value, each with it."""
    for answer in answers:
        if answer.value is not None:
            yield answer, answer.value


def blanks(answers: Sequence[Answer[T]], verdict: str = "") -> list[tuple[str, Blank]]:
    """Give the names of the organizations without a value, and why; only those of a verdict."""
    return [
        (answer.name, answer.blank)
        for answer in answers
        if answer.blank is not None and verdict in ("", answer.blank.verdict)
    ]


def bills(answers: Sequence[Answer[Report]]) -> tuple[Bill, ...]:
    """Add the bills of all organizations up, the largest first."""
    spends = [spend for _, report in given(answers) for spend in report.spends]
    without = tuple(
        answer.name
        for answer in answers
        if answer.value is None or answer.value.spend_blank or answer.value.missing_days
    )
    found = []
    for currency in {spend.currency for spend in spends}:
        own = [spend for spend in spends if spend.currency == currency]
        before = [spend.before for spend in own if spend.before is not None]
        found.append(
            Bill(
                currency=currency,
                total=total(spend.total for spend in own),
                before=total(before) if len(before) == len(own) else None,
                without=without,
            )
        )
    return tuple(sorted(found, key=lambda bill: (bill.total.copy_negate(), bill.currency)))


def are_whole(answers: Sequence[Answer[Report]]) -> bool:
    """Tell if every organization answered, with every figure that was asked for."""
    return all(answer.value is not None and answer.value.is_whole for answer in answers)
