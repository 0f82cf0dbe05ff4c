"""How fast, how small and how smooth this library is, beside what else reads the same pages.

`python -m benchmarks` runs everything, `--quick` ends within a minute, `--only SCENARIO` picks.
"""
