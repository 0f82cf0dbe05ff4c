import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from usage_async import (
    ENDPOINTS,
    CostsResult,
    CostsResultAmount,
    TimeRange,
    UsageCompletionsResult,
    UsageTimeBucket,
    UsageWebSearchCallsResult,
)
from usage_async.report.csv import COLUMNS, as_csv
from usage_async.report.insight import total
from usage_async.report.json import as_json
from usage_async.report.make import days_of, make_report
from usage_async.report.plan import (
    GROUPINGS,
    Blank,
    Plan,
    Reading,
    Readings,
)
from usage_async.report.terminal.report import draw_report

DAY = 86400
START = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
PERIOD = TimeRange(START, START + 3 * DAY)
BEFORE = TimeRange(START - 3 * DAY, START)
NOW = START + 30 * DAY


def _cost(amount: str | None, currency: str = "usd", **fields) -> CostsResult:
    made = amount and CostsResultAmount(value=Decimal(amount), currency=currency)
    return CostsResult(amount=made or None, **fields)


def _reading(*days, start: int = START) -> Reading:
    return Reading(
        tuple(
            UsageTimeBucket(
                start_time=start + n * DAY, end_time=start + (n + 1) * DAY, results=tuple(rows)
            )
            for n, rows in enumerate(days)
        )
    )


def _report(by="project_id", *, costs=None, costs_by=None, usage=None, before=None, **more):
    readings = Readings(
        costs=costs or _reading(),
        costs_by=costs_by or _reading(),
        usage={name: Reading() for name in ENDPOINTS if name != "costs"} | (usage or {}),
        costs_before=before,
        **more,
    )
    return make_report(Plan(by, PERIOD, NOW, BEFORE if before else None), readings)


def test_groups_and_what_is_not_attributed_are_the_billed_total_exactly():
    shown = _report(
        costs=_reading([_cost("10.00000001")], [], [_cost("5")]),
        costs_by=_reading(
            [_cost("3", project_id="p", project_name="Web"), _cost("1", project_id=None)],
            [],
            [_cost("8", project_id="q")],
        ),
    )
    (spend,) = shown.spends
    assert spend.total == Decimal("15.00000001")
    assert [(group.id, group.name, group.amount) for group in spend.groups] == [
        ("q", None, 8),
        ("p", "Web", 3),
        (None, None, Decimal("4.00000001")),
    ]
    assert [amount for _, amount in spend.days] == [Decimal("10.00000001"), 0, 5]


@given(
    st.lists(st.decimals(-(10**9), 10**9, places=20), max_size=8),
    st.lists(st.decimals(-(10**9), 10**9, places=20), max_size=8),
    st.sampled_from(list(GROUPINGS)),
)
def test_parts_always_sum_to_the_whole(whole, parts, by):
    line_items = ["gpt-5, input", "gpt-5, output", "storage", None]
    rows = [
        _cost(str(part), project_id=f"p{n % 3}", line_item=line_items[n % 4])
        for n, part in enumerate(parts)
    ]
    shown = _report(by, costs=_reading([_cost(str(x)) for x in whole]), costs_by=_reading(rows))
    for spend in shown.spends:
        assert total(group.amount for group in spend.groups) == spend.total
        assert total(amount for _, amount in spend.days) == spend.total


def test_models_are_derived_from_line_items_and_others_keep_their_own_names():
    shown = _report(
        "model",
        costs=_reading([_cost("7")]),
        costs_by=_reading(
            [
                _cost("1", line_item="gpt-5, input"),
                _cost("2", line_item="gpt-5 , output"),
                _cost("3", line_item="storage"),
                _cost("0.5", line_item="web search"),
            ]
        ),
    )
    assert [(group.id, group.amount) for group in shown.spends[0].groups] == [
        ("gpt-5", 3),
        ("storage", 3),
        ("web search", Decimal("0.5")),
        (None, Decimal("0.5")),
    ]


