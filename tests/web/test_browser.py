"""The page of `usage-async serve` in headless Chromium."""

import asyncio
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from asking import NOW, ORGANIZATION
from browser import Watched
from values import HOSTILE_NAMES
from web_server import spawn_serve

from usage_async.emulator import demo
from usage_async.report import read_report, write_report
from usage_async.report.details import MOST_STACKS, Stack
from usage_async.report.html.charts import charts_of, draw
from usage_async.report.html.form import Question, form_of
from usage_async.report.html.page import POLICY, report_page
from usage_async.report.spec import report_spec
from usage_async.report.values import Group, OrganizationRef, Report, Spend, Tokens, View

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def printed():
    """The URL that `usage-async serve` prints."""
    with spawn_serve("--period", "last-week") as process:
        try:
            yield process.stdout.readline().removesuffix("\n")
        finally:
            process.terminate()
            assert process.communicate(timeout=60) == ("", "serving until Ctrl-C\n")


def figures(page):
    """Figures that a person and a program read on the page."""

    def values(selector):
        return [Decimal(each.get_attribute("value")) for each in page.locator(selector).all()]

    as_of = page.locator("footer time").get_attribute("datetime")
    groups = "table:has(caption:text('Spend by project'), caption:text('Spend by user'))"
    return SimpleNamespace(
        as_of=datetime.fromisoformat(as_of).timestamp(),
        total=values(".card.total .figure data"),
        shown=page.locator(".card.total .figure").inner_text(),
        groups=values(f"{groups} tbody td:nth-child(2) data"),
        names=page.locator(f"{groups} tbody th").all_inner_texts(),
        notices=page.locator("#notices li").all_inner_texts(),
    )


def expected(as_of, period, dimension):
    """The same figures from the library, at the same instant."""

    async def read():
        async with demo(organization=ORGANIZATION, now=lambda: as_of) as client:
            query = client.costs(period=period, group_by=[dimension])
            total, groups = await query.total(), await query.totals()
        return total.amount_value, sorted(group.amount_value for group in groups)

    return asyncio.run(read())


def test_a_person_opens_the_page_and_changes_it(chromium, printed):
    origin = printed.partition("?")[0]
    with Watched(chromium) as window:
        page = window.page
        page.goto(printed)
        assert page.url == origin
        first = figures(page)
        page.get_by_label("Period").fill("this-month")
        page.get_by_label("Grouped by").select_option("user")
        page.get_by_role("button", name="Show").click()
        assert page.url == f"{origin}?period=this-month&by=user"
        second = figures(page)
        assert page.get_by_label("Period").input_value() == "this-month"
        assert page.get_by_label("Grouped by").input_value() == "user"
        page.get_by_role("link", name="JSON").click()
        assert page.url.startswith(f"{origin}page.json?period=this-month")
        page.go_back()
        assert page.locator("h1").inner_text().startswith("Example Labs")
        assert window.complaints == []
        assert [url for url in window.asked if not url.startswith((origin, "data:,"))] == []
        (cookie,) = window.context.cookies()
    for shown, period, dimension in (
        (first, "last-week", "project_id"),
        (second, "this-month", "user_id"),
    ):
        total, groups = in_a_thread(expected, shown.as_of, period, dimension)
        assert (shown.total, sorted(shown.groups)) == ([total], groups)
        assert shown.shown == f"${total:,.2f}"
    assert any(name.startswith("Web app") for name in first.names)
    assert any("may still be revised" in notice for notice in second.notices)
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert (cookie["domain"], cookie["path"], cookie["expires"]) == ("127.0.0.1", "/", -1)
    assert cookie["name"] == f"usage_async_{origin.split(':')[2].strip('/')}"
    assert cookie["value"] not in printed


