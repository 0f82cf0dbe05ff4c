"""The emulated service: queries, pages, refusals and the HTTP server."""
