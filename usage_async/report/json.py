"""JSON for programs: reports and sums, amounts as exact strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from usage_async._codec.converter import dumps, to_dict
from usage_async._query.times import TimeRange
from usage_async.report.plan import Report, Spend, Tokens, day_of
from usage_async.report.sums import Sums


def as_json(shown: Report, notices: Sequence[str]) -> bytes:
    """Write a report as JSON; amounts are strings, exact."""
    plan = shown.plan
    value = {
        "organization": {"id": shown.organization.id, "name": shown.organization.name},
        **_range(plan.period),
        "requested": _range(plan.requested or plan.period),
        "as_of": plan.now,
        "by": plan.by,
        "derived_from_line_items": plan.grouping.derived,
        "compared_with": None if plan.before is None else _range(plan.before),
        "groups_from": shown.groups_from,
        "spend": None if shown.spend_blank else [_spend(spend) for spend in shown.spends],
        "tokens": [_tokens(row) for row in shown.tokens],
        "endpoints": [
            {
                "endpoint": use.name,
                "num_model_requests": use.requests,
                **{metric: value for metric, value, _ in use.figures},
            }
            for use in shown.endpoints
        ],
        "refused": _blanks(shown, "refused"),
        "failed": _blanks(shown, "failed"),
        "missing": [
            {"section": name, "days": [day_of(start).isoformat() for start in starts]}
            for name, starts in shown.gaps
        ],
        "notices": [*notices, *shown.remarks],
    }
    return dumps(value) + b"\n"


def _blanks(shown: Report, verdict: str) -> list[dict[str, str]]:
    return [
        {"section": name, "reason": blank.reason}
        for name, blank in shown.blanks
        if blank.verdict == verdict
    ]


def _range(period: TimeRange) -> dict[str, int]:
    return {"start_time": period.start_time, "end_time": period.end_time}


def _spend(spend: Spend) -> dict[str, Any]:
    return {
        "currency": spend.currency,
        "amount": spend.total,
        "amount_before": spend.before,
        "projected": None if spend.pace is None else spend.pace.projected,
        "days": [{"date": day.isoformat(), "amount": amount} for day, amount in spend.days],
        "unusual_days": [each.day.isoformat() for each in spend.unusual],
        "groups": [
            {
                "group": group.id,
                "name": group.name,
                "amount": group.amount,
                "amount_before": group.before,
                "num_model_requests": group.requests,
            }
            for group in spend.groups
        ],
    }


def _tokens(row: Tokens) -> dict[str, Any]:
    return {
        "group": row.id,
        "name": row.name,
        "num_model_requests": row.requests,
        "input_tokens": row.input,
        "input_cached_tokens": row.cached,
        "output_tokens": row.output,
    }


def sums_as_json(sums: Sums) -> bytes:
    """Write sums as JSON, amounts as strings."""
    value = {
        "endpoint": sums.endpoint,
        "requested": _range(sums.requested),
        "covered": None if sums.covered is None else _range(sums.covered),
        "notices": [notice.message for notice in sums.notices],
        "group_by": list(sums.by),
        "totals": [to_dict(row) for row in sums.totals],
        "groups": [to_dict(row) for row in sums.groups],
    }
    return dumps(value) + b"\n"
