"""Reading the reasons of a bill from a service: what is asked, and what is left out and told."""

import threading
from decimal import Decimal

import pytest

from usage_async import BadRequestError, PermissionDeniedError, QueryError
from usage_async.emulator import Emulator, Faults, Organization, Quirks
from usage_async.emulator.demonstration import client_of
from usage_async.report import reasons
from usage_async.report.effects import sum_exactly
from usage_async.report.limits import read_spend_limits
from usage_async.report.monthly import (
    BudgetQuestion,
    budget_of_report,
    budget_report,
    month_spec,
)
from usage_async.report.reasons import (
    EXPLAIN_QUERIES,
    RECONCILE_QUERIES,
    explain_spec,
    explanation_of,
    read_budget,
    read_explanation,
    read_reconciliation,
)
from usage_async.report.reports import read_report
from usage_async.report.telling import sentences

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z
MISSING = Quirks(missing_starts=(NOW - NOW % 86400 - 86400 * 3, NOW - NOW % 86400 - 86400 * 30))
LAST_MONTH = explain_spec(NOW, period="last-month")


@pytest.fixture
async def emulated():
    async with Emulator(now=lambda: NOW) as server, client_of(server) as client:
        yield server, client


async def test_an_explanation_is_of_the_bill_that_totals_give(emulated):
    server, client = emulated
    made = await read_explanation(client)
    bill, before = [
        await client.costs(period=period).total() for period in ("last-month", "2026-09")
    ]
    (change,) = made.bills
    assert (change.amount, change.before) == (bill.amount_value, before.amount_value)
    assert change.effects.total == sum_exactly((bill.amount_value, -before.amount_value))
    assert change.effects.unexplained == 0
    assert change.keys
    assert made.is_whole
    assert str(made.organization).startswith("Example Labs")
    paths = {request.path for request in server.requests}
    assert "/v1/organization/costs" in paths
    assert change.keys[0].name == "notebooks"
    server.requests.clear()
    nameless = await read_explanation(client, names=False)
    assert nameless.bills[0].keys[0].name is None
    assert {request.path for request in server.requests} == {"/v1/organization/costs"}


@pytest.mark.parametrize("by", ["project", "model", "project,line-item", "api-key,project"])
async def test_a_detailed_report_explains_as_the_explanation_does(emulated, by):
    _, client = emulated
    report = await read_report(client, "last-month", by=by, compare=True, detailed=True)
    made = await read_explanation(client, "last-month")
    assert sentences(report.explanation) == sentences(made)
    assert report.explanation.remarks == made.remarks
    for mine, its in zip(report.explanation.bills, made.bills, strict=True):
        assert (mine.lines, mine.models, mine.projects) == (its.lines, its.models, its.projects)
    plain = await read_report(client, "last-month", by=by, detailed=True)
    assert plain.explanation is None


async def test_any_two_periods_are_compared(emulated):
    _, client = emulated
    made = await read_explanation(client, "2026-10", against="2026-08")
    assert made.spec.before.start.month == 8
    assert made.bills[0].before == (await client.costs(period="2026-08").total()).amount_value
    spec = explain_spec(NOW, period="this-month")
    assert (spec.before.end_time - spec.before.start_time) == 22 * 86400


async def test_progress_is_told_once_a_query(emulated):
    _, client = emulated
    steps = []
    await explanation_of(client, LAST_MONTH, advance=lambda: steps.append(1))
    assert len(steps) == EXPLAIN_QUERIES
    steps.clear()
    await read_reconciliation(client, advance=lambda: steps.append(1))
    assert len(steps) == RECONCILE_QUERIES


async def test_keys_that_are_refused_are_told_and_the_rest_is_explained(emulated):
    server, client = emulated
    server.quirks = Quirks(api_key_floor=NOW)
    made = await read_explanation(client)
    assert made.bills[0].keys == ()
    assert made.is_whole
    assert any(each.startswith("spend by API key: refused") for each in made.remarks)


