"""A decoded page, as the engine takes it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeVar

import attrs

from usage_async._api.pages import Notice, UsageResponse
from usage_async._api.results import UsageResult

R = TypeVar("R", bound=UsageResult)


@attrs.frozen
class Decoded(Generic[R]):
    """A decoded page.

    Attributes:
        page: The page.
        notices: Remarks on what this release does not know of it.
        reread: Function that begins to decode the page once more, as `decode` does.
    """

    page: UsageResponse[R]
    notices: tuple[Notice, ...]
    reread: Callable[[], Generator[None, None, Decoded[R]]] = attrs.field(eq=False, repr=False)
