"""Names: the names of projects, users and API keys by id. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import attrs

from usage_async._api.by_id import ById, by_id
from usage_async._api.exact import short_repr
from usage_async._api.names import ApiKey, Project, User
from usage_async._api.pages import Notice
from usage_async._api.pydantic_schema import pydantic_schema
from usage_async._api.results import UsageResult, UsageRow

if TYPE_CHECKING:
    from usage_async._codec.schemas import Table

N = TypeVar("N", Project, User, ApiKey)

DIMENSIONS = ("project_id", "user_id", "api_key_id")
"""Dimensions that have names."""

_LASTING = ("name", "email", "project_id", "owner")
"""Fields that an older reading fills where the newer one has none. Any other field that is missing
may be so on purpose: a project that is in use again has no `archived_at`."""

_SHOWN = 100
"""Rows of each list that a notebook shows."""


def _projects(items: Iterable[Project] | Mapping[str, Project]) -> ById[Project]:
    return by_id(items)


def _users(items: Iterable[User] | Mapping[str, User]) -> ById[User]:
    return by_id(items)


def _api_keys(items: Iterable[ApiKey] | Mapping[str, ApiKey]) -> ById[ApiKey]:
    return by_id(items)


@attrs.frozen(kw_only=True)
class Names:
    """Names by id, as `client.names()` reads them.

    Each argument takes the items alone, too: `Names(projects=[Project(id=…, name=…)])`.

    Attributes:
        projects: Projects by id.
        users: Users and service accounts by id.
        api_keys: API keys by id.
        notices: What was not read, and why.
    """

    projects: ById[Project] = attrs.field(default=ById(), converter=_projects)
    users: ById[User] = attrs.field(default=ById(), converter=_users)
    api_keys: ById[ApiKey] = attrs.field(default=ById(), converter=_api_keys)
    notices: tuple[Notice, ...] = ()

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    @classmethod
    def from_rows(cls, rows: Iterable[UsageResult | UsageRow]) -> Names:
        """Collect the names that rows carry themselves: those of costs, projects and addresses.

        Where rows differ, the last one counts.
        """
        projects: dict[str, str] = {}
        users: dict[str, str] = {}
        for row in rows:
            for found, dimension, note in (
                (projects, "project_id", "project_name"),
                (users, "user_id", "user_email"),
            ):
                name = getattr(row, note, None)
                if name and (identity := getattr(row, dimension, None)):
                    found[identity] = name
        return cls(
            projects=[Project(id=identity, name=name) for identity, name in projects.items()],
            users=[User(id=identity, email=email) for identity, email in users.items()],
        )

    def label(self, dimension: str, identity: str | None) -> str:
        """Give the name of what a row names by its id; the id where there is no name.

        Two things may have one name: show the id beside it.

        Args:
            dimension: `project_id`, `user_id` or `api_key_id`.
            identity: The row's value; None, where a row names nothing, gives an empty text.

        Raises:
            KeyError: The dimension has no names.
        """
        item = self._of(dimension).get(identity) if identity else None
        return identity or "" if item is None else item.label

    def labels(self, dimension: str) -> dict[str, str]:
        """Give the names of a dimension by id.

        Args:
            dimension: `project_id`, `user_id` or `api_key_id`.

        Raises:
            KeyError: The dimension has no names.
        """
        return {identity: item.label for identity, item in self._of(dimension).items()}

    def to_arrow(self, dimension: str | None = None) -> Table:
        """Make an Arrow table of the names, to be joined with tables of usage.

        Args:
            dimension: `project_id`, `user_id` or `api_key_id`: a table with this column and the
                name beside it, such as `project_id` and `project_name`. By default one table of
                all names, with the columns `dimension`, `id` and `name`.

        Raises:
            ConfigurationError: pyarrow is not installed.
            KeyError: The dimension has no names.
        """
        from usage_async._codec.tables import table_of_texts

        if dimension is not None:
            labels = self.labels(dimension)
            name = f"{dimension.removesuffix('_id')}_name"
            return table_of_texts({dimension: list(labels), name: list(labels.values())})
        rows = [
            (each, identity, label)
            for each in DIMENSIONS
            for identity, label in self.labels(each).items()
        ]
        return table_of_texts(
            {name: [row[at] for row in rows] for at, name in enumerate(("dimension", "id", "name"))}
        )

    def merged(self, older: Names) -> Names:
        """Add what only an older reading knows: what was deleted since keeps its name."""
        return Names(
            projects=_merged(self.projects, older.projects),
            users=_merged(self.users, older.users),
            api_keys=_merged(self.api_keys, older.api_keys),
            notices=self.notices,
        )

    def _of(self, dimension: str) -> Mapping[str, Project | User | ApiKey]:
        match dimension:
            case "project_id":
                return self.projects
            case "user_id":
                return self.users
            case "api_key_id":
                return self.api_keys
        raise KeyError(f"{dimension} has no names; project_id, user_id and api_key_id have")

    def _repr_html_(self) -> str:
        """Show the names as tables in a notebook."""
        from html import escape

        parts = []
        for dimension in DIMENSIONS:
            labels = self.labels(dimension)
            rows = "".join(
                f"<tr><td>{escape(identity)}</td><td>{escape(label)}</td></tr>"
                for identity, label in list(labels.items())[:_SHOWN]
            )
            left = len(labels) - _SHOWN
            if left > 0:
                rows += f'<tr><td colspan="2">… and {left} more</td></tr>'
            if labels:
                head = f"<tr><th>{dimension}</th><th>name</th></tr>"
                parts.append(f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>")
        return "".join(parts) or "<p>no names</p>"


def _merged(newer: Mapping[str, N], older: Mapping[str, N]) -> Mapping[str, N]:
    merged = dict(older)
    for identity, item in newer.items():
        before = older.get(identity)
        merged[identity] = item if before is None else _filled(item, before)
    return merged


def _filled(item: N, before: N) -> N:
    missing = {
        name: value
        for name in _LASTING
        if getattr(item, name, "") is None and (value := getattr(before, name)) is not None
    }
    return attrs.evolve(item, **missing) if missing else item
