"""Questions: times, checked queries, windows of a range. Pure."""
