"""The page: exact figures, hostile names, and nothing but what its policy allows."""

import hashlib
import re
from base64 import b64encode
from datetime import date
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import HOSTILE_NAMES

from usage_async import UsageCompletionsResult, UsageImagesResult, UsageVectorStoresResult
from usage_async.report.answers import Answer
from usage_async.report.budgets import budget
from usage_async.report.html.charts import Drawings
from usage_async.report.html.form import Question, form_of
from usage_async.report.html.page import POLICY, failed_page, report_page, reports_as_html
from usage_async.report.insight import UnusualDay
from usage_async.report.values import Blank, Group, Section, Tokens, View

from .conftest import DAY, START, cost, report_of, section

FORM = form_of(Question("2026-10", "project_id"), json="report.json?by=project_id")
VOID = {"meta", "link", "input", "wbr"}


class Page(HTMLParser):
    """A page as a browser reads it."""

    def __init__(self, page: bytes):
        super().__init__()
        self.tags, self.attributes, self.words, self.exact, self.open = [], [], [], [], []
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]
        self.exact += [value for name, value in attributes if (tag, name) == ("data", "value")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(report, *notices, top=0):
    page = Page(report_page(report, View(notices=notices, top=top), Drawings(), FORM))
    assert page.open == []
    return page


def named(name):
    """A report in which everything that a service may choose is a name."""
    use = UsageCompletionsResult(
        input_tokens=7, output_tokens=3, num_model_requests=2, project_id=name
    )
    return report_of(
        costs=section([cost("3.5", organization_name=name, organization_id=name)]),
        costs_by=section([cost("3.5", project_id=name, project_name=f"{name}!")]),
        usage={
            "completions": section([use]),
            "images": Section(blank=Blank("refused", name)),
        },
    )


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_text(name):
    page, plain = page_of(named(name), name), page_of(named("x"), "x")
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert page.tags.count("script") == 1


@given(st.text(st.characters(), min_size=1))
def test_no_name_changes_what_the_page_is_made_of(name):
    page, plain = page_of(named(name), name), page_of(named("x"), "x")
    assert (page.tags, page.attributes) == (plain.tags, plain.attributes)
    assert set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\0").isdisjoint(page.text)


def test_names_stay_readable():
    for name in ("שלום عالم", "👩\u200d💻 team", "a & b", "x" * 200):
        assert name in page_of(named(name)).text


@pytest.mark.parametrize("word", HOSTILE_NAMES)
def test_what_was_asked_for_and_why_it_failed_are_text(word):
    page = Page(failed_page(form_of(Question(word, "model")), word))
    plain = Page(failed_page(form_of(Question("x", "model")), "x"))
    assert (page.tags, page.attributes, page.open) == (plain.tags, plain.attributes, [])


@pytest.mark.parametrize("form", [None, FORM], ids=["file", "served"])
def test_the_policy_allows_the_own_style_and_script_and_nothing_else(form):
    page = report_page(named("x"), View(), Drawings(), form).decode()
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in POLICY
        page = page.replace(text, "")
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY
    meta = unescape(re.search('Security-Policy" content="([^"]*)"', page)[1])
    assert meta == POLICY.removesuffix("; frame-ancestors 'none'")
    assert not re.search(r"\son\w+=|\sstyle=|https?:|//", page.replace("data:,", ""))


def test_every_figure_stands_there_exactly():
    digits = "0.10000000000000000000000000000000000001"
    report = report_of(
        costs=section([cost(digits)], [cost("2", "eur")]),
        costs_by=section([cost(digits, project_id="p")], [cost("2", "eur", project_id="q")]),
        usage={"vector_stores": section([UsageVectorStoresResult(usage_bytes=12345678901)])},
    )
    page = page_of(report)
    assert {digits, "2", "12345678901"} <= set(page.exact)
    assert f"exactly {digits} USD" in page.text
    assert "exactly 2 EUR" in page.text


def test_the_groups_of_the_page_add_up_to_its_total():
    rows = [cost("1.25", project_id=f"p{n}") for n in range(10)]
    report = report_of(costs=section(rows), costs_by=section([*rows[:9]]))
    page = report_page(report, View(top=4), Drawings(), FORM).decode()
    table = page[page.index("<caption>Spend by project") : page.index("Everything that was used")]
    rows = re.findall("<tbody>(.*?)</tbody>", table, re.DOTALL)
    amounts = [re.search('<td><data value="([^"]*)">', row)[1] for row in rows]
    assert sum(map(Decimal, amounts)) == Decimal("12.5")
    assert "(5 others)" in table
    assert table.index("(5 others)") < table.index("(not attributed)")


def test_two_dimensions_are_nested_with_subtotals():
    rows = [
        cost("2", project_id="p", line_item="gpt-5, input"),
        cost("1", project_id="p", line_item="storage"),
        cost("4", project_id="q", line_item="gpt-5, input"),
    ]
    use = [
        UsageCompletionsResult(
            input_tokens=1, output_tokens=1, num_model_requests=n, project_id="p", model=f"gpt-{n}"
        )
        for n in (5, 6)
    ]
    report = report_of(
        "project,model",
        costs=section([cost("9")]),
        costs_by=section(rows),
        usage={"completions": section(use)},
    )
    page = report_page(report, View(), Drawings()).decode()
    (table,) = re.findall(
        "<caption>Spend by project and model</caption>.*?</table>", page, re.DOTALL
    )
    found = re.findall('<tr(?: class="(.*?)")?><th.*?><bdi>(.*?)</bdi>.*?value="(.*?)"', table)
    assert found == [
        ("whole", "q", "4"),
        ("part", "gpt-5", "4"),
        ("whole", "p", "3"),
        ("part", "gpt-5", "2"),
        ("part", "storage", "1"),
        ("soft", "(not attributed)", "2"),
        ("soft", "all", "9"),
    ]
    (tokens,) = re.findall("<caption>Tokens and requests by .*?</table>", page, re.DOTALL)
    assert re.findall('class="part"><th.*?><bdi>(.*?)</bdi>', tokens) == ["gpt-5", "gpt-6"]


def test_parts_beyond_the_most_are_one_line():
    rows = [cost(str(9 - n), project_id="p", line_item=f"item {n}") for n in range(8)]
    report = report_of("project,line-item", costs=section(rows), costs_by=section(rows))
    table = report_page(report, View(top=6), Drawings()).decode()
    assert "(5 others)" in table
    assert "item 3" not in table


@pytest.mark.parametrize(("groups", "shown", "others"), [(2, 16, 24), (50, 5, 35)])
def test_beside_many_groups_fewer_parts_are_shown(groups, shown, others):
    pairs = [(f"p{n:02}", f"m{m:02}") for n in range(groups) for m in range(40)]
    rows = [cost("1", project_id=p, line_item=f"{m}, input") for p, m in pairs]
    use = [
        UsageCompletionsResult(
            input_tokens=1, output_tokens=1, num_model_requests=1, project_id=p, model=m
        )
        for p, m in pairs
    ]
    costs = section(rows)
    report = report_of(
        "project,model", costs=costs, costs_by=costs, usage={"completions": section(use)}
    )
    page = report_page(report, View(top=50), Drawings()).decode()
    for caption in ("Spend by project and model", "Tokens and requests by project and model"):
        (table,) = re.findall(f"<caption>{caption}</caption>.*?</table>", page, re.DOTALL)
        assert table.count('class="part"') == groups * shown
        assert table.count(f"({others} others)") == groups
    whole = report_page(report, View(), Drawings()).decode()
    assert whole.count('class="part"') == 2 * groups * 40


@pytest.mark.slow
@pytest.mark.parametrize("by", ["project,model", "model,project"])
@pytest.mark.parametrize(
    ("letter", "models"), [("N", 50), ('"', 8), ("\u202e", 8)], ids=["letters", "quotes", "marks"]
)
def test_the_page_of_a_large_organization_is_small(by, letter, models):
    pairs = [(p, m) for p in range(500) for m in range(models)]
    name = letter * 180
    model = "ft:gpt-4o-mini-2024-07-18:acme-labs:some-suffix-name" if letter == "N" else name
    rows = [
        cost(
            f"{p * m + 1}.12345678",
            project_id=f"proj_{p:024}",
            project_name=f"{name}{p:020}",
            line_item=f"{model}:{m:08}, input",
        )
        for p, m in pairs
    ]
    use = [
        UsageCompletionsResult(
            input_tokens=10**6 + p,
            output_tokens=10**5,
            num_model_requests=10**4,
            project_id=f"proj_{p:024}",
            model=f"{model}:{m:08}",
        )
        for p, m in pairs
    ]
    costs = section(rows)
    report = report_of(
        by, costs=costs, costs_by=costs, before=costs, costs_by_before=costs,
        usage={"completions": section(use)}, detailed=True, costs_by_model=costs,
    )  # fmt: skip
    page = report_page(report, View(top=50), Drawings())
    assert len(page) < 400_000


def detailed(models, use):
    """A report with its bill by model."""
    report = report_of(costs=section([cost("9")]), costs_by=section([cost("9", project_id="p")]))
    spends = (attrs.evolve(report.spends[0], models=models),)
    return attrs.evolve(report, spends=spends, models=use)


def test_models_have_their_spend_requests_rate_and_tokens():
    models = [Group(id=f"m{n}", amount=Decimal(3), requests=1000) for n in range(5)]
    models.append(Group(id=None, amount=Decimal(1)))
    used = Tokens(id="m0", requests=1000, input=200, cached=50, output=7)
    page = page_of(detailed(tuple(models), (used,)), top=2)
    words = page.text.partition("Spend by model")[2]
    assert "m0 $3.00 33.3% 1,000 $3.00 200 25.0% 7" in words
    assert "(3 others) $9.00 100.0%" in words
    assert words.index("(3 others)") < words.index("(not attributed)")
    whole = page_of(detailed((Group(id="m", amount=Decimal(9)),), ())).text
    assert "m $9.00 100.0%" in whole
    only = page_of(detailed(tuple(models[:4]), ()), top=2).text
    assert only.index("m1 $3.00") < only.index("(2 others)")


def test_tokens_are_told_by_kind_and_modality():
    row = UsageCompletionsResult(
        input_tokens=100, input_cached_tokens=30, input_cache_write_tokens=20,
        input_text_tokens=40, output_tokens=7, num_model_requests=1,
    )  # fmt: skip
    text = page_of(report_of(usage={"completions": section([row])})).text
    assert "kind tokens text not told" in text
    assert "uncached input 50 40 10 cached input 30 cache writes 20 output 7" in text


def test_the_headline_tells_the_change_of_what_was_used():
    spec = attrs.evolve(named("x").spec, before=named("x").spec.period)
    spend = attrs.evolve(named("x").spends[0], before=Decimal(2))
    before = Tokens(id=None, requests=1, input=4, cached=1, output=1)
    report = attrs.evolve(named("x"), spec=spec, spends=(spend,), used_before=before)
    report = attrs.evolve(report, uncounted=())
    text = page_of(report).text
    assert "Requests 2 +1 (+100.0%)" in text
    assert "Tokens 10 +5 (+100.0%) 7 in, 3 out" in text
    assert "Cached input 0.0% 0 tokens 25.0% before" in text
    assert (
        "Per 1,000 requests $1,750.00 all spend, over all requests to models $2,000.00 before"
        in (text)
    )
    nothing = attrs.evolve(report, used_before=Tokens(id=None))
    assert "Requests 2 +2" in page_of(nothing).text
    assert "before" not in page_of(nothing).text.partition("Per 1,000")[2].partition("Spend")[0]
    lacking = attrs.evolve(report, uncounted=("images",))
    assert "without images" in page_of(lacking).text
    assert "Per 1,000" not in page_of(lacking).text.partition("Spend by day")[0]


def test_what_used_no_tokens_has_no_share_of_the_cache():
    row = UsageImagesResult(images=1, num_model_requests=3)
    text = page_of(report_of(usage={"images": section([row])})).text
    assert "Requests 3" in text
    assert "Cached input" not in text


def test_days_are_a_table_with_their_parts_and_remarks():
    days = [[cost("10", project_id="a"), cost("1", project_id="b")] for _ in range(3)]
    report = report_of(costs=section(*days), costs_by=section(*days))
    (spend,) = report.spends
    odd = UnusualDay(spend.days[1][0], Decimal(11), Decimal(2))
    report = attrs.evolve(report, spends=(attrs.evolve(spend, unusual=(odd,)),))
    text = page_of(report).text
    assert "day spend a b remark" in text
    assert "Fri 2026-10-02 $11.00 $10.00 $1.00 unusual, the median weekday is $2.00" in text
    assert "Thu 2026-10-01 $11.00 $10.00 $1.00 Fri" in text


def test_a_drawing_stands_with_its_words_and_a_failure_is_a_notice():
    report = report_of(costs=section([cost("1")]))
    svgs = {("days0", size): f"<svg viewBox='{size}'></svg>" for size in ("wide", "narrow")}
    page = report_page(report, View(), Drawings(svgs)).decode()
    assert 'class="chart narrow" role="img" aria-label="Spend of each day from 2026-10-01' in page
    assert "<svg viewBox='wide'></svg>" in page
    failed = report_page(report, View(), Drawings(failure="charts: <b>")).decode()
    assert "<li>charts: &lt;b&gt;</li>" in failed


def test_tokens_beyond_the_most_are_one_line():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2}
    rows = [UsageCompletionsResult(**use, project_id=f"p{n}") for n in range(6)]
    text = page_of(report_of(usage={"completions": section(rows)}), top=2).text
    assert "(4 others)" in text
    one = page_of(report_of(usage={"completions": section(rows[:1])}))
    assert "tfoot" not in one.tags


