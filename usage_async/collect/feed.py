"""Feeds: queries that are collected again and again, each into a table of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Self

import attrs

from usage_async._api.endpoints import ENDPOINTS, WIDTH_SECONDS, Endpoint
from usage_async._api.fields import fields_of
from usage_async._query.request import build
from usage_async.errors import ConfigurationError, QueryError

_LONGEST = 57
"""Most characters of a table's name: PostgreSQL keeps 63, and the table's view adds `_named`."""
_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{_LONGEST - 1}}}(?<!_named)")
"""Names of tables: no store needs quotes around them, and none is the name of a view."""
_OURS = "usage_"
"""Prefix of the tables that a store has for itself."""
_DIGEST = 6
"""Hexadecimal digits of the digest in the names of tables whose feeds differ in filters only."""


def _filters(given: Any) -> tuple[tuple[str, Any], ...]:
    pairs = given.items() if isinstance(given, Mapping) else given
    return tuple(sorted((name, value) for name, value in pairs))


def _dimensions(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(given)


@attrs.frozen
class Feed:
    """A query that is collected again and again: an endpoint, a width, a grouping and filters.

    A feed is written `completions:1h:project+model`. Each feed has a table of its own, so that a
    sum over a table never counts twice.

    Attributes:
        endpoint: Name of the endpoint.
        bucket_width: Width of a bucket.
        group_by: Dimensions to group by, in the order of the endpoint.
        filters: Values of the filters, as they are sent, by parameter.
        table: Name of the table: lowercase letters, digits and `_`, at most 57. By default it is
            made of the other attributes, such as `costs_by_project_1d`. It then ends with `_levels`
            if the figures are levels, which must not be added up over time, and with a digest of
            the filters if there are any.

    Raises:
        QueryError: The endpoint does not take these values.
        ConfigurationError: `table` is not allowed as a name.
    """

    endpoint: str
    bucket_width: str = "1d"
    group_by: tuple[str, ...] = attrs.field(default=(), converter=_dimensions)
    filters: tuple[tuple[str, Any], ...] = attrs.field(default=(), converter=_filters)
    table: str = ""

    def __attrs_post_init__(self) -> None:
        endpoint = self.described
        if wrong := [name for name, _ in self.filters if name not in endpoint.filters]:
            raise QueryError(f"{self.endpoint} has no filter {', '.join(wrong)}")
        checked = build(self.endpoint, {"start_time": 0, **self.parameters()})
        dimensions = sorted(checked.group_by, key=endpoint.group_by.index)
        object.__setattr__(self, "group_by", tuple(dimensions))
        filters = tuple((name, tuple(sorted({*values}))) for name, values in checked.filters)
        object.__setattr__(self, "filters", filters)
        if not self.table:
            object.__setattr__(self, "table", self._named())
        elif not _NAME.fullmatch(self.table) or self.table.startswith(_OURS):
            raise ConfigurationError(
                f"{self.table!r} cannot be the name of a feed's table: use lowercase letters,"
                f" digits and _, at most {_LONGEST}, and begin with a letter; names that begin with"
                f" {_OURS} or end with _named are taken"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a feed from `endpoint`, `endpoint:width` or `endpoint:width:dimension+dimension`.

        Raises:
            QueryError: There is no such endpoint, width or dimension.
        """
        endpoint, _, rest = text.partition(":")
        width, _, dimensions = rest.partition(":")
        if endpoint not in ENDPOINTS:
            raise QueryError(f"{text!r}: there is no endpoint {endpoint!r}; there are " + _ALL)
        known = {short(name): name for name in ENDPOINTS[endpoint].group_by}
        group_by = []
        for name in filter(None, dimensions.split("+")):
            if name not in known and name not in known.values():
                offered = ", ".join(known)
                raise QueryError(f"{text!r}: {endpoint} has no dimension {name!r}: {offered}")
            group_by.append(known.get(name, name))
        return cls(endpoint, width or "1d", group_by)

    def __str__(self) -> str:
        text = f"{self.endpoint}:{self.bucket_width}"
        return text + (":" + "+".join(map(short, self.group_by)) if self.group_by else "")

    @property
    def described(self) -> Endpoint:
        """Entry of its endpoint in the table of endpoints.

        Raises:
            QueryError: There is no endpoint of this name.
        """
        if self.endpoint not in ENDPOINTS:
            raise QueryError(f"there is no endpoint {self.endpoint!r}; there are {_ALL}")
        return ENDPOINTS[self.endpoint]

    @property
    def width_s(self) -> int:
        """Width of a bucket in seconds."""
        return WIDTH_SECONDS[self.bucket_width]

    @property
    def is_level(self) -> bool:
        """True if its figures are levels, which must not be added up over time."""
        return bool(fields_of(self.described.result_class, "level"))

    def parameters(self) -> dict[str, Any]:
        """Give the parameters of its query, without times."""
        found: dict[str, Any] = {"bucket_width": self.bucket_width}
        if self.group_by:
            found["group_by"] = list(self.group_by)
        for name, values in self.filters:
            is_flag = self.described.filters[name].type is bool
            found[name] = values == ("true",) if is_flag and values in _FLAGS else values
        return found

    def _named(self) -> str:
        parts = [self.endpoint]
        if self.group_by:
            parts += ["by", *map(short, self.group_by)]
        parts.append(self.bucket_width)
        if self.is_level:
            parts.append("levels")
        if self.filters:
            parts.append("f" + sha256(repr(self.filters).encode()).hexdigest()[:_DIGEST])
        name = "_".join(parts)
        if len(name) > _LONGEST:
            digest = sha256(name.encode()).hexdigest()[:_DIGEST]
            name = f"{name[: _LONGEST - _DIGEST - 1]}_{digest}"
        return name


_ALL = ", ".join(ENDPOINTS)
_FLAGS = (("true",), ("false",))
"""Values of a filter that is a flag, as they are sent."""


def short(dimension: str) -> str:
    """Give the word for a dimension: `project` for `project_id`."""
    return dimension.removesuffix("_id")


def default_feeds() -> tuple[Feed, ...]:
    """Give the feeds that are collected unless others are asked for.

    Costs by day, project and line item; every usage endpoint by hour, project and, where it has
    one, model.
    """
    found = [Feed("costs", "1d", ("project_id", "line_item"))]
    for name, endpoint in ENDPOINTS.items():
        if name != "costs":
            wanted = ("project_id", "model")
            found.append(Feed(name, "1h", [each for each in wanted if each in endpoint.group_by]))
    return tuple(found)
