"""Result class of each endpoint, and the flat row that any result can be written as.

All classes are frozen, slotted, keyword-only, hashable and picklable. The meaning, the unit and the
way of adding up of each field are in `fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from functools import cache
from itertools import groupby
from typing import Any, Literal

import attrs

from usage_async._api.codegen import make_maker, on_the_wire
from usage_async._api.exact import NO_EXTRA, Extra, exact_decimal, nest, short_repr
from usage_async._api.fields import described, fields_of
from usage_async._api.pydantic_schema import pydantic_schema, pydantic_schema_of_row


@described
class UsageResult:
    """Base class of all rows of a bucket."""

    object: str
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    def _repr_html_(self) -> str:
        """Show the result as a table in a notebook."""
        from usage_async._api.notebook import html_of_results

        return html_of_results((self,))


@described
class UnknownResult(UsageResult):
    """A kind of result that this release does not know. All its fields are in `extra`."""


@described
class _ModelResult(UsageResult):
    num_model_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None


@described
class _TokenResult(_ModelResult):
    input_tokens: int
    input_uncached_tokens: int | None = None
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_cache_write_30m_tokens: int | None = None
    input_cache_write_12h_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_text_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_tokens: int
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    batch: bool | None = None
    service_tier: str | None = None
    api_source: str | None = None


@described
class UsageCompletionsResult(_TokenResult):
    """Tokens of chat completions and responses."""

    object: Literal["organization.usage.completions.result"] = (
        "organization.usage.completions.result"
    )


@described
class UsageDecisionsResult(_TokenResult):
    """Tokens of decisions."""

    object: Literal["organization.usage.decisions.result"] = "organization.usage.decisions.result"


@described
class UsageEmbeddingsResult(_ModelResult):
    """Tokens that were embedded."""

    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"
    input_tokens: int


@described
class UsageModerationsResult(_ModelResult):
    """Tokens that were moderated."""

    object: Literal["organization.usage.moderations.result"] = (
        "organization.usage.moderations.result"
    )
    input_tokens: int


@described
class UsageImagesResult(_ModelResult):
    """Images that were generated, edited or varied."""

    object: Literal["organization.usage.images.result"] = "organization.usage.images.result"
    images: int
    size: str | None = None
    source: str | None = None


@described
class UsageAudioSpeechesResult(_ModelResult):
    """Characters that were spoken."""

    object: Literal["organization.usage.audio_speeches.result"] = (
        "organization.usage.audio_speeches.result"
    )
    characters: int


@described
class UsageAudioTranscriptionsResult(_ModelResult):
    """Seconds of audio that were transcribed."""

    object: Literal["organization.usage.audio_transcriptions.result"] = (
        "organization.usage.audio_transcriptions.result"
    )
    seconds: int


@described
class UsageVectorStoresResult(UsageResult):
    """Bytes that vector stores hold."""

    object: Literal["organization.usage.vector_stores.result"] = (
        "organization.usage.vector_stores.result"
    )
    usage_bytes: int
    project_id: str | None = None


@described
class UsageCodeInterpreterSessionsResult(UsageResult):
    """Code interpreter sessions."""

    object: Literal["organization.usage.code_interpreter_sessions.result"] = (
        "organization.usage.code_interpreter_sessions.result"
    )
    num_sessions: int
    project_id: str | None = None


@described
class UsageFileSearchCallsResult(UsageResult):
    """Calls of the file search tool."""

    object: Literal["organization.usage.file_searches.result"] = (
        "organization.usage.file_searches.result"
    )
    num_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    vector_store_id: str | None = None


@described
class UsageWebSearchCallsResult(_ModelResult):
    """Calls of the web search tool."""

    object: Literal["organization.usage.web_searches.result"] = (
        "organization.usage.web_searches.result"
    )
    num_requests: int
    context_level: str | None = None
    api_source: str | None = None


@on_the_wire
@attrs.frozen(kw_only=True, weakref_slot=False)
class CostsResultAmount:
    """An exact amount of money.

    Attributes:
        value: Amount in whole units of the currency (dollars, not cents). It has the digits of the
            reply's text, without trailing zeros.
        currency: Lowercase ISO 4217 code, such as `usd`.
        extra: Fields of the reply that this release does not know, by name.
    """

    value: Decimal
    currency: str
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "value", exact_decimal(self.value))


@attrs.frozen
class DerivedLineItem:
    """Model and direction, parsed from the text of a line item. The API does not send them.

    Attributes:
        model: Model; None if the line item is a plain name.
        direction: Billed part, such as `input` or `cached input`; None if the line item is a plain
            name.
    """

    model: str | None
    direction: str | None

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema


@described
class CostsResult(UsageResult):
    """Cost of a line item.

    If nothing was billed, `amount` is None and `amount_value` is 0.
    """

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: CostsResultAmount | None = None
    quantity: Decimal | None = None
    quantity_unit: str | None = None
    line_item: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    api_source: str | None = None
    organization_id: str | None = None
    organization_name: str | None = None
    project_name: str | None = None
    user_email: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.quantity is not None:
            object.__setattr__(self, "quantity", exact_decimal(self.quantity))

    @property
    def amount_value(self) -> Decimal:
        """The amount without its currency; 0 if nothing was billed."""
        return Decimal(0) if self.amount is None else self.amount.value

    @property
    def derived_line_item(self) -> DerivedLineItem:
        """Parts of a `line_item` of the form `"<model>, <direction>"`; Nones for a plain name."""
        model, comma, direction = (self.line_item or "").rpartition(",")
        model, direction = model.strip(), direction.strip()
        return DerivedLineItem(model, direction) if comma and model else DerivedLineItem(None, None)


@described
class UsageRow:
    """One result of any kind as a flat row: times of the bucket, all metrics, all dimensions.

    A metric is None if this kind of result lacks it, or if the service left it out. `amount` is the
    Decimal alone. The currency is in `currency`, and unknown fields of the amount are in `extra`
    under `amount`.
    """

    start_time: int
    end_time: int
    object: str
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    api_source: str | None = None
    size: str | None = None
    source: str | None = None
    vector_store_id: str | None = None
    context_level: str | None = None
    line_item: str | None = None
    num_model_requests: int | None = None
    input_tokens: int | None = None
    input_uncached_tokens: int | None = None
    input_cached_tokens: int | None = None
    input_cache_write_tokens: int | None = None
    input_cache_write_30m_tokens: int | None = None
    input_cache_write_12h_tokens: int | None = None
    input_text_tokens: int | None = None
    input_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    input_cached_text_tokens: int | None = None
    input_cached_audio_tokens: int | None = None
    input_cached_image_tokens: int | None = None
    output_tokens: int | None = None
    output_text_tokens: int | None = None
    output_audio_tokens: int | None = None
    output_image_tokens: int | None = None
    num_requests: int | None = None
    num_sessions: int | None = None
    images: int | None = None
    characters: int | None = None
    seconds: int | None = None
    usage_bytes: int | None = None
    amount: Decimal | None = None
    currency: str | None = None
    quantity: Decimal | None = None
    quantity_unit: str | None = None
    organization_id: str | None = None
    organization_name: str | None = None
    project_name: str | None = None
    user_email: str | None = None
    extra: Extra = NO_EXTRA

    __repr__ = short_repr
    __get_pydantic_core_schema__ = pydantic_schema_of_row


def flat_rows(
    results: Sequence[UsageResult], start_time: int, end_time: int
) -> tuple[UsageRow, ...]:
    """Write results as flat rows, with the times of their bucket."""
    rows: tuple[UsageRow, ...] = ()
    for kind, run in groupby(results, type):
        cls: Any = kind
        rows += _flattener(cls)(run, start_time, end_time)
    return rows


@cache
def _flattener(cls: Hashable) -> Callable[..., tuple[UsageRow, ...]]:
    """Generate the function that writes results of one class as flat rows."""
    values = {a.name: f"result.{a.name}" for a in fields_of(cls)}
    if "amount" in values:
        values["amount"] = "None if result.amount is None else result.amount.value"
        values["currency"] = "None if result.amount is None else result.amount.currency"
        values["extra"] = "extra_of(result)"
    times = ("start_time", "end_time")
    values |= dict(zip(times, times, strict=True))
    return make_maker(UsageRow, values, times, each="result", names={"extra_of": _extra_of})


def _extra_of(result: CostsResult) -> Extra:
    """Give the unknown fields of a row of costs, and under `amount` those of its amount.

    They are under `amount_` if the row has an unknown field `amount`.
    """
    if result.amount is None or not result.amount.extra:
        return result.extra
    return Extra(nest(result.extra, "amount", result.amount.extra))
