"""Pages: bytes into values, in steps.

Theory of operation

    a page of at most 2 MiB -> fast path -> done
        |  larger, or refused
    `_opened`: split into buckets that are not read yet (`Raw`)
        |  of a larger page: batches of at most 1 MiB, some buckets or some rows of a large one
    fast path -> buckets
        |  refused, as a page or as a batch: batches of at most 128 KiB
    fast path with the unknown fields that it has learned -> buckets
        |  refused
    tolerant reader -> buckets, whose unknown fields the fast path learns
        |  refused
    tolerant reader on a text without the client's key, since errors quote -> ResponseError

- `decode` is a generator that yields between two batches, so that the event loop gets its turn.
  The sizes bound the time of a step to some 10 ms. A step without a bound would stall everything
  else that the process does.
- Values are as they were sent, even if they hold the key. Only what notices and errors quote is
  without it.
- A page that is cut into batches gives the same values as one that is read whole.
- The values of unknown fields may be anything, and freezing them takes long. So the fast path, too,
  reads them in the smaller batches.

`probe` recognizes a reply that is no page as soon as it arrives, before it waits for its turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import attrs
import msgspec

from usage_async._api.exact import NO_EXTRA
from usage_async._api.pages import (
    Notice,
    UsageResponse,
    UsageTimeBucket,
)
from usage_async._api.results import (
    CostsResult,
    UnknownResult,
    UsageResult,
)
from usage_async._codec.decoded import Decoded
from usage_async._codec.json_text import READING_ERRORS
from usage_async._codec.parsing import READER, Reader, refused
from usage_async._codec.redactor import NO_KEY, Redactor, shortened
from usage_async.errors import (
    PaginationError,
    ResponseError,
    redact,
)

R = TypeVar("R", bound=UsageResult)
T = TypeVar("T")

WHOLE_BYTES = 1 << 21
"""Longest page that the fast path reads in one step, in bytes: some 6 ms."""
BATCH_BYTES = 1 << 20
"""Longest batch that the fast path reads in one step, in bytes: some 3 ms."""
TOLERANT_BYTES = 1 << 17
"""Longest batch with unknown fields that is read in one step, in bytes. The tolerant reader takes
some 4 ms, and 50 ms in the worst case, arrays within arrays throughout."""
MOST_BYTES = 1 << 17
"""Most bytes of the fields of a page beside its buckets, and of a bucket beside its rows. No page
of usage comes near; more would stall the event loop."""
LONGEST_BYTES = TOLERANT_BYTES + MOST_BYTES
"""Longest batch with unknown fields that cannot be cut. Longer ones are refused."""
LONGEST_CURSOR = 1 << 12
"""Longest cursor in characters. Servers accept URLs of some 8,000."""
_MOST_NOTICES = 100
"""Most notices of a page. Further ones are dropped."""

PROBED_BYTES = 1 << 18
"""Longest reply whose syntax is checked as soon as it arrives, in bytes: some 0.2 ms. Of a longer
one, only the ends are checked, in 5 µs."""

_HEAD_BYTES = 1 << 12
"""Bytes of a reply that a snippet is made from."""
_OPENING = re.compile(rb"[ \t\r\n]*\{")
_BUCKET = re.compile(rb'\{[ \t\r\n]*"object"[ \t\r\n]*:[ \t\r\n]*"bucket"')
_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*(?=%b)" % _BUCKET.pattern)
_BATCH_PATH = re.compile(r"\$\[([0-9]+)\](?:\.results\[([0-9]+)\])?")


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@attrs.frozen
class _Batch:
    """Part of a page that is read in one step: some buckets, or some rows of a large one.

    Attributes:
        bucket: Index of the first bucket in `data` of the page.
        first_row: Index of the first row in `results` of that bucket.
        texts: JSON of the buckets. An empty batch ends a step and holds nothing.
    """

    bucket: int
    first_row: int
    texts: Sequence[bytes | msgspec.Raw]

    @property
    def text(self) -> bytes:
        """JSON array of the buckets."""
        return b"[%b]" % b",".join(self.texts)


def probe(
    body: bytes,
    kind: type[UsageResult],
    using: Reader = READER,
    redactor: Redactor = NO_KEY,
) -> ResponseError | None:
    """Check quickly if a reply can be a page. What passes may still turn out not to be one.

    Args:
        body: Whole reply.
        kind: Class of the endpoint's own rows.
        using: Reader of JSON text.
        redactor: Redactor of the client's key.

    Returns:
        The error that `decode` would raise, perhaps in other words; None if a quick check finds
        none.
    """
    try:
        if len(body) <= PROBED_BYTES:
            _opened(body, kind, using, redactor)
        elif missing := _missing(body):
            raise ValueError(f"the reply has no {missing}")
    except PaginationError as error:
        return error
    except READING_ERRORS as error:
        return refused(error, redactor.head(body, _HEAD_BYTES))
    return None


def _missing(body: bytes) -> str | None:
    """Name a part that every page has and this reply lacks; None if it may have all of them."""
    if not _OPENING.match(body):
        return "JSON object"
    end = body[-_HEAD_BYTES:].rstrip(b" \t\r\n")
    if end and not end.endswith(b"}"):
        return "end of the JSON object"
    for name, near in (b'"data"', body[:_HEAD_BYTES]), (b'"has_more"', body[-_HEAD_BYTES:]):
        # The name may be written with escapes if there is a backslash anywhere.
        if name not in near and name not in body and b"\\" not in body:
            return f"field {name.decode()}"
    return None


class Keeper(Protocol):
    """Maker of what a page holds in place of buckets, such as spans of columns."""

    def keep(self, buckets: tuple[UsageTimeBucket[Any], ...], /) -> tuple[Any, ...]:
        """Give what is held in place of buckets."""
        ...

    def join(self, one: Any, more: Any, /) -> Any:
        """Put two parts of a bucket together."""
        ...


class _Objects:
    """Keeper of buckets as they are."""

    def keep(self, buckets: tuple[UsageTimeBucket[Any], ...]) -> tuple[UsageTimeBucket[Any], ...]:
        return buckets

    def join(self, one: UsageTimeBucket[R], more: UsageTimeBucket[R]) -> UsageTimeBucket[R]:
        return attrs.evolve(
            one,
            results=one.results + more.results,
            other_results=one.other_results + more.other_results,
        )


OBJECTS = _Objects()


def decode(
    body: bytes,
    kind: type[R],
    using: Reader = READER,
    redactor: Redactor = NO_KEY,
    keeper: Keeper = OBJECTS,
) -> Generator[None, None, Decoded[R]]:
    """Decode a page, one batch in a step.

    Args:
        body: Whole reply.
        kind: Class of the endpoint's own rows.
        using: Reader of JSON text, which decides if the fast path is taken.
        redactor: Redactor of the client's key in the quotes of notices and errors.
        keeper: Maker of what the page holds in place of buckets.

    Raises:
        ResponseError: The reply is not a page; `path` is the place.
        PaginationError: The cursor holds the client's key, or is too long.
    """
    reread = partial(decode, body, kind, using, redactor, keeper)
    buckets: list[UsageTimeBucket[R]] = []
    drift = _Drift(kind)
    most = BATCH_BYTES
    try:
        if len(body) <= WHOLE_BYTES:
            whole = using.loads_fast(body, UsageResponse[kind])  # type: ignore[valid-type] # a kind is a value
            if whole is not None:
                check_cursor(whole.next_page, redactor)
                return Decoded(whole, (), reread)
            most = 0
            yield
        elif using.fast and (parts := _parted(body, BATCH_BYTES)) is not None:
            shell, spans = parts
            yield
            for begin, end in spans:
                text = b"".join((b"[", memoryview(body)[begin:end], b"]"))
                read = using.loads_fast(text, tuple[UsageTimeBucket[kind], ...])  # type: ignore[valid-type] # a kind is a value
                if read is None:
                    buckets.clear()
                    break
                buckets.extend(read)
                yield
            else:
                page = using.loads(shell, UsageResponse[kind])  # type: ignore[valid-type] # a kind is a value
                check_cursor(page.next_page, redactor)
                return Decoded(attrs.evolve(page, data=tuple(buckets)), (), reread)
        data, page = _opened(body, kind, using, redactor)
        drift.add_page(page)
        yield
        for batch, read, is_drifted in _read(data, most, kind, using, redactor):
            if is_drifted:
                drift.add(read)
            _add(buckets, batch, keeper.keep(read) if is_drifted else read, keeper)
            yield
    except READING_ERRORS as error:
        raise refused(error, redactor.head(body, _HEAD_BYTES)) from None
    made = attrs.evolve(page, data=tuple(buckets))
    return Decoded(made, drift.notices(redactor), reread)


def check_cursor(cursor: str | None, redactor: Redactor, path: str = "$.next_page") -> None:
    """Refuse a cursor that must not be sent back in a URL.

    Raises:
        PaginationError: It holds the client's key, or is too long; `path` is its place.
    """
    if cursor is None:
        return
    if len(cursor) > LONGEST_CURSOR:
        msg = f"the cursor of the service has {len(cursor)} characters, too many for a URL"
        raise PaginationError(msg, path=path)
    if redactor.text(cursor) != cursor:
        # Proxies and servers log URLs.
        msg = "the cursor of the service holds the key of this client; it is not sent in a URL"
        raise PaginationError(msg, path=path)


class _Shell(msgspec.Struct, forbid_unknown_fields=True):
    """Page without unknown fields, whose buckets are not read yet."""

    data: list[msgspec.Raw]
    has_more: msgspec.Raw
    next_page: msgspec.Raw = msgspec.Raw(b"null")
    object: msgspec.Raw = msgspec.Raw(b'"page"')


_shell = msgspec.json.Decoder(_Shell).decode


def _parted(body: bytes, most: int) -> tuple[bytes, list[tuple[int, int]]] | None:
    """Cut a page between buckets without reading it, which takes a third of reading its rows.

    The cuts are where the text looks like the end of one bucket and the start of the next. They are
    right if each part can be read: then the page consists of the parts, with commas in between.

    Args:
        body: Whole reply.
        most: Bytes of a part, to which the rest of a bucket is added.

    Returns:
        The page without its buckets, and begin and end of each part; None if the page does not look
        as usual, or has large buckets, which are to be cut themselves.
    """
    first, end = _BUCKET.search(body, 0, _HEAD_BYTES), body.rfind(b"]")
    if first is None:
        return None
    begin = first.start()
    head, tail = body[:begin], body[end:]
    try:
        if _shell(head + b"0" + tail).data != [msgspec.Raw(b"0")]:
            return None
    except READING_ERRORS:
        return None
    spans = []
    while (cut := _BETWEEN.search(body, begin + most, end)) is not None:
        spans.append((begin, cut.start() + 1))
        begin = cut.end()
    spans.append((begin, end))
    if max(end - begin for begin, end in spans) > 2 * most:
        return None
    return head + tail, spans


def _opened(
    body: bytes, kind: type[R], using: Reader, redactor: Redactor
) -> tuple[Sequence[msgspec.Raw], UsageResponse[R]]:
    """Split a page into its buckets, and read its other fields."""
    try:
        fields = msgspec.structs.asdict(_shell(body))
        data = fields.pop("data")
    except msgspec.ValidationError:
        fields = _fields(body)
        data = _split(fields.pop("data"))
    text = _assembled(fields, "data")
    cls = UsageResponse[kind]  # type: ignore[valid-type] # a kind is a value
    page = _without_key(lambda text: using.loads(text, cls), text, redactor)
    check_cursor(page.next_page, redactor)
    return data, page


def _assembled(
    fields: dict[str, msgspec.Raw], name: str, values: Sequence[msgspec.Raw] = ()
) -> bytes:
    """Write an object as JSON again: its own fields, and an array of some of its items."""
    size = sum(map(len, fields)) + sum(map(len, fields.values()))
    if size > MOST_BYTES:
        raise ValueError(f"an object has {size} bytes of fields beside its {name}")
    return msgspec.json.encode({**fields, name: values})


def _without_key(read: Callable[[bytes], T], text: bytes, redactor: Redactor) -> T:
    """Read a text. If it is refused, read it without the client's key, since errors quote it."""
    try:
        return read(text)
    except READING_ERRORS:
        without = redactor.head(text)
        if without == text:
            raise
    read(without)
    raise ValueError("the key of this client is in what is refused")


