"""Contestants in processes of their own, in turn: A B C A B C.

What disturbs the machine for a while disturbs all of them alike; figures are medians.
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


@attrs.frozen
class Figures:
    """What one round took.

    Attributes:
        wall_s: Wall time of the work.
        cpu_s: CPU time of the process for it, user and system.
        stall_s: The longest time for which the event loop gave no turn.
        rss_mb: The most memory that the process ever held.
    """

    wall_s: float
    cpu_s: float
    stall_s: float | None = None
    rss_mb: float | None = None


@attrs.frozen
class Entry:
    """One contestant and its work.

    Attributes:
        contestant: Its name in `contestants.OPEN`; in `decoders.DECODERS` where there is no URL.
        datasets: What each client reads, all at the same time.
        url: Where from.
        concurrency: Requests in flight.
        clients: How many clients.
        ticking: Whether stalls of the event loop are looked for.
        warm: Whether one page of each dataset is read before the first round.
        label: What the table calls it; the name if empty.
    """

    contestant: str
    datasets: tuple[Dataset, ...]
    url: str = ""
    concurrency: int = 1
    clients: int = 1
    ticking: bool = False
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
    """The environment of a process that is measured: as a user's, with compiled modules kept."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    compiled = Path(tempfile.gettempdir(), "benchmarks-compiled")
    return {**kept, "PYTHONPYCACHEPREFIX": str(compiled)}


@contextmanager
def _worker(entry: Entry) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker", entry.to_json()],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a contestant ended early; its error stands above"
    return line


def _round(process: subprocess.Popen[str]) -> Figures:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Figures(**json.loads(_line(process)))


def race(entries: Sequence[Entry], rounds: int, *, fresh: bool = False) -> list[list[Figures]]:
    """Measure every entry, a round each in turn.

    Args:
        entries: The contestants.
        rounds: How many rounds.
        fresh: Whether each round has a process of its own, since a peak never falls.

    Returns:
        The rounds of each entry.
    """
    if fresh:
        alone = [[race([entry], 1)[0][0] for entry in entries] for _ in range(rounds)]
        return [list(figures) for figures in zip(*alone, strict=True)]
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(entry)) for entry in entries]
        for worker in workers:
            assert _line(worker) == "ready\n"
        turns = [[_round(worker) for worker in workers] for _ in range(rounds)]
    return [list(figures) for figures in zip(*turns, strict=True)]


def middle(rounds: Sequence[Figures], name: str) -> float | None:
    """The median of one figure; None where it was not taken."""
    values = [getattr(figures, name) for figures in rounds]
    return None if None in values else median(values)


def ratio(some: Sequence[Figures], others: Sequence[Figures], name: str) -> float:
    """The median of a figure's ratio, round by round."""
    pairs = zip(some, others, strict=True)
    return median(float(getattr(one, name) / getattr(other, name)) for one, other in pairs)