@pytest.mark.parametrize("by", list(GROUPINGS))
def test_a_report_never_depends_on_the_context_of_the_thread(hostile, by):
    amounts = ["12345678901234567890.123456789", "1.000000001", "0.3333333333"]
    rows = [_cost(amount, project_id=f"p{n}") for n, amount in enumerate(amounts)]
    costs = _reading(rows, rows, rows[:1])
    use = UsageCompletionsResult(
        input_tokens=10, output_tokens=3, num_model_requests=7, project_id="p1"
    )
    readings = Readings(
        costs=costs,
        costs_by=costs,
        costs_before=_reading(rows[1:]),
        costs_by_before=_reading(rows[1:]),
        usage={name: Reading() for name in ENDPOINTS if name != "costs"}
        | {"completions": _reading([use])},
    )
    shown = make_report(Plan(by, PERIOD, PERIOD.end_time, BEFORE, running=True), readings)
    (spend,) = shown.spends
    assert spend.total == Decimal("37037036703703703673.0370370356")
    assert total(group.amount for group in spend.groups) == spend.total
    console = Console(file=io.StringIO(), width=80)
    draw_report(console, shown, notices=(), footer="", top=1)
    assert "$3.704E+19" in console.file.getvalue()
    assert b"37037036703703703673.0370370356" in as_json(shown, [])
    assert as_csv(shown)


def test_every_currency_has_a_bill_of_its_own():
    costs = _reading([_cost("1", "eur"), _cost("2"), _cost(None)])
    shown = _report(costs=costs, costs_by=costs)
    assert [(spend.currency, spend.total) for spend in shown.spends] == [("usd", 2), ("eur", 1)]


def test_a_comparison_has_every_group_of_either_period():
    shown = _report(
        costs=_reading([_cost("5")]),
        costs_by=_reading([_cost("5", project_id="new")]),
        before=_reading([_cost("3"), _cost("2")], start=BEFORE.start_time),
        costs_by_before=_reading(
            [_cost("3", project_id="old", project_name="Old")], start=BEFORE.start_time
        ),
    )
    (spend,) = shown.spends
    assert spend.before == 5
    assert [(group.id, group.name, group.amount, group.before) for group in spend.groups] == [
        ("new", None, 5, 0),
        ("old", "Old", 0, 3),
        (None, None, 0, 2),
    ]


def test_what_was_only_billed_before_is_compared_too():
    shown = _report(
        before=_reading([_cost("3")]), costs_by_before=_reading([_cost("3", project_id="old")])
    )
    assert (shown.spends[0].total, shown.spends[0].before) == (0, 3)


@pytest.mark.parametrize("refused", ["costs_by", "before", "costs_by_before"])
def test_a_refused_section_is_blank_with_its_reason(refused):
    given = {
        "costs": _reading([_cost("5")]),
        "costs_by": _reading([_cost("5", project_id="p")]),
        "before": _reading([_cost("4")]),
        "costs_by_before": _reading([_cost("4", project_id="p")]),
    }
    shown = _report(**given | {refused: Reading(blank=Blank("refused", "not before 2026"))})
    (spend,) = shown.spends
    assert [str(blank) for _, blank in shown.blanks] == ["refused: not before 2026"]
    assert spend.total == 5
    assert (spend.groups == ()) is (refused == "costs_by")
    assert (spend.before is None) is (refused == "before")
    assert all(group.before is None for group in spend.groups)


def test_tokens_add_up_over_endpoints_and_tool_calls_are_not_requests_twice():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2, "project_id": "p"}
    shown = _report(
        costs=_reading([_cost("4")]),
        costs_by=_reading([_cost("4", project_id="p", project_name="Web")]),
        usage={
            "completions": _reading(
                [UsageCompletionsResult(**use, input_cached_tokens=4)],
                [
                    UsageCompletionsResult(**use),
                    UsageCompletionsResult(**use | {"project_id": "q"}),
                ],
            ),
            "web_search_calls": _reading(
                [UsageWebSearchCallsResult(num_model_requests=5, num_requests=9, project_id="p")]
            ),
        },
    )
    assert [
        (row.id, row.name, row.requests, row.input, row.cached, row.output) for row in shown.tokens
    ] == [
        ("p", "Web", 4, 20, 4, 6),
        ("q", None, 2, 10, 0, 3),
    ]
    assert shown.spends[0].groups[0].requests == 4
    used = {use.name: use for use in shown.endpoints}
    assert used["web_search_calls"].figures == (("num_requests", 9, "calls"),)
    assert used["completions"].requests == 6
    assert used["vector_stores"].requests is None


