"""Tables of SQL stores: their columns and views, and the way from one layout to the next."""

import re

import attrs
import pytest
from collecting import (
    COMPLETIONS,
    COSTS,
    DAY,
    HOUR,
    ORGANIZATION,
    START,
    cost,
    put,
    usage,
)

from usage_async import ENDPOINTS, arrow_schema
from usage_async._codec.tables import table_of_texts
from usage_async.collect import Feed
from usage_async.collect.sql.duckdb import DuckDB
from usage_async.collect.sql.layout import LAYOUT, Layout, _view, listed, quoted, statements
from usage_async.collect.sql.postgresql import PostgreSQL
from usage_async.errors import StoreError

SQL = pytest.mark.parametrize("new_shelf", ["duckdb", "postgresql"], indirect=True)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_columns_of_a_feed_are_those_of_its_arrow_table(name):
    feed = Feed(name, "1d")
    assert [*DuckDB.dialect.columns(feed)] == arrow_schema(name, exact=True).names
    assert [*PostgreSQL.dialect.columns(feed)] == arrow_schema(name).names


@pytest.mark.parametrize("dialect", [DuckDB.dialect, PostgreSQL.dialect], ids=["duckdb", "pg"])
def test_a_table_is_made_once_and_widened_only_where_columns_are_missing(dialect):
    columns = ["organization", *dialect.columns(COSTS)]
    assert statements(COSTS, dialect, columns) == []
    assert statements(COSTS, dialect, [*columns, "later"]) == []
    made = statements(COSTS, dialect, [])
    assert made[0].startswith('CREATE TABLE "costs_by_project_line_item_1d" (organization text')
    more = statements(COSTS, dialect, [each for each in columns if each != "quantity"])
    assert len(more) == 2
    assert re.match('ALTER TABLE .* ADD COLUMN "quantity" ', more[0])
    assert more[1].startswith("CREATE OR REPLACE VIEW")


def test_names_are_quoted():
    assert quoted('a"b') == '"a""b"'
    assert listed(["a", "b"], "t.") == 't."a", t."b"'


def test_a_layout_is_reached_from_every_earlier_one():
    layout = Layout(version=3, tables=lambda: ["made"], steps={1: ["a", "b"], 2: ["c"]})
    set_to = "UPDATE usage_layout SET version = 3"
    assert layout.statements(1) == ["a", "b", "c", set_to]
    assert layout.statements(2) == ["c", set_to]
    assert layout.statements(None) == [
        "made",
        "CREATE TABLE usage_layout (version bigint NOT NULL)",
        "INSERT INTO usage_layout VALUES (3)",
    ]
    assert {*range(1, LAYOUT.version)} == {*LAYOUT.steps}


NEXT = Layout(
    version=LAYOUT.version + 1,
    tables=LAYOUT.tables,
    steps={LAYOUT.version: ["ALTER TABLE usage_runs ADD COLUMN made_up bigint"]},
)


def held(shelf):
    return {row["num_model_requests"] for row in shelf.rows(COMPLETIONS)}


@SQL
@pytest.mark.parametrize("work", ["place", "apply"])
def test_a_store_of_an_earlier_release_is_brought_to_the_present_layout(shelf, work):
    old = shelf.open()
    put(old, [[usage(1)]])
    place = old.place(ORGANIZATION, COMPLETIONS)
    old.close()
    later = shelf.open()
    later.layout = NEXT
    if work == "place":
        assert later.place(ORGANIZATION, COMPLETIONS) == place
    else:
        put(later, [[usage(2)]], start=START + HOUR)
        assert held(shelf) == {1, 2}
    later.close()
    assert [row["version"] for row in shelf.select("SELECT * FROM usage_layout")] == [NEXT.version]
    assert shelf.select("SELECT made_up FROM usage_runs") == []
    # The earlier release, which may still run on another machine, is told.
    old = shelf.open()
    with pytest.raises(StoreError, match="upgrade usage-async"):
        old.place(ORGANIZATION, COMPLETIONS)
    old.close()


@SQL
def test_a_step_that_fails_changes_nothing(shelf):
    old = shelf.open()
    put(old, [[usage(1)]])
    old.close()
    later = shelf.open()
    later.layout = attrs.evolve(NEXT, steps={1: [*NEXT.steps[1], "ALTER TABLE nothing ADD x text"]})
    for _ in range(2):
        with pytest.raises(StoreError, match="nothing"):
            put(later, [[usage(2)]])
    later.close()
    old = shelf.open()
    put(old, [[usage(3)]])
    old.close()
    assert held(shelf) == {3}


@SQL
def test_a_table_that_somebody_else_made_is_refused(shelf):
    backend = shelf.open()
    put(backend, [[usage(1)]], feed=COMPLETIONS)
    shelf.run('CREATE TABLE "mine" (organization text)')
    with pytest.raises(StoreError, match="there is a table mine that this store did not make"):
        put(backend, [[usage(1)]], feed=Feed("completions", "1h", table="mine"))
    assert [state.feed for state in backend.states()] == [COMPLETIONS]
    backend.close()


