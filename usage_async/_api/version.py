"""Version of the installed package; `0` if it is not installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("usage-async")
except PackageNotFoundError:
    __version__ = "0"
