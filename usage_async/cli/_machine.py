"""A report for programs: exact JSON, and CSV that a spreadsheet can open without harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from usage_async._convert import dumps
from usage_async._times import TimeRange
from usage_async.cli import _csv
from usage_async.cli._report import Report, Spend, Tokens

COLUMNS = (
    "group",
    "name",
    "currency",
    "amount",
    "amount_before",
    "requests",
    "input_tokens",
    "input_cached_tokens",
    "output_tokens",
)


def as_json(shown: Report, notices: Sequence[str]) -> bytes:
    """Write a report as JSON; amounts are strings, exact."""
    plan = shown.plan
    value = {
        "organization": {"id": shown.organization.id, "name": shown.organization.name},
        **_range(plan.period),
        "as_of": plan.now,
        "by": plan.by,
        "derived_from_line_items": plan.grouping.derived,
        "compared_with": None if plan.before is None else _range(plan.before),
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


def as_csv(shown: Report) -> bytes:
    """Write a report as a line a group; amounts are exact, names cannot become formulas.

    Where money and tokens are split by different things, they stand in different lines.
    """
    tokens = {row.id: row for row in shown.tokens}
    lines = [_csv.line(COLUMNS)]
    for spend in shown.spends:
        for group in spend.groups:
            used = tokens.pop(group.id, None) if shown.plan.grouping.joined else None
            money = (spend.currency, group.amount, group.before)
            lines.append(_csv.guarded([group.id, group.name, *money, *_used(used)]))
    lines += [
        _csv.guarded([row.id, row.name, None, None, None, *_used(row)]) for row in tokens.values()
    ]
    return b"".join(lines)


def _used(row: Tokens | None) -> list[int | None]:
    return [None] * 4 if row is None else [row.requests, row.input, row.cached, row.output]
