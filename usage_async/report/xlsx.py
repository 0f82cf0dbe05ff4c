"""Spreadsheet rendering of a report: a table on each sheet, for who sorts, filters and sends it on.

A number of a spreadsheet has 15 digits. So beside each amount stands its exact text, and a count
that a number cannot hold is a text. What is not known is an empty cell, never 0. Texts are texts:
none becomes a formula, a number or a link, and characters that XML refuses or that steer a line are
escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from math import isfinite
from typing import Any

import attrs

from usage_async._api.exact import plain
from usage_async._query.times import iso
from usage_async.errors import ConfigurationError
from usage_async.report.amounts import change
from usage_async.report.answers import Answer, bills, blanks, given
from usage_async.report.arithmetic import ratio
from usage_async.report.formatting import legible, money
from usage_async.report.insight import UNUSUAL_RULE
from usage_async.report.spec import ReportSpec
from usage_async.report.values import Group, Report, Spend, Tokens, View, days_not_sent
from usage_async.report.wording import (
    NOT_ATTRIBUTED,
    groups_note,
    leaves,
    per_thousand,
    period_text,
    range_text,
    rate_text,
    tokens_nouns,
    unusual_note,
)

try:
    import xlsxwriter  # type: ignore[import-untyped] # it has no types
except ImportError:
    _MISSING = "xlsx needs xlsxwriter: pip install 'usage-async[report]'"
    raise ConfigurationError(_MISSING) from None

_LONGEST = 16_000
"""Characters of a cell: it holds 32,767 units of UTF-16, of which a character takes two at most."""
_MOST_EXACT = 2**53
"""Whole numbers up to this one are exact in a spreadsheet."""
_WIDTHS = (8, 60)
"""The least and the greatest width of a column, in characters."""
_PADDING = 2
_EVERYWHERE = "A1:XFD1048576"

_COUNT, _SHARE, _DAY = "#,##0", "0.0%", "yyyy-mm-dd"
_HEADER, _LABEL = "header", "label"
"""Forms of texts, beside number formats."""
_OPTIONS = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}


@attrs.frozen
class _Cell:
    """A cell.

    Attributes:
        value: Its value; None is an empty cell.
        form: Its number format; for a text `_HEADER`, `_LABEL` or nothing.
        shown: The text that it is about as wide as.
    """

    value: str | float | date | None = None
    form: str = ""
    shown: str = ""


_Row = Sequence[_Cell]
_NO_AMOUNT = (_Cell(), _Cell(), _Cell())
"""Cells in place of a figure, its exact text or unit, and what it is of."""


def report_as_xlsx(report: Report, view: View) -> bytes:
    """Write a report as a workbook; the same report gives the same bytes."""
    return _workbook(_summary(report, view), [_Part((), report, view.notices)], ())


def reports_as_xlsx(answers: Sequence[Answer[Report]], _view: View) -> bytes:
    """Write the reports of organizations, of which one or more answered.

    Names of organizations are the first column of each sheet. Only the summary has sums, so that a
    sum over a column counts nothing twice.
    """
    parts = [
        _Part((_text(answer.name),), report, answer.notices) for answer, report in given(answers)
    ]
    unanswered = [
        [_text(name), *_texts(blank.verdict, None, blank.reason)] for name, blank in blanks(answers)
    ]
    return _workbook(_summary_of_all(answers), parts, unanswered)


@attrs.frozen
class _Part:
    """A report within a workbook.

    Attributes:
        cells: Cells that each of its rows begins with: its organization, if there are several.
        report: The report.
        notices: Warnings about its figures.
    """

    cells: _Row
    report: Report
    notices: Sequence[str]


def _workbook(summary: Iterable[_Row], parts: Sequence[_Part], notices: Iterable[_Row]) -> bytes:
    """Write the sheets of one or more reports, which answer one question.

    Args:
        summary: Rows of the first sheet.
        parts: The reports.
        notices: Rows of the sheet of notices, before those of the reports.
    """
    report = parts[0].report
    first = ("organization",) * len(parts[0].cells)
    nouns = [grouping.noun for grouping in report.spec.groupings]
    is_compared = any(_is_compared(part.report) for part in parts)
    figures = _figures_header(is_compared=is_compared)

    def rows(of: Callable[[_Part], Iterable[_Row]]) -> list[_Row]:
        return [[*part.cells, *row] for part in parts for row in of(part)]

    def groups(paths: _Paths) -> list[_Row]:
        return rows(lambda part: _groups(part.report, paths, is_compared=is_compared))

    data = BytesIO()
    with xlsxwriter.Workbook(data, _OPTIONS) as book:
        created = datetime.fromtimestamp(report.spec.now, UTC).replace(tzinfo=None)
        book.set_properties({"title": "Usage and costs", "created": created})
        sheets = _Sheets(book)
        sheets.free("Summary", summary)
        sheets.table("Days", (*first, *_DAYS), rows(_days))
        sheets.table("Groups", (*first, *_names_header(nouns), *figures), groups(leaves))
        if report.spec.then_by is not None:
            # Beside the pairs, not among them: sums over a column count nothing twice.
            header = (*first, *_names_header(nouns[:1]), *figures)
            sheets.table("Subtotals", header, groups(_alone))
        header = (*first, *_names_header(tokens_nouns(report)), *_TOKENS)
        sheets.table("Tokens", header, rows(_tokens))
        sheets.table("Endpoints", (*first, *_ENDPOINTS), rows(_endpoints))
        sheets.table("Notices", (*first, *_NOTICES), [*notices, *rows(_notices)])
    return data.getvalue()


class _Sheets:
    """Writer of the sheets of a workbook."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._forms: dict[str, Any] = {
            "": book.add_format({"num_format": "@"}),
            _HEADER: book.add_format({"bold": True, "bottom": 1}),
            _LABEL: book.add_format({"bold": True}),
        }

    def table(self, name: str, header: Sequence[str], rows: Iterable[_Row]) -> None:
        """Add a sheet with one table, whose header stays in view and filters."""
        cells = [_header(*header), *rows]
        sheet = self.free(name, cells)
        sheet.freeze_panes(1, 0)
        sheet.autofilter(0, 0, len(cells) - 1, len(header) - 1)
        sheet.repeat_rows(0)

    def free(self, name: str, rows: Iterable[_Row]) -> Any:
        """Add a sheet, with columns as wide as their cells."""
        sheet = self._book.add_worksheet(name)
        least, most = _WIDTHS
        widths: dict[int, int] = {}
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                self._write(sheet, number, column, cell)
                widths[column] = max(widths.get(column, least), len(cell.shown) + _PADDING)
        for column, width in widths.items():
            sheet.set_column(column, column, min(width, most))
        # The exact texts are no mistakes.
        sheet.ignore_errors({"number_stored_as_text": _EVERYWHERE})
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        return sheet

    def _write(self, sheet: Any, row: int, column: int, cell: _Cell) -> None:
        value, form = cell.value, cell.form
        if form not in self._forms:
            self._forms[form] = self._book.add_format({"num_format": form})
        match value:
            case None:
                return
            case str():
                sheet.write_string(row, column, value, self._forms[form])
            case date():
                sheet.write_datetime(row, column, value, self._forms[form])
            case _:
                sheet.write_number(row, column, value, self._forms[form])


