"""Gap between a bill and an invoice, and what can make one. Pure.

Nothing here is a finding: the API gives neither invoices nor taxes nor payments.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Context, Decimal

import attrs

from usage_async.errors import QueryError
from usage_async.report.amounts import change, total
from usage_async.report.changes import BillChange
from usage_async.report.effects import grouped
from usage_async.report.formatting import money, percent
from usage_async.report.values import Explanation, days_not_sent, revised_from

_CENT = Decimal("0.01")
_ROUNDING = Context(prec=6600, Emax=10**6, Emin=-(10**6), rounding=ROUND_HALF_UP, traps=[])


@attrs.frozen(kw_only=True)
class InvoiceGap:
    """The gap between a bill and an invoice.

    Attributes:
        currency: Lowercase ISO 4217 code.
        invoice: Amount of the invoice.
        amount: The bill, exactly.
        rounded: The bill if each line item is rounded to cents.
        possibilities: Pairs of a cause that can make a gap, and a sentence with its figure.
    """

    currency: str
    invoice: Decimal
    amount: Decimal
    rounded: Decimal
    possibilities: tuple[tuple[str, str], ...]

    @property
    def gap(self) -> Decimal:
        """The invoice less the bill."""
        return change(self.invoice, self.amount)

    @property
    def gap_rounded(self) -> Decimal:
        """The invoice less the bill whose line items are rounded."""
        return change(self.invoice, self.rounded)


def invoice_gap(
    explanation: Explanation, invoice: Decimal, currency: str | None = None
) -> InvoiceGap:
    """Compare the bill of a period with an invoice.

    Args:
        explanation: The explained bill.
        invoice: Amount of the invoice.
        currency: Its currency; None if there is only one.

    Raises:
        QueryError: There are several currencies, or none like this.
    """
    bills = {bill.currency: bill for bill in explanation.bills}
    if currency is None and len(bills) > 1:
        known = ", ".join(sorted(bills))
        raise QueryError(f"the bill is in {known}: write the currency beside the invoice's amount")
    wanted = next(iter(bills), "usd") if currency is None else currency.lower()
    bill = bills.get(wanted)
    if bill is None and bills:
        raise QueryError(f"nothing is billed in {wanted}, but in {', '.join(sorted(bills))}")
    items = {} if bill is None else grouped(bill.lines, lambda line: line.line_item)
    amounts = [amount for _, amount, _ in items.values()]
    made = InvoiceGap(
        currency=wanted,
        invoice=invoice,
        amount=total(amounts),
        rounded=total(amount.quantize(_CENT, context=_ROUNDING) for amount in amounts),
        possibilities=(),
    )
    return attrs.evolve(made, possibilities=tuple(_possibilities(made, explanation, bill)))


def _possibilities(
    made: InvoiceGap, explanation: Explanation, bill: BillChange | None
) -> Iterator[tuple[str, str]]:
    def text(amount: Decimal) -> str:
        return money(amount, made.currency)

    yield (
        "rounding",
        (
            f"each line item rounded to cents, the bill is {text(made.rounded)}; the gap would be"
            f" {text(made.gap_rounded)}"
        ),
    )
    credit = total(line.credits for line in (bill.lines if bill else ()))
    yield (
        "credits",
        f"amounts below zero add up to {text(credit)}; the invoice may count them otherwise"
        if credit
        else "no amount is below zero; credits may be taken off on the invoice only"
        if bill is None or bill.is_explained
        else "line items are not all known, and credits may be among them",
    )
    if made.gap > 0 and made.amount > 0:
        share = percent(made.gap, made.amount)
        yield "taxes", f"costs are without taxes; a tax of {share} would be this gap"
    else:
        yield "taxes", "costs are without taxes, which would make the invoice higher"
    first = revised_from(explanation.spec)
    if first is not None:
        yield "unsettled days", f"figures from {first} on may still be revised"
    missing = {start for name, starts in explanation.gaps for start in starts if name == "spend"}
    if missing:
        yield "missing days", days_not_sent(len(missing))
    others = [each for each in explanation.bills if each.currency != made.currency and each.amount]
    if others:
        also = ", ".join(money(each.amount, each.currency) for each in others)
        yield "currency", f"{also} is billed beside, and may be on the invoice, converted"
    else:
        yield (
            "currency",
            f"costs are in {made.currency.upper()}; an invoice in another currency is converted",
        )
    yield (
        "organization",
        f"these are the costs of {explanation.organization}; the invoice may be of another one",
    )
