"""Stores in SQL databases: DuckDB and PostgreSQL. The tables and all statements are shared."""
