"""Revisions: rows of ended buckets whose figures have changed, found by the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from usage_async._api.exact import plain
from usage_async._codec.schemas import pyarrow
from usage_async.collect.rows import dimensions_of, figures_of, instants
from usage_async.collect.sql.layout import listed, quoted
from usage_async.collect.sql.session import STAGED, Session
from usage_async.collect.values import Snapshot

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table


@attrs.frozen
class Revision:
    """A row of an ended bucket that has come, changed or gone.

    Attributes:
        start_time: Start of its bucket, Unix seconds.
        dimensions: Its dimensions as JSON, without nulls.
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
    dimensions, figures = dimensions_of(kind), figures_of(kind)
    figures += tuple(f"{name}_exact" for name in figures if f"{name}_exact" in values)
    names = [name for name in (*dimensions, *figures) if name in values]
    start = "CAST(extract(epoch FROM start_time) AS bigint)"
    within = "start_time >= to_timestamp(CAST($1 AS bigint))"
    within += " AND start_time <= to_timestamp(CAST($2 AS bigint))"
    # No two rows of a side are equal, so a group of two is a row that has not changed.
    rows = session.rows(
        f"SELECT min(side), {start}, {listed(names)} FROM (SELECT 0 AS side, start_time,"
        f" {listed(names)} FROM {quoted(snapshot.feed.table)} WHERE {within}"
        " AND organization = $3 UNION ALL SELECT 1, start_time,"
        f" {', '.join(values[name] for name in names)} FROM {STAGED} WHERE {within}) AS sides"
        f" GROUP BY start_time, {listed(names)} HAVING count(*) = 1",
        first,
        last,
        snapshot.organization,
    )
    found: dict[tuple[Any, ...], list[Any]] = {}
    for side, *row in rows:
        if row[0] in sent and place.was_read(row[0], row[0] + width):
            key = tuple(row[: len(dimensions) + 1])
            found.setdefault(key, [None, None])[side] = _figures(
                figures, row[len(dimensions) + 1 :]
            )
    return [
        Revision(key[0], _json(zip(dimensions, key[1:], strict=True)), old, new)
        for key, (old, new) in found.items()
    ]


def _json(items: Iterable[tuple[str, Any]]) -> str:
    """Write an object without nulls as JSON."""
    return msgspec.json.encode({k: v for k, v in items if v is not None}).decode()


def _figures(names: Sequence[str], values: Sequence[Any]) -> str:
    """Write figures as JSON, money as texts with all digits."""
    found = dict(zip(names, values, strict=True))
    for name in names:
        if name.endswith("_exact"):
            digits = found.pop(name)
            found[name.removesuffix("_exact")] = digits or found[name.removesuffix("_exact")]
    return _json(
        (name, plain(Decimal(value)) if isinstance(value, Decimal | str) else value)
        for name, value in found.items()
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
