"""Every example of the README runs, and its generated parts are up to date.

The longer examples are the files of `tests/examples`. `python tests/test_readme.py` regenerates the
generated parts and the output of the example.
"""

import ast
import contextlib
import io
import re
from decimal import Decimal
from pathlib import Path

import pytest
from asking import LOOP_SCOPE, PLUGIN
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import set_tracer_provider
from prometheus_client import REGISTRY
from web_server import served

from usage_async import ENDPOINTS, arrow_schema, errors
from usage_async._api.fields import FIELDS
from usage_async.emulator import Emulator, running

pytest_plugins = ["pytester"]

README = Path(__file__).parent.parent / "README.md"
MANY = 2
"""Columns that are named one by one."""
FILES = {path.name: path for path in (Path(__file__).parent / "examples").glob("*.py")}
COSTS_PATH = {"path": "/organization/costs"}
COSTS = {**COSTS_PATH, "outcome": "200"}
GENERATED = re.compile(r"<!-- generated: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
PROGRAM = re.compile(r"(```python\n)(.*?)(```\n\nIt prints:\n\n```text\n)(.*?)(```)", re.DOTALL)


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


def columns_table() -> str:
    columns: dict[str, dict[str, str]] = {}
    for name in ENDPOINTS:
        for field in arrow_schema(name, exact=True):
            info = FIELDS.get(field.name)
            columns.setdefault(str(field.type), {})[field.name] = info.kind if info else "exact"
    lines = ["| type of the column | fields |", "|---|---|"]
    for type_, fields in columns.items():
        kinds = list(fields.values())
        many = {kind: None for kind in kinds if kinds.count(kind) > MANY}
        few = [f"`{name}`" for name, kind in fields.items() if kind not in many]
        lines.append(f"| `{type_}` | {', '.join([*(f'every {kind}' for kind in many), *few])} |")
    return "\n".join(lines) + "\n"


DERIVED = {
    "columns": columns_table,
    "endpoints": endpoints_table,
    "errors": errors_tree,
}


@pytest.fixture
def organization(monkeypatch):
    with running(Emulator()) as server:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", server.admin_key)
        monkeypatch.setenv("USAGE_ASYNC_BASE_URL", server.url)
        yield server


def run(code: str, file: str = "README.md") -> dict[str, object]:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(code, file, "exec"), names)  # noqa: S102 - our own examples
    return names


def example(name: str) -> dict[str, object]:
    return run(FILES[name].read_text("utf-8"), name)


@pytest.mark.parametrize("name", DERIVED)
def test_a_generated_part_is_up_to_date(name):
    written = dict(GENERATED.findall(README.read_text("utf-8")))
    if written[name] != DERIVED[name]():
        pytest.fail(f"{name} differs; run\n    python tests/test_readme.py", pytrace=False)


def test_the_ten_lines_print_what_stands_below_them(capsys):
    ((_, code, _, printed, _),) = PROGRAM.findall(README.read_text("utf-8"))
    run(code)
    assert capsys.readouterr().out == printed
    assert len([line for line in code.splitlines() if line]) <= 13


def test_every_longer_example_is_linked_and_every_linked_file_exists():
    links = set(re.findall(r"\]\((?!https:|#)([^)#]+)", README.read_text("utf-8")))
    assert {f"tests/examples/{name}" for name in FILES} <= links
    assert all((README.parent / link).is_file() for link in links)


def test_the_fault_table_has_a_row_for_every_test_and_a_test_for_every_row():
    code = (README.parent / "tests" / "test_faults.py").read_text("utf-8")
    rows = re.findall(r"(?m)^(\d\d)  \S", ast.get_docstring(ast.parse(code)))
    assert rows == sorted(set(re.findall(r"def test_fault_(\d\d)_", code)))


async def test_the_handler_answers_with_the_spend_of_each_project(organization):
    async with served(example("fastapi_handler.py")["app"]) as browser:
        reply = await browser.get("/spend/last-month")
    assert reply.status_code == 200
    spend = reply.json()
    assert len({group["project_id"] for group in spend}) > 1
    assert all(Decimal(group["amount"]["value"]) > 0 for group in spend)


async def test_keys_are_printed_by_name(organization):
    lines = await example("names.py")["keys_by_name"]()
    assert any(line.startswith("Data pipeline: nightly batches (key_") for line in lines)


async def test_the_spend_of_each_project_and_model_is_printed_and_written(
    organization, tmp_path, capsys
):
    file = tmp_path / "october.xlsx"
    await example("report.py")["spend_of_last_month"](file)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Web app ") and line.endswith(" usd") for line in lines)
    assert any(line.startswith("    gpt-5.2 ") for line in lines)
    assert file.read_bytes().startswith(b"PK")


def test_a_401_a_403_and_a_429_are_provoked(capsys):
    example("faults.py")
    path = "/v1/organization/costs"
    assert capsys.readouterr().out.splitlines() == [
        "401 AuthenticationError",
        "403 PermissionDeniedError",
        "429 RateLimitError",
        str([(path, 401), (path, 403), (path, 429)]),
    ]


def test_the_fixtures_run_in_pytest(pytester):
    pytester.makepyfile(FILES["pytest_fixtures.py"].read_text("utf-8"))
    ran = pytester.runpytest_inprocess(*PLUGIN, *LOOP_SCOPE, "--strict-markers")
    ran.assert_outcomes(passed=2)


async def test_prometheus_counts_the_requests(organization):
    names = example("prometheus.py")
    async with names["client"] as client:
        await client.costs(period="7d").total()
    assert REGISTRY.get_sample_value("openai_usage_requests_total", COSTS) == 1
    assert REGISTRY.get_sample_value("openai_usage_request_seconds_sum", COSTS_PATH) > 0


async def test_opentelemetry_gets_a_span_a_request(organization):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    set_tracer_provider(provider)
    names = example("opentelemetry_spans.py")
    async with names["client"] as client:
        await client.costs(period="7d").total()
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /organization/costs"
    assert span.attributes["http.response.status_code"] == 200
    assert span.end_time > span.start_time


def printed_by(match: re.Match[str]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        run(match[2])
    return f"{match[1]}{match[2]}{match[3]}{out.getvalue()}{match[5]}"


if __name__ == "__main__":
    text = GENERATED.sub(
        lambda match: f"<!-- generated: {match[1]} -->\n{DERIVED[match[1]]()}<!-- end -->",
        README.read_text("utf-8"),
    )
    README.write_text(PROGRAM.sub(printed_by, text), "utf-8")
