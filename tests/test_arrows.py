"""Imports run one way: between packages, between the files of a package, type-only ones too."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import usage_async

HOUSE = Path(usage_async.__file__).parent
FLOORS = [
    {"errors", "_api"},
    {"_query", "_codec"},
    {"_http", "_sums"},
    {"_engine"},
    {"_client"},
    {"report"},
    {"fastapi", "collect"},
    {"emulator"},
    {"_cli"},
]
"""The packages, from the ground up. A file imports from floors below its own and from its own
package; packages of one floor know nothing of each other. The door, `usage_async`, is above all."""

HOMES = {
    "aiohttp": {"_http", "emulator"},
    "pyarrow": {"_codec", "collect"},
    "adbc_driver_postgresql": {"collect"},
    "duckdb": {"collect"},
    "yarl": {"_http"},
    "cyclopts": {"_cli"},
    "rich": {"report"},
    "xlsxwriter": {"report"},
    "altair": {"report"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "vl_convert": {"report"},
    "fastapi": {"fastapi"},
    "starlette": {"fastapi"},
    "prometheus_client": {"fastapi"},
    "uvicorn": {"_cli"},
    "pydantic": {"_api", "fastapi"},
    "pydantic_core": {"_api"},
    "pytest": {"emulator"},
    "pytest_asyncio": {"emulator"},
}
"""The packages in which a library may be imported."""
CORE = {"attrs", "cattrs", "msgspec"}

PURE = {"errors", "_api", "_query", "_codec", "_sums", "_client/names.py", "emulator/organization"}
"""They neither wait nor look at the clock."""
IMPURE = {"asyncio", "aiohttp", "time", "random", "os", "socket", "threading"}

FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
FILES = {
    ".".join(("usage_async", *path.relative_to(HOUSE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(HOUSE.rglob("*.py"))
}
INSIDE = [name for name in FILES if name != "usage_async"]


@cache
def imports(name):
    """The modules that a file imports, within functions and for type checkers as well."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                found.add(module if module in FILES else node.module)
    return found


def ours(name):
    return {module for module in imports(name) if module.partition(".")[0] == "usage_async"}


def package(name):
    return name.split(".")[1]


def test_every_package_has_its_floor():
    assert {package(name) for name in INSIDE} == set(FLOOR_OF)


@pytest.mark.parametrize("name", INSIDE)
def test_a_file_imports_from_floors_below_or_from_its_own_package(name):
    wrong = {
        other
        for other in ours(name) - {"usage_async"}
        if package(other) != package(name) and FLOOR_OF[package(other)] >= FLOOR_OF[package(name)]
    }
    assert not wrong


@pytest.mark.parametrize(
    "name", [name for name in INSIDE if package(name) not in {"emulator", "_cli"}]
)
def test_only_what_builds_on_the_library_comes_in_by_its_door(name):
    assert "usage_async" not in ours(name)


def test_no_file_is_part_of_a_circle():
    TopologicalSorter({name: ours(name) - {"usage_async"} for name in INSIDE}).prepare()


@pytest.mark.parametrize("name", FILES)
def test_a_library_is_known_in_its_home_only(name):
    for module in imports(name):
        library = module.partition(".")[0]
        if library in HOMES:
            assert name != "usage_async"
            assert package(name) in HOMES[library], f"{name} imports {library}"


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_imported_that_is_no_dependency(name):
    import sys

    known = {*sys.stdlib_module_names, "usage_async", *CORE, *HOMES}
    assert {module.partition(".")[0] for module in imports(name)} <= known


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, path in FILES.items()
        if any(path.relative_to(HOUSE).as_posix().startswith(pure) for pure in PURE)
    ],
)
def test_a_pure_file_neither_waits_nor_looks_at_the_clock(name):
    assert not imports(name) & IMPURE
    nodes = ast.walk(ast.parse(FILES[name].read_text("utf-8")))
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    called = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    assert not called & {"now", "utcnow", "today"}
