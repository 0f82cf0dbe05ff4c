"""Every example of the README runs, and what can be derived is derived.

`python tests/test_readme.py` writes the derived parts anew.
"""

import re
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_tracer_provider
from prometheus_client import REGISTRY

from usage_async import ENDPOINTS, errors
from usage_async.emulator import Emulator, running

pytest_plugins = ["pytester"]

README = Path(__file__).parent.parent / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
COSTS_PATH = {"path": "/organization/costs"}
COSTS = {**COSTS_PATH, "outcome": "200"}
GENERATED = re.compile(r"<!-- generated: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def endpoints_table() -> str:
    head = "| method | bucket widths: most buckets a page | `group_by` | filters |"
    lines = [head, "|---|---|---|---|"]
    for endpoint in ENDPOINTS.values():
        widths = ", ".join(f"{width}: {cap}" for width, cap in endpoint.limits.items())
        groups = " ".join(f"`{name}`" for name in endpoint.group_by)
        filters = " ".join(f"`{name}`" for name in endpoint.filters)
        lines.append(f"| `{endpoint.name}` | {widths} | {groups} | {filters} |")
    return "\n".join(lines) + "\n"


def errors_tree() -> str:
    tree = re.search(r"(?m)^    UsageError\n(?:    .*\n)+", errors.__doc__)[0]
    return "```text\n" + re.sub(r"(?m)^    ", "", tree) + "```\n"


FAULTS = {
    1: "DNS failure, refused connection",
    2: "a wrong TLS certificate",
    3: "closed or reset before the headers",
    4: "closed or reset in the middle of a body",
    5: "a body that is just short",
    6: "corrupt gzip, a false encoding",
    7: "HTTP that cannot be read",
    8: "HTML, or nothing, with 200",
    9: "JSON that is no page",
    10: "a gzip bomb",
    11: "a server that hangs or drips",
    12: "429 with Retry-After in any form",
    13: "a storm of 429s",
    14: "no quota, 400, 401, 403, 404",
    15: "408, 409, 5xx",
    16: "redirects, plain http, other paths",
    17: "cookies",
    18: "a key that cannot be sent",
    19: "a key in the service's own texts",
    20: "cursors that lead nowhere",
    21: "missing, repeated, foreign, contradicting buckets",
    22: "break, cancellation, a caught timeout",
    23: "a slow consumer",
    24: "a page of 10 MB",
    25: "two event loops, use after close",
    26: "odd names in files",
    27: "`kill -9` while a file is written",
    28: "a full disk, a read-only target, an existing file",
    29: "a clock that is wrong",
    30: "Ctrl-C",
}


def reliability_table() -> str:
    tests = (README.parent / "tests" / "test_faults.py").read_text("utf-8")
    names = re.findall(r"def (test_fault_(\d\d)\w+)", tests)
    lines = ["| | fault | tests in `tests/test_faults.py` |", "|---|---|---|"]
    for number, fault in FAULTS.items():
        of_row = "<br>".join(f"`{name}`" for name, row in names if int(row) == number)
        assert of_row, f"fault {number} has no test"
        lines.append(f"| {number} | {fault} | {of_row} |")
    return "\n".join(lines) + "\n"


DERIVED = {
    "endpoints": endpoints_table,
    "errors": errors_tree,
    "reliability": reliability_table,
}


@pytest.fixture
def organization(monkeypatch):
    with running(Emulator()) as server:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", server.admin_key)
        monkeypatch.setenv("USAGE_ASYNC_BASE_URL", server.url)
        yield server


def example(containing: str) -> str:
    (found,) = [code for code in EXAMPLES if containing in code]
    return found


def run(code: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own README
    return names


@pytest.mark.parametrize("name", DERIVED)
def test_what_can_be_derived_is_derived(name):
    written = dict(GENERATED.findall(README.read_text("utf-8")))
    assert written[name] == DERIVED[name]()


def test_the_library_in_ten_lines_prints_usage_and_money(organization, capsys):
    run(example("async for bucket in query"))
    *rows, money = capsys.readouterr().out.splitlines()
    assert len(rows) > 28
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \S+ \S+ \d+", row) for row in rows)
    assert re.fullmatch(r"[0-9.]+ usd", money)


async def test_the_handler_answers_with_the_spend_of_each_project(organization):
    app = run(example("FastAPI("))["app"]
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser,
    ):
        reply = await browser.get("/spend/last-month")
    assert reply.status_code == 200
    spend = reply.json()
    assert len(spend) > 1
    assert all(float(value) > 0 for value in spend.values())


def test_a_local_organization_prints_the_spend_of_each_project(capsys):
    run(example("import demo"))
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) > 1
    assert all(re.fullmatch(r"proj_\w+ [0-9.]+", row) for row in rows)


def test_a_401_a_403_and_a_429_are_provoked(capsys):
    run(example('"unauthorized", "forbidden"'))
    path = "/v1/organization/costs"
    assert capsys.readouterr().out.splitlines() == [
        "401 AuthenticationError",
        "403 PermissionDeniedError",
        "429 RateLimitError",
        str([(path, 401), (path, 403), (path, 429)]),
    ]


def test_the_fixtures_run_in_pytest(pytester):
    pytester.makepyfile(example("usage_emulator.requests"))
    plugin = ("-p", "no:usage_async", "-p", "usage_async.emulator.plugin")
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    ran = pytester.runpytest_inprocess(*plugin, *scope, "-W", "error", "--strict-markers")
    ran.assert_outcomes(passed=2)


async def test_prometheus_counts_the_requests(organization):
    names = run(example("prometheus_client"))
    async with names["client"] as client:
        await client.costs(period="7d").total()
    assert REGISTRY.get_sample_value("openai_usage_requests_total", COSTS) == 1
    assert REGISTRY.get_sample_value("openai_usage_request_seconds_sum", COSTS_PATH) > 0


async def test_opentelemetry_gets_a_span_a_request(organization):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)
    names = run(example("opentelemetry"))
    async with names["client"] as client:
        await client.costs(period="7d").total()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /organization/costs"
    assert span.attributes["http.response.status_code"] == 200
    assert span.end_time > span.start_time


if __name__ == "__main__":
    README.write_text(
        GENERATED.sub(
            lambda match: f"<!-- generated: {match[1]} -->\n{DERIVED[match[1]]()}<!-- end -->",
            README.read_text("utf-8"),
        ),
        "utf-8",
    )
