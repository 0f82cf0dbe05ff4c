"""The emulated service: checked queries, pages, refusals, faults and the HTTP server."""
