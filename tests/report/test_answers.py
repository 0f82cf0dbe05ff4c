"""Reports and breakdowns of several organizations: exact sums, and each in every rendering."""

import csv
import io
import json
import re
from decimal import Decimal

import attrs
import openpyxl
import pytest
from hypothesis import given as given_examples
from hypothesis import strategies as st
from rich.console import Console
from values import HOSTILE_NAMES

from usage_async import CostsResult, TimeRange, UsageVectorStoresResult
from usage_async.report.amounts import total
from usage_async.report.answers import Answer, Bill, are_whole, bills
from usage_async.report.breakdown import Breakdown, sum_of_all
from usage_async.report.formats import BREAKDOWN_FORMATS, REPORT_FORMATS
from usage_async.report.formatting import clean
from usage_async.report.html.charts import Drawings
from usage_async.report.values import Blank, Section, View

from .conftest import cost, report_of, section

REFUSED = Answer(name="initech", blank=Blank("refused", "401: no such key"))


def report(amount, before=None, currency="usd", by="project,model", **fields):
    row = cost(amount, currency, project_id="p", line_item="gpt-5, input", **fields)
    more = {}
    if before is not None:
        then = section([attrs.evolve(row, amount=cost(before, currency).amount)])
        more = {"before": then, "costs_by_before": then}
    return report_of(by, costs=section([row]), costs_by=section([row]), **more)


def rendered(name, answers, formats=REPORT_FORMATS, **view):
    form = formats[name]
    views = [View(**view)] if formats is REPORT_FORMATS else []
    if not form.is_drawn:
        return form.load_many()(answers, *views)
    console = Console(file=io.StringIO(), width=100, color_system=None)
    form.load_many()(console, answers, *views)
    return console.file.getvalue()


ANSWERS = [
    Answer(name="acme", value=report("3.00000000001", "1"), notices=("careful",)),
    Answer(name="globex", value=report("4", "2")),
    REFUSED,
]


@given_examples(
    st.lists(
        st.tuples(
            st.decimals(-(10**9), 10**9, places=20), st.sampled_from(["usd", "eur"]), st.booleans()
        ),
        max_size=6,
    )
)
def test_bills_are_the_exact_sums_of_all_by_currency(spends):
    answers = [
        Answer(name=f"o{n}", value=report(str(amount), "1" if compared else None, currency))
        for n, (amount, currency, compared) in enumerate(spends)
    ]
    found = {bill.currency: bill for bill in bills([*answers, REFUSED])}
    for code in {currency for _, currency, _ in spends}:
        own = [(amount, compared) for amount, currency, compared in spends if currency == code]
        assert found[code].total == total(amount for amount, _ in own)
        assert found[code].before == (len(own) if all(with_ for _, with_ in own) else None)
        assert found[code].without == ("initech",)


def test_a_bill_names_whose_spend_is_not_known():
    unknown = report_of(costs=Section(blank=Blank("failed", "500")))
    missing = report_of(costs=attrs.evolve(section([cost("1")]), missing=(0,)))
    answers = [
        Answer(name="a", value=unknown),
        Answer(name="b", value=missing),
        Answer(name="c", value=report("2")),
    ]
    assert bills(answers) == (
        Bill(currency="usd", total=Decimal(3), before=None, without=("a", "b")),
    )
    assert not are_whole(answers)
    assert are_whole(answers[2:])
    assert not are_whole([*answers[2:], REFUSED])


def test_a_drawing_begins_with_a_table_of_all_and_has_a_section_for_each():
    text = rendered("text", ANSWERS, footer="that is all")
    head, acme, globex, initech = text.split("========")[::2]
    assert head.splitlines()[:11] == [
        "3 organizations",
        "2026-10-01 to 2026-10-04 UTC",
        "",
        "Total spend  $7.00  exactly 7.00000000001",
        "incomplete: without initech",
        "organization  spend   share            change",
        "acme          $3.00   42.9%  +$2.00 (+200.0%)",
        "globex        $4.00   57.1%  +$2.00 (+100.0%)",
        "all           $7.00  100.0%  +$4.00 (+133.3%)",
        "",
        "initech  refused: 401: no such key",
    ]
    assert "- careful" in acme
    assert "careful" not in globex
    assert " ".join(initech.split()) == "refused: 401: no such key that is all"


