import pytest


@pytest.mark.parametrize("by", ["project", "user", "api-key", "line-item", "model"])
@pytest.mark.parametrize("columns", [60, 80, 160])
def test_a_report_fits_the_terminal_whatever_it_is_split_by(cli, by, columns):
    ran = cli("report", "--demo", "--by", by, columns=columns)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= columns
    assert "2026-10-01 to 2026-11-01 UTC" in ran.out
    assert "Total spend" in ran.out
    assert "Spend by " in ran.out
    assert "requests in " in ran.out


def test_no_colour_code_goes_into_a_pipe(cli):
    assert "\x1b" not in cli("report", "--demo").out


def test_a_split_by_model_says_that_it_is_derived_and_has_a_residual(cli):
    out = cli("report", "--demo", "--by", "model").out
    assert "derived from line items" in out
    assert "(no model in the line item)" in out


def test_without_a_key_one_line_says_what_to_set_and_that_there_is_a_demo(cli):
    ran = cli("report")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "OPENAI_ADMIN_KEY" in ran.err
    assert "--demo" in ran.err


@pytest.mark.parametrize(
    ("arguments", "period"),
    [
        (["--period", "2026-09"], "2026-09-01 to 2026-10-01 UTC"),
        (["--period", "this-month"], "2026-11-01 to 2026-11-22 12:00 UTC (still running)"),
        (["--days", "30"], "2026-10-24 to 2026-11-22 12:00 UTC (still running)"),
        (["--start", "2026-10-05", "--end", "2026-10-07"], "2026-10-05 to 2026-10-07 UTC"),
        (["--start", "2026-11-20"], "2026-11-20 to 2026-11-22 12:00 UTC (still running)"),
    ],
)
def test_the_period_is_as_asked_for(cli, arguments, period):
    assert period in cli("report", "--demo", *arguments).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--period", "2026-09", "--days", "3"], "--period and --days contradict"),
        (["--days", "3", "--end", "2026-10-01"], "--days and --start and --end contradict"),
        (["--days", "0"], "at least 1"),
        (["--end", "2026-10-01"], "--end needs --start"),
        (["--period", "yesteryear"], 'period takes "2026-10"'),
        (["--start", "2027-01-01"], "is in the future"),
        (["--by", "planet"], "planet"),
        (["--byy", "project"], "--by"),
        (["--base-url", "https://example.com"], "leave --base-url"),
    ],
)
def test_a_wrong_command_ends_with_one_line_and_code_2(cli, arguments, says):
    ran = cli("report", "--demo", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err
