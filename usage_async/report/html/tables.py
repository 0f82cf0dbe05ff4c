"""Tables of a page: rows of cells, which the template writes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape

import attrs

from usage_async._api.exact import plain
from usage_async.report.amounts import change
from usage_async.report.answers import Answer, Bill, bills, given
from usage_async.report.arithmetic import ratio, times
from usage_async.report.changes import BillChange, GroupChange
from usage_async.report.effects import PARTS, Effects, summed
from usage_async.report.formatting import count, legible, money, percent
from usage_async.report.html.charts import MODALITIES, stack_name
from usage_async.report.insight import is_weekend
from usage_async.report.values import EndpointUse, Group, Report, Spend, Tokens
from usage_async.report.wording import (
    NOT_ATTRIBUTED,
    cause_text,
    change_text,
    figure_text,
    groups_note,
    leaves,
    per_thousand,
    rest_of,
    split,
    sum_of,
    tokens_noun,
    unusual_note,
)

_SEARCHABLE = 9
"""Rows from which a table of groups can be searched."""
_MOST_COLUMNS_OF_DAYS = 100
"""The most days that a table shows with their parts."""
_MOST_PARTS = 250
"""The most parts, over all groups, of a table that is cut; a row takes some 600 bytes."""
_USUAL_TEXTS = 300
"""The most bytes of these that are name and id, as they are written."""
_MOST_MOVED = 10
"""The most models, or projects, whose change is shown in its parts, of a table that is cut."""
_LEAST_PARTS = 3
"""The parts that each group shows in any case, unless their names are long."""


@attrs.frozen
class Cell:
    """A cell.

    Attributes:
        text: For people, rounded.
        value: For programs and for sorting, exact; empty if the text is all.
        bar: Length of a bar beside the text, in hundredths; None draws none.
        is_words: True if it is words, which are set to the left.
        is_marked: True if it has to be noticed.
        figures: Figures in place of the text, with commas between them.
    """

    text: str
    value: str = ""
    bar: str | None = None
    is_words: bool = False
    is_marked: bool = False
    figures: tuple[Cell, ...] = ()


@attrs.frozen
class Row:
    """A row.

    Attributes:
        name: What it is about.
        cells: Its other cells.
        id: Id of what it is about, where that has a name.
        is_soft: True if it is no thing of its own, such as all others.
        parts: Rows of its parts, below it.
    """

    name: str
    cells: tuple[Cell, ...]
    id: str = ""
    is_soft: bool = False
    parts: tuple[Row, ...] = ()


@attrs.frozen(kw_only=True)
class Table:
    """A table.

    Attributes:
        caption: Its caption.
        headers: Headers of its columns.
        rows: Its rows.
        foot: The row of the sums; None where there is none.
        note: A remark beside the caption.
        words: Numbers of the columns of words.
        is_of_groups: True if its rows are groups, not kinds, days, endpoints or what moved most.
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    foot: Row | None = None
    note: str = ""
    words: tuple[int, ...] = ()
    is_of_groups: bool = False

    @property
    def is_searchable(self) -> bool:
        """True if it has so many groups that a search helps."""
        return self.is_of_groups and len(self.rows) >= _SEARCHABLE

    @property
    def is_sortable(self) -> bool:
        """True if there is an order to choose."""
        return len([row for row in self.rows if not row.is_soft]) > 1


def money_cell(value: Decimal, currency: str, bar: str | None = None) -> Cell:
    """Make a cell of an amount."""
    return Cell(money(value, currency), plain(value), bar)


def count_cell(value: int) -> Cell:
    """Make a cell of a number."""
    return Cell(count(value), str(value))


def _share_cell(part: Decimal | int, whole: Decimal | int) -> Cell:
    return Cell(percent(part, whole), f"{ratio(part, whole):.6f}" if whole else "")


def groups_table(report: Report, spend: Spend, top: int, top_parts: int) -> Table | None:
    """Make the table of the groups of a bill."""
    if not spend.groups:
        return None
    noun = report.spec.noun
    is_compared = any(group.before is not None for group in spend.groups)
    is_rated = any(group.requests for group in spend.groups)
    headers: tuple[str, ...] = (noun, "spend", "share")
    headers += ("change",) * is_compared + ("requests", "per 1,000 requests") * is_rated
    of = _Groups(spend, is_compared=is_compared, is_rated=is_rated)
    shown, _ = split(spend.groups, top)
    rows = tuple(of.rows(spend.groups, top, _most_parts(shown, top_parts)))
    whole = Group(
        id="",
        amount=spend.total,
        before=spend.before if is_compared else None,
        requests=sum_of(report.tokens).requests,
    )
    foot = Row("all", of.cells(whole, is_sum=True), is_soft=True)
    caption = f"Spend by {noun}"
    return Table(
        caption=caption,
        headers=headers,
        rows=rows,
        foot=foot,
        note=groups_note(report),
        is_of_groups=True,
    )