def _header(*names: str) -> _Row:
    return [_Cell(name, _HEADER, name) for name in names]


def _text(text: str | None) -> _Cell:
    if text is None:
        return _Cell()
    safe = legible(text)
    safe = safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}…"
    return _Cell(safe, shown=safe)


def _day(day: date) -> _Cell:
    return _Cell(day, _DAY, day.isoformat())


def _count(value: int | None) -> _Cell:
    if value is None:
        return _Cell()
    shown = f"{value:,}"
    return _Cell(value, _COUNT, shown) if abs(value) <= _MOST_EXACT else _text(str(value))


def _share(part: Decimal, whole: Decimal) -> _Cell:
    return _Cell(float(ratio(part, whole)), _SHARE, "100.0%") if whole else _Cell()


def _money(amount: Decimal | None, currency: str) -> _Cell:
    """Write an amount as a number; one that is none in a spreadsheet has its exact text only."""
    if amount is None or not isfinite(number := float(amount)):
        return _Cell()
    return _Cell(number, _form_of(currency), money(amount, currency))


def _exactly(amount: Decimal | None, currency: str) -> tuple[_Cell, _Cell]:
    """Write an amount as a number, and its exact text beside it."""
    return _money(amount, currency), _text(None if amount is None else plain(amount))


def _form_of(currency: str) -> str:
    if currency == "usd":
        return '"$"#,##0.00;-"$"#,##0.00'
    if currency.isascii() and currency.isalpha():
        return f'#,##0.00 "{currency.upper()}"'
    return "#,##0.00"


