"""Renderings of a report by two dimensions: groups, with their parts below them."""

import csv
import io
import json
from decimal import Decimal
from itertools import groupby

import duckdb
import openpyxl
import pytest
from rich.console import Console
from values import HOSTILE_NAMES

from usage_async import UsageCompletionsResult
from usage_async.report.amounts import total
from usage_async.report.csv import PAIR_COLUMNS, report_as_csv
from usage_async.report.formatting import clean
from usage_async.report.json import report_as_json
from usage_async.report.terminal.report import draw_report
from usage_async.report.values import View
from usage_async.report.xlsx import report_as_xlsx

from .conftest import cost, report_of, section


def used(project, model, requests=2):
    return UsageCompletionsResult(
        input_tokens=10,
        output_tokens=3,
        num_model_requests=requests,
        project_id=project,
        model=model,
    )


def small(by="project,model", **more):
    """Two projects, of which one used a model and storage; and what nobody accounts for."""
    rows = [
        cost("3", project_id="p", project_name="Web", line_item="gpt-5, input"),
        cost("1", project_id="p", project_name="Web", line_item="storage"),
        cost("-0.5", project_id="q", line_item="gpt-5, input"),
    ]
    usage = {"completions": section([used("p", "gpt-5"), used("q", "gpt-6", 4)])}
    return report_of(by, costs=section([cost("4")]), costs_by=section(rows), usage=usage, **more)


BEFORE = section(
    [
        cost("2", project_id="p", line_item="gpt-5, input"),
        cost("6", project_id="q", line_item="gpt-5, input"),
    ]
)
COMPARED = {"before": BEFORE, "costs_by_before": BEFORE}


def drawn(report, width=100, **view):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    draw_report(console, report, View(**view))
    return console.file.getvalue()


def section_of(text, title):
    """The lines of a section, without its title, and without bars."""
    lines = text.partition(f"\n{title}")[2].partition("\n\n")[0].splitlines()[1:]
    return [line.rstrip(" █▏▎▍▌▋▊▉") for line in lines]


def book_of(report, **view):
    return openpyxl.load_workbook(io.BytesIO(report_as_xlsx(report, View(**view))))


def rows_of(sheet):
    header, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_drawing_has_subtotals_with_their_parts_below_them():
    text = drawn(small())
    assert section_of(text, "Spend by project and model") == [
        "project and model   spend   share  per 1k requests",
        "Web  p              $4.00  100.0%        $2,000.00",
        "  gpt-5             $3.00   75.0%        $1,500.00",
        "  storage           $1.00   25.0%",
        "q                  -$0.50  -12.5%         -$125.00",
        "  gpt-5            -$0.50  -12.5%",
        "(not attributed)    $0.50   12.5%",
    ]
    assert section_of(text, "Tokens and requests by project and model") == [
        "project and model  requests  input  cached  output",
        "Web  p                    2     10    0.0%       3",
        "  gpt-5                   2     10    0.0%       3",
        "q                         4     10    0.0%       3",
        "  gpt-6                   4     10    0.0%       3",
        "all                       6     20    0.0%       6",
    ]


def test_movers_are_pairs():
    assert section_of(drawn(small(**COMPARED)), "Top movers") == [
        "$6.50 less  q / gpt-5  mostly gpt-5, input: unexplained -$6.50",
        "$1.00 more  Web  p / gpt-5  mostly gpt-5, input: unexplained +$1.00",
        "$1.00 more  Web  p / storage  mostly storage: new +$1.00",
    ]


def test_json_has_an_object_for_each_pair_within_its_subtotal():
    value = json.loads(report_as_json(small(**COMPARED), View()))
    assert (value["by"], value["then_by"]) == ("project_id", "model")
    assert value["derived_from_line_items"]
    groups = value["spend"][0]["groups"]
    assert [(each["group"], each["amount"], each["amount_before"]) for each in groups] == [
        ("p", "4", "2"),
        ("q", "-0.5", "6"),
        (None, "0.5", "0"),
    ]
    causes = [part.pop("cause") for part in groups[0]["parts"]]
    assert [(each["line_item"], each["effect"]) for each in causes] == [
        ("gpt-5, input", "unexplained"),
        ("storage", "new"),
    ]
    assert groups[0]["parts"] == [
        {
            "group": "p",
            "part": part,
            "name": None,
            "amount": amount,
            "amount_before": before,
            "num_model_requests": requests,
        }
        for part, amount, before, requests in [
            ("gpt-5", "3", "2", 2),
            ("storage", "1", "0", None),
        ]
    ]
    assert [[part["part"] for part in row["parts"]] for row in value["tokens"]] == [
        ["gpt-5"],
        ["gpt-6"],
    ]


def test_json_of_one_dimension_has_no_parts():
    value = json.loads(report_as_json(small("project"), View()))
    assert value["then_by"] is None
    assert all("parts" not in each for each in (*value["spend"][0]["groups"], *value["tokens"]))


def test_csv_has_a_line_for_each_pair_and_one_for_tokens_without_spend():
    assert report_as_csv(small(**COMPARED), View()).decode().splitlines() == [
        ",".join(PAIR_COLUMNS),
        "p,Web,gpt-5,,usd,3,2,2,10,0,3",
        "p,Web,storage,,usd,1,0,,,,",
        "q,,gpt-5,,usd,-0.5,6,,,,",
        ",,,,usd,0.5,0,,,,",
        "q,,gpt-6,,,,,4,10,0,3",
    ]