async def test_a_scope_explains_its_own_costs_without_keys(emulated):
    server, client = emulated
    project = server.organization.projects[0]
    scoped = client.scoped(project_ids=[project.id])
    made = await read_explanation(scoped)
    (change,) = made.bills
    assert [each.id for each in change.projects] == [project.id]
    assert change.amount == (await scoped.costs(period="last-month").total()).amount_value
    assert change.keys == ()
    assert "spend by API key: refused: API keys are outside of the scope" in made.remarks
    steps = []
    await explanation_of(scoped, LAST_MONTH, advance=lambda: steps.append(1))
    assert len(steps) == EXPLAIN_QUERIES


async def test_costs_that_are_refused_are_an_error():
    async with (
        Emulator(now=lambda: NOW, quirks=Quirks(lookback_days=40)) as server,
        client_of(server) as client,
    ):
        with pytest.raises(BadRequestError):
            await read_explanation(client)
        server.faults = Faults(forbidden_rate=1)
        with pytest.raises(PermissionDeniedError):
            await read_reconciliation(client)
        with pytest.raises(PermissionDeniedError):
            await read_budget(client, Decimal(1))


async def test_the_emulator_bills_what_it_reports(emulated):
    _, client = emulated
    made = await read_reconciliation(client, "2026-10-05")
    assert made.is_whole
    assert made.differing == made.only_reported == ()
    assert {pair.line_item for pair in made.only_billed} == {"file search storage"}
    assert len(made.sums) > 30


async def test_lost_rows_of_the_bill_are_differences(emulated):
    server, client = emulated
    server.quirks = Quirks(lossy_groups=1)
    made = await read_reconciliation(client, "2026-10-05")
    assert made.differing or made.only_reported


async def test_a_budget_has_groups_and_limits(emulated):
    _server, client = emulated
    made = await read_budget(client, Decimal(6000), by="project")
    (whole,) = made.whole
    spent = (await client.costs(period="this-month").total()).amount_value
    assert (whole.spent, whole.budget, whole.limit.amount) == (spent, 6000, 7000)
    assert whole.projection.weeks == 8
    assert sum_exactly(each.spent for each in made.groups) == spent
    limits = {each.name: each.limit.amount for each in made.groups if each.limit}
    assert limits == {"Support assistant": 2200, "Research": 600}
    assert made.gaps == made.notices == ()


async def test_a_budget_of_a_month_that_is_over_is_not_projected(emulated):
    server, client = emulated
    made = await read_budget(client, Decimal(1), period="2026-10", limits=False)
    assert (made.whole[0].verdict, made.whole[0].projection, made.whole[0].limit) == (
        "over",
        None,
        None,
    )
    assert not any("limit" in request.path for request in server.requests)


async def test_a_budget_in_another_currency_than_the_bill_has_no_spend(emulated):
    _, client = emulated
    made = await read_budget(client, Decimal(1), currency="eur", by="api_key_id", names=False)
    eur, usd = made.whole
    assert (eur.currency, eur.spent, eur.verdict, eur.limit) == ("eur", 0, "within", None)
    assert (usd.currency, usd.budget, usd.verdict) == ("usd", None, "within")
    assert not made.is_whole
    assert usd.limit is not None
    assert any(each.id for each in made.groups)
    assert (made.billed_in, made.is_whole) == (("usd",), False)
    assert made.not_billed == "nothing is billed in eur, but in usd: no spend can reach it"
    assert made.not_billed in made.remarks


async def test_a_history_that_begins_within_the_weeks_shortens_the_range():
    quirks = Quirks(lookback_days=30)
    async with (
        Emulator(Organization(), now=lambda: NOW, quirks=quirks) as server,
        client_of(server) as client,
    ):
        made = await read_budget(client, Decimal(6000))
    assert made.whole[0].projection.weeks == 4
    assert made.gaps == ()


async def test_days_of_the_month_before_the_history_begins_are_missing():
    async with Emulator(now=lambda: NOW) as server, client_of(server) as client:
        made = await read_budget(client, Decimal(6000), period="2025-11", limits=False)
        server.quirks = Quirks(lookback_days=10)
        running = await read_budget(client, Decimal(6000), limits=False)
    assert len(made.gaps) == made.whole[0].missing_days == 21
    assert made.remarks == ("21 days were not sent, the first is 2025-11-01; the spend lacks them",)
    assert len(running.gaps) == running.whole[0].missing_days > 0
    assert not made.is_whole
    assert not running.is_whole


