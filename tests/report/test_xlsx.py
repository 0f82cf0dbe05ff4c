"""Spreadsheets of reports, as openpyxl reads them back."""

import io
import sys
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module

import attrs
import openpyxl
import pytest

from usage_async import ENDPOINTS, ConfigurationError, TimeRange, UsageCompletionsResult
from usage_async.report.amounts import total
from usage_async.report.compute import compute_report
from usage_async.report.insight import UnusualDay
from usage_async.report.spec import ReportSpec
from usage_async.report.values import Blank, Section, Sections, View
from usage_async.report.xlsx import report_as_xlsx

from .conftest import DAY, NOW, PERIOD, START, cost, report_of, section

SHEETS = ["Summary", "Days", "Groups", "Tokens", "Endpoints", "Notices"]
HOSTILE = {
    "=1+1": "=1+1",
    "+cmd|' /C calc'!A0": "+cmd|' /C calc'!A0",
    "@SUM(A1)": "@SUM(A1)",
    "-1": "-1",
    "12": "12",
    "https://example.com": "https://example.com",
    "mailto:a@example.com": "mailto:a@example.com",
    "</script><script>": "</script><script>",
    'a,b"c\nd': 'a,b"c\\nd',
    "👩‍🔬": "👩‍🔬",
    "long" * 50: "long" * 50,
    "שלום عالم": "שלום عالم",
    "\u202eevil\u2028": "\\u202eevil\\u2028",
    "nul\x00bell\x07": "nul\\x00bell\\x07",
    "\ufffe": "\\ufffe",
    " blanks ": " blanks ",
    "x" * 40_000: "x" * 16_000 + "…",
}
"""Names, and how they are shown."""


def book_of(report, **view):
    return openpyxl.load_workbook(io.BytesIO(report_as_xlsx(report, View(**view))))


def rows_of(sheet):
    header, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def figures_of(book):
    """The lines of the summary by label."""
    rows = list(book["Summary"].iter_rows(values_only=True))
    at = next(number for number, row in enumerate(rows) if row[0] == "Figure")
    return {row[0]: row[1:] for row in rows[:at]}, rows[at + 1 :]


def used(**dimensions):
    return UsageCompletionsResult(
        input_tokens=10, output_tokens=3, num_model_requests=2, **dimensions
    )


def test_each_part_of_a_report_is_a_sheet_whose_header_stays():
    book = book_of(report_of(costs=section([cost("1")])))
    assert book.sheetnames == SHEETS
    for name in SHEETS[1:]:
        sheet = book[name]
        assert sheet.freeze_panes == "A2"
        assert sheet.auto_filter.ref.startswith("A1:")
        assert all(cell.font.bold for cell in sheet[1])
        widths = [sheet.column_dimensions[cell.column_letter].width for cell in sheet[1]]
        assert all(8 <= width <= 61 for width in widths)


def test_amounts_are_numbers_with_exact_texts_beside_them():
    digits = "0.1234567890123456789012345"
    costs = [cost(digits, project_id="p"), cost("-2", project_id="q"), cost("1e300", "eur")]
    book = book_of(report_of(costs=section(costs), costs_by=section(costs)))
    exact = total([Decimal(digits), Decimal(-2)])
    spend = {row["exact spend"]: row["spend"] for row in rows_of(book["Groups"])}
    assert spend == pytest.approx({digits: float(digits), "-2": -2, f"1{'0' * 300}": 1e300})
    _, figures = figures_of(book)
    assert [row[:2] for row in figures] == [("Total spend", "EUR"), ("Total spend", "USD")]
    assert Decimal(figures[1][3]) == exact
    assert figures[1][2] == pytest.approx(float(exact))
    for name in ("Days", "Groups"):
        for currency, whole in ("USD", exact), ("EUR", Decimal("1e300")):
            of = [row for row in rows_of(book[name]) if row["currency"] == currency]
            assert total(Decimal(row["exact spend"]) for row in of if row["exact spend"]) == whole


