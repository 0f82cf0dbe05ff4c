"""The version of the installed package; `0` where it is not installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("usage-async")
except PackageNotFoundError:
    __version__ = "0"
