"""Runs: one reading of a query, whose windows are merged into one stream."""