def test_a_running_month_is_projected_and_its_odd_days_are_marked():
    days = [[cost("1")], [cost("1")], [cost("1")], [cost("1")], [cost("9")], [cost("1")]]
    now = START + 5 * DAY + 3600
    period = TimeRange(START, now)
    sections = Sections(
        costs=section(*days), costs_by=section(*days), usage={name: Section() for name in ENDPOINTS}
    )
    spec = ReportSpec("project_id", period, now, running=True)
    book = book_of(compute_report(spec, sections))
    about, figures = figures_of(book)
    assert about["Period, UTC"][0].endswith("(still running)")
    label, currency, amount, exact, note = figures[-1]
    assert (label, currency, exact) == ("Month's end", "USD", None)
    assert amount == pytest.approx(13 + 2.6 * 26)
    assert note == (
        "a projection; $2.60 a day: 26 days at the mean of the last 5 days that are over; no range,"
        " because no whole week is known"
    )
    notes = [row["note"] for row in rows_of(book["Days"])]
    assert notes == [*[None] * 5, "still running"]


def test_an_unusual_day_says_what_is_usual():
    spends = report_of(costs=section([cost("1")])).spends
    odd = UnusualDay(PERIOD.start.date(), Decimal(1), Decimal("0.25"))
    report = attrs.evolve(
        report_of(costs=section([cost("1")])), spends=(attrs.evolve(spends[0], unusual=(odd,)),)
    )
    book = book_of(report)
    assert rows_of(book["Days"])[0]["note"] == "unusual, the median weekday is $0.25"
    assert rows_of(book["Notices"])[0]["about"] == "unusual days"


@pytest.mark.parametrize(
    ("currency", "form"),
    [
        ("usd", '"$"#,##0.00;-"$"#,##0.00'),
        ("eur", '#,##0.00 "EUR"'),
        ('";=1', "#,##0.00"),
    ],
)
def test_a_number_is_shown_in_its_currency(currency, form):
    book = book_of(report_of(costs=section([cost("1", currency)])))
    cell = book["Days"]["D2"]
    assert (cell.value, cell.number_format) == (1, form)


def test_an_amount_that_is_no_number_of_a_spreadsheet_is_its_text_only():
    book = book_of(report_of(costs=section([cost("9.9e308")])))
    row = rows_of(book["Days"])[0]
    assert row["spend"] is None
    assert Decimal(row["exact spend"]) == Decimal("9.9e308")


def test_whatever_a_name_is_it_is_a_text():
    costs = section(
        [cost("1", project_id=f"=p{n}", project_name=name) for n, name in enumerate(HOSTILE)]
    )
    use = {"completions": section([used(project_id=f"=p{n}") for n in range(len(HOSTILE))])}
    report = report_of(costs=costs, costs_by=costs, usage=use)
    book = book_of(report, notices=["=1+1", "a\x00b"])
    for name in ("Groups", "Tokens"):
        found = {row["project"]: row["name"] for row in rows_of(book[name])}
        assert found == {f"=p{n}": shown for n, shown in enumerate(HOSTILE.values())}
    assert {row["notice"] for row in rows_of(book["Notices"])} >= {"=1+1", "a\\x00b"}
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type in "nsd"
                assert cell.hyperlink is None


def test_nothing_in_the_file_is_a_formula_or_a_link():
    costs = section([cost("1", project_id=name, project_name=name) for name in HOSTILE])
    data = report_as_xlsx(report_of(costs=costs, costs_by=costs), View())
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        sheets = [name for name in file.namelist() if name.startswith("xl/worksheets/")]
        assert len(sheets) == len(SHEETS)
        for name in sheets:
            text = file.read(name).decode()
            assert "<f>" not in text
            assert "<hyperlink" not in text


def test_what_is_not_known_is_empty_and_never_0():
    costs = Section(
        section([cost("1")], []).buckets, missing=(section([], [], []).buckets[2].start_time,)
    )
    refused = Section(blank=Blank("refused", "=no"))
    book = book_of(report_of(costs=costs, costs_by=refused, usage={"completions": refused}))
    days = rows_of(book["Days"])
    assert [(row["spend"], row["exact spend"], row["note"]) for row in days] == [
        (1, "1", None),
        (0, "0", None),
        (None, None, "not sent"),
    ]
    assert rows_of(book["Groups"]) == []
    use = next(row for row in rows_of(book["Endpoints"]) if row["endpoint"] == "completions")
    assert (use["metric"], use["figure"], use["note"]) == (None, None, "refused: =no")
    assert figures_of(book)[1][0][-1] == "incomplete: 1 day was not sent"
    notices = rows_of(book["Notices"])
    assert {"kind": "refused", "about": "spend by project", "notice": "=no"} in notices
    assert {"kind": "limit", "about": "tokens", "notice": "without completions"} in notices


