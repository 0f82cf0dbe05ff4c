"""Packing: the fields of many rows into arrays of machine numbers, by generated code.

One pass over the rows packs every figure as an int64 and every text as an int32 code. The numbers
of a row lie side by side, and a strided copy then makes one array of each column. So each row is
read once, while it is in the processor's caches. A list of each column instead walks all rows once
for each column, and takes twice as long.

A *layout* says of each column if all rows have it, if none has it, or if it varies. It is learned
from rows that came. Three invariants hold:

1. Only a figure that every row has is packed; `struct` refuses None. One that varies is gathered
   into a list.
2. What the layout calls absent is checked in the same pass, so that nothing is dropped.
3. Rows that do not fit the layout are gathered, and the layout is widened: what once varied does so
   until the end of the run. So few layouts are compiled, however the rows alternate.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Literal, TypeAlias

import attrs

Role = Literal["time", "figure", "text", "flag", "decimal", "exact", "extra"]
"""Treatment of a column. A `figure` is an int64, an `exact` the text of a decimal's digits."""

Values: TypeAlias = "array[int] | list[Any] | None"
"""Values of a column. Arrays hold codes for texts and flags, -1 for None; None is all nulls."""

IN_BUCKETS = (
    "for bucket in buckets"
    " for start in [bucket.start_time * 1000000] for end in [bucket.end_time * 1000000]"
    " for row in bucket.results"
)
"""Loop over the rows of buckets; `start` and `end` are the bucket's times in microseconds."""
LOOSE = "for bucket in buckets for row in bucket.results"
"""Loop over rows that have no times."""

_MOST_LAYOUTS = 256
_SAMPLE = 8
"""Buckets that a layout is learned from at first."""


@attrs.frozen
class Column:
    """One column of a table.

    Attributes:
        name: Its name.
        role: Its treatment.
        value: Expression for its value, over the names of the loop.
    """

    name: str
    role: Role
    value: str


class Codes(dict[Any, int]):
    """Codes of a column's values, numbered in the order in which they first came."""

    def __init__(self) -> None:
        super().__init__({None: -1})

    def __missing__(self, value: Any) -> int:
        code = self[value] = len(self) - 1
        return code


def _flags() -> Codes:
    codes = Codes()
    codes.update({False: 0, True: 1})
    return codes


@attrs.frozen
class _Layout:
    """Columns of some rows.

    Attributes:
        packed: Columns that every row has as an int64: times and figures.
        coded: Columns that are packed as codes: texts and flags.
        absent: Columns that no row has.
        gathered: Columns that are lists.
    """

    packed: tuple[Column, ...]
    coded: tuple[Column, ...]
    absent: tuple[Column, ...]
    gathered: tuple[Column, ...]


class _Unfit(Exception):  # noqa: N818 - it never leaves this module
    """A row has what the layout calls absent."""


