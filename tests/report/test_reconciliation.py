"""Reconciliation: the bill beside usage, day by day, in the unit of the bill."""

from datetime import date
from decimal import Decimal

import attrs
import pytest

from usage_async import (
    UsageAudioTranscriptionsResult,
    UsageCompletionsResult,
    UsageEmbeddingsResult,
    UsageImagesResult,
    UsageWebSearchCallsResult,
)
from usage_async.report.reconciliation import COSTS, NO_LINE_ITEM, Pair, reconcile
from usage_async.report.spec import ReportSpec
from usage_async.report.values import Blank, Section

from .conftest import DAY, NOW, PERIOD, START, cost, section

SPEC = ReportSpec("line_item", PERIOD, NOW)


def billed(item, quantity, unit="tokens", amount="1"):
    known = None if quantity is None else Decimal(quantity)
    return cost(amount, line_item=item, quantity=known, quantity_unit=unit)


def used(model="gpt-5.2", **metrics):
    given = {"input_tokens": 0, "output_tokens": 0, "num_model_requests": 1, **metrics}
    return UsageCompletionsResult(model=model, **given)


def made(costs, *usage, spec=SPEC, **endpoints):
    sections = {"completions": section(list(usage))} | endpoints
    return reconcile(spec, section(costs), sections)


def differences(found):
    return {pair.line_item: pair.difference for pair in found.pairs if pair.has_partner}


WHOLE = used(
    input_tokens=1000,
    input_cached_tokens=400,
    input_cache_write_tokens=100,
    input_cache_write_30m_tokens=60,
    input_cache_write_12h_tokens=40,
    input_uncached_tokens=500,
    input_text_tokens=400,
    input_audio_tokens=60,
    input_image_tokens=40,
    input_cached_text_tokens=300,
    input_cached_audio_tokens=70,
    input_cached_image_tokens=30,
    output_tokens=500,
    output_text_tokens=400,
    output_audio_tokens=90,
    output_image_tokens=10,
)
WITHOUT_TEXT = attrs.evolve(
    WHOLE,
    input_text_tokens=None,
    input_cached_text_tokens=None,
    output_text_tokens=None,
    input_cache_write_30m_tokens=None,
)
WITHOUT_UNCACHED = attrs.evolve(WITHOUT_TEXT, input_uncached_tokens=None)
BILL = {
    "input": 400,
    "cached input": 300,
    "cache write": 60,
    "cache write 12h": 40,
    "output": 400,
    "audio input": 60,
    "cached audio input": 70,
    "audio output": 90,
    "image input": 40,
    "cached image input": 30,
    "image output": 10,
}


@pytest.mark.parametrize("row", [WHOLE, WITHOUT_TEXT, WITHOUT_UNCACHED])
def test_each_direction_is_compared_with_what_usage_calls_it(row):
    costs = [billed(f"gpt-5.2, {direction}", quantity) for direction, quantity in BILL.items()]
    found = made(costs, row)
    assert differences(found) == {f"gpt-5.2, {direction}": 0 for direction in BILL}
    assert (found.only_billed, found.only_reported, found.differing) == ((), (), ())


def test_a_row_of_the_first_days_of_the_api_knows_input_and_output_only():
    row = used(input_tokens=100, output_tokens=7, input_cached_tokens=30)
    costs = [
        billed("gpt-5.2, input_tokens", 70),
        billed("gpt-5.2 , cached input", 30),
        billed("gpt-5.2, output", 8),
    ]
    found = made(costs, row)
    assert differences(found) == {
        "gpt-5.2, input": 0,
        "gpt-5.2, cached input": 0,
        "gpt-5.2, output": 1,
    }
    assert [pair.line_item for pair in found.differing] == ["gpt-5.2, output"]


def test_lines_of_equal_days_are_added_and_days_are_kept_apart():
    costs = section(
        [billed("gpt-5.2, output", 3), billed("gpt-5.2, output", 4)], [billed("gpt-5.2, output", 5)]
    )
    usage = section([used(output_tokens=4), used(output_tokens=3)], [used(output_tokens=9)])
    found = reconcile(SPEC, costs, {"completions": usage, "decisions": Section()})
    assert [(pair.day, pair.billed, pair.reported, pair.amounts) for pair in found.pairs] == [
        (date(2026, 10, 1), 7, 7, (("usd", Decimal(2)),)),
        (date(2026, 10, 2), 5, 9, (("usd", Decimal(1)),)),
    ]
    (whole,) = found.sums
    assert (whole.billed, whole.reported, whole.difference) == (12, 16, -4)
    assert (whole.days, whole.differing, whole.unit) == (2, 1, "tokens")
    assert found.pairs[0].model == "gpt-5.2"


