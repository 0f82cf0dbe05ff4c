"""Runs: one reading of a query, its windows merged into one stream."""