class Packer:
    """Packer of the rows of one run.

    Args:
        columns: The columns.
        loop: Loop over the rows: `IN_BUCKETS` or `LOOSE`.

    Attributes:
        columns: The columns.
        codes: Codes of texts and flags so far, by column.
    """

    def __init__(self, columns: Sequence[Column], loop: str = IN_BUCKETS) -> None:
        self.columns = tuple(columns)
        self._loop = loop
        coded = [column for column in columns if column.role in ("text", "flag")]
        self.codes = {c.name: Codes() if c.role == "text" else _flags() for c in coded}
        self._layout: _Layout | None = None

    def pack(self, buckets: Sequence[Any]) -> dict[str, Values]:
        """Give the values of each column.

        Args:
            buckets: Objects with `results`, which are not empty, and with what the loop takes.
        """
        if (layout := self._layout) is None:
            # Some rows tell as much as all of them nearly always do.
            layout = self._learned(self._gathered(buckets[:_SAMPLE]), None)
        try:
            values = self._packed(layout, buckets)
        except (struct.error, _Unfit):
            found = self._gathered(buckets)
            self._layout = self._learned(found, self._layout)
            return self._coded(found)
        self._layout = layout
        return values

    def gather(self, value: str, buckets: Sequence[Any]) -> list[Any]:
        """Give the value of an expression for every row."""
        return _gatherer(self._loop, value)(buckets)

    def _packed(self, layout: _Layout, buckets: Sequence[Any]) -> dict[str, Values]:
        """Pack what the layout says, and gather the rest.

        Raises:
            struct.error: A figure is missing, or is no int64.
            _Unfit: There is a value that the layout calls absent.
        """
        data = _joiner(self._loop, layout)(buckets, self.codes)
        values: dict[str, Values] = dict.fromkeys(column.name for column in layout.absent)
        at = 0
        for code, columns in ("q", layout.packed), ("i", layout.coded):
            if columns:
                numbers = array(code, data)
                at //= numbers.itemsize
                width = _format(layout).size // numbers.itemsize
                values |= {c.name: numbers[at + n :: width] for n, c in enumerate(columns)}
                at = len(columns) * numbers.itemsize
        return values | {c.name: self.gather(c.value, buckets) for c in layout.gathered}

    def _gathered(self, buckets: Sequence[Any]) -> dict[str, list[Any]]:
        return {column.name: self.gather(column.value, buckets) for column in self.columns}

    def _coded(self, found: Mapping[str, list[Any]]) -> dict[str, Values]:
        codes = self.codes
        return {
            name: array("i", map(codes[name].__getitem__, values)) if name in codes else values
            for name, values in found.items()
        }

    def _learned(self, found: Mapping[str, list[Any]], before: _Layout | None) -> _Layout:
        """Give the layout that rows have, wide enough for those before them, too."""
        parts: dict[str, list[Column]] = {attribute.name: [] for attribute in attrs.fields(_Layout)}
        for column in self.columns:
            values, widest = found[column.name], _WIDEST.get(column.role, "gathered")
            missing = values.count(None)
            if missing == len(values) and column.role != "decimal":
                part = "absent"
            elif not missing and column.role in ("time", "figure"):
                part = "packed"
            else:
                part = widest
            if before is not None and column not in getattr(before, part):
                part = widest
            parts[part].append(column)
        return _Layout(**{part: tuple(columns) for part, columns in parts.items()})


_WIDEST: Mapping[Role, str] = {"text": "coded", "flag": "coded"}
"""The part of a layout that takes all values of a column, if it is not `gathered`."""


def _format(layout: _Layout) -> struct.Struct:
    """Give the format of a row. `0q` pads its end, so that rows follow each other as in arrays."""
    return struct.Struct(f"@{len(layout.packed)}q{len(layout.coded)}i0q")


@cache
def _gatherer(loop: str, value: str) -> Callable[[Sequence[Any]], list[Any]]:
    made: Callable[[Sequence[Any]], list[Any]] = eval(f"lambda buckets: [{value} {loop}]")  # noqa: S307 - the names are those of our own fields
    return made


@lru_cache(_MOST_LAYOUTS)
def _joiner(loop: str, layout: _Layout) -> Callable[[Sequence[Any], Mapping[str, Codes]], bytes]:
    """Generate the function that packs the rows of buckets, with the codes by column."""
    codes = {f"{column.name}_codes": column for column in layout.coded}
    numbers = [column.value for column in layout.packed]
    numbers += [f"{name}[{column.value}]" for name, column in codes.items()]
    row = f"pack({', '.join(numbers)})"
    if layout.absent:
        row += f" if {' is '.join(f'({c.value})' for c in layout.absent)} is None else refuse()"
    lines = [
        "def join(buckets, codes):",
        *(f"    {name} = codes[{column.name!r}]" for name, column in codes.items()),
        f"    return b''.join([{row} {loop}])",
    ]
    scope: dict[str, Any] = {"pack": _format(layout).pack, "refuse": _refuse}
    exec("\n".join(lines), scope)  # noqa: S102 - as above
    made: Callable[[Sequence[Any], Mapping[str, Codes]], bytes] = scope["join"]
    return made


def _refuse() -> bytes:
    raise _Unfit
