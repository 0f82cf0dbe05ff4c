"""Revisions: rows of ended buckets whose figures have changed, found by the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import msgspec

from usage_async._api.exact import plain
from usage_async._api.fields import fields_of
from usage_async._codec.schemas import pyarrow
from usage_async._sums.totals import add
from usage_async.collect.rows import figures_of, identity_of, instants
from usage_async.collect.sql.layout import listed, quoted
from usage_async.collect.sql.session import STAGED, Session
from usage_async.collect.values import Snapshot

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

_Figures: TypeAlias = dict[str, Any]


@attrs.frozen
class Revision:
    """A row of an ended bucket that has come, changed or gone.

    Rows that differ in nothing by which rows are found again (`identity_of`) are one: their figures
    are the sums of those that have changed.

    Attributes:
        start_time: Start of its bucket, Unix seconds.
        dimensions: What it is found again by, as JSON, without nulls.
        old_figures: Its figures before as JSON; None if it has come.
        new_figures: Its figures after as JSON; None if it has gone.
    """

    start_time: int
    dimensions: str
    old_figures: str | None
    new_figures: str | None


def find_revisions(
    session: Session, snapshot: Snapshot, values: Mapping[str, str]
) -> list[Revision]:
    """Compare the staged rows with the rows of the buckets that were read before.

    Args:
        session: The transaction, in which the rows of the snapshot are staged.
        snapshot: The snapshot.
        values: Expression for each column of the staged rows.
    """
    place, width, sent = snapshot.place, snapshot.feed.width_s, {*snapshot.sent}
    if place.first_start is None or place.ended_through is None:
        return []
    first = max(place.first_start, snapshot.sent[0])
    last = min(place.ended_through - width, snapshot.sent[-1])
    if last < first:
        return []
    kind = snapshot.feed.described.result_class
    dimensions, figures = identity_of(snapshot.feed), figures_of(kind)
    figures += tuple(f"{name}_exact" for name in figures if f"{name}_exact" in values)
    names = [name for name in (*dimensions, *figures) if name in values]
    start = "CAST(extract(epoch FROM start_time) AS bigint)"
    within = "start_time >= to_timestamp(CAST($1 AS bigint))"
    within += " AND start_time <= to_timestamp(CAST($2 AS bigint))"
    # What both sides have equally often has not changed.
    rows = session.rows(
        f"SELECT CAST(count(*) - 2 * sum(side) AS bigint), {start}, {listed(names)} FROM"
        f" (SELECT 0 AS side, start_time, {listed(names)} FROM {quoted(snapshot.feed.table)}"
        f" WHERE {within} AND organization = $3 UNION ALL SELECT 1, start_time,"
        f" {', '.join(values[name] for name in names)} FROM {STAGED} WHERE {within}) AS sides"
        f" GROUP BY start_time, {listed(names)} HAVING count(*) <> 2 * sum(side)",
        first,
        last,
        snapshot.organization,
    )
    found: dict[tuple[Any, ...], tuple[list[_Figures], list[_Figures]]] = {}
    for more, *row in rows:
        if row[0] in sent and place.was_read(row[0], row[0] + width):
            sides = found.setdefault(tuple(row[: len(dimensions) + 1]), ([], []))
            each = _figures(figures, row[len(dimensions) + 1 :])
            sides[more < 0].extend([each] * abs(more))
    counts = {a.name for a in fields_of(kind, "flow", "level")}
    revised = []
    for (bucket, *values_of), sides in found.items():
        old, new = map(_sum, sides)
        if _is_revised(old, new, counts):
            identity = _json(zip(dimensions, values_of, strict=True))
            revised.append(Revision(bucket, identity, _written(old), _written(new)))
    return revised


def _json(items: Iterable[tuple[str, Any]]) -> str:
    """Write an object without nulls as JSON."""
    return msgspec.json.encode({k: v for k, v in items if v is not None}).decode()


def _figures(names: Sequence[str], values: Sequence[Any]) -> _Figures:
    """Give the figures of a row by name, money with all digits."""
    found = dict(zip(names, values, strict=True))
    for name in names:
        if name.endswith("_exact"):
            digits = found.pop(name)
            if digits is not None:
                found[name.removesuffix("_exact")] = Decimal(digits)
    return found


def _sum(rows: Sequence[_Figures]) -> _Figures | None:
    """Add the figures of rows; None if there is no row."""
    if not rows:
        return None
    made: _Figures = {}
    for name in rows[0]:
        found = [row[name] for row in rows if row[name] is not None]
        made[name] = reduce(_plus, found) if found else None
    return made


def _plus(one: Any, other: Any) -> Any:
    return add(one, other) if isinstance(one, Decimal) else one + other


def _is_revised(old: _Figures | None, new: _Figures | None, counts: AbstractSet[str]) -> bool:
    """Tell if a row has come, changed or gone.

    A count that was null does not make it so: the service adds fields, and releases columns.
    """
    if old is None or new is None:
        return True
    return any(
        value != new[name] for name, value in old.items() if value is not None or name not in counts
    )


def _written(figures: _Figures | None) -> str | None:
    """Write figures as JSON, money as texts."""
    if figures is None:
        return None
    return _json(
        (name, plain(value) if isinstance(value, Decimal) else value)
        for name, value in figures.items()
    )


def revision_table(revisions: Sequence[Revision]) -> Table:
    """Make a table of revisions, one a row."""
    pa = pyarrow()
    names = ("dimensions", "old_figures", "new_figures")
    columns = {
        name: pa.array([getattr(each, name) for each in revisions], pa.string()) for name in names
    }
    starts = instants([each.start_time for each in revisions])
    table: Table = pa.table({"start_time": starts, **columns})
    return table
