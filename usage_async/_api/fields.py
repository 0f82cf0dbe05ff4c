"""Fields of results: meaning, unit and way of adding up.

`FIELDS` describes each field once. The classes of `results` take the order of their fields, their
attrs metadata and their docstrings from it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, cast, dataclass_transform

import attrs

from usage_async._api.codegen import on_the_wire, reader

_T = TypeVar("_T")

Kind = Literal["flow", "level", "money", "quantity", "dimension", "note"]
FIGURES: tuple[Kind, ...] = ("flow", "level", "money", "quantity")
"""Kinds of the fields that add up."""


@attrs.frozen
class FieldInfo:
    """Description of a field.

    Attributes:
        kind: A `flow` adds over time and over groups. A `level` adds over groups within one
            bucket, never over time. `money` adds within one currency, a `quantity` within one
            `quantity_unit`. A `dimension` can be grouped by. A `note` only informs.
        unit: Unit of a number; empty for text.
        doc: One sentence for the docstrings.
        describes: Dimension whose value a note describes, such as `project_id`. Rows that differ
            in it share no such note. Empty if the note describes the organization.
    """

    kind: Kind
    unit: str
    doc: str
    describes: str = ""


def _tokens(doc: str) -> FieldInfo:
    return FieldInfo("flow", "tokens", doc)


def _dimension(doc: str) -> FieldInfo:
    return FieldInfo("dimension", "", doc)


def _note(doc: str, *, describes: str = "") -> FieldInfo:
    return FieldInfo("note", "", doc, describes)


FIELDS: Mapping[str, FieldInfo] = {
    "start_time": FieldInfo("note", "Unix seconds", "Start of the bucket, inclusive."),
    "end_time": FieldInfo("note", "Unix seconds", "End of the bucket, exclusive."),
    "object": _note("The API's name for this kind of value."),
    "input_tokens": _tokens("Input tokens, cached and cache-writing ones included."),
    "input_uncached_tokens": _tokens("Input tokens that were neither cached nor written."),
    "input_cached_tokens": _tokens("Input tokens read from the prompt cache."),
    "input_cache_write_tokens": _tokens("Input tokens written to the prompt cache."),
    "input_cache_write_30m_tokens": _tokens("Input tokens written to the cache for 30 minutes."),
    "input_cache_write_12h_tokens": _tokens("Input tokens written to the cache for 12 hours."),
    "input_text_tokens": _tokens("Uncached text input tokens."),
    "input_audio_tokens": _tokens("Uncached audio input tokens."),
    "input_image_tokens": _tokens("Uncached image input tokens."),
    "input_cached_text_tokens": _tokens("Text input tokens read from the cache."),
    "input_cached_audio_tokens": _tokens("Audio input tokens read from the cache."),
    "input_cached_image_tokens": _tokens("Image input tokens read from the cache."),
    "output_tokens": _tokens("Output tokens, of every modality."),
    "output_text_tokens": _tokens("Text output tokens."),
    "output_audio_tokens": _tokens("Audio output tokens."),
    "output_image_tokens": _tokens("Image output tokens."),
    "num_model_requests": FieldInfo("flow", "requests", "Requests made to the model."),
    "num_requests": FieldInfo("flow", "calls", "Calls of the tool."),
    "num_sessions": FieldInfo("flow", "sessions", "Code interpreter sessions."),
    "images": FieldInfo("flow", "images", "Images processed."),
    "characters": FieldInfo("flow", "characters", "Characters spoken."),
    "seconds": FieldInfo("flow", "seconds", "Seconds of audio transcribed."),
    "usage_bytes": FieldInfo("level", "bytes", "Bytes stored; a level, not a flow."),
    "amount": FieldInfo("money", "currency units", "Money, in whole units of its currency."),
    "currency": _note("Lowercase ISO 4217 code of the amount, such as `usd`.", describes="amount"),
    "quantity": FieldInfo("quantity", "quantity_unit", "How much was billed, in `quantity_unit`."),
    "quantity_unit": _note(
        "What `quantity` counts, such as `tokens` or `gibibyte_hours`.", describes="quantity"
    ),
    "project_id": _dimension("Project; None unless grouped by it."),
    "user_id": _dimension("User; None unless grouped by it."),
    "api_key_id": _dimension("API key; None unless grouped by it."),
    "model": _dimension("Model; None unless grouped by it."),
    "batch": _dimension("True if the requests were batch jobs; None unless grouped by it."),
    "service_tier": _dimension("Service tier; None unless grouped by it."),
    "api_source": _dimension("API that made the requests; None unless grouped by it."),
    "size": _dimension("Image size, such as `1024x1024`; None unless grouped by it."),
    "source": _dimension("Kind of image request; None unless grouped by it."),
    "vector_store_id": _dimension("Vector store; None unless grouped by it."),
    "context_level": _dimension("Search context size; None unless grouped by it."),
    "line_item": _dimension("What was billed, as sent; None unless grouped by it."),
    "organization_id": _note("Organization; sent, but not documented by the API."),
    "organization_name": _note("Organization's name; sent, but not documented by the API."),
    "project_name": _note(
        "Project's name; sent, but not documented by the API.", describes="project_id"
    ),
    "user_email": _note(
        "User's address; sent, but not documented by the API.", describes="user_id"
    ),
    "extra": _note("Fields of the reply that this release does not know, by name."),
}
"""Every field of every result and of `UsageRow`, in order of display."""


def _describe(cls: type, attributes: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Order attributes as in `FIELDS`; take their metadata and the class docstring from it."""
    order = list(FIELDS)
    described = [
        a if a.metadata else a.evolve(metadata=attrs.asdict(FIELDS[a.name]))
        for a in sorted(attributes, key=lambda a: order.index(a.name))
    ]
    lines = (
        f"    {a.name}: {a.metadata['doc']}"
        + (f" Unit: {a.metadata['unit']}." if a.metadata["unit"] else "")
        + (f" A {a.metadata['kind']}." if a.metadata["kind"] in ("flow", "level") else "")
        for a in described
    )
    summary = (cls.__doc__ or "").partition("\n\nAttributes:")[0].rstrip()
    cls.__doc__ = "\n".join([summary, "", "Attributes:", *lines])
    return described


def fields_of(cls: Any, *kinds: Kind) -> tuple[attrs.Attribute[Any], ...]:
    """Give the attrs attributes of a class of results.

    Args:
        cls: The class.
        kinds: Kinds of the fields to give; all fields if there are none.
    """
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    return tuple(a for a in fields if a.metadata.get("kind") in kinds) if kinds else fields


@cache
def _values(cls: Hashable) -> Callable[[Any], tuple[Any, ...]]:
    """Generate the function that gives all fields of a row as a tuple."""
    return reader(a.name for a in fields_of(cls))


def _equals(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    values = _values(cast("Hashable", type(self)))
    return values(self) == values(other)


def _hashed(self: Any) -> int:
    return hash(_values(cast("Hashable", type(self)))(self))


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(attrs.field,))
def described(cls: type[_T]) -> type[_T]:
    """Make a class of rows: frozen, keyword-only, documented, and registered for generated code."""
    # attrs would compile its own methods for each class, which the import of the client waits for.
    plain: Any = cls
    plain.__eq__, plain.__hash__ = _equals, _hashed
    made = attrs.frozen(
        cls, kw_only=True, weakref_slot=False, repr=False, field_transformer=_describe
    )
    return on_the_wire(made)
