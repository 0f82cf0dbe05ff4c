"""Scenario `web`: cached answers under load, stalls of the event loop, and several workers.

Service, application and browsers are processes of their own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from benchmarks.contestants import KEY
from benchmarks.data import START
from benchmarks.race import ROOT, Failed, Figures, Outcome, child_environment
from benchmarks.scenarios import OURS, Row
from benchmarks.web_upstream import upstream
from usage_async.emulator import Emulator, running

RATE = 200
AT_RATE = f"{RATE} requests a second"
HANDLER = f"{OURS}, handler"
SUMMARY = f"{OURS}, /costs/summary"
CONSTANT = "constant rows"
TEXT = "constant text, size of the rows"
SUMMARY_TEXT = "constant text, size of the summary"
CASHEWS = "cashews"
ASYNC_LRU = "async-lru"
NO_CACHE = "no cache"
BESIDE = "pings beside {}"
WORKERS = "4 workers, 200 browsers"

_MONTH = f"start_time={START}&end_time={START + 31 * 86400}"
_PATHS = {
    HANDLER: "/handler",
    SUMMARY: f"/costs/summary?{_MONTH}&group_by=project_id",
    CONSTANT: "/constant",
    TEXT: "/constant-text?of=handler",
    SUMMARY_TEXT: "/constant-text?of=summary",
    CASHEWS: "/cashews",
    ASYNC_LRU: "/async-lru",
    NO_CACHE: "/no-cache",
}


@attrs.frozen
class _Large:
    """Something large that is read beside small replies.

    Attributes:
        rows: Rows of a bucket.
        pool: Number of different rows.
        path: Path of the application.
        accept: Media type of the reply.
        times: How often it is asked for.
    """

    rows: int
    pool: int
    path: str
    accept: str = "*/*"
    times: int = 1


def _minutes(path: str, count: int) -> str:
    return f"{path}?bucket_width=1m&start_time={START}&end_time={START + 60 * count}"


STALLS = {
    "10 MB page": _Large(11, 64, _minutes("/usage/completions/totals", 1440)),
    "JSON of 10,000 buckets": _Large(5, 64, _minutes("/usage/completions", 10_000)),
    "totals of 50,000 groups": _Large(
        1613, 50_000, f"/usage/completions/totals?{_MONTH}&group_by=project_id"
    ),
    "NDJSON of 10,000 buckets": _Large(
        5, 64, _minutes("/usage/completions", 10_000), "application/x-ndjson"
    ),
    "Arrow of 10,000 buckets": _Large(
        5, 64, _minutes("/usage/completions", 10_000), "application/vnd.apache.arrow.stream"
    ),
    "/metrics, 20,000 groups": _Large(1000, 20_000, "/metrics", times=40),
    "/report.json, 75,000 rows": _Large(200, 5_000, "/report.json?period=2024-12"),
}


@contextmanager
def _application(service: str, workers: int = 1, **settings: str) -> Iterator[str]:
    """Run the application under uvicorn, and yield its URL."""
    environment = {"OPENAI_ADMIN_KEY": KEY, "USAGE_ASYNC_BASE_URL": service, **settings}
    options = ["--workers", str(workers), "--port", "0", "--no-access-log"]
    options += ["--timeout-keep-alive", "60"]  # browsers use no connection that was closed
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "benchmarks.web_app:app", *options],
        cwd=ROOT,
        env={**child_environment(), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        url, ready = "", 0
        while not url or ready < workers:
            line = process.stderr.readline()
            assert line, "uvicorn ended"
            ready += "startup complete" in line
            if found := re.search(r"running on (http://\S+)", line):
                url = found[1]
        yield url
    finally:
        process.terminate()
        process.communicate()


class _Browsers:
    """The process of the browsers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.web_load"],
            cwd=ROOT,
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, work: str, **arguments: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"work": work, **arguments}) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        self._process.communicate()


@contextmanager
def _browsers() -> Iterator[_Browsers]:
    browsers = _Browsers()
    try:
        yield browsers
    finally:
        browsers.close()


def web(*, quick: bool) -> list[Row]:
    """Cached answers at a steady rate, stalls beside large readings, runs of several workers."""
    with _browsers() as browsers:
        return [
            *_steady(browsers, rounds=2 if quick else 5, seconds=2 if quick else 5),
            *_stalls(browsers, rounds=1 if quick else 3),
            _workers(browsers, ttl_s=1 if quick else 5, seconds=4 if quick else 20),
        ]


def _steady(browsers: _Browsers, rounds: int, seconds: int) -> Iterator[Row]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in _PATHS}
    with upstream() as service, _application(f"{service}/20/20") as url:
        for name, of in ((HANDLER, "handler"), (SUMMARY, "summary")):
            browsers("set_constants", url=url, of=of, path=_PATHS[name])
        for turn in range(rounds):
            for name, path in _PATHS.items():
                found[name].append(
                    browsers("steady", url=url, path=path, rate=RATE, seconds=seconds, seed=turn)
                )
    outcomes = {
        name: _outcome(rounds, lambda each: Figures(each["p50"], each["cpu"], p99_s=each["p99"]))
        for name, rounds in found.items()
    }
    for name, outcome in outcomes.items():
        yield Row("web", AT_RATE, name, outcome, outcomes[HANDLER])


def _stalls(browsers: _Browsers, rounds: int) -> Iterator[Row]:
    settings = {"TICKING": "1", "WAIT_S": "600"}
    with upstream() as service:
        for name, large in STALLS.items():
            found = []
            for _ in range(rounds):
                with _application(f"{service}/{large.rows}/{large.pool}", **settings) as url:
                    asked = {"path": large.path, "accept": large.accept, "times": large.times}
                    found.append(browsers("stall", url=url, **asked))
            outcome = _outcome(
                found,
                lambda each: Figures(
                    each["wall"], each["cpu"], stall_s=each["stall"], stall_cpu_s=each["stall_cpu"]
                ),
            )
            yield Row("web", BESIDE.format(name), OURS, outcome, None)


def _workers(browsers: _Browsers, ttl_s: int, seconds: int) -> Row:
    """Let 200 browsers ask four workers for figures that are not settled."""
    with running(Emulator()) as server:
        settings = {"TTL_S": str(ttl_s), "OPENAI_ADMIN_KEY": server.admin_key}
        with _application(server.url, 4, **settings) as url:
            begin = time.monotonic()
            found = browsers(
                "crowd", url=url, path="/total?period=this-month", browsers=200, seconds=seconds
            )
            terms = int((time.monotonic() - begin) / ttl_s) + 1
        runs = len(server.requests)
    outcome = _outcome(
        [found], lambda each: Figures(each["p50"], 0.0, p99_s=each["p99"], runs=runs / terms)
    )
    return Row("web", WORKERS, OURS, outcome, None)


def _outcome(
    rounds: Sequence[dict[str, Any]], make: Callable[[dict[str, Any]], Figures]
) -> Outcome:
    for each in rounds:
        if "failed" in each:
            return Failed(each["failed"])
    return [make(each) for each in rounds]
