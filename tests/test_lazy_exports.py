"""The public packages: the names that they export, and the modules that they do not load."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

import usage_async
import usage_async.emulator
import usage_async.report
from usage_async import errors
from usage_async._api import names, pages, results

EXTRAS = {
    *("altair", "cyclopts", "dlt", "fastapi", "jinja2", "pyarrow", "pydantic", "rich", "starlette"),
    *("hypothesis", "pytest", "vl_convert"),
}


def loaded(code):
    """The modules that are loaded after some code has run in a fresh interpreter."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)  # noqa: S603 - this very Python
    return set(json.loads(done.stdout))


def test_the_door_is_sorted_and_everything_is_behind_it():
    names = usage_async.__all__
    assert names == sorted(names)
    assert all(getattr(usage_async, name) is not None for name in names)


def test_every_error_and_every_value_is_behind_the_door():
    made = {
        name
        for room in (errors, names, pages, results)
        for name, value in vars(room).items()
        if isinstance(value, type) and value.__module__ == room.__name__ and name[0] != "_"
    }
    assert made <= set(usage_async.__all__)


def test_what_is_behind_the_door_is_listed():
    assert set(usage_async.__all__) <= set(dir(usage_async))
    hidden = [name for name in vars(usage_async) if name[0].isupper() and name.isidentifier()]
    assert set(hidden) - set(usage_async.__all__) <= {"TYPE_CHECKING", "Any"}


def test_everything_can_be_imported_at_once():
    names: dict[str, object] = {}
    exec("from usage_async import *", names)  # noqa: S102 - what a reader may type
    assert set(usage_async.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'usage_async' has no attribute 'nothing'"):
        _ = usage_async.nothing


def test_the_version_is_that_of_the_installed_package(monkeypatch):
    version = importlib.import_module("usage_async._api.version")
    monkeypatch.setattr(metadata, "version", {"usage-async": "1.2.3"}.__getitem__)
    assert importlib.reload(version).__version__ == "1.2.3"

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert importlib.reload(version).__version__ == "0"
    monkeypatch.undo()
    assert importlib.reload(version).__version__ == usage_async.__version__ != "0"


def test_type_checkers_see_the_names_behind_each_door():
    for door in DOORS:
        tree = ast.parse(Path(door.__file__).read_text("utf-8"))
        seen = {
            alias.asname: node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname == alias.name
        }
        seen.pop("__version__", None)
        homes = {name: f"{door.__name__}.{home}" for name, home in door._HOMES.items()}
        assert seen == homes
        assert list(homes) == sorted(homes)


DOORS = (usage_async, usage_async.emulator, usage_async.report)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_no_public_name_is_that_of_a_submodule(door):
    modules = {module.name for module in pkgutil.iter_modules(door.__path__)}
    assert not modules & set(door.__all__)


def test_a_public_subpackage_stays_a_module_after_every_import():
    for module in pkgutil.walk_packages(usage_async.report.__path__, "usage_async.report."):
        importlib.import_module(module.name)
    assert isinstance(usage_async.report, types.ModuleType)
    assert isinstance(usage_async.emulator, types.ModuleType)


def test_the_door_alone_loads_nothing_that_is_not_needed():
    names = loaded("import usage_async")
    assert not names & (EXTRAS | {"aiohttp", "cattrs", "msgspec", "asyncio"})


def test_the_client_loads_no_extra():
    names = loaded("from usage_async import UsageClient")
    assert "aiohttp" in names
    assert not names & EXTRAS
    assert not names & {"usage_async._cli", "usage_async.emulator"}
    assert not names & {"usage_async._api.names", "usage_async._client.names_book"}


def test_whoever_only_reads_and_adds_up_loads_no_network():
    names = loaded("from usage_async import ENDPOINTS, Names, Summary, UsageError, UsageRow, loads")
    assert "aiohttp" not in names
