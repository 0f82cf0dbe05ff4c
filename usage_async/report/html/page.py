"""Rendering of a report as a page.

Every text of the service is hostile. The template escapes each of them, after characters that steer
a line were made visible, and isolates ids and names by `<bdi>`, so that a name written from right
to left does not reorder the figures beside it. The policy of the page allows its own style and
script, by their hashes, and nothing else: even a text that became an element could load or run
nothing. Figures are rounded for people; `<data value="…">` holds each one exactly.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from usage_async._api.exact import plain
from usage_async._query.times import CALENDAR, iso
from usage_async.errors import ConfigurationError
from usage_async.report.answers import Answer, bills, given
from usage_async.report.arithmetic import ratio, times
from usage_async.report.budgets import Budget, Projection
from usage_async.report.formatting import count, legible, money, percent
from usage_async.report.html.charts import (
    MODALITIES,
    Drawings,
    can_draw,
    charts_of,
    color_of,
    draw,
    is_dense,
    stack_name,
    step_of,
)
from usage_async.report.html.form import Form
from usage_async.report.html.tables import (
    Cell,
    count_cell,
    days_table,
    endpoints_table,
    groups_table,
    kinds_table,
    models_table,
    money_cell,
    moves,
    organizations_tables,
    reasons_tables,
    tokens_table,
)
from usage_async.report.insight import UNUSUAL_RULE
from usage_async.report.telling import sentences_on
from usage_async.report.values import SPEND, Report, Spend, View, days_not_sent
from usage_async.report.wording import (
    change_text,
    period_text,
    range_text,
    rate_text,
    sum_of,
    unusual_text,
    used_up_text,
)

_MISSING = "a page needs altair, vl-convert and jinja2: pip install 'usage-async[report]'"
try:
    import jinja2
    from markupsafe import Markup
except ImportError:
    raise ConfigurationError(_MISSING) from None
if not can_draw():
    raise ConfigurationError(_MISSING)

_HERE = Path(__file__).parent
_STYLE = (_HERE / "page.css").read_text("utf-8")
_SCRIPT = (_HERE / "page.js").read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_ALLOWED = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; img-src data:;"
    " form-action 'self'; base-uri 'none'"
)
POLICY = f"{_ALLOWED}; frame-ancestors 'none'"
"""Content-Security-Policy of a page that is served: its own style and script, and no connection."""

PERIODS = ("7d", "30d", "90d", *CALENDAR)
"""Periods that the form suggests."""


def report_as_html(report: Report, view: View) -> bytes:
    """Write a report as one file, with its charts.

    Raises:
        ConfigurationError: A library that draws or writes is not installed.
    """
    return report_page(report, view, draw(charts_of(report)))


def report_page(report: Report, view: View, drawings: Drawings, form: Form | None = None) -> bytes:
    """Write the page of a report.

    Args:
        report: The report.
        view: Its notices, its budget, and the most groups of a table.
        drawings: The drawings of its charts.
        form: Its form; None writes a file, which has none.
    """
    organization = report.organization
    name = organization.name or organization.id or "Organization"
    return _rendered(
        report,
        drawings,
        title=name,
        name=name,
        id=organization.id if organization.name else "",
        form=form,
        articles=[_article(report, view, [drawings.failure] if drawings.failure else [])],
    )


def reports_as_html(answers: Sequence[Answer[Report]], view: View) -> bytes:
    """Write the reports of organizations, of which one or more answered, as one file.

    It begins with what all of them spent; each organization has a part of its own.
    """
    drawings = draw(
        {
            (f"{_prefix(number)}{name}", size): chart
            for number, answer in enumerate(answers)
            if answer.value is not None
            for (name, size), chart in charts_of(answer.value).items()
        }
    )
    _, first = next(given(answers))
    articles: list[dict[str, Any]] = []
    for number, answer in enumerate(answers):
        about: dict[str, Any] = {"heading": answer.name, "id": "", "blank": str(answer.blank or "")}
        if answer.value is not None:
            notices = attrs.evolve(view, notices=answer.notices)
            about |= _article(answer.value, notices, [], _prefix(number))
            about |= {"heading": answer.name, "id": answer.value.organization.id}
        articles.append({"prefix": _prefix(number), **about})
    name = "1 organization" if len(answers) == 1 else f"{len(answers)} organizations"
    return _rendered(
        first,
        drawings,
        title=name,
        name=name,
        id="",
        form=None,
        articles=articles,
        total=_total_cards(answers, first, drawings),
        organizations=organizations_tables(answers),
    )


def _prefix(number: int) -> str:
    return f"organization-{number + 1}-"


def _article(report: Report, view: View, failed: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Give what the template shows of a report."""
    elsewhere = {SPEND, *(use.name for use in report.endpoints)}
    blanks = (f"{name}: {blank}" for name, blank in report.blanks if name not in elsewhere)
    return {
        "heading": "",
        "prefix": prefix,
        "blank": "",
        "cards": _cards(report, view),
        "budget": None if view.budget is None else _budget_cards(view.budget),
        "bills": [_bill(report, number, view) for number in range(len(report.spends))],
        "tokens": tokens_table(report, view.top, view.top_parts),
        "kinds": kinds_table(report),
        "endpoints": endpoints_table(report.endpoints),
        "notices": [*blanks, *view.notices, *report.remarks, *failed],
    }


