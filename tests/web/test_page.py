"""The page of a report at `/report`: within its scope, shared, tagged, and safe."""

import asyncio
import re
import sys
from html import unescape
from typing import Annotated

import pytest
from fastapi import FastAPI, Header, HTTPException
from service import NOW
from web_server import direct

from usage_async import RetryPolicy, Runtime
from usage_async.errors import ConfigurationError
from usage_async.fastapi import ALL, Scope, usage_lifespan, usage_router
from usage_async.report.html import charts
from usage_async.report.html.page import POLICY
from usage_async.report.reading import query_count
from usage_async.report.spec import report_spec

from .test_router import BOSS, OTHER, OWN, Leaky

DRAWS = "import json, sys; print(json.dumps(['<svg >'] * len(json.load(sys.stdin))))"
FAILS = "raise SystemExit('/secret/place')"
SETTLED = {"period": "2026-01"}


@pytest.fixture(autouse=True)
def program(monkeypatch):
    """Choose the program that draws, which takes no time; nothing that it drew is kept."""

    def choose(text):
        monkeypatch.setattr(charts, "_program", lambda: [sys.executable, "-c", text])

    choose(DRAWS)
    charts._kept.clear()
    yield choose
    charts._kept.clear()


async def tenant(token: Annotated[str, Header()] = "") -> object:
    people = Scope([OWN], people=True)
    scopes = {"boss": ALL, "own": Scope([OWN]), "people": people}
    if token not in scopes:
        raise HTTPException(401)
    return scopes[token]


def app_of(transport, *, max_waiting=1000, **options):
    options = {"runtime": Runtime(now=lambda: NOW), "retry": RetryPolicy(attempts=1), **options}
    app = FastAPI(lifespan=usage_lifespan(transport=transport, **options))
    app.include_router(usage_router(scope=tenant, max_waiting=max_waiting))
    return app


async def test_equal_questions_are_one_reading_one_drawing_and_one_page():
    upstream = Leaky()
    async with direct(app_of(upstream)) as browser:

        def ask(**more):
            return browser.get("/report", params=SETTLED, headers={**BOSS, **more})

        found = await asyncio.gather(*(ask() for _ in range(20)))
        sent = len(upstream.sent)
        again = await ask()
        assert len(upstream.sent) == sent
        held = await ask(**{"if-none-match": again.headers["etag"]})
        link = unescape(re.search('<a href="([^"]*)">The same as JSON', again.text)[1])
        same = await browser.get(f"/{link}", headers=BOSS)
        other = await browser.get("/report", params={"period": "2026-01-31"}, headers=BOSS)
    assert {reply.status_code for reply in found} == {200}
    assert len({(reply.content, reply.headers["etag"]) for reply in [*found, again]}) == 1
    assert len(charts._kept) >= 1
    spec = report_spec(NOW, **SETTLED, compare=True, detailed=True)
    assert sent == query_count(spec)
    assert (held.status_code, held.content) == (304, b"")
    assert again.headers["content-type"] == "text/html; charset=utf-8"
    assert again.headers["content-security-policy"] == POLICY
    assert again.headers["cache-control"] == "private, no-cache"
    assert again.headers["x-content-type-options"] == "nosniff"
    assert "<svg >" in again.text
    assert same.json()["by"] == "project_id"
    assert other.headers["etag"] != again.headers["etag"]


async def test_the_same_days_in_other_words_show_the_words_that_were_asked_with():
    async with direct(app_of(Leaky())) as browser:
        for period in ("2026-01-05", "2026-01-05", "2026-W02"):
            reply = await browser.get("/report", params={"period": period}, headers=BOSS)
            assert f'value="{period}"' in reply.text


async def test_a_tenant_sees_its_own_projects_and_no_choice_beyond_its_scope():
    async with direct(app_of(Leaky())) as browser:
        pages = {
            token: await browser.get("/report", params=SETTLED, headers={"token": token})
            for token in ("boss", "own", "people")
        }
        people = await browser.get(
            "/report", params={**SETTLED, "by": "user_id"}, headers={"token": "own"}
        )
        nobody = await browser.get("/report", params=SETTLED)
    assert OTHER in pages["boss"].text
    for token in ("own", "people"):
        assert pages[token].status_code == 200
        assert OWN in pages[token].text
        assert OTHER not in pages[token].text
    offered = {token: "user_id" in page.text for token, page in pages.items()}
    keys = {token: "api_key_id" in page.text for token, page in pages.items()}
    assert offered == {"boss": True, "own": False, "people": False}
    assert keys == {"boss": True, "own": False, "people": True}
    assert people.status_code == 403
    assert 'role="alert"' in people.text
    assert nobody.status_code == 401


async def test_a_page_tells_why_the_bill_changed_as_far_as_the_scope_goes():
    upstream = Leaky()
    async with direct(app_of(upstream)) as browser:

        async def page(token):
            return (await browser.get("/report", params=SETTLED, headers={"token": token})).text

        pages = {token: await page(token) for token in ("boss", "own", "people")}
        sent = len(upstream.sent)
        assert await page("own") == pages["own"]
        assert len(upstream.sent) == sent
    for text in pages.values():
        assert "Why it changed" in text
        assert "<li>The bill " in text
    told = "spend by API key: refused: API keys are outside of the scope"
    assert [told in text for text in pages.values()] == [False, True, False]