def test_lines_without_a_partner_are_told_on_either_side():
    found = made(
        [billed("file search storage", 7, "gibibyte_hours"), billed("gpt-5, input", 5)],
        used(model=None, output_tokens=4),
    )
    assert [pair.line_item for pair in found.only_billed] == ["file search storage", "gpt-5, input"]
    assert [pair.line_item for pair in found.only_reported] == ["(no model), output"]
    assert found.sums == ()
    assert found.pairs[0].difference is None


def test_a_quantity_that_is_not_known_has_no_partner():
    costs = [billed("gpt-5.2, output", 3), billed("gpt-5.2, output", None)]
    assert made(costs, used(output_tokens=3)).only_reported[0].billed is None
    units = [billed("gpt-5.2, output", 3), billed("gpt-5.2, output", 1, "k")]
    (pair,) = made(units, used(output_tokens=3)).only_reported
    assert (pair.billed, pair.unit, pair.reported) == (None, None, 3)


def test_what_is_billed_in_multiples_is_compared_in_the_unit_of_usage():
    days = [
        [billed("gpt-5.2, input", "2.0005", "1000_tokens")],
        [billed("gpt-5.2, input", 1, "1000_tokens"), billed("gpt-5.2, input", 500)],
        [billed("gpt-5.2, input", 2000)],
    ]
    usage = section([used(input_tokens=2000)], [used(input_tokens=1500)], [used(input_tokens=2000)])
    found = reconcile(SPEC, section(*days), {"completions": usage})
    assert [(pair.unit, pair.difference) for pair in found.pairs] == [
        ("tokens", Decimal("0.5")),
        ("tokens", 0),
        ("tokens", 0),
    ]
    (whole,) = found.sums
    assert (whole.unit, whole.billed, whole.reported) == ("tokens", Decimal("5500.5"), 5500)
    for quantity, unit in ((2, "duration_minutes"), ("0.5", "duration_hours")):
        heard = UsageAudioTranscriptionsResult(
            model="whisper-1", seconds=1800, num_model_requests=1
        )
        costs = [billed("whisper-1, duration", quantity, unit)]
        (pair,) = made(costs, audio_transcriptions=section([heard])).pairs
        assert (pair.unit, pair.difference) == (
            "duration_seconds",
            -1680 if unit == "duration_minutes" else 0,
        )


@pytest.mark.parametrize(
    ("item", "unit"),
    [("gpt-5.2, output", "images"), ("gpt-5.2, output", "k"), ("web search tool calls", "tokens")],
)
def test_a_quantity_in_another_unit_than_that_of_usage_is_not_compared(item, unit):
    calls = UsageWebSearchCallsResult(num_requests=4, num_model_requests=1)
    found = made([billed(item, 3, unit)], used(output_tokens=4), web_search_calls=section([calls]))
    assert [(pair.line_item, pair.billed, pair.unit) for pair in found.only_billed] == [
        (item, 3, unit)
    ]
    reported = {pair.line_item: (pair.reported, pair.amounts) for pair in found.only_reported}
    assert reported[item] == (4, ())
    assert found.sums == ()


def test_costs_without_a_line_item_are_a_line_that_is_only_billed():
    found = made([cost("5"), cost("2")])
    (pair,) = found.only_billed
    assert (pair.line_item, pair.amounts) == (NO_LINE_ITEM, (("usd", Decimal(7)),))
    assert pair.model == NO_LINE_ITEM


def test_what_is_nothing_on_both_sides_is_left_out():
    nothing = [billed("gpt-5.2, output", 0, amount="0"), cost("0", line_item="a"), cost("0")]
    assert made(nothing, used()).pairs == ()
    given = [billed("gpt-5.2, output", 3, amount=None)]
    assert made(given, used(output_tokens=3)).pairs[0].amounts == ()


def test_tools_and_images_are_counted_by_their_own_endpoints():
    found = made(
        [
            billed("web search tool calls", 5, "calls"),
            billed("gpt-image-1, image", 2, "images"),
        ],
        web_search_calls=section([UsageWebSearchCallsResult(num_requests=4, num_model_requests=1)]),
        images=section([UsageImagesResult(images=2, num_model_requests=2, model="gpt-image-1")]),
    )
    assert differences(found) == {"web search tool calls": 1, "gpt-image-1, images": 0}


def test_a_line_item_whose_unit_changes_has_a_sum_for_each():
    costs = section([billed("gpt-5.2, output", 3)], [billed("gpt-5.2, output", 5, None)])
    usage = section([used(output_tokens=3)], [used(output_tokens=3)])
    sums = reconcile(SPEC, costs, {"completions": usage}).sums
    assert [(each.unit, each.billed, each.difference) for each in sums] == [
        (None, 5, 2),
        ("tokens", 3, 0),
    ]