def _most_parts(shown: Sequence[Group | Tokens], top_parts: int) -> int:
    """Give the most parts of a group, which are fewer beside many groups; 0 shows all.

    Parts whose names and ids are long, as they are written, take the room of several.
    """
    if not top_parts:
        return 0
    most = max(_LEAST_PARTS, min(top_parts, _MOST_PARTS // len(shown)))
    parts = [part for group in shown for part in group.parts[:most]]
    texts = sum(_written(part.name) + _written(part.id) for part in parts)
    return max(1, most * _USUAL_TEXTS * len(parts) // max(texts, _USUAL_TEXTS * len(parts), 1))


def _written(text: str | None) -> int:
    """Count the bytes of a text on a page, where some characters become several."""
    return len(escape(legible(text or "")).encode())


@attrs.frozen
class _Groups:
    """Maker of rows of groups.

    Attributes:
        spend: The bill.
        is_compared: True if there is a column of changes.
        is_rated: True if there are columns of requests.
    """

    spend: Spend
    is_compared: bool = attrs.field(kw_only=True)
    is_rated: bool = attrs.field(kw_only=True)

    @property
    def peak(self) -> Decimal:
        """The largest amount, whose bar is the longest."""
        return max(group.amount for group in self.spend.groups)

    def rows(self, groups: Sequence[Group], top: int, top_parts: int) -> Iterator[Row]:
        """Make the rows of groups and of their parts."""
        shown, others = split(groups, top)
        for group in shown:
            if group.id is None and others:
                yield self._others(others)
                others = []
            is_split = group.id is not None or [part.id for part in group.parts] != [None]
            parts = tuple(self.rows(group.parts, top_parts, 0)) if is_split else ()
            yield row_of(group, self.cells(group), parts)
        if others:
            yield self._others(others)

    def _others(self, others: Sequence[Group]) -> Row:
        return Row(f"({len(others)} others)", self.cells(rest_of(others)), is_soft=True)

    def cells(self, group: Group, *, is_sum: bool = False) -> tuple[Cell, ...]:
        """Make the cells of a group."""
        currency = self.spend.currency
        bar = None if is_sum else _bar(group.amount, self.peak)
        share = _share_cell(group.amount, self.spend.total)
        cells = [money_cell(group.amount, currency), attrs.evolve(share, bar=bar)]
        if self.is_compared:
            before = group.before or Decimal(0)
            moved = plain(change(group.amount, before))
            cells.append(Cell(change_text(group.amount, before, currency), moved))
        if self.is_rated:
            rate = per_thousand(group)
            cells.append(count_cell(group.requests) if group.requests is not None else Cell(""))
            # A rate is no exact figure: these digits are for sorting.
            told = Cell("") if rate is None else Cell(money(rate, currency), f"{rate:.6f}")
            cells.append(told)
        return tuple(cells)


def _bar(amount: Decimal, peak: Decimal) -> str:
    share = times(ratio(amount, peak), 100) if 0 < amount <= peak else Decimal(0)
    return f"{share:.1f}"


def row_of(
    group: Group | GroupChange | Tokens, cells: tuple[Cell, ...], parts: tuple[Row, ...] = ()
) -> Row:
    """Make the row of a group."""
    if group.id is None:
        return Row(NOT_ATTRIBUTED, cells, is_soft=True, parts=parts)
    name = group.name or group.id
    return Row(name, cells, id=group.id if group.id != name else "", parts=parts)


def reasons_tables(bill: BillChange, top: int) -> list[Table]:
    """Make the tables of what moved a bill: by model and by project."""
    if not any(each.effects != Effects() for each in bill.lines):
        return []
    pairs = (("model", bill.models), ("project", bill.projects))
    top = min(top, _MOST_MOVED)
    return [_reasons_table(bill, noun, groups, top) for noun, groups in pairs]


def _reasons_table(bill: BillChange, noun: str, groups: Sequence[GroupChange], top: int) -> Table:
    """Make a table of changes, without the parts that are zero everywhere; it adds up."""
    parts = [name for name in PARTS if any(getattr(each.effects, name) for each in groups)]

    def cells(before: Decimal, amount: Decimal, effects: Effects) -> tuple[Cell, ...]:
        moved = [change(amount, before), *(getattr(effects, name) for name in parts)]
        return (money_cell(amount, bill.currency), *map(moved_cell, moved))

    def moved_cell(value: Decimal) -> Cell:
        return Cell(money(value, bill.currency, sign=True), plain(value)) if value else Cell("")

    moved = [each for each in groups if each.effects != Effects()]
    shown, others = (moved[:top], moved[top:]) if top and len(moved) > top + 1 else (moved, [])
    rows = [row_of(each, cells(each.before, each.amount, each.effects)) for each in shown]
    if others:
        rows.append(Row(f"({len(others)} others)", cells(*summed(others)), is_soft=True))
    if same := [each for each in groups if each.effects == Effects() and each.amount]:
        rows.append(Row(f"({len(same)} unchanged)", cells(*summed(same)), is_soft=True))
    return Table(
        caption=f"By {noun}",
        headers=(noun, "spend", "change", *parts),
        rows=tuple(rows),
        foot=Row("all", cells(bill.before, bill.amount, bill.effects), is_soft=True),
    )


def moves(spend: Spend) -> list[tuple[str, str]]:
    """Give the groups that moved most, each with its change and the line item behind that.

    The largest change comes first.
    """
    of = spend.currency
    found = []
    for path in leaves(spend.groups):
        group = path[-1]
        if group.cause is not None:
            name = " / ".join(each.name or each.id or NOT_ATTRIBUTED for each in path)
            before = group.before or Decimal(0)
            moved = change_text(group.amount, before, of)
            size = change(group.amount, before).copy_abs()
            found.append((size, name, f"{moved}, mostly {cause_text(group.cause, of)}"))
    found.sort(key=lambda each: each[0], reverse=True)
    return [(name, told) for _, name, told in found]


def organizations_tables(answers: Sequence[Answer[Report]]) -> list[Table]:
    """Make a table of what each organization spent, for each currency."""
    tables = []
    for bill in bills(answers):
        spends = [
            (answer.name, spend)
            for answer, report in given(answers)
            for spend in report.spends
            if spend.currency == bill.currency
        ]
        is_compared = any(spend.before is not None for _, spend in spends)
        rows = [Row(name, _bill_cells(spend, bill, compared=is_compared)) for name, spend in spends]
        tables.append(
            Table(
                caption=f"Spend by organization, {bill.currency.upper()}",
                headers=("organization", "spend", "share", *["change"] * is_compared),
                rows=tuple(rows),
                foot=Row("all", _bill_cells(bill, bill, compared=is_compared), is_soft=True),
                is_of_groups=True,
            )
        )
    return tables


def _bill_cells(spend: Spend | Bill, whole: Bill, *, compared: bool) -> tuple[Cell, ...]:
    amount = money_cell(spend.total, spend.currency)
    moved = Cell("")
    if spend.before is not None:
        text = change_text(spend.total, spend.before, spend.currency)
        moved = Cell(text, plain(change(spend.total, spend.before)))
    return (amount, _share_cell(spend.total, whole.total), *[moved] * compared)


def models_table(report: Report, spend: Spend, top: int) -> Table | None:
    """Make the table of the bill by model, with the tokens of each model."""
    if not spend.models:
        return None
    tokens = {row.id: row for row in report.models}
    is_rated = any(group.requests for group in spend.models)
    headers: tuple[str, ...] = ("model", "spend", "share")
    headers += ("requests", "per 1,000 requests") * is_rated + ("input", "cached", "output")
    of = _Groups(spend, is_compared=False, is_rated=is_rated)

    def cells(group: Group, used: Tokens | None) -> tuple[Cell, ...]:
        row = of.cells(group)
        plain_share = attrs.evolve(row[1], bar=None)
        more = token_cells(used)[1:] if used is not None else (Cell(""),) * 3
        return (row[0], plain_share, *row[2:], *more)

    shown, others = split(spend.models, top)
    rows = [row_of(group, cells(group, tokens.get(group.id))) for group in shown]
    if others:
        rest = Row(f"({len(others)} others)", cells(rest_of(others), None), is_soft=True)
        rows.insert(len(rows) - (1 if shown[-1].id is None else 0), rest)
    note = "derived from line items; what names no model is its line item"
    return Table(
        caption="Spend by model",
        headers=headers,
        rows=tuple(rows),
        note=note,
        is_of_groups=True,
    )


def tokens_table(report: Report, top: int, top_parts: int) -> Table | None:
    """Make the table of requests and tokens by group."""
    if not report.tokens:
        return None
    noun = tokens_noun(report)
    shown = report.tokens[: top or None]
    rows = tuple(_token_rows(report.tokens, top, _most_parts(shown, top_parts)))
    is_many = len(report.tokens) > 1
    return Table(
        caption=f"Tokens and requests by {noun}",
        headers=(noun, "requests", "input", "cached", "output"),
        rows=rows,
        foot=Row("all", token_cells(sum_of(report.tokens)), is_soft=True) if is_many else None,
        note=f"without {', '.join(report.uncounted)}" if report.uncounted else "",
        is_of_groups=True,
    )


def _token_rows(groups: Sequence[Tokens], top: int, top_parts: int) -> Iterator[Row]:
    is_cut = top and len(groups) > top + 1
    for row in groups[:top] if is_cut else groups:
        yield row_of(row, token_cells(row), tuple(_token_rows(row.parts, top_parts, 0)))
    if is_cut:
        rest = groups[top:]
        yield Row(f"({len(rest)} others)", token_cells(sum_of(rest)), is_soft=True)


def token_cells(row: Tokens) -> tuple[Cell, ...]:
    """Make the cells of requests and tokens."""
    cached = _share_cell(row.cached, row.input)
    return (count_cell(row.requests), count_cell(row.input), cached, count_cell(row.output))


def kinds_table(report: Report) -> Table | None:
    """Make the table of tokens by kind and modality."""
    if not report.kinds:
        return None
    told = {modality for kind in report.kinds for modality, tokens in kind.by_modality if tokens}
    columns = tuple(modality for modality in MODALITIES if modality in told)
    rows = []
    for kind in report.kinds:
        parts = dict(kind.by_modality)
        cells = (count_cell(parts[each]) if each in parts else Cell("") for each in columns)
        rows.append(Row(kind.kind, (count_cell(kind.tokens), *cells)))
    headers = ("kind", "tokens", *columns)
    return Table(caption="Tokens by kind", headers=headers, rows=tuple(rows))


def days_table(spend: Spend) -> Table:
    """Make the table of the days, with their parts where these are not too many."""
    parts = (
        spend.stacks if len(spend.stacks) > 1 and len(spend.days) <= _MOST_COLUMNS_OF_DAYS else ()
    )
    unusual = {each.day: each for each in spend.unusual}
    rows = []
    for place, (day, amount) in enumerate(spend.days):
        known = Cell("unknown") if amount is None else money_cell(amount, spend.currency)
        of_parts = (stack.amounts[place] for stack in parts)
        cells = [known, *(_part_cell(part, spend.currency) for part in of_parts)]
        if unusual:
            note = unusual_note(unusual[day], spend.currency) if day in unusual else ""
            cells.append(Cell(note, is_words=True, is_marked=True))
        rows.append(Row(f"{day:%a} {day}", tuple(cells), is_soft=is_weekend(day)))
    headers = ("day", "spend", *map(stack_name, parts), *(["remark"] if unusual else []))
    words = (len(headers) - 1,) if unusual else ()
    return Table(caption="Spend by day", headers=headers, rows=tuple(rows), words=words)


def _part_cell(part: Decimal | None, currency: str) -> Cell:
    return Cell(money(part, currency) if part else "")


def endpoints_table(uses: Iterable[EndpointUse]) -> Table:
    """Make the table of all endpoints."""
    rows = []
    for use in uses:
        requests = Cell("") if use.requests is None else count_cell(use.requests)
        figures = tuple(Cell(figure_text(*each), str(each[1])) for each in use.figures)
        words = str(use.blank) if use.blank else ""
        cell = Cell(words, is_words=True, is_marked=bool(words), figures=figures)
        rows.append(Row(use.name, (requests, cell)))
    headers = ("endpoint", "requests", "figures")
    return Table(caption="Everything that was used", headers=headers, rows=tuple(rows), words=(2,))
