"""Queries: times, checked parameters, allowed paths, and the windows of a range. Pure."""
