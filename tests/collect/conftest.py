"""A database of each kind, for the tests that every store must pass."""

from itertools import count

import lake
import pytest
from collecting import DuckDBShelf, PostgresServer, ToyShelf, forget_duckdb

KINDS = ["memory", "duckdb", "postgresql", "delta"]


@pytest.fixture(params=KINDS)
def new_shelf(request):
    """A function that makes an empty database of one kind."""
    return request.getfixturevalue(f"new_{request.param}_shelf")


@pytest.fixture
def shelf(new_shelf):
    """An empty database."""
    return new_shelf()


@pytest.fixture
def new_memory_shelf():
    return ToyShelf


@pytest.fixture(scope="session")
def duckdb_closed():
    yield
    forget_duckdb()


@pytest.fixture
def new_duckdb_shelf(tmp_path, duckdb_closed):
    numbers = count()
    return lambda: DuckDBShelf(str(tmp_path / f"{next(numbers)}.duckdb"))


@pytest.fixture
def new_postgresql_shelf(postgresql):
    made = []

    def new_shelf():
        made.append(postgresql.shelf())
        return made[-1]

    yield new_shelf
    # The driver reads the columns of all tables when it connects.
    for shelf in made:
        postgresql.run(f"DROP SCHEMA {shelf.schema} CASCADE")


@pytest.fixture(scope="session")
def postgresql():
    """A server of its own for this session."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def new_delta_shelf(tmp_path):
    numbers = count()
    return lambda: lake.DeltaShelf(f"{tmp_path}/lake-{next(numbers)}'")


@pytest.fixture(scope="session")
def s3_server():
    pytest.importorskip("moto", reason="the extra `heavy` has moto")
    with lake.S3() as server:
        yield server


@pytest.fixture
def s3(s3_server, monkeypatch):
    """A server of S3 that the environment leads to."""
    for name, value in lake.environment(s3_server.address).items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def runs():
    """Processes of their own that write stores."""
    with lake.Runs() as started:
        yield started
