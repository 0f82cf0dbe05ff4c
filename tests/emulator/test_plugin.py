from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import LOOP_SCOPE, PLUGIN

pytest_plugins = ["pytester"]

ROOT = str(Path(__file__).parents[2])

IMPORTS = """
import sys, types
# An empty package, since the imports of `usage_async` itself are not those of the plugin.
package = sys.modules["usage_async"] = types.ModuleType("usage_async")
package.__path__ = [sys.argv[1] + "/usage_async"]
import usage_async.emulator.plugin
heavy = {"aiohttp", "hypothesis", "msgspec", "asyncio"} & set(sys.modules)
assert not heavy, heavy
"""

USERS_TESTS = """
import urllib.request

import pytest

from usage_async.emulator import Quirks

def get(server):
    url = server.url + "/organization/usage/completions?start_time=1795132800"
    headers = {"Authorization": f"Bearer {server.admin_key}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
        return reply.read()

NOW = 1795235000

@pytest.mark.usage_emulator(now=lambda: NOW)
def test_a_plain_test_reads_it(usage_emulator):
    assert b'"results"' in get(usage_emulator)
    assert len(usage_emulator.requests) == 1

@pytest.mark.usage_emulator(now=lambda: NOW, quirks=Quirks(result_key="result"))
def test_a_marker_sets_it_up(usage_emulator):
    assert b'"results"' not in get(usage_emulator)
"""

CLIENTS_TESTS = """
import pytest

async def test_the_client_reads_the_emulator(usage_client, usage_emulator):
    total = await usage_client.completions(period="7d").total()
    assert total.num_model_requests > 0
    assert usage_emulator.requests

@pytest.mark.usage_emulator(now=lambda: 1790812800)
async def test_the_client_goes_by_the_clock_of_the_emulator(usage_client):
    buckets = await usage_client.completions(period="7d").collect()
    assert buckets[0].start_time == 1790812800 - 7 * 86400
"""


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run the tests of a user with the plugin."""

    def run_tests(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        scope = () if "no:asyncio" in arguments else LOOP_SCOPE
        return pytester.runpytest_inprocess(*PLUGIN, *scope, *arguments)

    return run_tests


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS, ROOT], check=True)  # noqa: S603 - this very Python


def test_the_emulator_fixture_serves_plain_tests(run: Run) -> None:
    run(USERS_TESTS, "--strict-markers").assert_outcomes(passed=2)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_client_fixture_reads_the_emulator(mode: str, run: Run) -> None:
    marker = "pytestmark = pytest.mark.asyncio\n" if mode == "strict" else ""
    run(CLIENTS_TESTS + marker, "-o", f"asyncio_mode={mode}").assert_outcomes(passed=2)


def test_the_emulator_fixture_works_without_pytest_asyncio(run: Run) -> None:
    run(USERS_TESTS, "-p", "no:asyncio").assert_outcomes(passed=2)
