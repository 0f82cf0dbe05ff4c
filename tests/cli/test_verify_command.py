from usage_async._proof import Verification
from usage_async.cli._verify_command import _lines
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


def test_many_are_counted():
    found = Verification(checked=(), unsettled=(), missing=(), differing=tuple(range(12)))
    assert _lines(found)[-2] == "differing: and 2 more"
