"""Clients of organizations: the sources of their keys, and what no message shows."""

import asyncio
import stat
import sys
from pathlib import Path

import pytest
from asking import until
from service import KEY

from usage_async.collect import Organization, clients
from usage_async.collect.clients import read_key
from usage_async.errors import ConfigurationError


async def refusal(organization):
    with pytest.raises(ConfigurationError) as caught:
        await read_key(organization)
    return caught.value.message


async def test_a_key_comes_from_a_variable(monkeypatch):
    organization = Organization("acme", key_variable="ACME_KEY")
    monkeypatch.setenv("ACME_KEY", f" {KEY}\n")
    key = await read_key(organization)
    assert (str(key), repr(key)) == (KEY, "<secret>")
    monkeypatch.delenv("ACME_KEY")
    assert await refusal(organization) == "ACME_KEY, the variable of the key, is not set"
    assert "abc" not in await refusal(Organization("acme", key_variable="abc"))


async def test_a_key_comes_from_a_file(tmp_path):
    file = tmp_path / "key"
    organization = Organization("acme", key_file=str(file))
    assert str(file) not in await refusal(organization)
    nobody = Organization("acme", key_file="~nobody-of-this-name/key")
    assert await refusal(nobody) == (
        "the file of the key cannot be read: No such file or directory"
    )
    file.write_text(KEY + "\n")
    assert await read_key(organization) == KEY
    file.write_bytes(b"\xff")
    assert str(file) in await refusal(organization)


async def test_a_key_comes_from_where_a_client_finds_it(monkeypatch):
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    assert await read_key(Organization("acme")) == KEY


@pytest.fixture
def command(tmp_path):
    """A function that makes an organization whose key a script prints."""
    script = tmp_path / "key"

    def made(text):
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return Organization("acme", key_command=[str(script), "a b"])

    return made


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_key_comes_from_a_command_that_no_shell_runs(command):
    assert await read_key(command(f'[ "$1" = "a b" ] && echo {KEY}; echo {KEY} >&2')) == KEY


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_command_that_fails_says_nothing_of_its_output(command, capfd):
    said = await refusal(command(f"echo {KEY}; echo {KEY} >&2; exit 3"))
    assert said == "the command of the key failed with exit code 3; run it by hand to see why"
    assert "cannot be run: No such file" in await refusal(
        Organization("acme", key_command=["/nowhere/at-all"])
    )
    assert "its arguments are wrong" in await refusal(Organization("a", key_command=["a\0b"]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_command_that_hangs_is_ended_with_its_children(command, monkeypatch, tmp_path):
    note, limit, is_waiting = tmp_path / "child", asyncio.timeout(None), asyncio.Event()

    def timeout(_):
        is_waiting.set()
        return limit

    monkeypatch.setattr(clients.asyncio, "timeout", timeout)
    reading = asyncio.create_task(refusal(command(f"sleep 60 & echo $! > {note}; wait")))
    await is_waiting.wait()
    await until(lambda: number_in(note))
    # The time that the command has is over.
    limit.reschedule(0)
    assert await reading == "the command of the key printed no key within 30 s"
    await until(lambda: not is_running(number_in(note)))


@pytest.mark.skipif(sys.platform == "win32", reason="the command is a shell script")
async def test_a_command_that_prints_without_end_is_ended(command):
    said = await refusal(command("exec yes"))
    assert said == "the command of the key printed more than a key"


def number_in(file):
    """The number in a file that ends with a line; None before that."""
    text = file.read_text() if file.exists() else ""
    return int(text) if text.endswith("\n") else None


def is_running(number):
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
