"""Charts of a page: what is drawn, how it is cleaned, and the program that draws."""

import asyncio
import json
import os
import re
import runpy
import sys
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from xml.etree import ElementTree as ET

import attrs
import pytest
from values import HOSTILE_NAMES

from usage_async import ENDPOINTS
from usage_async.report.compute import compute_report
from usage_async.report.html import charts, drawing
from usage_async.report.html.charts import Drawings, charts_of, draw, draw_served
from usage_async.report.html.drawing import cleaned, drawn
from usage_async.report.spec import report_spec
from usage_async.report.values import Group, Sections

from .conftest import NOW, cost, report_of, section

parsed = ET.fromstring
SVG = "http://www.w3.org/2000/svg"


def days_of(count, *, unusual=True):
    """A chart of some days in two projects, one of which is far from the usual."""
    days = [[cost("10", project_id="a"), cost("5", project_id="b")] for _ in range(count)]
    if unusual:
        days[1] = [cost("90", project_id="a")]
    return report_of(costs=section(*days), costs_by=section(*days))


def test_a_day_is_told_with_its_parts():
    report = days_of(3, unusual=False)
    chart = charts_of(report)["days0", "wide"]
    assert chart["titles"][0] == "Thu 2026-10-01: $15.00\na: $10.00\nb: $5.00"
    assert chart["stacks"] == [("s0", [10.0] * 3), ("s1", [5.0] * 3)]
    assert charts_of(report)["days0", "narrow"]["titles"] == []


def test_what_a_service_names_is_made_legible_before_it_is_drawn():
    name = "\u202eevil\n\0"
    (spend,) = report_of(
        costs=section([cost("1")]), costs_by=section([cost("1", line_item=name)]), by="line_item"
    ).spends
    spend = attrs.evolve(spend, models=spend.groups)
    report = attrs.evolve(report_of(), spends=(spend,))
    for chart in charts_of(report).values():
        for word in (*chart.get("labels", ()), *chart.get("titles", ())):
            assert not {"\u202e", "\0"} & {*word}


def test_a_long_range_has_a_bar_for_seven_days_and_a_short_one_for_each():
    rows = [cost("10", project_id="a")]
    by_day = [(date(2023, 1, 1) + timedelta(n), Decimal(10)) for n in range(450)]
    (spend,) = report_of(costs=section(rows), costs_by=section(rows)).spends

    def charts_of_days(count):
        days = (*by_day[: count - 1], (by_day[count - 1][0], None))
        amounts = tuple(amount for _, amount in days)
        stacks = (attrs.evolve(spend.stacks[0], amounts=amounts),)
        longer = attrs.evolve(spend, days=days, stacks=stacks)
        made = charts_of(attrs.evolve(report_of(), spends=(longer,)))
        return made["days0", "wide"], made["days0", "narrow"]

    wide, narrow = charts_of_days(450)
    assert (wide["step"], narrow["step"], len(wide["starts"])) == (7, 7, 65)
    assert wide["stacks"][0][1][-2:] == [70.0, 10.0]
    assert wide["titles"][0] == "2023-01-01 to 2023-01-07: $70.00"
    assert wide["titles"][-1] == "2024-03-24 to 2024-03-25: $10.00"
    wide, narrow = charts_of_days(366)
    assert (wide["step"], narrow["step"], wide["titles"], wide["gap"]) == (1, 7, [], 0)
    wide, narrow = charts_of_days(62)
    assert (wide["step"], narrow["step"]) == (1, 1)
    assert wide["titles"][-1] == "Fri 2023-03-03: unknown"


def test_an_unusual_day_is_marked_and_told():
    days = [[cost("10", project_id="a")] for _ in range(20)]
    days[5] = [cost("90", project_id="a")]
    spec = report_spec(NOW, start="2026-09-01", end="2026-09-21")
    start = spec.period.start_time
    parts = {"costs": section(*days, start=start), "costs_by": section(*days, start=start)}
    usage = {name: section() for name in ENDPOINTS if name != "costs"}
    chart = charts_of(compute_report(spec, Sections(**parts, usage=usage)))["days0", "wide"]
    assert chart["odd"] == [5]
    assert chart["titles"][5].endswith("$90.00\nunusual, the median weekend day is $10.00")


