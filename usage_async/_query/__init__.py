"""Queries: times, checked parameters, and the windows of a range. Pure."""