async def test_days_that_only_the_groups_lack_are_told():
    missing = month_spec(NOW).period.start_time + 4 * 86400
    quirks = Quirks(missing_starts=(missing,), missing_in="grouped")
    async with Emulator(now=lambda: NOW, quirks=quirks) as server, client_of(server) as client:
        made = await read_budget(client, Decimal(6000), by="project")
    assert (made.gaps, made.group_gaps, made.is_whole) == ((), (missing,), False)
    told = "by group: 1 day was not sent, the first is 2026-11-05"
    assert f"{told}; the spend of these days is not attributed" in made.remarks
    *named, nobody = made.groups
    assert {each.missing_days for each in named} == {1}
    assert (nobody.id, nobody.missing_days, nobody.projection) == (None, 0, None)
    assert sum_exactly(each.spent for each in made.groups) == made.whole[0].spent


@pytest.mark.parametrize("hour", [0, 30, 200, 22 * 24 - 12])
@pytest.mark.parametrize("quirks", [Quirks(), Quirks(lookback_days=30), MISSING])
async def test_a_report_and_a_budget_of_one_month_agree(hour, quirks):
    now = month_spec(NOW).period.start_time + hour * 3600 + 1
    async with Emulator(now=lambda: now, quirks=quirks) as server, client_of(server) as client:
        report = await read_report(client, "this-month", names=False)
        question = BudgetQuestion(spec=report.spec, monthly=Decimal(6000))
        of_report = budget_of_report(report, question, await read_spend_limits(client))
        made = await read_budget(client, Decimal(6000), names=False)
    assert of_report.whole == made.whole
    for spend in report.spends:
        assert spend.projection == made.whole[0].projection
    assert (of_report.gaps, of_report.is_whole) == (made.gaps, made.is_whole)
    assert of_report.billed_in == made.billed_in
    assert of_report.whole[0].limit is not None
    assert of_report.remarks_on_budget == made.remarks_on_budget == ()


async def test_weeks_that_are_not_read_are_told():
    async with Emulator(now=lambda: NOW) as server, client_of(server) as client:
        server.quirks = Quirks(lookback_days=21)
        report = await read_report(client, "this-month", names=False)
    (blank,) = report.blanks
    assert (blank[0], blank[1].verdict) == ("the weeks before the month", "refused")
    assert report.spends[0].projection.weeks == 3
    assert report.is_whole


async def test_only_a_running_month_needs_weeks_before_it(emulated):
    _, client = emulated
    for period in ("this-month", "last-month", "7d"):
        report = await read_report(client, period, names=False)
        assert (report.weeks != ()) is (period == "this-month")


async def test_in_the_first_second_of_a_month_nothing_is_spent():
    first = month_spec(NOW).period.start_time
    async with Emulator(now=lambda: first) as server, client_of(server) as client:
        made = await read_budget(client, Decimal(9000), by="project")
    whole = made.whole[0]
    assert (whole.spent, whole.verdict, made.gaps) == (0, "within", ())
    assert whole.projection.left_days == 30


async def test_a_budget_is_computed_off_the_event_loop(emulated, monkeypatch):
    threads = []

    def told(*args):
        threads.append(threading.current_thread())
        return budget_report(*args)

    monkeypatch.setattr(reasons, "budget_report", told)
    await read_budget(emulated[1], Decimal(6000), by="line-item", limits=False)
    assert threads
    assert threading.main_thread() not in threads


async def test_a_budget_knows_its_groups_by_word(emulated):
    _, client = emulated
    made = await read_budget(client, Decimal(6000), by="api-key", limits=False)
    assert {"evaluation", "nightly batches"} <= {each.name for each in made.groups}
    with pytest.raises(QueryError, match="by takes one of project, user, api-key, line-item; not"):
        await read_budget(client, Decimal(6000), by="model")
