"""The version, read from the installed package when somebody asks for it."""

from functools import cache


@cache
def version() -> str:
    """The version of the installed package; `0` where it is not installed."""
    from importlib.metadata import (
        PackageNotFoundError,
        version,
    )

    try:
        return version("usage-async")
    except PackageNotFoundError:
        return "0"
