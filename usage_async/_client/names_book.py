"""The reading of names: lists page by page, concurrently, and what may not be read left out.

Every request goes through the client's fetcher, and so through its limiter, its retries and the
custody of its key. The API keys of many projects are read by as many workers as the limiter has
slots: 2,000 requests that wait in its queue would keep every query behind them waiting.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar, get_args

import attrs

from usage_async._api.exact import NO_EXTRA
from usage_async._api.names import ApiKey, NameList, Project, User, owners
from usage_async._api.pages import Notice
from usage_async._api.results import UsageResult, UsageRow
from usage_async._client.names import Names
from usage_async._codec.names import ListDecoder
from usage_async._engine import wordless
from usage_async._engine.engine import Engine, together
from usage_async._engine.run import Notices
from usage_async._http.fetch import Request
from usage_async._query.scope import Scope
from usage_async.errors import (
    APIStatusError,
    BadRequestError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    QueryError,
    ScopeError,
    UsageError,
)

N = TypeVar("N", Project, User, ApiKey)
T = TypeVar("T")

LISTS: tuple[NameList, ...] = get_args(NameList)

_LIMIT = ("limit", "100")
"""The most items of a page that the service gives."""
_PATHS = {
    Project: "/organization/projects",
    User: "/organization/users",
    ApiKey: "/organization/projects/{}/api_keys",
}
_PARAMS: dict[type, tuple[tuple[str, str], ...]] = {
    Project: (("include_archived", "true"),),
    User: (),
    # Without it the service leaves out keys that are enabled.
    ApiKey: (("owner_project_access", "any"),),
}
_MOST_PAGES = 10_000
"""Pages of one list that are followed: a million items."""
_MOST_EMPTY_PAGES = 100
"""Consecutive pages without an item that are followed."""
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]+")
"""Ids that can stand in a path."""


def checked_lists(lists: Sequence[str], project_ids: object) -> tuple[str, ...]:
    """Check the lists that are asked for; without any, all those that can be read.

    Raises:
        QueryError: There is no such list, or API keys and projects do not go together.
    """
    for name in lists:
        if name not in LISTS:
            raise QueryError(f"no list of names {name!r}; there are {', '.join(LISTS)}")
    if not lists:
        return LISTS if project_ids is not None else ("projects", "users")
    if "api_keys" in lists and project_ids is None:
        msg = "API keys are listed by project: say which in project_ids"
        raise QueryError(f"{msg}, such as those of `(await client.names('projects')).projects`")
    if "api_keys" not in lists and project_ids is not None:
        raise QueryError("project_ids says whose API keys to read: ask for api_keys, too")
    return tuple(lists)


def checked_project_ids(project_ids: object) -> tuple[str, ...]:
    """Check the projects whose API keys are asked for.

    Raises:
        QueryError: It is no iterable of ids.
    """
    if project_ids is None:
        return ()
    if isinstance(project_ids, str) or not isinstance(project_ids, Iterable):
        raise QueryError(f"project_ids takes an iterable of ids, not {project_ids!r}")
    found = tuple(dict.fromkeys(project_ids))
    for identity in found:
        if not isinstance(identity, str) or not _PROJECT_ID.fullmatch(identity):
            raise QueryError(f"{identity!r} is no id of a project")
    return found


Row = UsageResult | UsageRow


@attrs.define(eq=False)
class _Refusals:
    """Refusals that were not told yet, by reason.

    Attributes:
        lists: Lists.
        projects: Projects whose API keys were refused.
        of_all_keys: Whether it was for a reason that holds for every project.
    """

    lists: dict[str, list[str]] = attrs.field(factory=dict)
    projects: dict[str, list[str]] = attrs.field(factory=dict)
    of_all_keys: bool = False

    def take(self) -> list[str]:
        """Give a sentence for each reason, and forget what was refused."""
        messages = []
        for reason in dict.fromkeys((*self.lists, *self.projects)):
            refused = [f"the {name}" for name in sorted(self.lists.get(reason, ()))]
            if projects := self.projects.get(reason):
                others = f" and {len(projects) - 1} more" if len(projects) > 1 else ""
                refused.append(f"the API keys of {projects[0]}{others}")
            messages.append(f"{' and '.join(refused)} were not read: {reason}")
        self.lists.clear()
        self.projects.clear()
        return messages


@attrs.define(eq=False)
class NamesBook:
    """Names that are read as rows need them, each list once.

    For a program that reads rows for long: `await book.update(rows)` reads what these rows need and
    no earlier rows have needed. `client.names_book()` makes one.
    """

    _engine: Engine = attrs.field(repr=False)
    _known: Names = attrs.field(factory=Names)
    _scope: Scope | None = attrs.field(default=None, repr=False)
    _read: Names = attrs.field(factory=Names, init=False, repr=False)
    """Names that were read, in contrast to what was known before."""
    _lists: set[str] = attrs.field(factory=set, init=False, repr=False)
    """Lists that were asked for."""
    _projects: set[str] = attrs.field(factory=set, init=False, repr=False)
    """Projects whose API keys were asked for."""
    _refusals: _Refusals = attrs.field(factory=_Refusals, init=False, repr=False)
    _notices: Notices = attrs.field(init=False, repr=False)
    _lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        place = self._engine.fetcher.place("names")
        self._notices = Notices("names", place, self._engine.on_notice, frozenset())
        if self._scope is not None:
            self._known = limited(self._known, self._scope)

    @property
    def names(self) -> Names:
        """Everything that is known so far."""
        return self._known

    async def update(self, rows: Iterable[Row]) -> Names:
        """Read the names of what rows hold by id, but only from lists that may tell one.

        Args:
            rows: Results, totals or flat rows, of any endpoints.

        Returns:
            Everything that is known so far.

        Raises:
            UsageError: A list could not be read, and not because the key may not read it.
        """
        rows = list(rows)
        self._engine.check_usable()
        async with self._lock:
            carried = _carried(rows, self._scope)
            if carried.projects or carried.users:
                # A row may be older than a list, and what was known may be older than a row.
                self._known = self._read.merged(carried.merged(self._known))
            await self._run(self._update(rows))
        return self.names

    async def read(self, *lists: NameList, project_ids: Iterable[str] | None = None) -> Names:
        """Read lists that were not read before.

        Args:
            lists: `"projects"`, `"users"`, `"api_keys"`. By default projects and users; with
                `project_ids` all three.
            project_ids: Projects whose API keys to read, each by a request of its own. The owners
                of the keys are among the users, service accounts too.

        Returns:
            Everything that is known so far.

        Raises:
            QueryError: There is no such list, or API keys are asked for without `project_ids`.
            UsageError: A list could not be read, and not because the key may not read it.
        """
        try:
            projects = checked_project_ids(project_ids)
            asked = checked_lists(lists, project_ids)
            if self._scope is not None:
                asked = allowed_lists(asked, projects, self._scope, is_default=not lists)
        except QueryError as error:
            failure = error
        else:
            self._engine.check_usable()
            async with self._lock:
                await self._run(self._read_lists(asked, projects))
            return self.names
        # It quotes what was passed, which may be the key, given in the wrong place.
        raise self._engine.fetcher.told(failure)

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a reading as a task of the client, which closing the client ends."""
        task = self._engine.spawn(work)
        failure = UsageError("the client was closed while names were being read")
        try:
            await task
        except asyncio.CancelledError:
            # Only a caller's own cancellation goes on.
            if not task.cancelled() or not self._engine.closed:
                raise
        except UsageError as error:
            failure = error
        else:
            for message in self._refusals.take():
                self._notices.tell(Notice(code="names-skipped", message=message))
            self._known = attrs.evolve(self._known, notices=tuple(self._notices.told))
            return
        # The frames of a reading hold the ids of a whole list.
        raise failure if self._scope is None else failure.with_traceback(None)

    async def _update(self, rows: Sequence[Row]) -> None:
        lists = [
            name
            for name, dimension in (("projects", "project_id"), ("users", "user_id"))
            if any(_nameless(rows, dimension, self._known))
        ]
        scope = self._scope
        if scope is not None:
            lists = [name for name in lists if name == "projects"]
            people = scope.project_ids if scope.people else ()
            rows = [row for row in rows if getattr(row, "project_id", None) in people]
        await self._read_lists(lists, _whose_keys(rows, "api_key_id", self._known))
        # Service accounts are in no list of users; the API keys that they own name them.
        await self._read_lists((), _whose_keys(rows, "user_id", self._known))

    async def _read_lists(self, lists: Collection[str], project_ids: Iterable[str]) -> None:
        """Read what was not asked for before."""
        lists = [name for name in lists if name not in self._lists]
        left = [identity for identity in project_ids if identity not in self._projects]
        if not lists and not left:
            return
        reading = _Reading(self._engine, self._refusals, self._scope)
        await reading.read(lists, left)
        self._lists.update(lists)
        self._projects.update(left)
        self._read = reading.names().merged(self._read)
        self._known = self._read.merged(self._known)