def test_a_drawing_of_one_answer_has_no_line_of_all():
    text = rendered("text", [Answer(name="acme", value=report("3"))])
    assert "\nall " not in text.partition("====")[0]
    assert "incomplete" not in text


def test_json_is_a_list_of_reports_with_their_totals():
    value = json.loads(rendered("json", ANSWERS))
    assert value["totals"] == [
        {
            "currency": "usd",
            "amount": "7.00000000001",
            "amount_before": "3",
            "without": ["initech"],
        }
    ]
    assert [each["name"] for each in value["organizations"]] == ["acme", "globex"]
    assert value["organizations"][0]["spend"][0]["amount"] == "3.00000000001"
    assert "careful" in value["organizations"][0]["notices"]
    assert value["refused"] == [{"organization": "initech", "reason": "401: no such key"}]
    assert value["failed"] == []


@pytest.mark.parametrize(
    ("by", "columns"),
    [("project", ["group", "name"]), ("project,model", ["group", "name", "part"])],
)
def test_csv_has_a_column_of_organizations_first(by, columns):
    answers = [REFUSED, Answer(name="acme", value=report("3", by=by))]
    header, *rows = csv.reader(io.StringIO(rendered("csv", answers).decode()))
    assert header[: len(columns) + 1] == ["organization", *columns]
    assert [row[0] for row in rows] == ["acme"]


def sheets_of(answers):
    book = openpyxl.load_workbook(io.BytesIO(rendered("xlsx", answers)))
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


def test_a_workbook_has_a_column_of_organizations_and_their_sums_in_its_summary():
    sheets = sheets_of(ANSWERS)
    assert list(sheets)[2:5] == ["Groups", "Subtotals", "Tokens"]
    for name in ("Days", "Groups", "Subtotals", "Endpoints", "Notices"):
        header, *rows = sheets[name]
        assert header[0] == "organization"
        assert {row[0] for row in rows} >= {"acme", "globex"}
    summary = sheets["Summary"]
    at = next(n for n, row in enumerate(summary) if row[0] == "Organization")
    assert [(row[0], row[2], row[4], row[6], row[8], row[9]) for row in summary[at + 1 :]] == [
        ("acme", "USD", "3.00000000001", "1", "2.00000000001", None),
        ("globex", "USD", "4", "2", "2", None),
        ("initech", None, None, None, None, "unknown: refused: 401: no such key"),
        ("All organizations", "USD", "7.00000000001", "3", "4.00000000001", "without initech"),
    ]
    assert ("initech", "refused", None, "401: no such key") in sheets["Notices"]
    assert ("acme", "notice", None, "careful") in sheets["Notices"]


def test_a_workbook_tells_what_is_not_known_of_an_organization():
    unknown = report_of(costs=Section(blank=Blank("failed", "500")))
    missing = report_of(costs=attrs.evolve(section([cost("1")]), missing=(0,)))
    values = {"a": unknown, "b": missing, "c": report_of(), "d": report("2", "1", by="project")}
    summary = sheets_of([Answer(name=name, value=value) for name, value in values.items()])
    notes = {row[0]: row[9] for row in summary["Summary"] if row[0] in values}
    assert notes == {
        "a": "unknown: failed: 500",
        "b": "incomplete: 1 day was not sent",
        "c": "nothing was billed",
        "d": None,
    }
    assert summary["Groups"][0].count("before") == 1


HOSTILE = [name.replace("\ud800", "") for name in (*HOSTILE_NAMES, "=1+1", "two\nlines", "a,b")]


