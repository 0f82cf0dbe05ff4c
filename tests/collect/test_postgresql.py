"""PostgreSQL: a server that refuses, stops and starts again, and what no message shows."""

import asyncio
import logging
import sys
import threading
import traceback
from urllib.parse import quote

import pytest
from adbc_driver_postgresql import dbapi
from collecting import (
    COMPLETIONS,
    COSTS,
    HOUR,
    ORGANIZATION,
    START,
    PostgresServer,
    cost,
    postgresql_at,
    put,
    rows_of,
    snapshot,
    usage,
)

from usage_async.collect import Place, open_store
from usage_async.collect.sql import postgresql as module
from usage_async.collect.sql.postgresql import PostgreSQL
from usage_async.errors import ConfigurationError, StoreError, StoreMovedError

PASSWORD = "canary-0123456789-AbCdEfGh"


@pytest.fixture
def shelf(new_postgresql_shelf):
    return new_postgresql_shelf()


@pytest.fixture
def backend(shelf):
    opened = shelf.open()
    yield opened
    opened.close()


def figures(shelf):
    return sorted(row["num_model_requests"] for row in shelf.rows(COMPLETIONS))


def test_money_is_one_column_with_all_digits(shelf, backend):
    given = snapshot(Place(), [[cost("0." + "1" * 40), cost("1.50", "eur")]], feed=COSTS)
    backend.apply(given, 0)
    assert shelf.rows(COSTS) == rows_of(given)
    assert not [name for name in shelf.columns(COSTS) if name.endswith("_exact")]
    sql = f"SELECT sum(amount)::text AS sum FROM {COSTS.table} WHERE currency = 'usd'"
    assert shelf.select(sql) == [{"sum": "0." + "1" * 40}]


@pytest.mark.parametrize("place", ["environment", "role", "URL", "options"])
def test_texts_are_whole_under_any_client_encoding(shelf, monkeypatch, place):
    url = shelf.url
    if place == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif place == "role":
        shelf.run("ALTER ROLE postgres SET client_encoding = 'WIN1252'")
    elif place == "URL":
        url += "&client_encoding=EUC_JP"
    else:
        url += "%20-cclient_encoding%3DLATIN1"
    text = "ä€𝕏ÿ"
    backend = postgresql_at(url)
    try:
        put(backend, [[usage(1, model=text)]])
    finally:
        backend.close()
        if place == "role":
            shelf.run("ALTER ROLE postgres RESET client_encoding")
    assert [row["model"] for row in shelf.rows(COMPLETIONS)] == [text]


def test_a_table_of_many_rows_is_copied(shelf, backend):
    rows = [
        usage(number, model=f"m{number % 7}", project_id=f"p{number}") for number in range(5000)
    ]
    for _ in range(2):
        assert put(backend, [rows, [usage(1)]]).rows == 5001
    assert len(shelf.rows(COMPLETIONS)) == 5001


def test_one_connection_serves_all_transactions(backend):
    put(backend, [[usage(1)]])
    connection = backend._connection
    put(backend, [[usage(2)]])
    backend.states()
    assert backend._connection is connection
    with pytest.raises(StoreMovedError):
        backend.apply(snapshot(Place(), [[usage(3)]]), 0)
    assert backend.place(ORGANIZATION, COMPLETIONS).number == 2
    assert backend._connection is connection


def test_a_connection_that_the_server_has_ended_is_made_again(shelf, backend):
    put(backend, [[usage(1)]])
    shelf.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )
    put(backend, [[usage(2)]])
    assert figures(shelf) == [2]


class Breaking:
    """Session that does something before a statement that begins with a text."""

    def __init__(self, monkeypatch, text, then):
        run = module._Session.run

        def broken(session, sql, *values):
            if sql.startswith(text):
                monkeypatch.setattr(module._Session, "run", run)
                then()
            run(session, sql, *values)

        monkeypatch.setattr(module._Session, "run", broken)


async def test_a_server_that_is_not_reached_is_asked_once_for_all_that_wait(tmp_path, monkeypatch):
    asked = []
    connect = dbapi.connect

    def counted(*args, **options):
        asked.append(args)
        return connect(*args, **options)

    monkeypatch.setattr(dbapi, "connect", counted)
    async with open_store(f"postgresql:///x?host={quote(str(tmp_path), safe='')}") as store:
        wanted = (store.resume_from(f"o{n}", COMPLETIONS) for n in range(100))
        found = await asyncio.gather(*wanted, return_exceptions=True)
    assert len(asked) == 1
    assert {type(error) for error in found} == {StoreError}
    assert len({str(error) for error in found}) == 1


