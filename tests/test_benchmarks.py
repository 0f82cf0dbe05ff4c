"""The benchmarks judge what they measured, and name what they could not measure. No timing here."""

import pytest

from benchmarks.data import Dataset
from benchmarks.race import Entry, Failed, Figures, middle, race, ratio
from benchmarks.readme import missing, table
from benchmarks.scenarios import SCENARIOS, Row
from benchmarks.table import document, failure_lines, lines, target_lines
from benchmarks.targets import TARGETS, judge

PAGE = "10 MB page, streamed"
RESULTS, ROWS = "usage_async, results", "usage_async, rows"


def measured(contestant, *cpu_s):
    return Row("rows", PAGE, contestant, [Figures(each, each) for each in cpu_s], None)


def test_a_ratio_is_the_median_of_the_ratios_within_the_rounds():
    ours, theirs = measured("a", 1.0, 2.0, 9.0).outcome, measured("b", 2.0, 2.0, 3.0).outcome
    assert ratio(ours, theirs, "cpu_s") == 1.0
    assert middle(ours, "cpu_s") == 2.0
    assert middle(ours, "stall_s") is None
    assert ratio(ours, Failed("gone"), "cpu_s") is None


@pytest.mark.parametrize(("cpu_s", "met"), [(2.0, True), (2.1, False)])
def test_a_target_is_met_up_to_its_bound(cpu_s, met):
    (verdict,) = judge([measured(RESULTS, 1.0), measured(ROWS, cpu_s)])
    assert (verdict.found, verdict.met) == (cpu_s, met)


def test_a_target_that_was_not_measured_is_absent():
    gone = Row("rows", PAGE, ROWS, Failed("AttributeError: no rows"), None)
    rows = [measured(RESULTS, 1.0), gone]
    (verdict,) = judge(rows)
    assert verdict.met is None
    assert next(target_lines([verdict])).startswith("ABSENT")
    assert list(failure_lines(rows)) == [f"FAILED  {PAGE}: {ROWS}: AttributeError: no rows"]
    assert len(list(lines(rows))) == 4


def test_every_target_belongs_to_a_scenario():
    assert {target.scenario for target in TARGETS} <= set(SCENARIOS)


def test_a_contestant_that_fails_is_reported_and_the_others_go_on():
    page = (Dataset(page_buckets=1),)
    good, bad = race([Entry("json", page), Entry("nobody", page)], rounds=2)
    assert len(good) == 2
    assert bad == Failed("KeyError: 'nobody'")


def test_the_readmes_table_has_a_cell_for_every_column():
    head, empty, *rest = table(document([measured(ROWS, 1.0)], []) | ABOUT)
    assert "CPython 3.11.7; aiohttp 3.14.5" in head
    assert not empty
    assert len({line.count("|") for line in rest}) == 1


def test_the_readmes_table_is_not_written_from_a_part_of_a_run():
    lacking = missing(document([Row("import", "import", "aiohttp", [Figures(1, 1)], None)], []))
    assert "import: openai, its client" in lacking
    assert "import: aiohttp" not in lacking


ABOUT = {
    "date": "2026-11-21T12:00:00+00:00",
    "quick": False,
    "machine": {"cores": 2, "load": 0.1},
    "versions": {"python": "3.11.7", "usage-async": "0.1.0", "aiohttp": "3.14.5"},
}
