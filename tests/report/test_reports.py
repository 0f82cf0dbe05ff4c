"""Reports in one call each: read, rendered, written."""

import asyncio
import json
import sys
from datetime import date
from decimal import Decimal
from io import BytesIO
from zipfile import ZipFile

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_async import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    QueryError,
    RetryPolicy,
    Runtime,
    UsageClient,
    UsageCompletionsResult,
)
from usage_async.emulator import Emulator, Quirks
from usage_async.report import read_budget, read_report, render_report, write_report
from usage_async.report.amounts import total
from usage_async.report.formats import REPORT_FORMATS
from usage_async.report.html import charts
from usage_async.report.values import Blank, Section
from usage_async.report.wording import untold
from usage_async.report.worker import in_worker

from .conftest import BEFORE, DAY, START, cost, report_of, section

NOW = 1_795_348_800  # 2026-11-22T12:00:00Z


@pytest.fixture
async def server():
    async with Emulator(now=lambda: NOW) as server:
        yield server


def client_of(server, **options):
    runtime = Runtime(now=lambda: NOW)
    return UsageClient(server.admin_key, base_url=server.url, runtime=runtime, **options)


async def test_a_report_is_that_of_the_last_month_and_its_sums_are_those_of_queries(server):
    async with client_of(server) as client:
        report = await read_report(client, names=False)
        billed = await client.costs(period="2026-10").total()
        projects = await client.costs(period="2026-10", group_by=["project_id"]).totals()
    (spend,) = report.spends
    assert (report.spec.by, report.spec.then_by, report.spec.before) == ("project_id", None, None)
    assert spend.total == billed.amount_value
    assert [(group.id, group.name, group.amount) for group in spend.groups] == [
        (row.project_id, row.project_name, row.amount_value) for row in projects
    ]
    assert report.is_whole


async def test_a_report_takes_the_words_of_queries_and_reads_names(server):
    async with client_of(server) as client:
        report = await read_report(
            client,
            start_time=date(2026, 10, 5),
            end_time=date(2026, 10, 8),
            by=("api-key", "model"),
            compare=True,
        )
        bare = await read_report(client, "2026-10-05", by="api-key", names=False)
    (spend,) = report.spends
    assert [day for day, _ in spend.days] == [date(2026, 10, day) for day in (5, 6, 7)]
    assert any(group.name == "production" for group in spend.groups)
    assert not any(group.name for group in bare.spends[0].groups)
    for group in spend.groups:
        assert total(part.amount for part in group.parts) == group.amount
        assert total(part.before for part in group.parts) == group.before
    assert total(group.before for group in spend.groups) == spend.before


async def test_names_that_may_not_be_read_are_left_out():
    quirks = Quirks(refuse_names=True)
    async with Emulator(now=lambda: NOW, quirks=quirks) as server, client_of(server) as client:
        report = await read_report(client, "2026-10-05", by="api-key")
    assert report.spends[0].groups[0].name is None


async def test_names_that_cannot_be_read_are_a_warning_and_the_figures_come(server, caplog):

    class Failing(UsageClient):
        async def names_for(self, rows, *, known=None):
            raise APIConnectionError("no connection")

    runtime = Runtime(now=lambda: NOW)
    async with Failing(server.admin_key, base_url=server.url, runtime=runtime) as client:
        report = await read_report(client, "2026-10-05")
    assert report.spends[0].groups[0].name
    assert "names were not read: no connection" in caplog.text


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"by": "planet"}, "by takes one or two of project"),
        ({"by": ["project", "model", "user"]}, "not 3 of them"),
        ({"period": "yesteryear"}, "period takes"),
        ({"period": "7d", "start_time": "3d"}, "period gives both ends"),
        ({"end_time": "3d"}, "start_time or period is required"),
    ],
)
async def test_what_is_no_question_is_refused_before_any_request(server, asked, says):
    async with client_of(server) as client:
        with pytest.raises(QueryError, match=says):
            await read_report(client, **asked)
    assert not server.requests


