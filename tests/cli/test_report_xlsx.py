"""`usage-async report -o october.xlsx`: a workbook from the command to the reader."""

import csv
import io
import json
import sys
from decimal import Decimal

import duckdb
import openpyxl
import pytest

from usage_async.emulator import Emulator, Organization
from usage_async.report.amounts import total

from .conftest import NOW

ORGANIZATION = Organization()


def test_every_file_of_a_report_adds_up_to_its_spend(cli, serving, tmp_path):
    serving(Emulator(ORGANIZATION, now=lambda: NOW))
    book, texts = tmp_path / "OCTOBER.XLSX", tmp_path / "october.csv"
    for file in (book, texts):
        ran = cli("report", "-o", file)
        assert (ran.code, ran.out, ran.err) == (0, "", "")
    (spend,) = json.loads(cli("report", "--format", "json").out)["spend"]
    sheets = openpyxl.load_workbook(book)
    for name in ("Days", "Groups"):
        header, *rows = sheets[name].iter_rows(values_only=True)
        at = header.index("exact spend")
        assert total(Decimal(row[at]) for row in rows) == Decimal(spend["amount"])
    read = duckdb.read_csv(str(texts), all_varchar=True).project("amount, name").fetchall()
    assert total(Decimal(amount) for amount, _ in read) == Decimal(spend["amount"])
    header, *rows = sheets["Groups"].iter_rows(values_only=True)
    assert [name for _, name in read] == [row[header.index("name")] for row in rows]
    again = tmp_path / "again.xlsx"
    assert cli("report", "-o", again).code == 0
    assert again.read_bytes() == book.read_bytes()


def test_a_workbook_is_not_written_onto_a_terminal(cli, serving):
    server = serving(Emulator(ORGANIZATION, now=lambda: NOW))
    ran = cli("report", "--format", "xlsx", tty=True)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "xlsx is not for a terminal: name a file with -o, or write to a pipe" in ran.err
    assert not server.requests


def test_a_text_is_never_written_into_a_file_that_is_taken_for_a_workbook(cli, tmp_path):
    file = tmp_path / "total.xlsx"
    ran = cli("total", "costs", "--demo", "--period", "7d", "--format", "csv", "-o", file)
    assert (ran.code, ran.err.count("\n"), file.exists()) == (2, 1, False)
    assert ".xlsx files cannot be written; known endings are .json, .csv" in ran.err


def test_without_its_extra_it_says_what_to_install_before_any_request(cli, serving, bare, tmp_path):
    server = serving(Emulator(ORGANIZATION, now=lambda: NOW))
    bare.setitem(sys.modules, "xlsxwriter", None)
    bare.delitem(sys.modules, "usage_async.report.xlsx", raising=False)
    file = tmp_path / "october.xlsx"
    file.write_text("old")
    ran = cli("report", "-o", file)
    assert (ran.code, ran.out, file.read_text()) == (2, "", "old")
    expected = "xlsx needs xlsxwriter: pip install 'usage-async[report]'"
    assert ran.err == f"usage-async: {expected}\n"
    assert not server.requests
    rows = list(csv.DictReader(io.StringIO(cli("report", "--format", "csv").out)))
    assert rows


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device")])
def test_on_a_full_disk_the_old_file_is_intact(cli, bare, tmp_path, failure):
    file = tmp_path / "october.xlsx"
    file.write_text("old")

    def full(_):
        raise failure

    bare.setattr("os.fsync", full)
    ran = cli("report", "--demo", "-o", file)
    assert (ran.code, ran.err) == (1, "usage-async: No space left on device\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
