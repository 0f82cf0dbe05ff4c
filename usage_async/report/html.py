"""HTML rendering of a report: one page without scripts, for a browser on the same machine.

Every text of the service is hostile: it passes through `_text`, and ids and names are isolated by
`<bdi>`, so that a name written from right to left does not reorder the figures beside it. Figures
are rounded for people; `<data value="…">` holds each one exactly.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from urllib.parse import urlencode

import attrs

from usage_async._api.exact import plain
from usage_async._query.times import CALENDAR, iso
from usage_async.report.arithmetic import ratio, times
from usage_async.report.dimensions import word_of
from usage_async.report.formatting import count, legible, money, percent
from usage_async.report.insight import UNUSUAL_RULE, is_weekend
from usage_async.report.spec import GROUPINGS, By
from usage_async.report.values import (
    SPEND,
    EndpointUse,
    Group,
    Report,
    Spend,
    Tokens,
    View,
    days_not_sent,
)
from usage_async.report.wording import (
    NOT_ATTRIBUTED,
    change_text,
    figure_text,
    groups_note,
    pace_text,
    per_thousand,
    period_text,
    rest_of,
    split,
    sum_of,
    tokens_noun,
    unusual_text,
)

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--soft:#5b6470;--line:#e1e4e8;
--tint:#f5f6f8;--bar:#2f6fb3;--rest:#9dbfe0;--mark:#b4540a;--link:#1a5fb4}
@media(prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e6e8eb;--soft:#9aa4b0;--line:#30363d;
--tint:#1d2126;--bar:#5b9bd9;--rest:#345a80;--mark:#f0a050;--link:#7db4ee}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1.25rem 3rem;background:var(--paper);
color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
a{color:var(--link)}
h1{font-size:1.5rem;line-height:1.25;margin:0}
h2,caption{font-size:1.0625rem;font-weight:600;text-align:left;margin:0;padding:0}
small,.soft{color:var(--soft);font-size:.875rem;font-weight:400}
header{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:end;justify-content:space-between;
border-bottom:1px solid var(--line);padding-bottom:1rem}
h1,th,li,p,.words{overflow-wrap:anywhere}
thead th{overflow-wrap:normal}
h1 small,th small{display:block}
form{display:flex;flex-wrap:wrap;gap:.5rem .75rem;align-items:end}
label{display:grid;font-size:.8125rem;color:var(--soft)}
input,select,button{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--soft);
border-radius:.375rem;padding:.3rem .6rem;height:2.25rem}
input{width:9.5rem}
button{background:var(--bar);border-color:var(--bar);color:var(--paper);font-weight:600}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
section{margin-top:2.25rem}
.total{font-size:2.5rem;line-height:1.2;font-weight:650;margin:.25rem 0;letter-spacing:-.01em}
p{margin:.25rem 0}
.mark{color:var(--mark)}
figure{margin:1.25rem 0 0}
figcaption{display:flex;justify-content:space-between;font-size:.8125rem;color:var(--soft)}
.days{display:block;width:100%;height:7rem;border-bottom:1px solid var(--soft)}
rect{fill:var(--bar)}
.weekend{fill:var(--rest)}
.odd{fill:var(--mark)}
.track{fill:var(--tint)}
.wide{overflow-x:auto;margin-top:2.25rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{padding-bottom:.5rem}
th,td{padding:.4rem .5rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top;
white-space:nowrap}
thead th{color:var(--soft);font-size:.8125rem;font-weight:500}
th:first-child{text-align:left;padding-left:0}
tbody th,tfoot th{font-weight:400;white-space:normal;min-width:9rem}
thead th.words,td.words{text-align:left}
td.words{white-space:normal;min-width:10rem}
tfoot td,tfoot th{color:var(--soft);border-bottom:0}
td svg{width:7rem;height:.75rem}
.share{display:inline-block;min-width:4rem}
summary{cursor:pointer;color:var(--soft);font-size:.875rem;margin-top:.75rem}
details table{width:auto}
ul{margin:.25rem 0;padding-left:1.25rem}
footer{margin-top:2.5rem;border-top:1px solid var(--line);padding-top:.75rem}
@media(max-width:34rem){td svg{display:none}.share{min-width:0}.total{font-size:2rem}
table{font-size:.875rem}
th,td{padding:.4rem 0 .4rem .375rem;white-space:normal}
thead th{font-size:.75rem}tbody th,tfoot th{min-width:5rem}
th small{font-size:.75rem}input{width:100%}label{flex:1 1 8rem}}
@media print{form,summary{display:none}body{max-width:none;padding:0}}
"""

