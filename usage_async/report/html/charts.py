"""Charts of a page: what they show, and how a program of its own draws them.

Each chart is drawn twice, for wide and for narrow screens, since a drawing that is made narrow has
unreadable letters.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from usage_async.errors import UsageError
from usage_async.report.amounts import total
from usage_async.report.details import Stack
from usage_async.report.formatting import count, legible, money
from usage_async.report.values import Group, Report, Spend
from usage_async.report.wording import NOT_ATTRIBUTED, rest_of, split, unusual_note

_log = logging.getLogger("usage_async")

Chart = dict[str, Any]
"""Description of one drawing, as JSON."""

NEEDS = ("altair", "vl_convert")
TIMEOUT_S = 30.0
"""Drawing takes some 2 s; a machine may be busy."""
OTHERS, NOBODY = "s6", "s7"
"""Colours of the other groups, and of what is not attributed."""
MODALITIES: Mapping[str, str] = {"text": "s0", "audio": "s1", "image": "s2", "not told": OTHERS}
"""Colours of modalities."""

_WIDTHS = {"wide": 800, "narrow": 330}
_HEIGHTS = {"wide": 230, "narrow": 170}
_MOST_DAYS = {"wide": 400, "narrow": 62}
"""The most days that have a bar each; beyond, a bar is seven days."""
_TOLD_IN_PARTS = 100
"""The most days that are told with their parts, beside their amount."""
MOST_APART = 120
"""The most bars between which there is room."""
_GAP = 0.08
"""Part of a day that is left free on each side of its bar."""
_MOST_BARS = 10
_BIGGEST = 1e100
_KEPT = 1 << 24
"""Bytes of drawings that are kept: those of some 200 pages."""
_PER_PROGRAM = 48
"""The most drawings of one program: those of 8 organizations."""
_AT_ONCE = 2
"""Programs that draw at the same time; each takes a processor and some 200 MB."""
PATIENCE_S = 3.0
"""Seconds that a page of many readers waits for the turn of its charts, which then take some 2 s;
whoever asks gives up after 10 s."""


class DrawingError(UsageError):
    """Charts could not be drawn."""


_FAILED = "charts could not be drawn"
_CROWDED = "charts were not drawn: too many pages at once"


@attrs.frozen
class Drawings:
    """Drawings of a page.

    Attributes:
        svgs: SVG by the name of a chart, and `wide` or `narrow`.
        failure: Why there are none, or not all; empty if they were drawn.
    """

    svgs: Mapping[tuple[str, str], str] = attrs.field(factory=dict)
    failure: str = ""

    def without_words(self) -> Drawings:
        """Tell of a failure without words of the machine, which strangers may read."""
        if self.failure in {"", _CROWDED}:
            return self
        return attrs.evolve(self, failure=_FAILED)


def can_draw() -> bool:
    """Tell if the libraries that draw are installed."""
    return all(map(find_spec, NEEDS))


def color_of(place: int, stack: Stack) -> str:
    """Give the colour of a part of a day."""
    if stack.id is not None:
        return f"s{place}"
    return OTHERS if stack.others else NOBODY


def charts_of(report: Report) -> dict[tuple[str, str], Chart]:
    """Give the charts of a page, by their name and size."""
    made: dict[tuple[str, str], Chart] = {}
    for size in _WIDTHS:
        for number, spend in enumerate(report.spends):
            days, models = _days(spend, size), _models(spend, size)
            made |= {(f"days{number}", size): days} if days else {}
            made |= {(f"models{number}", size): models} if models else {}
        if report.kinds:
            made["kinds", size] = _kinds(report, size)
    return made


def is_dense(spend: Spend) -> bool:
    """Tell if there is no room between the bars of days."""
    return len(_every(spend, step_of(spend, "wide"))) > MOST_APART


def step_of(spend: Spend, size: str) -> int:
    """Give the number of days that are one bar."""
    return 7 if len(spend.days) > _MOST_DAYS[size] else 1


def _days(spend: Spend, size: str) -> Chart | None:
    step = step_of(spend, size)
    days = spend.days[::step]
    stacks = [
        (color_of(place, stack), [_float(stack.amounts[n : n + step]) for n in _every(spend, step)])
        for place, stack in enumerate(spend.stacks)
    ]
    if not stacks or not _are_drawable(amount for _, amounts in stacks for amount in amounts):
        return None
    odd = {each.day for each in spend.unusual}
    # A finger hides what it points at, and a bar of two pixels is hard to point at.
    is_told = size == "wide" and not is_dense(spend)
    return {
        "kind": "days",
        "width": _WIDTHS[size],
        "height": _HEIGHTS[size],
        "step": step,
        "gap": 0 if is_dense(spend) else _GAP,
        "starts": [_seconds(day) for day, _ in days],
        "stacks": stacks,
        "odd": [
            place
            for place, n in enumerate(_every(spend, step))
            if odd & {day for day, _ in spend.days[n : n + step]}
        ],
        "titles": [_told(spend, n, step) for n in _every(spend, step)] if is_told else [],
    }


def _every(spend: Spend, step: int) -> range:
    return range(0, len(spend.days), step)


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _told(spend: Spend, first: int, step: int) -> str:
    """Tell of a day, or of a week, what its bar shows."""
    day, amount = spend.days[first]
    if step > 1:
        last, _ = spend.days[min(first + step, len(spend.days)) - 1]
        known = [amount for _, amount in spend.days[first : first + step] if amount is not None]
        return f"{day} to {last}: {money(total(known), spend.currency)}"
    if amount is None:
        return f"{day:%a} {day}: unknown"
    lines = [f"{day:%a} {day}: {money(amount, spend.currency)}"]
    lines += [unusual_note(each, spend.currency) for each in spend.unusual if each.day == day]
    if len(spend.days) <= _TOLD_IN_PARTS and len(spend.stacks) > 1:
        parts = ((stack, stack.amounts[first]) for stack in spend.stacks)
        lines += [
            f"{stack_name(stack)}: {money(part, spend.currency)}" for stack, part in parts if part
        ]
    return "\n".join(map(legible, lines))


def stack_name(stack: Stack) -> str:
    """Name a part of a day."""
    if stack.others:
        return "1 other" if stack.others == 1 else f"{stack.others} others"
    return NOT_ATTRIBUTED if stack.id is None else stack.name or stack.id


def _models(spend: Spend, size: str) -> Chart | None:
    groups = [group for group in spend.models if group.amount > 0]
    shown, others = split(groups, _MOST_BARS)
    if others:
        place = len(shown) - (1 if shown[-1].id is None else 0)
        shown.insert(place, attrs.evolve(rest_of(others), name=f"{len(others)} others"))
    values = [[(_bar_color(group, others), _float([group.amount]))] for group in shown]
    if not shown or not _are_drawable(value for ((_, value),) in values):
        return None
    return {
        "kind": "bars",
        "width": _WIDTHS[size],
        "labels": [legible(group.name or group.id or NOT_ATTRIBUTED) for group in shown],
        "figures": [legible(money(group.amount, spend.currency)) for group in shown],
        "values": values,
    }


def _bar_color(group: Group, others: Sequence[Group]) -> str:
    if group.id is None:
        return NOBODY
    return OTHERS if others and group.name is not None else "s0"


def _kinds(report: Report, size: str) -> Chart:
    """Draw the tokens by kind; what the service tells no modality of is one part."""
    return {
        "kind": "bars",
        "width": _WIDTHS[size],
        "labels": [kind.kind for kind in report.kinds],
        "figures": [count(kind.tokens) for kind in report.kinds],
        "values": [
            [
                (MODALITIES[modality], _float([Decimal(max(tokens, 0))]))
                for modality, tokens in kind.by_modality or (("not told", kind.tokens),)
            ]
            for kind in report.kinds
        ],
    }


def _float(amounts: Sequence[Decimal | None]) -> float:
    return float(total(amount for amount in amounts if amount is not None))


def _are_drawable(values: Iterator[float]) -> bool:
    """Tell if the values can be drawn, and are not all nothing."""
    every = list(values)
    return any(every) and all(isfinite(value) and abs(value) < _BIGGEST for value in every)


_kept: OrderedDict[bytes, Mapping[tuple[str, str], str]] = OrderedDict()
"""Drawings of this process by their question, those used last at the end."""


@attrs.define
class _Shared:
    """A drawing that several wait for.

    Attributes:
        task: Draws.
        waiting: The number of those who wait.
    """

    task: asyncio.Task[Drawings]
    waiting: int = 0


@attrs.frozen
class _Studio:
    """Drawing within an event loop.

    Attributes:
        bound: Bounds the programs that run.
        shared: Drawings that are being made, by their question.
    """

    bound: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(_AT_ONCE))
    shared: dict[bytes, _Shared] = attrs.field(factory=dict)


_studios: WeakKeyDictionary[asyncio.AbstractEventLoop, _Studio] = WeakKeyDictionary()


def draw(charts: Mapping[tuple[str, str], Chart]) -> Drawings:
    """Draw charts, and block until they are drawn; a failure comes with those drawn before it."""
    svgs: dict[tuple[str, str], str] = {}
    names = [*charts]
    for first in range(0, len(names), _PER_PROGRAM):
        part = {name: charts[name] for name in names[first : first + _PER_PROGRAM]}
        try:
            done = subprocess.run(  # noqa: S603 - a program of this package
                _program(),
                input=_question(part),
                capture_output=True,
                timeout=TIMEOUT_S,
                env=_environment(),
                check=False,
            )
            svgs |= _read(part, done.returncode, done.stdout, done.stderr)
        except (OSError, subprocess.TimeoutExpired, DrawingError) as error:
            return Drawings(svgs, _reason(error))
    return Drawings(svgs)


async def draw_served(
    charts: Mapping[tuple[str, str], Chart], *, patience_s: float | None = None
) -> Drawings:
    """Draw charts while the event loop goes on; equal ones are drawn once, also at the same time.

    The program is killed when it takes too long, and when nobody waits any more. Time in the queue
    counts, so that a crowd gets pages without charts instead of none.

    Args:
        charts: The charts.
        patience_s: The most seconds to wait for their turn; None waits as long as drawing may take.
    """
    if not charts:
        return Drawings()
    question = _question(charts)
    if question in _kept:
        _kept.move_to_end(question)
        return Drawings(_kept[question])
    studio = _studios.setdefault(asyncio.get_running_loop(), _Studio())
    shared = studio.shared.get(question)
    if shared is None:
        drawing = _drawn(charts, question, studio.bound, patience_s)
        shared = studio.shared[question] = _Shared(asyncio.create_task(drawing))
    shared.waiting += 1
    try:
        return await asyncio.shield(shared.task)
    finally:
        shared.waiting -= 1
        if not shared.waiting:
            del studio.shared[question]
            shared.task.cancel()
            await asyncio.wait([shared.task])


async def _drawn(
    charts: Mapping[tuple[str, str], Chart],
    question: bytes,
    bound: asyncio.Semaphore,
    patience_s: float | None,
) -> Drawings:
    deadline = asyncio.get_running_loop().time() + TIMEOUT_S
    try:
        async with asyncio.timeout(TIMEOUT_S if patience_s is None else patience_s):
            await bound.acquire()
    except TimeoutError:
        _log.warning(_CROWDED)
        return Drawings(failure=_CROWDED)
    try:
        async with asyncio.timeout_at(deadline):
            svgs = _read(charts, *await _answer(question))
    except (OSError, TimeoutError, DrawingError) as error:
        _log.warning("%s", _reason(error))
        return Drawings(failure=_reason(error))
    except NotImplementedError:
        # An event loop of Windows' selectors starts no programs.
        return await asyncio.to_thread(draw, charts)
    finally:
        bound.release()
    _kept[question] = svgs
    while sum(len(key) + sum(map(len, kept.values())) for key, kept in _kept.items()) > _KEPT:
        _kept.popitem(last=False)
    return Drawings(svgs)


async def _answer(question: bytes) -> tuple[int | None, bytes, bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *_program(), stdin=pipe, stdout=pipe, stderr=pipe, env=_environment()
    )
    try:
        out, err = await process.communicate(question)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return process.returncode, out, err


def _question(charts: Mapping[tuple[str, str], Chart]) -> bytes:
    return json.dumps([*charts.values()]).encode()


def _program() -> list[str]:
    # Without -P the modules beside the program would hide those of the standard library.
    return [sys.executable or "python3", "-P", str(Path(__file__).with_name("drawing.py"))]


def _environment() -> dict[str, str]:
    """Give the environment of the program, which needs no key and no setting of ours."""
    ours = ("OPENAI_", "USAGE_ASYNC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _read(
    charts: Mapping[tuple[str, str], Chart], status: int | None, out: bytes, err: bytes
) -> dict[tuple[str, str], str]:
    if status:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        raise DrawingError(f"the program that draws ended with {status}: {legible(last)}")
    try:
        svgs = json.loads(out)
    except ValueError:
        svgs = None
    if not isinstance(svgs, list) or [*map(type, svgs)] != [str] * len(charts):
        raise DrawingError("the program that draws wrote something else than drawings")
    return dict(zip(charts, svgs, strict=True))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return f"{_FAILED}: it took longer than {TIMEOUT_S:.0f} s"
    return f"{_FAILED}: {error}"
