"""Data flow one way: each room imports only rooms to its left."""

import ast
from pathlib import Path

import pytest

import usage_async

HOUSE = Path(usage_async.__file__).parent
ROWS = [
    {"errors", "_fields", "_redactor", "_version"},
    {"models"},
    {"endpoints"},
    {"_times"},
    {"query"},
    {"_plan", "_runtime"},
    {"_window", "_retry", "_limiter", "_custody"},
    {"_transport", "_lanes"},
    {"_convert"},
    {"_codec"},
    {"_fetch"},
    {"_pages", "totals"},
    {"_proof"},
    {"_engine"},
    {"_queries"},
    {"client"},
    {"emulator"},
    {"cli"},
]
"""The rooms from left to right; those of one row know nothing of each other."""

AIOHTTP = {"_transport", "client", "emulator", "cli"}
"""Where aiohttp is known; the client only names its session's type."""
PURE = {"errors", "_fields", "_times", "models", "endpoints", "query", "_plan", "_window", "_retry"}
PURE |= {"_lanes", "_redactor", "_convert", "_codec", "totals", "_proof", "_version"}

ORDER = {room: index for index, row in enumerate(ROWS) for room in row}


def files(room):
    return sorted((HOUSE / room).rglob("*.py")) or [HOUSE / f"{room}.py"]


def imported(room):
    """The modules that a room's files import, also within functions and for type checkers."""
    for file in files(room):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} has a relative import"
                yield node.module
                if node.module == "usage_async":
                    yield from (f"usage_async.{name.name}" for name in node.names)


def neighbours(room):
    """The rooms that a room imports."""
    modules = (name.split(".") for name in imported(room) if name.startswith("usage_async."))
    return {name for _, name, *_ in modules if name in ORDER and name != room}


def test_every_room_has_its_place():
    found = {path.stem for path in HOUSE.iterdir() if path.suffix == ".py"}
    found |= {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    assert found - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_rooms_to_its_left(room):
    assert {other for other in neighbours(room) if ORDER[other] > ORDER[room]} == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ", ".join(sorted(row)))
def test_rooms_of_one_row_know_nothing_of_each_other(row):
    assert not {(room, other) for room in row for other in neighbours(room) & row}


@pytest.mark.parametrize("room", ORDER)
def test_only_the_transport_knows_the_network(room):
    if room not in AIOHTTP:
        assert not {name for name in imported(room) if name.partition(".")[0] == "aiohttp"}


@pytest.mark.parametrize("room", sorted(PURE))
def test_a_pure_room_neither_waits_nor_looks_at_the_clock(room):
    names = set(imported(room))
    assert not names & {"asyncio", "aiohttp", "time", "random", "os", "socket", "threading"}
    for file in files(room):
        calls = [
            node.func
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call)
        ]
        called = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        assert not called & {"now", "utcnow", "today"}
