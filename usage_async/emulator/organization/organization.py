"""Usage of a made-up organization: pure, deterministic from its seed, and consistent.

Every endpoint has *leaves*, the single combinations of dimensions (project, user, key, model, …)
with usage. A leaf has figures for a day. Buckets of hours and minutes divide the figures of the
day; groups are sums of leaves. Therefore minutes add up to hours, hours to days, and groups to the
ungrouped figure, under any filter. Levels (`usage_bytes`) are the exception: a bucket has their
value at its end. What happens in it month after month is in `story`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import attrs

from usage_async._api.endpoints import Endpoint
from usage_async._api.interval import DAY_S
from usage_async.emulator.organization import story
from usage_async.emulator.organization.chance import mix
from usage_async.emulator.organization.leaves import Layout, Leaf, make_layout
from usage_async.emulator.organization.members import (
    ApiKey,
    Project,
    User,
    make_id,
    make_idle_members,
    make_members,
)
from usage_async.emulator.organization.rhythm import (
    DAY_MINUTES,
    RHYTHMS,
    Rhythm,
    Sizes,
    activity,
    partly,
    volume,
    weekday,
)

_MEBIBYTE = 2**20
GroupKey = tuple[Any, ...]
"""Values of the dimensions that a query groups by."""
Filters = Mapping[str, Collection[Any]]


@attrs.frozen
class Day:
    """Usage of a leaf on one day.

    Attributes:
        requests: Events of the day, at least 1.
        phase: Offset of its first event within the weights of the rhythm.
        first: Number of its first event among the sizes.
        totals: Pairs of a column and its figure, zeros left out.
    """

    requests: int
    phase: int
    first: int
    totals: tuple[tuple[int, int], ...]


@attrs.frozen(kw_only=True)
class Span:
    """Requested buckets.

    Attributes:
        start: Start of the first bucket, Unix seconds, a multiple of `width`.
        width: Seconds of a bucket: 60, 3600 or 86400.
        count: Number of buckets.
        until: The present, Unix seconds, a multiple of 60; there is no usage after it.
        settling_days: Number of days for which the figures of a day still grow.
        cut: Instant from which usage is left out although it exists, a multiple of 60.
    """

    start: int
    width: int
    count: int
    until: int
    settling_days: int = 0
    cut: int | None = None

    @property
    def end(self) -> int:
        """End of the reported usage, Unix seconds, a multiple of 60."""
        end = min(self.start + self.count * self.width, self.until)
        return end if self.cut is None else min(end, self.cut)


@attrs.frozen
class Organization:
    """A made-up organization: its members and its usage at any time.

    Args:
        seed: Another seed gives another organization with the same names.
        name: Name of the organization in rows of costs.
        scale: Number of requests, in percent of the ordinary number.
        idle_projects: Number of further projects without usage, each with ten API keys. The API
            allows 2,000 projects.
    """

    seed: int = 0
    name: str = attrs.field(default="Example Labs", kw_only=True)
    scale: int = attrs.field(default=100, kw_only=True, validator=attrs.validators.ge(1))
    idle_projects: int = attrs.field(default=0, kw_only=True, validator=attrs.validators.ge(0))
    id: str = attrs.field(init=False)
    projects: tuple[Project, ...] = attrs.field(init=False, repr=False)
    users: tuple[User, ...] = attrs.field(init=False, repr=False)
    keys: tuple[ApiKey, ...] = attrs.field(init=False, repr=False)
    _used: tuple[tuple[Project, ...], tuple[ApiKey, ...]] = attrs.field(
        init=False, repr=False, eq=False
    )
    """Projects and API keys with usage."""
    _listed_keys: Mapping[str, tuple[ApiKey, ...]] = attrs.field(init=False, repr=False, eq=False)
    _rhythms: tuple[Rhythm, ...] = attrs.field(init=False, repr=False, eq=False)
    _sizes: Sizes = attrs.field(init=False, repr=False, eq=False)
    _layouts: dict[Endpoint, Layout] = attrs.field(init=False, repr=False, eq=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        projects, users, keys = make_members(self.seed)
        idle_projects, idle_keys = make_idle_members(self.seed, self.idle_projects, users)
        made = {
            "id": make_id(self.seed, "org-"),
            "projects": projects + idle_projects,
            "users": users,
            "keys": keys + idle_keys,
            "_used": (projects, keys),
            "_listed_keys": _by_project((*keys, *idle_keys)),
            "_rhythms": tuple(Rhythm.make(self.seed, number) for number in range(RHYTHMS)),
            "_sizes": Sizes.make(self.seed),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def keys_of(self, project: Project) -> tuple[ApiKey, ...]:
        """Give the API keys of a project that are not deleted."""
        return self._listed_keys.get(project.id, ())

    def layout(self, endpoint: Endpoint) -> Layout:
        """Lay out the usage of an endpoint, once."""
        if endpoint not in self._layouts:
            self._layouts[endpoint] = make_layout(self.seed, *self._used, endpoint)
        return self._layouts[endpoint]

    def usage(
        self, endpoint: Endpoint, span: Span, *, group_by: Collection[str] = (), filters: Filters
    ) -> list[dict[GroupKey, list[int]]]:
        """Add up the usage in each bucket, by group.

        Args:
            endpoint: The endpoint.
            span: The buckets.
            group_by: Dimensions of the groups.
            filters: Accepted values by dimension; a dimension without a filter accepts all.

        Returns:
            For each bucket the figures of each group, one for each column of the layout. The key of
            a group has the values of `group_by`, in that order. A quiet bucket has no groups.
        """
        buckets: list[dict[GroupKey, list[int]]] = [{} for _ in range(span.count)]
        layout = self.layout(endpoint)
        width = len(layout.columns)
        for leaf in layout.leaves:
            if not matches(leaf, filters):
                continue
            key = tuple(leaf.dimensions.get(name) for name in group_by)
            for index, figures in self.leaf_usage(layout, leaf, span):
                bucket = buckets[index]
                row = bucket.get(key)
                if row is None:
                    row = bucket[key] = [0] * width
                for column, figure in figures:
                    row[column] += figure
        return buckets

    def leaf_usage(
        self, layout: Layout, leaf: Leaf, span: Span
    ) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
        """Yield the index of each bucket in which a leaf has usage, and its figures there."""
        end = span.end
        if end <= span.start:
            return
        first_day = max(span.start // DAY_S, leaf.first_day)
        for number in range(first_day, min(-(-end // DAY_S), leaf.last_day + 1)):
            day = self.day(leaf, number, span)
            if day is None:
                continue
            midnight = number * DAY_S
            first = max(span.start - midnight, 0) // 60
            last = min((end - midnight) // 60, DAY_MINUTES)
            offset = midnight - span.start
            if leaf.requests:
                for minute, figures in self._split(leaf, day, first, last, span.width // 60):
                    yield (offset + (minute - 1) * 60) // span.width, figures
            if layout.levels:
                step = span.width // 60
                for minute in range(first - first % step, last, step):
                    at = number * DAY_MINUTES + min(minute + step, last)
                    levels = tuple((column, _level(leaf, column, at)) for column in layout.levels)
                    yield (offset + minute * 60) // span.width, levels

    def day(self, leaf: Leaf, number: int, span: Span) -> Day | None:
        """Make the usage of a leaf on a day since the epoch; None without usage."""
        active = activity(self.seed, number)
        if not active or not leaf.first_day <= number <= leaf.last_day:
            return None
        bits = mix(leaf.bits, number)
        at_work = weekday(number) < 5 or leaf.workdays == 100
        if bits % 100 >= (leaf.workdays if at_work else leaf.workdays * 2 // 3):
            return None
        requests = volume(leaf.requests * self.scale, active, bits >> 8)
        if leaf.runaway:
            requests *= story.runaway_factor(leaf.runaway, number)
        unsettled = span.settling_days - (span.until // DAY_S - number)
        if unsettled > 0:
            requests -= requests * unsettled // (2 * span.settling_days)
        totals = [
            (column, requests * rate * (800 + (bits >> 20 + column) % 401) // 1_000_000)
            for column, rate in leaf.per_thousand
        ]
        return Day(requests, bits >> 32, bits >> 44, tuple(totals))

    def _split(
        self, leaf: Leaf, day: Day, first: int, last: int, step: int
    ) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
        """Divide the minutes of a day from `first` until `last`, exclusive, into steps.

        Yields:
            For each step with usage, the minute at which it ends, and its figures.
        """
        of = day.requests
        if first == 0 and last == step == DAY_MINUTES:
            yield last, ((0, of), *day.totals)
            return
        rhythm = self._rhythms[leaf.rhythm]
        before = rhythm.before
        whole = before[DAY_MINUTES]
        phase = day.phase % whole
        ends: Collection[int]
        if step == 1:
            ends = rhythm.ends[
                bisect_right(rhythm.ends, first) : bisect_left(rhythm.ends, last + 1)
            ]
        else:
            ends = [*range(first - first % step + step, last, step), last]
        until = self._sizes.until
        offset = day.first
        start_size = until(offset)
        of_size = until(offset + of) - start_size
        count = (of * before[first] + phase) // whole
        size = until(offset + count) - start_size
        totals = day.totals
        reached = [partly(total, count, of, size, of_size) for _, total in totals]
        for end in ends:
            next_count = (of * before[end] + phase) // whole
            if next_count == count:
                continue
            size = until(offset + next_count) - start_size
            figures = [(0, next_count - count)]
            for position, (column, total) in enumerate(totals):
                figure = partly(total, next_count, of, size, of_size)
                if figure != reached[position]:
                    figures.append((column, figure - reached[position]))
                    reached[position] = figure
            count = next_count
            yield end, tuple(figures)


def _by_project(keys: Iterable[ApiKey]) -> dict[str, tuple[ApiKey, ...]]:
    found: dict[str, list[ApiKey]] = {}
    for key in keys:
        if not key.deleted:
            found.setdefault(key.project.id, []).append(key)
    return {project_id: tuple(of) for project_id, of in found.items()}


def matches(leaf: Leaf, filters: Filters) -> bool:
    """Check that a leaf passes every filter. A leaf without the filtered dimension fails."""
    return all(leaf.dimensions.get(name) in values for name, values in filters.items())


def _level(leaf: Leaf, column: int, minute: int) -> int:
    """Compute the bytes that a leaf holds at the end of a minute since the epoch."""
    base = (leaf.bits >> column) % 4096
    return _MEBIBYTE * (base + minute * (1 + (leaf.bits >> 16) % 7) // 5000)