@pytest.mark.parametrize("text", ["CREATE TEMPORARY", "DELETE", "INSERT", "COMMIT"])
def test_a_connection_that_breaks_in_the_middle_changes_nothing(shelf, backend, monkeypatch, text):
    put(backend, [[usage(1)], [usage(2)]])

    def cut():
        shelf.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )

    Breaking(monkeypatch, text, cut)
    with pytest.raises(StoreError) as raised:
        put(backend, [[usage(3)], [usage(4)]])
    assert "\n" not in str(raised.value)
    assert figures(shelf) == [1, 2]
    assert put(backend, [[usage(3)], [usage(4)]]).revised == 2
    assert figures(shelf) == [3, 4]


@pytest.mark.slow
def test_a_server_that_stops_in_the_middle_and_starts_again_has_lost_nothing(monkeypatch):
    with PostgresServer() as server:
        shelf = server.shelf()
        backend = shelf.open()
        put(backend, [[usage(1)], [usage(2)]])
        Breaking(monkeypatch, "INSERT", server.stop)
        with pytest.raises(StoreError) as raised:
            put(backend, [[usage(3)], [usage(4)]])
        assert "\n" not in str(raised.value)
        # While it is down there is one clear line, too.
        with pytest.raises(StoreError, match=r"No such file|refused"):
            backend.place(ORGANIZATION, COMPLETIONS)
        server.start()
        assert figures(shelf) == [1, 2]
        put(backend, [[usage(3)], [usage(4)]])
        assert figures(shelf) == [3, 4]
        backend.close()


def test_two_runs_of_one_feed_wait_for_each_other_and_the_later_one_is_refused(shelf, backend):
    put(backend, [[usage(1)]])
    place = backend.place(ORGANIZATION, COMPLETIONS)
    second, told = shelf.open(), []

    def late():
        with pytest.raises(StoreMovedError) as raised:
            second.apply(snapshot(place, [[usage(7)]]), 0)
        told.append(raised.value)

    thread = threading.Thread(target=late)

    def work(session):
        applied = backend._apply(session, snapshot(place, [[usage(2)]]), 0)
        thread.start()
        sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while shelf.select(sql) == [{"count": 0}]:
            assert thread.is_alive()
        return applied

    backend.transact(work, writes=True)
    thread.join()
    second.close()
    assert len(told) == 1
    assert figures(shelf) == [2]


def test_several_first_runs_at_once_make_one_store(shelf):
    failures = []

    def work(name):
        backend = shelf.open()
        try:
            for number in (1, 2):
                put(backend, [[usage(number)]], organization=name)
        except StoreError as error:
            failures.append(error)
        backend.close()

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert figures(shelf) == [2] * 6


