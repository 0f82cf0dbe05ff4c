"""`usage-async total`: an endpoint's figures, added up exactly."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from cyclopts import Group

from usage_async._times import TimeRange
from usage_async.cli._connect import Connection, connect
from usage_async.cli._context import Context
from usage_async.cli._options import Asked, endpoint_app, option
from usage_async.cli._output import destination
from usage_async.cli._rows import metrics, value_of
from usage_async.models import Notice
from usage_async.query import build
from usage_async.totals import Totals

Format = Literal["table", "json", "csv"]

_GROUP = Group("Output", sort_key=30)
_OPTIONS = (
    option(
        "format",
        Format,
        "table",
        group=_GROUP,
        help="table: rounded, for people; json, csv: exact, for programs.",
    ),
)


@attrs.frozen
class Sums:
    """What was added up.

    Attributes:
        by: The dimensions that tell the groups apart.
        requested: What was asked for.
        covered: What the figures cover; None where no bucket came.
        as_of: Unix seconds at which the run began.
        notices: What a careful reader should know.
        totals: Everything, a row a currency.
        groups: A row a group, the largest first.
    """

    by: tuple[str, ...]
    requested: TimeRange
    covered: TimeRange | None
    as_of: int
    notices: tuple[Notice, ...]
    totals: list[Any]
    groups: list[Any]


def _total(
    asked: Asked,
    connection: Connection,
    context: Context,
    *,
    format: Format = "table",  # noqa: A002 - the name of the option
) -> None:
    by = tuple(dict.fromkeys(asked.params.get("group_by", ())))
    sums = context.run(_add_up(asked, by, connection, context))
    if format == "table":
        from usage_async.cli import _draw_endpoint

        _draw_endpoint.total(context.out, asked.name, sums)
    else:
        with destination(None) as sink:
            sink.write(_as_json(asked.name, sums) if format == "json" else _as_csv(sums))
    context.note_warnings()
    context.note_unsettled(sums.notices)


async def _add_up(
    asked: Asked, by: tuple[str, ...], connection: Connection, context: Context
) -> Sums:
    async with connect(connection, context) as client:
        query = client.query(asked.name, unchecked=asked.unchecked, **asked.params)
        endpoint = build(asked.name, asked.params, unchecked=asked.unchecked).endpoint
        kind, measure = endpoint.result_class, endpoint.measure
        covered = None
        async with query.stream() as stream:
            total: Totals[Any] = Totals(kind, measure, as_of=stream.as_of)
            groups: Totals[Any] = Totals(kind, measure, by, as_of=stream.as_of)
            async for bucket in stream:
                begin = covered.start_time if covered else bucket.start_time
                covered = TimeRange(begin, bucket.end_time)
                total.add(bucket)
                groups.add(bucket)
        return Sums(
            by=by,
            requested=stream.requested,
            covered=covered,
            as_of=stream.as_of,
            notices=stream.notices,
            totals=total.groups() or [total.total()],
            groups=groups.groups() if by else [],
        )


def _as_json(name: str, sums: Sums) -> bytes:
    """Write sums as JSON, amounts as strings."""
    from usage_async._convert import dumps, to_dict

    value = {
        "endpoint": name,
        "requested": _range(sums.requested),
        "covered": None if sums.covered is None else _range(sums.covered),
        "notices": [notice.message for notice in sums.notices],
        "group_by": list(sums.by),
        "totals": [to_dict(row) for row in sums.totals],
        "groups": [to_dict(row) for row in sums.groups],
    }
    return dumps(value) + b"\n"


def _range(times: TimeRange) -> dict[str, int]:
    return {"start_time": times.start_time, "end_time": times.end_time}


def _as_csv(sums: Sums) -> bytes:
    """Write the groups, or the totals where there are none, as raw and exact lines."""
    from usage_async.cli import _csv

    rows = sums.groups if sums.by else sums.totals
    names = [*sums.by, *metrics(sums.totals[0])]
    lines = [_csv.line([*names, "currency"] if "amount" in names else names)]
    for row in rows:
        values = [value_of(row, name) for name in names]
        if "amount" in names:
            amount = row.amount
            values[names.index("amount")] = amount and amount.value
            values.append(amount and amount.currency)
        lines.append(_csv.line(values))
    return b"".join(lines)


app = endpoint_app(
    "total",
    "Add an endpoint's figures up, exactly.",
    _total,
    _OPTIONS,
    "costs --period 2026-10 --by project_id",
)
