"""JSON of explanations, reconciliations and budgets; amounts and quantities are exact strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from usage_async._codec.converter import dumps
from usage_async._query.times import TimeRange
from usage_async.report.amounts import change
from usage_async.report.budget_json import budget_value
from usage_async.report.changes import BillChange
from usage_async.report.effects import PARTS, Effects
from usage_async.report.invoice import InvoiceGap
from usage_async.report.monthly import BudgetReport
from usage_async.report.reconciliation import LineSum, Pair, Reconciliation
from usage_async.report.spec import ReportSpec, day_of
from usage_async.report.telling import sentences_on
from usage_async.report.values import Explanation, View


def explanation_as_json(explanation: Explanation, gap: InvoiceGap | None, view: View) -> bytes:
    """Write an explanation as one object."""
    spec = explanation.spec
    return _line(
        {
            "organization": {
                "id": explanation.organization.id,
                "name": explanation.organization.name,
            },
            **_about(spec),
            "compared_with": None if spec.before is None else _range(spec.before),
            "bills": [_bill(bill) for bill in explanation.bills],
            "invoice": None if gap is None else _gap(gap),
            **_limits(explanation),
            "notices": [*view.notices, *explanation.remarks],
        }
    )


def reconciliation_as_json(found: Reconciliation, view: View) -> bytes:
    """Write a reconciliation as one object."""
    return _line(
        {
            **_about(found.spec),
            "line_items": [_sum(each) for each in found.sums],
            "pairs": [_pair(pair) for pair in found.pairs if pair.has_partner],
            "only_billed": [_pair(pair) for pair in found.only_billed],
            "only_reported": [_pair(pair) for pair in found.only_reported],
            **_limits(found),
            "notices": [*view.notices, *found.remarks],
        }
    )


def budget_as_json(found: BudgetReport, view: View) -> bytes:
    """Write a budget as one object."""
    missing, by_group = (
        [day_of(start).isoformat() for start in starts] for starts in (found.gaps, found.group_gaps)
    )
    return _line(
        {
            **_about(found.spec),
            "budgets": [budget_value(each) for each in found.whole],
            "groups": [
                {"group": each.id, "name": each.name, **budget_value(each)} for each in found.groups
            ],
            "missing": missing,
            "missing_by_group": by_group,
            "notices": [*view.notices, *found.remarks],
        }
    )


def _about(spec: ReportSpec) -> dict[str, Any]:
    return {
        **_range(spec.period),
        "requested": _range(spec.requested or spec.period),
        "as_of": spec.now,
    }


def _range(period: TimeRange) -> dict[str, int]:
    return {"start_time": period.start_time, "end_time": period.end_time}


def _limits(found: Explanation | Reconciliation) -> dict[str, Any]:
    """Give what limits the figures."""
    blanks: dict[str, list[dict[str, str]]] = {"refused": [], "failed": []}
    for name, blank in found.blanks:
        blanks[blank.verdict].append({"section": name, "reason": blank.reason})
    missing = [
        {"section": name, "days": [day_of(start).isoformat() for start in starts]}
        for name, starts in found.gaps
    ]
    return {**blanks, "missing": missing}


def _change(each: Any) -> dict[str, Any]:
    return {
        "amount_before": each.before,
        "amount": each.amount,
        "change": change(each.amount, each.before),
        "effects": effects_value(each.effects),
    }


def effects_value(effects: Effects) -> dict[str, Any]:
    """Give the parts of a change as a value of JSON."""
    return {name: getattr(effects, name) for name in PARTS}


def _bill(bill: BillChange) -> dict[str, Any]:
    return {
        "currency": bill.currency,
        **_change(bill),
        "sentences": sentences_on(bill),
        "models": [{"model": each.id, **_change(each)} for each in bill.models],
        "projects": [
            {"project_id": each.id, "project_name": each.name, **_change(each)}
            for each in bill.projects
        ],
        "lines": [
            {
                "line_item": line.line_item,
                "project_id": line.project_id,
                "quantity_unit": line.unit,
                "quantity_before": line.quantity_before,
                "quantity": line.quantity,
                **_change(line),
            }
            for line in bill.lines
        ],
        "price_changes": [
            {
                "line_item": step.line_item,
                "date": step.day.isoformat(),
                "quantity_unit": step.unit,
                "price_before": step.before,
                "price": step.price,
                "effect": step.effect,
            }
            for step in bill.steps
        ],
        "api_keys": [
            {
                "api_key_id": key.id,
                "api_key_name": key.name,
                "project_id": key.project_id,
                "project_name": key.project_name,
                "amount_before": key.before,
                "amount": key.amount,
                "unusual_days": [
                    {"date": day.day.isoformat(), "amount": day.amount, "usual": day.usual}
                    for day in key.days
                ],
            }
            for key in bill.keys
        ],
    }


def _gap(gap: InvoiceGap) -> dict[str, Any]:
    return {
        "currency": gap.currency,
        "invoice": gap.invoice,
        "amount": gap.amount,
        "gap": gap.gap,
        "amount_rounded_by_line_item": gap.rounded,
        "gap_rounded_by_line_item": gap.gap_rounded,
        "possibilities": [{"cause": cause, "says": says} for cause, says in gap.possibilities],
    }


def _sum(each: LineSum) -> dict[str, Any]:
    return {
        "line_item": each.line_item,
        "quantity_unit": each.unit,
        "billed": each.billed,
        "reported": each.reported,
        "difference": each.difference,
        "days": each.days,
        "days_that_differ": each.differing,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "date": pair.day.isoformat(),
        "line_item": pair.line_item,
        "model": pair.model,
        "quantity_unit": pair.unit,
        "billed": pair.billed,
        "reported": pair.reported,
        "difference": pair.difference,
        "amounts": _amounts(pair.amounts),
    }


def _amounts(amounts: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [{"currency": currency, "amount": amount} for currency, amount in amounts]


def _line(value: Any) -> bytes:
    return dumps(value) + b"\n"