def _texts(*texts: str | None) -> _Row:
    return list(map(_text, texts))


def _line(label: str, *cells: _Cell) -> _Row:
    return [_Cell(label, _LABEL, label), *cells]


def _summary(report: Report, view: View) -> Iterator[_Row]:
    yield _line("Organization", _text(report.organization.name))
    yield _line("Organization id", _text(report.organization.id))
    yield from _about(report.spec)
    yield []
    yield _header("Figure", "currency", "amount", "exact amount", "note")
    unknown = f"unknown: {report.spend_blank}" if report.spend_blank else "nothing was billed"
    if not report.spends:
        yield _line("Total spend", *_NO_AMOUNT, _text(unknown))
    for spend in report.spends:
        yield from _figures(report, spend, view)


def _about(spec: ReportSpec) -> Iterator[_Row]:
    running = " (still running)" if spec.last_day_runs else ""
    yield _line("Period, UTC", _text(f"{period_text(spec.period)}{running}"))
    if spec.before is not None:
        yield _line("Compared with", _text(period_text(spec.before)))
    yield _line("Grouped by", _text(spec.noun))
    yield _line("Read at", _text(iso(spec.now)))


def _summary_of_all(answers: Sequence[Answer[Report]]) -> Iterator[_Row]:
    """Give the spend of each organization, and of all of them."""
    _, report = next(given(answers))
    yield from _about(report.spec)
    yield []
    figures = ("currency", "spend", "exact spend", *_BEFORE)
    yield _header("Organization", "id", *figures, "note")
    for answer in answers:
        yield from _spends_of(answer)
    for bill in bills(answers):
        note = f"without {', '.join(bill.without)}" if bill.without else None
        amounts = _compared_amounts(bill.total, bill.before, bill.currency)
        yield _line("All organizations", _Cell(), *amounts, _text(note))


def _spends_of(answer: Answer[Report]) -> Iterator[_Row]:
    label, report = _text(answer.name), answer.value
    unknown = answer.blank if report is None else report.spend_blank
    if report is None or not report.spends:
        why = "nothing was billed" if unknown is None else f"unknown: {unknown}"
        yield [label, *[_Cell()] * 8, _text(why)]
        return
    missing = report.missing_days
    note = f"incomplete: {days_not_sent(missing)}" if missing else None
    for spend in report.spends:
        amounts = _compared_amounts(spend.total, spend.before, spend.currency)
        yield [label, _text(report.organization.id), *amounts, _text(note)]


def _compared_amounts(amount: Decimal, before: Decimal | None, currency: str) -> Iterator[_Cell]:
    """Give the cells of a currency, an amount, the amount before, and the change."""
    yield _text(currency.upper())
    more = None if before is None else change(amount, before)
    for each in (amount, before, more):
        yield from _exactly(each, currency)


def _figures(report: Report, spend: Spend, view: View) -> Iterator[_Row]:
    def amounts(amount: Decimal) -> _Row:
        return _text(spend.currency.upper()), *_exactly(amount, spend.currency)

    missing = report.missing_days
    note = f"incomplete: {days_not_sent(missing)}" if missing else None
    yield _line("Total spend", *amounts(spend.total), _text(note))
    if spend.before is not None:
        yield _line("The period before", *amounts(spend.before))
        yield _line("Change", *amounts(change(spend.total, spend.before)))
    if (projection := view.projection_of(spend)) is not None:
        texts = (text(projection, spend.currency) for text in (range_text, rate_text))
        note = "; ".join(filter(None, ("a projection", *texts)))
        currency, number, _ = amounts(projection.projected)
        yield _line("Month's end", currency, number, _Cell(), _text(note))


