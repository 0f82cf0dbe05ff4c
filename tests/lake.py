"""Shared by the tests of Delta Lake: folders of tables seen past the backend, S3, killed runs."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Self

import attrs
import deltalake
import deltalake.exceptions
import polars as pl
from collecting import COMPLETIONS, HOUR, START, flat, ordered, snapshot, usage

from usage_async.collect import Feed, OtherRow, Snapshot
from usage_async.collect.delta.backend import DeltaBackend, delta_backend
from usage_async.errors import StoreMovedError, UsageError

CANARY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
"""A secret key of the form that S3's have. It must not be seen anywhere."""


@attrs.define
class DeltaShelf:
    """A folder of Delta tables, whose rows polars reads. See `Shelf`."""

    where: str
    keeps = frozenset({"other", "nulls"})

    def open(self) -> DeltaBackend:
        """See `Shelf`."""
        return delta_backend(self.where)

    def table(self, name: str) -> deltalake.DeltaTable:
        """Open a table by its name."""
        return deltalake.DeltaTable(f"{self.where}/{name}")

    def _read(self, name: str) -> list[dict[str, Any]]:
        try:
            table = self.table(name)
        except deltalake.exceptions.TableNotFoundError:
            return []
        found = ordered(flat(row) for row in pl.read_delta(table).to_dicts())
        for row in found:
            start = pl.from_epoch(pl.Series([row["start_time"]]))
            assert row.pop("month", None) in {None, start.dt.strftime("%Y-%m").item()}
        return found

    def rows(self, feed: Feed) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return ordered(self._read(feed.table))

    def columns(self, feed: Feed) -> list[str]:
        """See `Shelf`."""
        return [field.name for field in self.table(feed.table).schema().fields]

    def revisions(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return []

    def other(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        found = self._read("usage_other")
        for row in found:
            row["row"] = row.pop("content")
        return found

    def names(self) -> list[dict[str, Any]]:
        """See `Shelf`."""
        return []

    def add_column(self, feed: Feed, name: str) -> None:
        """See `Shelf`."""
        table = self.table(feed.table)
        table.alter.add_columns(deltalake.Field(name, "long"))
        table.update(updates={name: "7"})

    def drop_column(self, feed: Feed, name: str) -> None:
        """See `Shelf`."""
        rows = pl.read_delta(f"{self.where}/{feed.table}").drop(name).to_arrow()
        table = self.table(feed.table)
        deltalake.write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite")

    def make_newer(self) -> None:
        """See `Shelf`."""
        for name in ("usage_feeds", COMPLETIONS.table):
            self.set_property(name, "usage_async.layout", "2")

    def set_property(self, name: str, key: str, value: str) -> None:
        """Set a property of a table."""
        alter = self.table(name).alter
        alter.set_table_properties({key: value}, raise_if_not_exists=False)


@attrs.define
class S3:
    """A server that speaks the protocol of S3; a context manager."""

    address: tuple[str, int] = ("", 0)
    _process: Any = None
    _buckets: Iterator[int] = attrs.Factory(count)

    _MOTO = (
        "import sys; from moto.server import ThreadedMotoServer as S; s = S('127.0.0.1', 0, False);"
        " s.start(); print(s.get_host_and_port()[1], flush=True); sys.stdin.read()"
    )

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        # The end of its input ends it, however the tests end.
        self._process = subprocess.Popen(  # noqa: S603 - no one else gives the command
            [sys.executable, "-W", "ignore", "-c", self._MOTO],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
        )
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def bucket(self) -> str:
        """Make a bucket, and give the URL of a folder in it."""
        name = f"bucket-{next(self._buckets)}"
        one = http.client.HTTPConnection(*self.address)
        one.request("PUT", f"/{name}")
        one.getresponse().read()
        one.close()
        return f"s3://{name}/lake's"


def environment(address: tuple[str, int]) -> dict[str, str]:
    """Variables by which a server of S3 is found."""
    host, port = address
    return {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }


class Gate(ThreadingHTTPServer):
    """A server before another one, which does something at a request; a context manager.

    Some calls of deltalake hold Python's lock while they wait, so only other processes may use it.

    Attributes:
        pattern: Pattern of the `METHOD /path?query` at which it does something, once.
        before: Done in place of passing the request on; None if it is passed on.
        after: Done after the reply has come.
    """

    daemon_threads = True

    def __init__(self, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.pattern: str | None = None
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None
        Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing: the clients are killed."""

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet; the second one would wait 40 ms
    server: Gate

    def do_GET(self) -> None:
        gate = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_it = gate.pattern and re.search(gate.pattern, f"{self.command} {self.path}")
        if is_it:
            gate.pattern = None
            if gate.before:
                gate.before()
                return
        one = http.client.HTTPConnection(*gate.behind)
        one.request(self.command, self.path, body, dict(self.headers))
        reply = one.getresponse()
        data = reply.read()
        one.close()
        if is_it and gate.after:
            gate.after()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in {"connection", "content-length", "server", "date"}:
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of its base

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def made(place: Any, organization: str, start: int, value: int, hours: int = 3) -> Snapshot:
    """A snapshot of some hours, each with two rows and a row of another kind.

    It is of a day later if its value is greater by 1, so that old files go in between.
    """
    first = START + start * HOUR
    return snapshot(
        place,
        [[usage(value, model="a"), usage(value + n, model="b")] for n in range(hours)],
        organization=organization,
        start=first,
        as_of=first + hours * HOUR + value * 86_400,
        other=[OtherRow(start_time=first, end_time=first + HOUR, row=f'{{"n": {value}}}')],
    )


@attrs.define
class Runs:
    """Processes that write a store, each one forked from a process that has not yet used Delta.

    The threads of deltalake do not outlive a fork, and a process that imports it anew takes a
    second. A context manager.
    """

    _process: Any = None

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        paths = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-W", "ignore", __file__]
        variables = {**os.environ, "PYTHONPATH": paths}
        self._process = subprocess.Popen(  # noqa: S603 - this file
            command, stdin=pipe, stdout=pipe, env=variables
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *jobs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run processes at the same time, each with the keywords of `_child`.

        Returns:
            What each has said, and the signal that killed it.
        """
        self._process.stdin.write(json.dumps(jobs).encode() + b"\n")
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in jobs]


def kill(pid_file: Path) -> None:
    """Kill the process that has written its id into a file."""
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def _failing(work: Any, numbers: Iterator[int], kill_at: int | None) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        if next(numbers) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        made = work(*args, **options)
        if next(numbers) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    return call


def _child(
    *,
    where: str,
    organization: str,
    steps: Sequence[tuple[int, int]],
    kill_at: int | None = None,
    most_bytes: int | None = None,
    pid_file: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write snapshots, read again if another run was faster.

    Args:
        where: The store.
        organization: The organization.
        steps: First hour and value of each snapshot.
        kill_at: Number of the call of deltalake before which the process is killed if it is even,
            and after which it is killed if it is odd.
        most_bytes: Size of a file that the system refuses to exceed.
        pid_file: File for the id of the process.
        variables: Variables of its environment.
    """
    os.environ.update(variables or {})
    if pid_file:
        Path(pid_file).write_text(str(os.getpid()))
    if most_bytes:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    numbers, moved = count(), 0
    for home, name in (
        (deltalake, "write_deltalake"),
        (deltalake.DeltaTable, "create"),
        (deltalake.DeltaTable, "vacuum"),
    ):
        setattr(home, name, _failing(getattr(home, name), numbers, kill_at))
    backend = delta_backend(where)
    for start, value in steps:
        while True:
            try:
                place = backend.place(organization, COMPLETIONS)
                backend.apply(made(place, organization, start, value), 0)
            except StoreMovedError:
                moved += 1
            else:
                break
    backend.close()
    return {"moved": moved, "calls": next(numbers)}


def _fork(job: Mapping[str, Any]) -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = _child(**job)
        except UsageError as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    return pid, read


def _serve() -> None:
    for line in sys.stdin:
        for pid, read in [_fork(job) for job in json.loads(line)]:
            with os.fdopen(read, "rb") as pipe:
                said = json.loads(pipe.read() or b"{}")
            _, status = os.waitpid(pid, 0)
            print(json.dumps({**said, "signal": os.WTERMSIG(status)}), flush=True)


if __name__ == "__main__":
    _serve()
