"""Reports and sums drawn on a terminal, or as text in a pipe. The home of rich."""
