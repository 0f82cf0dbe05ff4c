"""Exact sums, and the verification of a reading. Pure."""
