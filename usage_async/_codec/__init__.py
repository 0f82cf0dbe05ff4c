"""Bytes into values and back: the converter, the fast path, pages, error replies. Pure."""