def lacking(section, *starts):
    return attrs.evolve(section, missing=starts)


def test_a_day_that_one_side_lacks_is_left_out_and_told():
    usage = lacking(section([used(output_tokens=3)]), START)
    costs = section([billed("gpt-5.2, output", 3)], [billed("gpt-5.2, output", 4)])
    found = reconcile(SPEC, costs, {"completions": usage})
    assert [pair.day for pair in found.pairs] == [date(2026, 10, 2)]
    told = "completions: 1 day was not sent, the first is 2026-10-01"
    assert found.remarks == (f"{told}; what it counts is not compared on that day",)
    assert not found.is_whole


BOTH = section(
    *(
        [
            billed("gpt-5.2, output", 3),
            billed("ada, input", 4),
            billed("web search tool calls", 5, "calls"),
            billed("storage", 6, "gibibyte_hours"),
            cost("1"),
        ]
        for _ in range(2)
    )
)
EMBEDDED = UsageEmbeddingsResult(input_tokens=4, model="ada", num_model_requests=1)
COUNTED = {
    "completions": section([used(output_tokens=3)], [used(output_tokens=3)]),
    "embeddings": section(*[[EMBEDDED]] * 2),
    "web_search_calls": section(
        *[[UsageWebSearchCallsResult(num_requests=5, num_model_requests=1)]] * 2
    ),
}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("completions", {"gpt-5.2, output"}),
        ("embeddings", {"ada, input"}),
        ("web_search_calls", {"web search tool calls"}),
    ],
)
def test_of_a_day_that_an_endpoint_lacks_only_what_it_counts_is_left_out(name, left):
    second = START + DAY
    less = {name: lacking(Section(COUNTED[name].buckets[:1]), second)}
    whole, found = (reconcile(SPEC, BOTH, {**COUNTED, **more}) for more in ({}, less))
    assert {each.line_item for each in {*whole.pairs} - {*found.pairs}} == left
    assert {*found.pairs} < {*whole.pairs}
    assert all(each.day == date(2026, 10, 2) for each in {*whole.pairs} - {*found.pairs})


def test_what_no_endpoint_has_reported_may_be_counted_by_the_one_that_lacks_the_day():
    less = {**COUNTED, "embeddings": lacking(Section(), START, START + DAY)}
    found = reconcile(SPEC, BOTH, less)
    assert "ada, input" not in {each.line_item for each in found.pairs}
    assert {"gpt-5.2, output", "storage"} < {each.line_item for each in found.pairs}


def test_without_its_costs_nothing_of_a_day_is_compared():
    costs = lacking(Section(BOTH.buckets[:1]), START + DAY)
    found = reconcile(SPEC, costs, COUNTED)
    assert {each.day for each in found.pairs} == {date(2026, 10, 1)}
    assert found.remarks == (
        f"{COSTS}: 1 day was not sent, the first is 2026-10-02; nothing is compared on that day",
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["embeddings"], "embeddings: {}; what it counts is not compared on that day"),
        (
            ["completions", "embeddings"],
            "completions, embeddings: {}; what they count is not compared on that day",
        ),
        ([COSTS, "embeddings"], COSTS + ", embeddings: {}; nothing is compared on that day"),
    ],
)
def test_the_running_day_is_told_where_it_was_not_sent(names, told):
    spec = attrs.evolve(SPEC, now=START + DAY + 60)
    sections = {COSTS: BOTH, **COUNTED}
    sections |= {name: lacking(Section(sections[name].buckets[:1]), START + DAY) for name in names}
    found = reconcile(spec, sections.pop(COSTS), sections)
    assert found.remarks[0] == told.format("2026-10-02 is not over and was not sent")
    assert len(found.remarks) == 2
    assert found.is_whole


@pytest.mark.parametrize(
    ("name", "verdict", "whole"),
    [("completions", "refused", True), ("completions", "failed", False), (COSTS, "refused", False)],
)
def test_a_section_without_figures_is_told(name, verdict, whole):
    blank = Section(blank=Blank(verdict, "no"))
    sections = {COSTS: section([]), "completions": section([])} | {name: blank}
    found = reconcile(SPEC, sections.pop(COSTS), sections)
    assert found.remarks == (f"{name}: {verdict}: no; what it counts has no partner",)
    assert found.is_whole is whole
    assert found.period == PERIOD


def test_figures_that_may_change_are_told():
    found = made([], spec=attrs.evolve(SPEC, now=START + 3 * DAY))
    assert found.remarks == ("figures from 2026-10-01 on may still be revised, on either side",)
    assert Pair(day=date(2026, 10, 1), line_item="a").has_partner is False
