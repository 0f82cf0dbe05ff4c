"""JSON renderings of reports, breakdowns and buckets; amounts are exact strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from usage_async._api.pages import UsageTimeBucket
from usage_async._client.names import Names
from usage_async._codec.converter import dumps, to_dict
from usage_async._query.times import TimeRange
from usage_async.report.answers import Answer, bills, blanks, given
from usage_async.report.breakdown import Breakdown, sum_of_all
from usage_async.report.budget_json import budget_value
from usage_async.report.dimensions import names_of
from usage_async.report.effects import Cause
from usage_async.report.spec import day_of
from usage_async.report.values import Group, Report, Spend, Tokens, View


def report_as_json(report: Report, view: View) -> bytes:
    """Write a report as one object, with the budget of its month where there is one."""
    planned = {} if view.budget is None else {"budget": budget_value(view.budget)}
    return _line({**_report(report, view), **planned})


def reports_as_json(answers: Sequence[Answer[Report]], _view: View) -> bytes:
    """Write the reports of several organizations, and their sums, as one object."""
    return _line(
        {
            "totals": [
                {
                    "currency": bill.currency,
                    "amount": bill.total,
                    "amount_before": bill.before,
                    "without": list(bill.without),
                }
                for bill in bills(answers)
            ],
            "organizations": [
                {"name": answer.name, **_report(report, View(notices=answer.notices))}
                for answer, report in given(answers)
            ],
            **_unanswered(answers),
        }
    )


def _unanswered(answers: Sequence[Answer[Any]]) -> dict[str, list[dict[str, Any]]]:
    """Write the organizations without figures, and why there are none."""
    return {
        verdict: [
            {"organization": name, "reason": blank.reason}
            for name, blank in blanks(answers, verdict)
        ]
        for verdict in ("refused", "failed")
    }


def _report(report: Report, view: View) -> dict[str, Any]:
    spec = report.spec
    return {
        "organization": {"id": report.organization.id, "name": report.organization.name},
        **_range(spec.period),
        "requested": _range(spec.requested or spec.period),
        "as_of": spec.now,
        "by": spec.by,
        "then_by": spec.then_by,
        "derived_from_line_items": any(grouping.derived for grouping in spec.groupings),
        "compared_with": None if spec.before is None else _range(spec.before),
        "groups_from": report.groups_from,
        "spend": None if report.spend_blank else [_spend(spend, view) for spend in report.spends],
        "tokens": [
            {
                "group": row.id,
                **_used(row),
                **_parts({"group": row.id, "part": part.id, **_used(part)} for part in row.parts),
            }
            for row in report.tokens
        ],
        "endpoints": [
            {
                "endpoint": use.name,
                "num_model_requests": use.requests,
                **{metric: value for metric, value, _ in use.figures},
            }
            for use in report.endpoints
        ],
        "refused": _blanks(report, "refused"),
        "failed": _blanks(report, "failed"),
        "missing": [
            {"section": name, "days": [day_of(start).isoformat() for start in starts]}
            for name, starts in report.gaps
        ],
        "notices": [*view.notices, *report.remarks],
    }


def _blanks(report: Report, verdict: str) -> list[dict[str, str]]:
    return [
        {"section": name, "reason": blank.reason}
        for name, blank in report.blanks
        if blank.verdict == verdict
    ]


def _range(period: TimeRange) -> dict[str, int]:
    return {"start_time": period.start_time, "end_time": period.end_time}


def _spend(spend: Spend, view: View) -> dict[str, Any]:
    projection = view.projection_of(spend)
    return {
        "currency": spend.currency,
        "amount": spend.total,
        "amount_before": spend.before,
        "projected": None if projection is None else projection.projected,
        "days": [{"date": day.isoformat(), "amount": amount} for day, amount in spend.days],
        "unusual_days": [each.day.isoformat() for each in spend.unusual],
        "unusual": [
            {
                "date": each.day.isoformat(),
                "amount": each.amount,
                "usual": each.usual,
                "cause": _cause(each.cause),
            }
            for each in spend.unusual
        ],
        "groups": [
            {
                "group": group.id,
                **_group(group),
                **_parts(
                    {"group": group.id, "part": part.id, **_group(part)} for part in group.parts
                ),
            }
            for group in spend.groups
        ],
    }


def _parts(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Give the entry of the parts of a group; none where the report has one dimension."""
    written = list(parts)
    return {"parts": written} if written else {}


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "amount": group.amount,
        "amount_before": group.before,
        "num_model_requests": group.requests,
        "cause": _cause(group.cause),
    }


def _cause(cause: Cause | None) -> dict[str, Any] | None:
    if cause is None:
        return None
    return {"line_item": cause.line_item, "effect": cause.effect, "amount": cause.amount}


def _used(row: Tokens) -> dict[str, Any]:
    return {
        "name": row.name,
        "num_model_requests": row.requests,
        "input_tokens": row.input,
        "input_cached_tokens": row.cached,
        "output_tokens": row.output,
    }


def breakdown_as_json(breakdown: Breakdown) -> bytes:
    """Write a breakdown as one object."""
    return _line(_breakdown(breakdown))


def breakdowns_as_json(answers: Sequence[Answer[Breakdown]]) -> bytes:
    """Write the breakdowns of several organizations as one object."""
    breakdowns = [breakdown for _, breakdown in given(answers)]
    return _line(
        {
            "totals": [to_dict(row) for row in sum_of_all(breakdowns)],
            "organizations": [
                {"name": answer.name, **_breakdown(breakdown)}
                for answer, breakdown in given(answers)
            ],
            **_unanswered(answers),
        }
    )


def _breakdown(breakdown: Breakdown) -> dict[str, Any]:
    covered = breakdown.covered
    return {
        "endpoint": breakdown.endpoint,
        "requested": _range(breakdown.requested),
        "covered": None if covered is None else _range(covered),
        "notices": [notice.message for notice in breakdown.notices],
        "group_by": list(breakdown.by),
        "totals": [to_dict(row) for row in breakdown.totals],
        "groups": [_named(to_dict(row), breakdown.names_beside(row)) for row in breakdown.groups],
    }


def bucket_as_json(bucket: UsageTimeBucket[Any], names: Names | None = None) -> bytes:
    """Write a bucket as one line, in the shape of the API.

    Args:
        bucket: The bucket.
        names: Names to add to each row, beside its ids. A name that a row has itself stays.
    """
    if names is None:
        return _line(bucket)
    value = to_dict(bucket)
    rows = (*bucket.results, *bucket.other_results)
    for row, written in zip(rows, value["results"], strict=True):
        for field, name in names_of(row, names).items():
            if written.get(field) is None:
                written[field] = name
    return _line(value)


def _named(row: dict[str, Any], names: Mapping[str, str | None]) -> dict[str, Any]:
    """Add names to a written row; a name that it has itself stays if there is no other."""
    return {**row, **{field: name or row.get(field) for field, name in names.items()}}


def _line(value: Any) -> bytes:
    return dumps(value) + b"\n"
