"""Collecting: usage and costs of many organizations, into databases, again and again."""
