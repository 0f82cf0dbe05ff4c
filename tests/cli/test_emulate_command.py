import attrs
import pytest

import usage_async.emulator
from usage_async.emulator import Faults, Quirks


@pytest.fixture
def served(monkeypatch):
    """Serve for a moment, then Ctrl-C; gives what was served."""
    emulators = []

    async def serve(emulator, *, started):
        emulators.append(emulator)
        async with emulator:
            started(emulator)
        raise KeyboardInterrupt

    monkeypatch.setattr(usage_async.emulator, "serve", serve)
    return emulators


def test_it_tells_what_to_set_and_ends_with_ctrl_c(cli, served):
    ran = cli("emulate", "--port", "0")
    assert ran.code == 130
    address = f"http://127.0.0.1:{served[0].port}/v1"
    assert ran.out.splitlines() == [
        f"USAGE_ASYNC_BASE_URL={address}",
        f"OPENAI_ADMIN_KEY={served[0].admin_key}",
    ]
    assert ran.err.splitlines()[-1] == "usage-async: interrupted"
    assert (served[0].faults, served[0].quirks) == (Faults(), Quirks())


def test_switches_are_the_fields_of_faults_and_quirks(cli, served):
    cli(
        *("emulate", "--port", "0", "--error-rate", "0.05", "--script", "error"),
        *("--script", "none", "--no-iso-fields", "--number-amounts", "--cursors", "looping"),
    )
    assert served[0].faults == Faults(error_rate=0.05, script=("error", "none"))
    assert served[0].quirks == Quirks(iso_fields=False, number_amounts=True, cursors="looping")


def test_every_switch_has_a_line_of_help(cli):
    out = cli("emulate", "--help", columns=200).out
    for field in [*attrs.fields(Faults), *attrs.fields(Quirks)]:
        assert f"--{field.name.replace('_', '-')} " in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--error-rate", "3"], "--error-rate must be"), (["--error-rate", "a"], "--error-rate")],
)
def test_an_impossible_switch_is_refused(cli, arguments, says):
    ran = cli("emulate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert says in ran.err
