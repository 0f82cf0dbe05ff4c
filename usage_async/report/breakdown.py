"""Breakdown of one query: its totals by currency, and its groups by dimension.

A `Summary` of the library refuses several currencies; a breakdown has a total for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from usage_async._api.endpoints import ENDPOINTS
from usage_async._api.fields import FIGURES, fields_of
from usage_async._api.pages import Notice, UsageTimeBucket
from usage_async._client.names import Names
from usage_async._client.query import UsageQuery
from usage_async._query.times import TimeRange
from usage_async._sums.totals import Totals
from usage_async.report.dimensions import NAME_FIELDS, names_of


def value_of(row: Any, name: str) -> Any:
    """Give a field of a row; a dimension that this release does not know is in its `extra`."""
    return row.extra[name] if name in row.extra else getattr(row, name)


def metrics_of(cls: type) -> tuple[attrs.Attribute[Any], ...]:
    """Give the fields of a result class that are shown to people."""
    return fields_of(cls, "flow", "level", "money")


def added_names(cls: type) -> list[str]:
    """Name the fields of a result class that add up, and the unit of a quantity."""
    figures = fields_of(cls, *FIGURES)
    return [a.name for a in fields_of(cls) if a in figures or a.name == "quantity_unit"]


@attrs.frozen
class Breakdown:
    """Exact totals and groups of one query.

    Attributes:
        endpoint: Name of the endpoint.
        by: Dimensions of the groups.
        requested: The range that was asked for.
        covered: The range that the figures cover; None where no bucket came.
        as_of: Start of the run, Unix seconds.
        notices: Notices of the run.
        totals: Sums of everything, one row for each currency.
        groups: Sums by group, the largest first; empty where the query does not group.
        names: Names of the groups; None if they are not to be shown.
    """

    endpoint: str
    by: tuple[str, ...]
    requested: TimeRange
    covered: TimeRange | None
    as_of: int
    notices: tuple[Notice, ...]
    totals: list[Any]
    groups: list[Any]
    names: Names | None = None

    @property
    def name_fields(self) -> tuple[str, ...]:
        """The fields that outputs add for the names of groups."""
        if self.names is None:
            return ()
        return tuple(NAME_FIELDS[name] for name in self.by if name in NAME_FIELDS)

    def names_beside(self, row: Any) -> dict[str, str | None]:
        """Give the names of a group, by `name_fields`; None where there is no name."""
        names = {} if self.names is None else names_of(row, self.names)
        return {field: names.get(field) for field in self.name_fields}


def sum_of_all(breakdowns: Sequence[Breakdown]) -> list[Any]:
    """Add the totals of organizations up, one row for each currency.

    Raises:
        UsageError: They have no exact sum.
    """
    rows = tuple(row for breakdown in breakdowns for row in breakdown.totals)
    (endpoint,) = (each for each in ENDPOINTS.values() if each.result_class is type(rows[0]))
    # As one bucket: what is a level of each is one of all.
    bucket: UsageTimeBucket[Any] = UsageTimeBucket(start_time=0, end_time=1, results=rows)
    totals: Totals[Any] = Totals(endpoint.result_class, endpoint.measure, as_of=1)
    totals.add(bucket)
    return totals.groups()


async def read_breakdown(query: UsageQuery[Any]) -> Breakdown:
    """Read a query and add it up.

    Raises:
        UsageError: The query failed, or it has rows whose sum is not known.
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
    return Breakdown(
        endpoint=query.endpoint.name,
        by=query.group_by,
        requested=stream.requested,
        covered=covered,
        as_of=stream.as_of,
        notices=stream.notices,
        totals=total.groups() or [total.total()],
        groups=groups.groups() if query.group_by else [],
    )