def test_the_others_and_what_names_no_model_are_bars_of_their_own():
    models = [Group(id=f"m{n:02}", amount=Decimal(50 - n)) for n in range(14)]
    models.append(Group(id=None, amount=Decimal(2)))
    models.append(Group(id="credit", amount=Decimal(-3)))
    rows = [cost("1")]
    (spend,) = report_of(costs=section(rows)).spends
    report = attrs.evolve(report_of(), spends=(attrs.evolve(spend, models=tuple(models)),))
    chart = charts_of(report)["models0", "wide"]
    assert chart["labels"][-3:] == ["m09", "4 others", "(not attributed)"]
    assert [value for ((value, _),) in chart["values"][-3:]] == ["s0", "s6", "s7"]
    assert len(chart["labels"]) == 12


@pytest.mark.parametrize("amount", ["5e308", "1e120", "0"])
def test_amounts_that_cannot_be_drawn_have_no_chart(amount):
    assert charts_of(report_of(costs=section([cost(amount)]))) == {}


def test_what_is_no_shape_or_text_is_left_out_of_a_drawing():
    hostile = f"""<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 1 1"
        onload="alert(1)" style="x"><script>alert(1)</script><style>*{{}}</style>
        <a xlink:href="javascript:alert(1)"><path d="M0,0"/></a><image href="//evil"/>
        <foreignObject><b/></foreignObject><use href="#x"/><defs><g id="x"/></defs>
        <g transform="translate(1,1)"><defs/></g>
        <g transform="translate(1.26,2)" id="y" onclick="alert(1)" style="x"><path id="z"
        class="mark" fill="#000001" d="M0.04,1.26e-9h2.5" style="fill:url(//evil)" onclick="1"/>
        <path fill="url(//evil)" d="url(//evil)"/></g>
        <text fill="red" transform="translate(0,0)">a<tspan>&lt;b&gt;</tspan></text></svg>"""
    found = cleaned(hostile)
    tree = parsed(found)
    assert {node.tag for node in tree.iter()} == {"svg", "g", "path", "text"}
    assert {name for node in tree.iter() for name in node.attrib} <= {
        "viewBox", "transform", "class", "d"
    }  # fmt: skip
    assert '<path class="s1" d="M0,0h2.5" />' in found
    assert "<text>a&lt;b&gt;</text>" in found
    assert "evil" not in found
    assert "alert" not in found


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_changes_what_a_drawing_is_made_of(name):
    def tags(word):
        made = f'<svg xmlns="{SVG}"><path fill="#000010" d="M0,0" aria-label="X"/><text/></svg>'
        tree = parsed(made)
        tree[0].set("aria-label", word)
        tree[1].text = word
        return [node.tag for node in parsed(cleaned(ET.tostring(tree, "unicode"))).iter()]

    word = name.replace("\0", "").replace("\x1b", "").replace("\ud800", "")
    assert tags(word) == tags("x") == ["svg", "path", "title", "text"]


@pytest.mark.slow
def test_charts_are_drawn_as_shapes_of_known_colours():
    report = days_of(3)
    days = charts_of(report)["days0", "wide"]
    days = {**days, "odd": [1]}
    year = {**days, "step": 7, "titles": [], "odd": [], "stacks": [("s0", [-1.0, 2e6, 0.0])]}
    bars = {
        "kind": "bars",
        "width": 800,
        "labels": ["gpt-5", "</script>"],
        "figures": ["$2.00", "$1.00"],
        "values": [[("s0", 2.0)], [("s6", 1.0)]],
    }
    tree = parsed(drawn(days))
    classes = [node.get("class") for node in tree.iter() if node.get("class")]
    assert classes == ["s0", "s1", "odd", "hit", "hit", "hit"]
    assert tree.find(".//title").text == "Thu 2026-10-01: $15.00\na: $10.00\nb: $5.00"
    # Neighbours of one colour are one path: a bar for each day that has an amount.
    bars_of = [tree.find(f".//path[@class='{name}']").get("d") for name in ("s0", "s1")]
    assert [shape.count("M") for shape in bars_of] == [3, 2]
    assert "2M" in drawn(year).replace(".0", "")
    for width in (800, 330):
        found = drawn({**bars, "width": width})
        assert "&lt;/script&gt;" in found
        assert 'class="s6"' in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("peak", "highest"), [(9.9, "10"), (0.013, "0.01"), (1e-7, "0.0000001"), (990.0, "1,000")]
)
def test_the_axis_of_amounts_has_plain_numbers(peak, highest):
    days = {**charts_of(days_of(3))["days0", "wide"], "stacks": [("s0", [peak, 0.0, 0.0])]}
    texts = [node.text for node in parsed(drawn({**days, "odd": []})).iter("text")]
    assert highest in texts
    assert not any("e" in text for text in texts if text[-1].isdigit())


