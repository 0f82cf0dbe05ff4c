"""JSON of one budget; amounts are exact strings."""

from __future__ import annotations

from typing import Any

from usage_async._api.limits import SpendLimit
from usage_async.report.budgets import Budget


def budget_value(each: Budget) -> dict[str, Any]:
    """Give a budget as a value of JSON."""
    projection = each.projection
    return {
        "currency": each.currency,
        "month": each.month.isoformat()[:7],
        "budget": each.budget,
        "spent": each.spent,
        "verdict": each.verdict.replace(" ", "_"),
        "projected": None if projection is None else projection.projected,
        "projected_low": None if projection is None else projection.low,
        "projected_high": None if projection is None else projection.high,
        "rate": None if projection is None else projection.rate,
        "method": None if projection is None else projection.method,
        "days_left": each.days_left,
        "used_up_on": None if each.used_up_on is None else each.used_up_on.isoformat(),
        "spend_limit": None if each.limit is None else _limit(each.limit),
    }


def _limit(limit: SpendLimit) -> dict[str, Any]:
    return {
        "amount": limit.amount,
        "currency": limit.currency,
        "interval": limit.interval,
        "enforcement": limit.enforcement,
    }
