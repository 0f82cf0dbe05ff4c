"""The client and its queries, which a user holds."""