def _batches(
    data: Sequence[bytes | msgspec.Raw], most: int, bucket: int = 0, row: int = 0
) -> Iterator[_Batch]:
    """Group buckets into batches, and cut buckets that are larger than a batch.

    Args:
        data: JSON of the buckets.
        most: Most bytes of a batch.
        bucket: Index of the first bucket in the page.
        row: Index of the first row in that bucket.
    """
    for begin, end in _runs(data, most):
        if end == begin + 1 and len(data[begin]) > most:
            yield from _cut(data[begin], most, bucket + begin, row)
        else:
            yield _Batch(bucket + begin, row, data[begin:end])


def _runs(texts: Sequence[bytes | msgspec.Raw], most: int) -> Iterator[tuple[int, int]]:
    """Group texts into runs of at most so many bytes. A larger text is a run of its own."""
    begin = size = 0
    for index, text in enumerate(texts):
        if size and size + len(text) > most:
            yield begin, index
            begin, size = index, 0
        size += len(text)
    if size:
        yield begin, len(texts)


def _cut(bucket: bytes | msgspec.Raw, most: int, index: int, row: int) -> Iterator[_Batch]:
    """Cut a bucket into buckets of fewer rows."""
    try:
        fields = _fields(bucket)
        yield _Batch(index, row, ())
        rows = _split(fields.pop("results" if "results" in fields else "result"))
    except READING_ERRORS:
        # Reading it whole gives the error, with its path.
        yield _Batch(index, row, (bucket,))
    else:
        for begin, end in [*_runs(rows, most)] or [(0, 0)]:
            text = _assembled(fields, "results", rows[begin:end])
            yield _Batch(index, row + begin, (text,))