@pytest.mark.parametrize(
    ("params", "status", "says"),
    [
        ({"period": "<i>"}, 422, "&lt;i&gt;"),
        ({"by": "<i>"}, 422, "by takes one or two of"),
        ({"by": "model,model"}, 422, "twice"),
    ],
)
async def test_a_wrong_choice_is_a_page_with_its_form(params, status, says):
    async with direct(app_of(Leaky())) as browser:
        reply = await browser.get("/report", params=params, headers=BOSS)
    assert reply.status_code == status
    assert says in reply.text
    assert "<i>" not in reply.text
    assert '<form method="get">' in reply.text
    assert reply.headers["content-security-policy"] == POLICY
    assert reply.headers["cache-control"] == "no-store"


async def test_unknown_parameters_and_two_values_are_refused():
    async with direct(app_of(Leaky())) as browser:
        unknown = await browser.get("/report", params={"project_ids": OTHER}, headers=BOSS)
        twice = await browser.get("/report?by=model&by=user_id", headers=BOSS)
    assert (unknown.status_code, twice.status_code) == (422, 422)


async def test_a_failure_of_the_service_is_a_page_without_its_words():
    async def fails(path, params, headers):
        return 429, {"retry-after": "7"}, b"words"

    async with direct(app_of(fails)) as browser:
        reply = await browser.get("/report", params=SETTLED, headers=BOSS)
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "7"
    assert "the usage service is throttling this server" in reply.text
    assert "words" not in reply.text.partition("<script>")[0].partition("</style>")[2]


async def test_two_dimensions_are_nested_and_their_link_gives_the_same_as_json():
    async with direct(app_of(Leaky())) as browser:
        params = {**SETTLED, "by": "project_id,model"}
        reply = await browser.get("/report", params=params, headers=BOSS)
        link = unescape(re.search('<a href="([^"]*)">The same as JSON', reply.text)[1])
        same = await browser.get(f"/{link}", headers=BOSS)
    assert reply.status_code == 200
    assert '<option value="project_id,model" selected>project, then model</option>' in reply.text
    assert (same.json()["by"], same.json()["then_by"]) == ("project_id", "model")


async def test_without_charts_the_page_says_so_and_is_not_kept_as_settled(program, caplog):
    program(FAILS)
    upstream, ticks = Leaky(), [0.0]
    runtime = Runtime(now=lambda: NOW, monotonic=lambda: ticks[0])
    async with direct(app_of(upstream, runtime=runtime)) as browser:
        first = await browser.get("/report", params=SETTLED, headers=BOSS)
        sent = len(upstream.sent)
        program(DRAWS)
        ticks[0] = 3700
        second = await browser.get("/report", params=SETTLED, headers=BOSS)
        assert len(upstream.sent) == 2 * sent
        ticks[0] += 3700
        third = await browser.get("/report", params=SETTLED, headers=BOSS)
    assert len(upstream.sent) == 2 * sent
    assert "<li>charts could not be drawn</li>" in first.text
    assert "/secret/place" in caplog.text
    assert "/secret/place" not in first.text
    assert "could not be drawn" not in second.text
    assert second.content == third.content


async def test_a_crowd_gets_its_figures_and_some_without_charts(monkeypatch):
    monkeypatch.setattr(charts, "PATIENCE_S", 0)
    periods = [f"2026-01-{day:02d}" for day in range(1, 9)]
    async with direct(app_of(Leaky())) as browser:
        asked = (browser.get("/report", params={"period": one}, headers=BOSS) for one in periods)
        pages = await asyncio.gather(*asked)
    assert {page.status_code for page in pages} == {200}
    told = "<li>charts were not drawn: too many pages at once</li>"
    assert {(told in page.text, "<svg >" in page.text) for page in pages} == {
        (True, False),
        (False, True),
    }


async def test_without_the_extra_there_is_one_line_and_no_page(monkeypatch, caplog):
    name = "usage_async.report.html.page"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("usage_async.report.html.charts.find_spec", lambda name: None)
    async with direct(app_of(Leaky())) as browser:
        reply = await browser.get("/report", headers=BOSS)
        beside = await browser.get("/report.json", params=SETTLED, headers=BOSS)
    assert (reply.status_code, beside.status_code) == (404, 200)
    [line] = [record.getMessage() for record in caplog.records if "/report" in record.getMessage()]
    assert line == (
        "/report is not served: a page needs altair, vl-convert and jinja2:"
        " pip install 'usage-async[report]'"
    )
    assert name not in sys.modules


def test_without_jinja_there_is_one_line(monkeypatch):
    monkeypatch.delitem(sys.modules, "usage_async.report.html.page")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'usage-async\[report\]'"):
        __import__("usage_async.report.html.page")


async def test_a_page_waits_like_any_question():
    async with direct(app_of(Leaky(), max_waiting=0)) as browser:
        reply = await browser.get("/report", params=SETTLED, headers=BOSS)
    assert reply.status_code == 503
