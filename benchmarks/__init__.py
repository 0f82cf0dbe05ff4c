"""Speed, memory and smoothness of this library, beside its peers on the same pages.

- `python -m benchmarks` runs all scenarios and writes `benchmarks/results.json`.
- `--quick` runs every scenario that has a target, with few rounds.
- `--only SCENARIO` runs one scenario; with `--quick`, with few rounds. `web` takes the longest: it
  has 200 browsers ask four workers for 20 s.
- `python -m benchmarks.readme` writes the figures of `results.json` into the README.
"""