def _read(
    data: Sequence[msgspec.Raw], most: int, kind: type[R], using: Reader, redactor: Redactor
) -> Iterator[tuple[_Batch, tuple[UsageTimeBucket[R], ...], bool]]:
    """Read the buckets of a page batch by batch.

    Args:
        data: JSON of the buckets.
        most: Most bytes of a batch for the fast path alone; 0 if it has refused the page.
        kind: Class of the endpoint's own rows.
        using: Reader of JSON text.
        redactor: Redactor of the client's key.

    Yields:
        The batch, its buckets, and True if they may hold what this release does not know.
    """
    cls = tuple[UsageTimeBucket[kind], ...]  # type: ignore[valid-type] # a kind is a value
    for batch in _batches(data, most) if most else [_Batch(0, 0, data)]:
        read = using.loads_fast(batch.text, cls) if most else None
        if read is not None or not batch.texts:
            yield batch, read or (), False
            continue
        # What the fast path refuses may stand in one part only, or be learned from the first.
        for part in _batches(batch.texts, TOLERANT_BYTES, batch.bucket, batch.first_row):
            text = part.text
            # Freezing the values of learned fields takes as long as for the tolerant reader.
            is_short = len(text) <= LONGEST_BYTES
            read = (using.loads_learned if is_short else using.loads_fast)(text, cls)
            if read is not None:
                yield part, read, is_short
            else:
                yield part, _read_tolerantly(part, text, cls, using, redactor), True


