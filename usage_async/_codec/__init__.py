"""Bytes into values and back: the converter, its two readers, pages, error replies. Pure."""
