"""The floor of decoding: bare msgspec structs with the fields of the API."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, get_type_hints

import attrs
import msgspec

from usage_async import ENDPOINTS, CostsResultAmount


@cache
def decoder(endpoint: str) -> Callable[[bytes], Any]:
    """Make a decoder for the pages of an endpoint."""
    row = _struct(ENDPOINTS[endpoint].result_class)
    bucket = msgspec.defstruct(
        "Bucket",
        [("object", str), ("start_time", int), ("end_time", int), ("results", list[row])],  # type: ignore[valid-type] # made here
    )
    page = msgspec.defstruct(
        "Page",
        [("object", str), ("data", list[bucket]), ("has_more", bool), ("next_page", str | None)],  # type: ignore[valid-type] # made here
    )
    return msgspec.json.Decoder(page).decode


def _struct(cls: Any) -> Any:
    hints = get_type_hints(cls)
    fields: list[Any] = []
    for attribute in attrs.fields(cls):
        hint = hints[attribute.name]
        if attribute.name == "extra":
            continue
        if hint == CostsResultAmount | None:
            hint = msgspec.defstruct("Amount", [("value", Decimal), ("currency", str)]) | None
        default = () if attribute.default is attrs.NOTHING else (attribute.default,)
        fields.append((attribute.name, hint, *default))
    return msgspec.defstruct(cls.__name__, fields, kw_only=True)
