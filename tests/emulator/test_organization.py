from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from statistics import median
from typing import Any

import pytest
from asking import DAY, NOW, ORGANIZATION
from hypothesis import given, settings
from hypothesis import strategies as st

from usage_async._api.endpoints import ENDPOINTS, Endpoint
from usage_async.emulator.organization import story
from usage_async.emulator.organization.bill import bill
from usage_async.emulator.organization.catalog import PROFILES, UNLISTED_PROFILE
from usage_async.emulator.organization.organization import GroupKey, Organization, Span
from usage_async.emulator.organization.rhythm import Rhythm, Sizes, partly

UNTIL = NOW - NOW % 60
TODAY = NOW // DAY
WIDTHS = (60, 3600, DAY)
USAGE = [endpoint for name, endpoint in ENDPOINTS.items() if name != "costs"]

examples = settings(max_examples=40, deadline=None)
days = st.integers(TODAY - 365, TODAY)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Endpoint, list[str], dict[str, set[object]]]:
    endpoint = draw(st.sampled_from(USAGE))
    group_by = draw(st.lists(st.sampled_from(endpoint.group_by), unique=True))
    leaves = ORGANIZATION.layout(endpoint).leaves
    filters: dict[str, set[object]] = {}
    for name in draw(st.lists(st.sampled_from(endpoint.group_by), unique=True, max_size=2)):
        seen = sorted({leaf.dimensions[name] for leaf in leaves if name in leaf.dimensions})
        filters[name] = draw(st.sets(st.sampled_from(seen), min_size=1))
    return endpoint, group_by, filters


def figures(
    endpoint: Endpoint,
    start: int,
    width: int,
    count: int,
    group_by: Collection[str] = (),
    **more: Any,
) -> list[dict[GroupKey, list[int]]]:
    span = Span(start=start, width=width, count=count, until=more.get("until", UNTIL))
    filters = more.get("filters", {})
    return ORGANIZATION.usage(endpoint, span, group_by=group_by, filters=filters)


def added(buckets: list[dict[GroupKey, list[int]]]) -> dict[GroupKey, list[int]]:
    total: dict[GroupKey, list[int]] = {}
    for groups in buckets:
        for key, row in groups.items():
            known = total.setdefault(key, [0] * len(row))
            total[key] = [a + b for a, b in zip(known, row, strict=True)]
    return total


