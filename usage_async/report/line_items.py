"""Line items in one spelling: the service writes one and the same in several ways. Pure."""

from __future__ import annotations

from functools import lru_cache

import attrs

from usage_async._api.results import CostsResult

_LIKELY_LINE_ITEMS = 1 << 12


@attrs.frozen
class LineItem:
    """A line item.

    Attributes:
        name: The line item in one spelling, such as `gpt-5.2, cached input`.
        model: The model that it names; None if it is a plain name.
        direction: The billed part, such as `cached input`; None if it is a plain name.
    """

    name: str
    model: str | None = None
    direction: str | None = None

    @property
    def subject(self) -> str:
        """The model, or the name of a line item without one."""
        return self.model or self.name


@lru_cache(_LIKELY_LINE_ITEMS)
def line_item_of(text: str) -> LineItem:
    """Read the text of a line item: `chat-latest , input_tokens` is `chat-latest, input`."""
    derived = CostsResult(line_item=text).derived_line_item
    if not derived.model or not derived.direction:
        return LineItem(text.strip())
    direction = derived.direction.replace("_", " ").removesuffix(" tokens")
    return LineItem(f"{derived.model}, {direction}", derived.model, direction)