def _nameless(rows: Iterable[Row], dimension: str, names: Names) -> Iterator[Row]:
    """Give the rows that hold an id without a name."""
    for row in rows:
        identity = getattr(row, dimension, None)
        if identity and names.label(dimension, identity) == identity:
            yield row


def _whose_keys(rows: Iterable[Row], dimension: str, names: Names) -> tuple[str, ...]:
    """Give the projects whose API keys may name what rows hold without a name."""
    found = (getattr(row, "project_id", None) for row in _nameless(rows, dimension, names))
    return tuple(dict.fromkeys(each for each in found if each and _PROJECT_ID.fullmatch(each)))


@attrs.define(eq=False)
class _Reading:
    """Lists that are being read."""

    engine: Engine
    refusals: _Refusals
    scope: Scope | None
    projects: dict[str, Project] = attrs.field(factory=dict, init=False)
    users: dict[str, User] = attrs.field(factory=dict, init=False)
    api_keys: dict[str, ApiKey] = attrs.field(factory=dict, init=False)

    async def read(self, lists: Collection[str], project_ids: Sequence[str]) -> None:
        """Read lists, and the API keys of projects."""
        work = []
        if "projects" in lists:
            work.append(self._read_list("projects", Project, self.projects))
        if "users" in lists:
            work.append(self._read_list("users", User, self.users))
        left = iter(project_ids)
        workers = min(len(project_ids), self.engine.fetcher.limiter.maximum)
        await together([*work, *(self._read_keys(left) for _ in range(workers))])

    def names(self) -> Names:
        """Give what was read; a user's own entry counts before the one of an API key's owner."""
        keys = Names(users=owners(self.api_keys.values()))
        read = Names(projects=self.projects, users=self.users, api_keys=self.api_keys)
        return read.merged(keys)

    async def _read_list(self, name: str, kind: type[N], into: dict[str, N]) -> None:
        try:
            await self._read_pages(_PATHS[kind], ListDecoder(kind), into)
        except (PermissionDeniedError, NotFoundError) as error:
            self.refusals.lists.setdefault(_reason(error), []).append(name)

    async def _read_keys(self, project_ids: Iterator[str]) -> None:
        for identity in project_ids:
            if self.refusals.of_all_keys:
                break
            path = _PATHS[ApiKey].format(identity)
            try:
                decoder = ListDecoder(ApiKey, {"project_id": identity})
                await self._read_pages(path, decoder, self.api_keys)
            except (PermissionDeniedError, NotFoundError, BadRequestError) as error:
                self.refusals.projects.setdefault(_reason(error), []).append(identity)
                if isinstance(error, PermissionDeniedError) and error.missing_scopes:
                    # What the key lacks for one project, it lacks for all.
                    self.refusals.of_all_keys = True

    async def _read_pages(self, path: str, decoder: ListDecoder[N], into: dict[str, N]) -> None:
        params: list[tuple[str, str]] = [*_PARAMS[decoder.kind], _LIMIT]
        after: dict[str, str] = {}
        cursors: set[str] = set()
        empty = 0
        for _ in range(_MOST_PAGES):
            request = Request(path, [*params, *after.items()], decoder)
            request.turn.set()
            fetcher = self.engine.fetcher
            is_scoped = self.scope is not None
            reply = wordless.fetch(fetcher, request) if is_scoped else fetcher.fetch(request)
            listed = await reply
            into.update((item.id, item) for item in _shown(listed.items, self.scope))
            if listed.next_id is None:
                return
            empty = 0 if listed.items else empty + 1
            if listed.next_id in cursors or empty > _MOST_EMPTY_PAGES:
                raise PaginationError(f"the cursors of {path} lead in a circle")
            cursors.add(listed.next_id)
            after = {"after": listed.next_id}
        raise PaginationError(f"{path} has more than {_MOST_PAGES} pages")


