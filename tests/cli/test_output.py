import os
import stat
import sys
from pathlib import Path

import pytest

from usage_async._cli.output import destination


def test_a_new_file_appears_when_it_is_whole(tmp_path):
    file = tmp_path / "new"
    with destination(file) as sink:
        sink.write(b"one")
        assert not file.exists()
    assert file.read_bytes() == b"one"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_an_old_file_is_replaced_and_keeps_its_permissions(tmp_path):
    file = tmp_path / "old"
    file.write_bytes(b"old")
    file.chmod(0o640)
    with destination(file) as sink:
        sink.write(b"new")
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, SystemExit])
def test_after_a_failure_the_old_file_is_intact_and_nothing_is_left(tmp_path, failure):
    file = tmp_path / "old"
    file.write_bytes(b"old")
    with pytest.raises(failure), destination(file) as sink:  # noqa: PT012 - it fails half-way
        sink.write(b"half")
        raise failure
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old": b"old"}


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with destination(tmp_path / "link") as sink:
        sink.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_device_is_written_to():
    with destination(Path(os.devnull)) as sink:
        sink.write(b"gone")
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("place", [None, Path("-")])
def test_standard_output_is_written_at_once(capfdbinary, place):
    with destination(place) as sink:
        sink.write("é".encode())
        assert capfdbinary.readouterr().out == "é".encode()


def test_a_terminal_is_never_steered(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with destination(None) as sink:
        sink.write("one\x1b[31m\x9b\ntwo\u202e\n".encode())
    assert capsys.readouterr().out == "one\\x1b[31m\\x9b\ntwo\\u202e\n"


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    file = tmp_path / "no" / "file"
    with pytest.raises(FileNotFoundError, match="no/file'"), destination(file):
        pass
    with pytest.raises(IsADirectoryError), destination(tmp_path):
        pass
