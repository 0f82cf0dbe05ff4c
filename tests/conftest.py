"""Fixtures for all tests."""

import asyncio
import decimal
import gc
import re
import signal

import aiohttp
import pytest
from browser import chromium_or_skip
from hypothesis import settings
from readers import FAST
from service import Clock

from usage_async import converter
from usage_async._codec.fast import NOTHING_LEARNED
from usage_async._codec.parsing import READER

# No deadline: a busy machine must not fail a test. To search longer for bugs:
# `pytest --hypothesis-profile=long`.
settings.register_profile("short", deadline=None, max_examples=15)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("short")

ALLOWED = re.compile(r"GET (127\.0\.0\.1|::1|localhost) (/v1)?/organization/[\w/-]+")


@pytest.fixture(autouse=True, scope="session")
def children_can_be_interrupted():
    """Undo an ignored SIGINT, which a background job inherits and would pass on to its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """Keep what the terminal keeps out of the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def only_documented_requests(monkeypatch):
    """Fail a test in which this package sends anything but GETs of known paths to this machine."""
    sent = set()
    send = aiohttp.ClientRequest.send

    def noted(request, connection):
        if request.headers.get("User-Agent", "").startswith("usage-async/"):
            sent.add(f"{request.method} {request.url.host} {request.url.path}")
        return send(request, connection)

    monkeypatch.setattr(aiohttp.ClientRequest, "send", noted)
    yield
    assert not {line for line in sent if not ALLOWED.fullmatch(line)}


@pytest.fixture(autouse=True)
def nothing_learned(monkeypatch):
    """No test reads what another one has taught the fast path."""
    for using in (READER, converter, FAST):
        monkeypatch.setattr(using, "learned", NOTHING_LEARNED)


@pytest.fixture
def clock():
    """Time that passes only by sleeping."""
    return Clock()


@pytest.fixture
async def nothing_left():
    """Check that after the test no task is left, and that the event loop has reported no error."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect(1)
    await asyncio.sleep(0)
    assert not complaints
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def hostile():
    """A decimal context that rounds to five digits, and that raises at whatever happens."""
    with decimal.localcontext(decimal.Context(prec=5, traps=list(decimal.Context().flags))):
        yield


@pytest.fixture(scope="module")
def chromium():
    """Headless Chromium, as Playwright's `Browser`; a module that uses it has no async tests."""
    with chromium_or_skip() as browser:
        yield browser
