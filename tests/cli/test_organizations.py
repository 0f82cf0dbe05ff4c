"""`--organizations`: several organizations in one report, sum or file."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from itertools import count

import duckdb
import openpyxl
import polars as pl
import pytest

from usage_async import Runtime
from usage_async._cli.dispatch import run_command
from usage_async.emulator import Emulator, Faults, Organization, Quirks, running
from usage_async.report.amounts import total

from .conftest import NOW

LABS = [Organization(seed, name=name) for seed, name in ((1, "Acme Labs"), (2, "Globex Inc"))]
_MONDAY = 1_791_158_400  # 2026-10-05
WEEK = ("--period", "2026-W41")


@pytest.fixture
def organizations(bare, tmp_path) -> Iterator:
    """Run organizations, and write the file that names them."""
    with ExitStack() as stack:

        def start(*emulators: Emulator, wrong: tuple[str, ...] = ()):
            lines = []
            for number, emulator in enumerate(emulators):
                server = stack.enter_context(running(emulator))
                bare.setenv(f"KEY_{number}", server.admin_key)
                lines += _entry(f"lab-{number}", f"KEY_{number}", server.url)
            for name in wrong:
                lines += _entry(name, f"KEY_{name.upper()}", server.url)
            file = tmp_path / "organizations.toml"
            file.write_text("\n".join(lines))
            return file

        yield start


def _entry(name, variable, url):
    return [
        "[[organizations]]",
        f'name = "{name}"',
        f'key_variable = "{variable}"',
        f'base_url = "{url}"',
    ]


def emulated(lab=0, **options):
    return Emulator(LABS[lab], now=lambda: NOW, **options)


@pytest.fixture
def two(organizations, bare):
    """Two organizations, one whose key is refused, and one whose key is not set."""
    bare.setenv("KEY_REFUSED", "sk-admin-of-nobody-at-all")
    return organizations(emulated(0), emulated(1), wrong=("refused", "unset"))


@pytest.fixture
def whole(organizations):
    """Two organizations that answer."""
    return organizations(emulated(0), emulated(1))


def test_a_report_has_a_table_of_all_and_a_section_for_each(cli, two):
    ran = cli("report", "--organizations", two, *WEEK, "--by", "project,model", columns=120)
    assert ran.code == 1
    head, *sections = ran.out.split("======== ")
    assert head.startswith("4 organizations\n2026-10-05 to 2026-10-12 UTC\n")
    assert "incomplete: without refused, unset" in head
    assert "refused  refused: 401: " in head
    assert "unset  failed: KEY_UNSET, the variable of the key, is not set" in head
    assert [section.split()[0] for section in sections] == ["lab-0", "lab-1", "refused", "unset"]
    assert "Acme Labs" in sections[0]
    assert "Globex Inc" in sections[1]
    assert "Spend by project and model" in sections[1]
    assert ran.out.count("requests in ") == 1
    assert (ran.err, ran.out.count("sk-admin-of")) == ("", 0)


def test_a_whole_report_of_all_ends_with_code_0_and_its_sums_are_those_of_each(cli, whole):
    ran = cli("report", "--organizations", whole, *WEEK, "--compare", "--format", "json")
    value = json.loads(ran.out)
    assert (ran.code, ran.err, value["refused"], value["failed"]) == (0, "", [], [])
    spends = [each["spend"][0] for each in value["organizations"]]
    (of_all,) = value["totals"]
    assert of_all["currency"] == "usd"
    for name in ("amount", "amount_before"):
        assert total(Decimal(spend[name]) for spend in spends) == Decimal(of_all[name])
    summed = cli("total", "costs", "--organizations", whole, *WEEK, "--format", "json")
    assert summed.code == 0
    assert json.loads(summed.out)["totals"][0]["amount"]["value"] == of_all["amount"]


@pytest.mark.slow
def test_files_have_a_column_of_organizations_and_the_same_sums(cli, two, tmp_path):
    files = [tmp_path / name for name in ("all.csv", "all.xlsx", "all.json")]
    for file in files:
        ran = cli("report", "--organizations", two, *WEEK, "-o", file)
        assert (ran.code, ran.out) == (1, "")
        assert ("note: refused: refused: 401" in ran.err) is (file.suffix == ".csv")
    (of_all,) = json.loads(files[2].read_text())["totals"]
    read = duckdb.read_csv(str(files[0]), all_varchar=True)
    assert read.columns[0] == "organization"
    amounts = read.project("organization, amount").fetchall()
    assert {name for name, _ in amounts} == {"lab-0", "lab-1"}
    assert total(Decimal(amount) for _, amount in amounts) == Decimal(of_all["amount"])
    header, *rows = openpyxl.load_workbook(files[1])["Groups"].iter_rows(values_only=True)
    at = header.index("exact spend")
    assert total(Decimal(row[at]) for row in rows) == Decimal(of_all["amount"])


@pytest.mark.parametrize("form", ["table", "csv"])
def test_total_adds_all_up_and_shows_each(cli, two, form):
    ran = cli(
        "total",
        "costs",
        "--organizations",
        two,
        "--period",
        "2d",
        "--by",
        "project",
        *(["--format", form]),
    )
    assert ran.code == 1
    assert (
        "note: costs: lab-1: figures from 2026-11-20T00:00:00Z on may still be revised" in ran.err
    )
    assert "names were not read" not in ran.err
    if form == "table":
        assert "By organization" in ran.out
        assert "refused  refused: 401" in ran.out
        assert "note: refused" not in ran.err
        return
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert {row["organization"] for row in rows} == {"lab-0", "lab-1"}
    assert all(row["project_name"] for row in rows)
    assert "note: refused: refused: 401" in ran.err
    asked = ("total", "costs", "--organizations", two, "--period", "2d", "--by", "project")
    assert "project_name" not in cli(*asked, "--format", "csv", "--no-names").out


@pytest.mark.slow
def test_focus_holds_the_charges_of_all_in_the_order_of_the_file(cli, two, tmp_path):
    file = tmp_path / "all.parquet"
    ran = cli("total", "costs", "--organizations", two, *WEEK, "--focus", "-o", file)
    assert (ran.code, ran.out) == (1, "")
    assert "note: refused: refused: 401" in ran.err
    read = pl.read_parquet(file)
    assert read["BillingAccountName"].unique(maintain_order=True).to_list() == [
        lab.name for lab in LABS
    ]
    summed = cli("total", "costs", "--organizations", two, *WEEK, "--format", "json")
    billed = Decimal(json.loads(summed.out)["totals"][0]["amount"]["value"])
    assert total(read["BilledCost"].to_list()) == billed


def test_charges_that_do_not_fit_name_their_organization_and_leave_the_old_file(
    cli, organizations, tmp_path
):
    file = organizations(emulated(0), emulated(1, quirks=Quirks(other_kinds=True)))
    old = tmp_path / "focus.csv"
    old.write_text("old")
    ran = cli("total", "costs", "--organizations", file, *WEEK, "--focus", "-o", old)
    assert (ran.code, ran.out, old.read_text()) == (1, "", "old")
    assert "usage-async: lab-1: the bucket that starts at 2026-10-05" in ran.err


def test_more_organizations_than_are_asked_at_once_come_in_the_order_of_the_file(
    cli, organizations, bare, monkeypatch
):
    monkeypatch.setattr("usage_async.collect.run.AT_ONCE", 2)
    file = organizations(
        *(Emulator(Organization(0, name=f"lab {n}"), now=lambda: NOW) for n in range(5))
    )
    ran = cli("total", "costs", "--organizations", file, "--period", "2026-10-05", "--focus")
    rows = csv.DictReader(io.StringIO(ran.out))
    names = dict.fromkeys(row["BillingAccountName"] for row in rows)
    assert (ran.code, ran.err, [*names]) == (0, "", [f"lab {n}" for n in range(5)])


def test_all_are_asked_about_the_same_range_whenever_their_turn_comes(whole, capsys):
    hours = count(NOW - 86400, 3600)
    tokens = ["total", "costs", "--organizations", str(whole), "--period", "2d", "--format", "json"]
    assert run_command(tokens, runtime=Runtime(now=lambda: next(hours))) == 0
    one, two = json.loads(capsys.readouterr().out)["organizations"]
    assert one["requested"] == two["requested"]


def test_notices_name_their_organization(cli, organizations):
    file = organizations(
        emulated(0, quirks=Quirks(unknown_fields=True)),
        emulated(1, quirks=Quirks(missing_starts=(_MONDAY,))),
    )
    value = json.loads(cli("report", "--organizations", file, *WEEK, "--format", "json").out)
    odd, lossy = value["organizations"]
    assert "does not know" in " ".join(odd["notices"])
    assert "does not know" not in " ".join(lossy["notices"])
    ran = cli("report", "--organizations", file, *WEEK, "--format", "csv")
    assert ran.code == 1
    assert "note: lab-1: spend: 1 day was not sent" in ran.err
    assert "note: lab-1: completions, " in ran.err
    assert "bucket was not sent" not in ran.err
    ran = cli("total", "costs", "--organizations", file, *WEEK)
    assert ran.code == 1
    assert "note: lab-1: costs: 1 bucket was not sent" in ran.err
    ran = cli("total", "costs", "--organizations", file, *WEEK, "--focus")
    assert ran.code == 1


def test_where_no_organization_answers_there_is_one_line_and_the_old_file(
    cli, organizations, bare, tmp_path
):
    bare.setenv("KEY_REFUSED", "sk-admin-of-nobody-at-all")
    file = organizations(emulated(faults=Faults(script=("forbidden",) * 50)), wrong=("refused",))
    for asked in (
        ["report", *WEEK],
        ["total", "costs", *WEEK],
        ["total", "costs", *WEEK, "--focus"],
    ):
        old = tmp_path / "old.csv"
        old.write_text("old")
        ran = cli(*asked, "--organizations", file, "-o", old)
        assert (ran.code, ran.out, ran.err.count("\n"), old.read_text()) == (1, "", 1, "old")
        assert "no organization answered; lab-0: refused: 403" in ran.err
        assert "; refused: refused: 40" in ran.err


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["report", "--demo"], "leave --demo out"),
        (["report", "--by", "planet"], "--by takes"),
        (["total", "costs", *WEEK, "--page", "page_x", "--limit", "0"], "limit"),
    ],
)
def test_a_wrong_question_is_no_answer_of_an_organization(cli, whole, asked, says):
    ran = cli(*asked, "--organizations", whole)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


def test_a_file_that_cannot_be_used_is_one_line(cli, tmp_path):
    ran = cli("report", "--organizations", tmp_path / "none.toml")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "none.toml" in ran.err


def test_names_are_kept_for_each_key(cli, whole, bare, tmp_path):
    bare.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = ("report", "--organizations", whole, "--by", "api-key", "--period", "2026-10-05")
    named = cli(*asked).out
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 2
    assert "production  key_" in named
    assert "production  key_" not in cli(*asked, "--no-names").out
