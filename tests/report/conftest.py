"""Sections and reports for tests."""

from datetime import UTC, datetime
from decimal import Decimal

from usage_async import ENDPOINTS, CostsResult, CostsResultAmount, TimeRange, UsageTimeBucket
from usage_async.report.compute import compute_report
from usage_async.report.spec import ReportSpec, read_by
from usage_async.report.values import Section, Sections

DAY = 86400
START = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
PERIOD = TimeRange(START, START + 3 * DAY)
BEFORE = TimeRange(START - 3 * DAY, START)
NOW = START + 30 * DAY


def cost(amount: str | None, currency: str = "usd", **fields) -> CostsResult:
    made = amount and CostsResultAmount(value=Decimal(amount), currency=currency)
    return CostsResult(amount=made or None, **fields)


def section(*days, start: int = START) -> Section:
    return Section(
        tuple(
            UsageTimeBucket(
                start_time=start + n * DAY, end_time=start + (n + 1) * DAY, results=tuple(rows)
            )
            for n, rows in enumerate(days)
        )
    )


def report_of(
    by="project_id", *, costs=None, costs_by=None, usage=None, before=None, detailed=False, **more
):
    sections = Sections(
        costs=costs or section(),
        costs_by=costs_by or section(),
        usage={name: Section() for name in ENDPOINTS if name != "costs"} | (usage or {}),
        costs_before=before,
        **more,
    )
    by, *then_by = read_by(by)
    compared = BEFORE if before else None
    spec = ReportSpec(
        by, PERIOD, NOW, compared, then_by=then_by[0] if then_by else None, detailed=detailed
    )
    return compute_report(spec, sections)
