"""`python -m benchmarks [--quick] [--only SCENARIO]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.scenarios import SCENARIOS, Row
from benchmarks.table import about, document, failure_lines, lines, target_lines
from benchmarks.targets import TARGETS, judge


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the scenarios with targets, few rounds"
    )
    parser.add_argument("--only", metavar="SCENARIO", choices=SCENARIOS, help=", ".join(SCENARIOS))
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).with_name("results.json"), metavar="FILE"
    )
    arguments = parser.parse_args()
    with_targets = list(dict.fromkeys(target.scenario for target in TARGETS))
    names = [arguments.only] if arguments.only else with_targets if arguments.quick else SCENARIOS
    described = about()  # before the scenarios raise the load
    rows: list[Row] = []
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += SCENARIOS[name](quick=arguments.quick)
    verdicts = list(judge(rows))
    failures = list(failure_lines(rows))
    machine = described["machine"]
    versions = ", ".join(f"{name} {text}" for name, text in described["versions"].items())
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}; {versions}\n")
    print("\n".join([*lines(rows), "", *target_lines(verdicts), *failures]))
    text = json.dumps({**described, "quick": arguments.quick, **document(rows, verdicts)}, indent=1)
    arguments.output.write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