_BEFORE = ("before", "exact before", "change", "exact change")
_DAYS = ("day", "weekday", "currency", "spend", "exact spend", "note")


def _days(part: _Part) -> Iterator[_Row]:
    report = part.report
    for spend in report.spends:
        unusual = {each.day: each for each in spend.unusual}
        for day, amount in spend.days:
            notes = ["not sent"] if amount is None else []
            if day in unusual:
                notes.append(unusual_note(unusual[day], spend.currency))
            if report.spec.last_day_runs and day == spend.days[-1][0]:
                notes.append("still running")
            currency = _text(spend.currency.upper())
            amounts = _exactly(amount, spend.currency)
            note = _text("; ".join(notes) or None)
            yield [_day(day), _text(f"{day:%a}"), currency, *amounts, note]


def _names_header(nouns: Sequence[str]) -> tuple[str, ...]:
    if len(nouns) == 1:
        return nouns[0], "name"
    return tuple(header for noun in nouns for header in (noun, f"{noun} name"))


def _figures_header(*, is_compared: bool) -> tuple[str, ...]:
    header = ("currency", "spend", "exact spend", "share")
    before = _BEFORE if is_compared else ()
    return *header, *before, "requests", "per 1,000 requests"


def _is_compared(report: Report) -> bool:
    return any(group.before is not None for spend in report.spends for group in spend.groups)


_Paths = Callable[[Sequence[Group]], Iterable[Sequence[Group]]]
"""Gives what has a row of its own: groups, or parts behind their groups."""


def _groups(report: Report, paths: _Paths, *, is_compared: bool) -> Iterator[_Row]:
    for spend in report.spends:
        for path in paths(spend.groups):
            group = path[-1]
            row = [*_names(path), _text(spend.currency.upper())]
            row += [*_exactly(group.amount, spend.currency), _share(group.amount, spend.total)]
            if is_compared:
                before = group.before
                more = None if before is None else change(group.amount, before)
                row += [*_exactly(before, spend.currency), *_exactly(more, spend.currency)]
            yield [*row, _count(group.requests), _money(per_thousand(group), spend.currency)]


def _alone(groups: Sequence[Group]) -> Iterable[Sequence[Group]]:
    return ([group] for group in groups)


def _names(path: Sequence[Group | Tokens]) -> Iterator[_Cell]:
    for of in path:
        yield _text(of.id)
        yield _text(NOT_ATTRIBUTED if of.id is None else of.name)


_TOKENS = ("requests", "input tokens", "cached input tokens", "output tokens")


def _tokens(part: _Part) -> Iterator[_Row]:
    report = part.report
    for path in leaves(report.tokens):
        row = path[-1]
        yield [*_names(path), *map(_count, (row.requests, row.input, row.cached, row.output))]


_ENDPOINTS = ("endpoint", "metric", "figure", "unit", "note")


def _endpoints(part: _Part) -> Iterator[_Row]:
    report = part.report
    for use in report.endpoints:
        if use.blank is not None:
            yield [_text(use.name), *_NO_AMOUNT, _text(str(use.blank))]
        figures = [*use.figures]
        if use.requests is not None:
            figures.insert(0, ("num_model_requests", use.requests, "requests"))
        for metric, value, unit in figures:
            yield [_text(use.name), _text(metric), _count(value), _text(unit)]


_NOTICES = ("kind", "about", "notice")


def _notices(part: _Part) -> Iterator[_Row]:
    report = part.report
    for section, blank in report.blanks:
        yield _texts(blank.verdict, section, blank.reason)
    if report.uncounted:
        yield _texts("limit", "tokens", f"without {', '.join(report.uncounted)}")
    if report.spends and (note := groups_note(report)):
        yield _texts("limit", "groups", note)
    if any(spend.unusual for spend in report.spends):
        yield _texts("rule", "unusual days", UNUSUAL_RULE)
    for notice in (*part.notices, *report.remarks):
        yield _texts("notice", None, notice)
