"""Reports: the spending and usage of an organization as exact values, and their renderings.

    report = await read_report(client, "2026-10", by="project,model", compare=True)
    for group in report.spends[0].groups[:2]:       # one of `spends` for each currency
        print(group.name, group.amount, [part.id for part in group.parts[:2]])
    print(render_report(report).decode())           # as `usage-async report` shows it
    await write_report(report, "october.xlsx")      # or .csv, .json, .html

A `Report` is a value: its groups are its total, exactly, and the parts of a group are the group.
`report.blanks` are the sections that the service refused or failed to answer, each with its reason.
A page, `.html`, is whole with `read_report(…, compare=True, detailed=True)`, which also reads the
bill by model, the usage of the period before, and why the bill changed. `write_report(…, budget=…)`
shows the budget of its month, too. `write_focus` writes costs as a file of FOCUS 1.2.

`read_report` is three steps, for programs that read at one place and compute at another:
`report_spec` makes the question, a `ReportSpec`; `read_sections` sends its queries, all at the same
time; `compute_report` adds the answers up, without any I/O.

The questions after "how much" have a pure function each, and one that reads and calls it. What the
programs below print is that of the organization of `usage_async.emulator.demo()` on 2026-11-22.


Why did the bill change?
========================

    from textwrap import fill

    explanation = await read_explanation(client, "2026-10")        # against the period before
    for sentence in sentences(explanation):
        print(fill(sentence, 90, subsequent_indent="  "))
    for bill in explanation.bills:                                 # one for each currency
        print(f"{bill.effects.price:.2f}", bill.effects.total == bill.amount - bill.before)

prints:

    The bill fell by $65.43 (1.1%), from $6,080.95 to $6,015.53: volume -$199.59, price
      +$140.97, new lines +$101.12, gone lines -$107.93.
    gpt-image-1, images costs 50.0% more from 2026-10-12 on ($0.042 per image to $0.063 per
      image), which adds $147.08.
    gpt-5.2-nano-2026-10-01 is new with $101.12, and gpt-5.2-nano-2026-09-01 is gone with
      $107.93.
    The API key backfill of Data pipeline spent $142.27 more, with $170.18 above the usual on
      2026-10-16 to 2026-10-18.
    Less use of o4-mini-2025-04-16 takes $255.85 off; the largest volume effect of a project
      is that of Research (-$271.03).
    140.97 True

`explain` is the pure function. A *line* is one line item of one project. Its change is *volume*
(more or less of the same, at the old price) and *price* (the same at another price), or the line is
*new* or *gone*. Where quantities are missing, zero or in other units, a change is *unexplained* and
never spread over the others. The parts of the lines, models and projects of a `BillChange` add up
to its change, to the last digit.

An invoice is compared with the bill of an explanation. What can make a gap is a possibility, never
a finding:

    gap = invoice_gap(explanation, Decimal("6020"))
    print(gap.gap, gap.gap_rounded)                 # the second with each line item in whole cents
    for cause, sentence in gap.possibilities[:2]:
        print(f"{cause}: {fill(sentence, 80, subsequent_indent='  ')}")

prints:

    4.4734211825 4.48
    rounding: each line item rounded to cents, the bill is $6,015.52; the gap would be $4.48
    credits: no amount is below zero; credits may be taken off on the invoice only


Does it match what usage reports?
=================================

    found = await read_reconciliation(client, "2026-10")
    for each in found.sums[:2]:                     # the largest differences first
        print(each.line_item, each.billed, each.reported, each.difference)
    print({pair.line_item for pair in found.only_billed})

prints:

    chat-latest, cached input 1786163 1786163 0
    chat-latest, input 8127343 8127343 0
    {'file search storage'}

`reconcile` is the pure function. Both sides are counted in the unit of the bill.


Where is the month going?
=========================

    found = await read_budget(client, Decimal(6000), by="project")
    budget = found.whole[0]
    print(found.verdict, budget.spent, budget.used_up_on, budget.limit.amount)
    print(f"{budget.projection.low:.2f} to {budget.projection.high:.2f}")
    for group in found.groups[:2]:
        print(group.name, group.spent, group.limit and group.limit.amount)

prints:

    projected over 4363.0866404375 2026-11-29 7000
    5947.52 to 6321.58
    Support assistant 1684.96278996 2200
    Web app 1430.9558263475 None

`budget` is the pure function; its module tells the method. `read_spend_limits` reads the limits of
the service alone. `write_report(report, "november.html", budget=budget)` shows it in a page.


Before version 1.0, names of this package may change in minor releases.
"""

from typing import TYPE_CHECKING

from usage_async._api.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from usage_async.report.budgets import Budget as Budget, budget as budget
    from usage_async.report.compute import compute_report as compute_report
    from usage_async.report.effects import Effects as Effects
    from usage_async.report.changes import BillChange as BillChange
    from usage_async.report.explanation import PeriodCosts as PeriodCosts, explain as explain
    from usage_async.report.values import Explanation as Explanation
    from usage_async.report.focus_file import write_focus as write_focus
    from usage_async.report.invoice import InvoiceGap as InvoiceGap, invoice_gap as invoice_gap
    from usage_async.report.limits import (
        SpendLimit as SpendLimit,
        SpendLimits as SpendLimits,
        read_spend_limits as read_spend_limits,
    )
    from usage_async.report.reading import read_sections as read_sections
    from usage_async.report.monthly import BudgetReport as BudgetReport
    from usage_async.report.reasons import (
        read_budget as read_budget,
        read_explanation as read_explanation,
        read_reconciliation as read_reconciliation,
    )
    from usage_async.report.reconciliation import (
        Reconciliation as Reconciliation,
        reconcile as reconcile,
    )
    from usage_async.report.reports import (
        read_report as read_report,
        render_report as render_report,
        write_report as write_report,
    )
    from usage_async.report.spec import ReportSpec as ReportSpec, report_spec as report_spec
    from usage_async.report.telling import sentences as sentences
    from usage_async.report.values import Report as Report

_HOMES = {
    "BillChange": "changes",
    "Budget": "budgets",
    "BudgetReport": "monthly",
    "Effects": "effects",
    "Explanation": "values",
    "InvoiceGap": "invoice",
    "PeriodCosts": "explanation",
    "Reconciliation": "reconciliation",
    "Report": "values",
    "ReportSpec": "spec",
    "SpendLimit": "limits",
    "SpendLimits": "limits",
    "budget": "budgets",
    "compute_report": "compute",
    "explain": "explanation",
    "invoice_gap": "invoice",
    "read_budget": "reasons",
    "read_explanation": "reasons",
    "read_reconciliation": "reasons",
    "read_report": "reports",
    "read_sections": "reading",
    "read_spend_limits": "limits",
    "reconcile": "reconciliation",
    "render_report": "reports",
    "report_spec": "spec",
    "sentences": "telling",
    "write_focus": "focus_file",
    "write_report": "reports",
}

if not TYPE_CHECKING:  # type checkers read the imports above
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)