@pytest.mark.parametrize(
    ("fields", "organization"),
    [
        ({}, "Organization"),
        ({"organization_id": "org-1"}, "org-1"),
        ({"organization_id": "org-1", "organization_name": "Labs"}, "Labs  org-1"),
    ],
)
def test_the_organization_is_told_as_far_as_the_service_sends_it(fields, organization):
    shown = _report(costs=_reading([_cost("1"), _cost("1", **fields)]))
    assert str(shown.organization) == organization
    told = json.loads(as_json(shown, []))["organization"]
    assert told == {
        "id": fields.get("organization_id"),
        "name": fields.get("organization_name"),
    }


def test_an_endpoint_that_is_refused_says_why():
    shown = _report(usage={"images": Reading(blank=Blank("refused", "not yours"))})
    assert {use.name: str(use.blank) for use in shown.endpoints}["images"] == "refused: not yours"
    assert shown.blanks == (("images", Blank("refused", "not yours")),)


def test_an_organization_without_any_figure_is_empty():
    assert _report().is_empty
    assert _report(costs=_reading([_cost("0")])).is_empty
    assert not _report(costs=_reading([_cost("1")])).is_empty
    assert not _report(costs=Reading(blank=Blank("refused", "no"))).is_empty


def test_the_days_of_a_period_are_those_that_it_touches():
    assert days_of(TimeRange(START, START + DAY + 1)) == [date(2026, 10, 1), date(2026, 10, 2)]
    assert days_of(TimeRange(START, START + DAY)) == [date(2026, 10, 1)]


def test_json_is_exact_and_says_what_was_refused():
    shown = _report(
        costs=_reading([_cost("0.1000000000000000000000000000000000000001")]),
        costs_by=Reading(blank=Blank("refused", "no")),
    )
    value = json.loads(as_json(shown, ["careful"]))
    assert value["spend"][0]["amount"] == "0.1000000000000000000000000000000000000001"
    assert value["refused"] == [{"section": "spend by project", "reason": "no"}]
    assert value["notices"] == ["careful"]
    assert value["compared_with"] is None


def test_csv_joins_money_and_tokens_of_a_group_and_guards_its_name():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2}
    costs_by = _reading([_cost("-4", project_id="p", project_name="=cmd()")])
    shown = _report(
        costs=_reading([_cost("-4")]),
        costs_by=costs_by,
        usage={
            "completions": _reading(
                [
                    UsageCompletionsResult(**use, project_id="p"),
                    UsageCompletionsResult(**use, project_id="q"),
                ]
            )
        },
    )
    assert as_csv(shown).decode().splitlines() == [
        ",".join(COLUMNS),
        "p,'=cmd(),usd,-4,,2,10,0,3",
        "q,,,,,2,10,0,3",
    ]


def test_csv_keeps_line_items_and_models_apart():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2}
    costs_by = _reading([_cost("4", line_item="gpt-5")])
    shown = _report(
        "line_item",
        costs=_reading([_cost("4")]),
        costs_by=costs_by,
        usage={"completions": _reading([UsageCompletionsResult(**use, model="gpt-5")])},
    )
    assert as_csv(shown).decode().splitlines()[1:] == [
        "gpt-5,,usd,4,,,,,",
        "gpt-5,,,,,2,10,0,3",
    ]


def test_a_month_that_runs_has_a_pace_in_json():
    plan = Plan("project_id", PERIOD, PERIOD.end_time, BEFORE, running=True)
    costs = _reading([_cost("2")], [_cost("2")], [_cost("2")])
    usage = {name: Reading() for name in ENDPOINTS if name != "costs"}
    shown = make_report(plan, Readings(costs=costs, costs_by=costs, usage=usage))
    value = json.loads(as_json(shown, []))
    assert value["spend"][0]["projected"] == "62"
    assert value["compared_with"] == {"start_time": BEFORE.start_time, "end_time": START}