@examples
@given(questions(), days)
def test_minutes_add_up_to_hours_and_hours_to_days(
    question: tuple[Endpoint, list[str], dict[str, set[object]]], day: int
) -> None:
    endpoint, group_by, filters = question
    start = day * DAY
    minutes, hours, whole = (
        figures(endpoint, start, width, DAY // width, group_by, filters=filters) for width in WIDTHS
    )
    if ORGANIZATION.layout(endpoint).levels:
        assert [b for b in minutes[59::60] if start + DAY < UNTIL] == [
            b for b in hours if start + DAY < UNTIL
        ]
        return
    assert [added(minutes[n : n + 60]) for n in range(0, 1440, 60)] == hours
    assert added(hours) == whole[0]


@examples
@given(questions(), days, st.sampled_from(WIDTHS))
def test_groups_add_up_to_the_ungrouped_figure(
    question: tuple[Endpoint, list[str], dict[str, set[object]]], day: int, width: int
) -> None:
    endpoint, group_by, filters = question
    count = DAY // width
    grouped = figures(endpoint, day * DAY, width, count, group_by, filters=filters)
    ungrouped = figures(endpoint, day * DAY, width, count, filters=filters)
    for groups, whole in zip(grouped, ungrouped, strict=True):
        if not whole:
            assert not groups
            continue
        assert [sum(column) for column in zip(*groups.values(), strict=True)] == whole[()]


@examples
@given(questions(), days, st.data())
def test_filters_by_every_value_of_a_dimension_add_up_to_no_filter(
    question: tuple[Endpoint, list[str], dict[str, set[object]]], day: int, data: st.DataObject
) -> None:
    endpoint, group_by, _ = question
    name = data.draw(st.sampled_from(endpoint.group_by))
    leaves = ORGANIZATION.layout(endpoint).leaves
    values = {leaf.dimensions.get(name) for leaf in leaves}
    parts = [
        figures(endpoint, day * DAY, 3600, 24, group_by, filters={name: {value}})
        for value in values
    ]
    whole = figures(endpoint, day * DAY, 3600, 24, group_by)
    assert [added(list(hour)) for hour in zip(*parts, strict=True)] == whole


@examples
@given(questions(), st.integers(UNTIL // 60 - 1440, UNTIL // 60))
def test_the_running_day_is_what_its_elapsed_minutes_add_up_to(
    question: tuple[Endpoint, list[str], dict[str, set[object]]], until_minute: int
) -> None:
    endpoint, group_by, filters = question
    if ORGANIZATION.layout(endpoint).levels:
        return
    until = until_minute * 60
    start = until - until % DAY
    minutes = figures(endpoint, start, 60, 1440, group_by, filters=filters)
    day = figures(endpoint, start, DAY, 1, group_by, filters=filters, until=until)
    assert day[0] == added(minutes[: (until - start) // 60])


@examples
@given(days, st.integers(1, 1440), st.integers(0, 1439))
def test_a_page_from_the_middle_of_a_day_says_what_the_whole_day_says(
    day: int, count: int, first: int
) -> None:
    endpoint = ENDPOINTS["completions"]
    whole = figures(endpoint, day * DAY, 60, 2880, ["model"])
    page = figures(endpoint, day * DAY + first * 60, 60, count, ["model"])
    assert page == whole[first : first + count]


@examples
@given(days, st.data())
def test_costs_of_groups_add_up_exactly_for_any_filter(day: int, data: st.DataObject) -> None:
    endpoint = ENDPOINTS["costs"]
    group_by = data.draw(st.lists(st.sampled_from(endpoint.group_by), unique=True))
    span = Span(start=day * DAY, width=DAY, count=2, until=UNTIL)
    project = data.draw(st.sampled_from(ORGANIZATION.projects))
    filters = data.draw(st.sampled_from([{}, {"project_id": {project.id}}]))
    grouped = bill(ORGANIZATION, span, group_by=group_by, filters=filters)
    ungrouped = bill(ORGANIZATION, span, filters=filters)
    for groups, whole in zip(grouped, ungrouped, strict=True):
        amounts = [charge.amount for charge in whole.values()]
        assert sum((charge.amount for charge in groups.values()), Decimal()) == sum(
            amounts, Decimal()
        )


def test_costs_are_the_usage_times_its_price() -> None:
    span = Span(start=(TODAY - 30) * DAY, width=DAY, count=30, until=UNTIL)
    days_billed = bill(ORGANIZATION, span, group_by=["line_item"], filters={})
    calls = figures(ENDPOINTS["file_search_calls"], span.start, DAY, 30)
    held = figures(ENDPOINTS["vector_stores"], span.start, DAY, 30)
    assert any(calls)
    assert any(held)
    for charges, called, stored in zip(days_billed, calls, held, strict=True):
        if called:
            charge = charges[("file search tool calls",)]
            assert charge.quantity == called[()][0]
            assert charge.amount == called[()][0] * Decimal("0.0025")
        if stored:
            charge = charges[("file search storage",)]
            assert charge.quantity == Decimal(stored[()][1]) * 24 / 2**30
            assert charge.amount == charge.quantity * Decimal("0.0042")


def test_an_endpoint_that_is_gone_is_not_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {name: ENDPOINTS[name] for name in ENDPOINTS if name != "images"}
    monkeypatch.setattr("usage_async.emulator.organization.bill.ENDPOINTS", others)
    span = Span(start=(TODAY - 9) * DAY, width=DAY, count=9, until=UNTIL)
    days_billed = bill(ORGANIZATION, span, group_by=["line_item"], filters={})
    line_items = {line_item for charges in days_billed for (line_item,) in charges}
    assert "gpt-5.2, input" in line_items
    assert "dall-e-3, images" not in line_items


def test_a_batch_job_pays_half() -> None:
    leaves = ORGANIZATION.layout(ENDPOINTS["completions"]).leaves
    leaf = next(leaf for leaf in leaves if leaf.dimensions["batch"])
    filters = {name: {value} for name, value in leaf.dimensions.items()}
    usage_filters = {**filters, "batch": {True}}
    span = Span(start=(TODAY - 30) * DAY, width=DAY, count=30, until=UNTIL)
    rows = added(ORGANIZATION.usage(ENDPOINTS["completions"], span, filters=usage_filters))
    column = ORGANIZATION.layout(ENDPOINTS["completions"]).columns.index("output_text_tokens")
    assert rows[()][column] > 0
    model = leaf.model
    filters["line_item"] = {f"{model.line_item or leaf.dimensions['model']}, output"}
    billed = bill(ORGANIZATION, span, filters=filters)
    amount = sum((charge.amount for groups in billed for charge in groups.values()), Decimal())
    price = Decimal(model.dollars["output_text_tokens"]) / 10**6 / 2
    assert amount == rows[()][column] * price


def test_the_same_seed_gives_the_same_figures_and_another_seed_gives_others() -> None:
    span = Span(start=(TODAY - 7) * DAY, width=DAY, count=7, until=UNTIL)
    ask = (ENDPOINTS["completions"], span)
    first, again, other = (Organization(seed).usage(*ask, filters={}) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("seed", range(5))
def test_every_endpoint_and_model_was_used_within_a_month(seed: int) -> None:
    span = Span(start=(TODAY - 31) * DAY, width=DAY, count=31, until=UNTIL)
    for endpoint in USAGE:
        used = Organization(seed).usage(endpoint, span, group_by=["model"], filters={})
        models = {model for groups in used for (model,) in groups}
        snapshots = {name for name, _, _ in story.snapshots()}
        assert bool(models & snapshots) is (endpoint.name == "completions")
        models -= snapshots
        assert models == set(PROFILES.get(endpoint.name, UNLISTED_PROFILE).models or [None])


def test_dimensions_have_several_values_and_models_are_a_dozen() -> None:
    seen: dict[str, set[object]] = {}
    for endpoint in USAGE:
        for leaf in ORGANIZATION.layout(endpoint).leaves:
            for name, value in leaf.dimensions.items():
                seen.setdefault(name, set()).add(value)
    assert len(seen.pop("model")) >= 12
    assert {name for name, values in seen.items() if len(values) < 2} == set()


def test_nights_and_some_weekend_days_are_quiet() -> None:
    endpoint = ENDPOINTS["completions"]
    hours = figures(endpoint, (TODAY - 28) * DAY, 3600, 28 * 24)
    by_hour = Counter(n % 24 for n, groups in enumerate(hours) if groups)
    assert all(by_hour[hour] == 0 for hour in (0, 1, 2, 3, 4, 23))
    assert by_hour[14] >= 20
    year = figures(endpoint, (TODAY - 365) * DAY, DAY, 365)
    assert 5 < sum(not groups for groups in year) < 60


def test_use_grows_over_the_year() -> None:
    endpoint = ENDPOINTS["completions"]
    year = figures(endpoint, (TODAY - 364) * DAY, DAY, 364)
    requests = [groups[()][0] if groups else 0 for groups in year]
    # Not the sums, which have the days of runaway keys.
    assert median(requests[-91:]) > 1.2 * median(requests[:91])


def test_no_row_is_zero() -> None:
    for endpoint in USAGE:
        minutes = figures(endpoint, (TODAY - 3) * DAY, 60, 1440, endpoint.group_by)
        assert {any(row) for groups in minutes for row in groups.values()} == {True}


def test_levels_only_rise_and_stand_at_the_end_of_a_bucket() -> None:
    endpoint = ENDPOINTS["vector_stores"]
    start = (TODAY - 2) * DAY
    hours = figures(endpoint, start, 3600, 24)
    held = [groups[()][1] for groups in hours]
    assert held == sorted(held)
    assert figures(endpoint, start, DAY, 1)[0][()][1] == held[-1]


def test_nothing_is_known_of_the_future() -> None:
    for endpoint in USAGE:
        future = figures(endpoint, (TODAY + 1) * DAY, DAY, 3)
        assert future == [{}, {}, {}]


def test_figures_of_young_days_grow_until_they_settle() -> None:
    endpoint = ENDPOINTS["completions"]
    start = (TODAY - 5) * DAY
    seen = []
    for age in range(1, 6):
        span = Span(start=start, width=DAY, count=1, until=start + age * DAY, settling_days=3)
        seen.append(ORGANIZATION.usage(endpoint, span, filters={})[0][()][0])
    assert seen[0] < seen[1] < seen[2] == seen[3] == seen[4]


@given(st.integers(0, 10**9), st.integers(1, 5000), st.data())
def test_a_part_of_a_day_never_falls_and_ends_at_the_whole(
    total: int, of: int, data: st.DataObject
) -> None:
    sizes = Sizes.make(1)
    whole = sizes.until(of)
    counts = sorted(data.draw(st.lists(st.integers(0, of), max_size=8)))
    parts = [partly(total, n, of, sizes.until(n), whole) for n in (0, *counts, of)]
    assert parts[0] == 0
    assert parts[-1] == total
    assert parts == sorted(parts)


@pytest.mark.parametrize("number", range(6))
def test_a_rhythm_rises_only_where_it_says(number: int) -> None:
    rhythm = Rhythm.make(0, number)
    rises = [m + 1 for m in range(1440) if rhythm.before[m + 1] > rhythm.before[m]]
    assert tuple(rises) == rhythm.ends
    assert len(rises) > 300
