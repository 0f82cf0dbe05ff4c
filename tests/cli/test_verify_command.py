import pytest

from usage_async._cli.commands.verify import _lines
from usage_async._sums.verification import Verification
from usage_async.emulator import Emulator, Quirks

from .conftest import NOW

ASKED = ("verify", "costs", "--period", "2026-10", "--by", "project_id")


def test_whole_figures_are_proven(cli):
    ran = cli(*ASKED, "--demo")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("checked        31  ")
    assert ran.out.endswith("\nwhole\n")


def test_a_missing_bucket_is_named_and_the_code_is_1(cli, serving):
    serving(Emulator(now=lambda: NOW, quirks=Quirks(missing_buckets=7)))
    ran = cli(*ASKED)
    assert ran.code == 1
    assert "missing: the bucket of 2026-10-" in ran.out
    assert ran.out.endswith("\nNOT whole\n")
    assert ran.err.startswith("usage-async: note: ")


def test_what_was_compared_is_told(cli):
    assert "came once; the groups by project_id add up to the whole" in cli(*ASKED, "--demo").out
    ran = cli("verify", "costs", "--period", "2026-10", "--demo")
    assert (ran.code, "add up to the whole" in ran.out) == (0, False)
    assert "no groups compared" in ran.out


@pytest.mark.parametrize("by", [[], ["--by", "project"]])
def test_nothing_that_has_settled_is_nothing_proven(cli, by):
    ran = cli("verify", "costs", "--period", "today", *by, "--demo")
    assert ran.code == 1
    assert ran.out.startswith("checked         0  ")
    assert ran.out.endswith("\nNOT proven: no bucket was checked\n")


def test_many_are_counted():
    found = Verification(checked=(), unsettled=(), missing=(), differing=tuple(range(12)))
    assert _lines(found)[-2] == "differing: and 2 more"
