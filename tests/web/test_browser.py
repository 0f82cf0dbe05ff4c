"""The page of `usage-async serve` in headless Chromium."""

import asyncio
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from asking import ORGANIZATION
from browser import Watched
from values import HOSTILE_NAMES
from web_server import spawn_serve

from usage_async.emulator import demo
from usage_async.report.html import POLICY, Question, report_page
from usage_async.report.spec import report_spec
from usage_async.report.values import Group, OrganizationRef, Report, Spend, View

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
    """What a person and a program read on the page."""

    def values(selector):
        return [Decimal(each.get_attribute("value")) for each in page.locator(selector).all()]

    as_of = page.locator("footer time").get_attribute("datetime")
    return SimpleNamespace(
        as_of=datetime.fromisoformat(as_of).timestamp(),
        total=values(".total data"),
        shown=page.locator(".total").inner_text(),
        groups=values("table:has(caption:text('Spend by')) tbody data"),
        names=page.locator("table:has(caption:text('Spend by')) tbody th").all_inner_texts(),
        notices=page.locator("li").all_inner_texts(),
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
        page.get_by_label("Grouped by").select_option("line item")
        page.get_by_role("button", name="Show").click()
        assert page.url == f"{origin}?period=this-month&by=line-item"
        second = figures(page)
        assert page.get_by_label("Period").input_value() == "this-month"
        assert page.get_by_label("Grouped by").input_value() == "line-item"
        page.get_by_role("link", name="JSON").click()
        assert page.url.startswith(f"{origin}page.json?period=this-month")
        page.go_back()
        assert page.locator("h1").inner_text().startswith("Example Labs")
        assert window.complaints == []
        assert [url for url in window.asked if not url.startswith((origin, "data:,"))] == []
        (cookie,) = window.context.cookies()
    for shown, period, dimension in (
        (first, "last-week", "project_id"),
        (second, "this-month", "line_item"),
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


def test_a_hostile_name_cannot_become_a_script(chromium):
    spec = report_spec(1_795_348_800, period="2026-10-05")
    groups = tuple(Group(id=name, name=f"{name} name", amount=Decimal(1)) for name in HOSTILE_NAMES)
    days = ((spec.period.start.date(), Decimal(len(groups))),)
    spend = Spend(currency="<i>", total=Decimal(len(groups)), days=days, groups=groups)
    report = Report(
        spec=spec,
        organization=OrganizationRef(HOSTILE_NAMES[0], HOSTILE_NAMES[1]),
        spends=(spend,),
        tokens=(),
        uncounted=(),
        endpoints=(),
        blanks=(),
    )
    body = report_page(
        Question(HOSTILE_NAMES[2], "model"), report, View(notices=tuple(HOSTILE_NAMES))
    )
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
    for sent in (headers, {**headers, "content-security-policy": ""}):
        with Watched(chromium) as window:
            page = window.page
            page.route("**/*", replier(body, sent))
            page.goto("http://127.0.0.1:9/")
            assert page.locator("script, img, b").count() == 0
            shown = page.locator("tbody th bdi").all_inner_texts()
            assert window.complaints == []
            assert window.asked == ["http://127.0.0.1:9/"]
        assert shown[0] == f"{HOSTILE_NAMES[0]} name"
        assert len(shown) == 2 * len(HOSTILE_NAMES)