@SQL
def test_a_feed_that_only_a_later_release_knows_is_told_in_one_line(shelf):
    backend = shelf.open()
    put(backend, [[usage(1)]])
    shelf.run("UPDATE usage_feeds SET endpoint = 'reranks'")
    with pytest.raises(StoreError, match=r"a later release .*'reranks'"):
        backend.states()
    backend.close()


@SQL
def test_a_view_gives_names_and_days_in_utc(shelf):
    backend = shelf.open()
    late = START + 23 * HOUR
    put(backend, [[usage(1, project_id="p"), usage(2, project_id="q"), usage(4)]], start=late)
    put(backend, [[usage(8, project_id="p")]], organization="other")
    names = {"dimension": ["project_id", "user_id"], "id": ["p", "q"], "name": ["Search", "no"]}
    backend.remember(ORGANIZATION, table_of_texts(names), 1)
    backend.close()
    rows = shelf.select('SELECT * FROM "completions_by_project_model_1h_named"')
    found = {
        row["num_model_requests"]: (row["organization"], str(row["day"]), row["project_name"])
        for row in rows
    }
    assert found == {
        1: (ORGANIZATION, "2026-06-01", "Search"),
        2: (ORGANIZATION, "2026-06-01", "q"),
        4: (ORGANIZATION, "2026-06-01", None),
        8: ("other", "2026-06-01", "p"),
    }
    assert len(rows) == 4


@SQL
def test_a_view_of_costs_takes_the_names_that_rows_carry_where_it_knows_no_other(shelf):
    backend = shelf.open()
    feed = Feed("costs", "1d", ("project_id", "user_id", "api_key_id"))
    rows = [
        cost(
            "1", project_id="p", project_name="Old", user_id="u", user_email="a@b", api_key_id="k"
        ),
        cost("2", project_id="q", project_name="Sent", user_id="v"),
        cost("3", project_id="r"),
    ]
    put(backend, [rows], feed=feed)
    dimensions = ["project_id", "user_id", "api_key_id"]
    named = {"dimension": dimensions, "id": ["p", "u", "k"], "name": ["P", "U", "K"]}
    backend.remember(ORGANIZATION, table_of_texts(named), 1)
    backend.close()
    rows = shelf.select(f'SELECT * FROM "{feed.table}_named"')
    found = {
        row["project_id"]: (
            row["project_name"],
            row["user_name"],
            row["user_email"],
            row["api_key_name"],
        )
        for row in rows
    }
    assert found == {
        "p": ("P", "U", "a@b", "K"),
        "q": ("Sent", "v", None, None),
        "r": ("r", None, None, None),
    }


@SQL
def test_a_view_without_names_gives_days(shelf):
    backend = shelf.open()
    feed = Feed("completions", "1d", ("model",))
    put(backend, [[usage(1)], [usage(2)]], feed=feed, start=START - DAY)
    backend.close()
    rows = shelf.select(f'SELECT "day", num_model_requests FROM "{feed.table}_named"')
    assert {(str(row["day"]), row["num_model_requests"]) for row in rows} == {
        ("2026-05-31", 1),
        ("2026-06-01", 2),
    }


@SQL
def test_a_view_has_the_columns_that_were_added_to_its_table(shelf):
    backend = shelf.open()
    put(backend, [[usage(1)]])
    backend.close()
    view = "completions_by_project_model_1h_named"
    shelf.drop_column(COMPLETIONS, "service_tier")
    # The view of the release that lacked the column, and one that a user has built on it.
    shelf.run(_view(COMPLETIONS, backend.dialect, shelf.columns(COMPLETIONS)))
    shelf.run(f'CREATE VIEW mine AS SELECT day FROM "{view}"')
    backend = shelf.open()
    put(backend, [[usage(1, service_tier="flex")]])
    backend.close()
    rows = shelf.select(f'SELECT day, service_tier FROM "{view}"')
    assert [row["service_tier"] for row in rows] == ["flex"]
    assert len(shelf.select("SELECT * FROM mine")) == 1


@SQL
@pytest.mark.parametrize("name", ["order", "user", "select", "a" * 57])
def test_the_table_of_a_feed_may_have_any_name_that_is_allowed(shelf, name):
    backend = shelf.open()
    feed = Feed("completions", "1h", table=name)
    for number in (1, 2):
        put(backend, [[usage(number)], None, [usage(3)]], feed=feed)
    backend.close()
    found = shelf.select(f'SELECT num_model_requests FROM "{name}_named"')
    assert sorted(row["num_model_requests"] for row in found) == [2, 3]


@SQL
def test_revisions_are_read_with_sql(shelf):
    backend = shelf.open()
    put(backend, [[usage(1, model="it's")]])
    put(backend, [[usage(5, model="it's")]], seen_at=START + 3 * HOUR)
    backend.close()
    sql = """
        SELECT dimensions::json ->> 'model' AS model,
               (new_figures::json ->> 'num_model_requests')::bigint
               - (old_figures::json ->> 'num_model_requests')::bigint AS grown,
               extract(epoch FROM seen_at - start_time) AS lag
        FROM usage_revisions
    """
    (row,) = shelf.select(sql)
    assert (row["model"], row["grown"], int(row["lag"])) == ("it's", 4, 3 * HOUR)
