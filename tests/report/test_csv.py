import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import (
    UsageCompletionsResult,
)
from usage_async.report import csv as _csv
from usage_async.report.csv import REPORT_COLUMNS, report_as_csv
from usage_async.report.values import View

from .conftest import cost, report_of, section

_TEXTS = st.text(st.characters(codec="utf-8"))


def _read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


@given(st.lists(_TEXTS, min_size=1))
def test_every_text_comes_back_as_it_was_written(texts):
    assert _read(_csv.line(texts)) == [texts]


def test_no_value_is_nothing_and_an_empty_text_is_quoted():
    assert _csv.line([None, "", True, 3, Decimal("0.10")]) == b',"",true,3,0.1\n'


def test_a_guarded_text_is_no_formula_and_a_number_stays_one():
    texts = ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", "\n=1", "fine"]
    cells = _read(_csv.guarded([*texts, Decimal("-1.5"), -3]))[0]
    assert cells == [*(f"'{text}" for text in texts[:-1]), "fine", "-1.5", "-3"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("2075.90014859250000000000000000000000", "2075.9001485925"),
        ("1E+3", "1000"),
        ("1E-7", "0.0000001"),
        ("100", "100"),
        ("0E-20", "0"),
        (
            "-0.5000000000000000000000000000000000000001",
            "-0.5000000000000000000000000000000000000001",
        ),
    ],
)
def test_a_decimal_is_written_whole_and_without_padding(hostile, value, written):
    assert _csv.line([Decimal(value)]) == f"{written}\n".encode()


def test_csv_joins_money_and_tokens_of_a_group_and_guards_its_name():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2}
    costs_by = section([cost("-4", project_id="p", project_name="=cmd()")])
    shown = report_of(
        costs=section([cost("-4")]),
        costs_by=costs_by,
        usage={
            "completions": section(
                [
                    UsageCompletionsResult(**use, project_id="p"),
                    UsageCompletionsResult(**use, project_id="q"),
                ]
            )
        },
    )
    assert report_as_csv(shown, View()).decode().splitlines() == [
        ",".join(REPORT_COLUMNS),
        "p,'=cmd(),usd,-4,,2,10,0,3",
        "q,,,,,2,10,0,3",
    ]


def test_csv_keeps_line_items_and_models_apart():
    use = {"input_tokens": 10, "output_tokens": 3, "num_model_requests": 2}
    costs_by = section([cost("4", line_item="gpt-5")])
    shown = report_of(
        "line_item",
        costs=section([cost("4")]),
        costs_by=costs_by,
        usage={"completions": section([UsageCompletionsResult(**use, model="gpt-5")])},
    )
    assert report_as_csv(shown, View()).decode().splitlines()[1:] == [
        "gpt-5,,usd,4,,,,,",
        "gpt-5,,,,,2,10,0,3",
    ]
