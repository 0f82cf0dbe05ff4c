import json

from usage_async import ENDPOINTS
from usage_async.report.compute import compute_report
from usage_async.report.json import report_as_json
from usage_async.report.spec import ReportSpec
from usage_async.report.values import Blank, Section, Sections, View

from .conftest import BEFORE, PERIOD, START, cost, report_of, section


def test_json_is_exact_and_says_what_was_refused():
    shown = report_of(
        costs=section([cost("0.1000000000000000000000000000000000000001")]),
        costs_by=Section(blank=Blank("refused", "no")),
    )
    value = json.loads(report_as_json(shown, View(notices=["careful"])))
    assert value["spend"][0]["amount"] == "0.1000000000000000000000000000000000000001"
    assert value["refused"] == [{"section": "spend by project", "reason": "no"}]
    assert value["notices"] == ["careful"]
    assert value["compared_with"] is None


def test_a_month_that_runs_has_a_pace_in_json():
    spec = ReportSpec("project_id", PERIOD, PERIOD.end_time, BEFORE, running=True)
    costs = section([cost("2")], [cost("2")], [cost("2")])
    usage = {name: Section() for name in ENDPOINTS if name != "costs"}
    shown = compute_report(spec, Sections(costs=costs, costs_by=costs, usage=usage))
    value = json.loads(report_as_json(shown, View()))
    assert value["spend"][0]["projected"] == "62"
    assert value["compared_with"] == {"start_time": BEFORE.start_time, "end_time": START}
