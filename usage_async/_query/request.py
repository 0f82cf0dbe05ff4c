"""Checked queries: the parameters of an endpoint as a hashable value. Pure.

Relative times stay symbolic in a query. `resolve` turns them into Unix seconds, once in each run,
against a single `now`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, NoReturn

import attrs

from usage_async._api.endpoints import (
    ENDPOINTS,
    FULL_PAGE,
    WIDTH_SECONDS,
    Endpoint,
    unknown_endpoint,
)
from usage_async._api.interval import DAY_S
from usage_async._query.paths import is_allowed
from usage_async._query.scope import DIMENSION, FILTER, Scope
from usage_async._query.times import (
    Calendar,
    TimeRange,
    calendar_range,
    iso,
    parse_period,
    parse_time,
)
from usage_async._query.windows import YEAR_10000, UncutRange, round_up
from usage_async.errors import QueryError, ScopeError

Params = list[tuple[str, str]]


@attrs.frozen
class CheckedQuery:
    """Checked query of one endpoint. Equal parameters make equal queries with equal hashes.

    Attributes:
        endpoint: The endpoint.
        start: Unix seconds, a time before now, or a period that moves with the calendar.
        end: Unix seconds, or a time before now; None means now.
        bucket_width: Width of a bucket; None only for an unknown endpoint.
        group_by: Dimensions to group by.
        filters: Pairs of a filter and its values.
        limit: Number of buckets a page, never a total; None means the most that the API accepts.
        page: Saved cursor.
        clamp: True to skip the part of the range before the history begins.
        unchecked_params: Pairs to send of parameters that this release does not know.
        unknown_values: Pairs of a filter and a value that this release does not know.
        is_unchecked: True if unknown names and values were accepted.
        given: The parameters as they were given, for printing.
        scope: The only projects that may be read; None means all.
    """

    endpoint: Endpoint
    start: int | timedelta | Calendar
    end: int | timedelta | None
    bucket_width: str | None
    group_by: tuple[str, ...]
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    limit: int | None
    page: str | None
    clamp: bool
    unchecked_params: tuple[tuple[str, str], ...]
    unknown_values: tuple[tuple[str, str], ...]
    is_unchecked: bool = attrs.field(eq=False)
    given: tuple[tuple[str, Any], ...] = attrs.field(eq=False)
    scope: Scope | None = None

    @property
    def width_s(self) -> int | None:
        """Seconds of a bucket; None if they are unknown."""
        return WIDTH_SECONDS.get(self.bucket_width or "")

    @property
    def page_limit(self) -> int | None:
        """The `limit` to send: the given or else the largest one; None if that is unknown."""
        return self.limit or self.endpoint.limits.get(self.bucket_width or "")

    def within(self, scope: Scope) -> CheckedQuery:
        """Limit the query to a scope.

        Raises:
            ScopeError: It asks for more than the scope allows.
        """
        filters = dict(self.filters)
        filters[FILTER] = scope.check(self.endpoint, self.group_by, filters, self.page)
        return attrs.evolve(self, filters=tuple(sorted(filters.items())), scope=scope)

    def calendar(self, now: int) -> tuple[int, ...]:
        """Give the days that relative times lie in; a change makes it another question.

        Args:
            now: Unix seconds.
        """
        if isinstance(self.start, str):
            times = calendar_range(self.start, now)
            return (times.start_time,)
        relative = [each for each in (self.start, self.end) if isinstance(each, timedelta)]
        return tuple((now - int(each.total_seconds())) // DAY_S for each in relative)

    def resolve(self, now: int) -> TimeRange:
        """Give the range that is asked for in Unix seconds, not aligned to buckets.

        Only a relative end is aligned: it is moved back to the end of a bucket.

        Args:
            now: Unix seconds; also the end of a range that has no other end.

        Raises:
            QueryError: The range is empty or begins in the future.
        """
        if isinstance(self.start, str):
            times = calendar_range(self.start, now)
            start, end = times.start_time, times.end_time
        else:
            start = self._instant("start_time", self.start, now)
            end = self._instant("end_time", self.end, now)
            if isinstance(self.end, timedelta):
                end -= end % (self.width_s or 1)
        if start == now:
            _refuse(f"start_time is now, {iso(now)}: nothing of the range has passed yet")
        if start > now:
            _refuse(f"start_time {iso(start)} is in the future (it is {iso(now)})")
        if start >= end:
            _refuse(f"start_time {iso(start)} is not before end_time {iso(end)}")
        return TimeRange(start, end)

    def _instant(self, name: str, value: int | timedelta | None, now: int) -> int:
        if isinstance(value, timedelta):
            value = now - int(value.total_seconds())
        if value is None:
            return now
        return value if value >= 0 else _refuse(f"{name} is before 1970")

    def uncut(self, times: TimeRange, *, now: int, concurrency: int) -> UncutRange:
        """Give the range to read, which is then cut into windows.

        Args:
            times: The range that was asked for. The service gives no part of a bucket, and binds a
                cursor to exactly one range. So the buckets at both ends are requested whole.
            now: Unix seconds.
            concurrency: With 1 there is a single window, which is read by cursors.
        """
        width = self.width_s
        start, end = times.start_time, times.end_time
        if width is None:
            return UncutRange(start, end, None, None, now)
        if isinstance(self.end, int):
            whole = round_up(end, width)
            end = whole if whole < YEAR_10000 else end
        step = None
        if concurrency > 1 and self.page is None:
            full = FULL_PAGE[self.bucket_width or ""]
            step = min(self.page_limit or full, full) * width
        return UncutRange(start - start % width, end, width, step, now)

    def params(self, start: int, end: int, *, limit: int | None, page: str | None) -> Params:
        """Give the pairs of the query string; a list repeats its name."""
        pairs = [("start_time", str(start)), ("end_time", str(end)), *self._same_params]
        if limit is not None:
            pairs.append(("limit", str(limit)))
        if page is not None:
            pairs.append(("page", page))
        return pairs

    @cached_property
    def _same_params(self) -> Params:
        """The pairs that are the same in each request of the query."""
        group_by = self.group_by
        if self.scope is not None:
            projects = dict(self.filters).get(FILTER, ())
            if not projects or not set(projects) <= set(self.scope.project_ids):
                raise ScopeError("this query is not limited to its scope")
            group_by = tuple(dict.fromkeys((*group_by, DIMENSION)))
        width = [] if self.bucket_width is None else [("bucket_width", self.bucket_width)]
        return [
            *width,
            *(("group_by", dimension) for dimension in group_by),
            *((name, value) for name, values in self.filters for value in values),
            *self.unchecked_params,
        ]

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.given)
        if self.endpoint.name in ENDPOINTS and not self.is_unchecked:
            return f"{self.endpoint.name}({given})"
        extra = ", unchecked=True" if self.is_unchecked else ""
        return f"query({self.endpoint.name!r}, {given}{extra})"


def build(name_or_path: str, params: Mapping[str, Any], *, unchecked: bool = False) -> CheckedQuery:
    """Check the parameters of an endpoint.

    Args:
        name_or_path: A name of `ENDPOINTS`, or a path such as `/organization/usage/brand_new`.
        params: Parameters as in the endpoint's TypedDict; None counts as left out.
        unchecked: True to send names and values that this release does not know.

    Raises:
        QueryError: The endpoint does not take a name, value, range or group. The message lists what
            the endpoint takes.
    """
    endpoint = _find(name_or_path)
    lenient = unchecked or endpoint.name not in ENDPOINTS
    values = {name: _listed(value) for name, value in params.items() if value is not None}
    given = tuple(values.items())
    start, end = _range(values)
    width = _width(endpoint, values.pop("bucket_width", None), unchecked=lenient)
    group_by = _texts(
        "group_by", values.pop("group_by", None), endpoint.group_by, unchecked=lenient
    )
    limit = _limit(endpoint, values.pop("limit", None), width, unchecked=lenient)
    page = values.pop("page", None)
    if page is not None and not (isinstance(page, str) and page):
        _refuse(f"page takes a cursor, not {page!r}")
    if page is not None and not (isinstance(start, int) and isinstance(end, int)):
        _refuse("page needs the absolute start_time and end_time that the cursor was made with")
    clamp = values.pop("clamp", False)
    if not isinstance(clamp, bool):
        _refuse(f"clamp takes True or False, not {clamp!r}")
    filters, unknown = {}, []
    for name in [name for name in values if name in endpoint.filters]:
        entry, value = endpoint.filters[name], values.pop(name)
        if entry.type is not bool:
            filters[name] = _texts(name, value, entry.choices, unchecked=lenient or entry.is_open)
            if entry.is_open and not lenient:
                unknown += [(name, text) for text in filters[name] if text not in entry.choices]
        elif isinstance(value, bool) or (unchecked and isinstance(value, str) and value):
            filters[name] = (_text(value),)
        else:
            _refuse(f"{name} takes True or False, not {value!r}")
    if values and not lenient:
        takes = ["start_time", "end_time", "period", "bucket_width", "group_by", "limit", "page"]
        _refuse(
            f"{endpoint.name} does not take {', '.join(values)}; it takes"
            f" {', '.join([*takes, 'clamp', *endpoint.filters])}"
        )
    return _sendable(
        CheckedQuery(
            endpoint=endpoint,
            start=start,
            end=end,
            bucket_width=width,
            group_by=group_by,
            filters=tuple(sorted(filters.items())),
            limit=limit,
            page=page,
            clamp=clamp,
            unchecked_params=tuple(_pairs(values)),
            unknown_values=tuple(sorted(unknown)),
            is_unchecked=unchecked,
            given=given,
        )
    )


def _sendable(query: CheckedQuery) -> CheckedQuery:
    for name, text in query.params(0, 0, limit=None, page=query.page):
        try:
            (name + text).encode()
        except UnicodeEncodeError:
            _refuse(f"{name!r} holds a lone surrogate, which cannot be sent: {text!r}")
    return query


def _refuse(message: str) -> NoReturn:
    raise QueryError(message)


def _find(name_or_path: str) -> Endpoint:
    if name_or_path in ENDPOINTS:
        return ENDPOINTS[name_or_path]
    if not name_or_path.startswith("/"):
        _refuse(f"no endpoint {name_or_path!r}; there are {', '.join(ENDPOINTS)}")
    if not is_allowed(name_or_path):
        _refuse(
            f"{name_or_path!r} is not a path below /organization/ (letters, digits, _, - and /)"
        )
    known = (endpoint for endpoint in ENDPOINTS.values() if endpoint.path == name_or_path)
    return next(known, None) or unknown_endpoint(name_or_path)


def _width(endpoint: Endpoint, value: Any, *, unchecked: bool) -> str | None:
    if value is None:
        return "1d" if endpoint.limits else None
    if not isinstance(value, str) or not (unchecked or value in endpoint.limits):
        widths = ", ".join(map(repr, endpoint.limits)) or "a string"
        _refuse(f"{endpoint.name} takes bucket_width {widths}, not {value!r}")
    return value


def _limit(endpoint: Endpoint, value: Any, width: str | None, *, unchecked: bool) -> int | None:
    if value is None:
        return None
    cap = None if unchecked else endpoint.limits.get(width or "")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value > (cap or value):
        upto = f"from 1 to {cap} at {width}" if cap else "of at least 1"
        _refuse(
            f"limit is the number of buckets a page; {endpoint.name} takes an int {upto},"
            f" not {value!r}"
        )
    return value


def _texts(name: str, value: Any, choices: Sequence[str], *, unchecked: bool) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        _refuse(f"{name} takes a list of strings, not {value!r}; write [{value!r}]")
    texts = _not_empty(name, value)
    for text in texts:
        if not isinstance(text, str) or not text:
            _refuse(f"{name} takes strings, not {text!r}")
        if choices and text not in choices and not unchecked:
            _refuse(f"{name} takes {', '.join(choices)}; not {text!r}")
    return tuple(dict.fromkeys(texts))


def _pairs(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Write unknown parameters: one pair for a value, or one for each value of a list."""
    for name, value in values.items():
        for item in _not_empty(name, value) if isinstance(value, list) else (value,):
            if not isinstance(item, str | int | float | Decimal) or item == "":
                _refuse(f"{name} takes a string, a number or a list of them, not {item!r}")
            yield name, _text(item)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value: Any) -> Any:
    """Make a list of an iterable; leave strings, bytes and mappings as they are.

    Sets are sorted, so that equal sets make equal queries.
    """
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    return list(value) if is_list else value


def _not_empty(name: str, values: list[Any]) -> list[Any]:
    if not values:
        _refuse(f"{name} is empty, which would read everything; to read everything, leave it out")
    return values


def _range(
    values: dict[str, Any],
) -> tuple[int | timedelta | Calendar, int | timedelta | None]:
    """Remove the three time parameters from the values; give start and end."""
    start, end = values.pop("start_time", None), values.pop("end_time", None)
    period = values.pop("period", None)
    if period is not None:
        if start is not None or end is not None:
            _refuse("period gives both ends; leave start_time and end_time out")
        return parse_period(period)
    if start is None:
        _refuse('start_time or period is required, such as start_time="2026-10-01" or period="7d"')
    start = parse_time("start_time", start)
    end = None if end is None else parse_time("end_time", end)
    if isinstance(start, int) and isinstance(end, int) and start >= end:
        _refuse(f"start_time {iso(start)} is not before end_time {iso(end)}")
    return start, end
