"""Sums of one query: in total, a row a currency, and by dimension."""

from __future__ import annotations

from typing import Any

import attrs

from usage_async._api.fields import FIELDS, FIGURES, Kind, fields_of
from usage_async._api.pages import Notice
from usage_async._client.query import UsageQuery
from usage_async._query.times import TimeRange
from usage_async._sums.totals import Totals

MEANT: tuple[Kind, ...] = ("flow", "level", "money")
"""The kinds of field that a person asks for."""
NAMED_BY = {
    info.describes: name
    for name, info in FIELDS.items()
    if info.describes and FIELDS[info.describes].kind == "dimension"
}
"""Notes that tell the name of a dimension's value, by dimension."""


def value_of(row: Any, name: str) -> Any:
    """Give a field of a row; a dimension that this release does not know is in its `extra`."""
    return row.extra[name] if name in row.extra else getattr(row, name)


def metrics(row: Any) -> list[str]:
    """Name the fields of a row that add up."""
    figures = fields_of(type(row), *FIGURES)
    return [a.name for a in fields_of(type(row)) if a in figures or a.name == "quantity_unit"]


@attrs.frozen
class Sums:
    """The sums of one query.

    Attributes:
        endpoint: Name of the endpoint.
        by: The dimensions that tell the groups apart.
        requested: What was asked for.
        covered: What the figures cover; None where no bucket came.
        as_of: Unix seconds at which the run began.
        notices: What a careful reader should know.
        totals: Everything, a row a currency.
        groups: A row a group, the largest first.
    """

    endpoint: str
    by: tuple[str, ...]
    requested: TimeRange
    covered: TimeRange | None
    as_of: int
    notices: tuple[Notice, ...]
    totals: list[Any]
    groups: list[Any]


async def read_sums(query: UsageQuery[Any]) -> Sums:
    """Add a query up; several currencies are several rows, which a `Summary` refuses.

    Raises:
        UsageError: The service refused it, or there are rows without a known sum.
    """
    covered = None
    async with query.stream() as stream:
        kind, measure, as_of = query.endpoint.result_class, query.endpoint.measure, stream.as_of
        total: Totals[Any] = Totals(kind, measure, as_of=as_of)
        groups: Totals[Any] = Totals(kind, measure, query.group_by, as_of=as_of)
        async for bucket in stream:
            begin = covered.start_time if covered else bucket.start_time
            covered = TimeRange(begin, bucket.end_time)
            total.add(bucket)
            groups.add(bucket)
    return Sums(
        endpoint=query.endpoint.name,
        by=query.group_by,
        requested=stream.requested,
        covered=covered,
        as_of=stream.as_of,
        notices=stream.notices,
        totals=total.groups() or [total.total()],
        groups=groups.groups() if query.group_by else [],
    )