def allowed_lists(
    asked: tuple[str, ...], project_ids: Sequence[str], scope: Scope, *, is_default: bool
) -> tuple[str, ...]:
    """Check the lists that a client with a scope asks for.

    The list of users is that of the organization. A scope of people has the owners of API keys.

    Raises:
        ScopeError: A list or a project is outside of the scope.
    """
    if is_default:
        asked = tuple(name for name in asked if name != "users")
    allowed = ("projects", "api_keys") if scope.people else ("projects",)
    if outside := [name for name in asked if name not in allowed]:
        raise ScopeError(f"the scope does not allow the list {', '.join(outside)}")
    if outside := [one for one in project_ids if one not in scope.project_ids]:
        raise ScopeError(f"project_ids {', '.join(map(repr, outside))}: outside of the scope")
    return asked


def limited(names: Names, scope: Scope) -> Names:
    """Leave out what is not of a scope. Of users, the owners of its API keys are left."""
    api_keys = _shown(names.api_keys.values(), scope) if scope.people else []
    users = [_bare(names.users[user.id]) for user in owners(api_keys) if user.id in names.users]
    return Names(projects=_shown(names.projects.values(), scope), users=users, api_keys=api_keys)


def _carried(rows: Iterable[Row], scope: Scope | None) -> Names:
    """Collect the names that rows carry themselves."""
    if scope is None:
        return Names.from_rows(rows)
    own = (row for row in rows if getattr(row, "project_id", None) in scope.project_ids)
    names = Names.from_rows(own)
    return names if scope.people else Names(projects=names.projects)


def _shown(items: Iterable[N], scope: Scope | None) -> list[N]:
    if scope is None:
        return list(items)
    return [
        _bare(item) for item in items if getattr(item, "project_id", item.id) in scope.project_ids
    ]


def _bare(item: T) -> T:
    """Leave out what this release does not know, of the owner of an API key as well."""
    parts = {name: getattr(item, name, None) for name in ("owner", "user", "service_account")}
    known = {name: _bare(part) for name, part in parts.items() if part is not None}
    bare: Any = item
    return attrs.evolve(bare, extra=NO_EXTRA, **known)  # type: ignore[no-any-return] # of its kind


def _reason(error: APIStatusError) -> str:
    match error:
        case PermissionDeniedError(missing_scopes=scopes) if scopes:
            return f"the key lacks {', '.join(scopes)} (403)"
        case PermissionDeniedError():
            return "the key may not read them (403)"
        case NotFoundError():
            return "the service does not find them (404)"
    return "the service refuses them (400)"