_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: no script, no connection, and only its own style."""

PAGE_AS_JSON = "/page.json"
"""Path of the figures of the page as JSON."""

_DAYS_HIGH = 100
_WORDS = "figures"
"""Header of a column of words."""


@attrs.frozen
class Question:
    """Choices of the page's form.

    Attributes:
        period: A period in a word, as `period=` of a query.
        by: The dimension to group by.
    """

    period: str
    by: By


def report_page(question: Question, report: Report, view: View) -> bytes:
    """Write the page of a report.

    Args:
        question: The choices that the form shows.
        report: The report.
        view: Its notices, and the most groups of a table.
    """
    title = f"{report.organization.name or 'Organization'}: {period_text(report.spec.period)}"
    parts = [_spend_section(report)]
    for spend in report.spends:
        parts += [_days(spend), _groups(report, spend, view.top)]
    parts += [_tokens(report, view.top), _endpoints(report.endpoints)]
    parts += [_notices(report, view), _about(question, report)]
    return _page(title, _heading(report), question, "".join(parts))


def failed_page(question: Question, reason: str) -> bytes:
    """Write the page that tells why there is no report.

    Args:
        question: The choices that the form shows.
        reason: A sentence for a person.
    """
    body = f'<section role="alert"><h2>No figures</h2><p class="mark">{_text(reason)}</p></section>'
    return _page("No figures", "Usage and costs", question, body)


def _page(title: str, heading: str, question: Question, body: str) -> bytes:
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{_text(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style>'
    )
    header = f"<header><h1>{heading}</h1>{_form(question)}</header>"
    page = (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{header}\n'
        f"<main>{body}</main></body></html>\n"
    )
    return page.encode()


def _text(text: str) -> str:
    """Escape a text for elements and attributes."""
    return escape(legible(text))


def _money(value: Decimal, currency: str) -> str:
    return f'<data value="{plain(value)}">{_text(money(value, currency))}</data>'


def _count(value: int) -> str:
    return f'<data value="{value}">{count(value)}</data>'


def _heading(report: Report) -> str:
    organization = report.organization
    name = organization.name or organization.id or "Organization"
    identity = organization.id if organization.name else None
    return _named(name, identity)


def _named(name: str, identity: str | None) -> str:
    below = f"<small><bdi>{_text(identity)}</bdi></small>" if identity else ""
    return f"<bdi>{_text(name)}</bdi>{below}"


def _form(question: Question) -> str:
    words = "".join(f'<option value="{word}"></option>' for word in ("7d", "30d", *CALENDAR))
    choices = "".join(
        f'<option value="{word_of(by)}"{" selected" * (by == question.by)}>{each.noun}</option>'
        for by, each in GROUPINGS.items()
    )
    return (
        '<form action="/" method="get">'
        f'<label>Period <input name="period" value="{_text(question.period)}" list="periods"'
        ' required autocomplete="off" spellcheck="false"></label>'
        f'<datalist id="periods">{words}</datalist>'
        f'<label>Grouped by <select name="by">{choices}</select></label>'
        "<button>Show</button></form>"
    )


def _spend_section(report: Report) -> str:
    spec = report.spec
    still = ' <span class="mark">(still running)</span>' if spec.last_day_runs else ""
    lines = [f'<p class="soft">{period_text(spec.period)} UTC{still}</p>']
    if report.spend_blank is not None:
        lines.append(f'<p class="mark">Unknown: {_text(str(report.spend_blank))}</p>')
    elif not report.spends:
        lines.append('<p class="total">nothing was billed</p>')
    for spend in report.spends:
        lines.append(f'<p class="total">{_money(spend.total, spend.currency)}</p>')
        if missing := report.missing_days:
            lines.append(f'<p class="mark">incomplete: {days_not_sent(missing)}</p>')
        if spend.before is not None and spec.before is not None:
            change = _text(change_text(spend.total, spend.before, spend.currency))
            against = f'<span class="soft">against {period_text(spec.before)}</span>'
            lines.append(f'<p class="change">{change} {against}</p>')
        lines.append(
            f'<p class="soft">exactly {plain(spend.total)} {_text(spend.currency.upper())}</p>'
        )
        if spend.pace is not None:
            lines.append(
                f"<p>Month&#x27;s end about {_money(spend.pace.projected, spend.currency)}"
                f' <span class="soft">{_text(pace_text(spend.pace, spend.currency))}</span></p>'
            )
    return f"<section><h2>Total spend</h2>{''.join(lines)}</section>"


def _days(spend: Spend) -> str:
    known = [amount for _, amount in spend.days if amount is not None]
    if not known:
        return ""
    peak = max(known)
    odd = {each.day for each in spend.unusual}
    bars, rows = [], []
    for place, (day, amount) in enumerate(spend.days):
        told = "unknown" if amount is None else money(amount, spend.currency)
        kind = "odd" if day in odd else "weekend" if is_weekend(day) else ""
        share = ratio(max(amount or Decimal(0), Decimal(0)), peak) if peak > 0 else Decimal(0)
        high = round(float(share) * _DAYS_HIGH, 2)
        bars.append(
            f'<rect class="{kind}" x="{place}.1" y="{_DAYS_HIGH - high:.2f}" width="0.8"'
            f' height="{high:.2f}"><title>{day}: {_text(told)}</title></rect>'
        )
        cell = told if amount is None else _money(amount, spend.currency)
        rows.append(f'<tr><th scope="row">{day:%a} {day}</th><td>{cell}</td></tr>')
    highest = f"Highest day: {_text(money(peak, spend.currency))}"
    first, last = spend.days[0][0], spend.days[-1][0]
    unusual = "".join(
        f'<p class="mark">{_text(unusual_text(each, spend.currency))}</p>' for each in spend.unusual
    )
    rule = f'<p class="soft">(unusual: {_text(UNUSUAL_RULE)})</p>' if unusual else ""
    return (
        f"<section><h2>Day by day</h2><figure><figcaption><span>{highest}</span></figcaption>"
        f'<svg class="days" role="img" aria-label="Spend of each day from {first} to {last}.'
        f' {highest}." viewBox="0 0 {len(spend.days)} {_DAYS_HIGH}" preserveAspectRatio="none">'
        f"{''.join(bars)}</svg><figcaption><span>{first}</span><span>{last}</span></figcaption>"
        f"</figure>{unusual}{rule}<details><summary>The days as a table</summary>"
        f"{_table('', ('day', 'spend'), rows)}</details></section>"
    )


def _table(
    caption: str, headers: Sequence[str], rows: Iterable[str], foot: str = "", note: str = ""
) -> str:
    about = f" <small>{_text(note)}</small>" if note else ""
    named = f"<caption>{_text(caption)}{about}</caption>" if caption else ""
    head = "".join(
        f'<th scope="col" class="{"words" if each == _WORDS else ""}">{_text(each)}</th>'
        for each in headers
    )
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f"<table>{named}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>{foot}</table>"
    )


def _wide(name: str, table: str) -> str:
    """Let a table that is wider than the page scroll, by keyboard as well."""
    return f'<div class="wide" role="region" aria-label="{_text(name)}" tabindex="0">{table}</div>'


def _groups(report: Report, spend: Spend, top: int) -> str:
    if not spend.groups:
        return ""
    noun = report.spec.grouping.noun
    compared = any(group.before is not None for group in spend.groups)
    rated = any(group.requests for group in spend.groups)
    groups, others = split(spend.groups, top)
    peak = max((group.amount for group in groups), default=Decimal(0))
    rows = [
        _row(_label(group), _group(group, spend, peak, compared=compared, rated=rated))
        for group in groups
    ]
    if others:
        rest = rest_of(others)
        cells = _group(rest, spend, peak, compared=compared, rated=rated)
        rows.insert(len(rows) - (groups[-1].id is None), _row(f"({len(others)} others)", cells))
    headers = [noun, "spend", "share"]
    headers += ["change"] * compared + ["per 1k requests"] * rated
    caption = f"Spend by {noun}"
    return _wide(caption, _table(caption, headers, rows, note=groups_note(report)))


def _group(group: Group, spend: Spend, peak: Decimal, *, compared: bool, rated: bool) -> list[str]:
    share = f'<span class="share">{percent(group.amount, spend.total)}</span>'
    cells = [_money(group.amount, spend.currency), _bar(group.amount, peak) + share]
    if compared:
        change = change_text(group.amount, group.before or Decimal(0), spend.currency)
        cells.append(_text(change))
    if rated:
        rate = per_thousand(group)
        cells.append(_text(money(rate, spend.currency)) if rate else "")
    return cells


def _bar(amount: Decimal, peak: Decimal) -> str:
    share = times(ratio(amount, peak), 100) if 0 < amount <= peak else 0
    return (
        '<svg aria-hidden="true"><rect class="track" width="100%" height="100%"/>'
        f'<rect width="{float(share):.2f}%" height="100%"/></svg>'
    )


def _label(group: Group | Tokens) -> str:
    if group.id is None:
        return f'<span class="soft">{NOT_ATTRIBUTED}</span>'
    name = group.name or group.id
    return _named(name, group.id if group.id != name else None)


def _row(label: str, cells: Iterable[str]) -> str:
    columns = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{label}</th>{columns}</tr>'


def _tokens(report: Report, top: int) -> str:
    if not report.tokens:
        return ""
    noun = tokens_noun(report)
    rows = [_row(_label(row), _token_cells(row)) for row in report.tokens]
    if top and len(report.tokens) > top + 1:
        rest = report.tokens[top:]
        rows[top:] = [_row(f"({len(rest)} others)", _token_cells(sum_of(rest)))]
    foot = _row("all", _token_cells(sum_of(report.tokens))) if len(report.tokens) > 1 else ""
    note = f"without {', '.join(report.uncounted)}" if report.uncounted else ""
    caption = f"Tokens and requests by {noun}"
    headers = (noun, "requests", "input", "cached", "output")
    return _wide(caption, _table(caption, headers, rows, foot, note))


def _token_cells(row: Tokens) -> list[str]:
    cached = percent(row.cached, row.input)
    return [_count(row.requests), _count(row.input), cached, _count(row.output)]


def _endpoints(uses: Sequence[EndpointUse]) -> str:
    rows = []
    for use in uses:
        requests = "" if use.requests is None else _count(use.requests)
        figures = ", ".join(
            f'<data value="{value}">{_text(figure_text(metric, value, unit))}</data>'
            for metric, value, unit in use.figures
        )
        words = f'<span class="mark">{_text(str(use.blank))}</span>' if use.blank else figures
        rows.append(
            f'<tr><th scope="row">{use.name.replace("_", "_<wbr>")}</th><td>{requests}</td>'
            f'<td class="words">{words}</td></tr>'
        )
    caption = "Everything that was used"
    return _wide(caption, _table(caption, ("endpoint", "requests", _WORDS), rows))


def _notices(report: Report, view: View) -> str:
    elsewhere = {SPEND, *(use.name for use in report.endpoints)}
    blanks = (f"{name}: {blank}" for name, blank in report.blanks if name not in elsewhere)
    notices = (*blanks, *view.notices, *report.remarks)
    if not notices:
        return ""
    items = "".join(f"<li>{_text(each)}</li>" for each in notices)
    return f"<section><h2>Notices</h2><ul>{items}</ul></section>"


def _about(question: Question, report: Report) -> str:
    """Tell what was asked, what the figures cover, and when they were read."""
    spec = report.spec
    asked = spec.requested or spec.period
    words = urlencode({"period": question.period, "by": question.by})
    read = datetime.fromtimestamp(spec.now, UTC)
    covered = f"{iso(spec.period.start_time)} to {iso(spec.period.end_time)}"
    lines = (
        f"Asked for {_text(question.period)}: {iso(asked.start_time)} to {iso(asked.end_time)}.",
        f"Covered: {covered}.",
        f'Read at <time datetime="{iso(spec.now)}">{read:%Y-%m-%d %H:%M:%S} UTC</time>.',
        f'<a href="{PAGE_AS_JSON}?{escape(words)}">The same as JSON</a>',
    )
    return f'<footer class="soft">{"".join(f"<p>{line}</p>" for line in lines)}</footer>'