def in_a_thread(function, *given):
    """Run what has an event loop of its own beside that of the browser's driver."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *given).result()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_without_scripts_on_a_phone(chromium, printed, scheme):
    phone = {"width": 390, "height": 844}
    with Watched(
        chromium, viewport=phone, color_scheme=scheme, java_script_enabled=False
    ) as window:
        window.page.goto(printed)
        assert window.page.locator(".total").is_visible()
        assert window.page.locator(".chart.narrow svg").first.is_visible()
        assert not window.page.locator(".chart.wide").first.is_visible()
        assert window.page.get_by_role("searchbox").count() == 0
        assert window.page.locator("thead button").count() == 0
        fill = "getComputedStyle(document.querySelector('.chart .s0')).fill"
        assert (window.page.evaluate(fill) == "rgb(0, 114, 178)") is (scheme == "light")
        paper = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
        assert window.page.evaluate("document.documentElement.scrollWidth") == phone["width"]
        assert window.complaints == []


def replier(body, headers=None):
    """Make a server of one reply."""
    return lambda route: route.fulfill(body=body, headers=headers)


def test_a_page_of_another_origin_reads_nothing(chromium, printed):
    """Pages on other ports are of the same site: the browser sends them its strict cookies."""
    origin = printed.partition("?")[0]
    with Watched(chromium) as window:
        window.page.goto(printed)
        port = int(origin.split(":")[2].strip("/"))
        neighbour = f"http://127.0.0.1:{port % 60_000 + 1024}/"
        window.page.route(neighbour, replier("<p>neighbour</p>"))
        window.page.goto(neighbour)
        read = window.page.evaluate(
            """async origin => {
                try { return await (await fetch(origin, {credentials: 'include'})).text() }
                catch (error) { return error.name }
            }""",
            origin,
        )
        window.page.evaluate("origin => { location = origin }", origin)
        window.page.wait_for_url(origin)
        text = window.page.locator("body").inner_text()
        window.page.goto(origin)
        assert window.page.locator(".total").count() == 1
    assert read == "TypeError"
    assert text.startswith("Another site has asked for this.")


def test_a_person_sorts_and_searches_by_mouse_and_by_keyboard(chromium, printed):
    with Watched(chromium) as window:
        page = window.page
        page.goto(f"{printed}")
        table = page.locator("table:has(caption:text('Spend by model'))")
        heads = table.locator("tbody tr th")
        before = heads.all_inner_texts()
        table.get_by_role("button", name="model").click()
        assert table.locator("thead th").first.get_attribute("aria-sort") == "ascending"
        assert heads.all_inner_texts() == sorted(before, key=str.casefold)
        table.get_by_role("button", name="spend").focus()
        page.keyboard.press("Enter")
        assert table.locator("thead th").first.get_attribute("aria-sort") is None
        assert heads.all_inner_texts() == before
        page.keyboard.press("Enter")
        assert heads.all_inner_texts() == before[::-1]
        search = page.locator("section", has=table).get_by_role("searchbox")
        search.fill("EMBEDDING")
        seen = table.locator("tbody:visible th")
        shown = seen.all_inner_texts()
        assert shown == [name for name in before[::-1] if "embedding" in name]
        assert page.locator(".search output").first.inner_text() == f"{len(shown)} of {len(before)}"
        search.fill("")
        assert seen.count() == len(before)
        assert window.complaints == []


TOKENS = ("completions", "decisions", "embeddings", "moderations")


def test_parts_are_sorted_within_their_group(chromium, printed):
    with Watched(chromium) as window:
        page = window.page
        page.goto(printed)
        page.get_by_label("Grouped by").select_option("project, then model")
        page.get_by_role("button", name="Show").click()
        table = page.locator("table:has(caption:text('Spend by project and model'))")
        table.get_by_role("button", name="project and model").click()
        bodies = [
            body.locator("th > bdi").all_inner_texts() for body in table.locator("tbody").all()
        ]
        groups = [names[0] for names in bodies]
        assert groups == sorted(groups, key=str.casefold)
        for _, *parts in bodies:
            assert parts == sorted(parts, key=str.casefold)
        assert len(bodies[0]) > 3
        assert window.complaints == []


HOSTILE = (*HOSTILE_NAMES, "=1+1", "]]></style><script>alert(2)</script>")


@pytest.fixture(scope="module")
def hostile_page():
    """A page of a report in which everything that a service may choose is hostile."""
    spec = report_spec(1_795_348_800, period="2026-10-05")
    groups = tuple(Group(id=name, name=f"{name} name", amount=Decimal(1)) for name in HOSTILE)
    days = ((spec.period.start.date(), Decimal(len(groups))),)
    stacks = tuple(Stack(id=name, amounts=(Decimal(1),)) for name in HOSTILE[:MOST_STACKS])
    rest = Stack(id=None, amounts=(Decimal(len(HOSTILE) - MOST_STACKS),))
    spend = Spend(
        currency="<i>",
        total=Decimal(len(groups)),
        days=days,
        groups=groups,
        stacks=(*stacks, rest),
        models=groups,
    )
    report = Report(
        spec=spec,
        organization=OrganizationRef(HOSTILE_NAMES[0], HOSTILE_NAMES[1]),
        spends=(spend,),
        tokens=(Tokens(id=HOSTILE[1], requests=1),),
        uncounted=(HOSTILE[2],),
        endpoints=(),
        blanks=(),
    )
    drawings = draw(charts_of(report))
    assert drawings.failure == ""
    return report_page(
        report,
        View(notices=HOSTILE),
        drawings,
        form_of(Question(HOSTILE_NAMES[2], "model"), json="x.json"),
    )


@pytest.mark.parametrize("policy", [POLICY, ""], ids=["with a policy", "without"])
def test_a_hostile_name_cannot_become_a_script(chromium, hostile_page, policy):
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": policy}
    body = hostile_page
    if not policy:
        # Of the page itself only the escaping is left.
        body = body.replace(b'http-equiv="Content-Security-Policy"', b'name="none"')
    with Watched(chromium) as window:
        page = window.page
        page.route("**/*", replier(body, headers))
        page.goto("http://127.0.0.1:9/")
        assert page.locator("img, b").count() == 0
        assert page.locator("script").count() == 1
        assert page.locator("[onload], [onerror], [style]").count() == 0
        assert page.locator(".chart title").count() == 1
        titles = page.locator(".chart title").first.text_content()
        assert HOSTILE[0] in titles
        table = page.locator("table:has(caption:text('Spend by project'))")
        shown = table.locator("tbody th > bdi").all_inner_texts()
        search = page.locator("section", has=table).get_by_role("searchbox")
        search.fill("</script>")
        table.get_by_role("button", name="project").click()
        assert window.complaints == []
        assert window.asked == ["http://127.0.0.1:9/"]
    assert shown[0] == f"{HOSTILE_NAMES[0]} name"
    assert len(shown) == len(HOSTILE)


def test_a_file_is_one_page_that_loads_nothing_and_can_be_printed(chromium, tmp_path):
    file = tmp_path / "october.html"

    async def write():
        async with demo(organization=ORGANIZATION, now=lambda: NOW) as client:
            report = await read_report(client, "2026-10", compare=True, detailed=True)
            await write_report(report, file)
            costs = await client.costs(period="2026-10").total()
            used = [await client.query(name, period="2026-10").total() for name in TOKENS]
        cached = sum(getattr(each, "input_cached_tokens", 0) for each in used)
        given = sum(each.input_tokens for each in used)
        return costs.amount_value, [given, cached, sum(map(output, used))]

    def output(row):
        return getattr(row, "output_tokens", 0)

    total, used = in_a_thread(asyncio.run, write())
    assert file.stat().st_size < 100_000
    with Watched(chromium) as window:
        page = window.page
        page.goto(file.as_uri())
        value = page.locator(".card.total .figure data").get_attribute("value")
        days = page.locator("details table tbody td:nth-child(2) data")
        per_day = [Decimal(each.get_attribute("value")) for each in days.all()]
        assert Decimal(value) == sum(per_day) == total
        kinds = page.locator("table:has(caption:text('Tokens by kind')) tbody td:nth-child(2) data")
        tokens = [int(each.get_attribute("value")) for each in kinds.all()]
        assert [sum(tokens[:3]), tokens[1], tokens[3]] == used
        assert page.locator(".chart.wide svg").count() == 3
        assert page.locator("form, a[href^='http']").count() == 0
        told = [each.get_attribute("aria-label") for each in page.locator(".chart.wide").all()]
        assert told[0].startswith("Spend of each day from 2026-10-01 to 2026-10-31, highest day $")
        assert len(told) == 3
        assert len(page.pdf(format="A4")) > 20_000
        assert window.complaints == []
        assert window.asked == [file.as_uri()]