async def test_a_wrong_key_is_an_error():
    async with (
        Emulator(now=lambda: NOW) as server,
        UsageClient(
            "sk-admin-another", base_url=server.url, retry=RetryPolicy(attempts=1)
        ) as client,
    ):
        with pytest.raises(AuthenticationError):
            await read_report(client)


def small():
    costs = section(
        [cost("3.00000000001", project_id="p", project_name="=cmd", line_item="gpt-5, input")]
    )
    return report_of("project,model", costs=costs, costs_by=costs)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "html")) for name in REPORT_FORMATS],
)
def test_every_format_is_rendered(name):
    data = render_report(small(), name, notices=["careful"])
    assert data == render_report(small(), name, notices=["careful"])
    if name != "xlsx":
        assert b"gpt-5" in data


def _width(text):
    """The width of the table of groups."""
    table = text.partition("Spend by ")[2].partition("\n\n")[0]
    return max(len(line.rstrip()) for line in table.splitlines())


def test_a_text_is_laid_out_for_its_width_and_has_no_colours():
    rows = [cost("1", project_id=f"p{n}", line_item="gpt-5, input") for n in range(30)]
    report = report_of("project,model", costs=section(rows), costs_by=section(rows))
    text = render_report(report, top=2, width=60, notices=["careful"]).decode()
    narrow, wide = (_width(render_report(report, width=width).decode()) for width in (60, 120))
    assert narrow < wide <= 120
    assert "\x1b" not in text
    assert "(28 others)" in text
    assert "- careful" in text
    assert "others" not in render_report(report, top=0).decode()


def test_an_unknown_format_is_refused():
    with pytest.raises(QueryError, match=r"format takes text, json, csv, .*; not 'pdf'"):
        render_report(small(), "pdf")