def _read_tolerantly(
    batch: _Batch, text: bytes, cls: type[T], using: Reader, redactor: Redactor
) -> T:
    if len(text) > LONGEST_BYTES:
        error = ValueError(f"{len(text)} bytes cannot be read in parts")
        raise refused(error, redactor.head(text, _HEAD_BYTES), lambda _: _in_page("$[0]", batch))
    try:
        return _without_key(lambda text: using.loads_tolerant(text, cls), text, redactor)
    except READING_ERRORS as error:
        head = redactor.head(text, _HEAD_BYTES)
        raise refused(error, head, lambda path: _in_page(path, batch)) from None


def _add(
    buckets: list[UsageTimeBucket[R]],
    batch: _Batch,
    read: tuple[UsageTimeBucket[R], ...],
    keeper: Keeper,
) -> None:
    if batch.first_row:
        for more in read:
            buckets[-1] = keeper.join(buckets[-1], more)
    else:
        buckets.extend(read)


def _in_page(path: str, batch: _Batch) -> str:
    """Translate a JSON path within a batch into one within the page."""
    match = _BATCH_PATH.match(path)
    if match is None:
        return path
    row = f".results[{batch.first_row + int(match[2])}]" if match[2] else ""
    return f"$.data[{batch.bucket + int(match[1])}]{row}{path[match.end() :]}"


