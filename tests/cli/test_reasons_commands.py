"""The commands `explain`, `reconcile` and `budget`: what they print, write, and exit with."""

import json
from decimal import Decimal

import pytest

from usage_async._cli.exit_codes import code_of_budget
from usage_async.emulator import Emulator, Quirks
from usage_async.report.monthly import month_spec

from .conftest import NOW


def value(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def decimals(parts):
    return sum(map(Decimal, parts.values()))


def test_explain_tells_the_change_in_sentences_and_tables(cli):
    ran = cli("explain", "--demo", "--period", "2026-10")
    assert ran.code == 0
    assert "2026-10-01 to 2026-11-01 UTC\nagainst 2026-09-01 to 2026-10-01\n" in ran.out
    told = " ".join(ran.out.split())
    for event in (
        "gpt-image-1, images costs 50.0% more from 2026-10-12 on ($0.042 per image to $0.063",
        "The API key backfill of Data pipeline spent",
        "above the usual on 2026-10-16 to 2026-10-18",
        "gpt-5.2-nano-2026-10-01 is new with $101.12, and gpt-5.2-nano-2026-09-01 is gone with",
    ):
        assert event in told
    lines = ran.out.splitlines()
    assert 1 < sum(line.startswith("- ") for line in lines) <= 6
    for title in ("By model", "By project", "By line item and project", "Notices"):
        assert title in lines
    assert "31 days are compared with 30 days" in ran.out


def test_explain_in_json_has_parts_that_add_up(cli):
    found = value(cli("explain", "--demo", "--format", "json", "--against", "2026-08"))
    (bill,) = found["bills"]
    change = Decimal(bill["amount"]) - Decimal(bill["amount_before"])
    assert decimals(bill["effects"]) == Decimal(bill["change"]) == change
    for groups in ("models", "projects", "lines"):
        assert sum(decimals(each["effects"]) for each in bill[groups]) == change
    assert 0 < len(bill["sentences"]) <= 5
    assert {key["api_key_name"] for key in bill["api_keys"]} >= {"evaluation"}
    assert found["compared_with"]["start_time"] == 1_785_542_400
    assert (found["invoice"], found["refused"], found["failed"], found["missing"]) == (
        None,
        [],
        [],
        [],
    )


def test_explain_shows_the_gap_to_an_invoice(cli):
    found = value(cli("explain", "--demo", "--invoice", "$6000 USD", "--format", "json"))["invoice"]
    assert Decimal(found["invoice"]) - Decimal(found["amount"]) == Decimal(found["gap"])
    assert found["possibilities"][0]["cause"] == "rounding"


def test_explain_without_names_shows_ids_and_writes_a_file(cli, tmp_path):
    file = tmp_path / "why.json"
    assert cli("explain", "--demo", "--no-names", "-o", file).code == 0
    (bill,) = json.loads(file.read_text())["bills"]
    assert {key["api_key_name"] for key in bill["api_keys"]} == {None}


@pytest.mark.parametrize(
    ("tokens", "wrong"),
    [
        (["explain", "--invoice", "5,597.60"], "--invoice takes an amount such as 6000"),
        (["explain", "--invoice", "5 eur"], "nothing is billed in eur, but in usd"),
        (["explain", "--top", "-1"], "--top takes 0 or more"),
        (["reconcile", "--top", "-1"], "--top takes 0 or more"),
        (["explain", "--against", "soon"], "against 'soon': period takes"),
        (["budget"], "the budget is missing: add --monthly 6000"),
        (["report", "--budget", "much"], "--budget takes an amount"),
        (["report", "--budget", "1", "--period", "7d"], "period takes a month beside a budget"),
        (["report", "--budget", "1", "--organizations", "x.toml"], "--budget is of one organ"),
        (["report", "--strict"], "--strict is of a budget: add --budget 6000"),
        (["budget", "--monthly", "1", "--quiet", "-o", "x.json"], "--quiet writes nothing: leave"),
        (["budget", "--monthly", "much"], "--monthly takes an amount"),
        (["budget", "--monthly", "1", "--period", "7d"], "period takes a month beside a budget"),
    ],
)
def test_wrong_arguments_are_one_line(cli, tokens, wrong):
    ran = cli(*tokens, "--demo")
    assert (ran.code, ran.out) == (2, "")
    assert wrong in ran.err
    assert ran.err.count("\n") == 1


def test_missing_days_change_the_exit_code_and_are_told(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(missing_buckets=9)))
    for command in ("explain", "reconcile"):
        ran = cli(command)
        assert ran.code == 1
        assert "days were not sent, the first is" in " ".join(ran.out.split())
    ran = cli("budget", "--monthly", "9000")
    assert ran.code == 1
    assert "the spend lacks them" in " ".join(ran.out.split())


def test_keys_that_are_refused_are_told_and_change_no_exit_code(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(api_key_floor=NOW)))
    found = value(cli("explain", "--format", "json"))
    assert found["refused"][0]["section"] == "spend by API key"


