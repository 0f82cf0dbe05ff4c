"""The key: where it comes from, what is no key, and that no text ever tells it."""

import asyncio
import logging
import traceback

import pytest

from usage_async import ConfigurationError
from usage_async._http.key import KeyCustody, Secret, conceal_key, find_key

KEY = "sk-admin-canary-0123456789"
BEARER = f"Bearer {KEY}"


def custody(source):
    return KeyCustody(conceal_key(source))


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY_FILE", raising=False)


async def test_a_key_is_sent_as_a_bearer_token():
    assert await custody(KEY).authorization() == {"Authorization": BEARER}


async def test_without_a_key_there_is_no_header():
    assert await custody(None).authorization() == {}


async def test_a_callable_is_asked_once():
    asked = []

    async def source():
        asked.append(1)
        return KEY

    made = custody(source)
    for _ in range(3):
        assert await made.authorization() == {"Authorization": BEARER}
    assert len(asked) == 1


def test_the_environment_gives_a_key(monkeypatch, tmp_path):
    file = tmp_path / "key"
    file.write_text("sk-admin-of-the-file\n")
    monkeypatch.setenv("OPENAI_ADMIN_KEY_FILE", str(file))
    assert find_key() == "sk-admin-of-the-file"
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    assert find_key() == KEY
    assert repr(find_key()) == "<secret>"


def test_an_empty_variable_is_as_if_it_were_not_set(monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "")
    with pytest.raises(ConfigurationError, match="no admin key: set OPENAI_ADMIN_KEY or"):
        find_key()


@pytest.mark.parametrize(
    "content",
    [pytest.param("ключ".encode(), id="not ASCII"), pytest.param(b"\xff\xfe", id="not text")],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(monkeypatch, tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    monkeypatch.setenv("OPENAI_ADMIN_KEY_FILE", str(file))
    with pytest.raises(ConfigurationError) as error:
        find_key()
    told = f"OPENAI_ADMIN_KEY_FILE names {file}: it cannot be read: it is not ASCII text"
    assert str(error.value) == told
    assert error.value.__context__ is None


@pytest.mark.parametrize("value", [KEY, "gw.canary+/=" * 40, "canary/canary"], ids=len)
def test_a_key_in_place_of_its_file_is_not_told(monkeypatch, value):
    monkeypatch.setenv("OPENAI_ADMIN_KEY_FILE", value)
    del value
    with pytest.raises(ConfigurationError, match="holds no path of a file") as error:
        find_key()
    assert_tells_no_key(error.value)


WRONG = [
    pytest.param("", id="empty"),
    pytest.param(" ", id="blank"),
    pytest.param("canary7", id="too short to be told from other words"),
    pytest.param(f"{KEY} ", id="a blank behind"),
    pytest.param(f" {KEY}", id="a blank before"),
    pytest.param(f"{KEY}\n", id="a line end"),
    pytest.param(f"{KEY}\r\nX-Evil: 1", id="a second header"),
    pytest.param(f"{KEY}\0", id="a null"),
    pytest.param(f"{KEY}\x7f", id="a control character"),
    pytest.param(f"{KEY}é", id="not ASCII"),
    pytest.param(KEY.replace("s", "\u0455"), id="a letter that looks alike"),
    pytest.param(KEY.encode(), id="bytes"),
    pytest.param(5, id="a number"),
]


def assert_tells_no_key(error):
    text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "canary" not in text
    assert "canary" not in repr(vars(error))


@pytest.mark.parametrize("key", WRONG)
def test_what_is_no_key_is_refused_without_being_told(key):
    source = conceal_key(key)
    del key
    with pytest.raises(ConfigurationError, match="the admin key must") as error:
        KeyCustody(source)
    assert_tells_no_key(error.value)


@pytest.mark.parametrize("key", WRONG)
async def test_what_a_callable_gives_is_checked_too(key):
    async def source():
        return key

    made = custody(source)
    with pytest.raises(ConfigurationError, match="the admin key must"):
        await made.authorization()


@pytest.mark.parametrize(
    ("key", "warned"),
    [(KEY, False), ("sk-proj-canary", True), ("canary-8", True), ("SK-ADMIN-canary", True)],
)
def test_a_key_of_another_kind_is_only_warned_about(caplog, key, warned):
    custody(key)
    messages = ["the key does not start with sk-admin-; usage needs an admin key"]
    assert caplog.messages == (messages if warned else [])
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_secret_tells_neither_itself_nor_its_parts():
    secret = Secret(KEY)
    for shown in (repr(secret), f"{secret!r}", f"{[secret]}", repr(secret[-8:]), repr(secret[0])):
        assert "canary" not in shown
        assert "<secret>" in shown
    assert secret == KEY
    assert secret[-8:] == KEY[-8:]


async def test_the_header_and_its_holder_tell_nothing():
    made = custody(KEY)
    assert "canary" not in repr(made)
    assert "canary" not in repr(await made.authorization())
    assert "canary" not in repr([made._source, made._key])


@pytest.mark.parametrize("source", [None, len])
def test_what_is_not_a_text_is_left_as_it_is(source):
    assert conceal_key(source) is source


class Vault:
    """Gives one key after another, as slowly as an event loop's turn."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        await asyncio.sleep(0)
        return self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]


async def test_a_refused_key_is_asked_for_again():
    vault = Vault("sk-admin-old", "sk-admin-new")
    made = custody(vault)
    (refused,) = (await made.authorization()).values()
    assert await made.renew(refused)
    assert await made.authorization() == {"Authorization": "Bearer sk-admin-new"}


async def test_the_same_key_again_is_no_other_key():
    made = custody(Vault(KEY))
    (refused,) = (await made.authorization()).values()
    assert not await made.renew(refused)


@pytest.mark.parametrize("source", [KEY, None])
async def test_a_fixed_key_cannot_be_renewed(source):
    assert not await custody(source).renew(BEARER)


async def test_many_requests_that_were_refused_together_ask_once():
    vault = Vault("sk-admin-old", "sk-admin-new")
    made = custody(vault)
    headers = await asyncio.gather(*(made.authorization() for _ in range(5)))
    assert vault.asked == 1
    (refused,) = headers[0].values()
    assert await asyncio.gather(*(made.renew(refused) for _ in range(5))) == [True] * 5
    assert vault.asked == 2


async def test_a_request_that_was_sent_with_the_old_key_takes_the_new_one():
    vault = Vault("sk-admin-old", "sk-admin-new")
    made = custody(vault)
    (refused,) = (await made.authorization()).values()
    await made.renew(refused)
    assert await made.renew(refused)
    assert vault.asked == 2


async def test_a_callable_that_fails_is_asked_again_the_next_time():
    asked = []

    async def source():
        asked.append(1)
        if len(asked) == 1:
            raise OSError("the vault is closed")
        return KEY

    made = custody(source)
    with pytest.raises(OSError, match="closed"):
        await made.authorization()
    assert await made.authorization() == {"Authorization": BEARER}
