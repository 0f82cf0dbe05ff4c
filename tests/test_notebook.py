"""Notebooks: results and summaries as tables."""

import re
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from html import unescape

import pytest
from values import DAY, HOSTILE, KINDS, START

from usage_async import (
    CostsResult,
    CostsResultAmount,
    Extra,
    Notice,
    Summary,
    TimeRange,
    UnknownResult,
    UsageCompletionsResult,
)
from usage_async._api.notebook import html_of_results


def cells(html):
    """The texts of the cells, row by row."""
    return [
        [unescape(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", html)
    ]


def cost(value, **more):
    return CostsResult(amount=CostsResultAmount(value=Decimal(value), currency="usd"), **more)


def summary(*groups, **more):
    fields = {
        "total": cost("3.5"),
        "groups": groups,
        "requested": TimeRange(START, START + DAY),
        "covered": TimeRange(START, START + DAY),
        "settled_through": None,
        "as_of": datetime.fromtimestamp(START, UTC),
        "notices": (),
    }
    return Summary(**{**fields, **more})


def test_a_result_is_a_table_of_the_fields_that_it_has():
    with localcontext(HOSTILE):
        shown = cost("1.50", line_item="a & <b>", quantity=Decimal("1E+3"))._repr_html_()
    assert "<b>" not in shown
    assert cells(shown) == [["line_item", "amount", "quantity"], ["a & <b>", "1.5 usd", "1000"]]


def test_zeros_are_shown_and_what_is_missing_is_not():
    row = UsageCompletionsResult(
        num_model_requests=0, input_tokens=0, output_tokens=2, model="m", batch=False
    )
    assert cells(row._repr_html_()) == [
        ["model", "batch", "input_tokens", "output_tokens", "num_model_requests"],
        ["m", "False", "0", "2", "0"],
    ]


def test_unknown_fields_are_shown():
    row = UnknownResult(object="x", extra=Extra({"tokens": 1, "by": {"a": 2}}))
    (_, (text,)) = cells(row._repr_html_())
    assert text.startswith("tokens: 1, by: ")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_table_of_no_results_is_empty_for_every_kind(kind):
    assert kind._repr_html_
    assert cells(html_of_results(())) == [[]]


def test_a_summary_is_a_table_with_its_total_its_range_and_its_notices():
    notices = (Notice(code="unsettled", message="may <still> change"),)
    shown = summary(cost("2.5", line_item="a"), cost("1", line_item="b"), notices=notices)
    html = shown._repr_html_()
    assert "<p>2024-11-01T00:00:00Z to 2024-11-02T00:00:00Z</p>" in html
    assert "<ul><li>may &lt;still&gt; change</li></ul>" in html
    assert cells(html) == [
        ["line_item", "amount"],
        ["a", "2.5 usd"],
        ["b", "1 usd"],
        ["", "3.5 usd"],
    ]


def test_a_summary_without_figures_says_so():
    html = summary(covered=None, total=CostsResult())._repr_html_()
    assert html.startswith("<p>no figures</p>")
    assert "<ul>" not in html


def test_many_groups_are_counted_and_not_all_shown():
    groups = [cost("1", line_item=str(n)) for n in range(103)]
    found = cells(summary(*groups)._repr_html_())
    assert len(found) == 1 + 100 + 2
    assert found[-2] == ["… and 3 more"]
    assert found[-1] == ["", "3.5 usd"]
    assert len(cells(html_of_results(groups))) == 1 + 100 + 1