def test_an_unknown_spend_and_one_of_nothing_are_different():
    refused = Section(blank=Blank("failed", "it broke"))
    unknown, nothing = (
        figures_of(book_of(report_of(costs=each)))[1] for each in (refused, section([]))
    )
    assert unknown == [("Total spend", None, None, None, "unknown: failed: it broke")]
    assert nothing == [("Total spend", None, None, None, "nothing was billed")]


def test_a_comparison_has_its_columns():
    costs = section([cost("3", project_id="p")])
    before = section([cost("1.5", project_id="p")])
    more = {"before": before, "costs_by_before": before}
    book = book_of(report_of(costs=costs, costs_by=costs, **more))
    (row,) = rows_of(book["Groups"])
    assert (row["before"], row["exact before"]) == (1.5, "1.5")
    assert (row["change"], row["exact change"]) == (1.5, "1.5")
    about, figures = figures_of(book)
    assert about["Compared with"][0] == "2026-09-28 to 2026-10-01"
    assert [row[0] for row in figures] == ["Total spend", "The period before", "Change"]


def test_spend_without_a_group_is_named_and_shares_add_up():
    costs = section([cost("4")])
    by = section([cost("3", project_id="p")])
    use = {"completions": section([used(project_id="p")])}
    groups = rows_of(book_of(report_of(costs=costs, costs_by=by, usage=use))["Groups"])
    assert [(row["project"], row["name"], row["share"]) for row in groups] == [
        ("p", None, 0.75),
        (None, "(not attributed)", 0.25),
    ]
    assert [(row["requests"], row["per 1,000 requests"]) for row in groups] == [
        (2, 1500),
        (None, None),
    ]


def test_500_groups_are_all_there():
    rows = [cost(f"{n}.01", project_id=f"p{n}") for n in range(1, 501)]
    costs = section(rows)
    groups = rows_of(book_of(report_of(costs=costs, costs_by=costs), top=5)["Groups"])
    assert len(groups) == 500
    assert sum(Decimal(row["exact spend"]) for row in groups) == total(r.amount.value for r in rows)


def test_a_count_that_a_number_cannot_hold_is_a_text():
    use = UsageCompletionsResult(input_tokens=2**53 + 1, output_tokens=2**53, num_model_requests=1)
    book = book_of(report_of(usage={"completions": section([use])}))
    (row,) = rows_of(book["Tokens"])
    assert row["input tokens"] == str(2**53 + 1)
    assert row["output tokens"] == 2**53
    figures = rows_of(book["Endpoints"])
    assert {
        row["metric"]: row["figure"] for row in figures if row["endpoint"] == "completions"
    } == {
        "num_model_requests": 1,
        "input_tokens": str(2**53 + 1),
        "output_tokens": 2**53,
    }


def test_a_split_by_model_says_how_it_was_made():
    costs = section([cost("1", line_item="gpt-5, input")])
    book = book_of(report_of("model", costs=costs, costs_by=costs))
    notices = [row["notice"] for row in rows_of(book["Notices"])]
    assert "derived from line items; one without a model is shown as it is" in notices


def test_the_same_report_gives_the_same_bytes():
    costs = section([cost("1", project_id="p")])
    one, two = (report_as_xlsx(report_of(costs=costs, costs_by=costs), View()) for _ in range(2))
    assert one == two
    # The only time in it is that of the reading.
    properties = openpyxl.load_workbook(io.BytesIO(one)).properties
    read_at = datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None)
    assert properties.created == properties.modified == read_at
    with zipfile.ZipFile(io.BytesIO(one)) as file:
        assert {each.date_time for each in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_missing_extra_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    monkeypatch.delitem(sys.modules, "usage_async.report.xlsx")
    with pytest.raises(ConfigurationError, match=r"pip install 'usage-async\[report\]'$"):
        import_module("usage_async.report.xlsx")
