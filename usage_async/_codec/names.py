"""Lists of names: bytes into items, in steps.

What a list holds beside names stays out: the memberships of a user, which can be thousands, are not
even parsed, and what the service shows of a key is dropped with everything that holds the key of
the client.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from functools import partial
from typing import Generic, TypeVar

import attrs
import msgspec

from usage_async._api.names import ApiKey, Project, User
from usage_async._codec.json_text import READING_ERRORS
from usage_async._codec.pages import check_cursor
from usage_async._codec.parsing import READER, refused
from usage_async._codec.redactor import Redactor
from usage_async.errors import PaginationError, ResponseError

N = TypeVar("N", Project, User, ApiKey)

_STEP = 25
"""Items that are read in one turn of the event loop: some 0.3 ms."""

_HEAD_BYTES = 1 << 12
"""Bytes of a list that a snippet is made of."""

_LEFT_OUT = {User: ("projects", "user"), ApiKey: ("redacted_value", "value")}
"""Fields that are not kept."""

_NULL = msgspec.Raw(b"null")


class _List(msgspec.Struct):
    """A list whose items are not read yet."""

    data: list[msgspec.Raw]
    has_more: bool
    last_id: str | None = None


class _Identified(msgspec.Struct):
    """The id of an item, as it was sent."""

    id: str


_shell = msgspec.json.Decoder(_List).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_identity = msgspec.json.Decoder(_Identified).decode
_BATCH_PATH = re.compile(r"\$\[([0-9]+)\]")


@attrs.frozen
class Listed(Generic[N]):
    """A page of a list of names.

    Attributes:
        items: In the order of the service.
        next_id: Cursor of the next page; None on the last one.
    """

    items: tuple[N, ...]
    next_id: str | None


@attrs.frozen
class ListDecoder(Generic[N]):
    """Reader of the pages of a list of names, for `fetch`.

    Attributes:
        kind: Class of the items.
        known: Fields that the path tells and the items do not have.
    """

    kind: type[N]
    known: Mapping[str, str] = attrs.field(factory=dict)

    def probe(self, body: bytes, redactor: Redactor) -> ResponseError | None:  # noqa: ARG002 - of `Decoder`
        """Tell nothing: a list is short, and is read when it comes."""
        return None

    def decode(self, body: bytes, redactor: Redactor) -> Generator[None, None, Listed[N]]:
        """Read a page, some items a step.

        Raises:
            ResponseError: It is not a list of such items; `path` says where.
            PaginationError: There is more, and no cursor to it.
        """
        items: list[N] = []
        begin = 0
        try:
            listed = _shell(body)
            for begin in range(0, len(listed.data), _STEP):
                batch = [self._kept(item) for item in listed.data[begin : begin + _STEP]]
                text = redactor.head(msgspec.json.encode(batch))
                items += READER.loads(text, tuple[self.kind, ...])  # type: ignore[name-defined] # a kind is a value
                yield
        except READING_ERRORS as error:
            head = redactor.head(body, _HEAD_BYTES)
            expected = f"list of {self.kind.__name__}s"
            raise refused(error, head, partial(_in_list, begin), expected=expected) from None
        return Listed(tuple(items), _cursor(listed, redactor))

    def _kept(self, item: msgspec.Raw) -> dict[str, msgspec.Raw]:
        fields = _fields(item)
        left_out = {name: fields.pop(name, _NULL) for name in _LEFT_OUT.get(self.kind, ())}
        account = left_out.get("user", _NULL)
        if bytes(account).startswith(b"{"):
            # The account of a member has the name and the address where the member has none.
            nested = _fields(account)
            for name in ("name", "email"):
                if fields.get(name, _NULL) == _NULL and name in nested:
                    fields[name] = nested[name]
        for name, value in self.known.items():
            fields.setdefault(name, msgspec.Raw(msgspec.json.encode(value)))
        return fields


def _cursor(listed: _List, redactor: Redactor) -> str | None:
    if not listed.has_more:
        return None
    cursor = listed.last_id or (_identity(listed.data[-1]).id if listed.data else None)
    if not cursor:
        raise PaginationError("the list says that there is more, but gives no cursor to it")
    check_cursor(cursor, redactor, "$.last_id")
    return cursor


def _in_list(begin: int, path: str) -> str:
    """Put a JSON path within a batch in terms of the page."""
    match = _BATCH_PATH.match(path)
    if match is None:
        return path
    return f"$.data[{begin + int(match[1])}]{path[match.end() :]}"
