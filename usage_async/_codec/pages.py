"""Pages: bytes into values, in steps.

    a page of at most 2 MiB: loads_fast: just what is declared -> done
        |  larger, or refused
    _opened: its buckets told apart, but not read (`Raw`)
        |  in batches of at most 1 MiB, of buckets or of rows of a large one
    loads_fast: just what is declared -> buckets
        |  refused
    without the client's key, since what is unknown is quoted in notices and errors
    loads_careful: typed, and what is unknown kept -> buckets
        |  refused
        cattrs, which knows every spelling -> buckets, or a ResponseError

`decode` is a generator that yields between two steps, so that the event loop gets its turn. `probe`
tells a reply that is no page at all as soon as it arrives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import msgspec

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
from usage_async._codec.converter import READING_ERRORS, UsageConverter, converter, parse, refused
from usage_async._codec.redactor import NO_KEY, Redactor, shortened
from usage_async.errors import (
    PaginationError,
    ResponseError,
    redact,
)

R = TypeVar("R", bound=UsageResult)

WHOLE_BYTES = 1 << 21
"""Bytes that are read in one go where they hold just what is declared: some 6 ms."""
BATCH_BYTES = 1 << 20
"""Bytes that are decoded in one turn of the event loop: some 3 ms of typed decoding, some 20 ms of
careful reading."""

PROBED_BYTES = 1 << 18
"""Bytes whose syntax is checked as soon as they arrive: some 0.2 ms. Of more, only the ends are
looked at, which takes 5 µs."""

_HEAD_BYTES = 1 << 12
"""Bytes of a page that a snippet is made of."""
_OPENING = re.compile(rb"[ \t\r\n]*\{")
_BATCH_PATH = re.compile(r"\$\[([0-9]+)\](?:\.results\[([0-9]+)\])?")


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@attrs.frozen
class Decoded(Generic[R]):
    """A page that was read.

    Attributes:
        page: The page.
        notices: How it differs from what was expected.
        reread: Begins to read it once more, as `decode` does.
    """

    page: UsageResponse[R]
    notices: tuple[Notice, ...]
    reread: Callable[[], Generator[None, None, Decoded[R]]] = attrs.field(eq=False, repr=False)


@attrs.frozen
class _Batch:
    """What is read in one turn: buckets that follow each other, or some rows of a large one.

    Attributes:
        bucket: Index of the first bucket in the page's `data`.
        first_row: Index of its first row in the bucket's `results`.
        texts: JSON of buckets; none only ends a step.
    """

    bucket: int
    first_row: int
    texts: Sequence[bytes | msgspec.Raw]


def probe(
    body: bytes,
    kind: type[UsageResult],
    using: UsageConverter = converter,
    redactor: Redactor = NO_KEY,
) -> ResponseError | None:
    """Tell at a glance what is no page; what passes may still be none.

    Args:
        body: The whole reply.
        kind: The class of the endpoint's own rows.
        using: The converter.
        redactor: Takes the client's key out.

    Returns:
        What `decode` would raise, perhaps in other words; None where it takes too long to know.
    """
    try:
        if len(body) <= PROBED_BYTES:
            _, rest = _opened(body, redactor)
            using.structure({**rest, "data": []}, UsageResponse[kind])  # type: ignore[valid-type] # a kind is a value
        elif missing := _missing(body):
            raise ValueError(f"there is no {missing}")
    except PaginationError as error:
        return error
    except READING_ERRORS as error:
        return refused(error, redactor.head(body, _HEAD_BYTES))
    return None


def _missing(body: bytes) -> str | None:
    """Name a part that a page cannot be without; None where it may have all of them."""
    if not _OPENING.match(body):
        return "JSON object"
    end = body[-_HEAD_BYTES:].rstrip(b" \t\r\n")
    if end and not end.endswith(b"}"):
        return "end of the JSON object"
    for name, near in (b'"data"', body[:_HEAD_BYTES]), (b'"has_more"', body[-_HEAD_BYTES:]):
        # With a backslash somewhere, the name may be written with escapes.
        if name not in near and name not in body and b"\\" not in body:
            return f"field {name.decode()}"
    return None


def decode(
    body: bytes, kind: type[R], using: UsageConverter = converter, redactor: Redactor = NO_KEY
) -> Generator[None, None, Decoded[R]]:
    """Read a page, a batch a step.

    Args:
        body: The whole reply.
        kind: The class of the endpoint's own rows.
        using: The converter, whose `fast` chooses the lane.
        redactor: Takes the client's key out of what is not just what is declared.

    Raises:
        ResponseError: It is not a page; `path` says where.
        PaginationError: Its cursor holds the client's key.
    """
    reread = partial(decode, body, kind, using, redactor)
    buckets: list[UsageTimeBucket[R]] = []
    notices: dict[Notice, None] = {}
    try:
        if len(body) <= WHOLE_BYTES:
            whole = using.loads_fast(body, UsageResponse[kind])  # type: ignore[valid-type] # a kind is a value
            if whole is not None:
                if whole.next_page and redactor.text(whole.next_page) != whole.next_page:
                    raise _key_in_cursor()
                return Decoded(whole, (), reread)
            yield
        data, rest = _opened(body, redactor)
        page = using.structure({**rest, "data": []}, UsageResponse[kind])  # type: ignore[valid-type] # a kind is a value
        notices.update((_unknown_field("page", field), None) for field in page.extra)
        yield
        for batch in _batches(data):
            read = _read(batch, kind, using, redactor, notices)
            if batch.first_row:
                buckets[-1] = _joined(buckets[-1], *read)
            else:
                buckets.extend(read)
            yield
    except READING_ERRORS as error:
        raise refused(error, redactor.head(body, _HEAD_BYTES)) from None
    return Decoded(attrs.evolve(page, data=tuple(buckets)), tuple(notices), reread)


def _key_in_cursor() -> PaginationError:
    # Proxies and servers log URLs.
    msg = "the service's cursor holds the key of this client, and is not sent back in a URL"
    return PaginationError(msg, path="$.next_page")


class _Shell(msgspec.Struct, forbid_unknown_fields=True):
    """A page that holds just what is declared, its buckets not read yet."""

    data: list[msgspec.Raw]
    has_more: msgspec.Raw
    next_page: msgspec.Raw = msgspec.Raw(b"null")
    object: msgspec.Raw = msgspec.Raw(b'"page"')


_shell = msgspec.json.Decoder(_Shell).decode


def _opened(body: bytes, redactor: Redactor) -> tuple[list[msgspec.Raw], dict[str, Any]]:
    """Tell a page's buckets apart, and read its other fields."""
    try:
        fields = msgspec.structs.asdict(_shell(body))
        data = fields.pop("data")
    except msgspec.ValidationError:
        fields = _fields(body)
        data = _split(fields.pop("data"))
    redacted = {name: redactor.head(bytes(text)) for name, text in fields.items()}
    if redacted.get("next_page", b"") != bytes(fields.get("next_page", b"")):
        raise _key_in_cursor()
    return data, {redactor.text(name): parse(text) for name, text in redacted.items()}