def test_reconcile_finds_that_the_emulator_bills_what_it_reports(cli):
    found = value(cli("reconcile", "--demo", "--period", "2026-10-05", "--format", "json"))
    assert {each["days_that_differ"] for each in found["line_items"]} == {0}
    assert [each["line_item"] for each in found["only_billed"]] == ["file search storage"]
    assert found["only_reported"] == []
    assert found["pairs"][0]["amounts"][0]["currency"] == "usd"


@pytest.mark.parametrize(
    ("verdict", "strict", "code"),
    [
        ("within", False, 0),
        ("within", True, 0),
        ("projected over", False, 0),
        ("projected over", True, 6),
        ("over", False, 5),
        ("over", True, 5),
    ],
)
def test_a_verdict_has_an_exit_code(verdict, strict, code):
    assert code_of_budget(verdict, strict=strict) == code


def test_quiet_tells_by_the_exit_code_alone(cli):
    ran = cli("budget", "--demo", "--quiet", "--by", "project", "--monthly", "5000", "--strict")
    assert (ran.code, ran.out, ran.err) == (6, "", "")


def test_a_budget_has_groups_with_names_and_spend_limits(cli):
    ran = cli("budget", "--demo", "--monthly", "1000", "--by", "project", columns=100)
    assert ran.code == 5
    assert "Spend limit  $7,000.00  a month, enforcing" in ran.out
    assert "spend limit" in ran.out.partition("By group")[2]
    found = value(
        cli("budget", "--demo", "--monthly", "6500", "--by", "api-key", "--format", "json")
    )
    assert "evaluation" in {each["name"] for each in found["groups"]}
    assert {each["spend_limit"] for each in found["groups"]} == {None}
    assert found["budgets"][0]["spend_limit"]["amount"] == "7000"
    assert found["budgets"][0]["verdict"] == "within"


def test_limits_that_the_key_may_not_read_are_told(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(refuse_names=True)))
    ran = cli("budget", "--monthly", "9000")
    assert ran.code == 0
    assert "the spend limit of the organization was not read" in ran.out


def test_a_report_shows_the_budget_of_its_month(cli):
    ran = cli("report", "--demo", "--period", "this-month", "--budget", "6000", "--strict")
    assert ran.code == 6
    assert "Budget       $6,000.00  projected over\n" in ran.out
    _, alone, _ = cli("budget", "--demo", "--monthly", "6000").out.split("\n\n", 2)
    assert "Spend limit" in alone
    assert f"\n\n{alone}\n\n" in ran.out
    found = json.loads(cli("report", "--demo", "--budget", "7000", "--format", "json").out)
    assert found["budget"]["verdict"] == "within"
    assert found["budget"]["spent"] == found["spend"][0]["amount"]
    ran = cli("report", "--demo", "--budget", "1", "--format", "csv")
    assert ran.code == 5
    assert "note: budget $1.00: over; over by $6,014.53" in ran.err


def test_a_spend_that_is_not_known_has_no_budget(cli, serving):
    begin = month_spec(NOW).period.start_time
    starts = tuple(range(begin, NOW, 86400))
    serving(Emulator(now=lambda: NOW, quirks=Quirks(missing_starts=starts)))
    ran = cli("report", "--budget", "6000", "--period", "this-month")
    assert ran.code == 1
    assert "budget: not compared, the spend is unknown" in ran.out
    assert "within" not in ran.out


def test_a_budget_in_a_currency_that_is_not_billed_fails_for_cron_as_well(cli):
    assert cli("budget", "--demo", "--quiet", "--monthly", "6000 eur").code == 1
    assert cli("budget", "--demo", "--quiet", "--monthly", "9000 usd").code == 0


def test_days_before_the_history_change_the_exit_code_of_a_budget(cli):
    ran = cli("budget", "--demo", "--monthly", "6000", "--period", "2025-11")
    assert ran.code == 1
    assert "21 days were not sent, the first is 2025-11-01" in " ".join(ran.out.split())


def test_a_budget_in_a_currency_that_is_not_billed_is_not_spent(cli):
    ran = cli("report", "--demo", "--budget", "9 eur", "--format", "json")
    found = json.loads(ran.out)
    assert (found["budget"]["currency"], found["budget"]["spent"]) == ("eur", "0")
    told = "nothing is billed in eur, but in usd: no spend can reach it"
    assert (ran.code, found["notices"][0]) == (1, f"budget: {told}")
    ran = cli("budget", "--demo", "--monthly", "9 EUR", "--quiet")
    assert (ran.code, ran.out, ran.err) == (1, "", f"usage-async: note: {told}\n")
    ran = cli("budget", "--demo", "--monthly", "9 eur", "--format", "json")
    assert (ran.code, json.loads(ran.out)["notices"][-1]) == (1, told)
