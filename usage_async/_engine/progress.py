"""Window progress: a check of the pages of one window as they come.

Theory of operation. The service may repeat, reorder, leave out or add buckets, and its cursors may
lead in a circle. The progress keeps the *due* start: the earliest start that has not come. The
invariants:

- *Rising*: a bucket is given only if it starts at the due start or later. So none is given twice.
- *Nothing is silently lost*: a start that is skipped, or that is still due at the end although its
  bucket has ended, becomes a notice. A bucket that comes after a later one is an error.
- *It ends*: no cursor is followed twice, and at most `_MOST_EMPTY_PAGES` pages without a new bucket
  are followed in a row.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from usage_async._api.pages import (
    Notice,
    UsageResponse,
    UsageTimeBucket,
)
from usage_async._api.results import UsageResult
from usage_async._query.times import iso
from usage_async._query.windows import YEAR_10000, Window
from usage_async.errors import PaginationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence


R = TypeVar("R", bound=UsageResult)

_MOST_EMPTY_PAGES = 100
"""Most pages without a new bucket that are followed in a row."""
_STEP_ROWS = 1000
"""Rows that are compared in one turn of the event loop: some 2 ms."""


@attrs.define(eq=False, kw_only=True)
class WindowProgress(Generic[R]):
    """Progress of reading one window.

    Attributes:
        window: The window.
        now: Unix seconds. A bucket that ended by then is expected, even if it is empty.
        cursor: Cursor of the next page; None for the first page.
        done: True if no page is left to read.
    """

    window: Window
    now: int
    cursor: str | None = None
    done: bool = False
    _due: int | None = attrs.field(init=False)
    """First start that has not come; None if it is unknown, as after a saved cursor."""
    _missing: list[range] = attrs.field(factory=list, init=False)
    _cursors: set[str] = attrs.field(init=False)
    _empty_pages: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        # Without a known width, the first bucket may begin before the range and extend into it.
        is_known = self.cursor is None and self.window.width_s is not None
        self._due = self.window.start if is_known else None
        self._cursors = {self.cursor} if self.cursor else set()

    @property
    def next_start(self) -> int:
        """First start that has not come; the start of the window if that is unknown."""
        return self.window.start if self._due is None else self._due

    def looks_back(self, page: UsageResponse[R]) -> bool:
        """Tell if a page may repeat buckets, so that `accept` needs those of the previous page."""
        due = self._due
        return due is not None and any(bucket.start_time < due for bucket in page.data)

    def accept(
        self, page: UsageResponse[R], before: Sequence[UsageTimeBucket[R]]
    ) -> Generator[None, None, tuple[UsageResponse[R], list[Notice]]]:
        """Check a page, some rows a step, and find the cursor of the next one.

        Args:
            page: The page as it came.
            before: Buckets of the previous page, by which repetitions are recognized.

        Returns:
            The page with the buckets to give, by rising start; and notices about all others.

        Raises:
            PaginationError: Further reading would lose or double figures, or would never end.
        """
        notices: list[Notice] = []
        data = page.data
        if not self._is_due(data):
            data = yield from self._new(data, before, notices)
        self._follow(page, found=bool(data))
        if self.done:
            notices.extend(self._gaps((*self._missing, self._still_due())))
        is_whole = len(data) == len(page.data) and all(map(is_, data, page.data))
        return (page if is_whole else attrs.evolve(page, data=data)), notices

    def _is_due(self, data: tuple[UsageTimeBucket[R], ...]) -> bool:
        """Accept a page if it holds exactly the next buckets, as nearly every page does."""
        width = self.window.width_s
        if self._due is None or not width:
            return False
        due = range(self._due, self.window.end, width)[: len(data)]
        if [bucket.start_time for bucket in data] != list(due):
            return False
        if [bucket.end_time for bucket in data] != [start + width for start in due]:
            return False
        self._due += len(due) * width
        return True

    def _new(
        self,
        data: Sequence[UsageTimeBucket[R]],
        before: Sequence[UsageTimeBucket[R]],
        notices: list[Notice],
    ) -> Generator[None, None, tuple[UsageTimeBucket[R], ...]]:
        found = []
        recent = {bucket.start_time: bucket for bucket in before}
        for bucket in sorted(data, key=lambda bucket: bucket.start_time):
            start = bucket.start_time
            if self._is_outside(bucket):
                said = "lies outside of the requested range, and was dropped"
                notices.append(_notice("bucket-outside-range", start, said))
            elif (same := recent.get(start)) is not None:
                if not (yield from _are_equal(same, bucket)):
                    raise PaginationError(f"two different buckets start at {iso(start)}")
                notices.append(_notice("repeated-bucket", start, "was sent twice, and counts once"))
            elif not start < bucket.end_time <= YEAR_10000:
                msg = f"the bucket that starts at {iso(start)} ends at {iso(bucket.end_time)}"
                raise PaginationError(msg)
            elif self._due is not None and start < self._due:
                msg = f"the bucket that starts at {iso(start)} came after later ones"
                raise PaginationError(msg)
            else:
                recent[start] = bucket
                self._expect_after(start)
                found.append(bucket)
        return tuple(found)

    def _is_outside(self, bucket: UsageTimeBucket[R]) -> bool:
        window = self.window
        begin = bucket.start_time if window.width_s else bucket.end_time - 1
        return begin < window.start or bucket.start_time >= window.end

    def _expect_after(self, start: int) -> None:
        width = self.window.width_s
        if width and self._due is not None and start > self._due:
            self._missing.append(range(self._due, start, width))
        self._due = start + (width or 1)

    def _follow(self, page: UsageResponse[R], *, found: bool) -> None:
        """Take over the cursor, unless it contradicts `has_more` or leads in a circle."""
        self._empty_pages = 0 if found else self._empty_pages + 1
        cursor = page.next_page
        self.done = not page.has_more or (not page.data and self._is_complete())
        if self.done:
            return
        if not cursor:
            raise PaginationError("has_more is true, but the service sent no next_page")
        if cursor in self._cursors or self._empty_pages > _MOST_EMPTY_PAGES:
            raise PaginationError("the service's cursors lead in a circle")
        self._cursors.add(cursor)
        self.cursor = cursor

    def _is_complete(self) -> bool:
        """Tell if an empty page with a cursor ends the window.

        The last bucket may be running, and come behind empty pages. So the clock decides only
        after more empty pages than a working service sends.
        """
        if not self.window.width_s or self._missing:
            return False
        if self._due is None:  # after a saved cursor, the due start is unknown
            return False
        if self._empty_pages > _MOST_EMPTY_PAGES:
            return not self._still_due()
        return self._due >= self.window.end

    def _still_due(self) -> range:
        """Give the starts of ended buckets that have not come."""
        if self._due is None or self._due >= self.window.end:
            return range(0)
        return attrs.evolve(self.window, start=self._due).ended(self.now)

    def give_up(self) -> Iterator[Notice]:
        """Report gaps in the part that was read. The rest will not be read."""
        return self._gaps(self._missing)

    def _gaps(self, gaps: Iterable[range]) -> Iterator[Notice]:
        starts = tuple(start for gap in gaps for start in gap)
        if starts:
            what = "1 bucket was" if len(starts) == 1 else f"{len(starts)} buckets were"
            message = f"{what} not sent, the first starts at {iso(starts[0])}"
            yield Notice(code="missing-bucket", message=message, starts=starts)


def _notice(code: str, start: int, what: str) -> Notice:
    message = f"the bucket that starts at {iso(start)} {what}"
    return Notice(code=code, message=message, starts=(start,))


def _are_equal(one: UsageTimeBucket[R], other: UsageTimeBucket[R]) -> Generator[None, None, bool]:
    """Compare two buckets, some rows a step; those of columns compare quickly by themselves."""
    if not isinstance(one, UsageTimeBucket):
        yield
        return one == other
    rows, others = one.results, other.results
    if len(rows) != len(others) or attrs.evolve(one, results=others) != other:
        return False
    for start in range(0, len(rows), _STEP_ROWS):
        yield
        if rows[start : start + _STEP_ROWS] != others[start : start + _STEP_ROWS]:
            return False
    return True
