"""Exact sums, and the verification that figures are complete. Pure."""
