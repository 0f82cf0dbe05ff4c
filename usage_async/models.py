"""The values that the API returns: pages, buckets, the twelve kinds of result, and flat rows.

All are frozen, slotted, keyword-only, hashable and picklable. `_fields` says what each field means,
its unit and how it adds up. Times are Unix seconds, UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Generic, Literal, TypeVar

import attrs

from usage_async._fields import NO_EXTRA, Extra, described, exact_decimal, fields_of, short_repr


@described
class UsageResult:
    """One row of a bucket: the base of every kind of result."""

    object: str
    extra: Extra = NO_EXTRA

    __repr__ = short_repr


@described
class UnknownResult(UsageResult):
    """A kind of result newer than this library: its fields are in `extra`, floats as Decimal."""


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


@attrs.frozen(kw_only=True, weakref_slot=False)
class CostsResultAmount:
    """An exact amount of money.

    Attributes:
        value: Whole units of the currency (dollars, not cents), from the literal text of the reply,
            without zeros at its end.
        currency: Lowercase ISO 4217 code, such as `usd`.
        extra: Fields of the reply that this release does not know, by name.
    """

    value: Decimal
    currency: str
    extra: Extra = NO_EXTRA

    __repr__ = short_repr

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "value", exact_decimal(self.value))


@attrs.frozen
class DerivedLineItem:
    """What a line item's text seems to say; derived by a lenient reading, not sent by the API.

    Attributes:
        model: The model, None where the line item is a plain name.
        direction: What of it was billed, such as `input` or `cached input`; None likewise.
    """

    model: str | None
    direction: str | None

    __repr__ = short_repr


@described
class CostsResult(UsageResult):
    """Money: what a line item of an organization cost.

    `amount` is None where nothing was billed, `amount_value` is 0 then.
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
        """The amount without its currency; 0 where nothing was billed."""
        return Decimal(0) if self.amount is None else self.amount.value

    @property
    def derived_line_item(self) -> DerivedLineItem:
        """Read `"<model>, <direction>"` out of `line_item`, leniently; a plain name gives Nones."""
        model, comma, direction = (self.line_item or "").rpartition(",")
        model, direction = model.strip(), direction.strip()
        return DerivedLineItem(model, direction) if comma and model else DerivedLineItem(None, None)


@described
class UsageRow:
    """One result of any kind, flat: its bucket's times, and every metric and dimension there is.

    A metric that the kind of result does not have is None, as is one that the service left out.
    `amount` is the Decimal alone; its currency stands beside it, and what else it had in `extra`.
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


def _row(result: UsageResult, start_time: int, end_time: int) -> UsageRow:
    values = {a.name: getattr(result, a.name) for a in fields_of(type(result))}
    amount = values.pop("amount", None)
    if amount is not None:
        values |= {"amount": amount.value, "currency": amount.currency}
        if amount.extra:
            values["extra"] = Extra({**result.extra, "amount": amount.extra})
    return UsageRow(start_time=start_time, end_time=end_time, **values)


R = TypeVar("R", bound=UsageResult)

SETTLES_AFTER = timedelta(days=3)
"""How long after its end a bucket may still be revised: hours to days were seen."""


@attrs.frozen(kw_only=True)
class UsageTimeBucket(Generic[R]):
    """What was used between two instants.

    Attributes:
        start_time: Unix seconds, inclusive.
        end_time: Unix seconds, exclusive.
        results: The rows of the endpoint's own kind; none in a quiet bucket, which is a figure too.
        other_results: Rows of another or an unknown kind.
        start_time_iso: As sent; not documented by the API, and not believed.
        end_time_iso: As sent; not documented by the API, and not believed.
        extra: Fields of the reply that this release does not know, by name.
    """

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: tuple[R, ...] = ()
    other_results: tuple[UsageResult, ...] = ()
    start_time_iso: str | None = attrs.field(default=None, eq=False, repr=False)
    end_time_iso: str | None = attrs.field(default=None, eq=False, repr=False)
    extra: Extra = NO_EXTRA

    __repr__ = short_repr

    @property
    def start(self) -> datetime:
        """The start, inclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.start_time, UTC)

    @property
    def end(self) -> datetime:
        """The end, exclusive, as an aware UTC datetime."""
        return datetime.fromtimestamp(self.end_time, UTC)

    def is_settled(self, now: datetime, *, after: timedelta = SETTLES_AFTER) -> bool:
        """Whether the service is done with revising this bucket.

        Args:
            now: The instant to judge from, aware.
            after: How long after its end a bucket may still change.
        """
        return self.end + after <= now

    def rows(self) -> list[UsageRow]:
        """Give every result of the bucket, of other kinds too, as a flat row."""
        results: tuple[UsageResult, ...] = (*self.results, *self.other_results)
        return [_row(result, self.start_time, self.end_time) for result in results]


@attrs.frozen(kw_only=True)
class UsageResponse(Generic[R]):
    """A page, as the API sends it.

    Attributes:
        data: The buckets, by rising start.
        has_more: Whether the service has more pages.
        next_page: The cursor of the next one.
        extra: Fields of the reply that this release does not know, by name.
    """

    object: Literal["page"] = "page"
    data: tuple[UsageTimeBucket[R], ...]
    has_more: bool
    next_page: str | None = None
    extra: Extra = NO_EXTRA

    __repr__ = short_repr


@attrs.frozen(kw_only=True)
class Notice:
    """Something that a careful reader of the figures should know.

    Attributes:
        code: Its kind, for programs: `clamped`, `start-aligned`, `end-aligned`, `missing-bucket`,
            `repeated-bucket`, `bucket-outside-range`, `unsettled`, `other-results`,
            `unknown-field`, `unknown-value`.
        message: One sentence for a person.
        endpoint: Name of the endpoint whose figures it is about.
        starts: Starts of all the buckets concerned, Unix seconds, rising; empty where it concerns
            no bucket in particular.
    """

    code: str
    message: str
    endpoint: str = ""
    starts: tuple[int, ...] = ()

    __repr__ = short_repr