def test_csv_keeps_money_and_tokens_of_different_things_apart():
    rows = report_as_csv(small("line-item,model"), View()).decode().splitlines()
    assert rows[1] == '"gpt-5, input",,gpt-5,,usd,2.5,,,,,'
    assert rows[-1] == "gpt-6,,,,,,,4,10,0,3"


def test_a_workbook_has_a_row_for_each_pair_and_a_sheet_of_subtotals():
    book = book_of(small(**COMPARED))
    assert book.sheetnames[2:5] == ["Groups", "Subtotals", "Tokens"]
    pairs, subtotals = rows_of(book["Groups"]), rows_of(book["Subtotals"])
    assert [(row["project"], row["project name"], row["model"]) for row in pairs] == [
        ("p", "Web", "gpt-5"),
        ("p", "Web", "storage"),
        ("q", None, "gpt-5"),
        (None, "(not attributed)", None),
    ]
    assert [(row["exact spend"], row["exact change"], row["share"]) for row in pairs] == [
        ("3", "1", 0.75),
        ("1", "1", 0.25),
        ("-0.5", "-6.5", -0.125),
        ("0.5", "0.5", 0.125),
    ]
    assert [(row["project"], row["name"], row["exact spend"]) for row in subtotals] == [
        ("p", "Web", "4"),
        ("q", None, "-0.5"),
        (None, "(not attributed)", "0.5"),
    ]
    assert [(row["project"], row["model"], row["requests"]) for row in rows_of(book["Tokens"])] == [
        ("p", "gpt-5", 2),
        ("q", "gpt-6", 4),
    ]
    assert dict(book["Summary"].iter_rows(max_col=2, values_only=True))["Grouped by"] == (
        "project and model"
    )


HOSTILE = [*HOSTILE_NAMES, "=1+1", "@sum", "two\nlines", "a,b"]


def hostile():
    """A report whose groups and parts have hostile ids, names and models, in spend and tokens."""
    names = [name.replace("\ud800", "") for name in HOSTILE]  # no page holds half a character
    rows = [
        cost("1", project_id=f"{id_}{n}", project_name=name, line_item=f"{model}, input")
        for n, (id_, name, model) in enumerate(zip(names, names[1:], names[2:], strict=False))
    ]
    usage = section([used(row.project_id, row.derived_line_item.model) for row in rows])
    costs = section(rows)
    return rows, report_of(
        "project,model", costs=costs, costs_by=costs, usage={"completions": usage}
    )


@pytest.mark.parametrize("width", [60, 200])
def test_hostile_names_of_pairs_never_steer_a_terminal(width):
    rows, report = hostile()
    text = drawn(report, width)
    assert clean(text.replace("\n", "")) == text.replace("\n", "")
    for row in rows:
        assert clean(row.project_name) in text
        assert clean(row.derived_line_item.model) in text


def test_hostile_names_of_pairs_stay_texts_in_csv_and_json():
    rows, report = hostile()
    data = report_as_csv(report, View())
    read = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in read for cell in row.values())
    models = {row.derived_line_item.model for row in rows}
    assert {row["part"] for row in read} == {
        f"'{model}" if model[0] in "=@" else model for model in models
    }
    (spend,) = json.loads(report_as_json(report, View()))["spend"]
    assert {part["part"] for group in spend["groups"] for part in group["parts"]} == models
    assert {group["name"] for group in spend["groups"]} == {row.project_name for row in rows}


def test_hostile_names_of_pairs_are_texts_in_a_workbook():
    rows, report = hostile()
    book = book_of(report)
    for name in ("Groups", "Subtotals", "Tokens"):
        assert book[name].max_row == len(rows) + 1
        for row in book[name].iter_rows():
            assert all(cell.data_type in "ns" and cell.hyperlink is None for cell in row)


def many():
    """500 projects with 8 models each."""
    rows = [
        cost(f"{1 + n % 7}.0{n % 9}{m}", project_id=f"p{n}", line_item=f"m{m}, input")
        for n in range(500)
        for m in range(8)
    ]
    costs = section(rows)
    usage = {"completions": section([used(f"p{n}", f"m{m}") for n in range(500) for m in range(8)])}
    return report_of("project,model", costs=costs, costs_by=costs, usage=usage)


@pytest.mark.slow
def test_500_groups_stay_readable_and_whole(tmp_path):
    report = many()
    (spend,) = report.spends
    text = drawn(report, top=15)
    lines = section_of(text, "Spend by project and model")
    assert len(lines) == 1 + 15 * (1 + 5 + 1) + 1
    assert len([line for line in lines if "(3 others)" in line]) == 15
    assert "(485 others)" in lines[-1]
    assert len(text.splitlines()) < 300
    file = tmp_path / "pairs.csv"
    file.write_bytes(report_as_csv(report, View()))
    read = duckdb.read_csv(str(file), all_varchar=True)
    assert read.columns == list(PAIR_COLUMNS)
    pairs = read.project('"group", part, amount').fetchall()
    assert len(pairs) == 500 * 8
    assert total(Decimal(amount) for *_, amount in pairs) == spend.total
    subtotals = {group.id: group.amount for group in spend.groups}
    for id_, of in groupby(pairs, lambda pair: pair[0]):
        assert total(Decimal(amount) for *_, amount in of) == subtotals.pop(id_)
    assert not subtotals