def test_a_comparison_a_pace_and_unusual_days_are_told():
    report = report_of(
        costs=section([cost("30")], [cost("20")], [cost("10")]),
        costs_by=section([cost("30", project_id="p")], [cost("20", project_id="p")], []),
        before=section([cost("40")], [], []),
        costs_by_before=section([cost("40", project_id="p")], [], []),
        usage={
            "completions": section(
                *[[UsageCompletionsResult(input_tokens=1, output_tokens=1, num_model_requests=500,
                                          project_id="p")]] * 3
            )
        },
    )  # fmt: skip
    (spend,) = report.spends
    days = [(date(2026, 10, n), Decimal(20)) for n in range(1, 4)]
    projection = budget(days, date(2026, 10, 4), month=days[0][0]).projection
    report = attrs.evolve(report, spends=(attrs.evolve(spend, projection=projection),))
    page = page_of(report)
    assert "+$20.00 (+50.0%) against 2026-09-28 to 2026-10-01" in page.text
    assert (
        "Projected for the month $620.00 $20.00 a day: 28 days at the mean of the last 3 days"
        in page.text
    )
    assert "620" in page.exact
    assert "$33.33" in page.text


def test_what_is_missing_is_said():
    days = section([cost("1")], [cost("1")])
    gap = attrs.evolve(days, missing=(days.buckets[-1].end_time,))
    report = report_of(costs=gap, costs_by=Section(blank=Blank("failed", "<b>")), before=Section())
    page = page_of(report, "a notice")
    assert "incomplete: 1 day was not sent" in page.text
    assert "spend by project: failed: <b>" in page.text
    assert "a notice" in page.text
    assert "unknown" in page.text


