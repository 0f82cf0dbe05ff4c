"""Measurement of contestants in processes of their own, in turn: A B C A B C.

A disturbance of the machine therefore affects all of them alike. Figures are medians, and ratios
are medians of the ratios within one round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import attrs

from benchmarks.data import Dataset

ROOT = Path(__file__).parent.parent
"""The folder from which `python -m benchmarks.…` works."""


@attrs.frozen
class Figures:
    """Figures of one round.

    Attributes:
        wall_s: Wall time of the work.
        cpu_s: CPU time of the process for the work, user and system, all threads.
        stall_s: Longest time for which the event loop ran nothing else.
        stall_cpu_s: Longest CPU time of its thread in such a time; less if the machine is busy.
        rss_mb: Peak of the resident memory of the process.
        held_mb: Peak of the memory that Python and Arrow had allocated since the start of the work.
        p99_s: Time that 99 of 100 requests took at most; their `wall_s` is then the median.
        runs: Runs of a query that several processes asked for, in each ttl.
    """

    wall_s: float
    cpu_s: float
    stall_s: float | None = None
    stall_cpu_s: float | None = None
    rss_mb: float | None = None
    held_mb: float | None = None
    p99_s: float | None = None
    runs: float | None = None


@attrs.frozen
class Failed:
    """A contestant that could not be measured, and the reason in one line."""

    reason: str


Outcome = Sequence[Figures] | Failed


class ContestantFailedError(Exception):
    """The process of a contestant reported a failure, or ended."""


@attrs.frozen
class Entry:
    """One contestant and its work.

    Attributes:
        contestant: Its name in `contestants.OPEN`; without a URL, in `decoders.DECODERS`.
        datasets: Datasets that each client reads, all at the same time.
        url: URL of the server.
        concurrency: Requests in flight.
        clients: Number of clients.
        ticking: Measure stalls of the event loop.
        tracing: Measure allocated memory. This slows Python down.
        warm: Read one page of each dataset before the first round.
        label: Name in the table; empty: the name of the contestant.
    """

    contestant: str
    datasets: tuple[Dataset, ...]
    url: str = ""
    concurrency: int = 1
    clients: int = 1
    ticking: bool = False
    tracing: bool = False
    warm: bool = True
    label: str = ""

    @property
    def name(self) -> str:
        return self.label or self.contestant

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Entry:
        values = json.loads(text)
        datasets = tuple(Dataset(**dataset) for dataset in values.pop("datasets"))
        return cls(**values, datasets=datasets)


def child_environment() -> dict[str, str]:
    """The environment of a measured process: without settings of Python, with compiled modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    compiled = Path(tempfile.gettempdir(), "benchmarks-compiled")
    return {**kept, "PYTHONPYCACHEPREFIX": str(compiled)}


@contextmanager
def _worker(entry: Entry) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker", entry.to_json()],
        cwd=ROOT,
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate()


def _answer(process: subprocess.Popen[str]) -> dict[str, float | None]:
    """Read one line of a worker.

    Raises:
        ContestantFailedError: It reports a failure, or has ended.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ContestantFailedError("the process ended without an answer")
    answer = json.loads(line)
    if "failed" in answer:
        raise ContestantFailedError(answer["failed"])
    return answer  # type: ignore[no-any-return] # JSON


def _round(process: subprocess.Popen[str]) -> Figures:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Figures(**_answer(process))  # type: ignore[arg-type] # JSON


def race(entries: Sequence[Entry], rounds: int, *, fresh: bool = False) -> list[Outcome]:
    """Measure every entry, one round each in turn.

    Args:
        entries: The contestants.
        rounds: Number of rounds.
        fresh: Give each round a process of its own, since a peak never falls.

    Returns:
        The rounds of each entry, or the reason of its failure.
    """
    if fresh:
        turns = [[race([entry], 1)[0] for entry in entries] for _ in range(rounds)]
        return [_joined(outcomes) for outcomes in zip(*turns, strict=True)]
    outcomes: list[list[Figures] | Failed] = [[] for _ in entries]
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(entry)) for entry in entries]
        for turn in range(-1, rounds):
            for number, worker in enumerate(workers):
                outcome = outcomes[number]
                if isinstance(outcome, Failed):
                    continue
                try:
                    if turn < 0:
                        _answer(worker)
                    else:
                        outcome.append(_round(worker))
                except (ContestantFailedError, BrokenPipeError) as error:
                    outcomes[number] = Failed(str(error))
    return list(outcomes)


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    rounds: list[Figures] = []
    for outcome in outcomes:
        if isinstance(outcome, Failed):
            return outcome
        rounds += outcome
    return rounds


def middle(outcome: Outcome, name: str) -> float | None:
    """The median of one figure; None if it was not measured."""
    if isinstance(outcome, Failed):
        return None
    values = [getattr(figures, name) for figures in outcome]
    return None if None in values else median(values)


def ratio(one: Outcome, other: Outcome, name: str) -> float | None:
    """The median of the ratios of one figure, round by round; None if it was not measured."""
    if isinstance(one, Failed) or isinstance(other, Failed):
        return None
    pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(one, other, strict=True)]
    return None if any(None in pair for pair in pairs) else median(a / b for a, b in pairs)
