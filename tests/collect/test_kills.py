"""Runs that are killed: a store holds whole snapshots, and after the next run what it should.

`tests/killing.py` says what a run does here; as a command it kills at random times.
"""

from itertools import pairwise

import pytest
from killing import killed, undisturbed

TABLE = "completions_by_project_model_1h"


def test_the_scenario_has_everything_that_may_go_wrong():
    after, _ = undisturbed()
    last = after[-1]
    assert len(after) > 8
    assert len(last["revisions"]) > 20
    assert {"old_figures" in row for row in last["revisions"]} == {True, False}
    assert {"new_figures" in row for row in last["revisions"]} == {True, False}
    assert len(last["other"]) > 1
    assert sum(one["rows"] != other["rows"] for one, other in pairwise(after)) > 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [
        ("after ATTACH", 0, 1),  # the database is made beside the file
        ("before ATTACH", 0, 2),  # it has its name
        (f"after CREATE TABLE {TABLE}", 0, 0),
        (f"after DELETE FROM {TABLE}", 2, 1),
        (f"after INSERT INTO {TABLE}", 2, 1),
        ("before commit", 2, 2),
        ("after commit", 2, 2),
        ("before DETACH", 2, 2),
    ],
    ids=lambda at: at[0].replace(f" {TABLE}", ""),
)
def test_a_run_over_duckdb_may_be_killed(new_duckdb_shelf, at):
    assert killed("duckdb", new_duckdb_shelf(), at=at)[0].startswith(at[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [
        ("after INSERT INTO usage_layout", 0, 0),
        (f"after CREATE TABLE {TABLE}", 0, 0),
        ("after adbc_ingest", 2, 1),
        (f"after DELETE FROM {TABLE}", 2, 1),
        ("after UPDATE usage_feeds SET", 2, 1),
        ("before COMMIT", 2, 3),
        ("after COMMIT", 2, 3),
    ],
    ids=lambda at: at[0].replace(f" {TABLE}", ""),
)
def test_a_run_over_postgresql_may_be_killed(new_postgresql_shelf, at):
    assert killed("postgresql", new_postgresql_shelf(), at=at)[0].startswith(at[0])