def _batches(data: Sequence[msgspec.Raw]) -> Iterator[_Batch]:
    """Group buckets, and cut those that are larger than a batch."""
    begin = size = 0
    for index, bucket in enumerate(data):
        if size and size + len(bucket) > BATCH_BYTES:
            yield _Batch(begin, 0, data[begin:index])
            begin, size = index, 0
        if len(bucket) > BATCH_BYTES:
            yield from _cut(index, bucket)
            begin = index + 1
        else:
            size += len(bucket)
    if size:
        yield _Batch(begin, 0, data[begin:])


def _cut(index: int, bucket: msgspec.Raw) -> Iterator[_Batch]:
    """Cut a bucket into buckets of fewer rows."""
    try:
        fields = _fields(bucket)
        yield _Batch(index, 0, ())
        name = "results" if "results" in fields else "result"
        rows = _split(fields.pop(name))
    except READING_ERRORS:
        # Read as a whole, it tells what is wrong with it.
        yield _Batch(index, 0, (bucket,))
    else:
        head = b"".join(b"%b:%b," % (msgspec.json.encode(key), fields[key]) for key in fields)
        step = max(1, len(rows) * BATCH_BYTES // len(bucket))
        for first in range(0, len(rows) or 1, step):
            some = b",".join(rows[first : first + step])
            yield _Batch(index, first, (b'{%b"results":[%b]}' % (head, some),))


def _read(
    batch: _Batch,
    kind: type[R],
    using: UsageConverter,
    redactor: Redactor,
    notices: dict[Notice, None],
) -> tuple[UsageTimeBucket[R], ...]:
    """Read a batch: typed where it holds just what is declared, else with care."""
    text = b"[%b]" % b",".join(batch.texts)
    cls = tuple[UsageTimeBucket[kind], ...]  # type: ignore[valid-type] # a kind is a value
    made = using.loads_fast(text, cls)
    if made is None:
        text = redactor.head(text)
        try:
            made = using.loads_careful(text, cls)
        except READING_ERRORS as error:
            raise refused(error, text, lambda path: _in_page(path, batch)) from None
        notices.update(dict.fromkeys(_drift(made, kind)))
    return made


def _in_page(path: str, batch: _Batch) -> str:
    """Put a JSON path within a batch in terms of the page."""
    match = _BATCH_PATH.match(path)
    if match is None:
        return path
    row = f".results[{batch.first_row + int(match[2])}]" if match[2] else ""
    return f"$.data[{batch.bucket + int(match[1])}]{row}{path[match.end() :]}"


def _joined(one: UsageTimeBucket[R], more: UsageTimeBucket[R]) -> UsageTimeBucket[R]:
    return attrs.evolve(
        one,
        results=one.results + more.results,
        other_results=one.other_results + more.other_results,
    )


def _drift(buckets: Sequence[UsageTimeBucket[R]], kind: type[R]) -> Iterator[Notice]:
    """Name what a release newer than this one added to the wire."""
    for other in {row.object: None for bucket in buckets for row in bucket.other_results}:
        message = f"rows of kind {_name(other)} are in bucket.other_results"
        yield Notice(code="other-results", message=message)
    fields = {("bucket", field): None for bucket in buckets for field in bucket.extra}
    if kind is not UnknownResult:
        rows = [row for bucket in buckets for row in bucket.results]
        fields |= {(row.object, field): None for row in rows for field in row.extra}
        amounts = [row.amount for row in rows if isinstance(row, CostsResult) and row.amount]
        fields |= {("amount", field): None for amount in amounts for field in amount.extra}
    for where, field in fields:
        yield _unknown_field(where, field)


def _unknown_field(where: str, field: str) -> Notice:
    names = f"{_name(where)} has a field {_name(field)}"
    message = f"{names} that this release does not know; it is in extra"
    return Notice(code="unknown-field", message=message)


def _name(text: str) -> str:
    return repr(shortened(redact(text)))


@attrs.frozen
class PageDecoder(Generic[R]):
    """Reader of an endpoint's pages, for `fetch`.

    Attributes:
        kind: Class of the endpoint's own rows.
    """

    kind: type[R]

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:
        """See `probe`."""
        return probe(body, self.kind, redactor=redactor)

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, Decoded[R]]:
        """See `decode`."""
        return decode(body, self.kind, redactor=redactor)
