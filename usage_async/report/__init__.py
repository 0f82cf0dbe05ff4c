"""Reports: the spending and usage of an organization as exact values, and their renderings.

    report = await read_report(client, "last-month", by="project,model", compare=True)
    for group in report.spends[0].groups:           # one of `spends` for each currency
        print(group.name, group.amount, [part.amount for part in group.parts])
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

The questions after "how much" have a pure function each, and one that reads and calls it:

- why the bill changed: `explain`, `read_explanation`; `sentences` tells it, and `invoice_gap`
  compares a bill with an invoice;
- whether it matches what usage reports: `reconcile`, `read_reconciliation`;
- where a month is going: `budget`, `read_budget`, with the limits of `read_spend_limits` beside it.

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