@pytest.mark.slow
def test_the_program_reads_charts_and_writes_drawings(monkeypatch, capsys):
    chart = {"kind": "bars", "width": 330, "labels": ["a"], "figures": ["1"], "values": [[]]}
    monkeypatch.setattr("sys.stdin", StringIO(json.dumps([chart])))
    runpy.run_path(drawing.__file__, run_name="__main__")
    [made] = json.loads(capsys.readouterr().out)
    assert made == drawn(chart)
    assert 'class="track"' in made


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["$1.00", "1,296,913.87 EUR", "9" * 80])
def test_no_figure_stands_over_its_bar_or_its_label(figure):
    chart = {"kind": "bars", "labels": ["m" * 200], "figures": [figure], "values": [[("s0", 1)]]}
    wide, narrow = (parsed(drawn({**chart, "width": width})) for width in (800, 330))

    def begin_of_figure(tree):
        _, text = tree.iter("text")
        assert text.get("text-anchor") == "end"
        return float(re.search(r"[\d.]+", text.get("transform"))[0]) - 7 * len(text.text)

    bar = re.match(r"M([\d.]+),[\d.]+h([\d.]+)", wide.find(".//*[@class='s0']").get("d"))
    assert float(bar[1]) + float(bar[2]) < begin_of_figure(wide)
    label, _ = narrow.iter("text")
    assert 11 * (len(label.text) - 1) < begin_of_figure(narrow)


CHARTS = {("days0", "wide"): {"kind": "days"}}


def program(text):
    return lambda: [sys.executable, "-c", text]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    charts._kept.clear()
    yield
    charts._kept.clear()


@pytest.mark.slow
async def test_the_program_draws_and_what_it_drew_is_kept(monkeypatch):
    asked = charts_of(days_of(3))
    drawn_here = draw(asked)
    assert drawn_here.failure == ""
    assert drawn_here.svgs["days0", "wide"].startswith("<svg viewBox=")
    turns = 0

    asking = asyncio.create_task(draw_served(asked))
    while not asking.done():
        turns += 1
        await asyncio.sleep(0)
    assert asking.result() == drawn_here
    assert turns > 100
    monkeypatch.setattr(charts, "_program", program("raise SystemExit(1)"))
    assert await draw_served(asked) == drawn_here


async def test_without_charts_nothing_is_run(monkeypatch):
    monkeypatch.setattr(charts, "_program", program("raise SystemExit(1)"))
    assert draw({}) == await draw_served({}) == Drawings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("raise SystemExit('no\\x1b[2Jfont')", "ended with 1: no\\x1b[2Jfont"),
        ("import time; time.sleep(60)", "longer than 0 s"),
        ("print('hello')", "wrote something else than drawings"),
        ("print('\\xff[')", "wrote something else than drawings"),
        ("print('[]')", "wrote something else than drawings"),
        ("print('[3]')", "wrote something else than drawings"),
        ("print('3')", "wrote something else than drawings"),
    ],
)
async def test_a_failure_is_told_and_not_kept(monkeypatch, caplog, text, says):
    monkeypatch.setattr(charts, "_program", program(text))
    monkeypatch.setattr(charts, "TIMEOUT_S", 0.3)
    for made in (draw(CHARTS), await draw_served(CHARTS)):
        assert says in made.failure
        assert made.failure.startswith("charts could not be drawn: ")
        assert made.without_words().failure == "charts could not be drawn"
    assert Drawings().without_words() == Drawings()
    assert says in caplog.text
    assert not charts._kept


def test_many_charts_are_drawn_by_several_programs_of_which_each_has_its_own_time(monkeypatch):
    text = """
import json, sys
asked = json.load(sys.stdin)
if {"n": 7} in asked: sys.exit("no font")
print(json.dumps([f"<svg>{each['n']}</svg>" for each in asked]))
"""
    monkeypatch.setattr(charts, "_program", program(text))
    monkeypatch.setattr(charts, "_PER_PROGRAM", 2)
    asked = {(f"days{n}", "wide"): {"n": n} for n in range(5)}
    assert draw(asked) == Drawings({(f"days{n}", "wide"): f"<svg>{n}</svg>" for n in range(5)})
    made = draw({**asked, ("days7", "wide"): {"n": 7}})
    assert [*made.svgs.values()] == [f"<svg>{n}</svg>" for n in range(4)]
    assert made.failure.endswith("no font")