def test_without_rich_a_text_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "usage_async.report.terminal.page", raising=False)
    monkeypatch.delitem(sys.modules, "usage_async.report.terminal.report", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'usage-async\[cli\]'$"):
        render_report(small())


async def test_a_file_is_of_the_format_that_its_name_means(tmp_path):
    file = tmp_path / "OCTOBER.JSON"
    file.write_text("old")
    await write_report(small(), file, notices=["careful"])
    assert file.read_bytes() == render_report(small(), "json", notices=["careful"])
    (spend,) = json.loads(file.read_bytes())["spend"]
    assert Decimal(spend["groups"][0]["parts"][0]["amount"]) == Decimal("3.00000000001")
    await write_report(small(), str(tmp_path / "october.xlsx"))
    assert (tmp_path / "october.xlsx").read_bytes().startswith(b"PK")


@pytest.mark.parametrize(
    "name", ["text", "json", "xlsx", pytest.param("html", marks=pytest.mark.slow)]
)
def test_every_format_tells_the_days_that_usage_lacks(name):
    gap = attrs.evolve(section(), missing=(START, START + DAY))
    report = report_of(
        costs=section([cost("1")]),
        usage={"completions": gap, "images": gap, "embeddings": section()},
    )
    assert not report.is_whole
    data = render_report(report, name, width=200)
    if name == "xlsx":
        data = ZipFile(BytesIO(data)).read("xl/sharedStrings.xml")
    told = "completions, images: 2 days were not sent, the first is 2026-10-01; their figures lack"
    assert told in data.decode()


def test_a_gap_that_remarks_tell_of_is_no_notice_too():
    gap = attrs.evolve(section(), missing=(START,))
    told = "1 bucket was not sent, the first starts at 2026-10-01T00:00:00Z"
    notices = [f"costs: {told}", f"completions of Acme: {told}", f"images: {told}", "costs: odd"]
    report = report_of(costs=section([cost("1")]), usage={"completions": gap})
    assert untold(report, notices) == (notices[0], *notices[2:])
    report = report_of(costs=gap)
    assert untold(report, notices) == tuple(notices[1:])


COMPARED = {
    "costs": cost("5"),
    "costs_by": cost("5", project_id="p"),
    "before": cost("3"),
    "costs_by_before": cost("3", project_id="p"),
    "costs_by_model": cost("5", line_item="a, input"),
    "usage": UsageCompletionsResult(input_tokens=1, output_tokens=1, num_model_requests=5),
}


def compared(*lacking, refused=()):
    """A comparison whose sections lack a day or are refused: what is compared, and told."""
    sections = {}
    for name, row in COMPARED.items():
        start = BEFORE.start_time if "before" in name else START
        missing = (start + DAY,) if name in lacking else ()
        sections[name] = attrs.evolve(section([row], [], [], start=start), missing=missing)
    sections |= dict.fromkeys(refused, Section(blank=Blank("refused", "no")))
    report = report_of(detailed=True, **sections | {"usage": {"completions": sections["usage"]}})
    (spend,) = report.spends
    told = [each.partition(" compared")[0] for each in report.remarks if "compared, bec" in each]
    return (spend.before is not None, spend.groups[0].before is not None), told


@given(st.sets(st.sampled_from([*COMPARED])))
def test_the_remark_on_a_comparison_is_as_true_as_the_comparison(lacking):
    are_compared, told = compared(*lacking)
    wanted = {(True, True): [], (True, False): ["groups are not"], (False, False): ["nothing is"]}
    assert told == wanted[are_compared]


@pytest.mark.parametrize(
    ("lacking", "are_compared"),
    [
        ((), (True, True)),
        (("costs_by_model", "usage"), (True, True)),
        (("costs_by", "usage"), (True, False)),
        (("costs_by_before",), (True, False)),
        (("before",), (False, False)),
        (("costs", "costs_by"), (False, False)),
    ],
)
def test_only_sections_that_a_comparison_needs_prevent_it(lacking, are_compared):
    assert compared(*lacking)[0] == are_compared


@pytest.mark.parametrize(
    ("lacking", "refused", "wanted"),
    [
        (("costs",), "before", []),
        (("costs_by",), "before", []),
        (("costs",), "costs_by_before", ["nothing is"]),
        (("costs_by",), "costs_by_before", []),
    ],
)
def test_what_is_refused_is_not_told_as_days_that_are_missing(lacking, refused, wanted):
    (_, groups), told = compared(*lacking, refused=[refused])
    assert not groups
    assert told == wanted


async def test_the_worker_serves_others_while_the_charts_of_a_file_are_drawn(tmp_path, monkeypatch):
    drawing, file = asyncio.Event(), tmp_path / "october.html"

    async def answer(_):
        drawing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(charts, "_answer", answer)
    writing = asyncio.create_task(write_report(small(), file))
    await asyncio.wait_for(drawing.wait(), 30)
    assert await in_worker(int, "3") == 3
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert list(tmp_path.iterdir()) == []


async def test_a_page_that_is_written_to_a_file_is_the_one_that_is_rendered(tmp_path, monkeypatch):
    text = "import json, sys; print(json.dumps(['<svg/>'] * len(json.load(sys.stdin))))"
    monkeypatch.setattr(charts, "_program", lambda: [sys.executable, "-c", text])
    monkeypatch.setattr(charts, "_kept", type(charts._kept)())
    file = tmp_path / "october.html"
    await write_report(small(), file, top=1, notices=["careful"])
    assert file.read_bytes() == render_report(small(), "html", top=1, notices=["careful"])
    assert b"<svg/>" in file.read_bytes()


@pytest.mark.parametrize("name", ["october", "october.txt", "october.pdf"])
async def test_a_file_whose_name_means_no_format_is_refused(tmp_path, name):
    with pytest.raises(QueryError, match=r"files of reports end with \.json, \.csv, "):
        await write_report(small(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


async def test_a_budget_is_of_the_month_of_the_report(server):
    async with client_of(server) as client:
        october = await read_report(client, "2026-10", names=False)
        week = await read_report(client, "2026-W40", names=False)
        (planned,) = (await read_budget(client, Decimal(6000), period="2026-10")).whole
        (other,) = (await read_budget(client, Decimal(6000))).whole
    assert "Budget       $6,000.00  over" in render_report(october, budget=planned).decode()
    assert json.loads(render_report(october, "json", budget=planned))["budget"]["verdict"] == "over"
    with pytest.raises(QueryError, match="the budget is of 2026-11, and the report is not"):
        render_report(october, budget=other)
    with pytest.raises(QueryError, match="period takes a month beside a budget"):
        render_report(week, budget=planned)
