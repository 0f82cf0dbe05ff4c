"""Replies with the reasons of a bill: why it changed, if it matches, and where a month is going.

They are cached and scoped as reports are. None of them holds text of the service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
from pydantic import BaseModel

from usage_async._client.client import UsageClient
from usage_async.fastapi.parameters import (
    BudgetParameters,
    ExplainParameters,
    ReconcileParameters,
)
from usage_async.fastapi.replies import Written, is_settled, written_text
from usage_async.report.monthly import budget_question
from usage_async.report.reading import OUT_OF_SCOPE
from usage_async.report.reasons import (
    budget_of,
    explain_spec,
    explanation_of,
    reconciliation_of,
)
from usage_async.report.reasons_json import (
    budget_as_json,
    explanation_as_json,
    reconciliation_as_json,
)
from usage_async.report.reconciliation import Reconciliation
from usage_async.report.reports import now_of
from usage_async.report.spec import report_spec
from usage_async.report.values import Blank, Explanation, View
from usage_async.report.worker import in_worker

F = TypeVar("F", Explanation, Reconciliation)


class ReasonsBody(BaseModel):
    """Fields that all bodies about reasons have.

    Attributes:
        start_time: Start of the period, Unix seconds, inclusive.
        end_time: End of the period, Unix seconds, exclusive.
        requested: The period that was asked for, Unix seconds.
        as_of: Instant of the reading, Unix seconds.
        notices: Facts about the figures that a careful reader should know.
    """

    start_time: int
    end_time: int
    requested: dict[str, int]
    as_of: int
    notices: list[str]


class ExplanationBody(ReasonsBody):
    """The change of the bill; amounts are exact texts.

    Attributes:
        organization: Id and name.
        compared_with: The period to compare with.
        bills: The change by currency: its parts, sentences, models, projects, lines, API keys.
        invoice: Always null here.
        refused: Sections that the service refuses to show, with the reason.
        failed: Sections that could not be read, with the reason.
        missing: Days that did not come, by section.
    """

    organization: dict[str, str | None]
    compared_with: dict[str, int] | None
    bills: list[dict[str, Any]]
    invoice: None
    refused: list[dict[str, str]]
    failed: list[dict[str, str]]
    missing: list[dict[str, Any]]


class ReconciliationBody(ReasonsBody):
    """Billed quantities beside reported usage; quantities are exact texts.

    Attributes:
        line_items: Line items that both sides know, over all days.
        pairs: The same by day.
        only_billed: Lines of days that usage does not report.
        only_reported: Usage of days that is not billed.
        refused: Endpoints that the service refuses to show, with the reason.
        failed: Endpoints that could not be read, with the reason.
        missing: Days that did not come, by endpoint.
    """

    line_items: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    only_billed: list[dict[str, Any]]
    only_reported: list[dict[str, Any]]
    refused: list[dict[str, str]]
    failed: list[dict[str, str]]
    missing: list[dict[str, Any]]


class BudgetBody(ReasonsBody):
    """A month beside its budget; amounts are exact texts.

    Attributes:
        budgets: The budget, and the spend in other currencies beside it.
        groups: The spend by group.
        missing: Days that did not come.
        missing_by_group: Days that did not come by group.
    """

    budgets: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    missing: list[str]
    missing_by_group: list[str]


async def explain_reply(client: UsageClient, parameters: ExplainParameters) -> Written:
    """Read and explain the change of a bill, and write it."""
    period, against = parameters.period, parameters.against

    async def read(now: int) -> tuple[Written, bool]:
        spec = explain_spec(now, period=period, against=against)
        made = _without_words(await explanation_of(client, spec))
        text = await in_worker(explanation_as_json, made, None, View())
        # What the scope leaves out, another reading leaves out as well.
        lacking = tuple(each for each in made.blanks if each[1] != OUT_OF_SCOPE)
        return await written_text(text), is_settled(attrs.evolve(made, blanks=lacking), client)

    spec = explain_spec(now_of(client), period=period, against=against)
    # The words of `against` may mean another period tomorrow.
    words = () if against is None else (against, str(spec.today))
    return await _cached(client, period, ("explain", *words), read)


async def reconcile_reply(client: UsageClient, parameters: ReconcileParameters) -> Written:
    """Read what was billed and what usage reports, and write it."""
    period = parameters.period

    async def read(now: int) -> tuple[Written, bool]:
        spec = report_spec(now, by="line_item", period=period)
        made = _without_words(await reconciliation_of(client, spec))
        text = await in_worker(reconciliation_as_json, made, View())
        return await written_text(text), is_settled(made, client)

    return await _cached(client, period, ("reconcile",), read)


async def budget_reply(client: UsageClient, parameters: BudgetParameters) -> Written:
    """Read the spend of a month, and write it beside its budget."""
    asked: Any = {name: getattr(parameters, name) for name in ("period", "by", "currency")}

    async def read(now: int) -> tuple[Written, bool]:
        question = budget_question(now, parameters.monthly, **asked)
        made = await budget_of(client, question)
        if made.notices:
            made = attrs.evolve(made, notices=("spend limits could not be read",))
        text = await in_worker(budget_as_json, made, View())
        # Spend limits change whenever somebody likes.
        return await written_text(text), False

    # A wrong question is refused before the cache is asked.
    budget_question(now_of(client), parameters.monthly, **asked)
    words = (str(parameters.monthly), parameters.by or "", parameters.currency)
    return await _cached(client, parameters.period, ("budget", *words), read)


async def _cached(
    client: UsageClient,
    period: str,
    arguments: tuple[str, ...],
    read: Callable[[int], Awaitable[tuple[Written, bool]]],
) -> Written:
    """Read, or give what the cache of the client has."""

    async def answer(now: int | None) -> tuple[Written, bool]:
        return await read(now_of(client) if now is None else now)

    # All queries are of the same days or follow from them, so that one stands for the question.
    costs = client.costs(period=period)
    return await costs._answer("report", arguments, answer, is_rendered=True)  # noqa: SLF001 - ours


def _without_words(found: F) -> F:
    """Replace the service's reasons for what has no figures by words of our own."""
    told = tuple(
        (name, blank)
        if blank == OUT_OF_SCOPE
        else (name, Blank(blank.verdict, f"the usage service {blank.verdict} this"))
        for name, blank in found.blanks
    )
    return attrs.evolve(found, blanks=told)
