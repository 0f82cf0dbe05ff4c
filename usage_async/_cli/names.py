"""Names for a command: those that were kept, and what the client reads beyond them.

Names are an addition to figures: whatever fails about them is one line, and changes no exit code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from usage_async._api.results import UsageResult, UsageRow
from usage_async._cli.names_file import KeptNames, NamesFile, bare
from usage_async._client.names import Names
from usage_async.errors import UsageError

if TYPE_CHECKING:
    from usage_async._cli.context import Context
    from usage_async._client.client import UsageClient
    from usage_async._client.names_book import NamesBook


@attrs.define(eq=False)
class CommandNames:
    """Names for one command.

    Attributes:
        names: Everything that is known so far.
    """

    _book: NamesBook
    _older: Names
    _context: Context
    names: Names = attrs.field(init=False)
    _has_failed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._merge()

    async def update(self, rows: Iterable[UsageResult | UsageRow]) -> Names:
        """Read the names of what rows hold by id; a failure becomes a note, and ends the reading.

        Returns:
            Everything that is known so far.
        """
        if not self._has_failed:
            before = self._book.names
            try:
                await self._book.update(rows)
            except UsageError as error:
                self._has_failed = True
                self._context.warnings[f"names were not read: {error}"] = None
            if self._book.names is not before:
                self._merge()
        return self.names

    def _merge(self) -> None:
        self.names = self._book.names.merged(self._older)


@asynccontextmanager
async def open_names(
    client: UsageClient, file: NamesFile | None, context: Context
) -> AsyncIterator[CommandNames]:
    """Open the names for a command; what it has read is kept at the end.

    Args:
        client: Client of the organization.
        file: Where names are kept; None keeps none.
        context: Clocks and warnings of the command.
    """
    loaded = KeptNames() if file is None else file.load()
    kept = loaded.at(int(context.runtime.now()))
    book = client.names_book(known=kept.recent)
    yield CommandNames(book, kept.older, context)
    kept = attrs.evolve(kept, recent=bare(book.names))
    is_empty = kept.recent.merged(kept.older) == Names()
    if file is not None and kept != loaded and not is_empty:
        file.save(kept)