def test_a_run_that_another_one_holds_up_gives_up_after_a_while(shelf, backend, monkeypatch):
    put(backend, [[usage(1)]])
    other = shelf.open()
    place = other.place(ORGANIZATION, COMPLETIONS)
    monkeypatch.setattr(module, "_LIMITS", module._LIMITS.replace("60s", "20ms"))

    def work(session):
        session.rows("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
        backend._apply(session, snapshot(place, [[usage(2)]]), 0)
        with pytest.raises(StoreError, match="lock timeout"):
            other.apply(snapshot(place, [[usage(3)]]), 0)

    backend.transact(work, writes=True)
    other.close()
    assert figures(shelf) == [2]


def test_a_run_whose_machine_has_stopped_frees_its_lock(shelf, backend, monkeypatch):
    put(backend, [[usage(1)]])
    other = shelf.open()
    place = other.place(ORGANIZATION, COMPLETIONS)
    limits = module._LIMITS
    monkeypatch.setattr(module, "_LIMITS", limits.replace("60s", "50ms"))

    def work(session):
        backend._apply(session, snapshot(place, [[usage(2)]]), 0)
        monkeypatch.setattr(module, "_LIMITS", limits)
        # This session is idle, as that of a machine that was suspended, until the server ends it.
        other.apply(snapshot(place, [[usage(3)]]), 0)

    with pytest.raises(StoreError):
        backend.transact(work, writes=True)
    other.close()
    assert figures(shelf) == [3]


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_the_default_isolation_of_a_database_does_not_matter(shelf, level):
    url = shelf.url + f"%20-cdefault_transaction_isolation%3D{level.replace(' ', '%5C%20')}"
    first, second = postgresql_at(url), postgresql_at(url)
    put(first, [[usage(1)]])
    place = second.place(ORGANIZATION, COMPLETIONS)
    put(first, [[usage(2)]])
    with pytest.raises(StoreMovedError):
        second.apply(snapshot(place, [[usage(3)]]), 0)
    first.close()
    second.close()
    assert figures(shelf) == [2]


def test_a_message_that_quotes_a_statement_of_several_lines_is_told_without_it():
    class BrokenError(Exception):
        sqlstate = None

    told = "IO: Failed to execute query 'CREATE TABLE a (\n  b int)': the server is gone\n\tor so"
    failure = PostgreSQL({})._failed(BrokenError(told))
    assert str(failure) == "PostgreSQL: Failed to execute query: the server is gone"


def test_an_overtaken_transaction_is_told_as_such(backend):
    def work(session):
        session.run("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")

    with pytest.raises(StoreMovedError, match="read again"):
        backend.transact(work, writes=True)


def test_what_the_server_refuses_is_one_line(shelf, backend, postgresql):
    postgresql.run("DROP ROLE IF EXISTS reader")
    postgresql.run("CREATE ROLE reader LOGIN")
    put(backend, [[usage(1)]])
    schema = shelf.schema
    postgresql.run(f"GRANT USAGE ON SCHEMA {schema} TO reader")
    postgresql.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
    reader = postgresql_at(shelf.url.replace("postgres@", "reader@"))
    assert reader.states()[0].rows == 1
    with pytest.raises(StoreError, match=r"^PostgreSQL: permission denied for table") as raised:
        put(reader, [[usage(2)]])
    assert "\n" not in str(raised.value)
    reader.close()
    assert figures(shelf) == [1]


def test_without_a_schema_to_write_to_there_is_one_line(postgresql):
    url = f"{postgresql.url}&options=-csearch_path%3Dnothing"
    backend = postgresql_at(url)
    assert backend.place(ORGANIZATION, COMPLETIONS) == Place()
    with pytest.raises(StoreError, match="no schema has been selected"):
        put(backend, [[usage(1)]])
    backend.close()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://somebody:{PASSWORD}@127.0.0.1:1/base",
        f"postgresql://somebody@127.0.0.1:1/base?password={PASSWORD}",
        f"postgresql://somebody:{PASSWORD}@/base?host=/nonexistent",
        f"postgresql://somebody:{PASSWORD}@127.0.0.1/base?{PASSWORD[:6]}=1",
        f"postgresql://somebody:{PASSWORD}@127.0.0.1/base?sslmode={PASSWORD}",
        f"postgresql://somebody:{PASSWORD}@127.0.0.1/base?port={PASSWORD}",
    ],
)
async def test_no_message_shows_a_password(url, caplog):
    caplog.set_level(logging.DEBUG)
    store = open_store(url)
    with pytest.raises(StoreError) as raised:
        await store.resume_from(ORGANIZATION, COMPLETIONS)
    await store.close()
    shown = "".join(
        traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    ).replace(repr(url), "")
    for text in (
        shown,
        str(raised.value),
        repr(raised.value),
        caplog.text,
        repr(raised.value.args),
    ):
        assert PASSWORD not in text
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


async def test_the_environment_and_the_password_file_of_libpq_work(
    postgresql, tmp_path, monkeypatch
):
    folder = postgresql.server.get_postmaster_info().socket_dir
    monkeypatch.setenv("PGHOST", str(folder))
    monkeypatch.setenv("PGUSER", "postgres")
    async with open_store("postgresql:///postgres") as store:
        assert isinstance(await store.states(), list)
    postgresql.run("DROP ROLE IF EXISTS secretive")
    postgresql.run(f"CREATE ROLE secretive LOGIN PASSWORD '{PASSWORD}'")
    hba = postgresql.hba()
    postgresql.set_hba("local all secretive scram-sha-256\n" + hba)
    try:
        url = f"postgresql://secretive@/postgres?host={folder}"
        with pytest.raises(StoreError, match="no password supplied"):
            await open_store(url).states()
        password_file = tmp_path / "pgpass"
        password_file.write_text(f"*:*:*:secretive:{PASSWORD}\n")
        password_file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(password_file))
        async with open_store(url) as store:
            assert isinstance(await store.states(), list)
        monkeypatch.delenv("PGPASSFILE")
        async with open_store(url.replace("@", f":{PASSWORD}@")) as store:
            assert isinstance(await store.states(), list)
        wrong = url.replace("@", f":{PASSWORD}-wrong@")
        with pytest.raises(StoreError, match="password authentication failed") as raised:
            await open_store(wrong).states()
        assert PASSWORD not in str(raised.value)
    finally:
        postgresql.set_hba(hba)


def test_an_interrupted_transaction_is_undone(shelf, backend):
    put(backend, [[usage(1)]])

    def work(session):
        session.run(f"DELETE FROM {COMPLETIONS.table}")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.transact(work, writes=True)
    assert figures(shelf) == [1]
    put(backend, [[usage(2)]], start=START + HOUR)
    assert figures(shelf) == [1, 2]


def test_a_missing_driver_is_one_line_with_the_command(monkeypatch):
    module.dbapi.cache_clear()
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'usage-async\[postgres\]'"):
        PostgreSQL({})
    monkeypatch.undo()
    assert module.dbapi() is dbapi
