"""SQL of a store, as a polars table: what each project has spent a day, by name."""

import duckdb
import polars as pl

SQL = """
    SELECT day, project_name, sum(amount) AS amount
    FROM costs_by_project_line_item_1d_named
    GROUP BY ALL ORDER BY ALL
"""


def spend_by_day(file: str = "usage.duckdb") -> pl.DataFrame:
    with duckdb.connect(file, read_only=True) as connection:
        return pl.read_database(SQL, connection)
