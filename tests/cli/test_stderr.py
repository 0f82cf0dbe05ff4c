"""Errors in the terminal never tell the admin key, wherever it was put by mistake."""

import os
import subprocess
import sys

import pytest

from usage_async._cli import stderr

from .conftest import environment

KEY = "gw.Zq7Rk3Vw9Xp2Lm5Tn8Bd4Hj6"  # a gateway's, without a prefix that is known
_ASKED = ("total", "costs", "--period", "7d")


def _tells(text: str) -> bool:
    text = text.lower()
    return any(KEY[at : at + 8].lower() in text for at in range(len(KEY) - 7))


@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["", "debug"])
@pytest.mark.parametrize(
    "tokens",
    [
        ("total", "costs", "--period", KEY),
        ("total", "costs", "--start", KEY),
        ("total", "path", KEY, "--period", "7d"),
        ("total", "path", f"/organization/{KEY}", "--period", "7d"),
        (*_ASKED, "--by", KEY),
        (*_ASKED, "--set", KEY),
        (*_ASKED, "--set", f"{KEY}[]=x"),
        (*_ASKED, "--limit", KEY),
        (*_ASKED, "--admin-key", KEY),
        (*_ASKED, "--base-url", f"https://{KEY}.invalid:x"),
        (*_ASKED, "--proxy", KEY),
        ("report", "--by", KEY),
        ("fetch", "costs", "--period", "7d", "-o", f"{KEY}.txt"),
        ("fetch", "costs", "--period", "7d", "-o", f"/nowhere/{KEY}.csv"),
        (KEY,),
    ],
    ids=lambda tokens: " ".join(tokens).replace(KEY, "KEY"),
)
def test_a_key_among_the_arguments_is_not_told(cli, bare, tokens, debug):
    bare.setenv("OPENAI_ADMIN_KEY", KEY)
    ran = cli(*tokens, *debug)
    assert ran.code in (1, 2)
    assert ran.err
    assert not _tells(ran.out + ran.err)


@pytest.mark.parametrize("command", [("doctor",), _ASKED, (*_ASKED, "--debug")], ids=" ".join)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", KEY),
        ("HTTPS_PROXY", f"https://{KEY}.invalid:1"),
        ("HTTPS_PROXY", f"http://{KEY}.invalid:1"),
        ("HTTPS_PROXY", KEY),
        ("HTTPS_PROXY", f"http://user:{KEY}@127.0.0.1:9"),
        ("USAGE_ASYNC_BASE_URL", KEY),
        ("USAGE_ASYNC_BASE_URL", f"https://{KEY}.invalid/v1"),
    ],
)
def test_a_key_in_another_variable_is_not_told(cli, bare, command, variable, value):
    bare.setenv("OPENAI_ADMIN_KEY", KEY)
    bare.setenv("USAGE_ASYNC_BASE_URL", "https://127.0.0.1:9/v1")
    bare.setenv(variable, value)
    ran = cli(*command)
    assert ran.code in (1, 2)
    assert not _tells(ran.out + ran.err)


def test_a_key_of_a_file_is_not_told(cli, bare, tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    bare.setenv("OPENAI_ADMIN_KEY_FILE", str(file))
    assert "not '…'" in cli("total", "costs", "--period", KEY).err


@pytest.mark.parametrize("content", [b"\xff", None])
def test_a_file_that_is_no_key_hides_nothing(bare, tmp_path, content):
    file = tmp_path / "key"
    file.mkdir() if content is None else file.write_bytes(content)
    bare.setenv("OPENAI_ADMIN_KEY_FILE", str(file))
    assert stderr.without_keys(f"{file}: {KEY}") == f"{file}: {KEY}"


def test_a_key_instead_of_the_path_of_its_file_is_not_told(cli, bare):
    bare.setenv("OPENAI_ADMIN_KEY_FILE", KEY)
    assert not _tells(cli("total", "costs", "--period", KEY).err)


def test_what_looks_like_a_key_is_not_told_either(cli):
    ran = cli("total", "costs", "--demo", "--period", "sk-admin-0123456789")
    assert "not 'sk-…'" in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="no full device")
@pytest.mark.parametrize(
    ("command", "code"),
    [("total costs --demo --period 7d", 0), ("--nonsense", 2), ("report --top -1 --debug", 2)],
)
def test_a_full_disk_behind_standard_error_changes_no_code(command, code):
    ran = _shell(f"{{}} {command} >/dev/null 2>/dev/full; echo $?")
    assert ran.stdout.strip() == str(code).encode()


@pytest.mark.skipif(sys.platform == "win32", reason="no shell with `head`")
@pytest.mark.parametrize("command", ["--help", "total costs --help"])
def test_help_into_a_pipe_that_closes_early_is_no_error(command):
    ran = _shell(f"({{}} {command}; echo $? >&2) | head -c 1")
    assert ran.stderr == b"0\n"


def _shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S602 - the shell is the point
        command.format(f"{sys.executable} -m usage_async._cli"),
        shell=True,
        env=environment(),
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_what_nobody_can_hear_is_lost(monkeypatch):
    class Full:
        def write(self, _text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    stderr.write_line("anything")
    with sys.stderr as nowhere:
        stderr.write_line("more")
    assert nowhere.name == os.devnull