@attrs.define
class _Drift(Generic[R]):
    """Kinds of rows and fields of a page that this release does not know.

    Attributes:
        kind: Class of the endpoint's own rows.
        others: Other kinds of rows.
        fields: Names of unknown fields by the object that holds them.
        amounts: Names of unknown fields of amounts.
    """

    kind: type[R]
    others: dict[str, None] = attrs.field(factory=dict)
    fields: dict[str, dict[str, None]] = attrs.field(factory=lambda: {"page": {}, "bucket": {}})
    amounts: dict[str, None] = attrs.field(factory=dict)

    def add_page(self, page: UsageResponse[R]) -> None:
        """Take note of the fields of a page beside its buckets."""
        _note(self.fields["page"], page.extra)

    def add(self, buckets: Sequence[UsageTimeBucket[R]]) -> None:
        """Take note of the fields of buckets, of their rows and of amounts."""
        for bucket in buckets:
            if bucket.other_results:
                _note(self.others, [row.object for row in bucket.other_results])
            if bucket.extra is not NO_EXTRA:
                _note(self.fields["bucket"], bucket.extra)
            for row in () if self.kind is UnknownResult else bucket.results:
                if row.extra is not NO_EXTRA:
                    _note(self.fields.setdefault(row.object, {}), row.extra)
                if isinstance(row, CostsResult) and row.amount and row.amount.extra:
                    _note(self.amounts, row.amount.extra)

    def notices(self, redactor: Redactor) -> tuple[Notice, ...]:
        """Give a notice for each unknown kind of rows and each unknown field."""
        others = [_other_results(kind, redactor) for kind in self.others]
        fields = [
            _unknown_field(place, field, redactor)
            for place, fields in {**self.fields, "amount": self.amounts}.items()
            for field in fields
        ]
        return tuple(dict.fromkeys([*others, *fields]))[:_MOST_NOTICES]


def _note(known: dict[str, None], names: Iterable[str]) -> None:
    for name in names:
        if name not in known and len(known) < _MOST_NOTICES:
            known[name] = None


def _other_results(kind: str, redactor: Redactor) -> Notice:
    message = f"rows of kind {_name(kind, redactor)} are in bucket.other_results"
    return Notice(code="other-results", message=message)


def _unknown_field(where: str, field: str, redactor: Redactor) -> Notice:
    names = f"{_name(where, redactor)} has a field {_name(field, redactor)}"
    message = f"{names} that this release does not know; it is in extra"
    return Notice(code="unknown-field", message=message)


def _name(text: str, redactor: Redactor) -> str:
    return repr(shortened(redact(redactor.text(text))))


@attrs.frozen
class PageDecoder(Generic[R]):
    """Decoder of the pages of an endpoint, for `fetch`.

    Attributes:
        kind: Class of the endpoint's own rows.
    """

    kind: type[R]

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:
        """Check a reply quickly; see the function `probe`."""
        return probe(body, self.kind, redactor=redactor)

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, Decoded[R]]:
        """Decode a page in steps; see the function `decode`."""
        return decode(body, self.kind, redactor=redactor)