def test_spend_that_is_not_known_is_not_shown_as_zero():
    page = page_of(report_of(costs=Section(blank=Blank("refused", "no scope"))))
    assert "Total spend unknown refused: no scope" in page.text
    assert "$" not in page.text.partition('"use strict"')[0]


def test_nothing_billed_is_said():
    text = page_of(report_of(costs=section([], [], []))).text
    assert "nothing was billed" in text
    assert "Organization" in text


def test_without_a_known_day_there_are_no_days():
    days = attrs.evolve(section(), missing=tuple(START + n * DAY for n in range(3)))
    page = page_of(report_of(costs=days, before=section([cost("1")])))
    assert "Spend by day" not in page.text
    assert "incomplete: 3 days were not sent" in page.text


def test_the_page_tells_what_was_asked_and_what_is_covered():
    text = page_of(named("x")).text
    assert "Asked for 2026-10: 2026-10-01T00:00:00Z to 2026-10-04T00:00:00Z" in text
    assert "Covered 2026-10-01T00:00:00Z to 2026-10-04T00:00:00Z" in text
    assert "Read at 2026-10-31 00:00:00 UTC" in text


def test_the_reports_of_several_organizations_are_one_page(monkeypatch):
    asked = []

    def drawn(charts):
        asked.append(charts)
        return Drawings({key: f"<svg {key[0]}></svg>" for key in charts}, failure="no font")

    monkeypatch.setattr("usage_async.report.html.page.draw", drawn)
    compared = report_of(costs=section([cost("3.5")], [], []), before=section([cost("1")], [], []))
    other = report_of(costs=section([cost("1.5"), cost("2", "eur")]))
    answers = [
        Answer(name="acme", value=compared, notices=("a notice",)),
        Answer(name="<i>", value=other),
        Answer(name="gone", blank=Blank("refused", "the key <b>")),
    ]
    written = reports_as_html(answers, View(top=5))
    page = Page(written)
    assert page.open == []
    assert {name for name, _ in asked[0]} == {
        "organization-1-days0",
        "organization-2-days0",
        "organization-2-days1",
    }
    text = page.text
    assert "3 organizations" in text
    assert "Total spend $5.00 incomplete: without gone no font exactly 5 USD" in text
    assert "organization spend share change acme $3.50 70.0% +$2.50 (+250.0%)" in text
    assert "<i> $1.50 30.0% all $5.00 100.0%" in text
    assert "Spend by organization, EUR" in text
    assert "gone refused: the key <b>" in text
    assert text.index("a notice") < text.index("gone refused")
    assert b"<svg organization-2-days1>" in written
    ids = re.findall(rb' id="([^"]*)"', written)
    assert page.attributes.count("id") == len(set(ids))
    assert {*re.findall(rb'href="#([^"]*)"', written)} == {*ids}


def test_organizations_that_were_billed_nothing_say_so(monkeypatch):
    monkeypatch.setattr("usage_async.report.html.page.draw", lambda _: Drawings())
    written = reports_as_html([Answer(name="a", value=report_of())], View())
    assert "1 organizations" not in Page(written).text
    assert "Total spend nothing was billed" in Page(written).text


def test_the_bills_of_organizations_are_compared_where_all_of_them_are(monkeypatch):
    monkeypatch.setattr("usage_async.report.html.page.draw", lambda _: Drawings())
    report = report_of(costs=section([cost("3")], [], []), before=section([cost("1")], [], []))
    answers = [Answer(name=name, value=report) for name in ("a", "b")]
    text = Page(reports_as_html(answers, View())).text
    assert "+$4.00 (+200.0%) against 2026-09-28 to 2026-10-01" in text
    assert "all $6.00 100.0% +$4.00 (+200.0%)" in text