def test_a_program_that_cannot_be_started_is_a_failure(monkeypatch):
    monkeypatch.setattr(charts, "_program", lambda: ["/no/such/program"])
    assert "/no/such/program" in draw(CHARTS).failure


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
async def test_the_program_has_no_key_and_is_killed_with_its_question(monkeypatch, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = f"""
import os, time
secrets = [name for name in os.environ if name.startswith(("OPENAI_", "USAGE_ASYNC_"))]
with open({str(pipe)!r}, "w") as pipe: pipe.write(f"{{os.getpid()}} {{secrets}}")
time.sleep(60)
"""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-secret")
    monkeypatch.setattr(charts, "_program", program(text))
    asking = asyncio.create_task(draw_served(CHARTS))
    pid, _, secrets = (await asyncio.to_thread(pipe.read_text)).partition(" ")
    assert secrets == "[]"
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.fixture
def answers(monkeypatch):
    """Answers of the program, for tests to give; a question that is cancelled is taken away."""
    asked: list[asyncio.Future] = []

    async def answer(question):
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    monkeypatch.setattr(charts, "_answer", answer)
    return asked


async def turns():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_equal_charts_that_are_asked_for_at_the_same_time_are_drawn_once(answers):
    asking = [asyncio.create_task(draw_served(CHARTS)) for _ in range(6)]
    await turns()
    asking[0].cancel()
    await turns()
    [answer] = answers
    answer.set_result((0, b'["<svg/>"]', b""))
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert others == [Drawings({("days0", "wide"): "<svg/>"})] * 5


async def test_a_drawing_that_nobody_waits_for_ends_and_another_begins(answers):
    asking = [asyncio.create_task(draw_served(CHARTS)) for _ in range(2)]
    await turns()
    for each in asking:
        each.cancel()
    await asyncio.wait(asking)
    assert answers[0].cancelled()
    again = asyncio.create_task(draw_served(CHARTS))
    await turns()
    answers[1].set_result((1, b"", b""))
    assert (await again).failure


async def test_charts_are_drawn_by_an_event_loop_that_starts_no_programs(monkeypatch):
    async def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    monkeypatch.setattr(charts, "_program", program("print('[\"<svg/>\"]')"))
    assert await draw_served(CHARTS) == Drawings({("days0", "wide"): "<svg/>"})


async def test_the_time_in_the_queue_counts(answers, monkeypatch):
    monkeypatch.setattr(charts, "_AT_ONCE", 0)
    monkeypatch.setattr(charts, "TIMEOUT_S", 0.01)
    assert "too many pages at once" in (await draw_served(CHARTS)).failure
    assert not answers


async def test_beyond_its_patience_a_page_has_no_charts_and_the_next_one_has(answers, monkeypatch):
    monkeypatch.setattr(charts, "_AT_ONCE", 1)
    first = asyncio.create_task(draw_served(CHARTS, patience_s=0))
    await turns()
    crowded = await draw_served({("days1", "wide"): {"kind": "other"}}, patience_s=0)
    assert crowded == Drawings(failure="charts were not drawn: too many pages at once")
    assert crowded.without_words() == crowded
    answers[0].set_result((0, b'["<svg/>"]', b""))
    assert not (await first).failure
    again = asyncio.create_task(draw_served({("days2", "wide"): {}}, patience_s=0))
    await turns()
    answers[1].set_result((0, b'["<svg/>"]', b""))
    assert not (await again).failure


async def test_at_most_so_many_programs_run_and_the_oldest_drawings_go(monkeypatch):
    text = "import json, sys; print(json.dumps(['x' * 1000] * len(json.load(sys.stdin))))"
    monkeypatch.setattr(charts, "_program", program(text))
    monkeypatch.setattr(charts, "_KEPT", 3000)
    running, most = 0, 0
    answer = charts._answer

    async def watched(question):
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await answer(question)
        finally:
            running -= 1

    monkeypatch.setattr(charts, "_answer", watched)
    asked = [{("days0", "wide"): {"kind": "days", "n": n}} for n in range(5)]
    made = await asyncio.gather(*map(draw_served, asked))
    assert all(each.svgs["days0", "wide"] == "x" * 1000 for each in made)
    assert most == charts._AT_ONCE
    assert len(charts._kept) == 2