def failed_page(form: Form, reason: str) -> bytes:
    """Write the page that tells why there is no report.

    Args:
        form: Its form.
        reason: A sentence for a person.
    """
    return _page(title="No figures", name="Usage and costs", form=form, reason=reason)


def _rendered(
    report: Report, drawings: Drawings, *, title: str, form: Form | None, **more: Any
) -> bytes:
    period = period_text(report.spec.period)
    return _page(
        title=f"{title}: {period}",
        period=period,
        is_running=report.spec.last_day_runs,
        form=form,
        modalities=MODALITIES,
        svgs=drawings.svgs,
        about=_about(report, form),
        rule=UNUSUAL_RULE,
        **more,
    )


def _page(**given: Any) -> bytes:
    page = _template().render(
        style=_STYLE, script=_SCRIPT, policy=_ALLOWED, periods=PERIODS, **given
    )
    return page.encode()


@cache
def _template() -> jinja2.Template:
    def legible_text(value: Any) -> Any:
        return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=legible_text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["verbatim"] = Markup
    return environment.get_template("page.html")


@attrs.frozen
class Card:
    """A headline figure.

    Attributes:
        title: What it is.
        figure: The figure.
        kind: `total`, or the kind of a figure beside it.
        lines: Remarks below it.
        marks: Remarks that have to be noticed.
    """

    title: str
    figure: Cell
    kind: str = ""
    lines: Sequence[str] = ()
    marks: Sequence[str] = ()


def _cards(report: Report, view: View) -> list[Card]:
    """Make the headline figures."""
    against = f"against {period_text(report.spec.before)}" if report.spec.before else ""
    cards = []
    if report.spend_blank is not None:
        known = Cell("unknown")
        cards.append(Card("Total spend", known, "total", marks=[str(report.spend_blank)]))
    elif not report.spends:
        cards.append(Card("Total spend", Cell("nothing was billed"), "total"))
    for spend in report.spends:
        lines = []
        if spend.before is not None:
            lines.append(f"{change_text(spend.total, spend.before, spend.currency)} {against}")
        lines.append(f"exactly {plain(spend.total)} {spend.currency.upper()}")
        missing = report.missing_days
        marks = [f"incomplete: {days_not_sent(missing)}"] if missing else []
        total = money_cell(spend.total, spend.currency)
        cards.append(Card("Total spend", total, "total", lines, marks))
        projection = spend.projection
        if projection is not None and not view.has_projection(spend.currency):
            cards.append(
                _projection_card("Projected for the month", projection, spend.currency, "pace")
            )
    return [*cards, *_usage_cards(report)]


def _projection_card(title: str, each: Projection, currency: str, kind: str = "") -> Card:
    lines = [text(each, currency) for text in (range_text, rate_text)]
    return Card(title, money_cell(each.projected, currency), kind, [*filter(None, lines)])


def _total_cards(
    answers: Sequence[Answer[Report]], report: Report, drawings: Drawings
) -> list[Card]:
    """Make the headline figures of all organizations."""
    failed = [drawings.failure] if drawings.failure else []
    cards = []
    for bill in bills(answers):
        lines = [f"exactly {plain(bill.total)} {bill.currency.upper()}"]
        if bill.before is not None and report.spec.before is not None:
            moved = change_text(bill.total, bill.before, bill.currency)
            lines.insert(0, f"{moved} against {period_text(report.spec.before)}")
        marks = [f"incomplete: without {', '.join(bill.without)}"] if bill.without else []
        total = money_cell(bill.total, bill.currency)
        cards.append(Card("Total spend", total, "total", lines, [*marks, *failed]))
        failed = []
    return cards or [Card("Total spend", Cell("nothing was billed"), "total", marks=failed)]


def _budget_cards(each: Budget) -> list[Card]:
    """Make the figures of a budget."""
    of, is_over = each.currency, each.verdict != "within"
    amount = money_cell(each.budget or Decimal(0), of)
    told = used_up_text(each)
    share = percent(each.spent, each.budget) if each.budget else ""
    missing = [f"incomplete: {days_not_sent(each.missing_days)}"] if each.missing_days else []
    spent = [f"{share} of the budget"] if share else []
    cards = [
        Card(
            "Budget of the month",
            amount,
            lines=[] if is_over else [each.verdict],
            marks=[each.verdict] if is_over else [],
        ),
        Card("Spent", money_cell(each.spent, of), lines=[*spent, told], marks=missing),
    ]
    if each.projection is not None:
        cards.append(_projection_card("Month's end, projected", each.projection, of))
    if (limit := each.limit) is not None:
        lines = [f"a {limit.interval}", *filter(None, (limit.enforcement,))]
        cards.append(Card("Spend limit", money_cell(limit.amount, of), lines=[", ".join(lines)]))
    return cards


