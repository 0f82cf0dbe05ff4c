import io
import json
from datetime import date
from decimal import Decimal
from itertools import permutations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from usage_async import (
    ENDPOINTS,
    TimeRange,
    UsageCompletionsResult,
    UsageWebSearchCallsResult,
)
from usage_async.report.amounts import total
from usage_async.report.compute import compute_report, days_in
from usage_async.report.csv import report_as_csv
from usage_async.report.json import report_as_json
from usage_async.report.spec import GROUPINGS, ReportSpec
from usage_async.report.terminal.report import draw_report
from usage_async.report.values import Blank, Section, Sections, View
from usage_async.report.wording import sum_of

from .conftest import BEFORE, DAY, PERIOD, START, cost, report_of, section


def test_groups_and_what_is_not_attributed_are_the_billed_total_exactly():
    shown = report_of(
        costs=section([cost("10.00000001")], [], [cost("5")]),
        costs_by=section(
            [cost("3", project_id="p", project_name="Web"), cost("1", project_id=None)],
            [],
            [cost("8", project_id="q")],
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
        cost(str(part), project_id=f"p{n % 3}", line_item=line_items[n % 4])
        for n, part in enumerate(parts)
    ]
    shown = report_of(by, costs=section([cost(str(x)) for x in whole]), costs_by=section(rows))
    for spend in shown.spends:
        assert total(group.amount for group in spend.groups) == spend.total
        assert total(amount for _, amount in spend.days) == spend.total


PAIRS = [f"{outer},{inner}" for outer, inner in permutations(GROUPINGS, 2)]
IDS = st.sampled_from(["a", "b", None])
ROWS = st.lists(
    st.builds(
        cost,
        st.decimals(-(10**9), 10**9, places=20).map(str),
        st.sampled_from(["usd", "eur"]),
        project_id=IDS,
        user_id=IDS,
        api_key_id=IDS,
        line_item=st.sampled_from(["gpt-5, input", "gpt-5, output", "gpt-6, input", "disk", None]),
    ),
    max_size=8,
)


@given(ROWS, ROWS, ROWS, ROWS, st.sampled_from(PAIRS))
def test_pairs_always_sum_to_their_groups_and_these_to_the_whole(whole, parts, before, rows, by):
    shown = report_of(
        by,
        costs=section(whole),
        costs_by=section(parts),
        before=section(before),
        costs_by_before=section(rows),
    )
    for spend in shown.spends:
        assert total(group.amount for group in spend.groups) == spend.total
        assert total(group.before for group in spend.groups) == spend.before
        for group in spend.groups:
            assert len({part.id for part in group.parts}) == len(group.parts) > 0
            assert total(part.amount for part in group.parts) == group.amount
            assert total(part.before for part in group.parts) == group.before


@given(ROWS, st.sampled_from(PAIRS))
def test_groups_of_a_pair_are_those_of_a_report_by_its_first_dimension(rows, by):
    costs = section(rows)
    nested = report_of(by, costs=costs, costs_by=costs)
    flat = report_of(by.split(",")[0], costs=costs, costs_by=costs)
    for of_pairs, alone in zip(nested.spends, flat.spends, strict=True):
        assert [attrs.evolve(group, parts=()) for group in of_pairs.groups] == [*alone.groups]


def test_pairs_are_nested_as_they_are_asked_for():
    rows = [
        cost("2", project_id="p", project_name="Web", line_item="gpt-5, input"),
        cost("3", project_id="p", project_name="Web", line_item="gpt-5, output"),
        cost("1", project_id="p", project_name="Web", line_item="storage"),
        cost("4", project_id="q", line_item="gpt-5, input"),
    ]
    costs = {"costs": section([cost("12")]), "costs_by": section(rows)}
    assert [
        (group.id, group.name, group.amount, [(part.id, part.amount) for part in group.parts])
        for group in report_of("project,model", **costs).spends[0].groups
    ] == [
        ("p", "Web", 6, [("gpt-5", 5), ("storage", 1)]),
        ("q", None, 4, [("gpt-5", 4)]),
        (None, None, 2, [(None, 2)]),
    ]
    assert [
        (group.id, [(part.id, part.name, part.amount) for part in group.parts])
        for group in report_of("model,project", **costs).spends[0].groups
    ] == [
        ("gpt-5", [("p", "Web", 5), ("q", None, 4)]),
        ("storage", [("p", "Web", 1)]),
        (None, [(None, None, 2)]),
    ]


def _used(project: str | None, model: str | None, requests: int) -> UsageCompletionsResult:
    return UsageCompletionsResult(
        input_tokens=10 * requests,
        output_tokens=requests,
        num_model_requests=requests,
        project_id=project,
        model=model,
    )


@pytest.mark.parametrize(
    ("by", "groups", "requests"),
    [
        ("project,model", {"p": {"gpt-5": 3, "gpt-6": 4}, None: {"gpt-5": 5}}, {("p", "gpt-5"): 3}),
        ("project,line-item", {"p": {"gpt-5": 3, "gpt-6": 4}, None: {"gpt-5": 5}}, {}),
        ("line-item,project", {"gpt-5": {"p": 3, None: 5}, "gpt-6": {"p": 4}}, {}),
        ("line-item,model", {"gpt-5": {}, "gpt-6": {}}, {}),
    ],
)
def test_tokens_of_pairs_are_nested_and_add_up(by, groups, requests):
    use = [_used("p", "gpt-5", 1), _used("p", "gpt-6", 4), _used(None, "gpt-5", 5)]
    shown = report_of(
        by,
        costs=section([cost("4")]),
        costs_by=section(
            [
                cost("3", project_id="p", line_item="gpt-5, input"),
                cost("1", project_id=None, line_item="gpt-5, input"),
            ]
        ),
        usage={"completions": section(use, [_used("p", "gpt-5", 2)])},
    )
    assert {row.id: {part.id: part.requests for part in row.parts} for row in shown.tokens} == (
        groups
    )
    for row in shown.tokens:
        assert not row.parts or attrs.evolve(sum_of(row.parts), id=row.id) == attrs.evolve(
            row, name=None, parts=()
        )
    assert {
        (group.id, part.id): part.requests
        for group in shown.spends[0].groups
        for part in group.parts
        if part.requests is not None
    } == requests


def test_what_no_model_accounts_for_has_no_rate():
    costs = section([cost("3", project_id="p")])
    use = section([_used("p", None, 2)])
    shown = report_of("project,model", costs=costs, costs_by=costs, usage={"completions": use})
    (group,) = shown.spends[0].groups
    (part,) = group.parts
    assert (group.requests, part.id, part.requests) == (2, None, None)


def test_models_are_derived_from_line_items_and_others_keep_their_own_names():
    shown = report_of(
        "model",
        costs=section([cost("7")]),
        costs_by=section(
            [
                cost("1", line_item="gpt-5, input"),
                cost("2", line_item="gpt-5 , output"),
                cost("3", line_item="storage"),
                cost("0.5", line_item="web search"),
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
    rows = [cost(amount, project_id=f"p{n}") for n, amount in enumerate(amounts)]
    costs = section(rows, rows, rows[:1])
    use = UsageCompletionsResult(
        input_tokens=10, output_tokens=3, num_model_requests=7, project_id="p1"
    )
    sections = Sections(
        costs=costs,
        costs_by=costs,
        costs_before=section(rows[1:]),
        costs_by_before=section(rows[1:]),
        usage={name: Section() for name in ENDPOINTS if name != "costs"}
        | {"completions": section([use])},
    )
    shown = compute_report(ReportSpec(by, PERIOD, PERIOD.end_time, BEFORE, running=True), sections)
    (spend,) = shown.spends
    assert spend.total == Decimal("37037036703703703673.0370370356")
    assert total(group.amount for group in spend.groups) == spend.total
    console = Console(file=io.StringIO(), width=80)
    draw_report(console, shown, View(top=1))
    assert "$3.704E+19" in console.file.getvalue()
    assert b"37037036703703703673.0370370356" in report_as_json(shown, View())
    assert report_as_csv(shown, View())


def test_every_currency_has_a_bill_of_its_own():
    costs = section([cost("1", "eur"), cost("2"), cost(None)])
    shown = report_of(costs=costs, costs_by=costs)
    assert [(spend.currency, spend.total) for spend in shown.spends] == [("usd", 2), ("eur", 1)]


@pytest.mark.parametrize("by", ["project", "model", "project,model"])
def test_requests_stand_beside_spend_only_where_all_of_it_is_in_one_currency(by):
    use = {"completions": section([_used("p", "gpt-5", 7)])}

    def requests_of(*currencies):
        rows = [cost("1", each, project_id="p", line_item="gpt-5, input") for each in currencies]
        parts = {"costs": section(rows), "costs_by": section(rows), "costs_by_model": section(rows)}
        report = report_of(by, **parts, usage=use, detailed=True)
        assert sum(row.requests for row in report.tokens) == 7
        groups = [group for spend in report.spends for group in (*spend.groups, *spend.models)]
        groups += [part for group in groups for part in group.parts]
        return {group.requests for group in groups}

    assert requests_of("usd") == {7}
    assert requests_of("usd", "eur") == {None}


def test_a_comparison_has_every_group_of_either_period():
    shown = report_of(
        costs=section([cost("5")]),
        costs_by=section([cost("5", project_id="new")]),
        before=section([cost("3"), cost("2")], start=BEFORE.start_time),
        costs_by_before=section(
            [cost("3", project_id="old", project_name="Old")], start=BEFORE.start_time
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
    shown = report_of(
        before=section([cost("3")]), costs_by_before=section([cost("3", project_id="old")])
    )
    assert (shown.spends[0].total, shown.spends[0].before) == (0, 3)


@pytest.mark.parametrize("refused", ["costs_by", "before", "costs_by_before"])
def test_a_refused_section_is_blank_with_its_reason(refused):
    given = {
        "costs": section([cost("5")]),
        "costs_by": section([cost("5", project_id="p")]),
        "before": section([cost("4")]),
        "costs_by_before": section([cost("4", project_id="p")]),
    }
    shown = report_of(**given | {refused: Section(blank=Blank("refused", "not before 2026"))})
    (spend,) = shown.spends
    assert [str(blank) for _, blank in shown.blanks] == ["refused: not before 2026"]
    assert spend.total == 5
    assert (spend.groups == ()) is (refused == "costs_by")
    assert (spend.before is None) is (refused == "before")
    assert all(group.before is None for group in spend.groups)


def test_tokens_add_up_over_endpoints_and_tool_calls_are_not_requests_twice():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2, "project_id": "p"}
    shown = report_of(
        costs=section([cost("4")]),
        costs_by=section([cost("4", project_id="p", project_name="Web")]),
        usage={
            "completions": section(
                [UsageCompletionsResult(**use, input_cached_tokens=4)],
                [
                    UsageCompletionsResult(**use),
                    UsageCompletionsResult(**use | {"project_id": "q"}),
                ],
            ),
            "web_search_calls": section(
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
    shown = report_of(costs=section([cost("1"), cost("1", **fields)]))
    assert str(shown.organization) == organization
    told = json.loads(report_as_json(shown, View()))["organization"]
    assert told == {
        "id": fields.get("organization_id"),
        "name": fields.get("organization_name"),
    }


def test_an_endpoint_that_is_refused_says_why():
    shown = report_of(usage={"images": Section(blank=Blank("refused", "not yours"))})
    assert {use.name: str(use.blank) for use in shown.endpoints}["images"] == "refused: not yours"
    assert shown.blanks == (("images", Blank("refused", "not yours")),)


def test_an_organization_without_any_figure_is_empty():
    assert report_of().is_empty
    assert report_of(costs=section([cost("0")])).is_empty
    assert not report_of(costs=section([cost("1")])).is_empty
    assert not report_of(costs=Section(blank=Blank("refused", "no"))).is_empty


def test_the_days_of_a_period_are_those_that_it_touches():
    assert days_in(TimeRange(START, START + DAY + 1)) == [date(2026, 10, 1), date(2026, 10, 2)]
    assert days_in(TimeRange(START, START + DAY)) == [date(2026, 10, 1)]


def test_a_currency_is_one_bill_however_rows_write_it():
    rows = [cost("100", "USD", project_id="p"), cost("10", project_id="p"), cost("1", "Eur")]
    before = [cost("30", "Usd", project_id="p"), cost("50", project_id="p")]
    shown = report_of(
        costs=section(rows),
        costs_by=section(rows),
        before=section(before, [], [], start=BEFORE.start_time),
        costs_by_before=section(before, [], [], start=BEFORE.start_time),
    )
    assert [(spend.currency, spend.total, spend.before) for spend in shown.spends] == [
        ("usd", 110, 80),
        ("eur", 1, 0),
    ]
    assert [(group.id, group.amount, group.before) for group in shown.spends[0].groups] == [
        ("p", 110, 80)
    ]
    assert [stack.amounts[0] for stack in shown.spends[0].stacks] == [110]


RUNNING = ReportSpec("project_id", PERIOD, START + 2 * DAY + 9 * 3600, BEFORE)


@pytest.mark.parametrize(
    ("lacking", "told", "groups_compared"),
    [
        ((), (), True),
        (("costs", "costs_by"), (), True),
        (("costs_by",), ("spend by project: 1 day was not sent, the first is 2026-10-03",), False),
        (("costs",), ("spend: 1 day was not sent, the first is 2026-10-03",), False),
    ],
    ids=["none", "both", "groups", "whole"],
)
def test_a_running_day_that_only_one_section_has_is_missing(lacking, told, groups_compared):
    of = {
        name: section(*[[cost("5", project_id="p")]] * 3, start=period.start_time)
        for name, period in (
            ("costs", PERIOD),
            ("costs_by", PERIOD),
            ("costs_before", BEFORE),
            ("costs_by_before", BEFORE),
        )
    }
    for name in lacking:
        short = (START + 2 * DAY,)
        of[name] = attrs.evolve(of[name], buckets=of[name].buckets[:-1], missing=short)
    usage = {name: Section() for name in ENDPOINTS if name != "costs"}
    report = compute_report(RUNNING, Sections(usage=usage, **of))
    found = [each.partition(";")[0] for each in report.remarks if "was not sent" in each]
    assert tuple(found) == told
    assert report.is_whole is not bool(told)
    (spend,) = report.spends
    assert [group.before is not None for group in spend.groups if group.id] == [groups_compared]
    assert total(group.amount for group in spend.groups) == spend.total