def hostile(value):
    return [
        *(Answer(name=name, value=value, notices=(name,)) for name in HOSTILE),
        Answer(name="=bad", blank=Blank("failed", "=\u202ebad")),
    ]


def test_hostile_names_of_organizations_stay_names():
    answers = hostile(report("1"))
    text = rendered("text", answers).replace("\n", "")
    assert clean(text) == text
    assert {each["name"] for each in json.loads(rendered("json", answers))["organizations"]} == {
        *HOSTILE
    }
    _, *rows = csv.reader(io.StringIO(rendered("csv", answers).decode(), newline=""))
    assert [row[0] for row in rows] == [f"'{n}" if n[0] == "=" else n for n in HOSTILE]
    book = openpyxl.load_workbook(io.BytesIO(rendered("xlsx", answers)))
    for sheet in book:
        for row in sheet.iter_rows():
            assert all(cell.data_type in "nsd" and cell.hyperlink is None for cell in row)


def test_hostile_names_of_organizations_become_no_elements_of_a_page(monkeypatch):
    monkeypatch.setattr("usage_async.report.html.page.draw", lambda _: Drawings())
    page = rendered("html", hostile(report("1"))).decode()
    plain = rendered("html", [Answer(name=f"o{n}", value=report("1")) for n in range(len(HOSTILE))])
    made, expected = (re.findall("<([a-z]+)", text) for text in (page, plain.decode()))
    # What did not answer is a paragraph.
    assert set(made) == set(expected)
    assert made.count("script") == expected.count("script") == 1
    assert "\u202e" not in page
    assert "\\u202ebad" in page


def breakdown(*rows, by=()):
    return Breakdown(
        endpoint="costs",
        by=by,
        requested=TimeRange(0, 86400),
        covered=TimeRange(0, 86400),
        as_of=86400,
        notices=(),
        totals=list(rows),
        groups=list(rows) if by else [],
    )


def test_breakdowns_are_added_up_by_currency():
    one = breakdown(cost("1.5"), cost("2", "eur"))
    two = breakdown(cost("0.00000000001"), CostsResult())
    sums = {row.amount.currency: row.amount.value for row in sum_of_all([one, two])}
    assert sums == {"usd": Decimal("1.50000000001"), "eur": 2}


def test_levels_of_organizations_are_added_up():
    rows = [breakdown(UsageVectorStoresResult(usage_bytes=n)) for n in (3, 4)]
    (row,) = sum_of_all(rows)
    assert row.usage_bytes == 7


def test_every_rendering_of_breakdowns_has_the_sums_and_each_organization():
    answers = [
        Answer(name="acme", value=breakdown(cost("1.5", project_id="p"), by=("project_id",))),
        Answer(name="globex", value=breakdown(cost("2", project_id="q"), by=("project_id",))),
        REFUSED,
    ]
    text = rendered("table", answers, BREAKDOWN_FORMATS)
    assert "amount  $3.50  exactly 3.5" in text
    assert "all            $3.50" in text
    assert "initech  refused: 401: no such key" in text
    assert "======== globex ========" in text
    value = json.loads(rendered("json", answers, BREAKDOWN_FORMATS))
    assert value["totals"][0]["amount"]["value"] == "3.5"
    assert [each["name"] for each in value["organizations"]] == ["acme", "globex"]
    assert value["refused"][0]["organization"] == "initech"
    assert rendered("csv", answers, BREAKDOWN_FORMATS).decode().splitlines() == [
        "organization,project_id,amount,quantity,quantity_unit,currency",
        "acme,p,1.5,,,usd",
        "globex,q,2,,,usd",
    ]


def test_hostile_names_of_organizations_stay_names_in_breakdowns():
    answers = hostile(breakdown(cost("1")))
    text = rendered("table", answers, BREAKDOWN_FORMATS).replace("\n", "")
    assert clean(text) == text
    rows = csv.reader(io.StringIO(rendered("csv", answers, BREAKDOWN_FORMATS).decode(), newline=""))
    assert [row[0] for row in rows][1:] == HOSTILE