def _reasons(report: Report, currency: str, top: int) -> dict[str, Any] | None:
    """Give what the template shows of the change of a bill; None without a comparison."""
    made = report.explanation
    if made is None:
        return None
    known = next((bill for bill in made.bills if bill.currency == currency.lower()), None)
    is_told = known is not None and known.is_explained
    return {
        "against": f"against {period_text(made.spec.before)}" if made.spec.before else "",
        "sentences": sentences_on(known) if known is not None and is_told else [],
        "tables": reasons_tables(known, top) if known is not None and is_told else [],
        # The notices of the page tell the others.
        "remarks": [each for each in made.remarks if each not in report.remarks],
        "is_told": is_told,
    }


def _usage_cards(report: Report) -> list[Card]:
    if not report.tokens:
        return []
    used, before = sum_of(report.tokens), report.used_before
    marks = [f"without {', '.join(report.uncounted)}"] if report.uncounted else []
    requests = [_moved(used.requests, before.requests)] if before else []
    tokens = [_moved(used.input + used.output, before.input + before.output)] if before else []
    tokens.append(f"{count(used.input)} in, {count(used.output)} out")
    cards = [
        Card("Requests", count_cell(used.requests), "requests", requests, marks),
        Card("Tokens", count_cell(used.input + used.output), "tokens", tokens, marks),
    ]
    if used.input:
        share, cached = percent(used.cached, used.input), [f"{count(used.cached)} tokens"]
        if before and before.input:
            cached.append(f"{percent(before.cached, before.input)} before")
        cards.append(Card("Cached input", Cell(share), "cached", cached, marks))
    is_whole = not report.uncounted and not report.missing_days and not report.gaps
    if len(report.spends) == 1 and is_whole and used.requests:
        (spend,) = report.spends
        rate = _rate(spend.total, used.requests)
        told = ["all spend, over all requests to models"]
        if before and before.requests and spend.before is not None:
            earlier = money(_rate(spend.before, before.requests), spend.currency)
            told.append(f"{earlier} before")
        cards.append(Card("Per 1,000 requests", money_cell(rate, spend.currency), "rate", told))
    return cards


def _rate(amount: Decimal, requests: int) -> Decimal:
    return ratio(times(amount, 1000), requests)


def _moved(now: int, before: int) -> str:
    moved = now - before
    share = percent(moved, before)
    sign = "+" if moved > 0 else ""
    return f"{sign}{count(moved)}" + (f" ({sign}{share})" if share else "")


def _bill(report: Report, number: int, view: View) -> dict[str, Any]:
    """Give what the template shows of the spend in one currency."""
    spend = report.spends[number]
    known = [amount for _, amount in spend.days if amount is not None]
    highest = f"highest day {money(max(known), spend.currency)}" if known else ""
    is_model = report.spec.by == "model"
    return {
        "number": number,
        "of": f", {spend.currency.upper()}" if len(report.spends) > 1 else "",
        "highest": highest,
        "is_dense": is_dense(spend),
        "steps": {size: step_of(spend, size) for size in ("wide", "narrow")},
        "first": spend.days[0][0] if spend.days else "",
        "last": spend.days[-1][0] if spend.days else "",
        "legend": _legend(spend),
        "unusual": [unusual_text(each, spend.currency) for each in spend.unusual],
        "days": days_table(spend) if known else None,
        "reasons": _reasons(report, spend.currency, view.top),
        "moves": moves(spend),
        "groups": groups_table(report, spend, view.top, view.top_parts),
        "models": None if is_model else models_table(report, spend, view.top),
    }


def _legend(spend: Spend) -> list[tuple[str, str]]:
    """Give colour and name of each part of a day; nothing where there is but one."""
    if len(spend.stacks) < 2:  # noqa: PLR2004 - one colour needs no legend
        return []
    return [(color_of(place, stack), stack_name(stack)) for place, stack in enumerate(spend.stacks)]


def _about(report: Report, form: Form | None) -> dict[str, str]:
    """Tell what was asked, what the figures cover, and when they were read."""
    spec = report.spec
    asked = spec.requested or spec.period
    word = f"{form.period}: " if form else ""
    return {
        "asked": f"{word}{iso(asked.start_time)} to {iso(asked.end_time)}",
        "covered": f"{iso(spec.period.start_time)} to {iso(spec.period.end_time)}",
        "grouped": spec.noun,
        "read": f"{datetime.fromtimestamp(spec.now, UTC):%Y-%m-%d %H:%M:%S} UTC",
        "read_iso": iso(spec.now),
        "json": form.json if form else "",
    }
